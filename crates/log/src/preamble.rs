//! What a segment's first frame knows of all segments before it, so that opening the log reads only the last one.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::sync::Arc;

use change::{SourcePosition, Time};

use crate::format::{
    Cursor, FLAG_OWN, FormatError, FramePart, Header, Place, position_kind, put_position,
    take_position,
};

/// The sums that `evert log stat` shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Frames that hold transactions or parts of one.
    pub(crate) frames: u64,
    /// Transactions that have a Time.
    pub(crate) transactions: u64,
    /// Changed rows, those of unfinished and void parts included.
    pub(crate) rows: u64,
}

/// A transaction whose last part is not in the log yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Its latest part.
    pub(crate) place: Place,
    /// That part's number.
    pub(crate) number: u32,
    /// Whether any part holds a table of Evert's own.
    pub(crate) own: bool,
}

/// All that a segment knows of those before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preamble {
    pub(crate) log_id: [u8; 16],
    /// The next Time.
    pub(crate) next: Time,
    /// Where the frames of the segment before end; 0 for the first segment.
    pub(crate) previous_end: u64,
    pub(crate) totals: Totals,
    /// Where each source goes on, behind whole transactions only.
    pub(crate) positions: BTreeMap<Arc<str>, SourcePosition>,
    pub(crate) unfinished: BTreeMap<Arc<str>, Unfinished>,
}

impl Preamble {
    /// Takes in a frame of transactions: the writer does when it wrote it, recovery when it found it.
    pub(crate) fn apply(
        &mut self,
        header: &Header,
        source: &Arc<str>,
        position: Option<SourcePosition>,
    ) {
        self.next = header.next_time();
        self.totals.frames = self.totals.frames.saturating_add(1);
        let transactions = header.transactions.into();
        self.totals.transactions = self.totals.transactions.saturating_add(transactions);
        self.totals.rows = self.totals.rows.saturating_add(header.rows.into());
        match header.part {
            FramePart::First | FramePart::Middle => {
                let own = header.flags & FLAG_OWN != 0 || self.unfinished_own(source, header);
                let unfinished =
                    Unfinished { place: header.place, number: header.part_number, own };
                self.unfinished.insert(Arc::clone(source), unfinished);
            }
            FramePart::Last => {
                self.unfinished.remove(source);
                self.moved(source, position);
            }
            FramePart::Whole => self.moved(source, position),
        }
    }

    fn unfinished_own(&self, source: &Arc<str>, header: &Header) -> bool {
        header.part != FramePart::First && self.unfinished.get(source).is_some_and(|part| part.own)
    }

    /// A transaction without a position makes its source's void: the source is forgotten, or never had one.
    fn moved(&mut self, source: &Arc<str>, position: Option<SourcePosition>) {
        match position {
            Some(position) => drop(self.positions.insert(Arc::clone(source), position)),
            None => drop(self.positions.remove(source)),
        }
    }

    /// Writes the payload of a preamble frame.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.log_id);
        let Totals { frames, transactions, rows } = self.totals;
        for number in [self.next.0, self.previous_end, frames, transactions, rows] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        put_count(&mut bytes, self.positions.len());
        put_count(&mut bytes, self.unfinished.len());
        for (name, position) in &self.positions {
            put_name(&mut bytes, name, position_kind(Some(position)));
            put_position(&mut bytes, position);
        }
        for (name, Unfinished { place, number, own }) in &self.unfinished {
            put_name(&mut bytes, name, u8::from(*own));
            bytes.extend_from_slice(&place.segment.to_le_bytes());
            bytes.extend_from_slice(&place.offset.to_le_bytes());
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads the payload of a preamble frame.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(bytes);
        let mut log_id = [0; 16];
        log_id.copy_from_slice(cursor.bytes(16)?);
        let next = Time(cursor.u64()?);
        let previous_end = cursor.u64()?;
        let totals =
            Totals { frames: cursor.u64()?, transactions: cursor.u64()?, rows: cursor.u64()? };
        let (positions_count, unfinished_count) = (cursor.u32()?, cursor.u32()?);
        let mut positions = BTreeMap::new();
        for _ in 0..positions_count {
            let (name, kind) = take_name(&mut cursor)?;
            let position = take_position(&mut cursor, kind)?;
            let none = FormatError::Value("a source in a preamble has no position");
            positions.insert(name, position.ok_or(none)?);
        }
        let mut unfinished = BTreeMap::new();
        for _ in 0..unfinished_count {
            let (name, own) = take_name(&mut cursor)?;
            let place = Place { segment: cursor.u64()?, offset: cursor.u64()? };
            unfinished.insert(name, Unfinished { place, number: cursor.u32()?, own: own != 0 });
        }
        Ok(Self { log_id, next, previous_end, totals, positions, unfinished })
    }
}

fn put_count(bytes: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).expect("fewer than 2^32 sources");
    bytes.extend_from_slice(&count.to_le_bytes());
}

fn put_name(bytes: &mut Vec<u8>, name: &str, mark: u8) {
    let length =
        u16::try_from(name.len()).expect("a source's name was checked when it was encoded");
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.push(mark);
    bytes.extend_from_slice(name.as_bytes());
}

fn take_name(cursor: &mut Cursor<'_>) -> Result<(Arc<str>, u8), FormatError> {
    let length = cursor.u16()?;
    let mark = cursor.u8()?;
    Ok((cursor.text(length.into())?.into(), mark))
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_preamble_round_trips_and_no_prefix_of_it_panics() {
        let place = Place { segment: 3, offset: 640 };
        let preamble = Preamble {
            log_id: [7; 16],
            next: Time(9),
            previous_end: 4096,
            totals: Totals { frames: 1, transactions: 8, rows: 100 },
            positions: [
                ("a".into(), SourcePosition::Lsn(5)),
                ("b".into(), SourcePosition::Line { bytes: 10, lines: 2 }),
                ("c".into(), SourcePosition::Step(3)),
            ]
            .into(),
            unfinished: [("a".into(), Unfinished { place, number: 4, own: true })].into(),
        };
        let bytes = preamble.to_bytes();
        assert_eq!(Preamble::from_bytes(&bytes), Ok(preamble));
        for length in 0..bytes.len() {
            assert!(Preamble::from_bytes(&bytes[..length]).is_err(), "{length} bytes");
        }
    }
}
