//! Table input: what a source said becomes exact changes.
//!
//! A table may arrive as *upserts*: +1 sets the row of a key, −1 removes it. With S(k) the row that the arrangement holds
//! for key k, setting row r is the change −S(k) +r, and removing is −S(k); then S(k) becomes r, or nothing. Setting an
//! equal row is no change. A value that the source left out as unchanged is taken from S(k), or, when an update moved
//! the row to another key, from the row that the directly preceding −1 removed.
//!
//! A table may also arrive *exact*: its changes are passed on. Its rows are counted nevertheless, because a truncation
//! says only that all rows went; unless the table is declared append-only.
//!
//! One table input serves all views. It keeps only columns that some view reads, and the key.

use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::error::ArrowError;
use change::{ChangeBatch, ChangeForm, TRUNCATE, TableChanges, TableSchema, Unchanged};

use crate::DataflowOptions;
use crate::arrangement::{Codec, Floats, Keys, Nulls, Slots, StateSize, Totals, number};
use crate::columns::{batch, changes as batch_of, pick, take_rows};
use crate::error::FlowError;

/// The rows that a batch of retractions has at most.
const RETRACT_ROWS: usize = 32_768;

/// Makes a table's changes exact.
pub(crate) struct TableInput {
    table: Arc<TableSchema>,
    /// The table's columns that are read, ascending.
    columns: Vec<usize>,
    schema: SchemaRef,
    state: State,
    numbers: Vec<u32>,
    /// Rows in and out, and deletes of rows that were not there.
    pub(crate) rows_in: u64,
    pub(crate) rows_out: u64,
    pub(crate) deletes_ignored: u64,
}

enum State {
    /// The row of each key.
    Upsert(Box<Upserts>),
    /// The count of each row.
    Exact(Box<Counts>),
    /// Nothing: the table is never truncated, and perhaps no row of it ever goes.
    Nothing { append_only: bool },
}

struct Upserts {
    keys: Keys,
    rows: Slots,
    codec: Codec,
}

struct Counts {
    rows: Keys,
    counts: Totals,
}

impl TableInput {
    pub(crate) fn new(
        table: &Arc<TableSchema>,
        columns: Vec<usize>,
        options: &DataflowOptions,
    ) -> Result<Self, ArrowError> {
        let append_only = options.append_only.contains(table.name());
        let is_kept = !append_only && !options.never_truncated.contains(table.name());
        let fields = columns.iter().map(|&column| Arc::clone(&table.columns().fields()[column]));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let mut input = Self {
            table: Arc::clone(table),
            columns,
            schema,
            state: State::Nothing { append_only },
            numbers: Vec::new(),
            rows_in: 0,
            rows_out: 0,
            deletes_ignored: 0,
        };
        if is_kept || table.form() == ChangeForm::Upsert {
            input.state = input.empty_state()?;
        }
        Ok(input)
    }

    fn empty_state(&self) -> Result<State, ArrowError> {
        let types = |columns: &[usize]| -> Vec<DataType> {
            let fields = self.table.columns().fields();
            columns.iter().map(|&column| fields[column].data_type().clone()).collect()
        };
        Ok(match self.table.form() {
            ChangeForm::Upsert => State::Upsert(Box::new(Upserts {
                keys: Keys::new(&types(self.table.key()), Nulls::Equal, Floats::Folded)?,
                rows: Slots::default(),
                codec: Codec::new(&types(&self.columns), Floats::Kept)?,
            })),
            ChangeForm::Exact => State::Exact(Box::new(Counts {
                rows: Keys::new(&types(&self.columns), Nulls::Equal, Floats::Kept)?,
                counts: Totals::new(1),
            })),
        })
    }

    /// Forgets all that is known of the table's rows: no view reads it any more.
    pub(crate) fn discard(&mut self) {
        self.state = State::Nothing { append_only: false };
        self.numbers = Vec::new();
    }

    /// The table.
    pub(crate) fn table(&self) -> &Arc<TableSchema> {
        &self.table
    }

