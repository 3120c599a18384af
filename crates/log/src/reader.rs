//! Reading the log from any Time, and following it.
//!
//! A reader from the beginning of a log of which something was folded gets what it came to first, as one transaction at
//! the Time `since` (see [`crate::retention`]); then all others as they were. Whoever asks for transactions before that,
//! and not for all, is refused; unless what is left of them is wanted, gaps and all ([`LogReader::history`]).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::buffer::Buffer;
use change::{TableChanges, Time, TransactionHead};

use crate::decode::{self, Wanted};
use crate::error::LogError;
use crate::format::{FLAG_OWN, FormatError, FrameKind, FramePart, Header, LEAF_BYTES, Place};
use crate::index::Filter;
use crate::notary::pruned;
use crate::retention::Folded;
use crate::schema::Schemas;
use crate::segment::{Frames, ReadError};
use crate::shared::Shared;
use crate::walk::Walk;

/// Transactions as they come out of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct Chunk {
    /// The first transaction's Time.
    pub first: Time,
    /// The last transaction's Time.
    pub last: Time,
    /// The source that they come from.
    pub source: Arc<str>,
    /// The transactions, in order.
    pub heads: Vec<TransactionHead>,
    /// When they were written, in microseconds since 1970 UTC.
    pub wall_clock_us: i64,
    /// Their changes, by table.
    pub tables: Vec<TableChanges>,
    /// Whether this is all of them: else more of the same transaction follows, and `first == last`.
    pub complete: bool,
}

/// Reads transactions in the order of their Times, as far as they are durable.
///
/// It holds one frame at a time. A transaction in parts comes out as a whole, when its last part is reached: chunk by
/// chunk, each read again from where it lies. What is ahead of it is not folded while it lives.
pub struct LogReader {
    shared: Arc<Shared>,
    walk: Walk,
    /// Transactions up to this one are not wanted.
    after: Time,
    wanted: Wanted,
    filter: Option<Filter>,
    /// What was folded, until it is read.
    folded: Option<Folded>,
    /// The last transaction that was folded, when some are asked for by their Times.
    refused: Option<Time>,
    /// Whether only what is left of folded transactions is wanted.
    history: bool,
    /// What was read already, while what was folded was not over.
    ahead: Option<Chunk>,
    /// Whether a part of the transaction that is being read was let through.
    begun: bool,
    /// The segment whose schemas were all read ahead, because some of it may be skipped.
    skipping: u64,
    schemas: Schemas,
    /// Schema frames before the place where reading began.
    missed: Vec<u64>,
    /// The schemas of earlier segments, which parts may refer to.
    past: BTreeMap<u64, Schemas>,
    parted: Option<Parted>,
    /// A segment in which parts are read again.
    aside: Option<Frames>,
}

/// A transaction whose parts are being read.
struct Parted {
    /// The parts that are left, the next one last.
    places: Vec<Place>,
    time: Time,
    source: Arc<str>,
    heads: Vec<TransactionHead>,
    wall_clock_us: i64,
}

impl LogReader {
    pub(crate) fn new(shared: Arc<Shared>, after: Time) -> Self {
        let mut start = shared.start(after);
        let (mut folded, mut refused) = (None, None);
        let since = start.bases.since();
        if after == Time::ZERO && since > after {
            start = shared.beginning();
            folded = Some(Folded::new(Arc::clone(&start.bases)));
        } else if after < since {
            refused = Some(since);
        }
        let missed = std::mem::take(&mut start.schemas);
        let walk = Walk::new(Arc::clone(&shared), start);
        Self {
            shared,
            walk,
            after,
            wanted: Wanted::All,
            filter: None,
            folded,
            refused,
            history: false,
            ahead: None,
            begun: false,
            skipping: 0,
            schemas: Schemas::default(),
            missed,
            past: BTreeMap::new(),
            parted: None,
            aside: None,
        }
    }

    /// Wants Evert's own tables only; passes by what holds none of them without reading it.
    #[must_use]
    pub fn only_own(mut self) -> Self {
        self.wanted = Wanted::Own;
        self
    }

