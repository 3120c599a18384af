//! Window functions: each row with values computed from the rows of its partition.
//!
//! The result of a row is a function of the rows around it, so a change may touch the results of rows that did not
//! change. With W(A) the rows of A with their results, a step emits W(A + Δ) − W(A); and since both are computed by the
//! same exact function, what was shown needs no copy. The step's end
//!
//! 1. finds the intervals of rows that the changes can reach ([`reach`]): the neighbours for a `lag`, the next two rows
//!    for a frame that begins two rows before, all rows behind for a `row_number`;
//! 2. computes the results of the rows there ([`evaluate`]);
//! 3. applies the changes and computes the results there again;
//! 4. emits the difference, in which rows with equal results cancel out.
//!
//! The rows lie in an order-statistic tree with sums ([`arranged`], [`fold`]), so a row's rank, a row by its rank, and
//! the sum over any frame cost the logarithm of the number of rows: a change costs what it touches, not the partition.

mod arranged;
mod call;
mod evaluate;
mod fold;
mod range;
mod reach;

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, UInt32Array};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use change::ChangeBatch;
use plan::ir::{OrderKey, WindowCall};

use self::arranged::Arranged;
use self::call::Calls;
use self::evaluate::Evaluated;
use self::fold::{Folds, parts};
use self::range::Limits;
use self::reach::{Ground, Interval, intervals};
use super::pending::{Deltas, PARTITION_BYTES, Pending, partition_of};
use super::{BuildError, EMIT_ROWS, Fault, Out};
use crate::arrangement::{Codec, Encoded, Floats, Keys, Nulls, StateSize, number};
use crate::columns::{batch, changes as batch_of, nullable, pick, take_rows};
use crate::error::OperatorError;
use crate::faulty::rows_as_json;

/// Rows with window functions.
pub(crate) struct Window {
    input: SchemaRef,
    schema: SchemaRef,
    partition: Vec<usize>,
    order: Vec<usize>,
    calls: Calls,
    keys: Keys,
    order_codec: Codec,
    row_codec: Codec,
    result_codec: Codec,
    arranged: Arranged,
    pending: Pending,
    /// The step that is being ended.
    ending: Option<Ending>,
    numbers: Vec<u32>,
}

/// A step that is being ended, in parts.
struct Ending {
    deltas: Deltas,
    limits: Vec<Limits>,
    /// How many of the changes are applied.
    done: usize,
}

/// Partitions whose changes are applied together.
#[derive(Default)]
struct Settled {
    changes: Vec<std::ops::Range<usize>>,
    intervals: Vec<Interval>,
    rows: u64,
}

/// Results that are shown once more or less often, by their number.
#[derive(Default)]
struct Side {
    entries: Vec<usize>,
    results: Vec<u32>,
    diffs: Vec<i64>,
}

impl Window {
    pub(super) fn new(
        input: &SchemaRef,
        partition: &[usize],
        order: &[OrderKey],
        calls: &[WindowCall],
        schema: &SchemaRef,
    ) -> Result<Self, BuildError> {
        let data_type = |column: usize| -> DataType { input.field(column).data_type().clone() };
        let types: Vec<DataType> = partition.iter().map(|&column| data_type(column)).collect();
        let order_fields = order.iter().map(|key| (data_type(key.column), key.options)).collect();
        let outputs: Vec<DataType> = calls.iter().map(|call| call.output.clone()).collect();
        let mut calls = Calls::new(input, order, calls, schema)?;
        let folds = std::mem::replace(&mut calls.folds, Folds::new());
        let counts_groups = calls.count_groups();
        Ok(Self {
            input: nullable(input),
            schema: nullable(schema),
            partition: partition.to_vec(),
            order: order.iter().map(|key| key.column).collect(),
            calls,
            keys: Keys::new(&types, Nulls::Equal, Floats::Folded)?,
            order_codec: Codec::sorted(order_fields, Floats::Folded)?,
            row_codec: Codec::new(input.fields().iter().map(|f| f.data_type()), Floats::Kept)?,
            result_codec: Codec::new(&outputs, Floats::Kept)?,
            arranged: Arranged::new(folds, counts_groups),
            pending: Pending::default(),
            ending: None,
            numbers: Vec::new(),
        })
    }

