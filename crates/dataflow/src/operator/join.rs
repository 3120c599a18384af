//! Join: pairs of rows with equal keys.
//!
//! Bilinear: (L + ΔL) ⋈ (R + ΔR) − L ⋈ R = ΔL ⋈ R + L′ ⋈ ΔR with L′ = L + ΔL. So each change is joined at once with what
//! the other side holds at that moment, then added to its own side; the order in which changes come does not matter.
//! The diff of a pair is the product of its rows' diffs. NULL equals nothing: a row with a NULL in its key is in no
//! pair and is not kept.
//!
//! A left join adds the left rows without a match, with NULLs for the right row. For that each left row has a second
//! weight, its matches: the sum of the counts of the right rows that it pairs with and for which the condition holds.
//! It is kept up to date by the same pairs. At the step's end each touched left row with count c should be shown
//! padded c times if it has no match, else never; the difference to what is shown is emitted.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, SchemaRef};
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;
use plan::ir::JoinKind;

use super::{BuildError, EMIT_ROWS, Out};
use crate::arrangement::{Bag, Floats, Keys, NONE, Nulls, StateSize, Totals};
use crate::columns::{batch, changes as batch_of, evaluate_condition, nullable, pick, take_rows};
use crate::error::OperatorError;

/// The word with a left row's matches.
const MATCHES: usize = 0;
/// The word that says how often a left row is shown padded.
const PADDED: usize = 1;
/// The word that is 1 when a left row was touched in this step.
const TOUCHED: usize = 2;

/// Pairs of rows.
pub(crate) struct Join {
    keys: Keys,
    left: Side,
    right: Side,
    filter: Option<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
    /// Of a left join: the words of each left entry, and the entries touched in this step.
    unmatched: Option<(Totals, Vec<u32>)>,
    numbers: Vec<u32>,
}

struct Side {
    key: Vec<usize>,
    types: Vec<DataType>,
    bag: Bag,
}

/// Which input of the join.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Left,
    Right,
}

/// Pairs of a row of a batch and an entry of the other side.
struct Pairs {
    rows: Vec<u32>,
    entries: Vec<u32>,
    /// For each row of the batch, the sum of the counts that it pairs with, when that is needed.
    matches: Vec<i64>,
}

impl Side {
    fn new(schema: &SchemaRef, key: Vec<usize>) -> Result<Self, BuildError> {
        let types: Vec<DataType> =
            schema.fields().iter().map(|field| field.data_type().clone()).collect();
        Ok(Self { key, bag: Bag::new(&types)?, types })
    }

    fn nulls(&self, rows: usize) -> impl Iterator<Item = ArrayRef> {
        self.types.iter().map(move |data_type| new_null_array(data_type, rows))
    }
}

impl Join {
    pub(super) fn new(
        (left, right): (&SchemaRef, &SchemaRef),
        kind: JoinKind,
        on: &[(usize, usize)],
        filter: Option<&Arc<dyn PhysicalExpr>>,
        schema: &SchemaRef,
    ) -> Result<Self, BuildError> {
        let (left_key, right_key): (Vec<usize>, Vec<usize>) = on.iter().copied().unzip();
        let types: Vec<DataType> =
            left_key.iter().map(|&column| left.field(column).data_type().clone()).collect();
        for (&column, data_type) in right_key.iter().zip(&types) {
            let other = right.field(column).data_type();
            if other != data_type {
                return Err(BuildError::Unsupported(format!(
                    "a join of {data_type} with {other} without a cast"
                )));
            }
        }
        Ok(Self {
            keys: Keys::new(&types, Nulls::Nothing, Floats::Folded)?,
            left: Side::new(left, left_key)?,
            right: Side::new(right, right_key)?,
            filter: filter.cloned(),
            schema: nullable(schema),
            unmatched: match kind {
                JoinKind::Inner => None,
                JoinKind::Left => Some((Totals::new(3), Vec::new())),
                JoinKind::Right | JoinKind::Full | JoinKind::Semi | JoinKind::Anti => {
                    return Err(BuildError::Unsupported(format!("a {kind:?} join")));
                }
            },
            numbers: Vec::new(),
        })
    }

