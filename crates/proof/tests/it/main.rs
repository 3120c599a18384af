//! Tests of proofs through their public face: vectors of others, models of our own, and bytes that mean ill.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests: a panic is a failure, numbers are small, and one test measures time"
)]

mod document;
mod leaf;
mod model;
mod notes;
mod proofs;
mod receipts;
mod speed;
mod tiles;
mod vectors;
mod witness;
