//! Where a view's rows live: immutable pages of columns, and an index from a row to its place.
//!
//! A page's columns never change; beside them it counts how often each of its rows is there, and 0 means that the row
//! is gone. The writer changes those counts in a copy when a snapshot still reads them, so a snapshot costs one
//! reference a page. Small and half-dead pages are merged with others of their size: each row is rewritten a few times
//! in its life, and the pages stay few.
//!
//! Invariant: every distinct row is in exactly one slot whose count is its multiplicity, and the index finds that slot.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{interleave_record_batch, take_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use arrow::row::Rows;
use change::consolidate::encode;
use change::map::{BuildHasher, HashTable};
use change::{ChangeBatch, consolidate};

use crate::keyed::{KeyIndex, encode_key, has_null};
use crate::limits::{PAGE_ROWS_MAX, PAGES_MERGED};

/// Some rows of a view, and how often each is there.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    rows: Arc<RecordBatch>,
    hashes: Arc<[u32]>,
    counts: Vec<u32>,
    /// How many counts are not 0.
    live: usize,
    /// Whether some count is above 1.
    repeated: bool,
    bytes: usize,
}

impl Page {
    fn new(rows: RecordBatch, hashes: Vec<u32>, counts: Vec<u32>) -> Self {
        assert!(rows.num_rows() == hashes.len() && rows.num_rows() == counts.len());
        let live = counts.iter().filter(|&&count| count > 0).count();
        let repeated = counts.iter().any(|&count| count > 1);
        let bytes = rows.get_array_memory_size() + 8 * counts.len();
        Self { rows: Arc::new(rows), hashes: hashes.into(), counts, live, repeated, bytes }
    }

    /// All columns, with the rows that are gone.
    pub(crate) fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The memory that the page holds.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The slots of the rows that are there, each as often as its row is.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.counts).flat_map(|(slot, &count)| (0..count).map(move |_| slot))
    }

    /// The slots of the rows that are there, each once.
    fn there(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.counts).filter(|&(_, &count)| count > 0).map(|(slot, _)| slot)
    }

    /// The rows that are there, of the columns at `projection`; without a copy when none is gone.
    pub(crate) fn live_rows(&self, projection: &[usize]) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows.project(projection)?;
        if self.live == self.counts.len() && !self.repeated {
            return Ok(rows);
        }
        take_record_batch(&rows, &UInt32Array::from_iter_values(self.slots()))
    }
}

/// The place of a distinct row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) page: u32,
    pub(crate) slot: u32,
}

/// All rows of one view, as the writer holds them.
#[derive(Debug)]
pub(crate) struct Collection {
    schema: SchemaRef,
    pages: Vec<Option<Arc<Page>>>,
    free: Vec<u32>,
    /// The pages that are less than half full, which are merged with others.
    small: BTreeSet<u32>,
    index: HashTable<Place>,
    /// By what else rows are found.
    keys: Vec<KeyIndex>,
    rows: u64,
}

