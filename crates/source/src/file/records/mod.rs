//! Bytes into records: lines, and for CSV lines whose quoted fields may hold line ends.
//!
//! Blocks come in as they were read, records go out in order, each with its line number. A record that is longer than
//! the limit is never held: it is skipped up to its end, and only its beginning stays.

use change::SourcePosition;
use memchr::{memchr, memchr_iter, memchr2};

use crate::limits::DEAD_LETTER_RAW_BYTES_MAX;

/// How records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// At every line end.
    Lines,
    /// At a line end outside quotes. A quote counts where a field begins.
    Quoted {
        /// What separates fields.
        delimiter: u8,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A record, whole.
    Whole,
    /// A record that was too long; its bytes are its beginning.
    TooLong,
    /// A line that opens a quote which nothing closes.
    Unclosed,
}

/// A record's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What it is.
    pub(crate) kind: Kind,
    /// The number of its first line, from 1.
    pub(crate) line: u64,
    start: usize,
    end: usize,
}

/// Where the scan of the unfinished record stands.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    /// The next byte to look at.
    at: usize,
    in_quotes: bool,
    /// Line ends inside the record.
    lines: u64,
}

/// A record that is being skipped because it is too long.
#[derive(Debug)]
struct Skipped {
    line: u64,
    beginning: Vec<u8>,
}

/// Splits a stream of bytes.
///
/// Invariant: `start <= scan.at <= buffer.len()`, and `buffer[start]` is the stream's byte number `bytes`.
#[derive(Debug)]
pub(crate) struct Records {
    framing: Framing,
    record_bytes_max: usize,
    buffer: Vec<u8>,
    start: usize,
    scan: Scan,
    bytes: u64,
    lines: u64,
    skipped: Option<Skipped>,
    /// The beginning of the record that was skipped last.
    too_long: Vec<u8>,
    finished: bool,
}

impl Records {
    /// Begins at a place of a stream.
    pub(crate) fn new(framing: Framing, record_bytes_max: usize, bytes: u64, lines: u64) -> Self {
        Self {
            framing,
            record_bytes_max,
            buffer: Vec::new(),
            start: 0,
            scan: Scan::default(),
            bytes,
            lines,
            skipped: None,
            too_long: Vec::new(),
            finished: false,
        }
    }

    /// Takes in the next block. All records that were found before must have been read.
    pub(crate) fn feed(&mut self, block: &[u8]) {
        assert!(!self.finished, "nothing comes behind the end");
        self.buffer.drain(..self.start);
        self.scan.at -= self.start;
        self.start = 0;
        self.buffer.extend_from_slice(block);
    }

    /// Says that nothing more comes: what is left is a record, too.
    pub(crate) fn finish(&mut self) {
        self.finished = true;
    }

    /// The place behind the last record that was found.
    pub(crate) fn position(&self) -> SourcePosition {
        SourcePosition::Line { bytes: self.bytes, lines: self.lines }
    }

    /// The bytes of the record that was found last, without its line end.
    pub(crate) fn bytes(&self, found: &Found) -> &[u8] {
        match found.kind {
            Kind::Whole | Kind::Unclosed => &self.buffer[found.start..found.end],
            Kind::TooLong => &self.too_long,
        }
    }

    /// Finds the next record; `None`: more bytes are needed, or after [`finish`](Self::finish), that was all.
    pub(crate) fn next(&mut self) -> Option<Found> {
        if self.skipped.is_some() {
            return self.skip();
        }
        if self.bytes == 0 && !self.pass_byte_order_mark() {
            return None;
        }
        let end = self.find_end();
        let pending = end.unwrap_or(self.buffer.len()) - self.start;
        if pending > self.record_bytes_max {
            return self.too_long();
        }
        if let Some(end) = end {
            return Some(self.found(Kind::Whole, end));
        }
        if !self.finished || pending == 0 {
            return None;
        }
        if self.scan.in_quotes {
            return Some(self.first_line_of_unclosed());
        }
        Some(self.found(Kind::Whole, self.buffer.len()))
    }

