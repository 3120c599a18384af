//! The engine against its oracle, and case by case.

mod build;
mod cases;
mod property;
mod sql;
mod world;