    pub(super) fn push(
        &mut self,
        input: usize,
        changes: &ChangeBatch,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let input = if input == 0 { Input::Left } else { Input::Right };
        let key = match input {
            Input::Left => &self.left.key,
            Input::Right => &self.right.key,
        };
        let key = pick(changes.rows().columns(), key);
        let mut numbers = std::mem::take(&mut self.numbers);
        self.keys.resolve(&key, changes.len(), &mut numbers)?;
        if input == Input::Left && self.unmatched.is_some() {
            self.pad_keyless(changes, &numbers)?.into_iter().for_each(|rows| out.rows(rows));
        }
        let matches = self.probe(input, changes, &numbers, out)?;
        self.add(input, changes, &numbers, &matches)?;
        self.numbers = numbers;
        Ok(())
    }

    /// Joins changes with what the other side holds. Returns each row's matches when they are needed.
    fn probe(
        &mut self,
        input: Input,
        changes: &ChangeBatch,
        numbers: &[u32],
        out: &mut Out,
    ) -> Result<Vec<i64>, OperatorError> {
        let counts = input == Input::Left && self.unmatched.is_some();
        let matches = vec![0; if counts { changes.len() } else { 0 }];
        let mut pairs = Pairs { rows: Vec::new(), entries: Vec::new(), matches };
        for (row, &key) in (0..).zip(numbers) {
            pairs.entries.extend(self.other(input).entries(key));
            pairs.rows.resize(pairs.entries.len(), row);
            if pairs.rows.len() >= EMIT_ROWS {
                self.join(input, changes, &mut pairs, out)?;
                pairs.rows.clear();
                pairs.entries.clear();
            }
        }
        self.join(input, changes, &mut pairs, out)?;
        Ok(pairs.matches)
    }

    fn other(&self, input: Input) -> &Bag {
        match input {
            Input::Left => &self.right.bag,
            Input::Right => &self.left.bag,
        }
    }

    /// Emits the pairs that meet the condition, and notes the matches.
    fn join(
        &mut self,
        input: Input,
        changes: &ChangeBatch,
        pairs: &mut Pairs,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let Pairs { rows, entries, matches } = pairs;
        for (rows, entries) in rows.chunks(EMIT_ROWS).zip(entries.chunks(EMIT_ROWS)) {
            let joined = self.columns(input, changes, rows, entries)?;
            let keep = match &self.filter {
                Some(filter) => Some(evaluate_condition(filter, &joined)?),
                None => None,
            };
            let mut diffs = Vec::with_capacity(rows.len());
            for (at, (&row, &entry)) in rows.iter().zip(entries).enumerate() {
                if keep.as_ref().is_some_and(|keep| keep.is_null(at) || !keep.value(at)) {
                    continue;
                }
                let (diff, count) = (changes.diffs()[row as usize], self.other(input).count(entry));
                diffs.push(diff * count);
                match (&mut self.unmatched, input) {
                    (None, _) => {}
                    (Some(_), Input::Left) => matches[row as usize] += count,
                    (Some(unmatched), Input::Right) => note_match(unmatched, entry, diff),
                }
            }
            if let Some(changes) = without_zeros(joined, keep.as_ref(), diffs)? {
                out.rows(changes);
            }
        }
        Ok(())
    }

    /// The joined columns of pairs.
    fn columns(
        &self,
        input: Input,
        changes: &ChangeBatch,
        rows: &[u32],
        entries: &[u32],
    ) -> Result<RecordBatch, OperatorError> {
        let mine = take_rows(changes.rows().columns(), &UInt32Array::from(rows.to_vec()))?;
        let theirs = self.other(input).columns(entries)?;
        let columns = match input {
            Input::Left => mine.into_iter().chain(theirs).collect(),
            Input::Right => theirs.into_iter().chain(mine).collect(),
        };
        Ok(batch(&self.schema, columns, rows.len())?)
    }

    /// Adds changes to their own side.
    fn add(
        &mut self,
        input: Input,
        changes: &ChangeBatch,
        numbers: &[u32],
        matches: &[i64],
    ) -> Result<(), OperatorError> {
        let bag = match input {
            Input::Left => &mut self.left.bag,
            Input::Right => &mut self.right.bag,
        };
        let encoded = bag.encode(changes.rows().columns())?;
        for (row, (&key, &diff)) in numbers.iter().zip(changes.diffs()).enumerate() {
            if key == NONE {
                continue;
            }
            let (entry, new) = bag.add(key, encoded.row(row), diff);
            if input == Input::Left
                && let Some((totals, touched)) = &mut self.unmatched
            {
                totals.reserve(bag.upper());
                let words = totals.get_mut(entry);
                if new {
                    words[MATCHES] = matches[row].cast_unsigned();
                }
                touch(words, entry, touched);
            }
        }
        Ok(())
    }

