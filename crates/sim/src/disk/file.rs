//! One file: what programs see of it, what the platter holds, and what a crash makes of the two.
//!
//! Programs write to memory. A sync brings the sectors that were written to the platter. A crash of the machine drops
//! memory, having brought any subset of those sectors there before, each as it was after any of the writes: so writes
//! are lost, torn and reordered. A failed sync leaves sectors that memory believes to be clean although they are not on
//! the platter: the next sync passes them by.
//!
//! Beside what programs see and what the platter holds stands what either would be had the disk kept its word. They
//! differ where a bit rotted, a write was lost or went elsewhere: that is *harm*, and whoever judges a run knows exactly
//! where it is.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::random::Random;

/// Something that was done to a file since its last sync.
#[derive(Clone, Debug)]
enum Op {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// What becomes of one sector at a sync that the disk says went well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Misfortune {
    /// It never reaches the platter.
    Lost,
    /// It is written in another place.
    Misdirected,
}

/// A file.
#[derive(Clone, Debug)]
pub(crate) struct File {
    sector_bytes: usize,
    seen: Vec<u8>,
    /// What programs would see had the disk kept its word. As long as what they see.
    wanted: Vec<u8>,
    platter: Vec<u8>,
    /// What the platter would hold had the disk kept its word. As long as the platter.
    promised: Vec<u8>,
    ops: Vec<Op>,
    /// Sectors that cannot be read until they are written.
    unreadable: BTreeSet<usize>,
}

impl File {
    pub(crate) fn new(sector_bytes: usize) -> Self {
        Self {
            sector_bytes,
            seen: Vec::new(),
            wanted: Vec::new(),
            platter: Vec::new(),
            promised: Vec::new(),
            ops: Vec::new(),
            unreadable: BTreeSet::new(),
        }
    }

    pub(crate) fn length(&self) -> usize {
        self.seen.len()
    }

    /// What programs see.
    pub(crate) fn seen(&self) -> &[u8] {
        &self.seen
    }

    /// The sectors that the platter has.
    pub(crate) fn platter_sectors(&self) -> usize {
        self.platter.len().div_ceil(self.sector_bytes)
    }

    /// Copies as much as there is; `None` when a sector cannot be read.
    pub(crate) fn read(&self, buffer: &mut [u8], offset: usize) -> Option<usize> {
        let from = offset.min(self.seen.len());
        let bytes = &self.seen[from..(offset + buffer.len()).min(self.seen.len()).max(from)];
        if self.sectors(from..from + bytes.len()).any(|sector| self.unreadable.contains(&sector)) {
            return None;
        }
        buffer[..bytes.len()].copy_from_slice(bytes);
        Some(bytes.len())
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let range = offset..offset + bytes.len();
        if self.seen.len() < range.end {
            self.set_length(range.end);
        }
        self.seen[range.clone()].copy_from_slice(bytes);
        self.wanted[range.clone()].copy_from_slice(bytes);
        self.ops.push(Op::Write { offset, bytes: bytes.to_vec() });
        for sector in self.sectors(range) {
            self.unreadable.remove(&sector);
        }
    }

    pub(crate) fn set_length(&mut self, length: usize) {
        if length != self.seen.len() {
            self.seen.resize(length, 0);
            self.wanted.resize(length, 0);
            self.ops.push(Op::Length(length));
        }
    }

    /// Brings everything to the platter but what misfortune befalls; returns the sector's bytes that go elsewhere.
    pub(crate) fn sync(
        &mut self,
        misfortune: Option<Misfortune>,
        random: &mut Random,
    ) -> Option<Vec<u8>> {
        let dirty: Vec<usize> = self.dirty().into_iter().collect();
        self.settle_length();
        let unlucky = misfortune.filter(|_| !dirty.is_empty()).map(|_| random.index(dirty.len()));
        let mut elsewhere = None;
        for (at, &sector) in dirty.iter().enumerate() {
            let range = self.range(sector, self.seen.len());
            self.promised[range.clone()].copy_from_slice(&self.wanted[range.clone()]);
            if unlucky == Some(at) {
                let misdirected = misfortune == Some(Misfortune::Misdirected);
                elsewhere = misdirected.then(|| self.seen[range].to_vec());
            } else {
                self.platter[range.clone()].copy_from_slice(&self.seen[range]);
            }
        }
        self.ops.clear();
        elsewhere
    }

