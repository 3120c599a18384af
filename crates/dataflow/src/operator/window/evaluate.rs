//! Results: what the calls are for the rows of some intervals.
//!
//! Rows are visited in order. For each the places that its frame begins and ends at are found; as a frame moves on by a
//! few rows, its sum takes in the rows that enter and gives back those that leave, and where it jumps, or where a least
//! or greatest value would have to be given back, it is joined anew from the tree. What a call finds is noted as
//! numbers, places or sums, and becomes a column at the end.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float64Array, UInt32Array, UInt64Array};
use arrow::compute::{cast, concat, take};
use arrow::error::ArrowError;

use super::super::aggregate::{Computed, lists, texts};
use super::super::pending::PARTITION_BYTES;
use super::Window;
use super::arranged::{Arranged, Group, Partition};
use super::call::{Bound, Call, Frame, Kind, Which};
use super::fold::{Sum, parts};
use super::range::{Limit, Limits};
use super::reach::Interval;
use crate::arrangement::{Encoded, Entry, Totals, number};

/// The rows of intervals with their results.
pub(super) struct Evaluated {
    bytes: Vec<u8>,
    /// For each row's bytes, where they end, and the number of its first result.
    entries: Vec<(usize, usize)>,
    /// How often each result is shown.
    pub(super) weights: Vec<i64>,
    pub(super) columns: Vec<ArrayRef>,
    pub(super) encoded: Encoded,
    /// The calls whose value does not fit, by result.
    pub(super) faults: BTreeMap<usize, Vec<usize>>,
}

impl Evaluated {
    /// How many different rows there are.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The bytes of a row.
    pub(super) fn row(&self, entry: usize) -> &[u8] {
        let start = entry.checked_sub(1).map_or(0, |before| self.entries[before].0);
        &self.bytes[start..self.entries[entry].0]
    }

    /// The numbers of a row's results.
    pub(super) fn results(&self, entry: usize) -> std::ops::Range<usize> {
        let end = self.entries.get(entry + 1).map_or(self.weights.len(), |next| next.1);
        self.entries[entry].1..end
    }

    /// The calls whose value does not fit in a result.
    pub(super) fn faults(&self, result: usize) -> &[usize] {
        self.faults.get(&result).map_or(&[], |calls| calls)
    }
}

/// A row's place, and what calls measure from it.
struct At<'a> {
    partition: Partition,
    place: u64,
    prefix: &'a [u8],
    peers: (u64, u64),
    /// The number of the row among those that limits were computed for.
    number: usize,
}

/// What a call has found, for each result.
enum Found {
    Numbers(Vec<u64>),
    Ratios(Vec<f64>),
    Places(Vec<Option<u64>>),
    Ranges(Vec<(u64, u64)>),
    /// It lies with the frame.
    Folded,
}

/// The sums of a frame, for each result.
struct Folded {
    totals: Totals,
    extremes: Vec<Vec<Option<Box<[u8]>>>>,
    now: Option<(u64, u64, Sum)>,
}

/// A frame that moves by more rows is summed anew.
const MOVED_MAX: u64 = 128;

