//! What the changes of a table came to: a base and the changes behind it become the next base.
//!
//! Only the changes are in memory; of the base, which may be large, one batch at a time. What changes mean is what the
//! dataflow's table input says: an `Upsert` table's rows act by key and in order, an `Exact` table's diffs add up.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, Int64Array, PrimitiveArray,
    RecordBatch, RecordBatchOptions, UInt32Array,
};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use arrow::error::ArrowError;
use arrow::row::Rows;
use change::batch::take_rows;
use change::map::HashMap;
use change::{ChangeBatch, ChangeForm, TRUNCATE, TableChanges, TableSchema};

use crate::error::LogError;
use crate::limits::{BASE_BATCH_BYTES, BASE_BATCH_ROWS};
use crate::retention::base::{BaseReader, BaseWriter, whole};

/// A row: its batch, and its place there.
type Place = (usize, usize);
/// A row or a key of it, encoded.
type Encoded = Box<[u8]>;

/// Changes of a table, in memory.
pub(crate) struct Net {
    schema: Arc<TableSchema>,
    /// All rows that came.
    batches: Vec<RecordBatch>,
    rows: Known,
    /// Whether all rows went, those of the base as well, before what is known here.
    truncated: bool,
    /// Whether values were left out that rows of before have.
    is_partial: bool,
}

enum Known {
    /// By key: the row, or that there is none.
    Upsert(HashMap<Encoded, Option<Place>>),
    /// By row: the sum of its diffs, and a place where it is.
    Exact(HashMap<Encoded, (i64, Place)>),
}

impl Known {
    fn new(form: ChangeForm) -> Self {
        match form {
            ChangeForm::Upsert => Self::Upsert(HashMap::default()),
            ChangeForm::Exact => Self::Exact(HashMap::default()),
        }
    }
}

/// Changes that wait to be folded, in order, and how many bytes they have.
#[derive(Default)]
pub(crate) struct Delta {
    pub(crate) changes: Vec<TableChanges>,
    pub(crate) bytes: usize,
}

impl Delta {
    /// Takes in changes, in memory of their own: the frame that they come from holds others too.
    pub(crate) fn push(&mut self, changes: &TableChanges) -> Result<(), ArrowError> {
        let count = u32::try_from(changes.changes().len()).expect("a batch has fewer rows");
        let all: UInt32Array = (0..count).collect();
        let rows = changes.changes().take(&all)?;
        self.bytes += bytes_of(rows.rows());
        let (table, ends) = (Arc::clone(changes.table()), changes.ends().to_vec());
        self.changes.push(TableChanges::new(table, rows, ends, changes.unchanged().to_vec()));
        Ok(())
    }
}

/// The bytes of the values in a batch.
fn bytes_of(rows: &RecordBatch) -> usize {
    let bytes = |column: &ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
    rows.columns().iter().map(bytes).sum::<usize>() + rows.num_rows() * 8
}

/// Writes what a base and the changes behind it come to. The base is opened once or twice.
pub(crate) fn fold(
    delta: Delta,
    base: impl Fn() -> Result<Option<BaseReader>, LogError>,
    mut out: Output<'_>,
) -> Result<(), LogError> {
    let Some(first) = delta.changes.first() else { return Ok(()) };
    let table = first.table().name().clone();
    let refused = |reason: String| LogError::Unfoldable { table: table.clone(), reason };
    let unreadable = |error: ArrowError| refused(error.to_string());
    let mut net = Net::new(first.table());
    net.is_partial = delta.changes.iter().any(|changes| !changes.unchanged().is_empty());
    net.look_up(&delta.changes, base()?).map_err(|error| match error {
        Failed::Log(error) => error,
        Failed::Arrow(error) => unreadable(error),
        Failed::Meaning(reason) => refused(reason.to_owned()),
    })?;
    for changes in &delta.changes {
        net.apply(changes).map_err(|error| match error {
            Failed::Log(error) => error,
            Failed::Arrow(error) => unreadable(error),
            Failed::Meaning(reason) => refused(reason.to_owned()),
        })?;
    }
    if !net.truncated {
        let mut base = base()?;
        while let Some(rows) = base.as_mut().map_or(Ok(None), BaseReader::next)? {
            let left = net.pass(&rows).map_err(unreadable)?;
            out.put(rows.table(), left)?;
        }
    }
    net.rest(&mut out)?;
    out.flush()
}

