//! Rows in order, each with its count, found by place as well as by value.
//!
//! A B+ tree. Beside each child an inner node keeps how many rows and how many different rows lie below it, so the
//! place of a row, and the row at a place, are found on one way down. A [`Measure`] folds the rows below each node to a
//! sum of any kind that has an associative join; so the sum over any range of places is joined from a few nodes:
//!
//! ```text
//!             [ 5 rows | 7 rows | 4 rows ]          sum over the places 3..14 =
//!              /          |          \                 end of the first leaf + the whole second one
//!        a b b c d    e f f f g h h    i k k l       + beginning of the third
//! ```
//!
//! Sums are folded anew where something changed, once for all changes, by [`Ranked::refresh`].
//!
//! Invariant: rows ascend by their bytes, each once, none with count zero. A child's `low` is not greater than any row
//! below it, and greater than any row below the child before it. Rows with a negative count take no place.

use super::{Heap, Place, StateSize, number};

/// What the rows below a node are folded to.
pub(crate) trait Measure {
    /// The result of folding.
    type Sum: Clone;

    /// The sum of no rows.
    fn zero(&self) -> Self::Sum;

    /// Adds a row as often as it is there, behind all rows of the sum.
    fn add(&self, sum: &mut Self::Sum, row: &[u8], times: i64);

    /// Adds a sum, behind all rows of the first.
    fn join(&self, sum: &mut Self::Sum, other: &Self::Sum);
}

/// The measure of rows that are only counted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nothing;

impl Measure for Nothing {
    type Sum = ();

    fn zero(&self) {}

    fn add(&self, (): &mut (), _row: &[u8], _times: i64) {}

    fn join(&self, (): &mut (), (): &()) {}
}

/// A multiset of rows in the order of their bytes, with places.
pub(crate) struct Ranked<M: Measure> {
    measure: M,
    heap: Heap,
    nodes: Vec<Node<M::Sum>>,
    free: Vec<u32>,
    root: u32,
    total: Rank,
}

/// How many rows, and how many different ones, come before a place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rank {
    /// Rows, each as often as it is there.
    pub(crate) rows: u64,
    /// Different rows.
    pub(crate) entries: u64,
}

/// A row of the multiset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// Its bytes.
    pub(crate) row: &'a [u8],
    /// The place of its first copy.
    pub(crate) place: u64,
    /// How often it is there.
    pub(crate) count: i64,
}

struct Node<S> {
    sum: S,
    /// Whether the sum must be folded anew.
    is_stale: bool,
    body: Body,
}

enum Body {
    Leaf(Vec<Leaf>),
    Inner(Vec<Child>),
}

#[derive(Clone, Copy)]
struct Leaf {
    place: Place,
    count: i64,
}

struct Child {
    low: Box<[u8]>,
    node: u32,
    rank: Rank,
}

/// What adding to a node did.
struct Added {
    before: i64,
    split: Option<Child>,
}

const LEAF_MAX: usize = 64;
const INNER_MAX: usize = 32;

impl Rank {
    fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.wrapping_add(other.rows),
            entries: self.entries.wrapping_add(other.entries),
        }
    }

    /// What a row's count adds.
    fn of(count: i64) -> Self {
        Self { rows: count.max(0).cast_unsigned(), entries: u64::from(count != 0) }
    }

    /// Replaces what a row with one count adds by what it adds with another.
    fn change(&mut self, before: i64, after: i64) {
        let (old, new) = (Self::of(before), Self::of(after));
        self.rows = self.rows.wrapping_sub(old.rows).wrapping_add(new.rows);
        self.entries = self.entries.wrapping_sub(old.entries).wrapping_add(new.entries);
    }
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::Leaf(rows) => rows.len(),
            Self::Inner(children) => children.len(),
        }
    }

    fn limit(&self) -> usize {
        match self {
            Self::Leaf(_) => LEAF_MAX,
            Self::Inner(_) => INNER_MAX,
        }
    }

    fn rank(&self) -> Rank {
        match self {
            Self::Leaf(rows) => {
                rows.iter().fold(Rank::default(), |sum, leaf| sum.plus(Rank::of(leaf.count)))
            }
            Self::Inner(children) => {
                children.iter().fold(Rank::default(), |sum, child| sum.plus(child.rank))
            }
        }
    }
}

