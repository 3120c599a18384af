//! The command line: what can be asked of Evert, in clap's terms.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Turns databases inside out: changes become one durable log, SQL views over it stay right, and other systems
/// are fed from it exactly once.
#[derive(Debug, Parser)]
#[command(name = "evert", version, max_term_width = 100, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Log as JSON lines, for machines.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done; also after an interrupt that finished cleanly
  1  an unexpected failure
  2  the command line or the script is wrong
  3  a source or sink, or a place of backups, refused or could not be reached
  4  the data directory, or the place of backups, is in use by another process
  5  the log, or a backup, is damaged
  6  the disk is full
  7  a test file failed
  8  a proof does not hold";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a pipe or a script of SQL statements until interrupted.
    Run(RunArgs),
    /// Run a small shop with live views and a page at http://127.0.0.1:7480.
    Demo(DemoArgs),
    /// Read views with SQL, at one Time.
    Query(QueryArgs),
    /// Search a view's full-text index.
    Search(SearchArgs),
    /// Look into the log.
    #[command(subcommand)]
    Log(LogCommand),
    /// Write a receipt: a proof, for whoever keeps it, that a transaction is in the log.
    Prove(ProveArgs),
    /// Verify a receipt, or that a log is what was signed. Works offline, on a copy.
    Verify(VerifyArgs),
    /// Copy the log to a directory or to S3: consistent, incremental, also while it runs.
    Backup(BackupArgs),
    /// Make a data directory of a backup: verified, views recomputed and compared; also as it was at a Time.
    Restore(RestoreArgs),
    /// Watch logs for everybody: cosign what only grows, refuse a fork.
    Witness(WitnessArgs),
    /// Show sources with their lag, views with their rows, sinks with the Time they hold.
    Status(StatusArgs),
    /// Show what a pipe or script means: its statements, and how each view is maintained.
    Plan(PlanArgs),
    /// Create, write and read tables of Evert's own.
    Sql(SqlArgs),
    /// Run sqllogictest files, each on a fresh instance.
    Test(TestArgs),
    /// Remove a source, table, view or sink; a PostgreSQL source's slot and publication go with it.
    Drop(DropArgs),
}

/// Where the log and everything derived from it live.
#[derive(Clone, Debug, Args)]
pub(crate) struct DataDir {
    /// The data directory; `.evert` unless named.
    #[arg(long = "data", value_name = "DIR", env = "EVERT_DATA", hide_env_values = true)]
    pub(crate) data: Option<PathBuf>,
}

impl DataDir {
    /// The directory named, or the default.
    pub(crate) fn path(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| PathBuf::from(".evert"))
    }
}

/// `evert run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// Finish when finite sources have ended, live ones have reached the position that they had at the start, and the
    /// sinks hold it.
    #[arg(long)]
    pub(crate) once: bool,

    /// Also serve the page and the HTTP interface at this address.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:7480")]
    pub(crate) http: Option<SocketAddr>,

    /// How many workers share the upkeep of the views; one unless told.
    #[arg(long, value_name = "N", env = "EVERT_WORKERS", hide_env_values = true,
        value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: Option<u16>,

    /// How long the history of tables is kept whose statements do not say it: '7 days', or 'forever', as it is unless
    /// told. What is older is folded into what it came to.
    #[arg(long, value_name = "TIME", env = "EVERT_HISTORY", hide_env_values = true,
        value_parser = crate::retention::parse_history)]
    pub(crate) history: Option<plan::History>,
    /// Read the log's cold segments again at so many MB a second at most, to find damage; 0 for never.
    #[arg(long, value_name = "MB/s", env = "EVERT_SCRUB_RATE", hide_env_values = true,
        default_value_t = 16, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) scrub_rate: u32,

    /// A pipe, or a file of SQL statements (*.sql). Without it, what the directory's log already holds is run.
    #[arg(value_name = "PIPE|FILE.sql")]
    pub(crate) script: Option<String>,
}

/// `evert demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// Where to serve the page.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7480")]
    pub(crate) http: SocketAddr,

    /// Transactions a second in the shop.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,

    /// The shop's random seed.
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
}

/// The forms in which rows are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma-separated values with a header.
    Csv,
    /// A table to look at.
    Table,
}

/// The forms in which a summary is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SummaryFormat {
    /// A JSON object.
    Json,
    /// Tables to look at.
    Table,
}

/// `evert query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The form of the result; a table on a terminal, ndjson otherwise.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,

    /// A SELECT over views.
    pub(crate) sql: String,
}