    /// The positions of the table's columns that are read, ascending.
    pub(crate) fn columns(&self) -> &[usize] {
        &self.columns
    }

    /// The schema of the columns that are read.
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns exact changes of the columns that are read.
    pub(crate) fn push(&mut self, changes: &TableChanges) -> Result<Vec<ChangeBatch>, FlowError> {
        let table = changes.table();
        if table.columns() != self.table.columns()
            || table.key() != self.table.key()
            || table.form() != self.table.form()
        {
            return Err(FlowError::SchemaChanged { table: table.name().clone() });
        }
        let batch = changes.changes();
        self.rows_in += batch.len() as u64;
        let mut out = Vec::new();
        let mut start = 0;
        for (at, &diff) in batch.diffs().iter().enumerate() {
            if diff == TRUNCATE {
                self.push_rows(changes, start, at, &mut out)?;
                self.truncate(&mut out)?;
                start = at + 1;
            }
        }
        self.push_rows(changes, start, batch.len(), &mut out)?;
        self.rows_out += out.iter().map(|batch| batch.len() as u64).sum::<u64>();
        Ok(out)
    }

    /// Makes the changes `[start, end)` exact; no truncation is among them.
    fn push_rows(
        &mut self,
        changes: &TableChanges,
        start: usize,
        end: usize,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<(), FlowError> {
        if start == end {
            return Ok(());
        }
        let rows = changes.changes().slice(start, end - start);
        let read = pick(rows.rows().columns(), &self.columns);
        match &mut self.state {
            State::Nothing { append_only } => {
                if *append_only && rows.diffs().iter().any(|&diff| diff < 0) {
                    return Err(FlowError::RowGone { table: self.table.name().clone() });
                }
            }
            State::Exact(known) => {
                let counted = known.add(&read, rows.diffs(), &mut self.numbers);
                counted.map_err(|source| self.unreadable(source))?;
            }
            State::Upsert(_) => {
                let unchanged = self.unchanged(changes.unchanged(), start, end);
                return self.upsert(&rows, &read, &unchanged, out);
            }
        }
        let read =
            batch(&self.schema, read, rows.len()).map_err(|source| self.unreadable(source))?;
        out.push(rows.with_rows(read));
        Ok(())
    }

    /// The unchanged values of rows `[start, end)` in columns that are read, as row and position among those columns.
    fn unchanged(&self, unchanged: &[Unchanged], start: usize, end: usize) -> Vec<(usize, usize)> {
        let within = unchanged.iter().map(|at| (at.row as usize, at.column as usize));
        let read =
            within.filter(|(row, _)| (start..end).contains(row)).filter_map(|(row, column)| {
                let position = self.columns.binary_search(&column).ok()?;
                Some((row - start, position))
            });
        read.collect()
    }

    fn upsert(
        &mut self,
        changes: &ChangeBatch,
        read: &[ArrayRef],
        unchanged: &[(usize, usize)],
        out: &mut Vec<ChangeBatch>,
    ) -> Result<(), FlowError> {
        let key = pick(changes.rows().columns(), self.table.key());
        let State::Upsert(state) = &mut self.state else {
            return Ok(());
        };
        let Upserts { keys, rows, codec } = &mut **state;
        let emitted = keys.resolve(&key, changes.len(), &mut self.numbers).and_then(|()| {
            let mut upsert = Upsert { rows, codec, read, unchanged, emitted: Emitted::default() };
            upsert.run(&self.numbers, changes.diffs())?;
            Ok(upsert.emitted)
        });
        let emitted = emitted.map_err(|source| self.unreadable(source))?;
        if let Some(position) = emitted.unknown {
            let column = self.schema.field(position).name().clone();
            return Err(FlowError::OldRowUnknown { table: self.table.name().clone(), column });
        }
        self.deletes_ignored += emitted.deletes_ignored;
        self.forget_empty_keys();
        self.emit_changed(read, &emitted, out).map_err(|source| self.unreadable(source))
    }

    /// Gives back the numbers of the batch's keys that have no row now.
    fn forget_empty_keys(&mut self) {
        let State::Upsert(state) = &mut self.state else {
            return;
        };
        let Upserts { keys, rows, .. } = &mut **state;
        self.numbers.retain(|&key| rows.get(key).is_none());
        self.numbers.sort_unstable();
        self.numbers.dedup();
        for &key in &self.numbers {
            keys.release(key);
        }
    }

    fn emit_changed(
        &self,
        read: &[ArrayRef],
        emitted: &Emitted,
        out: &mut Vec<ChangeBatch>,
    ) -> Result<(), ArrowError> {
        let State::Upsert(state) = &self.state else {
            return Ok(());
        };
        for (rows, diff) in [(&emitted.removed, -1), (&emitted.completed, 1)] {
            if rows.len() > 0 {
                let columns = state.codec.decode(rows.iter())?;
                out.push(batch_of(&self.schema, columns, vec![diff; rows.len()])?);
            }
        }
        if !emitted.set.is_empty() {
            let set = UInt32Array::from(emitted.set.clone());
            out.push(batch_of(&self.schema, take_rows(read, &set)?, vec![1; set.len()])?);
        }
        Ok(())
    }

    /// Takes all rows back.
    fn truncate(&mut self, out: &mut Vec<ChangeBatch>) -> Result<(), FlowError> {
        let retracted = match &self.state {
            State::Nothing { .. } => {
                return Err(FlowError::Truncated { table: self.table.name().clone() });
            }
            State::Upsert(state) => state.retract(&self.schema, out),
            State::Exact(state) => state.retract(&self.schema, out),
        };
        retracted.map_err(|source| self.unreadable(source))?;
        self.state = self.empty_state().map_err(|source| self.unreadable(source))?;
        Ok(())
    }

    fn unreadable(&self, source: ArrowError) -> FlowError {
        FlowError::Table { table: self.table.name().clone(), source }
    }

    /// What the input holds.
    pub(crate) fn size(&self) -> StateSize {
        match &self.state {
            State::Nothing { .. } => StateSize::default(),
            State::Upsert(state) => {
                state.rows.size() + StateSize { rows: 0, bytes: state.keys.size().bytes }
            }
            State::Exact(state) => state.rows.size() + state.counts.size(),
        }
    }
}

impl Counts {
    /// Adds exact changes to the counts of their rows.
    fn add(
        &mut self,
        read: &[ArrayRef],
        diffs: &[i64],
        numbers: &mut Vec<u32>,
    ) -> Result<(), ArrowError> {
        self.rows.resolve(read, diffs.len(), numbers)?;
        self.counts.reserve(self.rows.upper());
        for (&row, &diff) in numbers.iter().zip(diffs) {
            let count = &mut self.counts.get_mut(row)[0];
            *count = count.wrapping_add_signed(diff);
        }
        numbers.retain(|&row| self.counts.get(row)[0] == 0);
        numbers.sort_unstable();
        numbers.dedup();
        for &row in &*numbers {
            self.rows.release(row);
        }
        Ok(())
    }

