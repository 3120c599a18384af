//! A server, an intake in memory, and a source that runs between them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use arrow::util::display::array_value_to_string;
use async_trait::async_trait;
use change::catalog::OWN_SOURCE;
use change::{ChangeForm, Part, SourcePosition, TRUNCATE, TableSchema, Time, TransactionGroup};
use servers::{Postgres, PostgresOptions};
use source::{
    End, Intake, IntakeError, Progress, Resume, RunOptions, SourceConfig, SourceError, Ticket,
    TicketSender,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Starts a server that does not sync, and fills it.
pub(crate) fn server(sql: &str) -> Postgres {
    let server = Postgres::start(PostgresOptions::quick()).unwrap();
    server.psql(sql).unwrap();
    server
}

/// An intake in memory; what it takes is durable at once, or when it is told to be.
#[derive(Default)]
pub(crate) struct Memory {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    groups: Vec<TransactionGroup>,
    durable: usize,
    holds: bool,
    /// How many groups are taken; then it is as if the log were full.
    room: Option<usize>,
    held: VecDeque<TicketSender>,
}

impl Memory {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing becomes durable.
    pub(crate) fn hold(&self) {
        self.inner().holds = true;
    }

    /// Takes so many groups more, and then none.
    pub(crate) fn fill_up_after(&self, groups: usize) {
        let mut inner = self.inner();
        inner.room = Some(inner.groups.len() + groups);
    }

    /// The `count` oldest groups that are held become durable.
    pub(crate) fn release(&self, count: usize) {
        let mut inner = self.inner();
        for _ in 0..count {
            let sender = inner.held.pop_front().unwrap();
            inner.durable += 1;
            sender.send(Ok(Time(1)));
        }
    }

    /// All groups that were submitted.
    pub(crate) fn groups(&self) -> Vec<TransactionGroup> {
        self.inner().groups.clone()
    }

    /// Those of them that are durable.
    pub(crate) fn durable(&self) -> Vec<TransactionGroup> {
        let inner = self.inner();
        inner.groups[..inner.durable].to_vec()
    }

    /// What a later run finds in the log.
    pub(crate) fn resume(&self) -> Resume {
        resume_of(&self.durable())
    }

    /// A table's rows by key (or by themselves), as the durable groups make them.
    pub(crate) fn rows(&self, table: &str) -> BTreeMap<String, Vec<String>> {
        rows_of(&self.durable(), table)
    }
}

#[async_trait]
impl Intake for Memory {
    async fn submit(&self, group: TransactionGroup) -> Result<Ticket, IntakeError> {
        let (sender, ticket) = source::ticket();
        let is_full = {
            let inner = self.inner();
            inner.room.is_some_and(|room| inner.groups.len() >= room)
        };
        if is_full {
            std::future::pending::<()>().await;
        }
        let mut inner = self.inner();
        inner.groups.push(group);
        if inner.holds {
            inner.held.push_back(sender);
        } else {
            inner.durable += 1;
            sender.send(Ok(Time(1)));
        }
        Ok(ticket)
    }
}

fn resume_of(groups: &[TransactionGroup]) -> Resume {
    let mut resume = Resume::default();
    for group in groups {
        if !matches!(group.part(), Part::Whole | Part::Last) {
            continue;
        }
        resume.position = group.heads().last().and_then(|head| head.position).or(resume.position);
        let catalog =
            group.tables().iter().filter(|table| &*table.table().name().source == OWN_SOURCE);
        for changes in catalog.filter(|table| &*table.table().name().table == "catalog") {
            let rows = changes.changes().rows();
            let column = |at: usize| rows.column(at).as_string::<i32>();
            for row in 0..rows.num_rows() {
                let definition = column(2).value(row);
                match column(0).value(row) {
                    "source_state" => resume.state = Some(definition.to_owned()),
                    "table" => {
                        resume.tables.push(Arc::new(TableSchema::from_json(definition).unwrap()));
                    }
                    other => panic!("a row of kind {other}"),
                }
            }
        }
    }
    resume
}

/// Drops the parts of transactions that were never finished.
fn finished(groups: &[TransactionGroup]) -> Vec<TransactionGroup> {
    let (mut finished, mut parts) = (Vec::new(), Vec::new());
    for group in groups {
        match group.part() {
            Part::Whole => finished.push(group.clone()),
            Part::First => parts = vec![group.clone()],
            Part::Middle => parts.push(group.clone()),
            Part::Last => {
                finished.append(&mut parts);
                finished.push(group.clone());
            }
        }
    }
    finished
}

/// Makes rows of changes, as the dataflow's table input does.
pub(crate) fn rows_of(groups: &[TransactionGroup], table: &str) -> BTreeMap<String, Vec<String>> {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    for group in finished(groups) {
        for changes in group.tables().iter().filter(|c| &*c.table().name().table == table) {
            let schema = changes.table();
            let batch = changes.changes().rows();
            let mut removed: Option<Vec<String>> = None;
            for row in 0..batch.num_rows() {
                let text = |column: usize| {
                    let array = batch.column(column);
                    if array.is_null(row) {
                        "NULL".to_owned()
                    } else {
                        array_value_to_string(array, row).unwrap()
                    }
                };
                let mut values: Vec<String> = (0..batch.num_columns()).map(text).collect();
                let diff = changes.changes().diffs()[row];
                if diff == TRUNCATE {
                    rows.clear();
                    counts.clear();
                    continue;
                }
                let key: Vec<&str> = match schema.form() {
                    ChangeForm::Upsert => schema.key().iter().map(|&at| &*values[at]).collect(),
                    ChangeForm::Exact => values.iter().map(|value| &**value).collect(),
                };
                let key = key.join("|");
                if schema.form() == ChangeForm::Exact {
                    let count = counts.entry(key.clone()).or_default();
                    *count += diff;
                    assert!(*count >= 0, "a row of {table} went that was not there: {key}");
                    if *count == 0 {
                        rows.remove(&key);
                    } else {
                        rows.insert(key, values);
                    }
                } else if diff == -1 {
                    removed = rows.remove(&key);
                } else {
                    let unchanged = changes.unchanged().iter().filter(|at| at.row as usize == row);
                    for at in unchanged {
                        let old =
                            rows.get(&key).or(removed.as_ref()).expect("unchanged from an old row");
                        values[at.column as usize].clone_from(&old[at.column as usize]);
                    }
                    rows.insert(key, values);
                    removed = None;
                }
            }
        }
    }
    rows
}

/// What `select` says, in the form of [`rows_of`] of a table of integers and texts.
pub(crate) fn selected(server: &Postgres, sql: &str) -> Vec<Vec<String>> {
    let text = server.psql(&format!("\\pset null NULL\n{sql}")).unwrap();
    text.lines().map(|line| line.split('|').map(str::to_owned).collect()).collect()
}

/// Asserts that the rows in memory are those of the server; their first column is the key.
pub(crate) fn assert_equal(server: &Postgres, memory: &Memory, table: &str) {
    let mut expected = selected(server, &format!("select * from {table}"));
    let mut found: Vec<_> = memory.rows(table).into_values().collect();
    expected.sort();
    found.sort();
    let first = |these: &[Vec<String>], others: &[Vec<String>]| {
        these.iter().find(|row| others.binary_search(row).is_err()).cloned()
    };
    assert!(
        expected == found,
        "{table}: {} rows expected, {} found; only there {:?}, only here {:?}",
        expected.len(),
        found.len(),
        first(&expected, &found),
        first(&found, &expected),
    );
}

/// How to reach a server's database `postgres` as source `shop`.
pub(crate) fn config(server: &Postgres, options: &[(&str, &str)]) -> SourceConfig {
    let options = options.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
    SourceConfig { name: "shop".into(), url: server.url("postgres"), options: options.collect() }
}

/// A source that runs in the background.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    pub(crate) progress: Arc<Progress>,
    task: JoinHandle<Result<End, SourceError>>,
}