    /// Brings some sectors to the platter; the others count as clean from now on and are not there.
    pub(crate) fn fail_sync(&mut self, random: &mut Random) {
        let dirty = self.dirty();
        self.settle_length();
        for sector in dirty {
            if random.one_in(2) {
                let range = self.range(sector, self.seen.len());
                self.platter[range.clone()].copy_from_slice(&self.seen[range.clone()]);
                self.promised[range.clone()].copy_from_slice(&self.wanted[range]);
            }
        }
        self.ops.clear();
    }

    /// Drops from memory what counts as clean, so that it is read from the platter.
    pub(crate) fn evict(&mut self) {
        let dirty = self.dirty();
        for sector in 0..self.seen.len().div_ceil(self.sector_bytes) {
            let range = self.range(sector, self.seen.len().min(self.platter.len()));
            if !dirty.contains(&sector) {
                self.seen[range.clone()].copy_from_slice(&self.platter[range.clone()]);
                self.wanted[range.clone()].copy_from_slice(&self.promised[range]);
            }
        }
    }

    /// Loses what is in memory only.
    pub(crate) fn crash(&mut self, random: &mut Random) {
        let (before, promised) = (self.platter.clone(), self.promised.clone());
        let persisted = random.index(self.ops.len() + 1);
        let mut lengths = self.ops[..persisted].iter().filter_map(Op::length);
        let length = lengths.next_back().unwrap_or(before.len());
        // A shorter length takes what was behind it with it, whatever became of the writes before.
        let mut known = before.len();
        let mut floor = 0;
        for (at, op) in self.ops[..persisted].iter().enumerate() {
            if let Some(length) = op.length() {
                floor = if length < known { at + 1 } else { floor };
                known = length;
            }
        }
        self.platter.resize(length, 0);
        self.promised.resize(length, 0);
        let ops = std::mem::take(&mut self.ops);
        for sector in 0..length.div_ceil(self.sector_bytes) {
            let range = self.range(sector, length);
            let version = floor + random.index(ops.len() - floor + 1);
            for (now, then) in [(&mut self.platter, &before), (&mut self.promised, &promised)] {
                let bytes = as_of(&ops[..version], then, range.clone());
                now[range.clone()].copy_from_slice(&bytes);
            }
        }
        self.seen.clone_from(&self.platter);
        self.wanted.clone_from(&self.promised);
    }

    /// Turns a bit of the platter over; programs see it unless they have the sector in memory.
    pub(crate) fn rot(&mut self, byte: usize, bit: u32, is_cached: bool) {
        let dirty = self.dirty();
        let Some(rotting) = self.platter.get_mut(byte) else { return };
        *rotting ^= 1 << bit;
        let (rotted, sector) = (*rotting, byte / self.sector_bytes);
        if let Some(seen) = self.seen.get_mut(byte).filter(|_| !is_cached) {
            *seen = if dirty.contains(&sector) { *seen } else { rotted };
        }
    }

    /// Makes a sector of the platter unreadable.
    pub(crate) fn spoil(&mut self, sector: usize) {
        if !self.dirty().contains(&sector) {
            self.unreadable.insert(sector);
        }
    }

    /// Writes on the platter what was meant for another place.
    pub(crate) fn overwrite(&mut self, sector: usize, bytes: &[u8]) {
        let range = self.range(sector, self.platter.len());
        let length = range.len().min(bytes.len());
        self.platter[range.start..range.start + length].copy_from_slice(&bytes[..length]);
    }

    /// Changes bytes everywhere, as if they had been written so: for canaries.
    pub(crate) fn forge(&mut self, offset: usize, bytes: &[u8]) {
        for all in [&mut self.seen, &mut self.wanted, &mut self.platter, &mut self.promised] {
            if let Some(room) = all.get_mut(offset..offset + bytes.len()) {
                room.copy_from_slice(bytes);
            }
        }
    }

