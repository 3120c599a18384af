//! From what the user asks and what the log already holds to what runs.
//!
//! Statements that are new become rows of the catalogue, in the log, before anything runs; from then on the directory
//! knows them without being told again. What belongs to one run alone stays out of the log: standard input and
//! output, and a pipe's unnamed result.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{Int64Array, RecordBatch, new_null_array};
use change::catalog::{CatalogChange, Kind, OWN_SOURCE, TABLES_SOURCE, catalog_changes};
use change::{
    ChangeBatch, Part, SourcePosition, TRUNCATE, TableChanges, TableName, TableSchema,
    TransactionGroup, TransactionHead,
};
use log::{Log, LogOptions, RealDisk, Recovery};
use plan::ir::{Program, SinkSpec, SourceSpec, ViewPlan};
use plan::{Problems, Script};
use source::Resume;

use crate::catalogue::{Catalogue, own_table_rows, table_row};
use crate::directory::{self, Directory};
use crate::failure::Failure;
use crate::patience::Patience;
use crate::restored;
use crate::retention::source_config;
use crate::signing;
use crate::supply::Supply;

/// The size at which a segment of the log is full, and what it may be. History is folded segment by segment.
const SEGMENT_VARIABLE: &str = "EVERT_SEGMENT_BYTES";
const SEGMENT_BYTES: std::ops::RangeInclusive<u64> = 4_096..=1 << 30;

/// The name that a pipe gives to a result that the user did not name.
const UNNAMED_VIEW: &str = "result";

/// All that a run needs.
pub(crate) struct Prepared {
    /// The directory, held alone, and its log.
    pub(crate) opened: Opened,
    /// What the catalogue does not know yet; noted when the sinks have turned out to be as they should.
    pub(crate) news: Vec<CatalogChange>,
    /// What runs.
    pub(crate) program: Program,
    /// The sources, open.
    pub(crate) sources: Vec<Supply>,
}

/// A data directory that is open for writing.
pub(crate) struct Opened {
    /// Its log. It is declared, and so closed, before the directory is free.
    pub(crate) log: Arc<Log>,
    /// The log's identity.
    pub(crate) log_id: [u8; 16],
    /// The last durable position of each source.
    pub(crate) positions: BTreeMap<String, SourcePosition>,
    /// What exists.
    pub(crate) catalogue: Catalogue,
    /// The directory, held alone; not held when it is only read.
    pub(crate) directory: Option<Directory>,
}

impl Opened {
    /// Takes a directory and recovers its log.
    pub(crate) fn new(root: &Path) -> Result<Self, Failure> {
        let directory = Directory::acquire(root)?;
        let options = log_options()?;
        let dir = directory::log_dir(root);
        let (log, recovery) = Log::open(&dir, options, Arc::new(RealDisk), wall_clock_us)?;
        if recovery.cut_bytes > 0 {
            tracing::warn!(
                bytes = recovery.cut_bytes,
                "the log ended in an unfinished frame, which was never acknowledged; it was cut"
            );
        }
        signing::start(&log, root, recovery.log_id)?;
        Self::with(Some(directory), log, recovery)
    }

    /// Reads what a directory's log holds. Nothing is written, so the directory need not be held: a process may
    /// start at the same moment.
    pub(crate) fn at_rest(root: &Path) -> Result<Self, Failure> {
        let (log, recovery) = Log::open_read_only(&directory::log_dir(root), Arc::new(RealDisk))?;
        Self::with(None, log, recovery)
    }

    fn with(directory: Option<Directory>, log: Log, recovery: Recovery) -> Result<Self, Failure> {
        let catalogue = Catalogue::read(&log)?;
        let (log_id, positions) = (recovery.log_id, recovery.positions);
        Ok(Self { directory, log: Arc::new(log), log_id, positions, catalogue })
    }

    /// What the log knows of a source.
    pub(crate) fn resume(&self, source: &str) -> Result<Resume, Failure> {
        let state = self.catalogue.get(Kind::SourceState, source).map(str::to_owned);
        let tables = self.catalogue.tables_of(source)?;
        let root = self.directory.as_ref().map(Directory::root);
        let restored = root.is_some_and(|root| restored::unfollowed(root).contains(source));
        Ok(Resume { position: self.positions.get(source).copied(), state, tables, restored })
    }