impl<M: Measure> Ranked<M> {
    /// Makes an empty multiset whose rows are folded by `measure`.
    pub(crate) fn new(measure: M) -> Self {
        let root = Node { sum: measure.zero(), is_stale: false, body: Body::Leaf(Vec::new()) };
        Self {
            measure,
            heap: Heap::default(),
            nodes: vec![root],
            free: Vec::new(),
            root: 0,
            total: Rank::default(),
        }
    }

    /// How the rows are folded.
    pub(crate) fn measure(&self) -> &M {
        &self.measure
    }

    /// Adds `diff` to a row's count and returns the count before.
    pub(crate) fn add(&mut self, row: &[u8], diff: i64) -> i64 {
        if diff == 0 {
            return 0;
        }
        let Added { before, split } = self.add_below(self.root, row, diff);
        self.total.change(before, before.wrapping_add(diff));
        if let Some(right) = split {
            let rank = self.nodes[self.root as usize].body.rank();
            let left = Child { low: Box::default(), node: self.root, rank };
            self.root = self.put(Body::Inner(vec![left, right]));
        }
        while let Body::Inner(children) = &self.nodes[self.root as usize].body {
            let [only] = children.as_slice() else { break };
            let root = only.node;
            self.drop_node(self.root);
            self.root = root;
        }
        before
    }

    fn add_below(&mut self, at: u32, row: &[u8], diff: i64) -> Added {
        let node = &mut self.nodes[at as usize];
        node.is_stale = true;
        let Body::Inner(children) = &node.body else {
            return self.add_to_leaf(at, row, diff);
        };
        let slot = children.partition_point(|child| &*child.low <= row).saturating_sub(1);
        let child = children[slot].node;
        let added = self.add_below(child, row, diff);
        let before = added.before;
        let children = self.children_mut(at);
        children[slot].rank.change(before, before.wrapping_add(diff));
        match added.split {
            Some(right) => {
                let left = children[slot].rank;
                children[slot].rank = Rank {
                    rows: left.rows.wrapping_sub(right.rank.rows),
                    entries: left.entries.wrapping_sub(right.rank.entries),
                };
                children.insert(slot + 1, right);
            }
            None => self.merge(at, slot),
        }
        Added { before, split: self.split(at) }
    }

    fn add_to_leaf(&mut self, at: u32, row: &[u8], diff: i64) -> Added {
        let Self { heap, nodes, .. } = self;
        let Body::Leaf(rows) = &mut nodes[at as usize].body else {
            unreachable!("inner nodes are entered, not added to")
        };
        let before = match rows.binary_search_by(|leaf| heap.get(leaf.place).cmp(row)) {
            Ok(found) => {
                let before = rows[found].count;
                rows[found].count = before.wrapping_add(diff);
                if rows[found].count == 0 {
                    heap.free(rows.remove(found).place);
                }
                before
            }
            Err(slot) => {
                rows.insert(slot, Leaf { place: heap.put(row), count: diff });
                0
            }
        };
        Added { before, split: self.split(at) }
    }

    fn children_mut(&mut self, at: u32) -> &mut Vec<Child> {
        match &mut self.nodes[at as usize].body {
            Body::Inner(children) => children,
            Body::Leaf(_) => unreachable!("only inner nodes have children"),
        }
    }

    /// Cuts a node that is too long; returns its right half.
    fn split(&mut self, at: u32) -> Option<Child> {
        let Self { heap, nodes, .. } = self;
        let body = &mut nodes[at as usize].body;
        if body.len() <= body.limit() {
            return None;
        }
        let half = body.len() / 2;
        let (low, right) = match body {
            Body::Leaf(rows) => {
                let right = rows.split_off(half);
                (heap.get(right[0].place).into(), Body::Leaf(right))
            }
            Body::Inner(children) => {
                let mut right = children.split_off(half);
                (std::mem::take(&mut right[0].low), Body::Inner(right))
            }
        };
        let rank = right.rank();
        Some(Child { low, node: self.put(right), rank })
    }

