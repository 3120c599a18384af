//! Folding, step by step: bases are written, their hashes are logged by the caller, then the fold happens.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, LazyLock, PoisonError};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use change::catalog::OWN_SOURCE;
use change::{
    ChangeBatch, ChangeForm, Part, TableName, TableSchema, Time, TransactionGroup, TransactionHead,
};

use crate::Log;
use crate::encode::Compression;
use crate::error::LogError;
use crate::limits::FOLD_BYTES_MAX;
use crate::notary::settled_size;
use crate::reader::LogReader;
use crate::recovery::read_first;
use crate::retention::DIRECTORY;
use crate::retention::base::{BaseReader, BaseWriter, whole};
use crate::retention::list::{Base, Bases, FoldedTable, clear};
use crate::retention::net::{Delta, Output, fold};
use crate::retention::thin;
use crate::segment::Frames;
use crate::shared::Shared;

/// The schema of `evert.folds(source, table, since, rows, bytes, hash)`: the bases, each as its hash was logged before it
/// came into use.
#[must_use]
pub fn folds_table() -> Arc<TableSchema> {
    static TABLE: LazyLock<Arc<TableSchema>> = LazyLock::new(|| {
        let text = |name: &str| Field::new(name, DataType::Utf8, true);
        let number = |name: &str| Field::new(name, DataType::Int64, true);
        let columns = vec![
            text("source"),
            text("table"),
            number("since"),
            number("rows"),
            number("bytes"),
            text("hash"),
        ];
        let name = TableName::new(OWN_SOURCE, "folds");
        let columns = Arc::new(Schema::new(columns));
        Arc::new(TableSchema::new(name, columns, vec![0, 1], ChangeForm::Upsert))
    });
    Arc::clone(&TABLE)
}

/// The transaction that says the hashes of bases.
pub(crate) fn record_of(bases: &[FoldedTable]) -> TransactionGroup {
    let text = |of: &dyn Fn(&FoldedTable) -> String| -> ArrayRef {
        Arc::new(bases.iter().map(|base| Some(of(base))).collect::<StringArray>())
    };
    let number = |of: &dyn Fn(&FoldedTable) -> u64| -> ArrayRef {
        let number = |base| Some(i64::try_from(of(base)).unwrap_or(i64::MAX));
        Arc::new(bases.iter().map(number).collect::<Int64Array>())
    };
    let columns = vec![
        text(&|base| base.table.source.to_string()),
        text(&|base| base.table.table.to_string()),
        number(&|base| base.since.0),
        number(&|base| base.rows),
        number(&|base| base.bytes),
        text(&|base| base.hash.to_string()),
    ];
    let table = folds_table();
    let rows = RecordBatch::try_new(Arc::clone(table.columns()), columns);
    let rows = ChangeBatch::inserts(rows.expect("columns of the table's types"));
    let heads = vec![TransactionHead::own()];
    TransactionGroup::new(OWN_SOURCE.into(), Part::Whole, heads, vec![whole(&table, rows)])
}

/// What became of a fold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoldOutcome {
    /// It happened, and the room is given back.
    Done,
    /// A reader needs what it would take away: nothing happened.
    Held,
}

/// Bases that are written and not in use yet. Dropped, it never was.
pub struct Fold {
    shared: Arc<Shared>,
    bases: Bases,
    moved: Vec<FoldedTable>,
    _alone: Alone,
}

/// One folds at a time.
struct Alone(Arc<Shared>);

impl Alone {
    fn claim(shared: &Arc<Shared>) -> Option<Self> {
        if shared.spoiled.load(Ordering::Acquire) {
            return None;
        }
        let was = shared.folding.swap(true, Ordering::AcqRel);
        (!was).then(|| Self(Arc::clone(shared)))
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.0.folding.store(false, Ordering::Release);
    }
}

/// Is told how many bytes were read and written; it may wait, or say that the fold is to end.
pub(crate) type Pace<'a> = dyn FnMut(u64) -> bool + 'a;

/// How far a table is folded further.
struct Move {
    /// The first segment whose changes are not in its base yet.
    from: u64,
    /// The first segment whose changes will not be.
    segment: u64,
    /// The Time before that segment.
    since: Time,
    delta: Delta,
    /// What was written so far; `None` while that is the base that is in use.
    written: Option<Base>,
}

