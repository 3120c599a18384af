//! The project's own chores: `cargo xtask edges` prints the crates' real edges as the table in ARCHITECTURE.md has
//! them. The checks themselves are tests (`cargo test -p xtask`), so that they run with all others.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match std::env::args().nth(1).as_deref() {
        Some("edges") => match xtask::edges::of_workspace(&root) {
            Ok(edges) => {
                for (crate_name, uses) in edges {
                    println!("| `{crate_name}` | {} |", uses.join(", "));
                }
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("usage: cargo xtask edges");
            ExitCode::from(2)
        }
    }
}
