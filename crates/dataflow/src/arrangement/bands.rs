//! Intervals of the rows of long runs: which of a key's rows does an interval meet?
//!
//! Every row has an interval of words, and two meet when each begins before the other ends, or just there. Those of a key lie in a *priority search tree*: a search tree by the lower
//! ends, in which each node knows the greatest upper end below it.
//!
//! ```text
//!                 [4, 9] ≤ 12               meets [10, 11]? Only what begins at 11 or before, so not beyond 11 to
//!                /           \              the right, and what ends at 10 or behind, so not below a node whose
//!        [1, 3] ≤ 12      [8, 8] ≤ 8        greatest end is less: the right half is not entered at all.
//!             \
//!           [2, 12] ≤ 12
//! ```
//!
//! Every subtree that is entered by its greatest end holds a row that is found, but for those on one path, so a search
//! costs the logarithm of the number of rows for each row that it finds, and once more. The tree is balanced as a
//! *treap* is: above stands who has the greater hash of its place, which needs no memory and is the same in every run.
//!
//! A row is named by its place within its run. Runs that are short have no tree: looking at all of their rows costs no
//! more.
//!
//! Invariant: a key has a tree exactly while its run is long, and the tree's places are those of the run.

use std::collections::BTreeMap;

use super::keys::hash_words;
use super::{NONE, number};

/// Which rows of another side a row may meet, as words that are ordered like the values they stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interval {
    /// None: one of its ends is NULL.
    Nothing,
    /// All: its ends cannot be computed, which whoever pairs it must find out.
    Anything,
    /// Those whose interval begins at the second word or before, and ends at the first or behind. The second may be less
    /// than the first.
    Between(u128, u128),
}

/// The intervals of the rows of each long run.
#[derive(Default)]
pub(crate) struct Bands {
    trees: BTreeMap<u32, Tree>,
}

/// What a search found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Met {
    /// The places within the run.
    pub(crate) places: Vec<u32>,
    /// How many rows were looked at.
    pub(crate) touched: u64,
}

struct Tree {
    /// By place.
    nodes: Vec<Node>,
    root: u32,
    /// The places of rows that may meet anything, ascending.
    unknown: Vec<u32>,
}

#[derive(Clone, Copy)]
struct Node {
    interval: Interval,
    /// The greatest upper end of the nodes below, and its own.
    greatest: u128,
    left: u32,
    right: u32,
}

impl Bands {
    /// Whether a key has a tree.
    pub(crate) fn has(&self, key: u32) -> bool {
        self.trees.contains_key(&key)
    }

    /// Sets the intervals of some places of a key, of which there are `len` from now on. Every place that is new is
    /// among them.
    pub(crate) fn set(&mut self, key: u32, len: u32, places: &[u32], intervals: &[Interval]) {
        let tree = self.trees.entry(key).or_default();
        tree.truncate(len);
        for (&place, &interval) in places.iter().zip(intervals) {
            tree.set(place, interval);
        }
    }

    /// Forgets a key.
    pub(crate) fn forget(&mut self, key: u32) {
        self.trees.remove(&key);
    }

    /// Forgets all keys.
    pub(crate) fn clear(&mut self) {
        self.trees.clear();
    }

    /// Adds the places of a key's rows that meet an interval, in an order that follows from what the tree holds.
    pub(crate) fn search(&self, key: u32, wanted: Interval, met: &mut Met) {
        let Some(tree) = self.trees.get(&key) else { return };
        match wanted {
            Interval::Anything => {
                met.touched += tree.nodes.len() as u64;
                met.places.extend(0..number(tree.nodes.len()));
            }
            Interval::Nothing => tree.add_unknown(met),
            Interval::Between(low, high) => {
                tree.add_unknown(met);
                tree.search(tree.root, (low, high), met);
            }
        }
    }

    /// Bytes in use, about.
    pub(crate) fn bytes(&self) -> usize {
        let tree = |tree: &Tree| {
            size_of::<Tree>() + tree.nodes.capacity() * size_of::<Node>() + tree.unknown.len() * 4
        };
        self.trees.values().map(tree).sum()
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self { nodes: Vec::new(), root: NONE, unknown: Vec::new() }
    }
}

impl Tree {
    fn add_unknown(&self, met: &mut Met) {
        met.touched += self.unknown.len() as u64;
        met.places.extend(&self.unknown);
    }

