//! Sources against the real systems.
#![allow(
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests read clocks, start threads and end at the first surprise"
)]

mod postgres;
