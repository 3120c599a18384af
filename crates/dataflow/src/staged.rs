//! What a view changed by in a step, until the step ends: staged, and summed when it is much.
//!
//! Rows that come and go within a step leave nothing. So what waits is no more than twice what the step comes to, or the
//! limits here.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::SchemaRef;
use change::{ChangeBatch, consolidate};
use plan::ir::ViewPlan;

use crate::columns::{batch, nullable, pick, texts_bytes};
use crate::error::OperatorError;
use crate::exchange::partition;
use crate::workers::Order;

/// Staged rows are consolidated when there are this many, and again when they have doubled since.
const STAGED_ROWS: usize = 65_536;

/// Staged rows of more bytes without fixed width, each text counted, are consolidated in parts: a column of one batch
/// holds 2 GiB.
const STAGED_BYTES: usize = 512 << 20;

/// What a view changed by in this step so far.
pub(crate) struct View {
    pub(crate) name: String,
    /// The stage that computes it, and the columns of it.
    pub(crate) stage: usize,
    columns: Vec<usize>,
    schema: SchemaRef,
    pub(crate) staged: Vec<ChangeBatch>,
    /// How many rows are staged, and how many bytes of them have no fixed width.
    rows: usize,
    bytes: usize,
    /// When they are consolidated.
    rows_limit: usize,
    bytes_limit: usize,
    /// How many bytes are consolidated together.
    bytes_max: usize,
    pub(crate) has_failed: bool,
    pub(crate) is_dropped: bool,
}

impl View {
    /// A view that some columns of a stage are.
    pub(crate) fn new(plan: &ViewPlan, stage: usize, columns: Vec<usize>) -> Self {
        Self {
            name: plan.name.clone(),
            stage,
            columns,
            schema: nullable(&plan.schema),
            staged: Vec::new(),
            rows: 0,
            bytes: 0,
            rows_limit: STAGED_ROWS,
            bytes_limit: STAGED_BYTES,
            bytes_max: STAGED_BYTES,
            has_failed: false,
            is_dropped: false,
        }
    }

    /// Takes changes of the view's stage in.
    pub(crate) fn stage(&mut self, changes: &ChangeBatch) -> Result<(), OperatorError> {
        let columns: Vec<ArrayRef> = pick(changes.rows().columns(), &self.columns);
        self.bytes += texts_bytes(&columns);
        self.rows += changes.len();
        self.staged.push(changes.with_rows(batch(&self.schema, columns, changes.len())?));
        if self.rows >= self.rows_limit || self.bytes >= self.bytes_limit {
            self.settle()?;
        }
        Ok(())
    }

    /// Sums what is staged: in one batch, or in several of which each has all copies of its rows.
    fn settle(&mut self) -> Result<(), OperatorError> {
        let staged = std::mem::take(&mut self.staged);
        let parts = 1 + 4 * self.bytes / self.bytes_max;
        if self.bytes < self.bytes_max {
            self.staged.push(consolidate(&self.schema, &staged)?);
        } else {
            let all: Vec<usize> = (0..self.schema.fields().len()).collect();
            let mut sums = vec![ChangeBatch::empty(Arc::clone(&self.schema)); parts];
            for changes in gathered(&self.schema, staged, self.bytes_max / 4)? {
                for (sum, part) in sums.iter_mut().zip(partition(&changes, &all, parts)?) {
                    // One at a time: equal rows may come again and again.
                    *sum = consolidate(&self.schema, &[sum.clone(), part])?;
                }
            }
            sums.retain(|sum| !sum.is_empty());
            self.staged = sums;
        }
        self.rows = self.staged.iter().map(ChangeBatch::len).sum();
        self.bytes = self.staged.iter().map(|sum| texts_bytes(sum.rows().columns())).sum();
        self.rows_limit = STAGED_ROWS.max(self.rows * 2);
        self.bytes_limit = self.bytes_max.max(self.bytes * 2);
        Ok(())
    }

    /// What the view changed by, which ends the step.
    pub(crate) fn take(
        &mut self,
        order: Order,
    ) -> Result<Vec<ChangeBatch>, arrow::error::ArrowError> {
        (self.rows, self.rows_limit) = (0, STAGED_ROWS);
        (self.bytes, self.bytes_limit) = (0, self.bytes_max);
        let staged = std::mem::take(&mut self.staged);
        match order {
            Order::Sorted if !staged.is_empty() => Ok(vec![consolidate(&self.schema, &staged)?]),
            Order::Sorted | Order::AsTheyCome => Ok(staged),
        }
    }
}