    /// Emits that every row went.
    fn retract(&self, schema: &SchemaRef, out: &mut Vec<ChangeBatch>) -> Result<(), ArrowError> {
        let numbers = (0..self.rows.upper()).map(number);
        let known: Vec<u32> = numbers.filter(|&row| self.counts.get(row)[0] != 0).collect();
        for chunk in known.chunks(RETRACT_ROWS) {
            let count = |&row: &u32| -self.counts.get(row)[0].cast_signed();
            let columns = self.rows.columns(chunk)?;
            out.push(batch_of(schema, columns, chunk.iter().map(count).collect())?);
        }
        Ok(())
    }
}

impl Upserts {
    /// Emits that every row went.
    fn retract(&self, schema: &SchemaRef, out: &mut Vec<ChangeBatch>) -> Result<(), ArrowError> {
        let all: Vec<&[u8]> = self.rows.iter().collect();
        for chunk in all.chunks(RETRACT_ROWS) {
            let columns = self.codec.decode(chunk.iter().copied())?;
            out.push(batch_of(schema, columns, vec![-1; chunk.len()])?);
        }
        Ok(())
    }
}

/// A batch of upserts being applied.
struct Upsert<'a> {
    rows: &'a mut Slots,
    codec: &'a Codec,
    read: &'a [ArrayRef],
    /// Row and position of values to be taken from the old row, sorted.
    unchanged: &'a [(usize, usize)],
    emitted: Emitted,
}

