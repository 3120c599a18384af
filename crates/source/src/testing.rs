//! What the sources' tests share: an intake in memory, and a source run against it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex};

use arrow::util::pretty::pretty_format_batches;
use async_trait::async_trait;
use change::catalog::Kind;
use change::{SourcePosition, TableSchema, Time, TransactionGroup};
use tokio::sync::watch;

use crate::{
    End, Intake, IntakeError, Progress, Resume, RunOptions, Source, SourceConfig, SourceError,
    Ticket, ticket,
};

/// An intake that keeps everything in memory, and calls it durable at once.
#[derive(Default)]
pub(crate) struct MemoryIntake {
    groups: Mutex<Vec<TransactionGroup>>,
}

#[async_trait]
impl Intake for MemoryIntake {
    async fn submit(&self, group: TransactionGroup) -> Result<Ticket, IntakeError> {
        let mut groups = self.groups.lock().unwrap();
        groups.push(group);
        let (sender, ticket) = ticket();
        sender.send(Ok(Time(groups.len() as u64)));
        Ok(ticket)
    }
}

impl MemoryIntake {
    pub(crate) fn groups(&self) -> Vec<TransactionGroup> {
        self.groups.lock().unwrap().clone()
    }
}

/// A script's source.
pub(crate) fn config(url: &str, options: &[(&str, &str)]) -> SourceConfig {
    let option = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    SourceConfig {
        name: "s".into(),
        url: url.to_owned(),
        options: options.iter().map(option).collect::<BTreeMap<_, _>>(),
    }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) tables: Vec<Arc<TableSchema>>,
    pub(crate) groups: Vec<TransactionGroup>,
    pub(crate) progress: Arc<Progress>,
}

impl Ran {
    /// What the log would know behind the first `count` groups.
    pub(crate) fn resume_behind(&self, count: usize) -> Resume {
        let head = self.groups[..count].iter().filter_map(|group| group.heads().last()).next_back();
        Resume {
            position: head.and_then(|head| head.position),
            state: self.groups[..count].iter().find_map(state),
            tables: self.tables.clone(),
            restored: false,
        }
    }

    /// All rows of a table, as text.
    pub(crate) fn show(&self, table: &str) -> String {
        let mut batches = Vec::new();
        for group in &self.groups {
            for changes in group.tables() {
                if &*changes.table().name().table == table {
                    batches.push(changes.changes().rows().clone());
                }
            }
        }
        pretty_format_batches(&batches).unwrap().to_string()
    }

    /// The columns of the only table, as text.
    pub(crate) fn show_columns(&self) -> String {
        let mut shown = String::new();
        for field in self.tables[0].columns().fields() {
            write!(shown, "{}: {}", field.name(), field.data_type()).unwrap();
            if let Some(logical) = change::logical_type(field) {
                write!(shown, " ({logical})").unwrap();
            }
            shown.push('\n');
        }
        shown
    }
}

fn state(group: &TransactionGroup) -> Option<String> {
    let own = group.tables().iter().find(|changes| &*changes.table().name().table == "catalog")?;
    let column = |place| {
        let column: &dyn arrow::array::Array = own.changes().rows().column(place);
        let texts = column.as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
        texts.value(0).to_owned()
    };
    assert_eq!(column(0), Kind::SourceState.as_str());
    Some(column(2))
}

/// Runs a source with `once` from where `resume` says.
pub(crate) async fn run(source: &mut dyn Source, resume: Resume) -> Result<Ran, SourceError> {
    let tables = source.discover(&resume).await?;
    let intake = Arc::new(MemoryIntake::default());
    let (_stop, stop) = watch::channel(false);
    let progress = Arc::new(Progress::default());
    let options = RunOptions { once: true, stop, progress: Arc::clone(&progress) };
    let taking: Arc<dyn Intake> = Arc::<MemoryIntake>::clone(&intake);
    let end = source.run(resume, taking, options).await?;
    assert_eq!(end, End::Ended);
    Ok(Ran { tables, groups: intake.groups(), progress })
}

/// Opens and runs a source with `once` from where `resume` says.
pub(crate) async fn run_url(
    url: &str,
    options: &[(&str, &str)],
    resume: Resume,
) -> Result<Ran, SourceError> {
    let mut source = crate::open(config(url, options))?;
    run(&mut *source, resume).await
}

/// Checks that a source gives the same groups twice, and behind every group exactly the remaining ones.
pub(crate) async fn check_conformance(url: &str, options: &[(&str, &str)]) -> Ran {
    let first = run_url(url, options, Resume::default()).await.unwrap();
    let second = run_url(url, options, Resume::default()).await.unwrap();
    assert!(first.groups == second.groups, "the same input gives the same groups");
    let positions: Vec<Option<SourcePosition>> =
        first.groups.iter().flat_map(TransactionGroup::heads).map(|head| head.position).collect();
    assert!(positions.is_sorted_by(|a, b| a < b), "positions ascend");
    for count in 1..=first.groups.len() {
        let rest = run_url(url, options, first.resume_behind(count)).await.unwrap();
        assert!(rest.groups == first.groups[count..], "behind group {count} come the others");
    }
    first
}
