//! The arrangements of all views, and the keys that they share.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use change::ChangeBatch;

use crate::arrangement::{Added, Interval, NONE, Nulls, Rows, RowsOptions, Space, StateSize};
use crate::columns::{pick, widest};
use crate::error::OperatorError;
use crate::operator::EMIT_ROWS;
use crate::operator::band::Band;

/// Why what has no columns can be made.
const NO_COLUMNS: &str = "no column is of a type that cannot be encoded";

/// All that joins remember.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) spaces: Vec<Space>,
    pub(crate) arrangements: Vec<Arrangement>,
    /// The arrangements that nobody asks any more.
    discarded: BTreeSet<usize>,
}

/// A collection arranged by a key.
pub(crate) struct Arrangement {
    /// Whose numbers the keys have.
    pub(crate) space: usize,
    /// The columns of the collection that are the key.
    pub(crate) key: Vec<usize>,
    /// The columns of the collection that are kept, ascending.
    pub(crate) payload: Vec<usize>,
    pub(crate) rows: Rows,
    /// The intervals of the rows of long runs, for joins that search them.
    pub(crate) bands: Vec<Band>,
    /// The most bytes that a row has had in columns without a fixed width.
    pub(crate) widest_bytes: usize,
}

/// Changes, and what is known of their keys.
#[derive(Clone)]
pub(crate) struct Delta {
    pub(crate) changes: ChangeBatch,
    /// The number of each row's key in the space of the arrangement that it comes from.
    pub(crate) keys: Option<Arc<Vec<u32>>>,
}

impl Delta {
    /// Wraps changes of which nothing is known.
    pub(crate) fn new(changes: ChangeBatch) -> Self {
        Self { changes, keys: None }
    }
}

impl State {
    /// Finds the numbers of changes' keys in an arrangement.
    pub(crate) fn resolve(
        &mut self,
        arrangement: usize,
        changes: &ChangeBatch,
    ) -> Result<Vec<u32>, ArrowError> {
        let Arrangement { space, key, .. } = &self.arrangements[arrangement];
        let key: Vec<ArrayRef> = pick(changes.rows().columns(), key);
        let mut keys = Vec::new();
        self.spaces[*space].resolve(&key, changes.len(), &mut keys)?;
        Ok(keys)
    }

    /// Adds changes to an arrangement, but for those to skip; new rows get their matches.
    pub(crate) fn add(
        &mut self,
        arrangement: usize,
        changes: &ChangeBatch,
        keys: &[u32],
        (skip, matches): (Option<&[bool]>, Option<&[i64]>),
    ) -> Result<(), OperatorError> {
        let Arrangement { space, payload, rows, widest_bytes, .. } =
            &mut self.arrangements[arrangement];
        let columns = &pick(changes.rows().columns(), payload);
        *widest_bytes = (*widest_bytes).max(widest(columns));
        let added = Added { keys, columns, diffs: changes.diffs(), skip, matches };
        rows.add(&added, &mut self.spaces[*space])?;
        self.follow(arrangement)
    }

    /// Removes all rows of a key from an arrangement.
    pub(crate) fn remove_key(&mut self, arrangement: usize, key: u32) -> Result<(), OperatorError> {
        let Arrangement { space, rows, .. } = &mut self.arrangements[arrangement];
        rows.remove_key(key, &mut self.spaces[*space]);
        self.follow(arrangement)
    }

    /// Makes an arrangement's intervals those of its rows.
    fn follow(&mut self, arrangement: usize) -> Result<(), OperatorError> {
        let arrangement = &mut self.arrangements[arrangement];
        if arrangement.bands.is_empty() {
            return Ok(());
        }
        let mut changed = arrangement.rows.take_changed();
        changed.sort_unstable();
        changed.dedup();
        let mut bands = std::mem::take(&mut arrangement.bands);
        let space = &self.spaces[arrangement.space];
        let done = bands.iter_mut().try_for_each(|band| arrangement.follow(space, band, &changed));
        arrangement.bands = bands;
        done
    }

    /// Ends the step: frees what is not held any more.
    pub(crate) fn sweep(&mut self) {
        self.arrangements.iter_mut().for_each(|arrangement| arrangement.rows.sweep());
        self.spaces.iter_mut().for_each(Space::sweep);
    }