/// What a batch of upserts changed.
#[derive(Default)]
struct Emitted {
    /// Rows that went.
    removed: ByteRows,
    /// Rows that came, with values from their old rows.
    completed: ByteRows,
    /// Rows of the batch that came as they are.
    set: Vec<u32>,
    deletes_ignored: u64,
    /// A column whose old value is wanted, but not known.
    unknown: Option<usize>,
}

/// Encoded rows, one behind the other.
#[derive(Default)]
struct ByteRows {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl ByteRows {
    fn push(&mut self, row: &[u8]) {
        self.bytes.extend_from_slice(row);
        self.ends.push(self.bytes.len());
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    fn last(&self) -> Option<&[u8]> {
        self.iter().next_back()
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        let start = |at: usize| if at == 0 { 0 } else { self.ends[at - 1] };
        (0..self.len()).map(move |at| &self.bytes[start(at)..self.ends[at]])
    }
}

impl Upsert<'_> {
    fn run(&mut self, keys: &[u32], diffs: &[i64]) -> Result<(), ArrowError> {
        let encoded = self.codec.encode(self.read)?;
        let mut unchanged = self.unchanged;
        // Whether the row before was a delete that removed a row, which is then the last of `removed`.
        let mut moved = false;
        for (row, (&key, &diff)) in keys.iter().zip(diffs).enumerate() {
            let here = unchanged.iter().take_while(|(at, _)| *at == row).count();
            let (missing, later) = unchanged.split_at(here);
            unchanged = later;
            if diff < 0 {
                moved = self.remove(key);
                continue;
            }
            if missing.is_empty() {
                self.set(key, encoded.row(row), Some(row));
            } else if let Some(complete) = self.complete(key, row, missing, moved)? {
                self.set(key, complete.row(0), None);
            } else {
                self.emitted.unknown = Some(missing[0].1);
                return Ok(());
            }
            moved = false;
        }
        Ok(())
    }

    fn remove(&mut self, key: u32) -> bool {
        let Some(old) = self.rows.get(key) else {
            self.emitted.deletes_ignored += 1;
            return false;
        };
        self.emitted.removed.push(old);
        self.rows.remove(key);
        true
    }

    fn set(&mut self, key: u32, new: &[u8], row: Option<usize>) {
        let old = self.rows.get(key);
        if old == Some(new) {
            return;
        }
        if let Some(old) = old {
            self.emitted.removed.push(old);
        }
        self.rows.set(key, new);
        match row {
            Some(row) => self.emitted.set.push(number(row)),
            None => self.emitted.completed.push(new),
        }
    }

    /// The row with its unchanged values, from the row with its key or the one that was moved.
    fn complete(
        &self,
        key: u32,
        row: usize,
        missing: &[(usize, usize)],
        moved: bool,
    ) -> Result<Option<crate::arrangement::Encoded>, ArrowError> {
        let last_removed = || self.emitted.removed.last().filter(|_| moved);
        let Some(old) = self.rows.get(key).or_else(last_removed) else {
            return Ok(None);
        };
        let mut columns = self.codec.decode([old])?;
        for (position, column) in columns.iter_mut().enumerate() {
            if missing.iter().all(|&(_, other)| other != position) {
                *column = self.read[position].slice(row, 1);
            }
        }
        Ok(Some(self.codec.encode(&columns)?))
    }
}
