//! Numbers of words, found by their place where words lie close together.
//!
//! Most keys of one word are made by counting: the keys of orders, customers, bids. Among such keys a hash table spends
//! its time on scattering what lay side by side. Here a range of words has an array, with the number of each word at
//! the word's distance from the range's beginning: four bytes a word, one load, and keys of one time in one line of the
//! cache. Words outside of the range are in an [`Index`], and when these turn out to lie close together, they get the
//! range. (Lua's tables are such hybrids: Ierusalimschy, de Figueiredo and Celes, "The Implementation of Lua 5.0", 2005.)
//!
//! The range is never longer than [`SPREAD`] times the words in it when it is made or grows, so the array is not larger
//! than the hash table would be. It follows words that come at one end and go at the other.

use super::NONE;
use super::index::{BLOCK, Index};
use super::keys::mix;

/// The places that a range may have for each word that is in it.
const SPREAD: usize = 4;

/// A range may always have so many.
const PLACES_MIN: usize = 64;

/// When so many words are outside of the range, it is asked for the first time whether they should be inside.
const LOOK_MIN: usize = 256;

/// How many words are looked at in order to find where most of them are.
const SAMPLES: usize = 63;

/// Numbers by word.
pub(super) struct Words {
    /// The word that the first place is for. Words are a circle: the one before 0 is the largest.
    base: u64,
    /// The numbers of the words from `base` on; [`NONE`] for those that are not there.
    places: Vec<u32>,
    /// How many of them are there.
    inside: usize,
    /// How many went since the range's ends were looked at.
    gone: usize,
    outside: Index,
    /// When there are so many outside, they are looked at.
    look: usize,
}

impl Default for Words {
    fn default() -> Self {
        let (places, outside) = (Vec::new(), Index::default());
        Self { base: 0, places, inside: 0, gone: 0, outside, look: LOOK_MIN }
    }
}

impl Words {
    /// The number of a word.
    #[inline]
    pub(super) fn find(&self, word: u64) -> Option<u32> {
        match self.place(word).and_then(|place| self.places.get(place)) {
            Some(&number) => (number != NONE).then_some(number),
            None => self.find_outside(word),
        }
    }

    fn find_outside(&self, word: u64) -> Option<u32> {
        self.outside.find(mix(word), word, |_same| true)
    }

    /// Adds a word that is not there.
    pub(super) fn insert(&mut self, word: u64, number: u32) {
        if self.reach(word) {
            let place = self.place(word).expect("the range reaches it");
            self.places[place] = number;
            self.inside += 1;
            return;
        }
        self.outside.insert(word, number, mix);
        if self.outside.len() >= self.look {
            self.follow();
            self.look = (self.outside.len() * 2).max(LOOK_MIN);
        }
    }

    /// Removes a word.
    ///
    /// # Panics
    /// When it is not there with this number.
    pub(super) fn remove(&mut self, word: u64, number: u32) {
        let Some(place) = self.place(word).and_then(|place| self.places.get_mut(place)) else {
            self.outside.remove(word, number, mix);
            return;
        };
        assert_eq!(*place, number, "the word is there");
        *place = NONE;
        self.inside -= 1;
        self.gone += 1;
    }

    /// Begins to look words up: those of them that are not in the range.
    #[inline]
    pub(super) fn touch(&self, words: impl Iterator<Item = u64>) {
        if self.outside.len() < BLOCK {
            return;
        }
        let (mut tags, mut hashes, mut len) = ([0; BLOCK], [0; BLOCK], 0);
        for word in words {
            (tags[len], hashes[len]) = (word, mix(word));
            len += 1;
        }
        self.outside.touch(&hashes[..len], &tags[..len], |_number| 0);
    }

