//! A user at a shell: an empty directory, the `evert` command, and nothing set in the environment.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use servers::{Process, Signal, wait_until};
use tempfile::TempDir;

use crate::world::{DEADLINE, Ended};

/// A user in a directory of their own; the data directory is the default, `.evert`.
pub(crate) struct User {
    dir: TempDir,
    /// What is set in the environment after all.
    environment: Vec<(String, String)>,
}

/// A command that the user has started and not yet ended; killed when dropped.
pub(crate) struct Job {
    process: Process,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl User {
    /// Goes to an empty directory.
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("evert-user-").tempdir().unwrap();
        Self { dir, environment: Vec::new() }
    }

    /// Sets a variable in the environment of commands to come.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.dir().join(name), text).unwrap();
    }

    /// Appends to a file.
    pub(crate) fn append(&self, name: &str, text: &str) {
        let path = self.dir().join(name);
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Reads a file.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir().join(name)).unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evert"));
        command.args(arguments).current_dir(self.dir());
        for name in [
            "EVERT_LOG",
            "EVERT_LOG_KEY",
            "EVERT_WITNESSES",
            "EVERT_DATA",
            "EVERT_HISTORY",
            "EVERT_SEGMENT_BYTES",
            "PGPASSWORD",
            "PGUSER",
            "PGSSLMODE",
        ] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().cloned());
        command
    }

    /// Runs a command to its end, with nothing on standard input.
    #[track_caller]
    pub(crate) fn evert(&self, arguments: &[&str]) -> Ended {
        self.filter(arguments, "")
    }

    /// Runs a command to its end, which must be a good one; returns what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.evert(arguments);
        assert_eq!(ended.code, Some(0), "evert {arguments:?}\n{}", ended.stderr);
        ended.stdout
    }

    /// Runs a command to its end, with that text on standard input.
    #[track_caller]
    pub(crate) fn filter(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            // The command may end before it has read everything.
            scope.spawn(move || stdin.write_all(input.as_bytes()).unwrap_or_default());
            child.wait_with_output().unwrap()
        });
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a line of the shell with `evert` on its path.
    #[track_caller]
    pub(crate) fn shell(&self, line: &str) -> Ended {
        let program = Path::new(env!("CARGO_BIN_EXE_evert"));
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("bash")
            .args(["-c", &format!("set -o pipefail; {line}")])
            .current_dir(self.dir())
            .env("PATH", format!("{}:{path}", program.parent().unwrap().display()))
            .env_remove("EVERT_DATA")
            .env_remove("EVERT_LOG")
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Starts a command that goes on.
    pub(crate) fn start(&self, arguments: &[&str]) -> Job {
        let unique = fs::read_dir(self.dir()).unwrap().count();
        let path = |name: &str| self.dir().join(format!(".{name}-{unique}"));
        let (stdout, stderr) = (path("stdout"), path("stderr"));
        let mut command = self.command(arguments);
        command.stdin(Stdio::null());
        command.stdout(fs::File::create(&stdout).unwrap());
        command.stderr(fs::File::create(&stderr).unwrap());
        Job { process: Process::start(&mut command).unwrap(), stdout, stderr }
    }
}

impl Job {
    /// Its process id.
    pub(crate) fn id(&mut self) -> u32 {
        self.process.child().id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.ended().unwrap().is_some()
    }

    /// What it has printed so far.
    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    /// What it has told so far.
    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Waits until something is so, as long as the command runs.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        // Asked once: what was so a moment ago may be otherwise again.
        let mut is_so = false;
        wait_until(DEADLINE, || {
            is_so = so(self);
            is_so || self.process.ended().unwrap().is_some()
        });
        assert!(is_so, "never: {what}\n{}\n{}", self.stdout(), self.stderr());
    }

    /// Sends a signal and waits for the end.
    #[track_caller]
    pub(crate) fn end_by(mut self, signal: Signal) -> Ended {
        self.process.signal(signal).unwrap();
        let status = self.process.wait(DEADLINE).unwrap();
        let (stdout, stderr) = (self.stdout(), self.stderr());
        let Some(status) = status else { panic!("it does not end:\n{stderr}") };
        Ended { code: status.code(), stdout, stderr }
    }
}
