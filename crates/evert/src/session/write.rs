//! Writes: from the rows that a statement is about to exact changes in the log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt32Type};
use arrow::error::ArrowError;
use arrow::row::Rows;
use change::batch::take_rows;
use change::catalog::TABLES_SOURCE;
use change::limits::GROUP_ROWS_MAX;
use change::{ChangeBatch, Part, TableChanges, TransactionGroup, TransactionHead, consolidate};
use plan::{Answer, Delete, Insert, ROW_NUMBER, Read, TableDefinition, Update, Values, Wanted};
use view::text::CellWriter;
use view::{encode_key, has_null};

use crate::failure::Failure;
use crate::intent::append_durably;
use crate::session::assign::assign;
use crate::session::written::Written;
use crate::session::{Outcome, Session, SessionError};

/// A statement's effect on one table.
struct Effect {
    /// The rows that go.
    removed: RecordBatch,
    /// The rows that come.
    inserted: RecordBatch,
}

impl Session {
    pub(super) async fn insert(&mut self, insert: &Insert) -> Result<Outcome, Failure> {
        let table = self.definition(&insert.table)?.clone();
        let values = insert.values(&table)?;
        let (given, count) = self.given(&values, &table).await?;
        let mut columns: Vec<ArrayRef> = table
            .columns
            .iter()
            .map(|column| new_null_array(column.field.data_type(), count))
            .collect();
        if let Some(defaults) = insert.defaults(&table, &values.columns) {
            let answer = self.read(&defaults.read).await?;
            let repeated = UInt32Array::from_value(0, count);
            let row = columns_of(&answer, 0, &defaults.columns, &table)?;
            for (array, &column) in row.iter().zip(&defaults.columns) {
                columns[column] = take(array, &repeated, None).map_err(arrow_failed)?;
            }
        }
        for (array, &column) in given.into_iter().zip(&values.columns) {
            columns[column] = array;
        }
        let schema = Arc::clone(table.schema().columns());
        let mut inserted = batch(&schema, columns, count)?;
        if insert.or_nothing {
            inserted = self.without_conflicts(&table, &inserted)?;
        }
        let written = inserted.num_rows() as u64;
        let removed = RecordBatch::new_empty(inserted.schema());
        self.apply(&table, Effect { removed, inserted }).await?;
        Ok(Outcome::Wrote("insert", written))
    }

    /// The values of an insert, as values of their columns, and how many rows they are.
    async fn given(
        &mut self,
        values: &Values,
        table: &TableDefinition,
    ) -> Result<(Vec<ArrayRef>, usize), Failure> {
        let mut parts = Vec::new();
        match self.read(&values.read).await {
            Ok(answer) => parts.push(given(&answer, values, table)?),
            Err(Failure::Script { .. }) if values.one_by_one.len() > 1 => {
                for row in &values.one_by_one {
                    parts.push(given(&self.read(row).await?, values, table)?);
                }
            }
            Err(failure) => return Err(failure),
        }
        let count = parts.iter().map(RecordBatch::num_rows).sum();
        let all = concat_batches(&parts[0].schema(), &parts).map_err(arrow_failed)?;
        Ok((all.columns().to_vec(), count))
    }

    pub(super) async fn update(&mut self, update: &Update) -> Result<Outcome, Failure> {
        let table = self.definition(&update.table)?.clone();
        let values = update.values(&table)?;
        let (answer, removed, first) = self.changed(&values.read, &table).await?;
        let mut columns = removed.columns().to_vec();
        for (array, &column) in
            columns_of(&answer, 1, &values.columns, &table)?.iter().zip(&values.columns)
        {
            columns[column] = take(array, &first, None).map_err(arrow_failed)?;
        }
        let inserted = batch(&removed.schema(), columns, removed.num_rows())?;
        let written = removed.num_rows() as u64;
        self.apply(&table, Effect { removed, inserted }).await?;
        Ok(Outcome::Wrote("update", written))
    }

    pub(super) async fn delete(&mut self, delete: &Delete) -> Result<Outcome, Failure> {
        let table = self.definition(&delete.table)?.clone();
        let (_, removed, _) = self.changed(&delete.rows(), &table).await?;
        let inserted = RecordBatch::new_empty(removed.schema());
        let written = removed.num_rows() as u64;
        self.apply(&table, Effect { removed, inserted }).await?;
        Ok(Outcome::Wrote("delete", written))
    }

