//! Claims about what readers see.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails panics, and may start threads"
)]

mod cells;
mod damage;
mod drafts;
mod errors;
mod fixture;
mod queries;
mod rows;
mod searches;
mod subscriptions;
