//! Join: pairs of rows with equal keys, and rows without one.
//!
//! Bilinear: (L + ΔL) ⋈ (R + ΔR) − L ⋈ R = ΔL ⋈ R + L′ ⋈ ΔR with L′ = L + ΔL. So each change is joined at once with what
//! the other side holds at that moment; the order in which changes come does not matter. The diff of a pair is the
//! product of its rows' diffs.
//!
//! Outer, semi and anti joins also show rows of one side alone: S(L, R) = the rows of L that have no match in R, or, for
//! a semi join, that have one. A row's matches are the sum of the counts of the rows that it pairs with. Without a
//! further condition all rows of a key have the same matches, the total of the other side's run, so nothing is kept for
//! them: a change of L is shown or not by R's total, and when a change of R moves a key's total from or to zero, all
//! rows of L with that key appear or vanish. With a condition each row has matches of its own, which lie beside it in
//! its arrangement and are moved by the pairs that meet the condition. Either way what was emitted so far is S(L, R)
//! after every batch, so there is nothing to do at a step's end.
//!
//! Facts save state. When right rows have unique keys and neither side ever loses a row, a left row that has met its
//! right row will meet no other: it is not kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Int64Array, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use change::ChangeBatch;
use datafusion::physical_expr::PhysicalExpr;
use plan::ir::JoinKind;

use super::{EMIT_ROWS, Out};
use crate::arrangement::{NONE, Rows, TOUCHED_ROWS};
use crate::columns::{as_booleans, batch, changes as batch_of, nullable};
use crate::error::OperatorError;
use crate::faulty::compute;
use crate::state::{Arrangement, Delta, State};

/// A column of a pair: of the left or of the right input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairColumn {
    Left(usize),
    Right(usize),
}

/// Which input of the join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    Left,
    Right,
}

impl Input {
    /// The other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// What a join is made of.
pub(crate) struct JoinOptions {
    pub(crate) kind: JoinKind,
    pub(crate) left: Side,
    pub(crate) right: Side,
    /// A condition over the columns of `filter_columns`, in their order.
    pub(crate) filter: Option<(Arc<dyn PhysicalExpr>, SchemaRef, Vec<PairColumn>)>,
    /// The resulting columns.
    pub(crate) output: Vec<PairColumn>,
    pub(crate) schema: SchemaRef,
}

/// One input of a join.
pub(crate) struct Side {
    /// Where its rows are kept.
    pub(crate) arrangement: usize,
    /// Whether the join itself adds the rows; otherwise they are there, with their keys' numbers, when it is told.
    pub(crate) is_private: bool,
    /// Whether rows are kept only until they have met a row of the other side.
    pub(crate) is_elided: bool,
    /// The types of the input's columns.
    pub(crate) types: Vec<DataType>,
}

/// Pairs of rows.
pub(crate) struct Join {
    options: JoinOptions,
    pending: Option<Pending>,
}

/// Changes of one input that are being joined.
struct Pending {
    input: Input,
    changes: ChangeBatch,
    keys: Arc<Vec<u32>>,
    /// The next row to join, and how many of its pairs are done.
    row: usize,
    done: u32,
    /// The matches of each row so far, when they are wanted.
    matches: Vec<i64>,
    /// Rows of the other side whose matches moved, with their matches before.
    moved: Vec<(u32, i64)>,
}

/// Pairs of a row of a batch and a position of the other side.
#[derive(Default)]
struct Pairs {
    rows: Vec<u32>,
    positions: Vec<u32>,
}

/// Rows that begin or cease to be shown alone.
#[derive(Default)]
struct Loners {
    positions: Vec<u32>,
    /// The number of each row's key, where columns of the key are not kept beside the row.
    keys: Vec<u32>,
    diffs: Vec<i64>,
}

impl Pairs {
    /// Whether each row of a batch is in one pair, in the batch's order.
    fn is_whole(&self, rows: usize) -> bool {
        self.rows.len() == rows && self.rows.iter().zip(0..).all(|(&row, at)| row == at)
    }