impl Window {
    /// Computes the results of the rows in intervals, which ascend.
    pub(super) fn evaluate(&self, intervals: &[Interval]) -> Result<Evaluated, ArrowError> {
        let mut partitions: Vec<Partition> = Vec::new();
        let mut seen: Vec<(Entry<'_>, usize)> = Vec::new();
        for (at, interval) in intervals.iter().enumerate() {
            let known =
                at.checked_sub(1).filter(|&at| intervals[at].partition == interval.partition);
            let partition = match known {
                Some(_) => partitions[partitions.len() - 1],
                None => self.arranged.partition(interval.partition),
            };
            partitions.push(partition);
            let from = self.arranged.before(&interval.low);
            let to = self.arranged.through(&interval.high);
            self.arranged.rows.visit(from, to, &mut |entry| seen.push((entry, at)));
        }
        let rows: Vec<&[u8]> = seen.iter().map(|(entry, _)| entry.row).collect();
        let limits = self.limits(&rows)?;
        let mut scan = Scan::new(self, &limits);
        for (number, (entry, interval)) in seen.iter().enumerate() {
            scan.visit(*entry, partitions[*interval], number);
        }
        scan.finish()
    }

    /// The limits of rows' frames, for each shift.
    fn limits(&self, rows: &[&[u8]]) -> Result<Vec<Limits>, ArrowError> {
        let Some(values) = self.order_values(rows)? else {
            return Ok(Vec::new());
        };
        let shifts = self.calls.shifts.iter();
        shifts.map(|shift| shift.limits(&values, &self.order_codec)).collect()
    }
}

/// Collects results row by row.
struct Scan<'a> {
    window: &'a Window,
    arranged: &'a Arranged,
    limits: &'a [Limits],
    tells_copies_apart: bool,
    needs_groups: bool,
    bytes: Vec<u8>,
    entries: Vec<(usize, usize)>,
    weights: Vec<i64>,
    found: Vec<Found>,
    /// For each frame, its sums when a call reads them.
    folded: Vec<Option<Folded>>,
    /// The peers of the last row, by their first bytes.
    peers: (&'a [u8], (u64, u64)),
    /// The places of each frame of the last row.
    frames: Vec<(u64, u64)>,
}

impl<'a> Scan<'a> {
    fn new(window: &'a Window, limits: &'a [Limits]) -> Self {
        let calls = &window.calls;
        let arranged = &window.arranged;
        let found = |call: &Call| match call.kind {
            Kind::RowNumber | Kind::Rank | Kind::DenseRank | Kind::Ntile(_) => {
                Found::Numbers(Vec::new())
            }
            Kind::PercentRank | Kind::CumeDist => Found::Ratios(Vec::new()),
            Kind::Lag { .. } | Kind::Pick { .. } => Found::Places(Vec::new()),
            Kind::List { .. } => Found::Ranges(Vec::new()),
            Kind::Fold { .. } | Kind::Extreme(_) => Found::Folded,
        };
        let folds = window.folds();
        let folded = |frame: usize| {
            let reads = |call: &Call| {
                call.frame == frame && matches!(call.kind, Kind::Fold { .. } | Kind::Extreme(_))
            };
            calls.calls.iter().any(reads).then(|| Folded {
                totals: Totals::new(folds.width()),
                extremes: vec![Vec::new(); folds.extremes()],
                now: None,
            })
        };
        Self {
            window,
            arranged,
            limits,
            tells_copies_apart: calls.tell_copies_apart(),
            needs_groups: calls.count_groups(),
            bytes: Vec::new(),
            entries: Vec::new(),
            weights: Vec::new(),
            found: calls.calls.iter().map(found).collect(),
            folded: (0..calls.frames.len()).map(folded).collect(),
            peers: (&[], (0, 0)),
            frames: Vec::new(),
        }
    }

    fn visit(&mut self, entry: Entry<'a>, partition: Partition, number: usize) {
        let parts = parts(entry.row);
        self.bytes.extend_from_slice(entry.row);
        self.entries.push((self.bytes.len(), self.weights.len()));
        if self.peers.0 != parts.prefix {
            let peers = (self.arranged.before(parts.prefix), self.arranged.through(parts.prefix));
            self.peers = (parts.prefix, peers);
        }
        let (copies, weight) =
            if self.tells_copies_apart { (entry.count, 1) } else { (1, entry.count) };
        for copy in 0..copies.cast_unsigned() {
            let at = At {
                partition,
                place: entry.place + copy,
                prefix: parts.prefix,
                peers: self.peers.1,
                number,
            };
            self.weights.push(weight);
            self.call_all(&at);
        }
    }