/// Why changes cannot be folded.
enum Failed {
    Log(LogError),
    Arrow(ArrowError),
    Meaning(&'static str),
}

impl From<LogError> for Failed {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<ArrowError> for Failed {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

impl Net {
    fn new(schema: &Arc<TableSchema>) -> Self {
        let rows = Known::new(schema.form());
        let (schema, batches) = (Arc::clone(schema), Vec::new());
        Self { schema, batches, rows, truncated: false, is_partial: false }
    }

    /// Encodes the rows of a batch, or their keys, so that equal ones have equal bytes.
    fn encoded(&self, rows: &RecordBatch) -> Result<Rows, ArrowError> {
        if self.schema.form() == ChangeForm::Exact {
            return change::consolidate::encode(rows);
        }
        let keys = rows.project(self.schema.key())?;
        let columns = keys.columns().iter().map(same_zeros).collect();
        change::consolidate::encode(&RecordBatch::try_new(keys.schema(), columns)?)
    }

    /// Looks at the base: whether its columns are those of the changes, and its rows of which changes left values out.
    fn look_up(
        &mut self,
        changes: &[TableChanges],
        base: Option<BaseReader>,
    ) -> Result<(), Failed> {
        let Some(mut base) = base else { return Ok(()) };
        let Some(mut rows) = base.next()? else { return Ok(()) };
        let then = Arc::clone(rows.table());
        let same = changes.iter().take_while(|changes| *changes.table() == then);
        let same: Vec<&TableChanges> = same.collect();
        if same.len() < changes.len() {
            // What came with other columns must not meet a row of before.
            let last = same.iter().rev().flat_map(|changes| changes.changes().diffs().iter().rev());
            if last.copied().next() != Some(TRUNCATE) {
                return Err(Failed::Meaning("its columns changed while it had rows"));
            }
        }
        self.schema = Arc::clone(&then);
        self.rows = Known::new(then.form());
        if !self.is_partial || then.form() == ChangeForm::Exact {
            return Ok(());
        }
        let mut wanted: HashMap<Encoded, ()> = HashMap::default();
        for changes in same {
            let keys = self.encoded(changes.changes().rows())?;
            wanted.extend(keys.iter().map(|key| (Encoded::from(key.as_ref()), ())));
        }
        loop {
            let keys = self.encoded(rows.changes().rows())?;
            let found = keys.iter().map(|key| Some(wanted.contains_key(key.as_ref())));
            let found = rows.changes().filter(&found.collect::<BooleanArray>())?;
            if !found.is_empty() {
                let (keys, batch) = (self.encoded(found.rows())?, self.batches.len());
                if let Known::Upsert(known) = &mut self.rows {
                    let places = (0..).map(|row| Some((batch, row)));
                    known.extend(keys.iter().map(|key| Encoded::from(key.as_ref())).zip(places));
                }
                self.batches.push(found.into_parts().0);
            }
            match base.next()? {
                Some(more) => rows = more,
                None => return Ok(()),
            }
        }
    }

