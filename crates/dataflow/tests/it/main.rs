//! The engine against its oracle, and case by case.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "a test that was asked to show what it skips does")]
#![allow(clippy::wildcard_enum_match_arm, reason = "the tests use few of Arrow's types")]

mod bands;
mod batches;
mod build;
mod cases;
mod expressions;
mod found;
mod functions;
mod grammar;
mod groups;
mod kind;
mod postgres;
mod property;
mod sql;
mod stat;
mod suites;
mod texts;
mod transfers;
mod windows;
mod world;