    /// Forgets all rows of an arrangement.
    pub(crate) fn clear(&mut self, arrangement: usize) {
        let Arrangement { space, rows, bands, .. } = &mut self.arrangements[arrangement];
        rows.clear(&mut self.spaces[*space]);
        bands.iter_mut().for_each(|band| band.bands.clear());
    }

    /// Forgets arrangements for good: nobody asks them any more. So are the keys of all spaces but those that are `used`.
    pub(crate) fn discard(&mut self, unread: BTreeSet<usize>, used: &BTreeSet<usize>) {
        for &at in &unread {
            if used.contains(&self.arrangements[at].space) {
                // Keys are held one by one, and others hold some of them too.
                self.clear(at);
            }
            let options = RowsOptions { unique: false, has_matches: false };
            self.arrangements[at].rows = Rows::new(&[], options).expect(NO_COLUMNS);
            self.arrangements[at].bands = Vec::new();
        }
        self.discarded.extend(unread);
        let spaces = self.spaces.iter_mut().enumerate();
        for (_, space) in spaces.filter(|(space, _)| !used.contains(space)) {
            *space = Space::new(&[], Nulls::Equal).expect(NO_COLUMNS);
        }
    }

    /// How much an arrangement holds. The first one of a space answers for its keys.
    pub(crate) fn size(&self, arrangement: usize) -> StateSize {
        let Arrangement { space, rows, bands, .. } = &self.arrangements[arrangement];
        let answers = |&(at, other): &(usize, &Arrangement)| {
            other.space == *space && !self.discarded.contains(&at)
        };
        let first = self.arrangements.iter().enumerate().find(answers);
        let is_first = first.is_some_and(|(first, _)| first == arrangement);
        let keys = if is_first { self.spaces[*space].size().bytes } else { 0 };
        let bands: usize = bands.iter().map(|band| band.bands.bytes()).sum();
        rows.size() + StateSize { rows: 0, bytes: keys + bands }
    }
}

impl Arrangement {
    /// A column of the rows at positions, whose keys are known where columns of the key are not kept.
    pub(crate) fn column(
        &self,
        space: &Space,
        column: usize,
        (positions, keys): (&[u32], &[u32]),
    ) -> Result<ArrayRef, ArrowError> {
        match self.payload.binary_search(&column) {
            Ok(payload) => self.rows.gather(payload, positions),
            Err(_) => space.keys().column(self.key_position(column), keys),
        }
    }

    /// Where a column that is not kept lies in the key.
    pub(crate) fn key_position(&self, column: usize) -> usize {
        let position = self.key.iter().position(|&key| key == column);
        position.expect("a column that is not kept is part of the key")
    }

    /// Sets the intervals of rows at places of long runs that changed.
    fn follow(
        &self,
        space: &Space,
        band: &mut Band,
        changed: &[(u32, u32)],
    ) -> Result<(), OperatorError> {
        let (mut places, mut positions, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let mut runs: Vec<(u32, std::ops::Range<usize>)> = Vec::new();
        for run in changed.chunk_by(|one, other| one.0 == other.0) {
            let (key, last) = run[run.len() - 1];
            let is_long = self.rows.is_long(key);
            if last == NONE || !is_long {
                band.bands.forget(key);
            }
            if !is_long {
                continue;
            }
            let ((start, len), first) = (self.rows.run(key), places.len());
            match band.bands.has(key) {
                true => places.extend(run.iter().map(|&(_, place)| place).filter(|&at| at < len)),
                false => places.extend(0..len),
            }
            positions.extend(places[first..].iter().map(|place| start + place));
            keys.resize(places.len(), key);
            runs.push((key, first..places.len()));
        }
        let mut intervals: Vec<Interval> = Vec::with_capacity(places.len());
        for (positions, keys) in positions.chunks(EMIT_ROWS).zip(keys.chunks(EMIT_ROWS)) {
            let columns = band.ends.columns.iter();
            let columns = columns.map(|&column| self.column(space, column, (positions, keys)));
            let columns = columns.collect::<Result<_, _>>()?;
            intervals.extend(band.ends.of(columns, positions.len())?);
        }
        for (key, range) in runs {
            let (_, len) = self.rows.run(key);
            band.bands.set(key, len, &places[range.clone()], &intervals[range]);
        }
        Ok(())
    }
}