impl Collection {
    pub(crate) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            pages: Vec::new(),
            free: Vec::new(),
            small: BTreeSet::new(),
            index: HashTable::new(),
            keys: Vec::new(),
            rows: 0,
        }
    }

    /// Lets rows be [found](Self::with_values) by the values of some columns from now on.
    pub(crate) fn index_by(&mut self, columns: Vec<usize>) -> Result<(), ArrowError> {
        let mut key = KeyIndex::new(columns);
        for (id, page) in (0u32..).zip(&self.pages) {
            if let Some(page) = page {
                key.insert(id, &page.rows, page.there())?;
            }
        }
        self.keys.push(key);
        Ok(())
    }

    /// The rows whose values of some columns are among `values`, each as often as it is there, in no order. NULL equals
    /// nothing.
    ///
    /// # Panics
    /// When rows are not [found](Self::index_by) by these columns.
    pub(crate) fn with_values(
        &self,
        columns: &[usize],
        values: &RecordBatch,
    ) -> Result<RecordBatch, ArrowError> {
        let key = self.keys.iter().find(|key| key.columns() == columns);
        let key = key.expect("rows are found by what they are indexed by");
        let wanted = encode_key(values)?;
        let wanted: BTreeSet<&[u8]> = (0..values.num_rows())
            .filter(|&row| !has_null(values, row))
            .map(|row| wanted.row(row).data())
            .collect();
        let found: Vec<Place> = wanted
            .iter()
            .flat_map(|values| key.candidates(values))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let mut places = Vec::with_capacity(found.len());
        for chunk in found.chunks(PAGE_ROWS_MAX) {
            let stored = encode_key(&self.gather(chunk)?.project(columns)?)?;
            for (stored, &place) in stored.iter().zip(chunk) {
                if wanted.contains(stored.as_ref()) {
                    places.extend((0..self.count_at(place)).map(|_| place));
                }
            }
        }
        self.gather(&places)
    }

    /// How many rows there are, equal ones counted each.
    pub(crate) fn row_count(&self) -> u64 {
        self.rows
    }

    /// The pages as a snapshot keeps them.
    pub(crate) fn pages(&self) -> Vec<Arc<Page>> {
        self.pages.iter().flatten().map(Arc::clone).collect()
    }

    /// Adds the diffs to the rows' counts.
    ///
    /// # Panics
    /// When a row would be there less than 0 times: the engine and this store disagree, and what is shown is wrong.
    pub(crate) fn apply(&mut self, changes: &ChangeBatch) -> Result<(), ArrowError> {
        if changes.is_empty() {
            return Ok(());
        }
        let mut rows = encode(changes.rows())?;
        let mut changes = changes.clone();
        if !strictly_ascending(&rows) {
            changes = consolidate(&changes.schema(), &[changes])?;
            rows = encode(changes.rows())?;
        }
        let hashes: Vec<u32> = rows.iter().map(|row| hash(row.as_ref())).collect();
        let places = self.find(&rows, &hashes)?;
        let (mut added, mut counts) = (Vec::new(), Vec::new());
        for (at, &diff) in (0u32..).zip(changes.diffs()) {
            match places[at as usize] {
                Some(place) => self.count(place, diff),
                None if diff > 0 => {
                    added.push(at);
                    counts.push(u32::try_from(diff).expect("fewer than 2^32 equal rows"));
                }
                None => assert!(diff == 0, "a row that is not in the view cannot go: {diff}"),
            }
        }
        for (added, counts) in added.chunks(PAGE_ROWS_MAX).zip(counts.chunks(PAGE_ROWS_MAX)) {
            let new = take_record_batch(changes.rows(), &UInt32Array::from(added.to_vec()))?;
            let hashes = added.iter().map(|&at| hashes[at as usize]).collect();
            self.rows += counts.iter().map(|&count| u64::from(count)).sum::<u64>();
            self.insert(Page::new(new, hashes, counts.to_vec()))?;
        }
        self.merge()
    }

    /// Finds where each of the rows already is.
    fn find(&self, rows: &Rows, hashes: &[u32]) -> Result<Vec<Option<Place>>, ArrowError> {
        let mut found = vec![None; hashes.len()];
        let mut candidates = Vec::new();
        for (at, &hash) in hashes.iter().enumerate() {
            let same = |place: &&Place| self.hash_at(**place) == hash;
            candidates
                .extend(self.index.iter_hash(spread(hash)).filter(same).map(|&place| (at, place)));
        }
        // Equal hashes are nearly always equal rows; the rows themselves decide.
        for chunk in candidates.chunks(PAGE_ROWS_MAX) {
            let places: Vec<Place> = chunk.iter().map(|&(_, place)| place).collect();
            let stored = encode(&self.gather(&places)?)?;
            for (stored, &(at, place)) in stored.iter().zip(chunk) {
                if stored == rows.row(at) {
                    found[at] = Some(place);
                }
            }
        }
        Ok(found)
    }

    /// Adds `diff` to the count of the row at `place`, and forgets the row when none is left.
    fn count(&mut self, place: Place, diff: i64) {
        let page = self.pages[place.page as usize].as_mut().expect("the index names live pages");
        let page = Arc::make_mut(page);
        let slot = place.slot as usize;
        let before = i64::from(page.counts[slot]);
        assert!(before + diff >= 0, "a row that is there {before} times cannot go {diff} times");
        let after = u32::try_from(before + diff).expect("fewer than 2^32 equal rows");
        page.counts[slot] = after;
        page.repeated |= after > 1;
        self.rows = self.rows.checked_add_signed(diff).expect("rows are counted");
        if after > 0 {
            return;
        }
        page.live -= 1;
        let (live, hash) = (page.live, page.hashes[slot]);
        self.forget(place, hash);
        if live == 0 {
            self.free_page(place.page);
        } else if live < PAGE_ROWS_MAX / 2 {
            self.small.insert(place.page);
        }
    }

    /// Takes a row out of every index.
    fn forget(&mut self, place: Place, hash: u32) {
        match self.index.find_entry(spread(hash), |entry| *entry == place) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("every row is in the index"),
        }
        self.keys.iter_mut().for_each(|key| key.remove(place));
    }

    /// Puts a page in, and its rows into every index.
    fn insert(&mut self, page: Page) -> Result<(), ArrowError> {
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.pages.push(None);
                u32::try_from(self.pages.len() - 1).expect("fewer than 2^32 pages")
            }
        };
        if page.live < PAGE_ROWS_MAX / 2 {
            self.small.insert(id);
        }
        let page = self.pages[id as usize].insert(Arc::new(page));
        let page = Arc::clone(page);
        let pages = &self.pages;
        for (slot, &hash) in (0u32..).zip(page.hashes.iter()) {
            self.index.insert_unique(spread(hash), Place { page: id, slot }, |&place| {
                spread(hash_in(pages, place))
            });
        }
        self.keys.iter_mut().try_for_each(|key| key.insert(id, page.rows(), page.there()))
    }

    fn free_page(&mut self, id: u32) {
        self.pages[id as usize] = None;
        self.keys.iter_mut().for_each(|key| key.free_page(id));
        self.small.remove(&id);
        self.free.push(id);
    }

    /// Merges small pages wherever there are many of about the same size.
    fn merge(&mut self) -> Result<(), ArrowError> {
        loop {
            let mut tiers: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
            for &id in &self.small {
                let page = self.pages[id as usize].as_ref().expect("small pages are there");
                tiers.entry(page.live.ilog2() / 2).or_default().push(id);
            }
            let Some(ids) = tiers.into_values().find(|ids| ids.len() >= PAGES_MERGED) else {
                return Ok(());
            };
            self.merge_pages(&ids)?;
        }
    }

    /// Moves the rows of some pages into new ones, as full as they can be.
    fn merge_pages(&mut self, ids: &[u32]) -> Result<(), ArrowError> {
        let mut places = Vec::new();
        for &id in ids {
            let page = self.pages[id as usize].as_ref().expect("merged pages are there");
            places.extend(page.there().map(|slot| Place { page: id, slot }));
        }
        let mut merged = Vec::new();
        for chunk in places.chunks(PAGE_ROWS_MAX) {
            let rows = self.gather(chunk)?;
            let hashes = chunk.iter().map(|&place| self.hash_at(place)).collect();
            let counts = chunk.iter().map(|&place| self.count_at(place)).collect();
            merged.push(Page::new(rows, hashes, counts));
        }
        for &place in &places {
            self.forget(place, self.hash_at(place));
        }
        for &id in ids {
            self.free_page(id);
        }
        for page in merged {
            self.insert(page)?;
        }
        Ok(())
    }

    /// Copies the rows at some places into one batch.
    fn gather(&self, places: &[Place]) -> Result<RecordBatch, ArrowError> {
        let mut numbers = BTreeMap::new();
        for place in places {
            numbers.entry(place.page).or_insert(0);
        }
        let mut batches = Vec::with_capacity(numbers.len());
        for (&id, number) in &mut numbers {
            *number = batches.len();
            batches.push(self.pages[id as usize].as_ref().expect("the page is there").rows());
        }
        if batches.is_empty() {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        }
        let indices: Vec<(usize, usize)> =
            places.iter().map(|place| (numbers[&place.page], place.slot as usize)).collect();
        interleave_record_batch(&batches, &indices)
    }

    fn hash_at(&self, place: Place) -> u32 {
        hash_in(&self.pages, place)
    }

    fn count_at(&self, place: Place) -> u32 {
        let page = self.pages[place.page as usize].as_ref().expect("the index names live pages");
        page.counts[place.slot as usize]
    }
}

