//! A hash table of numbers, made so that many look-ups wait for memory together.
//!
//! A look-up in a large table waits for memory, and the next one waits behind it. Here a block of look-ups first
//! [touches](Index::touch) the places where all of them begin: those loads do not depend on each other, so the
//! processor makes them at once. That needs a table whose places are known from outside, so this is one of its own: open
//! addressing with linear probing (Knuth, The Art of Computer Programming 3, 6.4), and deletion by moving entries back
//! (algorithm R there), so nothing is left behind by what goes.

use super::NONE;

/// The look-ups of a block.
pub(super) const BLOCK: usize = 64;

/// Slots at first.
const SLOTS_MIN: usize = 16;

/// Numbers by tag: a key itself, or its hash.
#[derive(Default)]
pub(super) struct Index {
    /// A power of two of them, or none.
    slots: Vec<Slot>,
    len: usize,
}

#[derive(Clone, Copy)]
struct Slot {
    tag: u64,
    /// [`NONE`] when the slot is empty.
    number: u32,
}

const EMPTY: Slot = Slot { tag: 0, number: NONE };

impl Index {
    /// The number with the tag, whose hash is given, for which `is_it` is true.
    #[inline]
    pub(super) fn find(&self, hash: u64, tag: u64, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(hash);
        loop {
            let slot = self.slots[at];
            if slot.number == NONE {
                return None;
            }
            if slot.tag == tag && is_it(slot.number) {
                return Some(slot.number);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    /// Adds a number that is not there. `hash_of` is the hash of a tag.
    pub(super) fn insert(&mut self, tag: u64, number: u32, hash_of: impl Fn(u64) -> u64) {
        // Three of four slots are used at most.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            let larger = vec![EMPTY; (self.slots.len() * 2).max(SLOTS_MIN)];
            let smaller = std::mem::replace(&mut self.slots, larger);
            for slot in smaller.into_iter().filter(|slot| slot.number != NONE) {
                self.put(slot, hash_of(slot.tag));
            }
        }
        self.put(Slot { tag, number }, hash_of(tag));
        self.len += 1;
    }

    /// Removes a number. `hash_of` is the hash of a tag.
    ///
    /// # Panics
    /// When it is not there.
    pub(super) fn remove(&mut self, tag: u64, number: u32, hash_of: impl Fn(u64) -> u64) {
        assert!(self.len > 0, "the number is there");
        let mask = self.slots.len() - 1;
        let mut hole = self.home(hash_of(tag));
        while self.slots[hole].number != number {
            assert_ne!(self.slots[hole].number, NONE, "the number is there");
            hole = (hole + 1) & mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot.number == NONE {
                break;
            }
            // An entry may move back to the hole unless it begins behind it.
            let way = at.wrapping_sub(self.home(hash_of(slot.tag))) & mask;
            if way >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = slot;
                hole = at;
            }
        }
        self.slots[hole] = EMPTY;
        self.len -= 1;
    }

    /// Brings the places where look-ups begin into the processor's cache, all at once. `also` may read what a number
    /// with the right tag leads to; what is returned is only to be read.
    pub(super) fn touch(&self, hashes: &[u64], tags: &[u64], also: impl Fn(u32) -> u64) {
        if self.slots.len() < BLOCK {
            return;
        }
        let mut seen = 0;
        for (&hash, &tag) in hashes.iter().zip(tags) {
            let slot = self.slots[self.home(hash)];
            seen ^= slot.tag;
            if slot.tag == tag && slot.number != NONE {
                seen ^= also(slot.number);
            }
        }
        std::hint::black_box(seen);
    }

    /// How many numbers there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// All tags with their numbers, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        let used = self.slots.iter().filter(|slot| slot.number != NONE);
        used.map(|slot| (slot.tag, slot.number))
    }

    /// The bytes of its memory.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }

    fn put(&mut self, slot: Slot, hash: u64) {
        let mask = self.slots.len() - 1;
        let mut at = self.home(hash);
        while self.slots[at].number != NONE {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    /// Where the look-up of a hash begins: its highest bits say.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        let shift = 64 - self.slots.len().trailing_zeros();
        usize::try_from(hash >> shift).expect("fewer slots than addresses")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_knows_what_a_map_knows() {
        // A bad hash on purpose: all entries meet.
        for hash_of in [|tag: u64| tag << 61, |tag: u64| tag.wrapping_mul(0x9e37_79b9_7f4a_7c15)] {
            let mut index = Index::default();
            let mut known = std::collections::BTreeMap::new();
            let mut state = 1_u64;
            for number in 0..5_000_u32 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let tag = state >> 56;
                match known.remove(&tag) {
                    Some(number) => index.remove(tag, number, hash_of),
                    None => {
                        index.insert(tag, number, hash_of);
                        known.insert(tag, number);
                    }
                }
                index.touch(&[hash_of(tag)], &[tag], u64::from);
                for tag in 0..256 {
                    assert_eq!(index.find(hash_of(tag), tag, |_| true), known.get(&tag).copied());
                }
            }
            assert_eq!(index.len, known.len());
        }
    }
}