    /// Appends a catalogue transaction and waits until it is durable.
    pub(crate) fn change_catalogue(&mut self, changes: Vec<CatalogChange>) -> Result<(), Failure> {
        let changes = self.catalogue.missing(changes);
        if changes.is_empty() {
            return Ok(());
        }
        let table = catalog_changes(&changes);
        self.catalogue.apply(&table, self.log.upper());
        let heads = vec![TransactionHead::own()];
        append_durably(
            &self.log,
            &TransactionGroup::new(OWN_SOURCE.into(), Part::Whole, heads, vec![table]),
        )
    }
}

/// How the log is written: as it is best, unless the environment says otherwise.
fn log_options() -> Result<LogOptions, Failure> {
    let mut options = LogOptions::default();
    let Ok(text) = std::env::var(SEGMENT_VARIABLE) else { return Ok(options) };
    let bytes = text.parse().ok().filter(|bytes| SEGMENT_BYTES.contains(bytes));
    options.segment_bytes_max = bytes.ok_or_else(|| Failure::Usage {
        what: format!("{SEGMENT_VARIABLE} is {text}"),
        help: format!("a segment has {} to {} bytes", SEGMENT_BYTES.start(), SEGMENT_BYTES.end()),
    })?;
    Ok(options)
}

/// Appends a group and waits until it is durable.
pub(crate) fn append_durably(log: &Log, group: &TransactionGroup) -> Result<(), Failure> {
    Ok(log.append_durably(group).map(drop)?)
}

/// Opens the directory, plans the script together with what the directory holds, and finds what is new.
pub(crate) async fn prepare(root: &Path, text: &str) -> Result<Prepared, Failure> {
    let opened = Opened::new(root)?;
    let script = plan::parse_in(text, &opened.catalogue.for_planner(Vec::new()))?;
    let specs = sources_of(&script, &opened.catalogue)?;
    let mut sources = Vec::new();
    let mut tables = Vec::new();
    for spec in &specs {
        let (supply, found) = open_source(spec, &opened).await?;
        tables.extend(found);
        sources.push(supply);
    }
    // Tables whose source belongs to an earlier run (standard input) can still be read.
    for table in opened.catalogue.tables()? {
        if !tables.iter().any(|known: &Arc<TableSchema>| known.name() == table.name()) {
            tables.push(table);
        }
    }
    let program = plan::plan(&script, &opened.catalogue.for_planner(tables.clone()))?;
    if program.sources.is_empty() && program.tables.is_empty() && program.views.is_empty() {
        return Err(Failure::Usage {
            what: format!("there is nothing to run in {}", root.display()),
            help: "give a pipe, such as 'demo | from orders | stdout', or a file of statements"
                .to_owned(),
        });
    }
    let mut news = kept_statements(&program);
    news.extend(tables.iter().map(|table| table_row(table)));
    Ok(Prepared { opened, news, program, sources })
}

/// The sources to open: those of the catalogue and those of the script.
fn sources_of(script: &Script, catalogue: &Catalogue) -> Result<Vec<SourceSpec>, Failure> {
    let mut specs = catalogue.sources()?;
    for spec in script.sources() {
        if !specs.iter().any(|known: &SourceSpec| known.name == spec.name) {
            specs.push(spec);
        }
    }
    Ok(specs)
}

/// Opens a source and finds its tables: from the log when it was there before, otherwise from the system itself.
async fn open_source(
    spec: &SourceSpec,
    opened: &Opened,
) -> Result<(Supply, Vec<Arc<TableSchema>>), Failure> {
    let failed = |error| Failure::source(&spec.name, error);
    let config = source_config(spec)?;
    let mut source = source::open(config.clone()).map_err(failed)?;
    let mut resume = opened.resume(&spec.name)?;
    if resume.position.is_none() || resume.tables.is_empty() {
        resume.tables = discover(source.as_mut(), &resume, &spec.name).await.map_err(failed)?;
    }
    let tables = resume.tables.clone();
    Ok((Supply { config, source, resume }, tables))
}

