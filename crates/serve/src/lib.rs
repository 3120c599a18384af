//! HTTP: views as JSON, changes as server-sent events, queries, search, the page.
//!
//! [`serve_witness`] answers for a witness of logs, and is a listener of its own.
//!
//! [`serve_tcp`] and [`serve_unix`] answer the same routes; [`client`] asks them. What goes over the wire is in
//! [`api`]; what one reader may take from the others is in [`limits`]. Every answer carries the
//! [`Time`](change::Time) that it is exact at, and a reader who comes back with it continues without a gap.
#![allow(
    clippy::disallowed_methods,
    reason = "an edge of the system: it reads clocks and starts threads"
)]

pub mod api;
mod backend;
mod changes;
pub mod client;
mod columns;
mod deadline;
mod error;
mod format;
mod guard;
pub mod limits;
mod metrics;
mod page;
mod parameters;
mod routes;
mod server;
mod witness;

pub use backend::{Backend, RunStatus};
pub use error::ServeError;
pub use limits::Limits;
pub use server::{Serving, Site, serve_tcp, serve_unix};
pub use witness::{Answer, Judge, ask_witness, serve_witness};
