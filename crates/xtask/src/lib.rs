//! The project's own checks: which crate may use which, and whether the tree is tidy.

pub mod edges;
pub mod tidy;