    /// The bytes of its memory.
    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>() + self.outside.bytes()
    }

    /// How far behind the range's beginning a word is.
    #[inline]
    fn place(&self, word: u64) -> Option<usize> {
        usize::try_from(word.wrapping_sub(self.base)).ok()
    }

    /// The most places that the range may have, with one word more.
    fn room(&self) -> usize {
        ((self.inside + 1) * SPREAD).max(PLACES_MIN)
    }

    /// Makes the range reach a word, if it may.
    fn reach(&mut self, word: u64) -> bool {
        if self.place(word).is_some_and(|place| place < self.places.len()) {
            return true;
        }
        if self.inside == 0 && self.outside.len() == 0 {
            // Whatever was there before: this is the first one, and the next may be on either side of it.
            (self.base, self.gone) = (word.wrapping_sub(PLACES_MIN as u64 / 2), 0);
            self.places.clear();
        }
        self.grow(word) || (self.trim() && self.grow(word))
    }

    /// Moves one of the range's ends to a word, if there is room.
    fn grow(&mut self, word: u64) -> bool {
        let (len, room) = (self.places.len(), self.room());
        if let Some(place) = self.place(word).filter(|&place| place < room) {
            self.places.resize(room.min((place + 1).next_multiple_of(PLACES_MIN)), NONE);
            self.take_in(len..self.places.len());
            return true;
        }
        // All places move, so there must be a good many new ones.
        let below = usize::try_from(self.base.wrapping_sub(word)).unwrap_or(usize::MAX);
        let more = below.max(len / 4 + PLACES_MIN / 4);
        if more > room.saturating_sub(len) {
            return false;
        }
        self.places.splice(0..0, std::iter::repeat_n(NONE, more));
        self.base = self.base.wrapping_sub(more as u64);
        self.take_in(0..more);
        true
    }

    /// Takes in the words of new places that were outside.
    fn take_in(&mut self, new: std::ops::Range<usize>) {
        for place in new {
            if self.outside.len() == 0 {
                return;
            }
            let word = self.base.wrapping_add(place as u64);
            if let Some(number) = self.find_outside(word) {
                self.outside.remove(word, number, mix);
                self.places[place] = number;
                self.inside += 1;
            }
        }
    }

    /// Takes the empty places off the range's ends, once enough went; returns whether it did.
    fn trim(&mut self) -> bool {
        if self.gone == 0 || self.gone < self.places.len() / 2 {
            return false;
        }
        self.gone = 0;
        let is_there = |&number: &u32| number != NONE;
        let last = self.places.iter().rposition(is_there);
        self.places.truncate(last.map_or(0, |last| last + 1));
        let first = self.places.iter().position(is_there).unwrap_or(0);
        self.places.drain(..first);
        self.places.shrink_to(self.places.len() * 2);
        self.base = self.base.wrapping_add(first as u64);
        true
    }

    /// Gives the range to the words outside, if most of them lie close together and there are more of them than inside.
    fn follow(&mut self) {
        let len = self.outside.len();
        let mut samples: Vec<u64> =
            self.outside.iter().step_by((len / SAMPLES).max(1)).map(|(word, _)| word).collect();
        let middle = samples.len() / 2;
        let (_, &mut middle, _) = samples.select_nth_unstable(middle);
        // Whatever the range may become lies here, if its middle is about that.
        let start = middle.wrapping_sub((len * SPREAD / 2) as u64);
        let offset = |word: u64| {
            usize::try_from(word.wrapping_sub(start)).ok().filter(|&offset| offset < len * SPREAD)
        };
        let (mut least, mut greatest, mut found) = (usize::MAX, 0, 0);
        for offset in self.outside.iter().filter_map(|(word, _)| offset(word)) {
            (least, greatest) = (least.min(offset), greatest.max(offset));
            found += 1;
        }
        if found <= self.inside || found < LOOK_MIN / 2 || greatest - least >= found * SPREAD {
            return;
        }
        let (outside, places) =
            (std::mem::take(&mut self.outside), std::mem::take(&mut self.places));
        let before = std::mem::replace(&mut self.base, start.wrapping_add(least as u64));
        self.places = vec![NONE; greatest - least + 1];
        (self.inside, self.gone) = (0, 0);
        let old = (0..).zip(places).map(|(place, number)| (before.wrapping_add(place), number));
        for (word, number) in outside.iter().chain(old.filter(|&(_, number)| number != NONE)) {
            match self.place(word).and_then(|place| self.places.get_mut(place)) {
                Some(place) => {
                    *place = number;
                    self.inside += 1;
                }
                None => self.outside.insert(word, number, mix),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::{
        ProptestConfig, Strategy, prop_assert, prop_assert_eq, prop_oneof, proptest,
    };

    use super::*;

    /// Checks against a map: what is there, and that the memory is bounded.
    fn check(words: &Words, known: &BTreeMap<u64, u32>) {
        for (&word, &number) in known {
            assert_eq!(words.find(word), Some(number));
            for near in [word.wrapping_sub(1), word.wrapping_add(1)] {
                assert_eq!(words.find(near), known.get(&near).copied());
            }
        }
        assert_eq!(words.inside + words.outside.len(), known.len());
    }

    fn filled(all: impl IntoIterator<Item = u64>) -> Words {
        let (mut words, mut known) = (Words::default(), BTreeMap::new());
        for (word, number) in all.into_iter().zip(0..) {
            words.insert(word, number);
            known.insert(word, number);
        }
        check(&words, &known);
        words
    }

    #[test]
    fn words_that_were_counted_are_found_by_their_place() {
        for from in [0, 1_000_000, u64::MAX - 5_000, 1 << 63] {
            let up = filled((0..10_000).map(|at| from.wrapping_add(at)));
            assert_eq!((up.inside, up.outside.len()), (10_000, 0));
            assert!(up.places.len() <= 10_100);
            let down = filled((0..10_000).rev().map(|at| from.wrapping_add(at)));
            assert_eq!((down.inside, down.outside.len()), (10_000, 0));
            assert!(down.places.len() <= 10_000 * SPREAD);
            // Every second one, as one of two workers has them.
            let every = filled((0..10_000).map(|at| from.wrapping_add(at * 2)));
            assert_eq!((every.inside, every.outside.len()), (10_000, 0));
        }
    }

    #[test]
    fn far_words_are_outside_until_they_are_the_most() {
        let far = filled((0..5_000_u64).map(|at| at * 1_000_003));
        assert!(far.outside.len() > 4_900, "{} are inside", far.inside);
        assert!(far.places.len() <= PLACES_MIN * 2);
        // A few small ones, some that are anywhere, then a sequence that begins elsewhere, in no order.
        let mixed = (0..50)
            .chain((0..50).map(mix))
            .chain((0..20_000).map(|at| 3_000_000_000 + at * 7_919 % 20_000));
        let mixed = filled(mixed);
        assert!(mixed.inside >= 20_000, "{} are inside", mixed.inside);
        assert!(mixed.places.len() <= 20_000 * SPREAD);
    }

    #[test]
    fn the_range_follows_words_that_come_and_go() {
        let mut words = Words::default();
        for word in 0..200_000_u64 {
            words.insert(word, u32::try_from(word % 1_000).unwrap());
            if let Some(old) = word.checked_sub(1_000) {
                words.remove(old, u32::try_from(old % 1_000).unwrap());
            }
        }
        assert_eq!((words.inside, words.outside.len()), (1_000, 0));
        assert!(words.places.capacity() <= 1_000 * SPREAD * 2, "{}", words.places.capacity());
    }

    /// Words that are near each other, far from each other, or at the ends.
    fn word() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => 0..600_u64,
            4 => (0..600_u64).prop_map(|at| 1 << 40 | at),
            1 => (0..40_u64).prop_map(mix),
            1 => (0..40_u64).prop_map(|at| u64::MAX - at),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_knows_what_a_map_knows(steps in proptest::collection::vec(word(), 0..4_000)) {
            let (mut words, mut known) = (Words::default(), BTreeMap::new());
            for (word, number) in steps.into_iter().zip(0..) {
                match known.remove(&word) {
                    Some(number) => words.remove(word, number),
                    None => {
                        words.insert(word, number);
                        known.insert(word, number);
                    }
                }
                prop_assert_eq!(words.find(word), known.get(&word).copied());
            }
            check(&words, &known);
            prop_assert!(words.places.len() <= 4_000 * SPREAD + PLACES_MIN);
        }
    }
}