    /// Wants what is left of the history as it was: in place of what was folded nothing comes. Times may jump.
    #[must_use]
    pub fn history(mut self) -> Self {
        self.history = true;
        (self.folded, self.refused) = (None, None);
        self
    }

    /// Wants only what a filter lets through; passes by, without reading it, what the log's indexes say it would not.
    ///
    /// A chunk keeps all of its transactions, also those of which it holds no changes then.
    #[must_use]
    pub fn filtered(mut self, filter: Filter) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Returns the next transactions; `None` at the durable end.
    ///
    /// # Errors
    /// When a segment is damaged, or cannot be read.
    #[expect(clippy::should_implement_trait, reason = "the end is not the end: more may come")]
    pub fn next(&mut self) -> Result<Option<Chunk>, LogError> {
        if let Some(upto) = self.refused.filter(|_| self.wanted != Wanted::Own) {
            return Err(LogError::Pruned { from: self.after.next(), upto });
        }
        while let Some(folded) = &mut self.folded {
            let since = folded.since();
            if let Some(chunk) = self.next_folded()? {
                // That is all of what was folded.
                let is_last = chunk.complete;
                if is_last {
                    self.after = since;
                }
                if let Some(chunk) = self.let_folded_through(chunk) {
                    return Ok(Some(chunk));
                }
            }
        }
        while let Some(chunk) = self.next_unfiltered()? {
            if let Some(chunk) = self.let_through(chunk) {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }

    /// What the filter leaves of a chunk. A transaction of which a part came has its end.
    fn let_through(&mut self, mut chunk: Chunk) -> Option<Chunk> {
        let Some(filter) = &self.filter else { return Some(chunk) };
        if filter.source.as_ref().is_some_and(|source| *source != chunk.source) {
            return None;
        }
        if filter.tables.is_empty() {
            return Some(chunk);
        }
        chunk.tables.retain(|changes| filter.tables.contains(changes.table().name()));
        let wanted = !chunk.tables.is_empty() || (self.begun && chunk.complete);
        self.begun = (self.begun || wanted) && !chunk.complete;
        wanted.then_some(chunk)
    }

    /// The next of what was folded: the bases, then what is kept beside them, all as one transaction.
    fn next_folded(&mut self) -> Result<Option<Chunk>, LogError> {
        let Some(folded) = &mut self.folded else { return Ok(None) };
        if self.wanted != Wanted::Own
            && let Some(chunk) = folded.next_base(&*self.shared.disk, &self.shared.dir)?
        {
            return Ok(Some(chunk));
        }
        let since = folded.since();
        while self.walk.next_time() <= since || self.parted.is_some() {
            let Some(chunk) = self.next_unfiltered()? else { break };
            if chunk.first > since {
                self.ahead = Some(chunk);
                break;
            }
            let folded = self.folded.as_ref().and_then(|folded| folded.kept(chunk));
            if folded.is_some() {
                return Ok(folded);
            }
        }
        let last = self.folded.take().map(|folded| folded.end());
        Ok(last)
    }

    /// What the filter leaves of what was folded. If something of it came, it has an end.
    fn let_folded_through(&mut self, mut chunk: Chunk) -> Option<Chunk> {
        let Some(filter) = &self.filter else { return Some(chunk) };
        if chunk.complete {
            return std::mem::take(&mut self.begun).then_some(chunk);
        }
        if filter.source.as_ref().is_some_and(|source| *source != chunk.source) {
            return None;
        }
        let tables = &filter.tables;
        chunk.tables.retain(|of| tables.is_empty() || tables.contains(of.table().name()));
        self.begun |= !chunk.tables.is_empty();
        (!chunk.tables.is_empty()).then_some(chunk)
    }

    /// Which tables are wanted of the transaction that is read.
    fn wanted(&self) -> Wanted {
        let is_lenient = self.history || self.folded.is_some();
        if is_lenient && self.wanted == Wanted::All { Wanted::Kept } else { self.wanted }
    }

    /// Whether transactions that are gone may be passed by.
    fn passes(&self, gap: &Header) -> bool {
        let upto = match &self.folded {
            Some(folded) => folded.since(),
            None if self.history || self.wanted == Wanted::Own => return true,
            None => self.after,
        };
        gap.next_time() <= upto.next()
    }

    /// Passes by the frames that hold nothing that is wanted.
    fn skip(&mut self) -> Result<(), LogError> {
        let Some(filter) = &self.filter else { return Ok(()) };
        let number = self.walk.segment();
        let Some(end) = self.shared.full_end(number) else { return Ok(()) };
        if self.walk.offset() == 0 {
            // Its preamble is read first.
            return Ok(());
        }
        let index = self.shared.index_of(number)?;
        let Some(jump) = index.jump(filter, self.walk.offset()) else { return Ok(()) };
        if self.skipping != number {
            self.skipping = number;
            self.missed.clone_from(&index.schemas);
            self.load_missed()?;
        }
        self.walk.jump(jump.offset, jump.next.unwrap_or(end));
        Ok(())
    }

    fn next_unfiltered(&mut self) -> Result<Option<Chunk>, LogError> {
        if let Some(chunk) = self.ahead.take() {
            return Ok(Some(chunk));
        }
        self.load_missed()?;
        loop {
            if let Some(chunk) = self.next_part()? {
                return Ok(Some(chunk));
            }
            self.skip()?;
            let segment = self.walk.segment();
            let Some(header) = self.walk.header()? else { return Ok(None) };
            if self.walk.segment() != segment {
                self.past.insert(segment, std::mem::take(&mut self.schemas));
            }
            let chunk = match header.kind {
                FrameKind::Preamble | FrameKind::Close | FrameKind::Base => None,
                FrameKind::Gap if self.passes(&header) => None,
                FrameKind::Gap => return Err(pruned(&header)),
                FrameKind::Schema => {
                    self.read_schema(&header)?;
                    None
                }
                FrameKind::Transactions => self.read_transactions(&header)?,
            };
            self.walk.pass(&header);
            if chunk.is_some() {
                return Ok(chunk);
            }
        }
    }

    /// Returns the next transactions; waits for them up to `timeout`.
    ///
    /// # Errors
    /// As [`next`](Self::next); and at the durable end, when the log stopped: with the reason.
    pub fn next_blocking(&mut self, timeout: Duration) -> Result<Option<Chunk>, LogError> {
        if let Some(chunk) = self.next()? {
            return Ok(Some(chunk));
        }
        let reached = Time(self.walk.next_time().0 - 1);
        self.shared.wait_past(self.after.max(reached), timeout);
        if let Some(chunk) = self.next()? {
            return Ok(Some(chunk));
        }
        match &self.shared.state().failure {
            Some(error) => Err(error.clone()),
            None => Ok(None),
        }
    }

    fn load_missed(&mut self) -> Result<(), LogError> {
        let next = self.walk.next_time();
        while let Some(&offset) = self.missed.last() {
            let end = self.shared.end_of(self.walk.segment()).unwrap_or(0);
            let frames = self.walk.frames()?;
            let found = read_schema_at(frames, offset, end)
                .map_err(|error| frames.explain(error, offset, next))?;
            self.schemas.insert(self.shared.interner.intern(found));
            self.missed.pop();
        }
        Ok(())
    }

    fn read_schema(&mut self, header: &Header) -> Result<(), LogError> {
        let (offset, next) = (header.place.offset, self.walk.next_time());
        let frames = self.walk.frames()?;
        let found = frames.schema(header).map_err(|error| frames.explain(error, offset, next))?;
        self.schemas.insert(self.shared.interner.intern(found));
        Ok(())
    }

    fn read_transactions(&mut self, header: &Header) -> Result<Option<Chunk>, LogError> {
        let seen = header.next_time() <= self.after.next();
        let unwanted = self.wanted == Wanted::Own && header.flags & FLAG_OWN == 0;
        match header.part {
            // Parts are read when their transaction is whole.
            FramePart::First | FramePart::Middle => Ok(None),
            FramePart::Whole | FramePart::Last if seen || unwanted => Ok(None),
            FramePart::Whole => self.read_whole(header).map(Some),
            FramePart::Last => {
                self.parted = Some(self.collect_parts(header)?);
                self.walk.pass(header);
                self.next_part()
            }
        }
    }

    fn read_whole(&mut self, header: &Header) -> Result<Chunk, LogError> {
        let (_leaves, stored) = self.walk.stored(header)?;
        let chunk = decode_chunk(header, stored, &self.schemas, self.wanted());
        let chunk = chunk.map_err(|reason| self.walk.damaged(reason))?;
        Ok(behind(chunk, self.after))
    }

    /// Follows a transaction's parts back to the first one.
    fn collect_parts(&mut self, last: &Header) -> Result<Parted, LogError> {
        let (_leaves, stored) = self.walk.stored(last)?;
        let read = decode::plain(last, stored)
            .and_then(|plain| decode::heads(&plain).map(|read| (read.source.into(), read.heads)));
        let (source, heads) = read.map_err(|reason| self.walk.damaged(reason))?;
        let mut places = vec![last.place];
        let mut part = last.clone();
        while part.part_number > 0 {
            let number = part.part_number - 1;
            part = self.part_at(part.previous, number)?;
            if self.wanted != Wanted::Own || part.flags & FLAG_OWN != 0 {
                places.push(part.place);
            }
        }
        let (time, wall_clock_us) = (last.first_time, last.wall_clock_us);
        Ok(Parted { places, time, source, heads, wall_clock_us })
    }

    /// Reads the header of an earlier part.
    fn part_at(&mut self, place: Place, number: u32) -> Result<Header, LogError> {
        let next = self.walk.next_time();
        let end = self.shared.end_of(place.segment).unwrap_or(0);
        let frames = self.aside(place.segment)?;
        let offset = place.offset;
        let header =
            frames.header(offset, end).map_err(|error| frames.explain(error, offset, next))?;
        let part = if number == 0 { FramePart::First } else { FramePart::Middle };
        if header.kind == FrameKind::Transactions
            && (header.part, header.part_number) == (part, number)
        {
            return Ok(header);
        }
        let reason = FormatError::Value("the part of a transaction is not where it belongs");
        Err(frames.damaged(offset, reason, next))
    }

    fn aside(&mut self, segment: u64) -> Result<&mut Frames, LogError> {
        let frames = match self.aside.take() {
            Some(frames) if frames.number() == segment => frames,
            _ => Frames::open(&*self.shared.disk, &self.shared.dir, segment)?,
        };
        Ok(self.aside.insert(frames))
    }

    fn next_part(&mut self) -> Result<Option<Chunk>, LogError> {
        let Some(parted) = &self.parted else { return Ok(None) };
        let Some(&place) = parted.places.last() else {
            self.parted = None;
            self.aside = None;
            return Ok(None);
        };
        let time = parted.time;
        let mut chunk = self.read_part(place, time)?;
        let parted = self.parted.as_mut().expect("it was there above");
        parted.places.pop();
        (chunk.first, chunk.last) = (time, time);
        chunk.heads = parted.heads.clone();
        chunk.wall_clock_us = parted.wall_clock_us;
        chunk.complete = parted.places.is_empty();
        Ok(Some(chunk))
    }

    fn read_part(&mut self, place: Place, time: Time) -> Result<Chunk, LogError> {
        let current = place.segment == self.walk.segment();
        if !current && !self.past.contains_key(&place.segment) {
            let schemas = self.scan_schemas(place.segment)?;
            self.past.insert(place.segment, schemas);
        }
        let end = self.shared.end_of(place.segment).unwrap_or(0);
        let (wanted, offset) = (self.wanted(), place.offset);
        self.aside(place.segment)?;
        let schemas = if current { &self.schemas } else { &self.past[&place.segment] };
        let frames = self.aside.as_mut().expect("it was opened above");
        let mut read = || -> Result<Chunk, ReadError> {
            let header = frames.header(offset, end)?;
            let (_leaves, stored) = frames.stored(&header)?;
            Ok(decode_chunk(&header, stored, schemas, wanted)?)
        };
        let chunk = read().map_err(|error| frames.explain(error, offset, time))?;
        match &self.parted {
            Some(parted) if parted.source != chunk.source => {
                let reason = FormatError::Value("a part belongs to another source");
                Err(frames.damaged(offset, reason, time))
            }
            _ => Ok(chunk),
        }
    }

    /// Reads all schemas of a segment that this reader did not come through.
    fn scan_schemas(&self, segment: u64) -> Result<Schemas, LogError> {
        let end = self.shared.end_of(segment).unwrap_or(0);
        let mut frames = Frames::open(&*self.shared.disk, &self.shared.dir, segment)?;
        let mut schemas = Schemas::default();
        let (mut offset, mut next) = (0, Time::ZERO);
        while offset < end {
            let mut step = || -> Result<Header, ReadError> {
                let header = frames.header(offset, end)?;
                if header.kind == FrameKind::Schema {
                    schemas.insert(self.shared.interner.intern(frames.schema(&header)?));
                }
                Ok(header)
            };
            let header = step().map_err(|error| frames.explain(error, offset, next))?;
            (offset, next) = (header.end(), header.next_time());
        }
        Ok(schemas)
    }
}

fn read_schema_at(
    frames: &mut Frames,
    offset: u64,
    end: u64,
) -> Result<crate::schema::FoundSchema, ReadError> {
    let header = frames.header(offset, end)?;
    frames.schema(&header)
}

fn decode_chunk(
    header: &Header,
    stored: Buffer,
    schemas: &Schemas,
    wanted: Wanted,
) -> Result<Chunk, FormatError> {
    let plain = decode::plain(header, stored)?;
    let heads = decode::heads(&plain)?;
    let visible = matches!(header.part, FramePart::Whole | FramePart::Last);
    if visible && heads.heads.len() != header.transactions as usize {
        return Err(FormatError::Value("header and payload count different transactions"));
    }
    let (source, schemas) = schemas.of(heads.source);
    let tables = decode::tables(&plain, &heads, schemas, wanted)?;
    Ok(Chunk {
        first: header.first_time,
        last: Time(header.next_time().0.saturating_sub(1)),
        source,
        heads: heads.heads,
        wall_clock_us: header.wall_clock_us,
        tables,
        complete: true,
    })
}

/// Drops the transactions up to `after`.
fn behind(mut chunk: Chunk, after: Time) -> Chunk {
    if chunk.first > after {
        return chunk;
    }
    let seen = crate::limits::in_memory(after.0 - chunk.first.0 + 1);
    let all = chunk.heads.len();
    assert!(seen < all, "frames without a wanted transaction are passed by");
    chunk.first = after.next();
    chunk.heads.drain(..seen);
    let tables = chunk.tables.iter().map(|table| table.of_transactions(seen, all));
    chunk.tables = tables.filter(|table| !table.changes().is_empty()).collect();
    chunk
}

/// Goes through the frames of transactions as they lie in the log, undecoded, void and unfinished parts included.
pub struct RawFrames {
    walk: Walk,
}

/// A frame of transactions as it lies in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct RawFrame {
    /// Its header.
    pub header: Header,
    /// Its leaf commitments: none, or one for each transaction.
    pub leaves: Vec<[u8; LEAF_BYTES]>,
    /// Its payload as stored. It depends on nothing but the transactions.
    pub payload: Buffer,
}

impl RawFrames {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        // The first segment's beginning, wherever its first transaction is.
        let start = shared.beginning();
        Self { walk: Walk::new(shared, start) }
    }

    /// Returns the next frame of transactions; `None` at the durable end.
    ///
    /// # Errors
    /// When a segment is damaged, or cannot be read.
    #[expect(clippy::should_implement_trait, reason = "the end is not the end: more may come")]
    pub fn next(&mut self) -> Result<Option<RawFrame>, LogError> {
        while let Some(header) = self.walk.header()? {
            if header.kind == FrameKind::Transactions {
                let (leaves, payload) = self.walk.stored(&header)?;
                self.walk.pass(&header);
                return Ok(Some(RawFrame { header, leaves, payload }));
            }
            self.walk.pass(&header);
        }
        Ok(None)
    }
}
