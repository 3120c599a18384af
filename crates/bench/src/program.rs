//! Runs programs and measures them: how long, and how much memory at most.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What a program took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// From its start to its end.
    pub(crate) time: Duration,
    /// The most memory that was resident, in bytes.
    pub(crate) memory_bytes_max: u64,
}

/// Builds the `evert` binary in the profile of this program and returns its path; `EVERT_BIN` names another to measure.
pub(crate) fn evert() -> Result<PathBuf, Box<dyn Error>> {
    if let Some(path) = std::env::var_os("EVERT_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let directory = own.parent().ok_or("this program has no directory")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    build.current_dir(root).args(["build", "--quiet", "--package", "evert"]);
    if directory.ends_with("release") {
        build.arg("--release");
    }
    if let Some(target) = directory.parent() {
        build.arg("--target-dir").arg(target);
    }
    if !build.status()?.success() {
        return Err("`cargo build --package evert` failed".into());
    }
    Ok(directory.join("evert"))
}

/// Runs a program to its end.
pub(crate) fn measured(command: &mut Command) -> Result<Taken, Box<dyn Error>> {
    let since = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let mut memory_bytes_max = 0;
    let status = loop {
        memory_bytes_max = memory_bytes_max.max(peak_memory(&child));
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if !status.success() {
        return Err(format!("{command:?} ended with {status}").into());
    }
    Ok(Taken { time: since.elapsed(), memory_bytes_max })
}

/// The peak resident memory of a running process, in bytes; 0 when it has ended.
pub(crate) fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}