    /// Runs a read that names rows of a table by their numbers: the answer, the rows, each once, and for each the first
    /// place of the answer that names it.
    async fn changed(
        &mut self,
        read: &Read,
        table: &TableDefinition,
    ) -> Result<(Answer, RecordBatch, UInt32Array), Failure> {
        let (answer, before) = self.read_about(read, Some(&table.name)).await?;
        let before = before.expect("the read is about the table");
        let (numbers, first) = row_numbers(&answer)?;
        let rows = take_rows(&before, &numbers).map_err(arrow_failed)?;
        Ok((answer, rows, first))
    }

    pub(super) async fn truncate(&mut self, names: &[String]) -> Result<Outcome, Failure> {
        // All of them are emptied, or none.
        let mut changes = BTreeMap::new();
        for name in names {
            let name = self.definition(name)?.name.clone();
            let rows = self.table_rows(&name, &Wanted::All)?;
            changes.insert(name, ChangeBatch::inserts(rows).negated());
        }
        self.write(changes).await?;
        Ok(Outcome::Done("truncate"))
    }

    fn definition(&self, name: &str) -> Result<&TableDefinition, Failure> {
        if self.find(name).is_some_and(|one| !one.is_table()) {
            let what = "a view is not written to";
            let help = "write to the tables that it reads; the view follows";
            return Err(SessionError::Order { what, help }.into());
        }
        self.tables.get(name).ok_or_else(|| self.unknown("table", name))
    }

    /// The rows of a table, of which those of some keys are wanted, with what the open transaction did to them.
    pub(super) fn table_rows(
        &mut self,
        name: &str,
        wanted: &Wanted,
    ) -> Result<RecordBatch, Failure> {
        let table = self.find(name).ok_or_else(|| self.unknown("table", name))?;
        let written = self.transaction.as_ref().and_then(|written| written.get(name));
        let (rows, changes) = match wanted {
            Wanted::All => {
                let rows = concat_batches(table.schema(), &table.rows()?).map_err(arrow_failed)?;
                (rows, written.map(Written::all).transpose()?)
            }
            Wanted::Keys { columns, values } => {
                let changes = written.map(|written| written.with_values(columns, values));
                (table.find(columns, values)?, changes.transpose()?)
            }
        };
        let read = rows.num_rows() + changes.as_ref().map_or(0, ChangeBatch::len);
        let rows = match changes {
            None => rows,
            Some(changes) => with_changes(rows, changes).map_err(arrow_failed)?,
        };
        self.read_rows += read as u64;
        Ok(rows)
    }

    /// The rows of a table that have the keys of some others.
    fn with_keys_of(
        &mut self,
        table: &TableDefinition,
        key: &[usize],
        rows: &RecordBatch,
    ) -> Result<RecordBatch, Failure> {
        let (columns, values) = (key.to_vec(), rows.project(key).map_err(arrow_failed)?);
        self.table_rows(&table.name, &Wanted::Keys { columns, values })
    }

    /// The rows whose keys are not there yet; of several with one key the first.
    fn without_conflicts(
        &mut self,
        table: &TableDefinition,
        inserted: &RecordBatch,
    ) -> Result<RecordBatch, Failure> {
        let mut constraints = Vec::new();
        for key in table.keys() {
            let there = Keys::new(&self.with_keys_of(table, key, inserted)?, key)?;
            constraints.push((there.all(), Keys::new(inserted, key)?));
        }
        let mut kept = Vec::new();
        for row in 0..inserted.num_rows() {
            let conflicts = |(seen, keys): &(BTreeSet<Box<[u8]>>, Keys)| {
                keys.get(row).is_some_and(|key| seen.contains(&key))
            };
            if constraints.iter().any(conflicts) {
                continue;
            }
            for (seen, keys) in &mut constraints {
                seen.extend(keys.get(row));
            }
            kept.push(u32::try_from(row).expect("a statement's rows are counted in 32 bits"));
        }
        take_rows(inserted, &UInt32Array::from(kept)).map_err(arrow_failed)
    }

    /// Checks an effect and makes it happen: now, or with the open transaction.
    async fn apply(&mut self, table: &TableDefinition, effect: Effect) -> Result<(), Failure> {
        check_not_null(table, &effect.inserted)?;
        for key in table.keys() {
            let there = self.with_keys_of(table, key, &effect.inserted)?;
            check_unique(table, key, &there, &effect)?;
        }
        let schema = effect.removed.schema();
        let changes =
            [ChangeBatch::inserts(effect.removed).negated(), ChangeBatch::inserts(effect.inserted)];
        let changes = consolidate(&schema, &changes).map_err(arrow_failed)?;
        self.write(BTreeMap::from([(table.name.clone(), changes)])).await
    }

