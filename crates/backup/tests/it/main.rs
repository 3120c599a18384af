//! Backups through their public face: in memory, in a directory, in something that speaks S3.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "tests: a panic is a failure, and numbers are small"
)]

mod places;
mod store;
mod world;