/// `evert search`.
#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The form of the result; a table on a terminal, ndjson otherwise.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,

    /// How many rows at most.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,

    /// The view; it needs a `search` sink.
    pub(crate) view: String,

    /// The words.
    pub(crate) query: String,
}

/// `evert log`.
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print changes, one JSON object a line.
    Cat(LogCatArgs),
    /// Print the last transactions, one JSON object a line; with --follow also what comes.
    Tail(LogTailArgs),
    /// Print what happened to a row, at a Time or by a request, and which views and sinks show it.
    Trace(LogTraceArgs),
    /// Print the log's size and extent.
    Stat(LogStatArgs),
    /// Read all of the log again, and print what is not as it was written.
    Scrub(LogScrubArgs),
    /// Take what is damaged from a copy, and make proofs and indexes again; no process may have the directory.
    Repair(LogRepairArgs),
}

/// What is wanted of the log.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogFilter {
    /// Only changes of this table.
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,

    /// Only what comes from this source.
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
}

/// The forms in which lines are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LineFormat {
    /// One JSON array of objects.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// `evert log cat`.
#[derive(Debug, Args)]
pub(crate) struct LogCatArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    #[command(flatten)]
    pub(crate) filter: LogFilter,

    /// Start behind this Time.
    #[arg(long, value_name = "TIME")]
    pub(crate) after: Option<u64>,

    /// End with this Time.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<u64>,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "ndjson")]
    pub(crate) output: LineFormat,
}

/// What a trace is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TraceKind {
    /// A transaction's Time.
    Time,
    /// A request's id.
    Request,
    /// A row's key.
    Key,
}

/// `evert log trace`.
#[derive(Debug, Args)]
pub(crate) struct LogTraceArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The table of the row whose key is named.
    #[arg(long, value_name = "TABLE")]
    pub(crate) table: Option<String>,

    /// What is named; without it, and without a table, it is found out in this order.
    #[arg(long = "as", value_enum, value_name = "KIND")]
    pub(crate) kind: Option<TraceKind>,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,

    /// A Time, a request's id, or a row's key (its columns' values with commas between).
    #[arg(value_name = "TIME|REQUEST|KEY")]
    pub(crate) what: String,
}

/// `evert prove`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true))]
pub(crate) struct ProveArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The transaction at this Time.
    #[arg(long, value_name = "TIME", group = "which")]
    pub(crate) time: Option<u64>,

    /// The last transaction that carries this request id.
    #[arg(long, value_name = "ID", group = "which")]
    pub(crate) request: Option<String>,

    /// The last transaction that changed the row with this key (its columns' values with commas between).
    #[arg(long, value_name = "KEY", group = "which", requires = "table")]
    pub(crate) key: Option<String>,

    /// The table of that row.
    #[arg(long, value_name = "TABLE", requires = "key")]
    pub(crate) table: Option<String>,

    /// Where to write it; TIME.tlog-proof unless named, - for standard output.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `evert verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// Verify this receipt.
    #[arg(long, value_name = "FILE", conflicts_with = "since")]
    pub(crate) proof: Option<PathBuf>,

    /// The log's directory, or a copy of it; that of the data directory unless named.
    #[arg(long, value_name = "DIR")]
    pub(crate) log: Option<PathBuf>,

    /// Also verify that the log still begins with what this checkpoint signed.
    #[arg(long, value_name = "CHECKPOINT")]
    pub(crate) since: Option<PathBuf>,

    /// The log's public key, or a file that holds it; what the directory says unless named.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) key: Option<String>,

    /// The public key of a witness that must have cosigned.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) witness: Vec<String>,

    /// How many of the witnesses must have; all unless told.
    #[arg(long, value_name = "N")]
    pub(crate) quorum: Option<usize>,

    /// The receipt must be of this Time.
    #[arg(long, value_name = "TIME", requires = "proof")]
    pub(crate) time: Option<u64>,

    /// The receipt must be of this request.
    #[arg(long, value_name = "ID", requires = "proof")]
    pub(crate) request: Option<String>,

    /// The receipt must be of a transaction from this source.
    #[arg(long, value_name = "NAME", requires = "proof")]
    pub(crate) source: Option<String>,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,
}

/// `evert backup`.
#[derive(Debug, Args)]
pub(crate) struct BackupArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// List the backups that are there.
    #[arg(long, conflicts_with_all = ["with_key", "prune"])]
    pub(crate) list: bool,

    /// Also copy the log's private key. Whoever reads the backup can sign in the log's name then.
    #[arg(long)]
    pub(crate) with_key: bool,

    /// Afterwards remove all but the newest KEEP backups.
    #[arg(long, value_name = "KEEP")]
    pub(crate) prune: Option<std::num::NonZeroUsize>,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,

    /// Where backups are kept: a directory, or s3://BUCKET/PREFIX. Each log has its own place.
    #[arg(value_name = "DIR|s3://…")]
    pub(crate) place: String,
}

