//! Keys that several arrangements share.
//!
//! Both sides of a join, and whatever else is arranged by the same values, have one set of numbers: a key is looked up
//! once for each change, however many arrangements it concerns. A key is forgotten, at the end of a step, when no
//! arrangement holds anything for it.

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

use super::{Floats, Keys, Nulls, StateSize};

/// Keys, and how many arrangements hold something for each.
pub(crate) struct Space {
    keys: Keys,
    holders: Vec<u32>,
    /// Keys that nothing held at some moment of this step.
    loose: Vec<u32>,
}

impl Space {
    /// Makes an empty space of keys with columns of the given types; −0.0 is 0.0, and all NaNs are equal.
    pub(crate) fn new(types: &[DataType], nulls: Nulls) -> Result<Self, ArrowError> {
        let mut keys = Keys::new(types, nulls, Floats::Folded)?;
        keys.note_fresh();
        Ok(Self { keys, holders: Vec::new(), loose: Vec::new() })
    }

    /// Writes the number of each row's key to `numbers`; it is valid until the end of the step, and longer when it is
    /// held.
    pub(crate) fn resolve(
        &mut self,
        columns: &[ArrayRef],
        rows: usize,
        numbers: &mut Vec<u32>,
    ) -> Result<(), ArrowError> {
        self.keys.resolve(columns, rows, numbers)?;
        self.holders.resize(self.keys.upper(), 0);
        self.keys.take_fresh(|key| self.loose.push(key));
        Ok(())
    }

    /// The keys.
    pub(crate) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// One more than the largest number given.
    pub(crate) fn upper(&self) -> usize {
        self.keys.upper()
    }

    /// One more arrangement holds something for the key.
    pub(crate) fn hold(&mut self, key: u32) {
        self.holders[key as usize] += 1;
    }

    /// One arrangement less holds something for the key.
    pub(crate) fn release(&mut self, key: u32) {
        let holders = &mut self.holders[key as usize];
        *holders -= 1;
        if *holders == 0 {
            self.loose.push(key);
        }
    }

    /// Ends the step: forgets the keys that nothing holds.
    pub(crate) fn sweep(&mut self) {
        self.loose.sort_unstable();
        self.loose.dedup();
        for key in self.loose.drain(..) {
            if self.holders[key as usize] == 0 {
                self.keys.release(key);
            }
        }
    }

    /// How much the keys take.
    pub(crate) fn size(&self) -> StateSize {
        let keys = self.keys.size();
        StateSize { rows: keys.rows, bytes: keys.bytes + self.holders.capacity() * 4 }
    }
}