/// Finds a source's tables, waiting for a system that cannot be reached yet.
async fn discover(
    source: &mut dyn source::Source,
    resume: &Resume,
    name: &str,
) -> Result<Vec<Arc<TableSchema>>, source::SourceError> {
    let mut patience = Patience::new();
    loop {
        match source.discover(resume).await {
            Err(error) if error.is_transient() => {
                let pause = patience.pause();
                tracing::warn!(source = %name, "{error}; trying again in {pause:?}");
                tokio::time::sleep(pause).await;
            }
            found => return found,
        }
    }
}

/// The catalogue rows of the statements that outlive this run.
fn kept_statements(program: &Program) -> Vec<CatalogChange> {
    let kept_sinks: Vec<&SinkSpec> =
        program.sinks.iter().filter(|sink| !is_stream(&sink.url)).collect();
    let kept_views: BTreeSet<&str> = kept_sinks.iter().map(|sink| sink.view.as_str()).collect();
    let view_is_kept =
        |view: &&ViewPlan| view.name != UNNAMED_VIEW || kept_views.contains(view.name.as_str());
    let row = |kind, name: &str, statement: &str| CatalogChange {
        kind,
        name: name.to_owned(),
        definition: Some(statement.to_owned()),
    };
    let sources = program.sources.iter().filter(|source| !is_stream(&source.url));
    let sources = sources.map(|source| row(Kind::Source, &source.name, &source.statement));
    let views = program.views.iter().filter(view_is_kept);
    let views = views.map(|view| row(Kind::View, &view.name, &view.statement));
    let sinks = kept_sinks.iter().map(|sink| row(Kind::Sink, &sink.name, &sink.statement));
    let tables = program.tables.iter().flat_map(own_table_rows);
    sources.chain(tables).chain(views).chain(sinks).collect()
}

/// Whether a URL means standard input or output.
pub(crate) fn is_stream(url: &str) -> bool {
    matches!(url, "stdin" | "stdout" | "-")
}

/// The wall clock, in microseconds since 1970 UTC.
pub(crate) fn wall_clock_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// A script that was planned but does not run.
pub(crate) struct Planned {
    /// The script, whose canonical form can be shown.
    pub(crate) script: Script,
    /// What it means.
    pub(crate) program: Program,
}

/// Plans a script on top of a catalogue. The sources that it names are asked for their tables; nothing is written.
pub(crate) async fn plan_only(text: &str, catalogue: &Catalogue) -> Result<Planned, Failure> {
    let script = plan::parse_in(text, &catalogue.for_planner(Vec::new()))?;
    let mut tables = catalogue.tables()?;
    for spec in script.sources() {
        if tables.iter().any(|table| *table.name().source == *spec.name) {
            continue;
        }
        let failed = |error| Failure::source(&spec.name, error);
        let mut source = source::open(source_config(&spec)?).map_err(failed)?;
        tables.extend(source.discover(&Resume::default()).await.map_err(failed)?);
    }
    let program = plan::plan(&script, &catalogue.for_planner(tables))?;
    Ok(Planned { script, program })
}

/// What people call a thing of the catalogue.
pub(crate) fn word_for(kind: Kind) -> &'static str {
    match kind {
        Kind::TableStatement => "table",
        Kind::Source | Kind::SourceState | Kind::Table | Kind::View | Kind::Sink => kind.as_str(),
    }
}

/// Fails when something else in the catalogue needs what is to be dropped.
pub(crate) fn still_plans_without(
    catalogue: &Catalogue,
    kind: Kind,
    name: &str,
) -> Result<(), Failure> {
    let mut without = catalogue.clone();
    without.remove(kind, name);
    if kind == Kind::TableStatement {
        without.remove(Kind::Table, &TableName::new(TABLES_SOURCE, name).to_string());
    }
    if kind == Kind::Source {
        for table in catalogue.tables_of(name)? {
            without.remove(Kind::Table, &table.name().to_string());
        }
    }
    let mut needed: Vec<String> = match without.program(without.tables()?) {
        Ok(program) => changed_views(catalogue, &program)?,
        Err(problems) => readers(&without, &problems)?,
    };
    if needed.is_empty() {
        return Ok(());
    }
    needed.sort();
    Err(Failure::Usage {
        what: format!("{} {name} is still needed by {}", word_for(kind), needed.join(", ")),
        help: "drop what reads it first".to_owned(),
    })
}

