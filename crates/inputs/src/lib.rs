//! The benchmarks' inputs: the same rows, in the same order, for Evert and for every engine that it is compared with.
//!
//! Nothing here knows an engine or a format: rows are plain values, made one after the other from a fixed seed, so that
//! an input of any size fits in memory once it is in the engine's own form.

mod cdc;
mod nexmark;
mod random;
mod scale;

pub use cdc::{Cdc, Change, Customer, Order, Status};
pub use nexmark::{Auction, Bid, Event, Nexmark, Person};
pub use random::Random;
pub use scale::{FULL, QUICK, STEP, Scale};
