//! The house holds together: ARCHITECTURE.md tells the truth, and every file is tidy.

use std::fs;
use std::path::{Path, PathBuf};

use xtask::{edges, tidy};

fn root() -> PathBuf {
    // Where cargo runs tests; not where they were built, which may be a checkout that is gone.
    PathBuf::from("../..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("the file is there")
}

#[test]
fn the_crates_edges_are_those_of_the_architecture_table() {
    let real = edges::of_workspace(&root()).unwrap();
    let promised = edges::promised(&read("ARCHITECTURE.md"));
    assert!(real.len() > 5, "the workspace was not found");
    assert_eq!(promised, real, "ARCHITECTURE.md (left) and the manifests (right) differ");
}

#[test]
fn the_deterministic_core_has_no_async_runtime() {
    for name in ["change", "log", "plan", "dataflow"] {
        let manifest: toml::Table = read(&format!("crates/{name}/Cargo.toml")).parse().unwrap();
        let uses = manifest["dependencies"].as_table().unwrap();
        assert!(!uses.contains_key("tokio"), "{name} is of the deterministic core");
    }
}

#[test]
fn every_source_file_is_tidy() {
    let files = tidy::rust_files(&root()).unwrap();
    assert!(files.len() > 50, "the source files were not found");
    let complaints: Vec<String> = files
        .iter()
        .flat_map(|path| tidy::complaints(path, &fs::read_to_string(path).unwrap()))
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn tidy_sees_what_it_should() {
    let bad = "fn main() {} \n\u{7}\n";
    let complaints = tidy::complaints(Path::new("crates/x/src/name_util.rs"), bad);
    let wanted = ["without `//!`", "names nothing", "trailing blanks", "control character"];
    assert_eq!(complaints.len(), wanted.len(), "{complaints:?}");
    for (complaint, wanted) in complaints.iter().zip(wanted) {
        assert!(complaint.contains(wanted), "{complaint}");
    }
}

#[test]
fn every_module_file_is_part_of_its_crate() {
    for path in tidy::rust_files(&root()).unwrap() {
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if ["main", "lib", "mod", "build"].contains(&&*stem) {
            continue;
        }
        let directory = path.parent().unwrap();
        let parents = [
            directory.join("mod.rs"),
            directory.join("lib.rs"),
            directory.join("main.rs"),
            directory.with_extension("rs"),
        ];
        let named =
            parents.iter().filter_map(|parent| fs::read_to_string(parent).ok()).any(|text| {
                text.lines().any(|line| {
                    let line = line.trim();
                    line.ends_with(&format!("mod {stem};"))
                        || line.contains(&format!("{stem}.rs\""))
                })
            });
        assert!(named, "{} is an orphan: no `mod {stem};` beside it", path.display());
    }
}

#[test]
fn the_documents_that_the_readme_links_to_exist() {
    let readme = read("README.md");
    let links = readme.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let local: Vec<&str> = links.filter(|link| !link.contains("://")).collect();
    assert!(!local.is_empty(), "the README links to no document");
    for link in local {
        let path = link.split('#').next().unwrap();
        assert!(root().join(path).exists(), "README.md links to {link}, which is not there");
    }
}
