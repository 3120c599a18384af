//! The simulator's runs: many seeds, every step as the last one, and bugs that must be caught.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests: a panic is a failure")]

mod canaries;
mod hostile;
mod seeds;
mod stops;