    /// The left rows with a NULL in their key: they match nothing, now and later.
    fn pad_keyless(
        &self,
        changes: &ChangeBatch,
        numbers: &[u32],
    ) -> Result<Option<ChangeBatch>, OperatorError> {
        let keyless = (0..).zip(numbers).filter(|(_, key)| **key == NONE).map(|(row, _)| row);
        let rows = UInt32Array::from_iter_values(keyless);
        if rows.is_empty() {
            return Ok(None);
        }
        let mut columns = take_rows(changes.rows().columns(), &rows)?;
        columns.extend(self.right.nulls(rows.len()));
        let diffs = rows.values().iter().map(|&row| changes.diffs()[row as usize]).collect();
        Ok(Some(batch_of(&self.schema, columns, diffs)?))
    }

    pub(super) fn finish(&mut self, out: &mut Out) -> Result<(), OperatorError> {
        if let Some((totals, touched)) = &mut self.unmatched {
            let (mut entries, mut diffs) = (Vec::new(), Vec::new());
            for entry in touched.drain(..) {
                let words = totals.get_mut(entry);
                words[TOUCHED] = 0;
                let padded = if words[MATCHES] == 0 { self.left.bag.count(entry) } else { 0 };
                let diff = padded - words[PADDED].cast_signed();
                if diff != 0 {
                    entries.push(entry);
                    diffs.push(diff);
                }
                words[PADDED] = padded.cast_unsigned();
            }
            for (entries, diffs) in entries.chunks(EMIT_ROWS).zip(diffs.chunks(EMIT_ROWS)) {
                let mut columns = self.left.bag.columns(entries)?;
                columns.extend(self.right.nulls(entries.len()));
                out.rows(batch_of(&self.schema, columns, diffs.to_vec())?);
            }
        }
        self.sweep();
        Ok(())
    }

    /// Frees rows with count zero, and keys that no side has any more.
    fn sweep(&mut self) {
        let mut keys = Vec::new();
        self.left.bag.sweep(|entry, key| {
            if let Some((totals, _)) = &mut self.unmatched {
                totals.clear(entry);
            }
            keys.push(key);
        });
        self.right.bag.sweep(|_, key| keys.push(key));
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            if self.left.bag.is_unused(key) && self.right.bag.is_unused(key) {
                self.keys.release(key);
            }
        }
    }

    pub(super) fn size(&self) -> StateSize {
        let rows = self.left.bag.size() + self.right.bag.size();
        let unmatched = self.unmatched.as_ref().map(|(totals, _)| totals.size());
        let bytes = self.keys.size().bytes + unmatched.unwrap_or_default().bytes;
        rows + StateSize { rows: 0, bytes }
    }
}

fn note_match((totals, touched): &mut (Totals, Vec<u32>), entry: u32, diff: i64) {
    let words = totals.get_mut(entry);
    words[MATCHES] = words[MATCHES].wrapping_add_signed(diff);
    touch(words, entry, touched);
}

fn touch(words: &mut [u64], entry: u32, touched: &mut Vec<u32>) {
    if words[TOUCHED] == 0 {
        words[TOUCHED] = 1;
        touched.push(entry);
    }
}

/// Joins the kept rows with their diffs. Rows whose count is zero for the moment pair with diff zero and are left out.
fn without_zeros(
    joined: RecordBatch,
    keep: Option<&BooleanArray>,
    diffs: Vec<i64>,
) -> Result<Option<ChangeBatch>, OperatorError> {
    let joined = match keep {
        Some(keep) => filter_record_batch(&joined, keep)?,
        None => joined,
    };
    if diffs.is_empty() {
        return Ok(None);
    }
    let nonzero: Vec<bool> = diffs.iter().map(|diff| *diff != 0).collect();
    let changes = ChangeBatch::new(joined, diffs.into());
    if nonzero.iter().all(|nonzero| *nonzero) {
        return Ok(Some(changes));
    }
    Ok(Some(changes.filter(&nonzero.into())?))
}
