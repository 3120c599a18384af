//! A real server, on TCP and on a unix socket, with real views and a fake process behind it.
#![allow(
    clippy::disallowed_methods,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and its waits have deadlines"
)]

mod changes;
mod limits;
mod query;
mod rig;
mod routes;
mod search;
mod unix;