impl Running {
    /// Starts a source where `resume` says.
    pub(crate) fn start(
        config: SourceConfig,
        memory: &Arc<Memory>,
        resume: Resume,
        once: bool,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let progress = Arc::new(Progress::default());
        let run = RunOptions { once, stop: stopped, progress: Arc::clone(&progress) };
        let intake = Arc::clone(memory) as Arc<dyn Intake>;
        let task =
            tokio::spawn(async move { source::open(config)?.run(resume, intake, run).await });
        Self { stop, progress, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(true).unwrap();
        assert_eq!(self.end().await.unwrap(), End::Stopped);
    }

    pub(crate) async fn end(self) -> Result<End, SourceError> {
        tokio::time::timeout(DEADLINE, self.task).await.expect("it ends in time").unwrap()
    }
}

/// Runs a source to the position that the server has now.
pub(crate) async fn run_once(server: &Postgres, memory: &Arc<Memory>, options: &[(&str, &str)]) {
    let running = Running::start(config(server, options), memory, memory.resume(), true);
    assert_eq!(running.end().await.unwrap(), End::Ended);
}

/// Waits until it is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + DEADLINE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An LSN of the server as a number.
pub(crate) fn lsn(server: &Postgres, expression: &str) -> u64 {
    let text = server.psql(&format!("select ({expression}) - '0/0'::pg_lsn")).unwrap();
    text.parse().unwrap()
}

/// The LSN that the slot of `shop` has confirmed.
pub(crate) fn confirmed(server: &Postgres) -> u64 {
    lsn(
        server,
        "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'evert_shop'",
    )
}

/// The ends of all whole transactions of groups.
pub(crate) fn ends(groups: &[TransactionGroup]) -> Vec<u64> {
    let whole = groups.iter().filter(|group| matches!(group.part(), Part::Whole | Part::Last));
    let positions = whole.flat_map(|group| group.heads().iter().filter_map(|head| head.position));
    positions
        .map(|position| match position {
            SourcePosition::Lsn(lsn) => lsn,
            other => panic!("{other} is no LSN"),
        })
        .collect()
}
