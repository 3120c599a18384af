//! A deterministic simulator: the real log and what follows it, tortured under a seed.
//!
//! Everything that the product gives a seam for is simulated here: the disk behind `log::Disk`, the clock, the sources
//! and the targets of sinks. Everything between them is the product's own code: the log with its writer, recovery and
//! readers, the dataflow, the views, the outboxes. One thread runs all of it, so that a seed replays a run exactly.
//!
//! A run is a sequence of processes on one disk, each of which is killed, loses its power or is closed ([`Setup`] says
//! what a seed decides). Checkers look after every action; [`Canary`] orders bugs that they must see.
//! `docs/testing.md` says what is simulated, what is not, and how to replay a seed.

#![allow(clippy::cast_possible_truncation, reason = "the simulation is small")]

mod canary;
mod check;
mod clock;
pub mod disk;
mod filling;
mod follower;
mod forge;
mod model;
mod random;
mod restored;
mod setup;
mod source;
mod tables;
mod target;
mod violation;
mod world;

pub use canary::Canary;
pub use setup::{Listener, Mix, Setup};
pub use violation::Violation;
pub use world::{Outcome, Report};

/// Runs what a seed decides.
///
/// # Errors
/// When something is not as it must be.
pub fn run(setup: &Setup) -> Result<Report, Violation> {
    world::World::new(setup).run()
}