    /// The pairs that are marked; NULL means no.
    fn filtered(self, keep: &BooleanArray) -> Self {
        let marked = match keep.nulls() {
            Some(valid) => keep.values() & valid.inner(),
            None => keep.values().clone(),
        };
        if marked.count_set_bits() == self.rows.len() {
            return self;
        }
        let kept = |values: &[u32]| marked.set_indices().map(|at| values[at]).collect();
        Self { rows: kept(&self.rows), positions: kept(&self.positions) }
    }
}

impl Join {
    pub(crate) fn new(mut options: JoinOptions) -> Self {
        options.schema = nullable(&options.schema);
        Self { options, pending: None }
    }

    /// Takes changes of an input in.
    pub(crate) fn start(
        &mut self,
        state: &mut State,
        input: Input,
        delta: Delta,
    ) -> Result<(), OperatorError> {
        let arrangement = self.side(input).arrangement;
        let Delta { changes, keys } = delta;
        let keys = match keys {
            Some(keys) => keys,
            None => Arc::new(state.resolve(arrangement, &changes)?),
        };
        let counts = self.keeps_matches(input);
        let matches = vec![0; if counts { changes.len() } else { 0 }];
        let moved = Vec::new();
        self.pending = Some(Pending { input, changes, keys, row: 0, done: 0, matches, moved });
        Ok(())
    }

    /// Emits pairs of the changes taken in, a bounded number of them; returns whether there are more.
    pub(crate) fn go_on(
        &mut self,
        state: &mut State,
        out: &mut Out,
    ) -> Result<bool, OperatorError> {
        let Some(mut pending) = self.pending.take() else { return Ok(false) };
        let pairs = self.pairs(state, &mut pending);
        self.join(state, &mut pending, pairs, out)?;
        if pending.row < pending.changes.len() {
            self.pending = Some(pending);
            return Ok(true);
        }
        self.conclude(state, pending, out)?;
        Ok(false)
    }

    /// The arrangements that the join adds rows to itself.
    pub(crate) fn private(&self) -> impl Iterator<Item = usize> + '_ {
        let sides = [&self.options.left, &self.options.right].into_iter();
        sides.filter(|side| side.is_private).map(|side| side.arrangement)
    }

    fn side(&self, input: Input) -> &Side {
        match input {
            Input::Left => &self.options.left,
            Input::Right => &self.options.right,
        }
    }

    /// Whether rows of the input are shown alone.
    fn shows_alone(&self, input: Input) -> bool {
        shows_alone(self.options.kind, input)
    }

    fn shows_pairs(&self) -> bool {
        !matches!(self.options.kind, JoinKind::Semi | JoinKind::Anti)
    }

    /// Finds the next pairs.
    fn pairs(&self, state: &State, pending: &mut Pending) -> Pairs {
        let other = pending.input.other();
        let is_idle = !self.shows_pairs() && self.options.filter.is_none();
        if is_idle {
            pending.row = pending.changes.len();
            return Pairs::default();
        }
        let rows = &state.arrangements[self.side(other).arrangement].rows;
        let mut pairs = Pairs {
            rows: Vec::with_capacity(pending.keys.len()),
            positions: Vec::with_capacity(pending.keys.len()),
        };
        while pending.row < pending.keys.len() && pairs.rows.len() < EMIT_ROWS {
            if pending.row.is_multiple_of(TOUCHED_ROWS) {
                let end = pending.keys.len().min(pending.row + TOUCHED_ROWS);
                rows.touch(&pending.keys[pending.row..end]);
            }
            let (start, len) = rows.run(pending.keys[pending.row]);
            let row = crate::arrangement::number(pending.row);
            let room = crate::arrangement::number(EMIT_ROWS - pairs.rows.len());
            let first = start + pending.done;
            let last = first + (len - pending.done).min(room);
            pairs.positions.extend(first..last);
            pairs.rows.resize(pairs.positions.len(), row);
            pending.done += last - first;
            if pending.done == len {
                pending.row += 1;
                pending.done = 0;
            }
        }
        pairs
    }

