//! A PostgreSQL server with logical replication.
//!
//! The first start on a machine makes an empty cluster with `initdb` and keeps it in the temporary directory; every
//! server begins with a copy of it, which is a matter of milliseconds. PostgreSQL refuses to run as root: as root, it
//! runs as the user `postgres`, or `nobody`.

use std::fs::{self, File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::process::{output, run, text_of};
use crate::{Process, ServerError, Signal, Stop, free_port};

/// The password of the superuser `postgres`.
pub const PASSWORD: &str = "evert-test";

const PACKAGE: &str = "postgresql";
const READY_MAX: Duration = Duration::from_secs(60);

/// How clients on TCP prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// They need not.
    Trust,
    /// With [`PASSWORD`], by SCRAM-SHA-256.
    Scram,
}

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// How clients prove who they are.
    pub auth: Auth,
    /// Whether commits are synced to disk.
    pub fsync: bool,
    /// More settings, as in `postgresql.conf`.
    pub settings: Vec<(String, String)>,
}

impl PostgresOptions {
    /// As users run it: commits are synced.
    #[must_use]
    pub fn durable() -> Self {
        Self { auth: Auth::Trust, fsync: true, settings: Vec::new() }
    }

    /// For tests that do not measure and do not pull the plug: commits are not synced.
    #[must_use]
    pub fn quick() -> Self {
        Self { fsync: false, ..Self::durable() }
    }
}

/// A PostgreSQL server of its own; stopped and removed when dropped.
#[derive(Debug)]
pub struct Postgres {
    programs: Programs,
    port: u16,
    auth: Auth,
    process: Option<Process>,
    directory: TempDir,
}

impl Postgres {
    /// Starts a server on a free port, with `wal_level = logical`.
    ///
    /// # Errors
    /// When the programs are missing, with the package that brings them; or when the server does not start.
    pub fn start(options: PostgresOptions) -> Result<Self, ServerError> {
        let programs = Programs::find()?;
        let template = template(&programs)?;
        let directory = tempfile::Builder::new()
            .prefix("evert-pg-")
            .tempdir()
            .map_err(ServerError::io("make a temporary directory"))?;
        programs.give(directory.path())?;
        let data = directory.path().join("data");
        run(programs.command("cp").arg("-a").arg(&template).arg(&data))?;
        let mut server =
            Self { programs, port: free_port()?, auth: options.auth, process: None, directory };
        server.configure(&options)?;
        server.start_again()?;
        Ok(server)
    }

