//! Exchange: rows that belong together come together on one worker.
//!
//! Every worker has the same stages and a part of the state: the keys whose hash is its own. An exchange sends each row
//! to the worker that its key belongs to. The hash depends on nothing but the values, so all workers agree, also those
//! of other processes. What travels is a *parcel*: a batch, the stage that it left, and the worker that it is for.
//! Within a process it is handed over as it is; between processes it would be Arrow's stream format.

use std::io::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, UInt32Array};
use arrow::datatypes::Int64Type;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use change::ChangeBatch;
use change::floats::folded;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::progress::Stamp;

use crate::arrangement::{mix, number};
use crate::columns::pick;
use crate::error::OperatorError;

/// The seed of the hash that chooses a worker; another than those of hash tables, whose buckets it must not fill
/// unevenly.
const SEED: u64 = 0x45_56_45_52_54;

/// What NULL is hashed as, when it is hashed as a word.
const NULL: u64 = 0x4e55_4c4c_4e55_4c4c;

/// A worker among several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Its number, from zero.
    pub(crate) index: usize,
    /// How many there are.
    pub(crate) peers: usize,
}

impl Peer {
    /// The only worker there is.
    pub(crate) const ALONE: Self = Self { index: 0, peers: 1 };

    /// The worker's part of a batch that all workers have: what the hash of columns gives to it, or an even share.
    pub(crate) fn part(
        self,
        changes: &ChangeBatch,
        columns: Option<&[usize]>,
    ) -> Result<ChangeBatch, OperatorError> {
        if self.peers == 1 {
            return Ok(changes.clone());
        }
        let Some(columns) = columns else {
            let at = |index: usize| changes.len() * index / self.peers;
            return Ok(changes.slice(at(self.index), at(self.index + 1) - at(self.index)));
        };
        // Every row is written and the next one written over those that are not wanted: a branch that is taken as often
        // as not would cost more than all else here.
        let (mut mine, mut wanted) = (vec![0; changes.len()], 0);
        each_owner(changes, columns, self.peers, |row, owner| {
            mine[wanted] = number(row);
            wanted += usize::from(owner == self.index);
        })?;
        mine.truncate(wanted);
        Ok(changes.take(&UInt32Array::from(mine))?)
    }
}

/// Splits changes by the hash of columns: for each worker, its rows in order.
///
/// With no columns all rows are the first worker's.
pub(crate) fn partition(
    changes: &ChangeBatch,
    columns: &[usize],
    peers: usize,
) -> Result<Vec<ChangeBatch>, OperatorError> {
    let mut rows: Vec<Vec<u32>> = vec![Vec::with_capacity(changes.len() / peers + 16); peers];
    each_owner(changes, columns, peers, |row, owner| rows[owner].push(number(row)))?;
    rows.into_iter().map(|rows| Ok(changes.take(&UInt32Array::from(rows))?)).collect()
}

/// Calls `each` with every row and the worker that it belongs to by the hash of columns.
fn each_owner(
    changes: &ChangeBatch,
    columns: &[usize],
    peers: usize,
    mut each: impl FnMut(usize, usize),
) -> Result<(), OperatorError> {
    let key = pick(changes.rows().columns(), columns);
    if let [column] = &key[..]
        && let Some(words) = column.as_primitive_opt::<Int64Type>()
    {
        // The most frequent key by far, and the cheapest to hash.
        let of =
            |word: Option<i64>| owner(mix(SEED ^ word.map_or(NULL, i64::cast_unsigned)), peers);
        if words.null_count() == 0 {
            let words = words.values().iter().enumerate();
            words.for_each(|(row, &word)| each(row, of(Some(word))));
        } else {
            words.iter().enumerate().for_each(|(row, word)| each(row, of(word)));
        }
        return Ok(());
    }
    let key: Vec<ArrayRef> = key.iter().map(folded).collect();
    let mut hashes = vec![0; changes.len()];
    create_hashes(&key, &RandomState::with_seed(SEED), &mut hashes).map_err(|source| {
        OperatorError::Evaluate { expression: "a key's hash".to_owned(), source }
    })?;
    for (row, &hash) in hashes.iter().enumerate() {
        each(row, if columns.is_empty() { 0 } else { owner(hash, peers) });
    }
    Ok(())
}

/// The worker that a hash belongs to: its share of the range of all hashes.
fn owner(hash: u64, peers: usize) -> usize {
    let wide = u128::from(hash) * peers as u128;
    usize::try_from(wide >> 64).expect("less than the number of workers")
}

/// A batch on its way to a worker.
#[derive(Clone, Default)]
pub(crate) struct Parcel {
    pub(crate) target: usize,
    /// The stage of exchange that it left.
    pub(crate) stage: usize,
    pub(crate) changes: Option<ChangeBatch>,
}

impl Accountable for Parcel {
    fn record_count(&self) -> i64 {
        i64::from(self.changes.is_some())
    }
}