/// Sums small batches among each other, so that larger sums are made anew for fewer of them: a table's rows arrive in
/// small pieces, and wide rows fill the memory with few rows. What is summed at once stays small.
fn gathered(
    schema: &SchemaRef,
    staged: Vec<ChangeBatch>,
    bytes_max: usize,
) -> Result<Vec<ChangeBatch>, OperatorError> {
    let mut found = Vec::new();
    let (mut small, mut rows, mut bytes) = (Vec::new(), 0, 0);
    for changes in staged {
        let more = texts_bytes(changes.rows().columns());
        if rows + changes.len() > STAGED_ROWS || bytes + more > bytes_max {
            found.extend(sum_of(schema, std::mem::take(&mut small))?);
            (rows, bytes) = (0, 0);
        }
        rows += changes.len();
        bytes += more;
        small.push(changes);
    }
    found.extend(sum_of(schema, small)?);
    Ok(found)
}

/// The sum of some batches; one alone is left as it is.
fn sum_of(
    schema: &SchemaRef,
    mut batches: Vec<ChangeBatch>,
) -> Result<Option<ChangeBatch>, OperatorError> {
    if batches.len() < 2 {
        return Ok(batches.pop());
    }
    Ok(Some(consolidate(schema, &batches)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, RecordBatch, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn rows(texts: &[&str], diff: i64) -> ChangeBatch {
        let fields =
            vec![Field::new("x", DataType::Int64, true), Field::new("s", DataType::Utf8, true)];
        let numbers: Int64Array = (0..).take(texts.len()).map(Some).collect();
        let texts = StringArray::from(texts.to_vec());
        let schema = Arc::new(Schema::new(fields));
        let columns: Vec<ArrayRef> = vec![Arc::new(numbers), Arc::new(texts)];
        let diffs = vec![diff; columns[0].len()];
        ChangeBatch::new(RecordBatch::try_new(schema, columns).unwrap(), diffs.into())
    }

    #[test]
    fn what_is_staged_is_summed_in_parts_when_it_is_large() {
        let texts = ["a", "b", "c", "d", "e", "f", "g", "h"].map(|letter| letter.repeat(100));
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let schema = rows(&texts, 1).schema();
        let mut view = View {
            name: "v".into(),
            stage: 0,
            columns: vec![0, 1],
            schema: Arc::clone(&schema),
            staged: Vec::new(),
            rows: 0,
            bytes: 0,
            rows_limit: STAGED_ROWS,
            bytes_limit: 1_500,
            bytes_max: 1_500,
            has_failed: false,
            is_dropped: false,
        };
        for round in 0..9 {
            view.stage(&rows(&texts, 1)).unwrap();
            view.stage(&rows(&texts[..round], 1)).unwrap();
            view.stage(&rows(&texts[..round], -1)).unwrap();
            // Equal rows are summed again and again, so there is never much of them.
            assert!(view.bytes <= 5_000, "{}", view.bytes);
        }
        view.bytes = view.bytes.max(1_500);
        view.settle().unwrap();
        assert!(view.staged.len() > 2, "{} parts", view.staged.len());
        let most = view.staged.iter().map(|part| texts_bytes(part.rows().columns())).max();
        assert!(most <= Some(500), "{most:?}");
        let all = view.take(Order::Sorted).unwrap();
        assert_eq!(all, [consolidate(&schema, &[rows(&texts, 9)]).unwrap()]);
        assert_eq!((view.rows, view.bytes), (0, 0));
    }

    #[test]
    fn small_batches_are_summed_among_each_other_before_they_meet_large_sums() {
        let texts = ["a", "b", "c", "d"].map(|letter| letter.repeat(100));
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let piece = rows(&texts, 1);
        let (schema, bytes) = (piece.schema(), texts_bytes(piece.rows().columns()));
        let sums = gathered(&schema, vec![piece.clone(); 16], bytes * 8).unwrap();
        assert_eq!(sums.len(), 2, "eight pieces at once");
        assert!(sums.iter().all(|sum| sum.len() == 4), "equal rows are one");
        let all = consolidate(&schema, &[rows(&texts, 16)]).unwrap();
        assert_eq!(consolidate(&schema, &sums).unwrap(), all);
        // What is large by itself is not copied with others.
        let sums = gathered(&schema, vec![piece.clone(); 3], bytes - 1).unwrap();
        assert_eq!(sums, vec![piece; 3]);
        assert_eq!(gathered(&schema, Vec::new(), 0).unwrap(), []);
    }
}