    /// The URL of a database for its superuser, on TCP.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = match self.auth {
            Auth::Trust => String::new(),
            Auth::Scram => format!(":{PASSWORD}"),
        };
        format!("postgres://postgres{password}@127.0.0.1:{}/{database}", self.port)
    }

    /// The TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the server's programs are (`pg_recvlogical`, `pgbench`).
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.programs.path(name)
    }

    /// The directory of its Unix socket.
    #[must_use]
    pub fn socket_directory(&self) -> &Path {
        self.directory.path()
    }

    /// Runs SQL in the database `postgres`; returns the rows as unaligned text.
    ///
    /// # Errors
    /// With what psql wrote, when a statement failed; those after it did not run.
    pub fn psql(&self, sql: &str) -> Result<String, ServerError> {
        self.psql_in("postgres", sql)
    }

    /// Runs SQL in a database; returns the rows as unaligned text, without the last line's end.
    ///
    /// # Errors
    /// With what psql wrote, when a statement failed; those after it did not run.
    pub fn psql_in(&self, database: &str, sql: &str) -> Result<String, ServerError> {
        let mut command = Command::new(self.programs.path("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database]);
        command.arg("-h").arg(self.directory.path()).arg("-p").arg(self.port.to_string());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(ServerError::io("start psql"))?;
        let input = child.stdin.take();
        let output = std::thread::scope(|scope| {
            // psql may write before it has read everything; it may also end early, which its status tells.
            scope.spawn(move || {
                input.map(|mut input| input.write_all(sql.as_bytes()).unwrap_or_default())
            });
            child.wait_with_output().map_err(ServerError::io("wait for psql"))
        })?;
        Ok(text_of("psql", &output)?.trim_end_matches('\n').to_owned())
    }

    /// Whether the server runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Stops the server and waits until it is gone.
    ///
    /// # Errors
    /// When it does not stop in a minute.
    pub fn stop(&mut self, stop: Stop) -> Result<(), ServerError> {
        let mode = match stop {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        let Some(mut process) = self.process.take() else { return Ok(()) };
        let mut command = self.programs.command("pg_ctl");
        run(command.args(["stop", "-w", "-t", "60", "-m", mode, "-D"]).arg(self.data()))?;
        process.wait(READY_MAX)?;
        Ok(())
    }

    /// Starts the server again, on the same port and data.
    ///
    /// # Errors
    /// When it does not become ready, with the end of its log.
    ///
    /// # Panics
    /// When it runs.
    pub fn start_again(&mut self) -> Result<(), ServerError> {
        assert!(self.process.is_none(), "the server was stopped before");
        let log = self.directory.path().join("log");
        let mut command = self.programs.command("postgres");
        command.arg("-D").arg(self.data());
        let process = Process::start_server(&mut command, &log, READY_MAX, || self.answers())?;
        self.process = Some(process);
        Ok(())
    }

    /// Sends a signal to the server's main process; one that does not run is left alone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServerError> {
        self.process.as_mut().map_or(Ok(()), |process| process.signal(signal))
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn answers(&self) -> bool {
        let mut command = Command::new(self.programs.path("pg_isready"));
        command.arg("-q").arg("-h").arg(self.directory.path()).arg("-p").arg(self.port.to_string());
        command.status().is_ok_and(|status| status.success())
    }

    fn configure(&self, options: &PostgresOptions) -> Result<(), ServerError> {
        let method = match options.auth {
            Auth::Trust => "trust",
            Auth::Scram => "scram-sha-256",
        };
        let rules = format!(
            "local all all trust\nlocal replication all trust\n\
             host all all 127.0.0.1/32 {method}\nhost replication all 127.0.0.1/32 {method}\n"
        );
        let fsync = if options.fsync { "on" } else { "off" };
        let socket = self.directory.path().display();
        let mut settings = format!(
            "port = {}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{socket}'\n\
             fsync = {fsync}\nwal_level = logical\nmax_replication_slots = 20\n\
             max_wal_senders = 20\nmax_connections = 100\ntimezone = 'UTC'\nlc_messages = 'C'\n",
            self.port
        );
        for (name, value) in &options.settings {
            settings.push_str(&format!("{name} = '{value}'\n"));
        }
        self.write("pg_hba.conf", rules.as_bytes())?;
        self.append("postgresql.conf", settings.as_bytes())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ServerError> {
        let path = self.data().join(name);
        fs::write(&path, bytes).map_err(ServerError::io(format!("write {}", path.display())))
    }

    fn append(&self, name: &str, bytes: &[u8]) -> Result<(), ServerError> {
        let path = self.data().join(name);
        let file = File::options().append(true).open(&path);
        file.and_then(|mut file| file.write_all(bytes))
            .map_err(ServerError::io(format!("write {}", path.display())))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The data goes with it, so nothing needs to be written out; the process is killed in any case.
        self.stop(Stop::Immediate).unwrap_or_default();
    }
}

/// The server's programs, and the user they run as.
#[derive(Clone, Debug)]
struct Programs {
    bin: PathBuf,
    /// User and group ids, when we are root.
    user: Option<(u32, u32)>,
}

impl Programs {
    fn find() -> Result<Self, ServerError> {
        let mut places: Vec<PathBuf> =
            std::env::var_os("PG_BIN").map(PathBuf::from).into_iter().collect();
        let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
            .map(|entries| entries.flatten().map(|entry| entry.path().join("bin")).collect())
            .unwrap_or_default();
        versions.sort();
        places.extend(versions.into_iter().rev());
        places.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
        let Some(bin) = places.iter().find(|place| place.join("initdb").is_file()) else {
            return Err(ServerError::Missing {
                program: "initdb".into(),
                searched: "PG_BIN, /usr/lib/postgresql/*/bin and PATH".into(),
                package: PACKAGE,
                variable: "PG_BIN",
            });
        };
        Ok(Self { bin: bin.clone(), user: unprivileged()? })
    }

    /// A program beside `initdb`, or else from PATH.
    fn path(&self, program: &str) -> PathBuf {
        let beside = self.bin.join(program);
        if beside.is_file() { beside } else { program.into() }
    }

    /// A command that runs as the server's user.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.path(program));
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        command.current_dir("/");
        command
    }

    /// Gives a new directory to the server's user.
    fn give(&self, directory: &Path) -> Result<(), ServerError> {
        if let Some((user, group)) = self.user {
            chown(directory, Some(user), Some(group))
                .map_err(ServerError::io(format!("chown {}", directory.display())))?;
        }
        // Others may reach the socket.
        fs::set_permissions(directory, Permissions::from_mode(0o755))
            .map_err(ServerError::io(format!("chmod {}", directory.display())))
    }
}

/// The user that the server runs as when we are root; `None` when we are not.
fn unprivileged() -> Result<Option<(u32, u32)>, ServerError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(ServerError::io("read /etc/passwd"))?;
    let ids = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    match ids("postgres").or_else(|| ids("nobody")) {
        Some(user) => Ok(Some(user)),
        None => Err(ServerError::Missing {
            program: "an unprivileged user (postgres or nobody)".into(),
            searched: "/etc/passwd".into(),
            package: PACKAGE,
            variable: "PG_BIN",
        }),
    }
}

/// Returns an empty cluster, which is made once and kept in the temporary directory.
fn template(programs: &Programs) -> Result<PathBuf, ServerError> {
    let version = text_of("postgres", &output(programs.command("postgres").arg("--version"))?)?;
    // `postgres (PostgreSQL) 15.18 (Debian …)`.
    let version = version.split_whitespace().nth(2).unwrap_or("unknown");
    let user = programs.user.map_or(rustix::process::geteuid().as_raw(), |(user, _)| user);
    let kept = std::env::temp_dir().join(format!("evert-pg-template-{version}-{user}"));
    let ready = kept.join("data");
    if ready.join("PG_VERSION").is_file() {
        return Ok(ready);
    }
    // Made aside and renamed, so that a half-made one is never used and two makers do no harm.
    let aside = tempfile::Builder::new()
        .prefix("evert-pg-template-new-")
        .tempdir()
        .map_err(ServerError::io("make a temporary directory"))?;
    programs.give(aside.path())?;
    let password = aside.path().join("password");
    fs::write(&password, PASSWORD).map_err(ServerError::io("write the password file"))?;
    let mut initdb = programs.command("initdb");
    initdb.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8"]);
    initdb.arg("--no-sync").arg("--pwfile").arg(&password).arg("-D").arg(aside.path().join("data"));
    run(&mut initdb)?;
    let aside = aside.keep();
    if fs::rename(&aside, &kept).is_err() {
        // Somebody else was quicker.
        fs::remove_dir_all(&aside).map_err(ServerError::io("remove a spare template"))?;
    }
    Ok(ready)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_its_data_and_port_over_a_restart() {
        let mut server = Postgres::start(PostgresOptions::durable()).unwrap();
        server.psql("create table t (a int); insert into t values (1), (2)").unwrap();
        let url = server.url("postgres");
        server.stop(Stop::Immediate).unwrap();
        assert!(!server.is_running());
        server.start_again().unwrap();
        assert_eq!(server.url("postgres"), url);
        assert_eq!(server.psql("select a from t order by a").unwrap(), "1\n2");
        assert_eq!(server.psql("show wal_level").unwrap(), "logical");
    }

    #[test]
    fn a_failed_statement_is_an_error_with_the_servers_words() {
        let server = Postgres::start(PostgresOptions::quick()).unwrap();
        let error = server.psql("select 1; select nonsense; select 2").unwrap_err().to_string();
        assert!(error.contains("column \"nonsense\" does not exist"), "{error}");
    }

    #[test]
    fn a_dropped_server_leaves_no_process_and_no_directory() {
        let server = Postgres::start(PostgresOptions::quick()).unwrap();
        let (directory, port) = (server.socket_directory().to_owned(), server.port());
        drop(server);
        assert!(!directory.exists());
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
    }
}
