//! A multiset of words for each group, of which the least and the greatest are asked for.
//!
//! A short multiset is a list in no order, with its least and its greatest word beside it: a word that comes is put at
//! the end and compared with both, and only when one of them goes is the list looked through. A word that is there
//! several times is in the list several times. A long multiset, and one in which a word is owed (inside of a step, what
//! goes may come before what came), is a tree.
//!
//! Lists lie in places of 4, 8, 16, … words, which are used again when a list has moved to a larger one.

use std::collections::BTreeMap;

use crate::arrangement::{Pages, StateSize, TOUCHED_ROWS, number};

/// A list has so many words at most.
const LIST_WORDS_MAX: u32 = 128;

/// The words of the smallest place.
const PLACE_WORDS: u32 = 4;

/// Words of each group.
pub(super) struct Multisets {
    lists: Vec<List>,
    words: Pages,
    /// Free places by class.
    free: Vec<Vec<u32>>,
    trees: BTreeMap<u32, BTreeMap<u64, i64>>,
}

#[derive(Clone, Copy, Default)]
struct List {
    least: u64,
    greatest: u64,
    /// The first row of words.
    start: u32,
    len: u32,
    class: Class,
}

/// Where a group's words are.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Class {
    #[default]
    Nowhere,
    /// In a place of 2ⁿ rows of [`PLACE_WORDS`] words.
    Place(u8),
    Tree,
}

impl List {
    fn room(self) -> u32 {
        match self.class {
            Class::Place(class) => PLACE_WORDS << class,
            Class::Nowhere | Class::Tree => 0,
        }
    }

    /// How many rows of words it takes.
    fn rows(self) -> usize {
        (self.room() / PLACE_WORDS) as usize
    }
}

impl Default for Multisets {
    fn default() -> Self {
        let words = Pages::new(PLACE_WORDS as usize);
        Self { lists: Vec::new(), words, free: Vec::new(), trees: BTreeMap::new() }
    }
}

impl Multisets {
    /// Makes room for groups below `upper`.
    pub(super) fn reserve(&mut self, upper: usize) {
        if self.lists.len() < upper {
            self.lists.resize(upper, List::default());
        }
    }

    /// Adds each word to its group as often as its weight says.
    pub(super) fn add(
        &mut self,
        groups: &[u32],
        words: impl Iterator<Item = u64>,
        weights: &[i64],
    ) {
        for (row, ((&group, word), &weight)) in groups.iter().zip(words).zip(weights).enumerate() {
            if row % TOUCHED_ROWS == 0 {
                self.touch(&groups[row..groups.len().min(row + TOUCHED_ROWS)]);
            }
            if weight != 0 {
                self.add_one(group, word, weight);
            }
        }
    }

    /// How often a word is there.
    pub(super) fn count(&self, group: u32, word: u64) -> i64 {
        let list = self.lists[group as usize];
        if list.class == Class::Tree {
            return self.trees[&group].get(&word).copied().unwrap_or(0);
        }
        i64::from(number(self.of(list).iter().filter(|&&other| other == word).count()))
    }

    /// The least and the greatest word that is there.
    pub(super) fn range(&self, group: u32) -> Option<(u64, u64)> {
        let list = self.lists.get(group as usize)?;
        match list.class {
            Class::Nowhere => None,
            Class::Place(_) => Some((list.least, list.greatest)),
            Class::Tree => {
                let tree = &self.trees[&group];
                let mut there = tree.iter().filter(|&(_, &count)| count > 0).map(|(&word, _)| word);
                let first = there.clone().next()?;
                Some((first, there.next_back().unwrap_or(first)))
            }
        }
    }

    /// Forgets all words of a group.
    pub(super) fn forget(&mut self, group: u32) {
        if let Some(list) = self.lists.get_mut(group as usize) {
            let list = std::mem::take(list);
            self.free_place(list);
            if list.class == Class::Tree {
                self.trees.remove(&group);
            }
        }
    }

    pub(super) fn size(&self) -> StateSize {
        let in_trees: usize = self.trees.values().map(BTreeMap::len).sum();
        let in_lists: usize = self.lists.iter().map(|list| list.len as usize).sum();
        let free: usize = self.free.iter().map(|free| free.capacity() * 4).sum();
        let lists = self.lists.capacity() * size_of::<List>() + self.words.bytes();
        StateSize { rows: in_lists + in_trees, bytes: lists + free + in_trees * 24 }
    }

    /// The words of a list.
    fn of(&self, list: List) -> &[u64] {
        match list.class {
            Class::Place(_) => &self.words.slice(list.start, list.rows())[..list.len as usize],
            Class::Nowhere | Class::Tree => &[],
        }
    }

    /// Brings what some groups' lists end with into the processor's cache, all at once.
    fn touch(&self, groups: &[u32]) {
        let last = |&group: &u32| {
            let List { start, len, .. } = self.lists[group as usize];
            let last = self.words.get(start + len / PLACE_WORDS);
            last.map_or(0, |words| words[0])
        };
        std::hint::black_box(groups.iter().map(last).fold(0, |seen, word| seen ^ word));
    }

