//! Reach: which rows' results may differ when others change.
//!
//! The result of a row follows from rows that lie near it in some measure: the two before it, those within an hour, its
//! peers, all before. So a changed row can only touch the results of the rows that are as near to it from the other
//! side, and these are found before the change is applied, in logarithmic time. It is enough to measure among the rows
//! as they were: a row that is near a new one now, but would not be by the old rows, has a removed one between, which
//! is nearer still.
//!
//! What counts or sums all rows before a row reaches every row behind, as SQL wants it. But where the changes of a
//! partition cancel each other out in that count or sum, no row behind the last change can tell.

use super::super::pending::{Delta, PARTITION_BYTES, partition_of};
use super::arranged::{Arranged, Group, Partition};
use super::call::{Bound, Call, Calls, Frame, Kind, Which};
use super::fold::parts;
use super::range::{Limit, Limits};
use crate::arrangement::Measure;

/// Rows of a partition, from a row's bytes to another's, both inclusive.
#[derive(Debug)]
pub(super) struct Interval {
    pub(super) partition: u32,
    pub(super) low: Box<[u8]>,
    pub(super) high: Box<[u8]>,
}

/// How far changes reach in a partition.
struct Reach<'a> {
    arranged: &'a Arranged,
    calls: &'a Calls,
    /// For each shift, the reaches of all changes of the step.
    limits: &'a [Limits],
    partition: Partition,
    /// From the first row that changes to the last one, with their peers.
    changed: Range,
    balance: Balance,
}

/// What the changes of a partition leave as it was in sum.
#[derive(Clone, Copy)]
struct Balance {
    rows: bool,
    groups: bool,
    totals: bool,
}

/// A changed row, among the rows as they were.
struct Touch<'a> {
    prefix: &'a [u8],
    /// The places of its copies.
    start: u64,
    end: u64,
    /// The places of its peers.
    peers: Range,
    /// Its number among the changes of the step.
    number: usize,
}

/// Places that a change reaches.
type Range = (u64, u64);

/// What changes are measured by.
pub(super) struct Ground<'a> {
    pub(super) arranged: &'a Arranged,
    pub(super) calls: &'a Calls,
    /// For each shift, the reaches of all changes of the step.
    pub(super) limits: &'a [Limits],
}

/// Finds the intervals of a partition that may show other results once its changes are applied. `first` is the number
/// of its first change among those of the step. Returns as well about how many rows they hold.
pub(super) fn intervals<'a>(
    ground: &Ground<'a>,
    first: usize,
    deltas: &[Delta<'a>],
) -> (Vec<Interval>, u64) {
    let number = partition_of(deltas[0].row);
    let arranged = ground.arranged;
    let changed: Vec<(usize, Delta<'a>)> =
        (first..).zip(deltas.iter().copied()).filter(|(_, delta)| delta.diff != 0).collect();
    let (Some((_, low)), Some((_, high))) = (changed.first(), changed.last()) else {
        return (Vec::new(), 0);
    };
    let partition = arranged.partition(number);
    let (mut pairs, mut rows) = (Vec::new(), deltas.len() as u64);
    if partition.start == partition.end {
        pairs.push((low.row, high.row));
    } else {
        let reach = Reach {
            arranged,
            calls: ground.calls,
            limits: ground.limits,
            partition,
            changed: (
                arranged.before(parts(low.row).prefix),
                arranged.through(parts(high.row).prefix),
            ),
            balance: balance(arranged, deltas),
        };
        let row = |place: u64| arranged.rows.at(place).map(|entry| entry.row);
        for (at, delta) in &changed {
            let (from, to) = reach.of(&reach.touch(*at, delta.row));
            let ends = if from < to { row(from).zip(row(to - 1)) } else { None };
            let (from_row, to_row) = ends.unwrap_or((delta.row, delta.row));
            rows += to.saturating_sub(from);
            if (from, to) == (partition.start, partition.end) {
                pairs = vec![(from_row.min(low.row), to_row.max(high.row))];
                break;
            }
            pairs.push((from_row.min(delta.row), to_row.max(delta.row)));
        }
    }
    let interval = |(low, high): (&[u8], &[u8])| Interval {
        partition: number,
        low: low.into(),
        high: high.into(),
    };
    (merged(pairs).into_iter().map(interval).collect(), rows)
}

/// Joins intervals that overlap.
fn merged<'a>(mut pairs: Vec<(&'a [u8], &'a [u8])>) -> Vec<(&'a [u8], &'a [u8])> {
    pairs.sort_unstable();
    let mut merged: Vec<(&[u8], &[u8])> = Vec::new();
    for (low, high) in pairs {
        match merged.last_mut() {
            Some(last) if low <= last.1 => last.1 = last.1.max(high),
            Some(_) | None => merged.push((low, high)),
        }
    }
    merged
}