    /// Passes a byte order mark; false: more bytes are needed to know.
    fn pass_byte_order_mark(&mut self) -> bool {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        let pending = &self.buffer[self.start..];
        if pending.starts_with(MARK) {
            self.consume(self.start + MARK.len());
            return true;
        }
        self.finished || pending.is_empty() || !MARK.starts_with(pending)
    }

    /// Returns the place of the line end that ends the record, and remembers how far it looked.
    fn find_end(&mut self) -> Option<usize> {
        match self.framing {
            Framing::Lines => {
                let end = memchr(b'\n', &self.buffer[self.scan.at..]);
                let end = end.map(|end| self.scan.at + end);
                self.scan.at = end.unwrap_or(self.buffer.len());
                end
            }
            Framing::Quoted { delimiter } => self.find_quoted_end(delimiter),
        }
    }

    fn find_quoted_end(&mut self, delimiter: u8) -> Option<usize> {
        loop {
            let rest = &self.buffer[self.scan.at..];
            let Some(at) = memchr2(b'"', b'\n', rest).map(|at| self.scan.at + at) else {
                self.scan.at = self.buffer.len();
                return None;
            };
            let is_quote = self.buffer[at] == b'"';
            self.scan.at = at + 1;
            match (is_quote, self.scan.in_quotes) {
                (false, false) => return Some(at),
                (false, true) => self.scan.lines += 1,
                (true, false) => {
                    let begins = at == self.start || self.buffer[at - 1] == delimiter;
                    self.scan.in_quotes = begins;
                }
                (true, true) => match self.buffer.get(at + 1) {
                    Some(b'"') => self.scan.at = at + 2,
                    Some(_) => self.scan.in_quotes = false,
                    None if self.finished => self.scan.in_quotes = false,
                    None => {
                        // Whether this quote closes is in the next block.
                        self.scan.at = at;
                        return None;
                    }
                },
            }
        }
    }

    /// Ends the record at `end`, which is a line end or the end of everything.
    fn found(&mut self, kind: Kind, end: usize) -> Found {
        let line = self.lines + 1;
        let (start, mut last) = (self.start, end);
        if last > start && self.buffer[last - 1] == b'\r' {
            last -= 1;
        }
        self.lines += self.scan.lines + 1;
        self.consume((end + 1).min(self.buffer.len()));
        Found { kind, line, start, end: last }
    }

    /// Moves past bytes; the scan begins anew behind them.
    fn consume(&mut self, end: usize) {
        self.bytes += (end - self.start) as u64;
        self.start = end;
        self.scan = Scan { at: end, ..Scan::default() };
    }

    /// Gives up on a quote: its first line is bad, and the lines behind it get their own chance.
    fn first_line_of_unclosed(&mut self) -> Found {
        let pending = &self.buffer[self.start..];
        let end = memchr(b'\n', pending).map_or(self.buffer.len(), |end| self.start + end);
        self.scan.lines = 0;
        self.found(Kind::Unclosed, end)
    }

    /// Decides by the record's first bytes alone, so that it does not matter how they came in blocks.
    fn too_long(&mut self) -> Option<Found> {
        let pending = &self.buffer[self.start..=self.start + self.record_bytes_max];
        if memchr(b'\n', pending).is_some() {
            return Some(self.first_line_of_unclosed());
        }
        let beginning = pending[..pending.len().min(DEAD_LETTER_RAW_BYTES_MAX)].to_vec();
        self.skipped = Some(Skipped { line: self.lines + 1, beginning });
        self.skip()
    }

    fn skip(&mut self) -> Option<Found> {
        let end = memchr(b'\n', &self.buffer[self.start..]);
        let (end, is_over) = match end {
            Some(end) => (self.start + end + 1, true),
            None => (self.buffer.len(), self.finished),
        };
        self.consume(end);
        if !is_over {
            return None;
        }
        let skipped = self.skipped.take()?;
        self.lines += 1;
        self.too_long = skipped.beginning;
        Some(Found { kind: Kind::TooLong, line: skipped.line, start: end, end })
    }
}

/// How many line ends there are.
pub(crate) fn count_lines(bytes: &[u8]) -> usize {
    memchr_iter(b'\n', bytes).count()
}

#[cfg(test)]
mod tests;