    async fn write(&mut self, changes: BTreeMap<String, ChangeBatch>) -> Result<(), Failure> {
        let Some(transaction) = &mut self.transaction else { return self.commit(changes).await };
        for (name, changes) in changes {
            if let Some(written) = transaction.get_mut(&name) {
                written.add(&changes)?;
                continue;
            }
            let table = self.tables.get(&name).expect("a table that is written to is there");
            let mut written = Written::new(table)?;
            written.add(&changes)?;
            transaction.insert(name, written);
        }
        Ok(())
    }

    /// Logs a transaction, waits until it is durable, and moves every view.
    pub(super) async fn commit(
        &mut self,
        changes: BTreeMap<String, ChangeBatch>,
    ) -> Result<(), Failure> {
        let mut tables = Vec::new();
        for (name, changes) in changes.into_iter().filter(|(_, changes)| !changes.is_empty()) {
            let table = self.schema_of(&name)?;
            for from in (0..changes.len()).step_by(GROUP_ROWS_MAX) {
                let piece = changes.slice(from, GROUP_ROWS_MAX.min(changes.len() - from));
                let end =
                    u32::try_from(piece.len()).expect("a group's rows are counted in 32 bits");
                tables.push(TableChanges::new(Arc::clone(&table), piece, vec![end], Vec::new()));
            }
        }
        if tables.is_empty() {
            return Ok(());
        }
        let rows: usize = tables.iter().map(|table| table.changes().len()).sum();
        let group = |part, tables| {
            let heads = vec![TransactionHead::own()];
            TransactionGroup::new(TABLES_SOURCE.into(), part, heads, tables)
        };
        if rows <= GROUP_ROWS_MAX {
            append_durably(&self.opened.log, &group(Part::Whole, tables))?;
        } else {
            let last = tables.len() - 1;
            for (at, piece) in tables.into_iter().enumerate() {
                let part = match at {
                    0 => Part::First,
                    at if at == last => Part::Last,
                    _ => Part::Middle,
                };
                append_durably(&self.opened.log, &group(part, vec![piece]))?;
            }
        }
        self.moved().await
    }
}

pub(super) fn arrow_failed(error: ArrowError) -> Failure {
    Failure::View(error.into())
}

pub(super) fn batch(
    schema: &SchemaRef,
    columns: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, Failure> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(arrow_failed)
}

/// An answer's rows as values of the columns that are inserted.
fn given(
    answer: &Answer,
    values: &Values,
    table: &TableDefinition,
) -> Result<RecordBatch, Failure> {
    let (found, wanted) = (answer.schema.fields().len(), values.columns.len());
    if found != wanted {
        let table = table.name.clone();
        return Err(SessionError::Count { table, values: found, columns: wanted }.into());
    }
    let columns = columns_of(answer, 0, &values.columns, table)?;
    let schema = table.schema().columns().project(&values.columns).map_err(arrow_failed)?;
    let rows = answer.rows.iter().map(RecordBatch::num_rows).sum();
    batch(&Arc::new(schema), columns, rows)
}

/// The columns of an answer from `first` on, as values of the table's columns.
fn columns_of(
    answer: &Answer,
    first: usize,
    columns: &[usize],
    table: &TableDefinition,
) -> Result<Vec<ArrayRef>, Failure> {
    let rows = concat_batches(&answer.schema, &answer.rows).map_err(arrow_failed)?;
    let mut assigned = Vec::with_capacity(columns.len());
    for (at, &column) in columns.iter().enumerate() {
        let (from, to) = (answer.schema.field(first + at), &table.columns[column]);
        let array = assign(rows.column(first + at), from, to).map_err(|reason| {
            let (table, column) = (table.name.clone(), to.field.name().clone());
            SessionError::Value { table, column, reason }
        })?;
        assigned.push(array);
    }
    Ok(assigned)
}

/// The columns of a table, and the rows' numbers.
pub(super) fn with_number(schema: &SchemaRef) -> SchemaRef {
    let mut fields = schema.fields().to_vec();
    fields.push(Arc::new(Field::new(ROW_NUMBER, DataType::UInt32, false)));
    Arc::new(Schema::new(fields))
}

/// A table's rows with their numbers, for the statement that changes it.
pub(super) fn numbered(rows: &RecordBatch) -> Result<RecordBatch, Failure> {
    let numbers: UInt32Array = (0u32..).take(rows.num_rows()).collect();
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(numbers));
    batch(&with_number(&rows.schema()), columns, rows.num_rows())
}

