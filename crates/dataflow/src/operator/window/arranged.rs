//! The rows of all partitions in order, and where things lie among them.
//!
//! A place counts the rows of all partitions before; a partition is a range of places. Groups of peers have a tree of
//! their own where calls count them: one entry for each, with how many rows it has.

use super::super::aggregate::Total;
use super::fold::{Folds, Sum, parts};
use crate::arrangement::{Measure, Nothing, Ranked, StateSize};

/// The rows of all partitions.
pub(super) struct Arranged {
    pub(super) rows: Ranked<Folds>,
    /// The first bytes of each group of peers, when they are counted.
    pub(super) groups: Option<Ranked<Nothing>>,
}

/// Where a partition lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    /// The places of its rows.
    pub(super) start: u64,
    pub(super) end: u64,
    /// The places of its groups.
    pub(super) first_group: u64,
    pub(super) groups_end: u64,
}

/// A group of peers, found by its distance from another.
pub(super) enum Group<'a> {
    Before,
    Is(&'a [u8]),
    Behind,
}

impl Arranged {
    pub(super) fn new(folds: Folds, counts_groups: bool) -> Self {
        Self { rows: Ranked::new(folds), groups: counts_groups.then(|| Ranked::new(Nothing)) }
    }

    /// Adds to a row's count.
    pub(super) fn add(&mut self, row: &[u8], diff: i64) {
        self.rows.add(row, diff);
        if let Some(groups) = &mut self.groups {
            groups.add(parts(row).prefix, diff);
        }
    }

    pub(super) fn partition(&self, number: u32) -> Partition {
        let (from, to) = (number.to_be_bytes(), (number + 1).to_be_bytes());
        let group = |bound: &[u8]| {
            self.groups.as_ref().map_or(0, |groups| groups.rank(|group| group < bound).entries)
        };
        Partition {
            start: self.before(&from),
            end: self.before(&to),
            first_group: group(&from),
            groups_end: group(&to),
        }
    }

    /// The place of the first row that is not less than the bytes.
    pub(super) fn before(&self, bytes: &[u8]) -> u64 {
        self.rows.rank(|row| row < bytes).rows
    }

    /// The place behind the last row that is less than the bytes or begins with them.
    pub(super) fn through(&self, bytes: &[u8]) -> u64 {
        self.rows.rank(|row| row < bytes || row.starts_with(bytes)).rows
    }

    /// The place of a group among all groups, or where it would be.
    pub(super) fn group(&self, prefix: &[u8]) -> u64 {
        self.groups.as_ref().map_or(0, |groups| groups.rank(|group| group < prefix).entries)
    }

    /// Whether a group has rows.
    pub(super) fn group_rows(&self, prefix: &[u8]) -> i64 {
        let groups = self.groups.as_ref();
        let found = groups.and_then(|groups| groups.entry(self.group(prefix)));
        found.filter(|entry| entry.row == prefix).map_or(0, |entry| entry.count)
    }

    /// The group so many groups behind another, or before it.
    pub(super) fn group_at(&self, partition: Partition, prefix: &[u8], away: i64) -> Group<'_> {
        let at = i128::from(self.group(prefix)) + i128::from(away);
        if at < i128::from(partition.first_group) {
            return Group::Before;
        }
        let found = u64::try_from(at).ok().filter(|&at| at < partition.groups_end);
        let found = found.and_then(|at| self.groups.as_ref()?.entry(at));
        found.map_or(Group::Behind, |entry| Group::Is(entry.row))
    }

    /// The sum of the rows at places.
    pub(super) fn sum(&self, from: u64, to: u64) -> Sum {
        let mut sum = self.rows.measure().zero();
        self.rows.sum(from, to, &mut sum);
        sum
    }

    fn counted(&self, total: &Total, from: u64, to: u64) -> u64 {
        let count = total.count_of(&self.sum(from, to).words);
        u64::try_from(count).unwrap_or(0)
    }

    /// The place of the n-th row, from 1, among the places `[from, to)` that counts for a total.
    pub(super) fn nth(&self, total: &Total, (from, to): (u64, u64), n: u64) -> Option<u64> {
        if n == 0 || from >= to || self.counted(total, from, to) < n {
            return None;
        }
        let (mut low, mut high) = (from, to - 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.counted(total, from, middle + 1) >= n {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Some(low)
    }

    /// The same from the end.
    pub(super) fn nth_last(&self, total: &Total, (from, to): (u64, u64), n: u64) -> Option<u64> {
        let all = self.counted(total, from, to);
        self.nth(total, (from, to), (all + 1).checked_sub(n).filter(|_| n > 0)?)
    }

    pub(super) fn size(&self) -> StateSize {
        let groups = self.groups.as_ref().map_or(0, |groups| groups.size().bytes);
        self.rows.size() + StateSize { rows: 0, bytes: groups }
    }
}