impl Log {
    /// The bases: what was folded of each table, and up to which Time.
    #[must_use]
    pub fn folded(&self) -> Vec<FoldedTable> {
        self.shared.state().bases.folded()
    }

    /// The last Time of the segments that were full at some time, in microseconds since 1970 UTC: all transactions up
    /// to it were written before that.
    #[must_use]
    pub fn full_before(&self, wall_clock_us: i64) -> Time {
        let state = self.shared.state();
        let later = state.segments.iter().skip(1);
        let full = later.take_while(|segment| segment.begun_us <= wall_clock_us);
        full.last().map_or(Time::ZERO, |segment| Time(segment.first.0.saturating_sub(1)))
    }

    /// Writes the bases of tables, each for what was written up to a Time at most; `None` when there is nothing to
    /// fold, or somebody folds already. First it finishes what an earlier fold has begun.
    ///
    /// Borders are between segments, behind no reader of this process, and not within a transaction in parts. When the
    /// log is provable, they are not behind what its tree holds durably (see [`wait_settled`](Self::wait_settled)).
    ///
    /// `pace` is told how many bytes were read and written: it may wait, or return false to end it.
    ///
    /// # Errors
    /// When a table cannot be folded, the log is damaged, or a file cannot be read or written.
    pub fn prepare_fold(
        &self,
        wanted: &BTreeMap<TableName, Time>,
        pace: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Fold>, LogError> {
        let writing = self.writing.as_ref().ok_or(LogError::ReadOnly)?;
        let shared = &self.shared;
        let Some(alone) = Alone::claim(shared) else { return Ok(None) };
        finish(shared, pace)?;
        let bases = Bases::clone(&shared.state().bases);
        if bases.unthinned != (0, 0) {
            // It was ended amid that.
            return Ok(None);
        }
        let mut moves = moves(shared, &bases, wanted)?;
        if moves.is_empty() {
            return Ok(None);
        }
        let style = (writing.compression, (writing.now_us)());
        let mut preparing = Preparing { shared, bases, style, created: Vec::new() };
        match preparing.run(&mut moves, pace) {
            Ok(()) => {}
            Err(error) => {
                preparing.give_up();
                return if matches!(error, LogError::Closed) { Ok(None) } else { Err(error) };
            }
        }
        let Preparing { bases, .. } = preparing;
        let folded = bases.folded().into_iter();
        let moved: Vec<_> = folded.filter(|base| moves.contains_key(&base.table)).collect();
        let shared = Arc::clone(shared);
        Ok((!moved.is_empty()).then_some(Fold { shared, bases, moved, _alone: alone }))
    }
}

/// Finds how far each table can be folded further.
fn moves(
    shared: &Arc<Shared>,
    bases: &Bases,
    wanted: &BTreeMap<TableName, Time>,
) -> Result<BTreeMap<TableName, Move>, LogError> {
    let settled = settled_size(&*shared.disk, &shared.dir)?.map_or(Time(u64::MAX), Time);
    let (borders, reader) = {
        let state = shared.state();
        let later = state.segments.iter().skip(1);
        let borders: Vec<(u64, Time)> =
            later.map(|next| (next.number, Time(next.first.0.saturating_sub(1)))).collect();
        (borders, state.readers.values().min().copied().unwrap_or(u64::MAX))
    };
    let mut closed: BTreeMap<u64, bool> = BTreeMap::new();
    let mut moves = BTreeMap::new();
    for (table, &upto) in wanted.iter().filter(|(table, _)| &*table.source != OWN_SOURCE) {
        let from = bases.segment_of(table);
        let upto = upto.min(settled);
        let possible = borders.iter().rev().take_while(|(segment, _)| *segment > from);
        for &(segment, since) in possible {
            if segment > reader || since > upto || since <= bases.since_of(table) {
                continue;
            }
            let is_closed = match closed.get(&segment) {
                Some(known) => *known,
                None => is_closed(shared, segment)?,
            };
            closed.insert(segment, is_closed);
            if is_closed {
                let delta = Delta::default();
                let step = Move { from, segment, since, delta, written: None };
                moves.insert(table.clone(), step);
                break;
            }
        }
    }
    Ok(moves)
}

/// Whether no transaction in parts goes on from before a segment into it.
fn is_closed(shared: &Shared, segment: u64) -> Result<bool, LogError> {
    let mut frames = Frames::open(&*shared.disk, &shared.dir, segment)?;
    Ok(read_first(&mut frames)?.1.unfinished.is_empty())
}

/// Bases in the making.
struct Preparing<'a> {
    shared: &'a Arc<Shared>,
    bases: Bases,
    style: (Compression, i64),
    /// The files that were made.
    created: Vec<u64>,
}