    /// Forgets the places from `len` on.
    fn truncate(&mut self, len: u32) {
        while self.nodes.len() > len as usize {
            self.take_out(number(self.nodes.len() - 1));
            self.nodes.pop();
        }
    }

    fn set(&mut self, place: u32, interval: Interval) {
        let at = place as usize;
        if at < self.nodes.len() {
            self.take_out(place);
        } else {
            self.nodes.resize(at + 1, Node::NOWHERE);
        }
        self.nodes[at] = Node { interval, ..Node::NOWHERE };
        match interval {
            Interval::Nothing => {}
            Interval::Anything => {
                let slot = self.unknown.partition_point(|&other| other < place);
                self.unknown.insert(slot, place);
            }
            Interval::Between(..) => {
                self.fold(place);
                self.root = self.insert(self.root, place);
            }
        }
    }

    /// Takes a place's row out of the tree, wherever it is.
    fn take_out(&mut self, place: u32) {
        match self.nodes[place as usize].interval {
            Interval::Nothing => {}
            Interval::Anything => self.unknown.retain(|&other| other != place),
            Interval::Between(..) => self.root = self.remove(self.root, place),
        }
        self.nodes[place as usize] = Node::NOWHERE;
    }

    /// What nodes are ordered by.
    fn key(&self, at: u32) -> (u128, u32) {
        (self.nodes[at as usize].ends().0, at)
    }

    /// Computes a node's greatest upper end anew.
    fn fold(&mut self, at: u32) {
        let Node { left, right, .. } = self.nodes[at as usize];
        let below =
            |child: u32| if child == NONE { 0 } else { self.nodes[child as usize].greatest };
        let (_, high) = self.nodes[at as usize].ends();
        self.nodes[at as usize].greatest = high.max(below(left)).max(below(right));
    }

    /// Puts a node without children below a root; returns the root then.
    fn insert(&mut self, root: u32, node: u32) -> u32 {
        if root == NONE {
            return node;
        }
        if stands_above(node, root) {
            let (left, right) = self.split(root, self.key(node));
            (self.nodes[node as usize].left, self.nodes[node as usize].right) = (left, right);
            self.fold(node);
            return node;
        }
        let Node { left, right, .. } = self.nodes[root as usize];
        if self.key(node) < self.key(root) {
            self.nodes[root as usize].left = self.insert(left, node);
        } else {
            self.nodes[root as usize].right = self.insert(right, node);
        }
        self.fold(root);
        root
    }

    /// Cuts a tree into the nodes before a key and those behind it.
    fn split(&mut self, root: u32, key: (u128, u32)) -> (u32, u32) {
        if root == NONE {
            return (NONE, NONE);
        }
        let Node { left, right, .. } = self.nodes[root as usize];
        if self.key(root) < key {
            let (before, behind) = self.split(right, key);
            self.nodes[root as usize].right = before;
            self.fold(root);
            (root, behind)
        } else {
            let (before, behind) = self.split(left, key);
            self.nodes[root as usize].left = behind;
            self.fold(root);
            (before, root)
        }
    }

    /// Removes a node; returns the root then.
    fn remove(&mut self, root: u32, node: u32) -> u32 {
        let Node { left, right, .. } = self.nodes[root as usize];
        if root == node {
            return self.join(left, right);
        }
        if self.key(node) < self.key(root) {
            self.nodes[root as usize].left = self.remove(left, node);
        } else {
            self.nodes[root as usize].right = self.remove(right, node);
        }
        self.fold(root);
        root
    }

    /// Joins two trees, all of whose nodes are before and behind each other.
    fn join(&mut self, left: u32, right: u32) -> u32 {
        if left == NONE || right == NONE {
            return left.min(right);
        }
        if stands_above(left, right) {
            let below = self.nodes[left as usize].right;
            self.nodes[left as usize].right = self.join(below, right);
            self.fold(left);
            left
        } else {
            let below = self.nodes[right as usize].left;
            self.nodes[right as usize].left = self.join(left, below);
            self.fold(right);
            right
        }
    }

    fn search(&self, root: u32, (low, high): (u128, u128), met: &mut Met) {
        let mut at = root;
        while at != NONE {
            met.touched += 1;
            let node = &self.nodes[at as usize];
            if node.greatest < low {
                return;
            }
            self.search(node.left, (low, high), met);
            let (begins, ends) = node.ends();
            if begins > high {
                return;
            }
            if ends >= low {
                met.places.push(at);
            }
            at = node.right;
        }
    }
}