    fn folds(&self) -> &Folds {
        self.arranged.rows.measure()
    }

    pub(super) fn push(&mut self, changes: &ChangeBatch) -> Result<(), OperatorError> {
        let columns = changes.rows().columns();
        self.keys.resolve(&pick(columns, &self.partition), changes.len(), &mut self.numbers)?;
        let order: Encoded = self.order_codec.encode(&pick(columns, &self.order))?;
        let rows = self.row_codec.encode(columns)?;
        let payloads = self.arranged.rows.measure().payloads(columns, changes.len())?;
        let mut payload = Vec::new();
        for (at, (&partition, &diff)) in self.numbers.iter().zip(changes.diffs()).enumerate() {
            let (order, row) = (order.row(at), rows.row(at));
            payloads.write(at, (PARTITION_BYTES + order.len(), row.len()), &mut payload);
            self.pending.add(&[&partition.to_be_bytes(), order, row, &payload], diff);
        }
        Ok(())
    }

    /// Applies the changes of some partitions, and emits what follows; returns whether there are more.
    pub(super) fn finish(&mut self, out: &mut Out) -> Result<bool, OperatorError> {
        let ending = match self.ending.take() {
            Some(ending) => ending,
            None => {
                let deltas = self.pending.take();
                Ending { limits: self.reaches(&deltas)?, deltas, done: 0 }
            }
        };
        let Ending { deltas, limits, mut done } = ending;
        let mut settled = Settled::default();
        for places in deltas.partitions(done) {
            let (arranged, calls) = (&self.arranged, &self.calls);
            let ground = Ground { arranged, calls, limits: &limits };
            let (found, rows) = intervals(&ground, places.start, &deltas.slice(places.clone()));
            done = places.end;
            settled.changes.push(places);
            settled.intervals.extend(found);
            settled.rows += rows;
            if settled.rows >= EMIT_ROWS as u64 {
                break;
            }
        }
        self.settle(&deltas, &settled, out)?;
        let has_more = done < deltas.len();
        self.ending = has_more.then_some(Ending { deltas, limits, done });
        Ok(has_more)
    }

    /// Applies the changes of some partitions, and emits by how much their results differ.
    fn settle(
        &mut self,
        deltas: &Deltas,
        settled: &Settled,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let before = self.evaluate(&settled.intervals)?;
        for places in &settled.changes {
            let partition = partition_of(deltas.get(places.start).row);
            for delta in deltas.slice(places.clone()) {
                self.arranged.add(delta.row, delta.diff);
            }
            let span = self.arranged.partition(partition);
            if span.start == span.end {
                self.keys.release(partition);
            }
        }
        self.arranged.rows.refresh();
        let after = self.evaluate(&settled.intervals)?;
        self.emit(&before, &after, out)
    }

    /// Emits what results must be added to those before to make them those after.
    fn emit(
        &self,
        before: &Evaluated,
        after: &Evaluated,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let (mut gone, mut come) = (Side::default(), Side::default());
        let (mut old, mut new) = (0, 0);
        while old < before.len() || new < after.len() {
            let order = match (old < before.len(), new < after.len()) {
                (true, true) => before.row(old).cmp(after.row(new)),
                (true, false) => Ordering::Less,
                (false, _) => Ordering::Greater,
            };
            let both = (order.is_le().then_some(old), order.is_ge().then_some(new));
            differ((before, &mut gone), (after, &mut come), both);
            old += usize::from(order.is_le());
            new += usize::from(order.is_ge());
        }
        self.give_out(before, gone, out)?;
        self.give_out(after, come, out)
    }