/// Sums a partition's changes.
fn balance(arranged: &Arranged, deltas: &[Delta<'_>]) -> Balance {
    let folds = arranged.rows.measure();
    let mut sum = folds.zero();
    let (mut rows, mut groups) = (0_i64, 0_i64);
    for delta in deltas {
        rows = rows.wrapping_add(delta.diff);
        folds.add_totals(&mut sum, parts(delta.row), delta.diff);
    }
    if arranged.groups.is_some() {
        for peers in deltas.chunk_by(|a, b| parts(a.row).prefix == parts(b.row).prefix) {
            let before = arranged.group_rows(parts(peers[0].row).prefix);
            let diff = peers.iter().fold(0_i64, |sum, delta| sum.wrapping_add(delta.diff));
            let after = before.wrapping_add(diff);
            groups += i64::from(after != 0) - i64::from(before != 0);
        }
    }
    Balance {
        rows: rows == 0,
        groups: groups == 0,
        totals: sum.words.iter().all(|&word| word == 0),
    }
}

impl Reach<'_> {
    fn touch<'b>(&self, number: usize, row: &'b [u8]) -> Touch<'b> {
        let prefix = parts(row).prefix;
        Touch {
            prefix,
            start: self.arranged.before(row),
            end: self.arranged.through(row),
            peers: (self.arranged.before(prefix), self.arranged.through(prefix)),
            number,
        }
    }

    /// The places that a change reaches by any call.
    fn of(&self, touch: &Touch<'_>) -> Range {
        let Partition { start, end, .. } = self.partition;
        let reaches = self.calls.calls.iter().map(|call| self.by(call, touch));
        let (from, to) = reaches.fold((touch.start, touch.end), join);
        (from.clamp(start, end), to.clamp(start, end))
    }

    fn whole(&self) -> Range {
        (self.partition.start, self.partition.end)
    }

    /// All rows behind, or those to the last change when the changes cancel out.
    fn behind(&self, touch: &Touch<'_>, is_balanced: bool) -> Range {
        (touch.start, if is_balanced { self.changed.1 } else { self.partition.end })
    }

    /// All rows before, or those from the first change when the changes cancel out.
    fn ahead(&self, touch: &Touch<'_>, is_balanced: bool) -> Range {
        (if is_balanced { self.changed.0 } else { self.partition.start }, touch.end)
    }

    fn by(&self, call: &Call, touch: &Touch<'_>) -> Range {
        let frame = &self.calls.frames[call.frame];
        match &call.kind {
            Kind::RowNumber | Kind::Rank => self.behind(touch, self.balance.rows),
            Kind::DenseRank => self.behind(touch, self.balance.groups),
            Kind::PercentRank | Kind::CumeDist | Kind::Ntile(_) if self.balance.rows => {
                self.changed
            }
            Kind::PercentRank | Kind::CumeDist | Kind::Ntile(_) => self.whole(),
            Kind::Lag { offset, counted: None, .. } => {
                let away = offset.unsigned_abs();
                if *offset < 0 {
                    (touch.start.saturating_sub(away), touch.end)
                } else {
                    (touch.start, touch.end.saturating_add(away))
                }
            }
            Kind::Lag { offset, counted: Some(counted), .. } => {
                let away = offset.unsigned_abs();
                let Partition { start, end, .. } = self.partition;
                if *offset < 0 {
                    let found = self.arranged.nth_last(counted, (start, touch.start), away);
                    (found.unwrap_or(start), touch.end)
                } else {
                    let found = self.arranged.nth(counted, (touch.end, end), away);
                    (touch.start, found.map_or(end, |place| place + 1))
                }
            }
            Kind::Fold { .. } => self.frame(frame, touch, self.balance.totals),
            Kind::Extreme(_) | Kind::List { .. } | Kind::Pick { counted: Some(_), .. } => {
                self.frame(frame, touch, false)
            }
            Kind::Pick { which, counted: None, .. } => self.pick(frame, touch, *which),
        }
    }

    /// The rows whose frame holds the change.
    fn frame(&self, frame: &Frame, touch: &Touch<'_>, is_balanced: bool) -> Range {
        let mut reach = join(self.bound(&frame.start, touch), self.bound(&frame.end, touch));
        if frame.start == Bound::Unbounded {
            reach = join(reach, self.behind(touch, is_balanced));
        }
        if frame.end == Bound::Unbounded {
            reach = join(reach, self.ahead(touch, is_balanced));
        }
        reach
    }

    /// The rows of whose frame the change may be the row that is picked, or may move it there.
    fn pick(&self, frame: &Frame, touch: &Touch<'_>, which: Which) -> Range {
        let Partition { start, end, .. } = self.partition;
        let mut reach = join(self.bound(&frame.start, touch), self.bound(&frame.end, touch));
        let is_first = |rows: u64| touch.start - start < rows;
        match which {
            Which::First if frame.start == Bound::Unbounded && is_first(1) => {
                reach.1 = end;
            }
            Which::Last if frame.end == Bound::Unbounded && touch.end == end => reach.0 = start,
            Which::Nth(n) => {
                if frame.start == Bound::Unbounded && is_first(n) {
                    reach.1 = end;
                    // Rows before it look behind them for their nth as well.
                    if frame.end == Bound::Unbounded {
                        reach.0 = start;
                    }
                }
                if let (Bound::Unbounded, Bound::Rows(away)) = (&frame.end, &frame.start) {
                    let far = n.saturating_add(away.unsigned_abs());
                    reach.0 = reach.0.min(touch.start.saturating_sub(far));
                } else if frame.end == Bound::Unbounded && frame.start != Bound::Unbounded {
                    reach.0 = start;
                }
            }
            Which::First | Which::Last => {}
        }
        reach
    }

    /// The rows of which a bound of the frame may lie at the change.
    fn bound(&self, bound: &Bound, touch: &Touch<'_>) -> Range {
        match bound {
            Bound::Unbounded => (touch.start, touch.end),
            Bound::Rows(away) if *away < 0 => {
                (touch.start, touch.end.saturating_add(away.unsigned_abs()))
            }
            Bound::Rows(away) => (touch.start.saturating_sub(away.unsigned_abs()), touch.end),
            Bound::Groups(0) => touch.peers,
            Bound::Groups(away) => {
                let group = |away| self.arranged.group_at(self.partition, touch.prefix, away);
                let reach = match group(away.saturating_neg()) {
                    Group::Before => (self.partition.start, touch.end),
                    Group::Behind => (touch.start, self.partition.end),
                    Group::Is(prefix) if *away < 0 => (touch.start, self.arranged.through(prefix)),
                    Group::Is(prefix) => (self.arranged.before(prefix), touch.end),
                };
                join(reach, touch.peers)
            }
            Bound::Value(shift) => join(touch.peers, self.value(*shift, touch)),
        }
    }

    fn value(&self, shift: usize, touch: &Touch<'_>) -> Range {
        // A bound before the row makes changes reach rows behind.
        let is_behind = !self.calls.shifts[shift].is_forward;
        let limits = &self.limits[shift];
        match limits.limits[touch.number] {
            Limit::Null => touch.peers,
            Limit::Beyond if is_behind => (touch.start, self.partition.end),
            Limit::Beyond => (self.partition.start, touch.end),
            Limit::At(number) => {
                let mut bytes = touch.prefix[..PARTITION_BYTES].to_vec();
                bytes.extend_from_slice(limits.encoded.row(number));
                if is_behind {
                    (touch.start, self.arranged.through(&bytes))
                } else {
                    (self.arranged.before(&bytes), touch.end)
                }
            }
        }
    }
}

fn join(left: Range, right: Range) -> Range {
    (left.0.min(right.0), left.1.max(right.1))
}