impl Node {
    const NOWHERE: Self =
        Self { interval: Interval::Nothing, greatest: 0, left: NONE, right: NONE };

    /// The ends of the interval of a node of a tree.
    fn ends(&self) -> (u128, u128) {
        match self.interval {
            Interval::Between(low, high) => (low, high),
            Interval::Nothing | Interval::Anything => unreachable!("it is in no tree"),
        }
    }
}

/// Whether a place's node stands above another's.
fn stands_above(one: u32, other: u32) -> bool {
    let hash = |place: u32| (hash_words(u64::from(place), &[]), place);
    hash(one) > hash(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random() -> impl FnMut(u64) -> u64 {
        let mut state = 7_u64;
        move |below| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        }
    }

    fn interval(next: &mut impl FnMut(u64) -> u64) -> Interval {
        match next(12) {
            0 => Interval::Nothing,
            1 => Interval::Anything,
            // Some end before they begin.
            _ => Interval::Between(u128::from(next(60)), u128::from(next(60))),
        }
    }

    /// What the tree says of every pair, from the definition.
    fn meets(one: Interval, other: Interval) -> bool {
        match (one, other) {
            (Interval::Anything, _) | (_, Interval::Anything) => true,
            (Interval::Nothing, _) | (_, Interval::Nothing) => false,
            (Interval::Between(a, b), Interval::Between(c, d)) => c <= b && d >= a,
        }
    }

    #[test]
    fn a_search_finds_what_a_look_at_every_row_finds() {
        let mut next = random();
        let (mut bands, mut model) = (Bands::default(), Vec::new());
        for round in 0..3_000_u32 {
            // The run grows, then shrinks.
            let (grown, is_growing) = (model.len(), round % 1_000 < 600);
            let mut places = Vec::new();
            if is_growing || grown < 4 {
                model.push(interval(&mut next));
                places.push(number(grown));
            } else {
                model.pop();
            }
            for _ in 0..next(3) {
                let place = next(model.len() as u64 + 1);
                if let Some(held) = model.get_mut(usize::try_from(place).unwrap()) {
                    *held = interval(&mut next);
                    places.push(u32::try_from(place).unwrap());
                }
            }
            let set: Vec<Interval> = places.iter().map(|&at| model[at as usize]).collect();
            bands.set(5, number(model.len()), &places, &set);
            let wanted = interval(&mut next);
            let mut met = Met::default();
            bands.search(5, wanted, &mut met);
            met.places.sort_unstable();
            let should = (0..).zip(&model).filter(|(_, held)| meets(wanted, **held));
            let should: Vec<u32> = should.map(|(at, _)| at).collect();
            assert_eq!(met.places, should, "round {round}, {wanted:?}");
        }
        assert!(bands.has(5) && bands.bytes() > 0);
        bands.forget(5);
        assert_eq!((bands.has(5), bands.bytes()), (false, 0));
    }

    #[test]
    fn a_search_touches_the_logarithm_of_the_rows_and_what_it_finds() {
        let mut next = random();
        for rows in [1_000_u32, 100_000] {
            let mut bands = Bands::default();
            // Points, then intervals of width ten, then all ends that are not bounded below.
            for (key, low, high) in [(0, 0, 0), (1, 0, 10), (2, u128::MAX, 0)] {
                let places: Vec<u32> = (0..rows).collect();
                let ends = |_: &u32| {
                    let at = u128::from(next(u64::from(rows) * 10));
                    let low = if low == u128::MAX { 0 } else { at + low };
                    Interval::Between(low, at + high)
                };
                let intervals: Vec<Interval> = places.iter().map(ends).collect();
                bands.set(key, rows, &places, &intervals);
            }
            for key in 0..3 {
                let at = u128::from(rows) * 10 - 40;
                let mut met = Met::default();
                bands.search(key, Interval::Between(at, at + 5), &mut met);
                let most = (met.places.len() as u64 + 2) * u64::from(rows.ilog2()) * 4;
                assert!(met.touched <= most, "{rows} rows, key {key}: {}", met.touched);
                assert!(met.places.len() < 40);
            }
        }
    }
}
