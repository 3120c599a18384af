//! The arrangements of all views, and the keys that they share.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use change::ChangeBatch;

use crate::arrangement::{Added, Nulls, Rows, RowsOptions, Space, StateSize};
use crate::columns::pick;

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
    ) -> Result<(), ArrowError> {
        let Arrangement { space, payload, rows, .. } = &mut self.arrangements[arrangement];
        let columns = &pick(changes.rows().columns(), payload);
        let added = Added { keys, columns, diffs: changes.diffs(), skip, matches };
        rows.add(&added, &mut self.spaces[*space])
    }

    /// Ends the step: frees what is not held any more.
    pub(crate) fn sweep(&mut self) {
        self.arrangements.iter_mut().for_each(|arrangement| arrangement.rows.sweep());
        self.spaces.iter_mut().for_each(Space::sweep);
    }

    /// Forgets all rows of an arrangement.
    pub(crate) fn clear(&mut self, arrangement: usize) {
        let Arrangement { space, rows, .. } = &mut self.arrangements[arrangement];
        rows.clear(&mut self.spaces[*space]);
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
        }
        self.discarded.extend(unread);
        let spaces = self.spaces.iter_mut().enumerate();
        for (_, space) in spaces.filter(|(space, _)| !used.contains(space)) {
            *space = Space::new(&[], Nulls::Equal).expect(NO_COLUMNS);
        }
    }

    /// How much an arrangement holds. The first one of a space answers for its keys.
    pub(crate) fn size(&self, arrangement: usize) -> StateSize {
        let Arrangement { space, rows, .. } = &self.arrangements[arrangement];
        let answers = |&(at, other): &(usize, &Arrangement)| {
            other.space == *space && !self.discarded.contains(&at)
        };
        let first = self.arrangements.iter().enumerate().find(answers);
        let is_first = first.is_some_and(|(first, _)| first == arrangement);
        let keys = if is_first { self.spaces[*space].size().bytes } else { 0 };
        rows.size() + StateSize { rows: 0, bytes: keys }
    }
}
