//! The benchmarks' inputs and queries: the same rows, in the same order, for Evert and for every engine that it is
//! compared with, and for the tests that compare maintained queries with their batches.
//!
//! Nothing here knows an engine or a format: rows are plain values, made one after the other from a fixed seed, so that
//! an input of any size fits in memory once it is in the engine's own form.

mod cdc;
mod nexmark;
mod nexmark_queries;
mod queries;
mod random;
mod scale;
mod tpch;

pub use cdc::{Cdc, Change, Customer, Order, Status};
pub use nexmark::{Auction, Bid, Event, Nexmark, Person};
pub use nexmark_queries::NEXMARK;
pub use queries::{Q1, Q3, Q4, QC};
pub use random::Random;
pub use scale::{FULL, QUICK, STEP, Scale};
pub use tpch::TPCH;