impl Parcel {
    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stage = u64::try_from(self.stage).expect("a stage's number is small");
        bytes.extend_from_slice(&stage.to_le_bytes());
        let rows = self.changes.as_ref().map(|changes| changes.flatten().expect("it has diffs"));
        if let Some(rows) = rows {
            let written = StreamWriter::try_new(&mut bytes, &rows.schema())
                .and_then(|mut writer| writer.write(&rows).and_then(|()| writer.finish()));
            written.expect("writing to memory does not fail");
        }
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }
}

impl ContainerBytes for Parcel {
    fn from_bytes(bytes: Bytes) -> Self {
        let (stage, rows) = bytes.split_at(8);
        let stage = u64::from_le_bytes(stage.try_into().expect("eight bytes"));
        let stage = usize::try_from(stage).expect("a stage's number is small");
        let read = |rows: &[u8]| -> RecordBatch {
            let mut reader = StreamReader::try_new(rows, None).expect("a peer sends what we send");
            let batch = reader.next().expect("a parcel has a batch");
            batch.expect("a peer sends what we send")
        };
        let changes = (!rows.is_empty()).then(|| with_diffs(&read(rows)));
        Self { target: 0, stage, changes }
    }

    fn length_in_bytes(&self) -> usize {
        self.to_bytes().len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        writer.write_all(&self.to_bytes()).expect("the allocator made room for the parcel");
    }
}

/// Takes the diffs out of the last column.
fn with_diffs(rows: &RecordBatch) -> ChangeBatch {
    let last = rows.num_columns() - 1;
    let diffs = rows.column(last).to_data();
    let columns: Vec<usize> = (0..last).collect();
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(rows.schema().project(&columns).expect("the columns are there"));
    let columns = rows.columns()[..last].to_vec();
    let narrow = RecordBatch::try_new_with_options(schema, columns, &options);
    ChangeBatch::new(narrow.expect("the columns fit their schema"), Int64Array::from(diffs))
}

/// Hands each parcel to its worker.
pub(crate) struct ToTarget;

impl Distributor<Parcel> for ToTarget {
    fn partition<T: Clone, P: Push<Message<T, Parcel>>>(
        &mut self,
        parcel: &mut Parcel,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let mut parcel = std::mem::take(parcel);
        let target = parcel.target;
        Message::push_at(&mut parcel, stamp.clone(), &mut pushers[target]);
    }

    fn flush<T: Clone, P: Push<Message<T, Parcel>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    fn changes() -> ChangeBatch {
        let fields = [("x", DataType::Float64), ("y", DataType::Utf8)];
        let fields = fields.map(|(name, of)| Field::new(name, of, true));
        let x = Float64Array::from(vec![Some(0.0), Some(-0.0), None, Some(2.5), Some(7.0), None]);
        let y = StringArray::from(vec![Some("a"), Some("a"), None, Some("b"), Some("c"), None]);
        let schema = Arc::new(Schema::new(fields.to_vec()));
        let rows = RecordBatch::try_new(schema, vec![Arc::new(x), Arc::new(y)]).unwrap();
        ChangeBatch::new(rows, vec![1, -1, 2, 1, 1, -2].into())
    }

    #[test]
    fn equal_keys_come_to_the_same_worker_and_no_row_is_lost() {
        let parts = partition(&changes(), &[0, 1], 3).unwrap();
        assert_eq!(parts.iter().map(ChangeBatch::len).sum::<usize>(), 6);
        let of = |diff: i64| parts.iter().position(|part| part.diffs().contains(&diff));
        assert_eq!(of(-1), parts.iter().position(|part| part.diffs().contains(&-1)));
        assert_eq!(of(2), of(-2), "NULLs are equal");
        let zeros = parts.iter().filter(|part| part.diffs().contains(&-1)).count();
        assert_eq!(zeros, 1);
        let first = partition(&changes(), &[], 3).unwrap();
        assert_eq!(first[0], changes());
    }

    #[test]
    fn the_parts_of_all_workers_are_the_whole() {
        let parts: Vec<ChangeBatch> =
            (0..4).map(|index| Peer { index, peers: 4 }.part(&changes(), None).unwrap()).collect();
        assert_eq!(ChangeBatch::concat(&changes().schema(), &parts).unwrap(), changes());
    }

    #[test]
    fn a_parcel_comes_back_from_bytes() {
        let parcel = Parcel { target: 0, stage: 77, changes: Some(changes()) };
        let bytes = parcel.to_bytes();
        assert_eq!(bytes.len(), parcel.length_in_bytes());
        let mut slab = timely::bytes::arc::BytesMut::from(bytes.clone());
        let back = Parcel::from_bytes(slab.extract_to(bytes.len()));
        assert_eq!((back.stage, back.changes), (77, Some(changes())));
    }
}
