//! What is appended: groups of rows that do not compress, and groups of many small transactions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use change::{
    ChangeBatch, ChangeForm, Part, SourcePosition, TableChanges, TableName, TableSchema,
    TransactionGroup, TransactionHead,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

const COLUMNS: usize = 8;

/// The bytes of a row's values.
pub(super) const ROW_BYTES: usize = 8 * COLUMNS;

/// Groups of so many bytes of random numbers, which do not compress.
#[derive(Debug)]
pub(super) struct Groups {
    random: ChaCha8Rng,
    schema: Arc<Schema>,
}

impl Groups {
    /// Begins anew; the same seed gives the same groups.
    pub(super) fn new(seed: u64) -> Self {
        let fields = (0..COLUMNS).map(|i| Field::new(format!("c{i}"), DataType::Int64, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Self { random: ChaCha8Rng::seed_from_u64(seed), schema }
    }

    /// Makes the next group, of one transaction.
    pub(super) fn next(&mut self, bytes: usize) -> TransactionGroup {
        let rows = (bytes / ROW_BYTES).max(1);
        let column = |random: &mut ChaCha8Rng| {
            let values: Int64Array = (0..rows).map(|_| Some(random.random::<i64>())).collect();
            Arc::new(values) as ArrayRef
        };
        let columns = (0..COLUMNS).map(|_| column(&mut self.random)).collect();
        let batch =
            RecordBatch::try_new(Arc::clone(&self.schema), columns).expect("columns of one length");
        group("t", &batch, 1)
    }

    /// Makes so many of them.
    pub(super) fn take(&mut self, count: usize, bytes: usize) -> Vec<TransactionGroup> {
        (0..count).map(|_| self.next(bytes)).collect()
    }
}

/// A group of so many transactions with a row each.
pub(super) fn small(transactions: usize) -> TransactionGroup {
    let count = i64::try_from(transactions).expect("a bench group is small");
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    let values = Int64Array::from_iter_values(0..count);
    let batch =
        RecordBatch::try_new(schema, vec![Arc::new(values)]).expect("a column of its schema");
    group("small", &batch, transactions)
}

/// A group that inserts a batch's rows, in so many transactions of about as many rows each.
pub(super) fn group(table: &str, batch: &RecordBatch, transactions: usize) -> TransactionGroup {
    let index = |n: usize| u32::try_from(n).expect("a bench group is small");
    let name = TableName::new("bench", table);
    let schema = TableSchema::new(name, batch.schema(), Vec::new(), ChangeForm::Exact);
    let ends = (1..=transactions).map(|n| index(batch.num_rows() * n / transactions));
    let changes = ChangeBatch::inserts(batch.clone());
    let changes = TableChanges::new(Arc::new(schema), changes, ends.collect(), Vec::new());
    let head = |step| TransactionHead::at(SourcePosition::Step(index(step).into()), None);
    let heads = (0..transactions).map(head).collect();
    TransactionGroup::new("bench".into(), Part::Whole, heads, vec![changes])
}