    fn call_all(&mut self, at: &At<'_>) {
        let mut frames = std::mem::take(&mut self.frames);
        frames.clear();
        frames.extend(self.window.calls.frames.iter().map(|frame| self.frame(frame, at)));
        let group = if self.needs_groups { self.arranged.group(at.prefix) } else { 0 };
        for (call, found) in self.window.calls.calls.iter().zip(&mut self.found) {
            let frame = frames[call.frame];
            match found {
                Found::Numbers(all) => all.push(number_of(&call.kind, at, group)),
                Found::Ratios(all) => all.push(ratio_of(&call.kind, at)),
                Found::Places(all) => all.push(place_of(self.arranged, &call.kind, at, frame)),
                Found::Ranges(all) => all.push(frame),
                Found::Folded => {}
            }
        }
        let result = number(self.weights.len() - 1);
        for (folded, &(from, to)) in self.folded.iter_mut().zip(&frames) {
            if let Some(folded) = folded {
                folded.push(self.arranged, result, from, to);
            }
        }
        self.frames = frames;
    }

    /// The places of a row's frame.
    fn frame(&self, frame: &Frame, at: &At<'_>) -> (u64, u64) {
        let Partition { start, end, .. } = at.partition;
        let from = self.bound(&frame.start, at, false).clamp(start, end);
        (from, self.bound(&frame.end, at, true).clamp(from, end))
    }

    /// The place before the rows at a bound, or behind them.
    fn bound(&self, bound: &Bound, at: &At<'_>, is_end: bool) -> u64 {
        let Partition { start, end, .. } = at.partition;
        let edge = |bytes: &[u8]| {
            if is_end { self.arranged.through(bytes) } else { self.arranged.before(bytes) }
        };
        let peers = if is_end { at.peers.1 } else { at.peers.0 };
        match bound {
            Bound::Unbounded => {
                if is_end {
                    end
                } else {
                    start
                }
            }
            Bound::Rows(away) => {
                let place = i128::from(at.place) + i128::from(*away) + i128::from(is_end);
                u64::try_from(place.max(0)).unwrap_or(u64::MAX)
            }
            Bound::Groups(0) => peers,
            Bound::Groups(away) => match self.arranged.group_at(at.partition, at.prefix, *away) {
                Group::Before => start,
                Group::Behind => end,
                Group::Is(prefix) => edge(prefix),
            },
            Bound::Value(shift) => {
                let limits = &self.limits[*shift];
                let mut bytes = at.prefix[..PARTITION_BYTES].to_vec();
                match limits.limits[at.number] {
                    Limit::Null => peers,
                    Limit::Beyond => {
                        // Before or behind all values that are not NULL.
                        bytes.push(NOT_NULL);
                        let is_forward = self.window.calls.shifts[*shift].is_forward;
                        if is_forward {
                            self.arranged.through(&bytes)
                        } else {
                            self.arranged.before(&bytes)
                        }
                    }
                    Limit::At(number) => {
                        bytes.extend_from_slice(limits.encoded.row(number));
                        edge(&bytes)
                    }
                }
            }
        }
    }

    fn finish(self) -> Result<Evaluated, ArrowError> {
        let results: Vec<u32> = (0..number(self.weights.len())).collect();
        let mut columns = Vec::with_capacity(self.found.len());
        let mut faults: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, (call, found)) in self.window.calls.calls.iter().zip(&self.found).enumerate() {
            let folded = self.folded[call.frame].as_ref();
            let column: ArrayRef = match (found, &call.kind) {
                (Found::Numbers(all), _) => Arc::new(UInt64Array::from(all.clone())),
                (Found::Ratios(all), _) => Arc::new(Float64Array::from(all.clone())),
                (Found::Places(all), kind) => self.values(kind, all)?,
                (Found::Ranges(all), kind) => self.lists(kind, call, all)?,
                (Found::Folded, Kind::Extreme(extreme)) => {
                    let folded = folded.expect("an extreme reads sums");
                    self.window.folds().extreme_column(*extreme, &folded.extremes[*extreme])?
                }
                (Found::Folded, Kind::Fold { formula, totals }) => {
                    let folded = folded.expect("a formula reads sums");
                    let Computed { column, overflows } =
                        formula.compute((totals, &folded.totals), &results, &call.output);
                    for result in overflows {
                        faults.entry(result as usize).or_default().push(at);
                    }
                    column
                }
                (Found::Folded, _) => unreachable!("other calls find something of their own"),
            };
            let is_typed = column.data_type() == &call.output;
            columns.push(if is_typed { column } else { cast(&column, &call.output)? });
        }
        let encoded = self.window.result_codec.encode(&columns)?;
        let Self { bytes, entries, weights, .. } = self;
        Ok(Evaluated { bytes, entries, weights, columns, encoded, faults })
    }