    /// Removes a child without rows; joins one with few rows with a neighbour.
    fn merge(&mut self, at: u32, slot: usize) {
        let children = self.children_mut(at);
        let child = children[slot].node;
        let neighbours = children.len();
        let body = &self.nodes[child as usize].body;
        let (length, limit) = (body.len(), body.limit());
        if length == 0 && neighbours > 1 {
            self.children_mut(at).remove(slot);
            self.drop_node(child);
            return;
        }
        if length >= limit / 4 || neighbours < 2 {
            return;
        }
        let left = if slot + 1 < neighbours { slot } else { slot - 1 };
        let children = self.children_mut(at);
        let (to, from) = (children[left].node, children[left + 1].node);
        let together = self.nodes[to as usize].body.len() + self.nodes[from as usize].body.len();
        if together > limit * 3 / 4 {
            return;
        }
        let Child { low, rank, .. } = self.children_mut(at).remove(left + 1);
        let body = std::mem::replace(&mut self.nodes[from as usize].body, Body::Leaf(Vec::new()));
        self.drop_node(from);
        let node = &mut self.nodes[to as usize];
        node.is_stale = true;
        match (&mut node.body, body) {
            (Body::Leaf(rows), Body::Leaf(more)) => rows.extend(more),
            (Body::Inner(children), Body::Inner(mut more)) => {
                more[0].low = low;
                children.extend(more);
            }
            (Body::Leaf(_), Body::Inner(_)) | (Body::Inner(_), Body::Leaf(_)) => {
                unreachable!("all leaves are equally deep")
            }
        }
        let children = self.children_mut(at);
        children[left].rank = children[left].rank.plus(rank);
    }

    fn put(&mut self, body: Body) -> u32 {
        let node = Node { sum: self.measure.zero(), is_stale: true, body };
        match self.free.pop() {
            Some(at) => {
                self.nodes[at as usize] = node;
                at
            }
            None => {
                self.nodes.push(node);
                number(self.nodes.len() - 1)
            }
        }
    }

    fn drop_node(&mut self, at: u32) {
        let node = &mut self.nodes[at as usize];
        node.body = Body::Leaf(Vec::new());
        node.sum = self.measure.zero();
        self.free.push(at);
    }

    /// Folds the sums anew where rows changed. Until then [`sum`](Self::sum) must not be asked.
    pub(crate) fn refresh(&mut self) {
        self.refresh_below(self.root);
    }

    fn refresh_below(&mut self, at: u32) {
        if !self.nodes[at as usize].is_stale {
            return;
        }
        let children = match &self.nodes[at as usize].body {
            Body::Leaf(_) => 0,
            Body::Inner(children) => children.len(),
        };
        for slot in 0..children {
            let child = self.children_mut(at)[slot].node;
            self.refresh_below(child);
        }
        let mut sum = self.measure.zero();
        match &self.nodes[at as usize].body {
            Body::Leaf(rows) => {
                for leaf in rows.iter().filter(|leaf| leaf.count > 0) {
                    self.measure.add(&mut sum, self.heap.get(leaf.place), leaf.count);
                }
            }
            Body::Inner(children) => {
                for child in children {
                    self.measure.join(&mut sum, &self.nodes[child.node as usize].sum);
                }
            }
        }
        let node = &mut self.nodes[at as usize];
        node.sum = sum;
        node.is_stale = false;
    }

    /// How many rows there are.
    #[cfg(test)]
    pub(crate) fn total(&self) -> Rank {
        self.total
    }

    /// How many rows come before the first one that `is_before` does not hold for.
    ///
    /// `is_before` must hold for a first part of all rows and for no other.
    pub(crate) fn rank(&self, is_before: impl Fn(&[u8]) -> bool) -> Rank {
        let mut rank = Rank::default();
        let mut at = self.root;
        loop {
            match &self.nodes[at as usize].body {
                Body::Leaf(rows) => {
                    let end = rows.partition_point(|leaf| is_before(self.heap.get(leaf.place)));
                    return rows[..end]
                        .iter()
                        .fold(rank, |sum, leaf| sum.plus(Rank::of(leaf.count)));
                }
                Body::Inner(children) => {
                    let end = children.partition_point(|child| is_before(&child.low));
                    let slot = end.saturating_sub(1);
                    rank = children[..slot].iter().fold(rank, |sum, child| sum.plus(child.rank));
                    at = children[slot].node;
                }
            }
        }
    }