    fn give_out(
        &self,
        evaluated: &Evaluated,
        side: Side,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let (mut shown, mut faulty) = (Side::default(), Side::default());
        for ((entry, result), diff) in side.entries.into_iter().zip(side.results).zip(side.diffs) {
            let is_faulty = !evaluated.faults(result as usize).is_empty();
            let side = if is_faulty { &mut faulty } else { &mut shown };
            side.push(entry, result as usize, diff);
        }
        let rows = |side: &Side| -> Result<Vec<ArrayRef>, ArrowError> {
            let bytes = side.entries.iter().map(|&entry| parts(evaluated.row(entry)).row);
            self.row_codec.decode(bytes)
        };
        if !shown.diffs.is_empty() {
            let mut columns = rows(&shown)?;
            let results = UInt32Array::from(std::mem::take(&mut shown.results));
            columns.extend(take_rows(&evaluated.columns, &results)?);
            out.rows(batch_of(&self.schema, columns, std::mem::take(&mut shown.diffs))?);
        }
        if faulty.diffs.is_empty() {
            return Ok(());
        }
        let rows = rows_as_json(&batch(&self.input, rows(&faulty)?, faulty.diffs.len())?)?;
        for ((row, result), diff) in rows.into_iter().zip(faulty.results).zip(faulty.diffs) {
            for &call in evaluated.faults(result as usize) {
                let call = &self.calls.calls[call];
                out.faults.push(Fault {
                    expression: call.name.clone(),
                    row: row.clone(),
                    message: format!("the value does not fit {}", call.output),
                    diff,
                });
            }
        }
        Ok(())
    }

    /// How far the changes of a step reach by the values of their order key, for each shift.
    fn reaches(&self, deltas: &Deltas) -> Result<Vec<Limits>, ArrowError> {
        let rows: Vec<&[u8]> = (0..deltas.len()).map(|at| deltas.get(at).row).collect();
        let Some(values) = self.order_values(&rows)? else {
            return Ok(Vec::new());
        };
        let shifts = self.calls.shifts.iter();
        shifts.map(|shift| shift.reaches(&values, &self.order_codec)).collect()
    }

    /// The values of rows' order key; `None` when no frame is measured by it.
    fn order_values(&self, rows: &[&[u8]]) -> Result<Option<ArrayRef>, ArrowError> {
        let [order] = self.order.as_slice() else {
            return Ok(None);
        };
        if self.calls.shifts.is_empty() {
            return Ok(None);
        }
        let columns = self.row_codec.decode(rows.iter().map(|row| parts(row).row))?;
        Ok(Some(Arc::clone(&columns[*order])))
    }

    pub(super) fn size(&self) -> StateSize {
        let keys = StateSize { rows: 0, bytes: self.keys.size().bytes };
        self.arranged.size() + keys
    }
}

impl Side {
    fn push(&mut self, entry: usize, result: usize, diff: i64) {
        self.entries.push(entry);
        self.results.push(number(result));
        self.diffs.push(diff);
    }
}

/// Notes which results of a row, or of its copies, were there before or are there after, but not both.
fn differ(
    (before, gone): (&Evaluated, &mut Side),
    (after, come): (&Evaluated, &mut Side),
    (old, new): (Option<usize>, Option<usize>),
) {
    let results = |evaluated: &Evaluated, entry: Option<usize>| {
        entry.map_or(0..0, |entry| evaluated.results(entry))
    };
    let (olds, news) = (results(before, old), results(after, new));
    let mut all: Vec<(&[u8], &[usize], bool, usize)> = Vec::with_capacity(olds.len() + news.len());
    for (evaluated, range, is_new) in [(before, olds, false), (after, news, true)] {
        all.extend(range.map(|result| {
            (evaluated.encoded.row(result), evaluated.faults(result), is_new, result)
        }));
    }
    if all.len() > 1 {
        all.sort_unstable();
    }
    for same in all.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let diff = same.iter().fold(0_i64, |sum, &(_, _, is_new, result)| {
            let weight = if is_new { after.weights[result] } else { -before.weights[result] };
            sum.wrapping_add(weight)
        });
        let (_, _, is_new, result) = same[same.len() - 1];
        let (side, entry) = if is_new { (&mut *come, new) } else { (&mut *gone, old) };
        if let Some(entry) = entry.filter(|_| diff != 0) {
            side.push(entry, result, diff);
        }
    }
}