    /// Cuts the file everywhere: for canaries.
    pub(crate) fn cut(&mut self, length: usize) {
        for all in [&mut self.seen, &mut self.wanted, &mut self.platter, &mut self.promised] {
            all.truncate(length);
        }
    }

    /// The bytes that are not what the disk promised, or cannot be read.
    pub(crate) fn harm(&self) -> Vec<Range<usize>> {
        let length = self.platter.len().max(self.seen.len());
        let sectors = (0..length.div_ceil(self.sector_bytes))
            .map(|sector| (sector, self.range(sector, length)));
        sectors
            .filter(|(sector, range)| {
                let within = |all: &[u8]| range.start.min(all.len())..range.end.min(all.len());
                let seen = within(&self.seen);
                let platter = within(&self.platter);
                self.unreadable.contains(sector)
                    || self.seen[seen.clone()] != self.wanted[seen]
                    || self.platter[platter.clone()] != self.promised[platter]
            })
            .map(|(_, range)| range)
            .collect()
    }

    /// The sectors that were written since the last sync.
    fn dirty(&self) -> BTreeSet<usize> {
        let written = self.ops.iter().filter_map(|op| match op {
            Op::Write { offset, bytes } => Some(*offset..offset + bytes.len()),
            Op::Length(_) => None,
        });
        let within =
            written.map(|range| range.start.min(self.seen.len())..range.end.min(self.seen.len()));
        within.flat_map(|range| self.sectors(range)).collect()
    }

    /// Makes the length durable, and with a shorter one that what was behind it is gone.
    fn settle_length(&mut self) {
        let lowest = self.ops.iter().filter_map(Op::length).min().unwrap_or(self.platter.len());
        for all in [&mut self.platter, &mut self.promised] {
            all.truncate(lowest);
            all.resize(self.seen.len(), 0);
        }
    }

    fn sectors(&self, bytes: Range<usize>) -> Range<usize> {
        let first = bytes.start / self.sector_bytes;
        let end = if bytes.is_empty() { first } else { bytes.end.div_ceil(self.sector_bytes) };
        first..end
    }

    fn range(&self, sector: usize, length: usize) -> Range<usize> {
        let start = (sector * self.sector_bytes).min(length);
        start..(start + self.sector_bytes).min(length)
    }
}

impl Op {
    fn length(&self) -> Option<usize> {
        match self {
            Self::Length(length) => Some(*length),
            Self::Write { .. } => None,
        }
    }
}