    /// The row with a copy at a place.
    pub(crate) fn at(&self, place: u64) -> Option<Entry<'_>> {
        self.find(place, |rank| rank.rows)
    }

    /// The row that so many different ones come before.
    pub(crate) fn entry(&self, index: u64) -> Option<Entry<'_>> {
        self.find(index, |rank| rank.entries)
    }

    fn find(&self, index: u64, size: impl Fn(Rank) -> u64) -> Option<Entry<'_>> {
        let mut before = Rank::default();
        let mut at = self.root;
        loop {
            match &self.nodes[at as usize].body {
                Body::Leaf(rows) => {
                    for leaf in rows {
                        let next = before.plus(Rank::of(leaf.count));
                        if index < size(next) {
                            let (row, count) = (self.heap.get(leaf.place), leaf.count);
                            return Some(Entry { row, place: before.rows, count });
                        }
                        before = next;
                    }
                    return None;
                }
                Body::Inner(children) => {
                    let mut found = None;
                    for child in children {
                        let next = before.plus(child.rank);
                        if index < size(next) {
                            found = Some(child.node);
                            break;
                        }
                        before = next;
                    }
                    at = found?;
                }
            }
        }
    }

    /// Shows every row with a copy in the places `[from, to)`, in order.
    pub(crate) fn visit<'a>(&'a self, from: u64, to: u64, visit: &mut impl FnMut(Entry<'a>)) {
        if from < to {
            self.visit_below(self.root, 0, (from, to), visit);
        }
    }

    fn visit_below<'a>(
        &'a self,
        at: u32,
        mut place: u64,
        (from, to): (u64, u64),
        visit: &mut impl FnMut(Entry<'a>),
    ) {
        match &self.nodes[at as usize].body {
            Body::Leaf(rows) => {
                for leaf in rows {
                    let next = place.wrapping_add(Rank::of(leaf.count).rows);
                    if place >= to {
                        return;
                    }
                    if next > from && next > place {
                        let row = self.heap.get(leaf.place);
                        visit(Entry { row, place, count: leaf.count });
                    }
                    place = next;
                }
            }
            Body::Inner(children) => {
                for child in children {
                    let next = place.wrapping_add(child.rank.rows);
                    if place >= to {
                        return;
                    }
                    if next > from {
                        self.visit_below(child.node, place, (from, to), visit);
                    }
                    place = next;
                }
            }
        }
    }

    /// Adds the rows at the places `[from, to)` to a sum.
    pub(crate) fn sum(&self, from: u64, to: u64, sum: &mut M::Sum) {
        if from < to {
            self.sum_below(self.root, 0, (from, to), sum);
        }
    }

    fn sum_below(&self, at: u32, mut place: u64, (from, to): (u64, u64), sum: &mut M::Sum) {
        match &self.nodes[at as usize].body {
            Body::Leaf(rows) => {
                for leaf in rows {
                    let next = place.wrapping_add(Rank::of(leaf.count).rows);
                    let copies = next.min(to).saturating_sub(place.max(from));
                    if copies > 0 {
                        let row = self.heap.get(leaf.place);
                        self.measure.add(sum, row, copies.cast_signed());
                    }
                    place = next;
                }
            }
            Body::Inner(children) => {
                for child in children {
                    let next = place.wrapping_add(child.rank.rows);
                    if from <= place && next <= to {
                        self.measure.join(sum, &self.nodes[child.node as usize].sum);
                    } else if place < to && next > from {
                        self.sum_below(child.node, place, (from, to), sum);
                    }
                    place = next;
                }
            }
        }
    }

    /// How much is held.
    pub(crate) fn size(&self) -> StateSize {
        let node = size_of::<Node<M::Sum>>();
        let rows = usize::try_from(self.total.entries).unwrap_or(usize::MAX);
        let bytes = self.heap.bytes()
            + self.nodes.len() * node
            + rows * (size_of::<Leaf>() + size_of::<Child>() / INNER_MAX);
        StateSize { rows, bytes }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Concatenates first bytes: not commutative, so the order of joining shows.
    struct Text;

    impl Measure for Text {
        type Sum = Vec<u8>;

        fn zero(&self) -> Vec<u8> {
            Vec::new()
        }

        fn add(&self, sum: &mut Vec<u8>, row: &[u8], times: i64) {
            for _ in 0..times {
                sum.push(row[1]);
            }
        }

        fn join(&self, sum: &mut Vec<u8>, other: &Vec<u8>) {
            sum.extend_from_slice(other);
        }
    }

    /// The rows, one byte string for each copy.
    fn copies(model: &BTreeMap<[u8; 2], i64>) -> Vec<[u8; 2]> {
        let copies = |(row, count): (&[u8; 2], &i64)| vec![*row; usize::try_from(*count).unwrap()];
        model.iter().flat_map(copies).collect()
    }

    fn check(rows: &mut Ranked<Text>, model: &BTreeMap<[u8; 2], i64>, seed: u64) {
        rows.refresh();
        let all = copies(model);
        let total = all.len() as u64;
        assert_eq!(rows.total(), Rank { rows: total, entries: model.len() as u64 });
        let probe = (seed % 65_536).to_be_bytes();
        let bound = [probe[6], probe[7]];
        let rank = rows.rank(|row| row < &bound[..]);
        assert_eq!(rank.rows, all.iter().filter(|row| **row < bound).count() as u64);
        assert_eq!(rank.entries, model.range(..bound).count() as u64);
        let (from, to) = (seed % (total + 1), seed / 7 % (total + 2));
        let size = |count: u64| usize::try_from(count).unwrap();
        let part = |from: u64, to: u64| -> Vec<[u8; 2]> {
            all.iter().skip(size(from)).take(size(to.saturating_sub(from))).copied().collect()
        };
        let mut sum = Vec::new();
        rows.sum(from, to, &mut sum);
        assert_eq!(sum, part(from, to).iter().map(|row| row[1]).collect::<Vec<_>>());
        let mut seen = Vec::new();
        rows.visit(from, to, &mut |entry| seen.push(entry.row.to_vec()));
        let mut wanted: Vec<Vec<u8>> = part(from, to).iter().map(|row| row.to_vec()).collect();
        wanted.dedup();
        assert_eq!(seen, wanted);
        let found = rows.at(from);
        assert_eq!(found.map(|entry| entry.row), all.get(size(from)).map(|row| &row[..]));
        let entry = rows.entry(rank.entries);
        assert_eq!(
            entry.map(|entry| entry.row),
            model.range(bound..).next().map(|(row, _)| &row[..])
        );
        assert!(entry.is_none_or(|entry| entry.place == rank.rows));
    }

    #[test]
    fn places_sums_and_rows_are_those_of_a_sorted_list() {
        let mut seed = 7_u64;
        let mut next = || {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            seed >> 24
        };
        let mut rows = Ranked::new(Text);
        let mut model = BTreeMap::new();
        // Grows to several levels, shrinks to nothing, and grows again.
        for phase in [9, 2, 0, 9, 0] {
            for _ in 0..4_000 {
                let bytes = (next() % 5_000).to_be_bytes();
                let row = [bytes[6], bytes[7]];
                let held = model.get(&row).copied().unwrap_or(0);
                let diff = if next() % 10 < phase { 1 + (next() % 2).cast_signed() } else { -held };
                assert!(diff == 0 || rows.add(&row, diff) == held);
                match held + diff {
                    0 => model.remove(&row),
                    count => model.insert(row, count),
                };
                if next() % 40 == 0 {
                    check(&mut rows, &model, next());
                }
            }
            if phase == 0 {
                for (row, count) in std::mem::take(&mut model) {
                    assert_eq!(rows.add(&row, -count), count);
                }
                check(&mut rows, &model, next());
                assert_eq!(rows.heap.bytes(), 0);
                assert_eq!(rows.nodes.len() - rows.free.len(), 1, "one empty leaf is left");
            }
        }
    }
}