impl Preparing<'_> {
    fn run(
        &mut self,
        moves: &mut BTreeMap<TableName, Move>,
        pace: &mut Pace<'_>,
    ) -> Result<(), LogError> {
        let Shared { disk, dir, .. } = &**self.shared;
        let base_dir = dir.join(DIRECTORY);
        let failed = |error| LogError::io("create", &base_dir, error);
        disk.create_dir(&base_dir).map_err(failed)?;
        sync_dir(self.shared, dir)?;
        self.read(moves, pace)?;
        let from = moves.values().map(|step| step.from).min().unwrap_or(0);
        let upto = moves.values().map(|step| step.segment).max().unwrap_or(0);
        for (table, step) in moves {
            if step.written.is_none() && !self.bases.tables.contains_key(table) {
                // Nothing was changed: a base without rows says so, and nobody need look again.
                let (number, disk) = (self.next_number(), &**disk);
                let writer = BaseWriter::create(disk, dir, number, self.style)?;
                step.written = Some(writer.finish(step.since, step.segment)?);
            }
            let known = self.bases.tables.get(table).cloned();
            if let Some(base) = step.written.take().or(known) {
                let base = Base { since: step.since, segment: step.segment, ..base };
                self.bases.tables.insert(table.clone(), base);
            }
        }
        self.bases.unthinned = (from, upto);
        sync_dir(self.shared, &base_dir)
    }

    /// Reads the changes that are to be folded; whenever enough of them are in memory, bases are written.
    fn read(
        &mut self,
        moves: &mut BTreeMap<TableName, Move>,
        pace: &mut Pace<'_>,
    ) -> Result<(), LogError> {
        let after = moves.keys().map(|table| self.bases.since_of(table)).min();
        let upto = moves.values().map(|step| step.since).max().unwrap_or(Time::ZERO);
        let shared = Arc::clone(self.shared);
        let mut reader = LogReader::new(shared, after.unwrap_or(Time::ZERO)).history();
        let mut waiting = 0;
        while let Some(chunk) = reader.next()? {
            if chunk.first > upto {
                break;
            }
            for changes in &chunk.tables {
                let name = changes.table().name();
                let since = self.bases.since_of(name);
                let Some(step) = moves.get_mut(name) else { continue };
                if chunk.first <= since || chunk.first > step.since || changes.changes().is_empty()
                {
                    continue;
                }
                let before = step.delta.bytes;
                step.delta.push(changes).map_err(|error| LogError::Unfoldable {
                    table: name.clone(),
                    reason: error.to_string(),
                })?;
                waiting += step.delta.bytes - before;
            }
            if waiting >= FOLD_BYTES_MAX && chunk.complete {
                self.write(moves, pace)?;
                waiting = 0;
            }
        }
        drop(reader);
        self.write(moves, pace)
    }

    /// Writes what the changes in memory and the bases before them come to.
    fn write(
        &mut self,
        moves: &mut BTreeMap<TableName, Move>,
        pace: &mut Pace<'_>,
    ) -> Result<(), LogError> {
        for (table, step) in moves {
            let delta = std::mem::take(&mut step.delta);
            if delta.changes.is_empty() {
                continue;
            }
            let Shared { disk, dir, .. } = &**self.shared;
            let number = self.next_number();
            let mut writer = BaseWriter::create(&**disk, dir, number, self.style)?;
            let before = step.written.as_ref().or_else(|| self.bases.tables.get(table));
            let open = || before.map(|base| BaseReader::open(&**disk, dir, base)).transpose();
            let read = u64::try_from(delta.bytes).unwrap_or(u64::MAX);
            let mut told = |bytes: u64| if pace(bytes) { Ok(()) } else { Err(LogError::Closed) };
            told(read)?;
            fold(delta, open, Output::new(&mut writer, &mut told))?;
            let base = writer.finish(step.since, step.segment)?;
            if let Some(before) = step.written.replace(base) {
                remove(self.shared, before.number);
            }
        }
        Ok(())
    }

    fn next_number(&mut self) -> u64 {
        let number = self.bases.next;
        self.bases.next += 1;
        self.created.push(number);
        number
    }

    fn give_up(&self) {
        self.created.iter().for_each(|number| remove(self.shared, *number));
    }
}

