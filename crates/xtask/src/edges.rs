//! Which crate uses which, read from the manifests. ARCHITECTURE.md promises the same; a test compares.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// The crates of this workspace, each with those of them that it uses (not counting tests).
pub type Edges = BTreeMap<String, Vec<String>>;

/// Reads the edges from the manifests.
///
/// # Errors
/// When a manifest cannot be read or is not TOML.
pub fn of_workspace(root: &Path) -> io::Result<Edges> {
    let mut manifests = BTreeMap::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let entry = entry?;
        let text = fs::read_to_string(entry.path().join("Cargo.toml"))?;
        let manifest: toml::Table = text.parse().map_err(io::Error::other)?;
        manifests.insert(entry.file_name().to_string_lossy().into_owned(), manifest);
    }
    let names: Vec<String> = manifests.keys().cloned().collect();
    let edges = manifests.into_iter().map(|(name, manifest)| {
        let uses = manifest.get("dependencies").and_then(toml::Value::as_table);
        let ours = |table: &toml::Table| {
            let ours = names.iter().filter(|name| table.contains_key(name.as_str()));
            ours.cloned().collect::<Vec<_>>()
        };
        let uses = uses.map(ours).unwrap_or_default();
        (name, uses)
    });
    Ok(edges.collect())
}

/// Reads the edges that ARCHITECTURE.md promises: rows of the form ``| `crate` | what it holds | `a`, `b` |``.
#[must_use]
pub fn promised(architecture: &str) -> Edges {
    let mut edges = Edges::new();
    for line in architecture.lines() {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _holds, uses] = cells.as_slice() else { continue };
        let Some(name) = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')) else {
            continue;
        };
        let mut uses: Vec<String> =
            uses.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
        uses.sort();
        edges.insert(name.to_owned(), uses);
    }
    edges
}
