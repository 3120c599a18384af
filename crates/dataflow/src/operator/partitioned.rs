//! The rows of partitions, each partition's in an order.
//!
//! A row is kept as the number of its partition, then its columns in the order in which they are compared: so all rows
//! lie in one [`Ranked`] arrangement, a partition's side by side. While changes come they are only noted; the operator
//! looks at a partition before and after they are applied.

use arrow::array::ArrayRef;
use arrow::compute::SortOptions;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use change::ChangeBatch;
use plan::ir::OrderKey;

use super::pending::{Delta, Deltas, PARTITION_BYTES, Pending};
use super::{BuildError, EMIT_ROWS, Out};
use crate::arrangement::{Codec, Floats, Keys, Nothing, Nulls, Rank, Ranked, StateSize};
use crate::columns::{changes as batch_of, nullable, pick};

/// Rows by partition and order.
pub(super) struct Partitioned {
    schema: SchemaRef,
    partition: Vec<usize>,
    /// The columns in the order in which they are compared.
    compared: Vec<usize>,
    /// For each column, where it lies among the compared ones.
    positions: Vec<usize>,
    keys: Keys,
    codec: Codec,
    pub(super) rows: Ranked<Nothing>,
    pending: Pending,
    numbers: Vec<u32>,
}

/// Rows that are about to be given out.
#[derive(Default)]
pub(super) struct Emitted {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    diffs: Vec<i64>,
}

/// Where a partition lies among all rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: Rank,
    pub(super) end: Rank,
}

impl Span {
    /// How many rows the partition has.
    pub(super) fn rows(self) -> u64 {
        self.end.rows.wrapping_sub(self.start.rows)
    }
}

impl Partitioned {
    /// Orders by the given keys, then by all other columns, ascending, NULLs first.
    pub(super) fn new(
        schema: &SchemaRef,
        partition: &[usize],
        order: &[OrderKey],
    ) -> Result<Self, BuildError> {
        let mut compared: Vec<usize> = Vec::new();
        let mut fields = Vec::new();
        let ascending = SortOptions { descending: false, nulls_first: true };
        let data_type = |column: usize| -> DataType { schema.field(column).data_type().clone() };
        for key in order {
            if !compared.contains(&key.column) {
                compared.push(key.column);
                fields.push((data_type(key.column), key.options));
            }
        }
        for column in 0..schema.fields().len() {
            if !compared.contains(&column) {
                compared.push(column);
                fields.push((data_type(column), ascending));
            }
        }
        let position = |column| {
            compared.iter().position(|&other| other == column).expect("every column is compared")
        };
        let types: Vec<DataType> = partition.iter().map(|&column| data_type(column)).collect();
        Ok(Self {
            schema: nullable(schema),
            partition: partition.to_vec(),
            positions: (0..compared.len()).map(position).collect(),
            compared,
            keys: Keys::new(&types, Nulls::Equal, Floats::Folded)?,
            codec: Codec::sorted(fields, Floats::Kept)?,
            rows: Ranked::new(Nothing),
            pending: Pending::default(),
            numbers: Vec::new(),
        })
    }

    /// Notes changes.
    pub(super) fn push(&mut self, changes: &ChangeBatch) -> Result<(), ArrowError> {
        let columns = changes.rows().columns();
        self.keys.resolve(&pick(columns, &self.partition), changes.len(), &mut self.numbers)?;
        let encoded = self.codec.encode(&pick(columns, &self.compared))?;
        for (row, (&partition, &diff)) in self.numbers.iter().zip(changes.diffs()).enumerate() {
            self.pending.add(&[&partition.to_be_bytes(), encoded.row(row)], diff);
        }
        Ok(())
    }

    /// What changed in this step.
    pub(super) fn take(&mut self) -> Deltas {
        self.pending.take()
    }

    /// Where a partition's rows lie.
    pub(super) fn span(&self, partition: u32) -> Span {
        let bound = |partition: u32| {
            let prefix = partition.to_be_bytes();
            self.rows.rank(|row| row < &prefix[..])
        };
        Span { start: bound(partition), end: bound(partition + 1) }
    }

    /// Applies changes of one partition, and forgets the partition when it has no rows any more.
    pub(super) fn apply(&mut self, partition: u32, deltas: &[Delta<'_>]) -> Span {
        for delta in deltas {
            self.rows.add(delta.row, delta.diff);
        }
        let span = self.span(partition);
        if span.start.entries == span.end.entries {
            self.keys.release(partition);
        }
        span
    }

    /// The partitions' columns.
    pub(super) fn keys(&self, partitions: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        self.keys.columns(partitions)
    }

    /// Gives out the rows that were gathered, when they are many.
    pub(super) fn flush(&self, emitted: &mut Emitted, out: &mut Out) -> Result<(), ArrowError> {
        if emitted.diffs.len() < EMIT_ROWS { Ok(()) } else { self.give_out(emitted, out) }
    }

    /// Gives out the rows that were gathered.
    pub(super) fn give_out(&self, emitted: &mut Emitted, out: &mut Out) -> Result<(), ArrowError> {
        let Emitted { bytes, ends, diffs } = std::mem::take(emitted);
        if diffs.is_empty() {
            return Ok(());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let rows = starts.zip(&ends).map(|(start, &end)| &bytes[start..end]);
        let columns = self.codec.decode(rows)?;
        out.rows(batch_of(&self.schema, pick(&columns, &self.positions), diffs)?);
        Ok(())
    }

    /// How much is held.
    pub(super) fn size(&self) -> StateSize {
        let keys = StateSize { rows: 0, bytes: self.keys.size().bytes };
        self.rows.size() + keys
    }
}

impl Emitted {
    /// Adds a row with its partition in front, unless its diff is zero.
    pub(super) fn add(&mut self, row: &[u8], diff: i64) {
        if diff != 0 {
            self.bytes.extend_from_slice(&row[PARTITION_BYTES..]);
            self.ends.push(self.bytes.len());
            self.diffs.push(diff);
        }
    }
}
