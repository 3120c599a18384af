//! source ──► log: hands groups to the log's writer, and the answer back to the source.
//!
//! It also remembers, for each source, what has become durable in this run: a source that starts again after a fault
//! goes on from there, and only when nothing that it handed over before is still on its way.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use async_trait::async_trait;
use change::catalog::{Kind, dead_letter_table};
use change::{Part, SourcePosition, TableChanges, TransactionGroup};
use log::{Log, LogError, OnFull};
use source::{Intake, IntakeError, Resume, Ticket};
use tokio::sync::watch;

use crate::catalogue::Catalogue;
use crate::failure::Failure;

/// The log as a source sees it.
pub(crate) struct LogIntake {
    log: Arc<Log>,
    sources: watch::Sender<BTreeMap<Arc<str>, Taken>>,
}

/// What was taken from one source.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    /// Groups handed over whose outcome is not known yet.
    under_way: u64,
    /// The position behind the last whole transaction that became durable in this run.
    durable: Option<SourcePosition>,
}

impl LogIntake {
    pub(crate) fn new(log: Arc<Log>) -> Self {
        Self { log, sources: watch::Sender::default() }
    }

    /// Waits until nothing of a source is under way, and says where it goes on.
    pub(crate) async fn resume(&self, name: &str, before: &Resume) -> Result<Resume, Failure> {
        let mut sources = self.sources.subscribe();
        let settled = |sources: &BTreeMap<Arc<str>, Taken>| {
            sources.get(name).is_none_or(|taken| taken.under_way == 0)
        };
        let durable = match sources.wait_for(settled).await {
            Ok(sources) => sources.get(name).and_then(|taken| taken.durable),
            Err(_gone) => return Err(Failure::Ended("the log's intake")),
        };
        let catalogue = Catalogue::read(&self.log)?;
        Ok(Resume {
            position: durable.or(before.position),
            state: catalogue.get(Kind::SourceState, name).map(str::to_owned),
            tables: catalogue.tables_of(name)?,
            restored: before.restored,
        })
    }
}

#[async_trait]
impl Intake for LogIntake {
    async fn submit(&self, group: TransactionGroup) -> Result<Ticket, IntakeError> {
        warn_of_dead_letters(&group);
        let (answer, ticket) = source::ticket();
        let name = Arc::clone(group.source());
        let whole = matches!(group.part(), Part::Whole | Part::Last);
        let position = group.heads().last().and_then(|head| head.position).filter(|_| whole);
        self.sources.send_modify(|sources| {
            sources.entry(Arc::clone(&name)).or_default().under_way += 1;
        });
        let (sources, of) = (self.sources.clone(), Arc::clone(&name));
        let done = Box::new(move |outcome: Result<_, LogError>| {
            settle(&sources, of, position.filter(|_| outcome.is_ok()));
            answer.send(outcome.map_err(failed));
        });
        // Encoding takes a while and a full queue blocks: this thread may. On a full disk a source waits for room.
        let append = || self.log.append_with(&group, OnFull::Wait, done);
        tokio::task::block_in_place(append).map_err(|error| {
            // A group that is refused at once is not answered.
            settle(&self.sources, name, None);
            failed(error)
        })?;
        Ok(ticket)
    }
}

/// Says that input was not taken in: once a group, so that bad input floods nobody.
fn warn_of_dead_letters(group: &TransactionGroup) {
    let is_dead_letters = |changes: &&TableChanges| {
        changes.table().name() == dead_letter_table().name() && !changes.changes().is_empty()
    };
    let Some(letters) = group.tables().iter().find(is_dead_letters) else { return };
    let rows = letters.changes().rows();
    let text = |column: &str| {
        let column = rows.column_by_name(column).expect("the table of dead letters has it");
        column.as_string::<i32>().value(0).to_owned()
    };
    let more = match letters.changes().len() - 1 {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    tracing::warn!(
        source = %group.source(),
        "{} was not taken in: {}{more} (see evert.dead_letters)",
        text("place"),
        text("reason")
    );
}

/// Notes that a group's outcome is known, and what is durable by it.
fn settle(
    sources: &watch::Sender<BTreeMap<Arc<str>, Taken>>,
    name: Arc<str>,
    durable: Option<SourcePosition>,
) {
    sources.send_modify(|sources| {
        let taken = sources.entry(name).or_default();
        taken.under_way -= 1;
        taken.durable = durable.or(taken.durable);
    });
}

fn failed(error: LogError) -> IntakeError {
    IntakeError::Log(Arc::new(error))
}