    /// The values at places; a default, or NULL, where there is none.
    fn values(&self, kind: &Kind, places: &[Option<u64>]) -> Result<ArrayRef, ArrowError> {
        let (argument, default) = if let Kind::Lag { argument, default, .. } = kind {
            (*argument, Some(default))
        } else if let Kind::Pick { argument, .. } = kind {
            (*argument, None)
        } else {
            unreachable!("only these find places")
        };
        let mut rows: Vec<&[u8]> = Vec::new();
        let mut last = None;
        let mut indices: Vec<Option<u32>> = Vec::with_capacity(places.len());
        for place in places {
            let Some(place) = place else {
                indices.push(None);
                continue;
            };
            if last != Some(*place) {
                let entry = self.arranged.rows.at(*place).expect("the place lies in the partition");
                rows.push(parts(entry.row).row);
                last = Some(*place);
            }
            indices.push(Some(number(rows.len() - 1)));
        }
        let column = Arc::clone(&self.window.row_codec.decode(rows.iter().copied())?[argument]);
        let Some(default) = default else {
            return take(&column, &UInt32Array::from(indices), None);
        };
        let behind = number(column.len());
        let with_default = concat(&[column.as_ref(), default.as_ref()])?;
        let indices = indices.into_iter().map(|index| index.unwrap_or(behind));
        take(&with_default, &UInt32Array::from_iter_values(indices), None)
    }

    /// The lists or texts of ranges' values. Each row is decoded once, however many ranges it lies in.
    fn lists(
        &self,
        kind: &Kind,
        call: &Call,
        ranges: &[(u64, u64)],
    ) -> Result<ArrayRef, ArrowError> {
        let Kind::List { argument, input, separator } = kind else {
            unreachable!("only lists find ranges")
        };
        let folds = self.window.folds();
        let mut entries: Vec<Entry<'_>> = Vec::new();
        for (from, to) in covered(ranges) {
            self.arranged.rows.visit(from, to, &mut |entry| {
                if folds.counts(parts(entry.row), *input) {
                    entries.push(entry);
                }
            });
        }
        // Copies of a row may lie in several of them.
        entries.dedup_by_key(|entry| entry.place);
        let rows = entries.iter().map(|entry| parts(entry.row).row);
        let values = Arc::clone(&self.window.row_codec.decode(rows)?[*argument]);
        let (mut indices, mut ends) = (Vec::new(), Vec::with_capacity(ranges.len()));
        for &(from, to) in ranges {
            let end = |entry: &Entry<'_>| entry.place + entry.count.cast_unsigned();
            let first = entries.partition_point(|entry| end(entry) <= from);
            let inside = entries[first..].iter().take_while(|entry| entry.place < to);
            for (at, entry) in (number(first)..).zip(inside) {
                let copies = end(entry).min(to) - entry.place.max(from);
                let copies = usize::try_from(copies).unwrap_or(usize::MAX);
                indices.extend(std::iter::repeat_n(at, copies));
            }
            ends.push(indices.len());
        }
        let values = take(&values, &UInt32Array::from(indices), None)?;
        match separator {
            Some(separator) => texts(&values, &ends, separator, &call.output),
            None => lists(values, &ends, &call.output),
        }
    }
}

/// The places that lie in some range, as ranges that do not overlap, ascending.
fn covered(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> =
        ranges.iter().copied().filter(|(from, to)| from < to).collect();
    ranges.sort_unstable();
    let mut covered: Vec<(u64, u64)> = Vec::new();
    for (from, to) in ranges {
        match covered.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => covered.push((from, to)),
        }
    }
    covered
}

/// What the row format writes before a value of fixed length that is not NULL.
const NOT_NULL: u8 = 1;

