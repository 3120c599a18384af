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
//! A condition that compares the sides (`a.t between b.t − 5 and b.t + 5`) is asked of few pairs only where runs are long:
//! see [`band`](super::band).
//!
//! What follows from a batch is emitted in parts of a bounded number of rows and of bytes, each of which the readers
//! take before the next is made: a batch that meets a million rows makes no million rows at once.
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

use super::band::{Band, Strictness};
use super::{EMIT_BYTES, EMIT_ROWS, Out};
use crate::arrangement::{Interval, Met, NONE, Rows, TOUCHED_ROWS, number};
use crate::columns::{as_booleans, batch, changes as batch_of, nullable, pick, text_bytes, widest};
use crate::error::OperatorError;
use crate::faulty::compute;
use crate::state::{Delta, State};

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
    /// What a pair must meet to be a match, in this order.
    pub(crate) conditions: Vec<Condition>,
    /// The resulting columns.
    pub(crate) output: Vec<PairColumn>,
    pub(crate) schema: SchemaRef,
}

/// A condition over columns of a pair.
pub(crate) struct Condition {
    pub(crate) predicate: Arc<dyn PhysicalExpr>,
    pub(crate) schema: SchemaRef,
    pub(crate) columns: Vec<PairColumn>,
}

/// One input of a join.
pub(crate) struct Side {
    /// Where its rows are kept.
    pub(crate) arrangement: usize,
    /// Whether the join itself adds the rows; otherwise they are there, with their keys' numbers, when it is told.
    pub(crate) is_private: bool,
    /// Whether rows are kept only until they have met a row of the other side.
    pub(crate) is_elided: bool,
    /// The intervals, among the arrangement's, that pairs must meet at, and how.
    pub(crate) band: Option<(usize, Strictness)>,
    /// The types of the input's columns.
    pub(crate) types: Vec<DataType>,
}

/// Pairs of rows.
pub(crate) struct Join {
    options: JoinOptions,
    pending: Option<Pending>,
    touched: u64,
}