    /// Emits the pairs that meet the condition, and notes the matches.
    fn join(
        &self,
        state: &mut State,
        pending: &mut Pending,
        pairs: Pairs,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let pairs = self.that_match(state, pending, pairs, out)?;
        if pairs.rows.is_empty() {
            return Ok(());
        }
        let other = pending.input.other();
        let rows = &mut state.arrangements[self.side(other).arrangement].rows;
        let (moves, diffs) = (self.keeps_matches(other), pending.changes.diffs());
        if moves || !pending.matches.is_empty() {
            for (&row, &position) in pairs.rows.iter().zip(&pairs.positions) {
                if let Some(matches) = pending.matches.get_mut(row as usize) {
                    *matches += rows.count(position);
                }
                if moves {
                    let before = rows.add_matches(position, diffs[row as usize]);
                    pending.moved.push((position, before));
                }
            }
        }
        if !self.shows_pairs() {
            return Ok(());
        }
        let diffs = pair_diffs(rows, &pending.changes, &pairs)?;
        let columns = self.columns(state, pending, &pairs, &self.options.output)?;
        let joined = batch(&self.options.schema, columns, pairs.rows.len())?;
        out.rows(ChangeBatch::new(joined, diffs));
        Ok(())
    }

    /// Whether matches are kept for the rows of an input.
    fn keeps_matches(&self, input: Input) -> bool {
        self.shows_alone(input) && self.options.filter.is_some()
    }

    /// The pairs that meet the condition. One for which it cannot be computed is a fault, and no match.
    fn that_match(
        &self,
        state: &State,
        pending: &Pending,
        pairs: Pairs,
        out: &mut Out,
    ) -> Result<Pairs, OperatorError> {
        let Some((filter, schema, columns)) = &self.options.filter else { return Ok(pairs) };
        if pairs.rows.is_empty() {
            return Ok(pairs);
        }
        let columns = self.columns(state, pending, &pairs, columns)?;
        let joined = batch(schema, columns, pairs.rows.len())?;
        let other = self.side(pending.input.other()).arrangement;
        let diffs = pair_diffs(&state.arrangements[other].rows, &pending.changes, &pairs)?;
        let changes = ChangeBatch::new(joined, diffs);
        let computed = compute(std::slice::from_ref(filter), &changes, out)?;
        Ok(pairs.filtered(&as_booleans(&computed.columns[0])))
    }

    /// Columns of pairs.
    fn columns(
        &self,
        state: &State,
        pending: &Pending,
        pairs: &Pairs,
        wanted: &[PairColumn],
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let mine = pending.changes.rows().columns();
        let rows = (!pairs.is_whole(pending.changes.len())).then(|| UInt32Array::from(pairs.rows.clone()));
        let of_mine = |column: usize| match &rows {
            Some(rows) => take(&mine[column], rows, None),
            None => Ok(Arc::clone(&mine[column])),
        };
        let own = &state.arrangements[self.side(pending.input).arrangement];
        let other = &state.arrangements[self.side(pending.input.other()).arrangement];
        let of_other = |column: usize| match other.payload.binary_search(&column) {
            Ok(payload) => other.rows.gather(payload, &pairs.positions),
            // A key column that is not kept equals the one of this side.
            Err(_) => of_mine(own.key[key_position(other, column)]),
        };
        let column =
            |column: &PairColumn| match (*column, pending.input) {
                (PairColumn::Left(column), Input::Left)
                | (PairColumn::Right(column), Input::Right) => of_mine(column),
                (PairColumn::Left(column), Input::Right)
                | (PairColumn::Right(column), Input::Left) => of_other(column),
            };
        Ok(wanted.iter().map(column).collect::<Result<_, _>>()?)
    }