impl Folded {
    /// Notes the sum of a result's frame.
    fn push(&mut self, arranged: &Arranged, result: u32, from: u64, to: u64) {
        let folds = arranged.rows.measure();
        let sum = match self.now.take() {
            Some((old_from, old_to, mut sum))
                if from >= old_from
                    && to >= old_to
                    && from <= old_to
                    && (from - old_from) + (to - old_to) <= MOVED_MAX
                    && (from == old_from || folds.extremes() == 0) =>
            {
                arranged.rows.visit(old_from, from, &mut |entry| {
                    let end = entry.place + entry.count.cast_unsigned();
                    let copies = end.min(from) - entry.place.max(old_from);
                    folds.remove(&mut sum, entry.row, copies.cast_signed());
                });
                arranged.rows.sum(old_to, to, &mut sum);
                sum
            }
            _ => arranged.sum(from, to),
        };
        self.totals.reserve(result as usize + 1);
        self.totals.get_mut(result).copy_from_slice(&sum.words);
        for (all, extreme) in self.extremes.iter_mut().zip(&sum.extremes) {
            all.push(extreme.clone());
        }
        self.now = Some((from, to, sum));
    }
}

fn number_of(kind: &Kind, at: &At<'_>, group: u64) -> u64 {
    let Partition { start, end, first_group, .. } = at.partition;
    let before = at.place - start;
    match kind {
        Kind::Rank => at.peers.0 - start + 1,
        Kind::DenseRank => group - first_group + 1,
        Kind::Ntile(buckets) => {
            let buckets = (*buckets).max(1);
            let (size, larger) = ((end - start) / buckets, (end - start) % buckets);
            let in_larger = larger * (size + 1);
            if before < in_larger {
                before / (size + 1) + 1
            } else {
                larger + (before - in_larger) / size.max(1) + 1
            }
        }
        Kind::RowNumber
        | Kind::PercentRank
        | Kind::CumeDist
        | Kind::Lag { .. }
        | Kind::Pick { .. }
        | Kind::Fold { .. }
        | Kind::Extreme(_)
        | Kind::List { .. } => before + 1,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio of counts is rounded")]
fn ratio_of(kind: &Kind, at: &At<'_>) -> f64 {
    let Partition { start, end, .. } = at.partition;
    let rows = (end - start) as f64;
    if matches!(kind, Kind::CumeDist) {
        (at.peers.1 - start) as f64 / rows
    } else if end - start <= 1 {
        0.0
    } else {
        (at.peers.0 - start) as f64 / (rows - 1.0)
    }
}

fn place_of(arranged: &Arranged, kind: &Kind, at: &At<'_>, (from, to): (u64, u64)) -> Option<u64> {
    let Partition { start, end, .. } = at.partition;
    match kind {
        Kind::Lag { offset, counted: Some(counted), .. } if *offset != 0 => {
            let away = offset.unsigned_abs();
            if *offset > 0 {
                arranged.nth_last(counted, (start, at.place), away)
            } else {
                arranged.nth(counted, (at.place + 1, end), away)
            }
        }
        Kind::Lag { offset, .. } => {
            let place = i128::from(at.place) - i128::from(*offset);
            u64::try_from(place).ok().filter(|place| (start..end).contains(place))
        }
        Kind::Pick { which, counted: Some(counted), .. } => match which {
            Which::First => arranged.nth(counted, (from, to), 1),
            Which::Last => arranged.nth_last(counted, (from, to), 1),
            Which::Nth(n) => arranged.nth(counted, (from, to), *n),
        },
        Kind::Pick { which, counted: None, .. } => {
            let place = match which {
                Which::First => Some(from),
                Which::Last => to.checked_sub(1),
                Which::Nth(n) => n.checked_sub(1).and_then(|n| from.checked_add(n)),
            };
            place.filter(|place| (from..to).contains(place))
        }
        Kind::RowNumber
        | Kind::Rank
        | Kind::DenseRank
        | Kind::PercentRank
        | Kind::CumeDist
        | Kind::Ntile(_)
        | Kind::Fold { .. }
        | Kind::Extreme(_)
        | Kind::List { .. } => None,
    }
}