    /// Applies changes, in order.
    fn apply(&mut self, changes: &TableChanges) -> Result<(), Failed> {
        if *changes.table() != self.schema {
            self.adopt(changes.table())?;
        }
        let keys = self.encoded(changes.changes().rows())?;
        let batch = self.batches.len();
        self.batches.push(changes.changes().rows().clone());
        let mut unchanged = changes.unchanged();
        let mut removed: Option<Place> = None;
        for (row, &diff) in changes.changes().diffs().iter().enumerate() {
            let here = unchanged.iter().take_while(|at| at.row as usize == row).count();
            let (missing, later) = unchanged.split_at(here);
            unchanged = later;
            if diff == TRUNCATE {
                self.rows = Known::new(self.schema.form());
                (self.truncated, removed) = (true, None);
                continue;
            }
            let key = keys.row(row);
            let known = match &mut self.rows {
                Known::Upsert(known) => known,
                Known::Exact(known) => {
                    let first = || (0, (batch, row));
                    known.entry(key.as_ref().into()).or_insert_with(first).0 += diff;
                    continue;
                }
            };
            if diff < 0 {
                removed = known.insert(key.as_ref().into(), None).flatten();
                continue;
            }
            let mut place = (batch, row);
            let old = known.get(key.as_ref()).copied().flatten().or(removed.take());
            if !missing.is_empty() {
                let none = "a value was left out that no row of before has";
                let old = old.ok_or(Failed::Meaning(none))?;
                let columns = missing.iter().map(|at| at.column as usize).collect();
                let complete = complete(&self.batches, place, old, columns)?;
                place = (self.batches.len(), 0);
                self.batches.push(complete);
            }
            known.insert(key.as_ref().into(), Some(place));
        }
        Ok(())
    }

    /// Goes on with other columns, which is possible only when there is no row.
    fn adopt(&mut self, schema: &Arc<TableSchema>) -> Result<(), Failed> {
        let is_empty = match &self.rows {
            Known::Upsert(known) => known.values().all(Option::is_none),
            Known::Exact(known) => known.values().all(|(sum, _)| *sum == 0),
        };
        if !is_empty {
            return Err(Failed::Meaning("its columns changed while it had rows"));
        }
        self.schema = Arc::clone(schema);
        self.rows = Known::new(schema.form());
        self.batches.clear();
        Ok(())
    }

    /// What is left of rows of the base.
    fn pass(&mut self, base: &TableChanges) -> Result<ChangeBatch, ArrowError> {
        let changes = base.changes();
        let keys = self.encoded(changes.rows())?;
        let mut diffs = changes.diffs().to_vec();
        for (key, diff) in keys.iter().zip(&mut diffs) {
            match &mut self.rows {
                Known::Upsert(known) if known.contains_key(key.as_ref()) => *diff = 0,
                Known::Upsert(_) => {}
                Known::Exact(known) => {
                    *diff += known.remove(key.as_ref()).map_or(0, |(sum, _)| sum);
                }
            }
        }
        let keep: BooleanArray = diffs.iter().map(|diff| Some(*diff != 0)).collect();
        ChangeBatch::new(changes.rows().clone(), Int64Array::from(diffs)).filter(&keep)
    }