    /// Ends a batch: keeps its rows, and shows the rows that are alone now.
    fn conclude(
        &self,
        state: &mut State,
        pending: Pending,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let (input, other) = (pending.input, pending.input.other());
        if self.shows_alone(input) {
            self.show_mine(state, &pending, out)?;
        }
        let side = self.side(input);
        if side.is_private {
            let theirs = &state.arrangements[self.side(other).arrangement].rows;
            let met: Option<Vec<bool>> = side
                .is_elided
                .then(|| pending.keys.iter().map(|&key| theirs.total(key) != 0).collect());
            let skip = met.as_deref();
            let matches = self.keeps_matches(input).then_some(&pending.matches[..]);
            state.add(side.arrangement, &pending.changes, &pending.keys, (skip, matches))?;
        }
        if self.side(other).is_elided {
            self.let_go(state, other, &pending.keys)?;
        }
        if self.shows_alone(other) {
            match self.options.filter {
                Some(_) => self.show_moved(state, other, pending.moved, out)?,
                None => self.show_keys(state, other, &pending, out)?,
            }
        }
        Ok(())
    }

    /// Forgets the rows of an input that have met the only row that they ever will.
    fn let_go(&self, state: &mut State, input: Input, keys: &[u32]) -> Result<(), OperatorError> {
        let own = self.side(input.other()).arrangement;
        let arrangement = self.side(input).arrangement;
        for &key in keys {
            if key != NONE && state.arrangements[own].rows.total(key) > 1 {
                return Err(OperatorError::KeyTwice);
            }
            let Arrangement { space, rows, .. } = &mut state.arrangements[arrangement];
            rows.remove_key(key, &mut state.spaces[*space]);
        }
        Ok(())
    }

    /// Shows those of the changes that are alone.
    fn show_mine(
        &self,
        state: &State,
        pending: &Pending,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let other = &state.arrangements[self.side(pending.input.other()).arrangement].rows;
        let wants_match = self.options.kind == JoinKind::Semi;
        let has_match = |row: usize| match self.options.filter {
            Some(_) => pending.matches[row] != 0,
            None => other.total(pending.keys[row]) != 0,
        };
        let shown: BooleanArray =
            (0..pending.changes.len()).map(|row| Some(has_match(row) == wants_match)).collect();
        let changes = match shown.true_count() {
            0 => return Ok(()),
            all if all == pending.changes.len() => pending.changes.clone(),
            _ => pending.changes.filter(&shown)?,
        };
        let rows = changes.rows().columns();
        let columns =
            self.alone(pending.input, changes.len(), |column| Ok(Arc::clone(&rows[column])))?;
        out.rows(batch_of(&self.options.schema, columns, changes.diffs().to_vec())?);
        Ok(())
    }

    /// Shows or hides rows of an input whose own matches moved from or to zero.
    fn show_moved(
        &self,
        state: &State,
        input: Input,
        mut moved: Vec<(u32, i64)>,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let rows = &state.arrangements[self.side(input).arrangement].rows;
        // The first of several moves knows the matches before all of them.
        moved.sort_by_key(|&(position, _)| position);
        moved.dedup_by_key(|(position, _)| *position);
        let mut loners = Loners::default();
        for (position, before) in moved {
            let appears = self.appears(before, rows.matches(position));
            if appears != 0 {
                loners.positions.push(position);
                loners.diffs.push(appears * rows.count(position));
            }
        }
        self.show(state, input, &loners, out)
    }

    /// 1 when a row is shown alone because its matches moved, −1 when it is not any more, else 0.
    fn appears(&self, before: i64, after: i64) -> i64 {
        let is_semi = self.options.kind == JoinKind::Semi;
        let shown = |matches: i64| i64::from((matches != 0) == is_semi);
        shown(after) - shown(before)
    }