/// A range of bytes after some operations on what was there.
fn as_of(ops: &[Op], before: &[u8], range: Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; range.len()];
    let known = before.len().min(range.end).max(range.start) - range.start;
    bytes[..known].copy_from_slice(&before[range.start.min(before.len())..][..known]);
    for op in ops {
        match op {
            Op::Write { offset, bytes: written } => {
                let start = (*offset).max(range.start);
                let end = (offset + written.len()).min(range.end);
                if start < end {
                    bytes[start - range.start..end - range.start]
                        .copy_from_slice(&written[start - offset..end - offset]);
                }
            }
            Op::Length(length) => {
                let kept = (*length).clamp(range.start, range.end) - range.start;
                bytes[kept..].fill(0);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = File::new(4);
        file.write(0, bytes);
        file.sync(None, &mut Random::new(1, 1));
        file
    }

    fn harm(file: &File) -> Vec<(usize, usize)> {
        file.harm().into_iter().map(|range| (range.start, range.end)).collect()
    }

    /// All that a crash can make of a file.
    fn crashes(file: &File) -> BTreeSet<Vec<u8>> {
        let crash = |seed| {
            let mut crashed = file.clone();
            crashed.crash(&mut Random::new(seed, 2));
            assert_eq!(crashed.seen, crashed.platter);
            assert!(crashed.harm().is_empty());
            crashed.seen
        };
        (0..500).map(crash).collect()
    }

    #[test]
    fn what_was_synced_survives_and_any_subset_of_the_rest_does() {
        let mut file = file(b"aaaabbbb");
        assert_eq!(crashes(&file), [b"aaaabbbb".to_vec()].into());
        file.write(2, b"XXXX");
        let torn: [&[u8]; 4] = [b"aaaabbbb", b"aaXXbbbb", b"aaaaXXbb", b"aaXXXXbb"];
        assert_eq!(crashes(&file), torn.map(<[u8]>::to_vec).into());
        file.write(0, b"YY");
        let found = crashes(&file);
        assert!(found.contains(&b"YYXXbbbb"[..]), "both writes");
        assert!(!found.contains(&b"YYaabbbb"[..]), "a sector is written as memory has it");
    }

    #[test]
    fn a_grown_file_is_as_long_as_any_write_left_it_and_zero_where_nothing_came() {
        let mut file = file(b"aaaa");
        file.write(4, b"bbbb");
        let may: [&[u8]; 3] = [b"aaaa", b"aaaa\0\0\0\0", b"aaaabbbb"];
        assert_eq!(crashes(&file), may.map(<[u8]>::to_vec).into());
    }

    #[test]
    fn what_was_cut_off_never_comes_back_behind_a_longer_end() {
        let mut file = file(b"aaaabbbb");
        file.set_length(4);
        file.set_length(8);
        file.sync(None, &mut Random::new(1, 1));
        assert_eq!(file.platter, b"aaaa\0\0\0\0");
        file.write(4, b"cccc");
        file.set_length(4);
        file.set_length(8);
        assert!(!crashes(&file).iter().any(|bytes| bytes.ends_with(b"bbbb")));
    }

    #[test]
    fn after_a_failed_sync_the_next_one_passes_by_what_it_left() {
        let mut random = Random::new(3, 1);
        let lost = (0..50).filter(|_| {
            let mut file = file(b"aaaa");
            file.write(0, b"bbbb");
            file.fail_sync(&mut random);
            file.sync(None, &mut random);
            assert_eq!(file.seen, b"bbbb");
            assert!(file.harm().is_empty(), "nobody promised anything");
            file.evict();
            file.seen == b"aaaa"
        });
        assert!((10..40).contains(&lost.count()));
    }

    #[test]
    fn a_rotten_sector_that_is_written_in_part_stays_harmed() {
        let mut rotten = file(b"aaaabbbb");
        rotten.rot(5, 0, false);
        rotten.write(6, b"cc");
        rotten.sync(None, &mut Random::new(1, 1));
        assert_eq!((rotten.platter.as_slice(), harm(&rotten)), (&b"aaaabccc"[..], vec![(4, 8)]));
        rotten.write(4, b"dd");
        rotten.sync(None, &mut Random::new(1, 1));
        assert!(rotten.harm().is_empty());
    }

    #[test]
    fn harm_is_where_the_platter_is_not_what_was_promised() {
        let mut random = Random::new(3, 1);
        let mut lost = file(b"aaaabbbb");
        lost.write(4, b"cccc");
        assert_eq!(lost.sync(Some(Misfortune::Lost), &mut random), None);
        assert_eq!(harm(&lost), [(4, 8)]);
        lost.write(4, b"dddd");
        lost.sync(None, &mut random);
        assert!(lost.harm().is_empty(), "written anew");

        lost.write(0, b"eeee");
        let elsewhere = lost.sync(Some(Misfortune::Misdirected), &mut random).unwrap();
        lost.overwrite(1, &elsewhere);
        assert_eq!(
            (lost.platter.as_slice(), harm(&lost)),
            (&b"aaaaeeee"[..], vec![(0, 4), (4, 8)])
        );
        assert_eq!(lost.seen, b"eeeedddd", "memory knows nothing of it");

        let mut rotten = file(b"aaaabbbb");
        rotten.rot(5, 0, false);
        assert_eq!((rotten.seen.as_slice(), harm(&rotten)), (&b"aaaabcbb"[..], vec![(4, 8)]));
        let mut spoilt = file(b"aaaabbbb");
        spoilt.spoil(1);
        assert_eq!((spoilt.read(&mut [0; 4], 0), spoilt.read(&mut [0; 4], 3)), (Some(4), None));
    }
}