/// `evert restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The data directory to make; it must not be there, or be empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,

    /// The log as it was at this Time: exactly the transactions up to it. The log gets another identity.
    #[arg(long, value_name = "TIME", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) time: Option<u64>,

    /// The backup, as `evert backup --list` names it, or the end of its name; the last one unless named.
    #[arg(long, value_name = "ID", conflicts_with = "time")]
    pub(crate) backup: Option<String>,

    /// The log's public key, or a file that holds it; what the backup says unless named.
    #[arg(long, value_name = "KEY|FILE")]
    pub(crate) key: Option<String>,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,

    /// Where the backups are: a directory, or s3://BUCKET/PREFIX.
    #[arg(value_name = "DIR|s3://…")]
    pub(crate) from: String,
}

/// `evert witness`.
#[derive(Debug, Args)]
pub(crate) struct WitnessArgs {
    /// Where the key and the last state of each log are kept.
    #[arg(long, value_name = "DIR", default_value = ".evert-witness")]
    pub(crate) state: PathBuf,

    /// Where to answer.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7490")]
    pub(crate) listen: SocketAddr,

    /// The witness's name, when its key is made.
    #[arg(long, default_value = "witness")]
    pub(crate) name: String,

    /// The public keys of the logs to watch, or files that hold them.
    #[arg(required = true, value_name = "KEY|FILE")]
    pub(crate) logs: Vec<String>,
}

/// `evert log tail`.
#[derive(Debug, Args)]
pub(crate) struct LogTailArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    #[command(flatten)]
    pub(crate) filter: LogFilter,

    /// How many of the last transactions to print first.
    #[arg(short = 'n', long, default_value_t = 10)]
    pub(crate) lines: u64,

    /// Start behind this Time instead.
    #[arg(long, value_name = "TIME")]
    pub(crate) after: Option<u64>,

    /// Go on with new transactions until interrupted.
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// The form of the result; an array has an end, so not with --follow.
    #[arg(short, long, value_enum, default_value = "ndjson")]
    pub(crate) output: LineFormat,
}

/// `evert log stat`.
#[derive(Debug, Args)]
pub(crate) struct LogStatArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,
}

/// `evert log scrub`.
#[derive(Debug, Args)]
pub(crate) struct LogScrubArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The log's directory, or a copy of it; that of the data directory unless named.
    #[arg(long, value_name = "DIR")]
    pub(crate) log: Option<PathBuf>,

    /// Read at most so many MB a second; as fast as the disk unless told.
    #[arg(long, value_name = "MB/s", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: Option<u32>,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,
}

/// `evert log repair`.
#[derive(Debug, Args)]
pub(crate) struct LogRepairArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// Where to take good bytes from: a copy of the log's directory or of the data directory, or a place of backups (a
    /// directory, or s3://BUCKET/PREFIX).
    #[arg(long, value_name = "COPY|s3://…")]
    pub(crate) from: Option<String>,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,
}

/// `evert status`.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The form of the result.
    #[arg(short, long, value_enum, default_value = "table")]
    pub(crate) output: SummaryFormat,
}

/// `evert plan`.
#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// A pipe, or a file of SQL statements (*.sql).
    #[arg(value_name = "PIPE|FILE.sql")]
    pub(crate) script: String,
}

/// `evert drop`.
#[derive(Debug, Args)]
pub(crate) struct DropArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// Drop a source also when its server cannot be reached; its slot and publication then stay behind.
    #[arg(long)]
    pub(crate) force: bool,

    /// The source, table, view or sink.
    pub(crate) name: String,
}

/// `evert sql`.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    #[command(flatten)]
    pub(crate) dir: DataDir,

    /// The form of rows; a table on a terminal, ndjson otherwise.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,

    /// Statements, or a file of them (*.sql).
    #[arg(value_name = "STATEMENTS|FILE.sql")]
    pub(crate) sql: String,
}

/// `evert test`.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// After every change, compare every view with its query, run as a batch over the same tables.
    #[arg(long)]
    pub(crate) verify: bool,

    /// Write what was found into the files, where it is not what they expect.
    #[arg(long = "override")]
    pub(crate) rewrite: bool,

    /// The files.
    #[arg(required = true, value_name = "FILE.slt")]
    pub(crate) files: Vec<PathBuf>,
}
