//! What every source file must have, and must not: see docs/decisions for why each rule is there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The lines beyond which a file holds two ideas.
pub const FILE_LINES_MAX: usize = 800;

/// Words that name nothing, and what to say instead.
pub const BANNED_NAMES: [(&str, &str); 6] = [
    ("manager", "say what it keeps or does"),
    ("helper", "say what it computes"),
    ("util", "put it beside what uses it"),
    ("common", "put it beside what uses it"),
    ("misc", "give each thing its place"),
    ("_v2", "replace the old one"),
];

/// The Rust files of the crates, sorted.
///
/// # Errors
/// When a directory cannot be read.
pub fn rust_files(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![root.join("crates")];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.is_dir() && path.file_name().is_none_or(|name| name != "target") {
                open.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// What is wrong with a source file, one line each.
#[must_use]
pub fn complaints(path: &Path, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let shown = path.display();
    let first = text.lines().find(|line| !line.is_empty()).unwrap_or_default();
    if !first.starts_with("//!") {
        complaints.push(format!("{shown}: begins without `//!`: what it is, and why"));
    }
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        complaints.push(format!("{shown}: {lines} lines; it holds two ideas"));
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    for (name, instead) in BANNED_NAMES {
        if stem.contains(name) {
            complaints.push(format!("{shown}: `{name}` names nothing: {instead}"));
        }
    }
    // Expected output stands in tests as it is printed.
    let in_tests = path.components().any(|part| part.as_os_str() == "tests");
    for (index, line) in text.lines().enumerate() {
        let place = format!("{shown}:{}", index + 1);
        if line.ends_with([' ', '\t']) && !in_tests {
            complaints.push(format!("{place}: trailing blanks"));
        }
        if line.chars().any(char::is_control) && !in_tests {
            complaints.push(format!("{place}: a control character"));
        }
        // Written in two pieces, so that this file does not complain about itself.
        for mark in [concat!("FIX", "ME"), concat!("#[ign", "ore"), concat!("#[should", "_panic")] {
            if line.contains(mark) {
                complaints.push(format!("{place}: `{mark}` does not reach main"));
            }
        }
    }
    complaints
}
