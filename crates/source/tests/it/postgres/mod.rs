//! The PostgreSQL source against a real server.

mod backfill;
mod faults;
mod refusals;
mod rig;
mod stream;
mod tls;
mod types;
