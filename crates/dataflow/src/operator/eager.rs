//! Eager aggregation: a join and the aggregate above it, with one side kept as totals.
//!
//! `select c.region, count(*), sum(o.amount) from orders o join customers c … group by c.region` needs of a customer's
//! orders only their number and their sum: totals of a union are the sum of its parts' totals, and a pair's part is its
//! order's. So of one side, the *folded* one, no row is kept, but for each key the words that the aggregate would sum
//! (Yan and Larson, Eager Aggregation and Lazy Aggregation, VLDB 1995). With T(k) the totals of key k:
//!
//! - a change of a folded row moves T(k), and, at once, the totals of the groups of the rows that it pairs with;
//! - a change of a row of the other side adds T(k) to its group, or takes it away, as often as its diff says.
//!
//! Both are the bilinear rule of [`join`](super::join), with T(k) in the place of the rows that it sums. No pair is ever
//! made, and the rows of the folded side need no place to lie in.

use arrow::array::{ArrayRef, AsArray, UInt32Array};
use arrow::datatypes::UInt32Type;
use change::ChangeBatch;

use super::aggregate::Aggregate;
use super::{EMIT_ROWS, Out};
use crate::arrangement::{NONE, Rows, StateSize, TOUCHED_ROWS, Totals, number};
use crate::columns::{pick, take_rows};
use crate::error::OperatorError;
use crate::state::{Delta, State};

/// The most words of totals that a key may take: of more, rows are the smaller state.
pub(crate) const WORDS_MAX: usize = 16;

/// What is summed, and where the other side's rows lie.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct EagerOptions {
    /// The key of the folded rows, and what of them is summed, as columns of their stage.
    pub(crate) key: Vec<usize>,
    pub(crate) read: Vec<usize>,
    /// The other side's arrangement.
    pub(crate) arrangement: usize,
    /// The column of the other side's stage with the number of the row's group.
    pub(crate) number: usize,
}

/// Totals over pairs of rows.
pub(crate) struct Eager {
    options: EagerOptions,
    /// The groups; its input's columns are those that are read.
    aggregate: Box<Aggregate>,
    /// The totals of each key's folded rows.
    folded: Totals,
    /// How many keys have folded rows.
    held: usize,
    /// Keys that had no folded rows at some moment of this step.
    emptied: Vec<u32>,
    keys: Vec<u32>,
}

impl Eager {
    pub(crate) fn new(options: EagerOptions, aggregate: Box<Aggregate>) -> Self {
        let folded = Totals::new(aggregate.width());
        Self { options, aggregate, folded, held: 0, emptied: Vec::new(), keys: Vec::new() }
    }

    /// Takes changes of folded rows in.
    pub(crate) fn push_folded(
        &mut self,
        state: &mut State,
        changes: &ChangeBatch,
    ) -> Result<(), OperatorError> {
        let columns = changes.rows().columns();
        let space = self.space(state);
        let key = pick(columns, &self.options.key);
        let mut keys = std::mem::take(&mut self.keys);
        state.spaces[space].resolve(&key, changes.len(), &mut keys)?;
        let mut read = pick(columns, &self.options.read);
        let mut diffs = changes.diffs();
        let kept: Vec<i64>;
        if keys.contains(&NONE) {
            // What has no key pairs with nothing.
            let is_kept = |&at: &usize| keys[at] != NONE;
            let rows: Vec<usize> = (0..keys.len()).filter(is_kept).collect();
            kept = rows.iter().map(|&row| diffs[row]).collect();
            let taken: UInt32Array = rows.iter().map(|&row| number(row)).collect::<Vec<_>>().into();
            read = take_rows(&read, &taken)?;
            diffs = &kept;
            keys.retain(|&key| key != NONE);
        }
        self.fold(state, space, &keys, (&read, diffs))?;
        let other = &state.arrangements[self.options.arrangement];
        let groups = other.payload.binary_search(&self.options.number);
        let groups = groups.expect("the groups' numbers are kept");
        let mut from = 0;
        while from < keys.len() {
            from = self.meet((&other.rows, groups), (&keys, from), (&read, diffs))?;
        }
        self.keys = keys;
        Ok(())
    }