/// Changes of one input that are being joined.
struct Pending {
    input: Input,
    changes: ChangeBatch,
    keys: Arc<Vec<u32>>,
    /// The next row to join, and how many of its pairs are done.
    row: usize,
    done: u32,
    /// What the rows' intervals are, once one had to be known.
    intervals: Option<Vec<Interval>>,
    /// The pairs of the next row, when its run is long.
    met: Option<Met>,
    /// Rows of the other side that were looked at.
    touched: u64,
    /// Whether a part must be bounded by bytes.
    is_wide: bool,
    /// Rows of the other side that are to be shown, once all is joined, and how many of them are done.
    loners: Option<(Loners, usize)>,
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
        Self { options, pending: None, touched: 0 }
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
        let other = &state.arrangements[self.side(input.other()).arrangement];
        let row_bytes = widest(changes.rows().columns()) + other.widest_bytes;
        self.pending = Some(Pending {
            input,
            keys,
            row: 0,
            done: 0,
            intervals: None,
            met: None,
            touched: 0,
            is_wide: row_bytes > EMIT_BYTES / EMIT_ROWS,
            loners: None,
            matches,
            moved: Vec::new(),
            changes,
        });
        Ok(())
    }

    /// Emits pairs of the changes taken in, a bounded number of them; returns whether there are more.
    pub(crate) fn go_on(
        &mut self,
        state: &mut State,
        out: &mut Out,
    ) -> Result<bool, OperatorError> {
        let Some(mut pending) = self.pending.take() else { return Ok(false) };
        if let Some((loners, done)) = &mut pending.loners {
            *done = self.show(state, pending.input.other(), (loners, *done), out)?;
        } else {
            let pairs = self.pairs(state, &mut pending)?;
            self.join(state, &mut pending, pairs, out)?;
            if pending.row == pending.changes.len() {
                pending.loners = Some((self.conclude(state, &mut pending, out)?, 0));
            }
        }
        let is_over = |(loners, done): &(Loners, usize)| *done == loners.positions.len();
        if pending.loners.as_ref().is_some_and(is_over) {
            self.touched += pending.touched;
            return Ok(false);
        }
        self.pending = Some(pending);
        Ok(true)
    }

    /// How many rows of either side were looked at in order to find the pairs.
    pub(crate) fn touched(&self) -> u64 {
        self.touched
    }

    /// What the join is called.
    pub(crate) fn name(&self) -> &'static str {
        if self.options.left.band.is_some() { "band join" } else { "join" }
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
    fn pairs(&self, state: &State, pending: &mut Pending) -> Result<Pairs, OperatorError> {
        let other = self.side(pending.input.other());
        let is_idle = !self.shows_pairs() && self.options.conditions.is_empty();
        if is_idle {
            pending.row = pending.changes.len();
            return Ok(Pairs::default());
        }
        let rows = &state.arrangements[other.arrangement].rows;
        let mut pairs = Pairs {
            rows: Vec::with_capacity(pending.keys.len()),
            positions: Vec::with_capacity(pending.keys.len()),
        };
        let mut bytes = 0;
        while pending.row < pending.keys.len() && pairs.rows.len() < EMIT_ROWS {
            if pending.row.is_multiple_of(TOUCHED_ROWS) {
                let end = pending.keys.len().min(pending.row + TOUCHED_ROWS);
                rows.touch(&pending.keys[pending.row..end]);
            }
            let (start, mut len) = rows.run(pending.keys[pending.row]);
            if other.band.is_some() && pending.done == 0 && pending.met.is_none() {
                self.search(state, pending)?;
            }
            let (first, room) = (pairs.positions.len(), EMIT_ROWS - pairs.rows.len());
            let done = pending.done as usize;
            if let Some(met) = &pending.met {
                len = number(met.places.len());
                let places = met.places[done..].iter().take(room);
                pairs.positions.extend(places.map(|place| start + place));
            } else {
                let first = start + pending.done;
                pairs.positions.extend(first..start + len.min(pending.done + number(room)));
            }
            let is_full = pending.is_wide
                && self.cut(state, pending, &mut pairs.positions, (first, &mut bytes));
            pairs.rows.resize(pairs.positions.len(), number(pending.row));
            pending.done += number(pairs.positions.len() - first);
            if pending.done == len {
                (pending.row, pending.done, pending.met) = (pending.row + 1, 0, None);
            }
            if is_full {
                break;
            }
        }
        pending.touched += pairs.rows.len() as u64;
        Ok(pairs)
    }

    /// Searches the other side's long run for what the next row's interval meets.
    fn search(&self, state: &State, pending: &mut Pending) -> Result<(), OperatorError> {
        let key = pending.keys[pending.row];
        let Some((band, _)) = self.band(state, pending.input.other()) else { return Ok(()) };
        let Some((own, strictness)) = self.band(state, pending.input) else { return Ok(()) };
        if !band.bands.has(key) {
            return Ok(());
        }
        if pending.intervals.is_none() {
            let rows = pending.changes.rows();
            let columns = pick(rows.columns(), &own.ends.columns);
            pending.intervals = Some(own.ends.of(columns, rows.num_rows())?);
        }
        let interval = pending.intervals.as_ref().map_or(Interval::Anything, |of| of[pending.row]);
        let mut met = Met::default();
        band.bands.search(key, strictness.wanted(interval), &mut met);
        pending.touched += met.touched;
        pending.met = Some(met);
        Ok(())
    }

    /// The intervals of an input's rows.
    fn band<'a>(&self, state: &'a State, input: Input) -> Option<(&'a Band, Strictness)> {
        let side = self.side(input);
        let (band, strictness) = side.band?;
        Some((&state.arrangements[side.arrangement].bands[band], strictness))
    }

    /// Takes back those of the next row's pairs, from `first` on, that would make a part too large; whether there were
    /// any. A part has one pair at least.
    fn cut(
        &self,
        state: &State,
        pending: &Pending,
        positions: &mut Vec<u32>,
        (first, bytes): (usize, &mut usize),
    ) -> bool {
        let rows = &state.arrangements[self.side(pending.input.other()).arrangement].rows;
        let mine = text_bytes(pending.changes.rows().columns(), pending.row);
        for at in first..positions.len() {
            *bytes += mine + rows.text_bytes(positions[at]);
            if *bytes > EMIT_BYTES && at > 0 {
                positions.truncate(at);
                return true;
            }
        }
        false
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
        self.shows_alone(input) && !self.options.conditions.is_empty()
    }

    /// The pairs that meet the conditions. One for which one cannot be computed is a fault, and no match.
    fn that_match(
        &self,
        state: &State,
        pending: &Pending,
        mut pairs: Pairs,
        out: &mut Out,
    ) -> Result<Pairs, OperatorError> {
        let other = self.side(pending.input.other()).arrangement;
        for Condition { predicate, schema, columns } in &self.options.conditions {
            if pairs.rows.is_empty() {
                break;
            }
            let columns = self.columns(state, pending, &pairs, columns)?;
            let joined = batch(schema, columns, pairs.rows.len())?;
            let rows = &state.arrangements[other].rows;
            let diffs = pair_diffs(rows, &pending.changes, &pairs)?;
            let changes = ChangeBatch::new(joined, diffs);
            let computed = compute(std::slice::from_ref(predicate), &changes, out)?;
            pairs = pairs.filtered(&as_booleans(&computed.columns[0]));
        }
        Ok(pairs)
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
        let rows =
            (!pairs.is_whole(pending.changes.len())).then(|| UInt32Array::from(pairs.rows.clone()));
        let of_mine = |column: usize| match &rows {
            Some(rows) => take(&mine[column], rows, None),
            None => Ok(Arc::clone(&mine[column])),
        };
        let own = &state.arrangements[self.side(pending.input).arrangement];
        let other = &state.arrangements[self.side(pending.input.other()).arrangement];
        let of_other = |column: usize| match other.payload.binary_search(&column) {
            Ok(payload) => other.rows.gather(payload, &pairs.positions),
            // A key column that is not kept equals the one of this side.
            Err(_) => of_mine(own.key[other.key_position(column)]),
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

    /// Ends a batch: keeps its rows, shows those that are alone, and finds the rows of the other side that are alone now
    /// or no more.
    fn conclude(
        &self,
        state: &mut State,
        pending: &mut Pending,
        out: &mut Out,
    ) -> Result<Loners, OperatorError> {
        let (input, other) = (pending.input, pending.input.other());
        if self.shows_alone(input) {
            self.show_mine(state, pending, out)?;
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
        Ok(match (self.shows_alone(other), self.keeps_matches(other)) {
            (false, _) => Loners::default(),
            (true, true) => self.moved(state, other, std::mem::take(&mut pending.moved)),
            (true, false) => self.keys_moved(state, other, pending),
        })
    }

    /// Forgets the rows of an input that have met the only row that they ever will.
    fn let_go(&self, state: &mut State, input: Input, keys: &[u32]) -> Result<(), OperatorError> {
        let own = self.side(input.other()).arrangement;
        let arrangement = self.side(input).arrangement;
        for &key in keys {
            if key != NONE && state.arrangements[own].rows.total(key) > 1 {
                return Err(OperatorError::KeyTwice);
            }
            state.remove_key(arrangement, key)?;
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
        let counts = self.keeps_matches(pending.input);
        let has_match = |row: usize| match counts {
            true => pending.matches[row] != 0,
            false => other.total(pending.keys[row]) != 0,
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

    /// The rows of an input whose own matches moved from or to zero.
    fn moved(&self, state: &State, input: Input, mut moved: Vec<(u32, i64)>) -> Loners {
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
        loners
    }

    /// 1 when a row is shown alone because its matches moved, −1 when it is not any more, else 0.
    fn appears(&self, before: i64, after: i64) -> i64 {
        let is_semi = self.options.kind == JoinKind::Semi;
        let shown = |matches: i64| i64::from((matches != 0) == is_semi);
        shown(after) - shown(before)
    }

    /// All rows of an input with keys of which the other side's total moved from or to zero.
    fn keys_moved(&self, state: &State, input: Input, pending: &Pending) -> Loners {
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
        loners
    }

    /// Emits the next rows of an input that are shown or hidden, alone; returns how many are done then.
    fn show(
        &self,
        state: &State,
        input: Input,
        (loners, done): (&Loners, usize),
        out: &mut Out,
    ) -> Result<usize, OperatorError> {
        let arrangement = &state.arrangements[self.side(input).arrangement];
        let space = &state.spaces[arrangement.space];
        let mut end = loners.positions.len().min(done + EMIT_ROWS);
        if arrangement.widest_bytes > EMIT_BYTES / EMIT_ROWS {
            let mut bytes = 0;
            let next = loners.positions[done..end].iter();
            let fit = next.take_while(|&&position| {
                bytes += arrangement.rows.text_bytes(position);
                bytes <= EMIT_BYTES
            });
            end = done + fit.count().max(1);
        }
        let positions = &loners.positions[done..end];
        let keys = loners.keys.get(done..end).unwrap_or_default();
        let columns = self.alone(input, positions.len(), |column| {
            arrangement.column(space, column, (positions, keys))
        })?;
        out.rows(batch_of(&self.options.schema, columns, loners.diffs[done..end].to_vec())?);
        Ok(end)
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