    /// Adds a word as often as its weight, which is not 0, says.
    pub(super) fn add_one(&mut self, group: u32, word: u64, weight: i64) {
        let list = self.lists[group as usize];
        let fits = match weight {
            1 => list.class != Class::Tree && list.len < LIST_WORDS_MAX,
            -1 => list.class != Class::Tree && self.remove(group, word),
            _ => false,
        };
        match fits {
            true if weight > 0 => self.push(group, word),
            true => {}
            false => {
                let tree = self.tree(group);
                let count = tree.entry(word).or_default();
                *count += weight;
                if *count == 0 {
                    tree.remove(&word);
                    if tree.is_empty() {
                        self.forget(group);
                    }
                }
            }
        }
    }

    fn push(&mut self, group: u32, word: u64) {
        let mut list = self.lists[group as usize];
        if list.len == list.room() {
            list = self.move_to_larger(list);
        }
        list.least = if list.len == 0 { word } else { list.least.min(word) };
        list.greatest = if list.len == 0 { word } else { list.greatest.max(word) };
        self.words.slice_mut(list.start, list.rows())[list.len as usize] = word;
        list.len += 1;
        self.lists[group as usize] = list;
    }

    /// Removes a word from a list; false when it is not there.
    fn remove(&mut self, group: u32, word: u64) -> bool {
        let mut list = self.lists[group as usize];
        if list.len == 0 {
            return false;
        }
        let words = &mut self.words.slice_mut(list.start, list.rows())[..list.len as usize];
        let Some(at) = words.iter().position(|&other| other == word) else { return false };
        let last = words.len() - 1;
        words.swap(at, last);
        list.len -= 1;
        if list.len == 0 {
            self.free_place(list);
            list = List::default();
        } else if word == list.least || word == list.greatest {
            let left = &words[..last];
            list.least = left.iter().copied().min().unwrap_or_default();
            list.greatest = left.iter().copied().max().unwrap_or_default();
        }
        self.lists[group as usize] = list;
        true
    }

    /// A group's tree, which its list becomes.
    fn tree(&mut self, group: u32) -> &mut BTreeMap<u64, i64> {
        let list = self.lists[group as usize];
        if list.class != Class::Tree {
            let mut tree = BTreeMap::new();
            for &word in self.of(list) {
                *tree.entry(word).or_default() += 1;
            }
            self.trees.insert(group, tree);
            self.lists[group as usize] = List { class: Class::Tree, ..List::default() };
            self.free_place(list);
        }
        self.trees.get_mut(&group).expect("a group that has a tree")
    }

    fn move_to_larger(&mut self, list: List) -> List {
        let class = match list.class {
            Class::Place(class) => class + 1,
            Class::Nowhere | Class::Tree => 0,
        };
        let free = self.free.get_mut(usize::from(class)).and_then(Vec::pop);
        let rows = 1 << class;
        let start = free.unwrap_or_else(|| {
            // Places are no larger than a page, and of sizes that fill it.
            let start = self.words.rows() + self.words.gap(rows);
            for row in self.words.rows()..start {
                self.free_place(List { start: number(row), class: Class::Place(0), ..list });
            }
            self.words.reserve(start + rows);
            number(start)
        });
        self.words.copy(list.start, start, number(list.rows()));
        self.free_place(list);
        List { start, class: Class::Place(class), ..list }
    }

    fn free_place(&mut self, list: List) {
        let Class::Place(class) = list.class else { return };
        let class = usize::from(class);
        if self.free.len() <= class {
            self.free.resize_with(class + 1, Vec::new);
        }
        self.free[class].push(list.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_a_map_of_counts_is() {
        let mut sets = Multisets::default();
        sets.reserve(3);
        let mut known: Vec<BTreeMap<u64, i64>> = vec![BTreeMap::new(); 3];
        let mut state = 7_u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) % below
        };
        for round in 0..40_000_u64 {
            // Groups grow for a while, then shrink; some words are owed for a moment.
            let group = number(usize::try_from(next(3)).unwrap());
            let word = next(if round % 8_000 < 4_000 { 40 } else { 400 });
            let count = known[group as usize].get(&word).copied().unwrap_or(0);
            let weight = match next(20) {
                0 => 3,
                1 => -2,
                2..8 => -1,
                8..14 if round % 9_000 > 4_000 => -count.min(1),
                _ => 1,
            };
            assert_eq!(sets.count(group, word), count);
            sets.add(&[group], std::iter::once(word), &[weight]);
            let map = &mut known[group as usize];
            *map.entry(word).or_default() += weight;
            map.retain(|_, count| *count != 0);
            let mut there = map.iter().filter(|&(_, &count)| count > 0).map(|(&word, _)| word);
            let first = there.clone().next();
            let range = first.map(|first| (first, there.next_back().unwrap_or(first)));
            assert_eq!(sets.range(group), range);
            if round % 5_000 == 4_999 {
                sets.forget(group);
                known[group as usize].clear();
            }
        }
        for group in 0..3 {
            sets.forget(group);
        }
        assert_eq!(sets.size().rows, 0);
        let free: u32 =
            (0..).zip(&sets.free).map(|(class, free)| number(free.len()) << class).sum();
        assert_eq!(free as usize, sets.words.rows(), "every place is free");
    }
}