    /// Adds folded rows to their keys' totals.
    fn fold(
        &mut self,
        state: &mut State,
        space: usize,
        keys: &[u32],
        (read, diffs): (&[ArrayRef], &[i64]),
    ) -> Result<(), OperatorError> {
        let space = &mut state.spaces[space];
        self.folded.reserve(space.upper());
        let Self { aggregate, folded, held, emptied, .. } = self;
        aggregate.sum(folded, keys, (read, diffs), |key, before, after| match (before, after) {
            (0, 0) | (1.., 1..) => {}
            (0, 1..) => {
                *held += 1;
                space.hold(key);
            }
            (1.., 0) => {
                *held -= 1;
                space.release(key);
                emptied.push(key);
            }
        })
    }

    /// Gives the next folded rows to the groups of the other side's `rows` that they pair with, whose column `groups` has
    /// the groups' numbers; returns where it ended.
    fn meet(
        &mut self,
        (rows, groups): (&Rows, usize),
        (keys, from): (&[u32], usize),
        (read, diffs): (&[ArrayRef], &[i64]),
    ) -> Result<usize, OperatorError> {
        let (mut of, mut positions) = (Vec::new(), Vec::new());
        let mut at = from;
        while at < keys.len() && of.len() < EMIT_ROWS {
            if (at - from).is_multiple_of(TOUCHED_ROWS) {
                rows.touch(&keys[at..keys.len().min(at + TOUCHED_ROWS)]);
            }
            let (start, len) = rows.run(keys[at]);
            positions.extend(start..start + len);
            of.resize(positions.len(), number(at));
            at += 1;
        }
        let groups = rows.gather(groups, &positions)?;
        let groups = groups.as_primitive::<UInt32Type>().values();
        let is_whole = of.len() == keys.len() && of.iter().zip(0..).all(|(&row, at)| row == at);
        if is_whole && rows.all_once() {
            self.aggregate.push_numbered(groups, read, diffs)?;
            return Ok(at);
        }
        let mut weights = Vec::with_capacity(of.len());
        for (&row, &position) in of.iter().zip(&positions) {
            let weight = diffs[row as usize].checked_mul(rows.count(position));
            weights.push(weight.ok_or(OperatorError::TooMany)?);
        }
        let read = take_rows(read, &of.into())?;
        self.aggregate.push_numbered(groups, &read, &weights)?;
        Ok(at)
    }

    /// Takes changes of the other side in, which are in its arrangement already.
    pub(crate) fn push_other(&mut self, delta: &Delta) -> Result<(), OperatorError> {
        let keys = delta.keys.as_ref().expect("a shared arrangement says its keys");
        let changes = &delta.changes;
        let groups = changes.rows().column(self.options.number).as_primitive::<UInt32Type>();
        let known = keys.iter().filter(|&&key| key != NONE);
        self.folded.reserve(known.max().map_or(0, |&key| key as usize + 1));
        let rows = keys.iter().zip(groups.values()).zip(changes.diffs());
        for ((&key, &group), &diff) in rows.filter(|((key, _), _)| **key != NONE) {
            let words = self.folded.get(key);
            if words.iter().any(|&word| word != 0) {
                self.aggregate.push_totals(group, words, diff);
            }
        }
        Ok(())
    }

    /// Ends the step.
    pub(crate) fn finish(&mut self, state: &State, out: &mut Out) -> Result<(), OperatorError> {
        for key in std::mem::take(&mut self.emptied) {
            if *Aggregate::rows_of(self.folded.get_mut(key)) == 0 {
                self.folded.clear(key);
            }
        }
        self.aggregate.finish(state, out)
    }

    /// Lets go of the keys that it holds.
    pub(crate) fn release(&mut self, state: &mut State) {
        let space = self.space(state);
        let space = &mut state.spaces[space];
        for key in 0..number(self.folded.upper()) {
            if *Aggregate::rows_of(self.folded.get_mut(key)) != 0 {
                space.release(key);
            }
        }
        self.folded = Totals::new(self.aggregate.width());
        self.held = 0;
    }

    /// Whose numbers the keys have.
    pub(crate) fn space(&self, state: &State) -> usize {
        state.arrangements[self.options.arrangement].space
    }

    /// What it holds: a key's totals count as a row.
    pub(crate) fn size(&self) -> StateSize {
        self.aggregate.size() + StateSize { rows: self.held, bytes: self.folded.size().bytes }
    }
}