    /// Shows or hides all rows of an input with keys of which the other side's total moved from or to zero.
    fn show_keys(
        &self,
        state: &State,
        input: Input,
        pending: &Pending,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let theirs = &state.arrangements[self.side(pending.input).arrangement].rows;
        let rows = &state.arrangements[self.side(input).arrangement].rows;
        let mut sums: BTreeMap<u32, i64> = BTreeMap::new();
        for (&key, &diff) in pending.keys.iter().zip(pending.changes.diffs()) {
            if key != NONE {
                *sums.entry(key).or_default() += diff;
            }
        }
        let mut loners = Loners::default();
        for (key, sum) in sums {
            let after = theirs.total(key);
            let appears = self.appears(after - sum, after);
            if appears != 0 {
                let (start, len) = rows.run(key);
                let positions = start..start + len;
                loners.diffs.extend(positions.clone().map(|at| appears * rows.count(at)));
                loners.positions.extend(positions);
                loners.keys.resize(loners.positions.len(), key);
            }
        }
        self.show(state, input, &loners, out)
    }

    /// Emits rows of an input, alone.
    fn show(
        &self,
        state: &State,
        input: Input,
        loners: &Loners,
        out: &mut Out,
    ) -> Result<(), OperatorError> {
        let arrangement = &state.arrangements[self.side(input).arrangement];
        let space = &state.spaces[arrangement.space];
        let all = loners.positions.len();
        for at in (0..all).step_by(EMIT_ROWS) {
            let end = (at + EMIT_ROWS).min(all);
            let positions = &loners.positions[at..end];
            let keys = loners.keys.get(at..end).unwrap_or_default();
            let columns = self.alone(input, positions.len(), |column| {
                match arrangement.payload.binary_search(&column) {
                    Ok(payload) => arrangement.rows.gather(payload, positions),
                    Err(_) => space.keys().column(key_position(arrangement, column), keys),
                }
            })?;
            let diffs = loners.diffs[at..end].to_vec();
            out.rows(batch_of(&self.options.schema, columns, diffs)?);
        }
        Ok(())
    }

    /// The output's columns for rows of an input that stand alone; the other side's are NULL.
    fn alone(
        &self,
        input: Input,
        rows: usize,
        of_input: impl Fn(usize) -> Result<ArrayRef, arrow::error::ArrowError>,
    ) -> Result<Vec<ArrayRef>, OperatorError> {
        let types = &self.side(input.other()).types;
        let column = |column: &PairColumn| match (*column, input) {
            (PairColumn::Left(column), Input::Left) | (PairColumn::Right(column), Input::Right) => {
                of_input(column)
            }
            (PairColumn::Left(column), Input::Right) | (PairColumn::Right(column), Input::Left) => {
                Ok(new_null_array(&types[column], rows))
            }
        };
        Ok(self.options.output.iter().map(column).collect::<Result<_, _>>()?)
    }
}

/// Whether a join shows rows of an input alone: when they have no match, or, of a semi join, when they have one.
pub(crate) fn shows_alone(kind: JoinKind, input: Input) -> bool {
    match kind {
        JoinKind::Inner => false,
        JoinKind::Full => true,
        JoinKind::Left | JoinKind::Semi | JoinKind::Anti => input == Input::Left,
        JoinKind::Right => input == Input::Right,
    }
}

/// Where a column lies in an arrangement's key.
fn key_position(arrangement: &Arrangement, column: usize) -> usize {
    let position = arrangement.key.iter().position(|&key| key == column);
    position.expect("a column that is not kept is part of the key")
}

/// The products of pairs' diffs.
fn pair_diffs(
    rows: &Rows,
    changes: &ChangeBatch,
    pairs: &Pairs,
) -> Result<Int64Array, OperatorError> {
    let diffs = changes.diffs();
    let mine = pairs.rows.iter().map(|&row| diffs[row as usize]);
    if rows.all_once() {
        return Ok(match pairs.is_whole(changes.len()) {
            true => changes.diff_array().clone(),
            false => mine.collect::<Vec<i64>>().into(),
        });
    }
    let theirs = pairs.positions.iter().map(|&position| rows.count(position));
    let product = |(mine, theirs): (i64, i64)| mine.checked_mul(theirs);
    let products: Option<Vec<i64>> = mine.zip(theirs).map(product).collect();
    products.map(Int64Array::from).ok_or(OperatorError::TooMany)
}