    /// Writes the rows that came and did not go, in the order in which they came.
    fn rest(&self, out: &mut Output<'_>) -> Result<(), LogError> {
        let mut rows: Vec<(Place, i64)> = match &self.rows {
            Known::Upsert(known) => known.values().flatten().map(|place| (*place, 1)).collect(),
            Known::Exact(known) => {
                let present = known.values().filter(|(sum, _)| *sum != 0);
                present.map(|(sum, place)| (*place, *sum)).collect()
            }
        };
        rows.sort_unstable();
        let bytes: usize = self.batches.iter().map(bytes_of).sum();
        let count: usize = self.batches.iter().map(RecordBatch::num_rows).sum();
        let each = bytes.div_ceil(count.max(1)).max(1);
        let most = (BASE_BATCH_BYTES / each).clamp(1, BASE_BATCH_ROWS);
        for rows in rows.chunks(most) {
            let (places, diffs): (Vec<Place>, Vec<i64>) = rows.iter().copied().unzip();
            let picked = pick(&self.schema, &self.batches, &places);
            let picked = picked.map_err(|error| out.refused(&self.schema, &error))?;
            out.put(&self.schema, ChangeBatch::new(picked, Int64Array::from(diffs)))?;
        }
        Ok(())
    }
}

/// Rows at places, in that order.
fn pick(
    schema: &TableSchema,
    batches: &[RecordBatch],
    places: &[Place],
) -> Result<RecordBatch, ArrowError> {
    // Only the batches in question: there may be many.
    let mut used: Vec<usize> = places.iter().map(|(batch, _)| *batch).collect();
    used.sort_unstable();
    used.dedup();
    let at = |batch: usize| used.binary_search(&batch).expect("it was taken from there");
    let places: Vec<Place> = places.iter().map(|&(batch, row)| (at(batch), row)).collect();
    let column = |column: usize| {
        let values: Vec<&dyn Array> =
            used.iter().map(|&batch| batches[batch].column(column).as_ref()).collect();
        interleave(&values, &places)
    };
    let columns = (0..schema.columns().fields().len()).map(column);
    let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new_with_options(Arc::clone(schema.columns()), columns, &options)
}

/// The row at a place, with the values of some columns taken from an old one.
fn complete(
    batches: &[RecordBatch],
    (batch, row): Place,
    (old_batch, old_row): Place,
    missing: Vec<usize>,
) -> Result<RecordBatch, ArrowError> {
    let (new, old) = (&batches[batch], &batches[old_batch]);
    let value = |column: usize| {
        let is_missing = missing.contains(&column);
        let (from, row) = if is_missing { (old, old_row) } else { (new, row) };
        from.column(column).slice(row, 1)
    };
    let row = RecordBatch::try_new(new.schema(), (0..new.num_columns()).map(value).collect())?;
    // In memory of its own, as a batch may outlive those that it is made of.
    take_rows(&row, &UInt32Array::from(vec![0]))
}

/// Keys of floats: both zeros are one key, and so are all NaNs.
fn same_zeros(column: &ArrayRef) -> ArrayRef {
    fn folded<T: ArrowPrimitiveType>(
        column: &ArrayRef,
        same: impl Fn(T::Native) -> T::Native,
    ) -> ArrayRef {
        let values: &PrimitiveArray<T> = column.as_primitive();
        Arc::new(values.unary::<_, T>(same))
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "all others are as they are encoded")]
    match column.data_type() {
        DataType::Float32 => {
            folded::<Float32Type>(column, |x| if x.is_nan() { f32::NAN } else { x + 0.0 })
        }
        DataType::Float64 => {
            folded::<Float64Type>(column, |x| if x.is_nan() { f64::NAN } else { x + 0.0 })
        }
        _ => Arc::clone(column),
    }
}

/// Gathers rows into batches that are worth a frame.
pub(crate) struct Output<'a> {
    writer: &'a mut BaseWriter,
    schema: Option<Arc<TableSchema>>,
    waiting: Vec<ChangeBatch>,
    rows: usize,
    bytes: usize,
    /// Is told how many bytes were written.
    pace: &'a mut dyn FnMut(u64) -> Result<(), LogError>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(
        writer: &'a mut BaseWriter,
        pace: &'a mut dyn FnMut(u64) -> Result<(), LogError>,
    ) -> Self {
        Self { writer, schema: None, waiting: Vec::new(), rows: 0, bytes: 0, pace }
    }

    fn put(&mut self, schema: &Arc<TableSchema>, rows: ChangeBatch) -> Result<(), LogError> {
        if self.schema.as_ref() != Some(schema) {
            self.flush()?;
            self.schema = Some(Arc::clone(schema));
        }
        if rows.is_empty() {
            return Ok(());
        }
        self.rows += rows.len();
        self.bytes += bytes_of(rows.rows());
        self.waiting.push(rows);
        if self.rows >= BASE_BATCH_ROWS || self.bytes >= BASE_BATCH_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> Result<(), LogError> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.rows, self.bytes) = (0, 0);
        let Some(schema) = self.schema.clone().filter(|_| !waiting.is_empty()) else {
            return Ok(());
        };
        let rows = ChangeBatch::concat(schema.columns(), &waiting);
        let rows = rows.map_err(|error| self.refused(&schema, &error))?;
        let written = self.writer.rows(whole(&schema, rows))?;
        (self.pace)(written)
    }

    fn refused(&self, schema: &TableSchema, error: &ArrowError) -> LogError {
        LogError::Unfoldable { table: schema.name().clone(), reason: error.to_string() }
    }
}
