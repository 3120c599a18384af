//! Sinks against real targets: a PostgreSQL server, files, a search index.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::clone_on_ref_ptr,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::too_many_lines,
    clippy::unwrap_used,
    reason = "a test may panic, starts threads, and counts small numbers"
)]

mod file;
mod postgres;
mod postgres_faults;
mod postgres_tls;
mod postgres_types;
mod search;
mod world;
