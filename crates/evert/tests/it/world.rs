//! The product as its users start it: the real binary, in a directory of its own, with nothing set but what is said.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use serve::api::Status;
use serve::client::{Client, ClientError};
use servers::{Process, Signal, wait_until};
use tempfile::TempDir;
use view::search::SearchReader;

/// How long anything may take that is expected to happen; far more than it needs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A directory with a data directory, scripts and output files.
pub(crate) struct World {
    dir: TempDir,
    data: PathBuf,
    runs: AtomicU32,
}

/// What a command that has ended left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code; `None` after a signal.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it told.
    pub(crate) stderr: String,
}

/// A command that runs; killed when dropped.
pub(crate) struct Running {
    process: Process,
    stderr: PathBuf,
    stdout: PathBuf,
}

impl World {
    /// Makes an empty directory.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("evert-it-").tempdir().unwrap();
        let data = dir.path().join("data");
        Self { dir, data, runs: AtomicU32::new(0) }
    }

    /// The same with another data directory.
    pub(crate) fn with_data(data: &Path) -> Self {
        Self { data: data.to_owned(), ..Self::new() }
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Writes a file; returns its path as text.
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// A file's text.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Starts a command; `--data` is added.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let (stdout, stderr) =
            (self.path(&format!("stdout-{run}")), self.path(&format!("stderr-{run}")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_evert"));
        command.args(arguments).arg("--data").arg(self.data()).current_dir(self.dir.path());
        for name in ["EVERT_LOG", "EVERT_DATA", "EVERT_WORKERS", "PGPASSWORD", "PGSSLMODE"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Running { process: Process::start(&mut command).unwrap(), stdout, stderr }
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).ended()
    }

    /// Runs a command to its end, which must be a good one; returns what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.done(arguments);
        assert_eq!(ended.code, Some(0), "evert {arguments:?}\n{}", ended.stderr);
        ended.stdout
    }

    /// The rows of a query by the command line, each in its canonical form, sorted.
    #[track_caller]
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        json_rows(&self.ok(&["query", "-o", "ndjson", sql]))
    }

    /// The client of the process that has the data directory.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.data().join("evert.sock"))
    }

    /// The status of the running process.
    pub(crate) fn status(&self) -> Result<Status, ClientError> {
        block_on(self.client().status())
    }
}

impl Running {
    /// Waits for the end, which must come within [`DEADLINE`].
    #[track_caller]
    pub(crate) fn ended(mut self) -> Ended {
        let status = self.process.wait(DEADLINE).unwrap();
        let (stdout, stderr) = (fs::read_to_string(&self.stdout).unwrap(), self.stderr());
        let Some(status) = status else { panic!("it does not end:\n{stdout}\n{stderr}") };
        Ended { code: status.code(), stdout, stderr }
    }

    /// Asks it to end and waits until it has.
    #[track_caller]
    pub(crate) fn terminate(mut self) -> Ended {
        self.process.signal(Signal::Terminate).unwrap();
        self.ended()
    }

    /// Ends it as `kill -9` does.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.process.kill().unwrap()
    }

    /// What it has told so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.ended().unwrap().is_some()
    }

    /// Waits until something is so; fails when the process ends before, or it takes too long.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut so: impl FnMut() -> bool) {
        let mut ended = false;
        let came = wait_until(DEADLINE, || {
            let is_so = so();
            ended = !is_so && self.has_ended();
            is_so || ended
        });
        assert!(came && !ended, "never: {what} (ended: {ended})\n{}", self.stderr());
    }
}

/// Lines of JSON objects, each with sorted names and all digits of its numbers, sorted.
#[track_caller]
pub(crate) fn json_rows(lines: &str) -> Vec<String> {
    let mut rows: Vec<String> = lines.lines().map(canonical).collect();
    rows.sort_unstable();
    rows
}

/// A JSON object in the one form in which equal objects are equal texts.
#[track_caller]
pub(crate) fn canonical(line: &str) -> String {
    let row: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let Value::Object(row) = row else { panic!("no object: {line}") };
    Value::Object(row.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()).to_string()
}

/// The rows of a view's search index, as [`json_rows`] has them.
pub(crate) fn indexed(world: &World, view: &str) -> Vec<String> {
    let reader = SearchReader::open(&world.data().join("search").join(view)).unwrap();
    json_rows(&reader.contents().unwrap().join("\n"))
}

/// The rows that the changes in a file amount to.
pub(crate) fn folded(lines: &str) -> Vec<String> {
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for line in lines.lines() {
        // The last line may just be being written.
        let Ok(Value::Object(mut row)) = serde_json::from_str(line) else { break };
        let diff = row.shift_remove("_diff").and_then(|diff| diff.as_i64()).unwrap();
        row.shift_remove("_time").unwrap();
        *counts.entry(canonical(&Value::Object(row).to_string())).or_default() += diff;
    }
    counts.retain(|_, count| *count != 0);
    counts.into_iter().flat_map(|(row, count)| vec![row; count.max(0) as usize]).collect()
}

/// Waits for an answer.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