fn hash_in(pages: &[Option<Arc<Page>>], place: Place) -> u32 {
    let page = pages[place.page as usize].as_ref().expect("the index names live pages");
    page.hashes[place.slot as usize]
}

fn strictly_ascending(rows: &Rows) -> bool {
    rows.iter().zip(rows.iter().skip(1)).all(|(a, b)| a < b)
}

/// Hashes an encoded row to the 32 bits that are kept of it.
pub(crate) fn hash(row: &[u8]) -> u32 {
    let hash = BuildHasher::default().hash_one(row);
    #[expect(clippy::cast_possible_truncation, reason = "folds 64 bits to 32")]
    let folded = (hash >> 32) as u32 ^ hash as u32;
    folded
}

/// Spreads a kept hash over the 64 bits that the table looks at.
pub(crate) fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};

    use super::*;

    fn batch(rows: &[(i64, i64)]) -> ChangeBatch {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("t", DataType::Utf8, true),
        ]);
        let numbers: Int64Array = rows.iter().map(|&(n, _)| Some(n)).collect();
        let texts: StringArray = rows.iter().map(|&(n, _)| Some(format!("row {n}"))).collect();
        let rows_of =
            RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts)]);
        ChangeBatch::new(rows_of.unwrap(), rows.iter().map(|&(_, diff)| diff).collect())
    }

    fn count(collection: &Collection) -> usize {
        collection.pages().iter().map(|page| page.slots().count()).sum()
    }

    #[test]
    fn many_small_steps_leave_few_pages() {
        let mut collection = Collection::new(batch(&[]).schema());
        for n in 0..20_000 {
            collection.apply(&batch(&[(n, 1)])).unwrap();
        }
        assert_eq!(count(&collection), 20_000);
        assert!(collection.pages().len() < 60, "{} pages", collection.pages().len());
    }

    #[test]
    fn dead_rows_leave_memory() {
        let mut collection = Collection::new(batch(&[]).schema());
        let all: Vec<_> = (0..100_000).map(|n| (n, 1)).collect();
        collection.apply(&batch(&all)).unwrap();
        let full: usize = collection.pages().iter().map(|page| page.bytes()).sum();
        let gone: Vec<_> = (0..100_000).filter(|n| n % 50 != 0).map(|n| (n, -1)).collect();
        collection.apply(&batch(&gone)).unwrap();
        assert_eq!(count(&collection), 2_000);
        let left: usize = collection.pages().iter().map(|page| page.bytes()).sum();
        assert!(left < full / 5, "{left} bytes of {full}");
    }

    #[test]
    fn equal_rows_are_counted_not_repeated() {
        let mut collection = Collection::new(batch(&[]).schema());
        for _ in 0..1_000 {
            collection.apply(&batch(&[(1, 1_000), (2, 1)])).unwrap();
        }
        assert_eq!(collection.row_count(), 1_001_000);
        assert_eq!(collection.pages().len(), 1);
        collection.apply(&batch(&[(1, -1_000_000)])).unwrap();
        let pages = collection.pages();
        assert_eq!(pages[0].live_rows(&[0, 1]).unwrap().num_rows(), 1_000);
    }

    #[test]
    fn rows_are_found_by_values_whatever_pages_they_move_to() {
        let mut collection = Collection::new(batch(&[]).schema());
        collection.apply(&batch(&[(0, 2)])).unwrap();
        collection.index_by(vec![1]).unwrap();
        for n in 1..3_000 {
            collection.apply(&batch(&[(n, 1)])).unwrap();
        }
        let gone: Vec<_> = (0..3_000).filter(|n| n % 3 == 1).map(|n| (n, -1)).collect();
        collection.apply(&batch(&gone)).unwrap();
        let found = |texts: Vec<Option<&str>>| {
            let schema = Schema::new(vec![Field::new("t", DataType::Utf8, true)]);
            let values = vec![Arc::new(StringArray::from(texts)) as ArrayRef];
            let values = RecordBatch::try_new(Arc::new(schema), values).unwrap();
            let found = collection.with_values(&[1], &values).unwrap();
            let mut found = found.column(0).as_primitive::<Int64Type>().values().to_vec();
            found.sort_unstable();
            found
        };
        assert_eq!(found(vec![Some("row 0")]), [0, 0]);
        assert_eq!(found(vec![Some("row 2999"), None, Some("row 2999"), Some("row 5")]), [5, 2999]);
        assert_eq!(found(vec![Some("row 1"), Some("row"), None]), Vec::<i64>::new());
        for n in 0..3_000 {
            let there = usize::from(n % 3 != 1) + usize::from(n == 0);
            assert_eq!(found(vec![Some(&format!("row {n}"))]).len(), there, "row {n}");
        }
    }

    #[test]
    fn a_row_that_is_not_there_cannot_go() {
        let mut collection = Collection::new(batch(&[]).schema());
        collection.apply(&batch(&[(1, 1)])).unwrap();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            collection.apply(&batch(&[(2, -1)])).unwrap();
        }));
        assert!(outcome.is_err());
    }
}
