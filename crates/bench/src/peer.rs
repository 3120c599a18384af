//! Peers: programs of the workspace `bench-peers`, started in turn with our own runs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Maybe, Size};

/// A program that measures a peer.
#[derive(Debug)]
pub(crate) struct Peer {
    program: PathBuf,
    /// What it is told each time.
    always: &'static [&'static str],
}

impl Peer {
    /// Builds dbsp's program; `DBSP_PEER_BIN` names one that is built. Says loudly when that fails, and goes on without.
    pub(crate) fn dbsp(size: Size) -> Option<Self> {
        match build("dbsp-peer", "DBSP_PEER_BIN") {
            Ok(program) => Some(Self { program, always: size.of(&[], &["--quick"]) }),
            Err(error) => {
                eprintln!("dbsp is NOT measured: {error}");
                None
            }
        }
    }

    /// Builds the program that writes to brokers; `BROKERS_PEER_BIN` names one that is built.
    pub(crate) fn brokers() -> Maybe<Self> {
        Ok(Self { program: build("brokers-peer", "BROKERS_PEER_BIN")?, always: &[] })
    }

    /// Runs it with arguments and returns its figures by name.
    pub(crate) fn figures(&self, arguments: &[&str]) -> Maybe<BTreeMap<String, f64>> {
        let mut command = Command::new(&self.program);
        command.args(arguments).args(self.always).args(["-o", "json"]);
        let output = command.output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{command:?} ended with {}: {said}", output.status).into());
        }
        let mut figures = BTreeMap::new();
        for line in String::from_utf8(output.stdout)?.lines() {
            let figure: serde_json::Value = serde_json::from_str(line)?;
            let (name, value) = (figure["name"].as_str(), figure["value"].as_f64());
            let (Some(name), Some(value)) = (name, value) else {
                return Err(format!("{command:?} said {line:?}").into());
            };
            figures.insert(name.to_owned(), value);
        }
        Ok(figures)
    }
}

fn build(package: &str, variable: &str) -> Maybe<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(path.into());
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../bench-peers");
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).ok_or("this program has no directory")?;
    let target = target.join("peers");
    eprintln!("building {package}: minutes the first time, for dbsp ten or more");
    let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    build.args(["build", "--quiet", "--release", "--package", package, "--manifest-path"]);
    build.arg(root.join("Cargo.toml")).arg("--target-dir").arg(&target);
    if !build.status()?.success() {
        return Err(format!("`cargo build --package {package}` failed").into());
    }
    Ok(target.join("release").join(package))
}
