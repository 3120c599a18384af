//! TPC-H's tables, and refreshes of them.
//!
//! A refresh changes a thousandth of every table: half of those rows are inserts, which were held back when the tables
//! were loaded, and half are deletes. Which rows they are follows from their first key, so that orders come and go
//! with their lines. Regions and nations are too few for that: in each refresh one of them gets another comment.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, RecordBatchReader, StringArray,
};
use arrow::compute::{cast, concat_batches, filter_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema};
use change::{ChangeBatch, ChangeForm, TableChanges, TableName, TableSchema};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator,
    PartSuppGenerator, RegionGenerator, SupplierGenerator,
};
use tpchgen_arrow::{
    CustomerArrow, LineItemArrow, NationArrow, OrderArrow, PartArrow, PartSuppArrow, RegionArrow,
    SupplierArrow,
};

use crate::Maybe;
use crate::engine::steps::Step;

/// Rows of one batch.
const BATCH_ROWS: usize = 65_536;
/// One in so many keys is held back for a refresh, and one in so many is deleted by it.
const PART: u64 = 2_000;
/// Fewer rows than this are a small table.
const SMALL_ROWS: usize = 100;

/// A table in all its states.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its schema, with its primary key.
    pub(crate) schema: Arc<TableSchema>,
    /// The rows before the first refresh.
    pub(crate) loaded: Vec<RecordBatch>,
    /// What each refresh changes.
    pub(crate) refreshes: Vec<ChangeBatch>,
    /// The rows after the last one.
    pub(crate) refreshed: Vec<RecordBatch>,
}

/// Makes the tables, the small ones first, and so many refreshes.
pub(crate) fn tables(scale: f64, refreshes: usize) -> Maybe<Vec<Table>> {
    let region = RegionArrow::new(RegionGenerator::new(scale, 1, 1));
    let nation = NationArrow::new(NationGenerator::new(scale, 1, 1));
    let supplier = SupplierArrow::new(SupplierGenerator::new(scale, 1, 1));
    let part = PartArrow::new(PartGenerator::new(scale, 1, 1));
    let partsupp = PartSuppArrow::new(PartSuppGenerator::new(scale, 1, 1));
    let customer = CustomerArrow::new(CustomerGenerator::new(scale, 1, 1));
    let orders = OrderArrow::new(OrderGenerator::new(scale, 1, 1));
    let lineitem = LineItemArrow::new(LineItemGenerator::new(scale, 1, 1));
    let rows = BATCH_ROWS;
    Ok(vec![
        table("region", &[0], region.with_batch_size(rows), refreshes)?,
        table("nation", &[0], nation.with_batch_size(rows), refreshes)?,
        table("supplier", &[0], supplier.with_batch_size(rows), refreshes)?,
        table("part", &[0], part.with_batch_size(rows), refreshes)?,
        table("partsupp", &[0, 1], partsupp.with_batch_size(rows), refreshes)?,
        table("customer", &[0], customer.with_batch_size(rows), refreshes)?,
        table("orders", &[0], orders.with_batch_size(rows), refreshes)?,
        table("lineitem", &[0, 3], lineitem.with_batch_size(rows), refreshes)?,
    ])
}

/// The changes that load the tables, a batch a step.
pub(crate) fn load(tables: &[Table]) -> Vec<Step> {
    let steps = tables.iter().flat_map(|table| {
        let batches = table.loaded.iter().filter(|batch| batch.num_rows() > 0);
        batches.map(|batch| vec![changes(table, ChangeBatch::inserts(batch.clone()))])
    });
    steps.collect()
}

/// The changes of a refresh.
pub(crate) fn refresh(tables: &[Table], number: usize) -> Step {
    let changed = tables.iter().filter(|table| !table.refreshes[number].is_empty());
    changed.map(|table| changes(table, table.refreshes[number].clone())).collect()
}

fn changes(table: &Table, batch: ChangeBatch) -> TableChanges {
    let end = u32::try_from(batch.len()).expect("a batch is small");
    TableChanges::new(Arc::clone(&table.schema), batch, vec![end], Vec::new())
}