/// Removes a base that no list knows. One that stays is removed at the next start.
fn remove(shared: &Shared, number: u64) {
    let path = crate::retention::list::path(&shared.dir, number);
    if let Err(error) = shared.disk.remove(&path) {
        tracing::debug!(%error, path = %path.display(), "a base stays that is not in use");
    }
}

impl Fold {
    /// What it folds.
    #[must_use]
    pub fn tables(&self) -> &[FoldedTable] {
        &self.moved
    }

    /// The transaction that is to be in the log, durably, before the fold happens: it says the hash of each base.
    #[must_use]
    pub fn record(&self) -> TransactionGroup {
        record_of(&self.moved)
    }

    /// Lets it happen: the bases come into use, and segments are rewritten without what they hold. When it is ended
    /// amid that, or fails, the rest follows with the next fold.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn commit(self, pace: &mut dyn FnMut(u64) -> bool) -> Result<FoldOutcome, LogError> {
        let Shared { disk, dir, .. } = &*self.shared;
        if let Err(error) = self.bases.write(&**disk, dir) {
            self.give_up();
            return Err(error);
        }
        let installed = {
            let mut state = self.shared.state();
            self.bases.clone().install(&**disk, dir, &mut state)
        };
        // When the system does not say that the list is in its place, it may be all the same.
        if !installed.inspect_err(|_| self.shared.spoiled.store(true, Ordering::Release))? {
            self.give_up();
            return Ok(FoldOutcome::Held);
        }
        finish(&self.shared, pace)?;
        Ok(FoldOutcome::Done)
    }
}

impl Fold {
    /// Removes what was written for nothing; what stays is removed at the next start.
    fn give_up(&self) {
        let Shared { disk, dir, .. } = &*self.shared;
        let bases = Arc::clone(&self.shared.state().bases);
        if let Err(error) = clear(&**disk, dir, &bases) {
            tracing::debug!(%error, "bases stay that are not in use");
        }
    }
}

/// Rewrites the segments that the list says are to be, then says that this is done.
fn finish(shared: &Arc<Shared>, pace: &mut Pace<'_>) -> Result<(), LogError> {
    let bases = Arc::clone(&shared.state().bases);
    let (from, upto) = bases.unthinned;
    if from >= upto {
        return Ok(());
    }
    let Shared { disk, dir, .. } = &**shared;
    // Nothing goes before the list that says what it came to is durable.
    sync_dir(shared, &dir.join(DIRECTORY))?;
    let thinning = shared.thinning.lock().unwrap_or_else(PoisonError::into_inner);
    let mut told = |bytes: u64| if pace(bytes) { Ok(()) } else { Err(LogError::Closed) };
    for number in from..upto {
        match thin::rewrite(shared, &bases, number, &mut told) {
            Err(LogError::Closed) => return Ok(()),
            rewritten => rewritten?,
        }
    }
    sync_dir(shared, dir)?;
    drop(thinning);
    let bases = Bases { unthinned: (0, 0), ..Bases::clone(&bases) };
    bases.write(&**disk, dir)?;
    bases.clone().install(&**disk, dir, &mut shared.state())?;
    sync_dir(shared, &dir.join(DIRECTORY))?;
    clear(&**disk, dir, &bases)
}

/// Makes names durable. When that fails, nothing is known of them any more, and it is not tried again: nothing is folded
/// until the next start.
fn sync_dir(shared: &Shared, dir: &Path) -> Result<(), LogError> {
    shared.disk.sync_dir(dir).map_err(|error| {
        shared.spoiled.store(true, Ordering::Release);
        LogError::sync(dir, error)
    })
}
