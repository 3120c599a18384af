//! Tests of the log through its public face, with real files and with a disk that fails.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests: a panic is a failure, numbers are small, waiting has a deadline, and what is skipped is said"
)]

mod append;
mod beside;
mod copies;
mod damage;
mod faults;
mod fixtures;
mod format;
mod index;
mod leader;
mod meddled;
mod notary;
mod parts;
mod prefill;
mod property;
mod read;
mod real;
mod retention;
mod scrub;
mod scrub_folded;
mod world;