fn table(
    name: &str,
    key: &[usize],
    generator: impl RecordBatchReader,
    refreshes: usize,
) -> Maybe<Table> {
    let fields = generator.schema().fields().clone();
    let fields =
        fields.iter().map(|field| Field::new(field.name(), plain(field.data_type()), true));
    let columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let named = TableName::new("tpch", name);
    let schema = TableSchema::new(named, Arc::clone(&columns), key.to_vec(), ChangeForm::Exact);
    let mut table = Table {
        schema: Arc::new(schema),
        loaded: Vec::new(),
        refreshes: Vec::new(),
        refreshed: Vec::new(),
    };
    let mut parts: Vec<Vec<ChangeBatch>> = vec![Vec::new(); refreshes];
    for batch in generator {
        let batch = batch?;
        let cast = |(column, field): (&ArrayRef, &Arc<Field>)| cast(column, field.data_type());
        let values = batch.columns().iter().zip(columns.fields()).map(cast);
        let batch = RecordBatch::try_new(Arc::clone(&columns), values.collect::<Result<_, _>>()?)?;
        if table.loaded.is_empty() && batch.num_rows() < SMALL_ROWS {
            return comments(table, batch, refreshes);
        }
        split(&mut table, &batch, &mut parts)?;
    }
    let whole = parts.iter().map(|parts| ChangeBatch::concat(&columns, parts));
    table.refreshes = whole.collect::<Result<_, _>>()?;
    Ok(table)
}

/// The type that Evert has for a generated column.
fn plain(generated: &DataType) -> DataType {
    if *generated == DataType::Utf8View { DataType::Utf8 } else { generated.clone() }
}

/// Splits a batch into what is loaded, and what each refresh inserts and deletes.
fn split(table: &mut Table, batch: &RecordBatch, refreshes: &mut [Vec<ChangeBatch>]) -> Maybe<()> {
    let keys = batch.column(0).as_primitive::<Int64Type>().clone();
    let count = refreshes.len() as u64;
    let pick = |wanted: &dyn Fn(u64) -> bool| {
        let marks: BooleanArray =
            keys.values().iter().map(|&key| Some(wanted(part(key)))).collect();
        filter_record_batch(batch, &marks)
    };
    table.loaded.push(pick(&|part| part >= count)?);
    table.refreshed.push(pick(&|part| part < count || part >= 2 * count)?);
    for (number, changes) in (0..).zip(refreshes.iter_mut()) {
        let inserted = pick(&|part| part == number)?;
        let deleted = pick(&|part| part == count + number)?;
        changes.push(ChangeBatch::inserts(deleted).negated());
        changes.push(ChangeBatch::inserts(inserted));
    }
    Ok(())
}

/// A number below [`PART`], of which each has as many keys.
fn part(key: i64) -> u64 {
    let mixed = key.unsigned_abs().wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) % PART
}

/// Gives one row another comment in each refresh; the comment is the last column.
fn comments(mut table: Table, batch: RecordBatch, refreshes: usize) -> Maybe<Table> {
    let (schema, rows) = (batch.schema(), batch.num_rows());
    table.loaded.push(batch.clone());
    let mut current = batch;
    for number in 0..refreshes {
        let (at, last) = (number % rows, current.num_columns() - 1);
        let old = current.slice(at, 1);
        let mut columns = old.columns().to_vec();
        columns[last] = Arc::new(StringArray::from(vec![format!("comment {number}")]));
        let new = RecordBatch::try_new(Arc::clone(&schema), columns)?;
        let diffs = Int64Array::from(vec![-1, 1]);
        table.refreshes.push(ChangeBatch::new(concat_batches(&schema, [&old, &new])?, diffs));
        let pieces = [&current.slice(0, at), &new, &current.slice(at + 1, rows - at - 1)];
        current = concat_batches(&schema, pieces)?;
    }
    table.refreshed.push(current);
    Ok(table)
}

#[cfg(test)]
mod tests {
    use change::consolidate;

    use super::*;

    #[test]
    fn what_is_loaded_and_refreshed_is_what_is_there_at_the_end() {
        let refreshes = 3;
        for table in tables(0.01, refreshes).unwrap() {
            let inserts = |rows: &[RecordBatch]| {
                rows.iter().cloned().map(ChangeBatch::inserts).collect::<Vec<_>>()
            };
            let mut changes = inserts(&table.loaded);
            changes.extend(table.refreshes.iter().cloned());
            let columns = table.schema.columns();
            let seen = consolidate(columns, &changes).unwrap();
            let right = consolidate(columns, &inserts(&table.refreshed)).unwrap();
            assert!(seen == right, "{}", table.schema.name());
            assert_eq!(table.refreshes.len(), refreshes);
            if &*table.schema.name().table == "lineitem" {
                let changed: usize = table.refreshes.iter().map(ChangeBatch::len).sum();
                let thousandth = right.len() * refreshes / 1_000;
                assert!((thousandth / 2..thousandth * 2).contains(&changed), "{changed} rows");
            }
        }
    }
}