/// The views that would be something else in a smaller program: a name in them would mean another thing.
fn changed_views(catalogue: &Catalogue, program: &Program) -> Result<Vec<String>, Failure> {
    let Ok(before) = catalogue.program(catalogue.tables()?) else { return Ok(Vec::new()) };
    let is_changed = |view: &&ViewPlan| {
        let mut before = before.views.iter().filter(|other| other.name == view.name);
        before.any(|before| plan::explain(before) != plan::explain(view))
    };
    let changed = program.views.iter().filter(is_changed);
    Ok(changed.map(|view| format!("view {}", view.name)).collect())
}

/// What it is that a catalogue with problems has them in: without it there are fewer.
fn readers(catalogue: &Catalogue, problems: &Problems) -> Result<Vec<String>, Failure> {
    let mut readers = Vec::new();
    for kind in [Kind::View, Kind::Sink] {
        for (name, _) in catalogue.of(kind) {
            let mut fewer = catalogue.clone();
            fewer.remove(kind, name);
            let left = fewer.program(fewer.tables()?);
            let left = left.err().map_or(0, |problems| problems.problems.len());
            if left < problems.problems.len() {
                readers.push(format!("{} {name}", word_for(kind)));
            }
        }
    }
    if readers.is_empty() {
        readers.extend(problems.problems.iter().map(|problem| problem.message.clone()));
    }
    Ok(readers)
}

/// Forgets a source: its tables become empty, its position void, its catalogue rows go.
///
/// All of it is one transaction, so that a view never sees a part, and a source of the same name begins anew.
pub(crate) fn forget_source(opened: &mut Opened, name: &str) -> Result<(), Failure> {
    let removal = |kind, name: String| CatalogChange { kind, name, definition: None };
    let tables = opened.catalogue.tables_of(name)?;
    let mut rows = vec![removal(Kind::Source, name.to_owned())];
    if opened.catalogue.get(Kind::SourceState, name).is_some() {
        rows.push(removal(Kind::SourceState, name.to_owned()));
    }
    rows.extend(tables.iter().map(|table| removal(Kind::Table, table.name().to_string())));
    let mut changes = vec![catalog_changes(&rows)];
    changes.extend(tables.iter().map(truncation));
    opened.catalogue.apply(&changes[0], opened.log.upper());
    let heads = vec![TransactionHead::own()];
    append_durably(&opened.log, &TransactionGroup::new(name.into(), Part::Whole, heads, changes))
}

/// Forgets a table of Evert's own: it becomes empty and its catalogue rows go, in one transaction.
pub(crate) fn forget_table(opened: &mut Opened, name: &str) -> Result<(), Failure> {
    let full = TableName::new(TABLES_SOURCE, name).to_string();
    let mut tables = opened.catalogue.tables_of(TABLES_SOURCE)?;
    tables.retain(|table| &*table.name().table == name);
    let removal =
        |kind, name: &str| CatalogChange { kind, name: name.to_owned(), definition: None };
    let rows = [removal(Kind::Table, &full), removal(Kind::TableStatement, name)];
    let mut changes = vec![catalog_changes(&rows)];
    changes.extend(tables.iter().map(truncation));
    opened.catalogue.apply(&changes[0], opened.log.upper());
    let heads = vec![TransactionHead::own()];
    let group = TransactionGroup::new(TABLES_SOURCE.into(), Part::Whole, heads, changes);
    append_durably(&opened.log, &group)
}

/// The change that says that a table has no rows any more.
fn truncation(table: &Arc<TableSchema>) -> TableChanges {
    let columns = table.columns().fields().iter();
    let nothing = columns.map(|column| new_null_array(column.data_type(), 1)).collect();
    let row = RecordBatch::try_new(Arc::clone(table.columns()), nothing)
        .expect("every column of a table is nullable");
    let changes = ChangeBatch::new(row, Int64Array::from_value(TRUNCATE, 1));
    TableChanges::new(Arc::clone(table), changes, vec![1], Vec::new())
}
