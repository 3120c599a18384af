//! The binary against real servers, files and terminals: what users are promised, from end to end.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::panic,
    clippy::print_stderr,
    clippy::too_many_lines,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, starts threads, and counts small numbers"
)]

mod backup;
mod cli;
mod crash;
mod disk;
mod documents;
mod errors;
mod faults;
mod live;
mod load;
mod outages;
mod page;
mod proof;
mod retention;
mod same;
mod slt;
mod texts;
mod types;
mod user;
mod world;
