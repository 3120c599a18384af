//! Real servers for tests and benchmarks: started on a free port in a temporary directory, stopped when dropped.
//!
//! A missing program is an error that names the package to install: a test that needs a server never passes without
//! it. Only processes that were started here are ever ended.
#![allow(
    clippy::disallowed_methods,
    reason = "an edge of the system: it reads clocks and starts processes"
)]

mod error;
mod install;
mod kafka;
mod nats;
mod postgres;
mod process;
mod s3;

pub use error::ServerError;
pub use kafka::{Kafka, KafkaOptions};
pub use nats::{Nats, NatsOptions};
pub use postgres::{Auth, PASSWORD, Postgres, PostgresOptions};
pub use process::{Daemon, Process, Signal, Stop, free_port, wait_until};
pub use s3::S3;
