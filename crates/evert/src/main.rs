//! The `evert` command.
fn main() {}