/// Rows after some changes.
fn with_changes(rows: RecordBatch, changes: ChangeBatch) -> Result<RecordBatch, ArrowError> {
    let schema = rows.schema();
    let all = consolidate(&schema, &[ChangeBatch::inserts(rows), changes])?;
    let mut times: Vec<u32> = Vec::with_capacity(all.len());
    for (row, &diff) in (0u32..).zip(all.diffs()) {
        let Ok(often) = usize::try_from(diff) else {
            let reason = format!("a row that went {} times more than it came", diff.unsigned_abs());
            return Err(ArrowError::ComputeError(reason));
        };
        times.extend(std::iter::repeat_n(row, often));
    }
    take_rows(all.rows(), &UInt32Array::from(times))
}

/// The rows that an answer names, ascending, and for each the first place of the answer that names it.
fn row_numbers(answer: &Answer) -> Result<(UInt32Array, UInt32Array), Failure> {
    let rows = concat_batches(&answer.schema, &answer.rows).map_err(arrow_failed)?;
    let numbers = rows.column(0).as_primitive::<UInt32Type>();
    let mut first = BTreeMap::new();
    for (at, &number) in (0u32..).zip(numbers.values()) {
        first.entry(number).or_insert(at);
    }
    Ok((first.keys().copied().collect(), first.values().copied().collect()))
}

fn check_not_null(table: &TableDefinition, rows: &RecordBatch) -> Result<(), Failure> {
    for (column, array) in table.columns.iter().zip(rows.columns()) {
        if column.not_null && array.null_count() > 0 {
            let (table, column) = (table.name.clone(), column.field.name().clone());
            return Err(SessionError::Null { table, column }.into());
        }
    }
    Ok(())
}

/// The key of each row, as bytes that are equal when the keys are; and whether it has a NULL, which equals nothing.
pub(super) struct Keys {
    rows: Rows,
    nulls: Vec<bool>,
}

impl Keys {
    pub(super) fn new(rows: &RecordBatch, key: &[usize]) -> Result<Self, Failure> {
        let values = rows.project(key).map_err(arrow_failed)?;
        let nulls = (0..rows.num_rows()).map(|row| has_null(&values, row)).collect();
        Ok(Self { rows: encode_key(&values).map_err(arrow_failed)?, nulls })
    }

    pub(super) fn get(&self, row: usize) -> Option<Box<[u8]>> {
        (!self.nulls[row]).then(|| self.rows.row(row).as_ref().into())
    }

    fn len(&self) -> usize {
        self.nulls.len()
    }

    pub(super) fn all(&self) -> BTreeSet<Box<[u8]>> {
        (0..self.len()).filter_map(|row| self.get(row)).collect()
    }
}

/// Checks a key, of which `there` are the rows before that have a key of those that come.
fn check_unique(
    table: &TableDefinition,
    key: &[usize],
    there: &RecordBatch,
    effect: &Effect,
) -> Result<(), Failure> {
    let removed = Keys::new(&effect.removed, key)?.all();
    let mut seen = Keys::new(there, key)?.all();
    seen.retain(|key| !removed.contains(key));
    let inserted = Keys::new(&effect.inserted, key)?;
    for row in 0..inserted.len() {
        if inserted.get(row).is_some_and(|key| !seen.insert(key)) {
            let key = shown_key(&effect.inserted, key, row);
            return Err(SessionError::Duplicate { table: table.name.clone(), key }.into());
        }
    }
    Ok(())
}

/// `(id, name) = (1, Ada)`.
fn shown_key(rows: &RecordBatch, key: &[usize], row: usize) -> String {
    let cells = CellWriter::new(rows);
    let schema = rows.schema();
    let names: Vec<&str> = key.iter().map(|&column| schema.field(column).name().as_str()).collect();
    let value = |&column: &usize| cells.cell(row, column).unwrap_or_else(|| "NULL".to_owned());
    let values: Vec<String> = key.iter().map(value).collect();
    format!("({}) = ({})", names.join(", "), values.join(", "))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;

    fn rows(of: &[Option<i64>]) -> RecordBatch {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        batch(&schema, vec![Arc::new(Int64Array::from(of.to_vec()))], of.len()).unwrap()
    }

    #[test]
    fn a_row_that_went_but_was_not_there_is_no_quiet_nothing() {
        let went = ChangeBatch::inserts(rows(&[Some(1), None])).negated();
        let left = with_changes(rows(&[None, Some(1), Some(2), Some(2)]), went.clone()).unwrap();
        assert_eq!(left, rows(&[Some(2), Some(2)]));
        let failed = with_changes(rows(&[Some(1), Some(2)]), went).unwrap_err();
        assert_eq!(failed.to_string(), "Compute error: a row that went 1 times more than it came");
    }
}
