//! Frames → the leaves' records.
//!
//! A record is a function of durable bytes and of nothing else: whoever has the segments can compute every leaf again.
//! That is why leaves are not stored in frames, why tiles may be lost in a crash, and why a log never signs two
//! different trees of one size.
//!
//! The payload is cut before each of its tables; what is committed to is the list of the pieces' hashes, of the plain
//! payload. So how a payload was compressed does not matter, and a table's piece may go one day, when its history is
//! over, without the other tables' losing their proof. The parts of a large transaction are chained.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::buffer::Buffer;
use change::{SourcePosition, Time, TransactionHead};
use proof::{
    Hash, LeafRecord, Position, part_hash, piece_hash, request_hash, schema_hash, source_hash,
    stored_hash,
};

use crate::decode;
use crate::error::LogError;
use crate::format::{FormatError, FrameKind, FramePart, Header, Place};
use crate::notary::pruned;
use crate::schema::FoundSchema;
use crate::segment::{Frames, ReadError};
use crate::shared::Shared;
use crate::walk::Walk;

/// The schemas of one segment, by source and number, as hashes.
type SchemaHashes = BTreeMap<(Arc<str>, u32), Hash>;

/// Computes leaves from frames, in the log's order.
pub(crate) struct Leaves {
    shared: Arc<Shared>,
    /// The segment whose schemas are known; 0 for none.
    segment: u64,
    schemas: SchemaHashes,
    /// What the parts of unfinished transactions commit to, with the place of the last one, by source.
    parts: BTreeMap<Arc<str>, (Place, Hash)>,
}

/// What a frame commits to by itself.
struct Own {
    source: Arc<str>,
    heads: Vec<TransactionHead>,
    schema: Hash,
    stored: Hash,
}

impl Leaves {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, segment: 0, schemas: SchemaHashes::new(), parts: BTreeMap::new() }
    }

    /// Takes in a frame that holds a schema.
    pub(crate) fn take_schema(&mut self, header: &Header, payload: &[u8]) -> Result<(), LogError> {
        self.enter(header.place.segment)?;
        insert(&mut self.schemas, payload).map_err(|reason| self.damaged(header, reason))
    }

    /// Computes the records of the transactions that become visible with a frame, in order.
    pub(crate) fn records(
        &mut self,
        header: &Header,
        stored: Buffer,
        mut each: impl FnMut(LeafRecord),
    ) -> Result<(), LogError> {
        self.enter(header.place.segment)?;
        let own = own(header, stored, &self.schemas);
        let own = own.map_err(|reason| self.damaged(header, reason))?;
        let mut stored = own.stored;
        if header.part != FramePart::Whole {
            let before = self.before(header, &own.source)?;
            stored = part_hash(before.as_ref(), &own.schema, &own.stored);
        }
        if matches!(header.part, FramePart::First | FramePart::Middle) {
            self.parts.insert(own.source, (header.place, stored));
            return Ok(());
        }
        if own.heads.len() != header.transactions as usize {
            let reason = FormatError::Value("header and payload count different transactions");
            return Err(self.damaged(header, reason));
        }
        if header.part == FramePart::Last {
            self.parts.remove(&own.source);
        }
        let source = Some(source_hash(&own.source));
        for (time, head) in (header.first_time.0..).zip(&own.heads) {
            each(LeafRecord {
                time,
                source,
                position: position(head.position.as_ref()),
                request: head.request.as_ref().map(|id| request_hash(&id.0)),
                schema: own.schema,
                stored,
                plain: None,
            });
        }
        Ok(())
    }

    /// What the parts before this one commit to: remembered, or computed again from where they lie.
    fn before(&self, header: &Header, source: &Arc<str>) -> Result<Option<Hash>, LogError> {
        if header.part_number == 0 {
            return Ok(None);
        }
        match self.parts.get(source) {
            Some((place, hash)) if *place == header.previous => Ok(Some(*hash)),
            Some(_) | None => self.chain(header),
        }
    }

    fn chain(&self, last: &Header) -> Result<Option<Hash>, LogError> {
        let mut parts: Vec<Header> = Vec::new();
        let (mut place, mut number) = (last.previous, last.part_number);
        while let Some(before) = number.checked_sub(1) {
            let part =
                self.at(place, last.first_time, |frames, end| frames.header(place.offset, end))?;
            if (part.kind, part.part_number) != (FrameKind::Transactions, before) {
                let reason =
                    FormatError::Value("the part of a transaction is not where it belongs");
                return Err(self.damaged(last, reason));
            }
            (place, number) = (part.previous, before);
            parts.push(part);
        }
        let (mut hash, mut known) = (None, (0, SchemaHashes::new()));
        for part in parts.into_iter().rev() {
            let segment = part.place.segment;
            if known.0 != segment {
                known = (segment, self.schemas_of(segment)?);
            }
            let own = self.at(part.place, last.first_time, |frames, _end| {
                let (_leaves, stored) = frames.stored(&part)?;
                Ok(own(&part, stored, &known.1)?)
            })?;
            hash = Some(part_hash(hash.as_ref(), &own.schema, &own.stored));
        }
        Ok(hash)
    }

    /// Learns the schemas of the segment that a frame is in.
    fn enter(&mut self, segment: u64) -> Result<(), LogError> {
        if self.segment != segment {
            self.schemas = self.schemas_of(segment)?;
            self.segment = segment;
        }
        Ok(())
    }

    /// The schemas in a segment, as far as it is durable.
    fn schemas_of(&self, segment: u64) -> Result<SchemaHashes, LogError> {
        let mut schemas = SchemaHashes::new();
        let end = self.shared.end_of(segment).unwrap_or(0);
        let mut place = Place { segment, offset: 0 };
        let mut frames = Frames::open(&*self.shared.disk, &self.shared.dir, segment)?;
        let mut next = Time::ZERO;
        while place.offset < end {
            let mut read = || -> Result<Header, ReadError> {
                let header = frames.header(place.offset, end)?;
                if header.kind == FrameKind::Schema {
                    insert(&mut schemas, &frames.stored(&header)?.1)?;
                }
                Ok(header)
            };
            let header = read().map_err(|error| frames.explain(error, place.offset, next))?;
            (place.offset, next) = (header.end(), header.next_time());
        }
        Ok(schemas)
    }

    fn at<T>(
        &self,
        place: Place,
        next: Time,
        read: impl FnOnce(&mut Frames, u64) -> Result<T, ReadError>,
    ) -> Result<T, LogError> {
        let end = self.shared.end_of(place.segment).unwrap_or(0);
        let mut frames = Frames::open(&*self.shared.disk, &self.shared.dir, place.segment)?;
        read(&mut frames, end).map_err(|error| frames.explain(error, place.offset, next))
    }

    fn damaged(&self, header: &Header, reason: FormatError) -> LogError {
        match Frames::open(&*self.shared.disk, &self.shared.dir, header.place.segment) {
            Ok(frames) => frames.damaged(header.place.offset, reason, header.first_time),
            Err(error) => error,
        }
    }
}

/// Computes the records of the transactions behind a Time, up to another one.
pub(super) fn between(
    shared: &Arc<Shared>,
    after: Time,
    upto: Time,
) -> Result<Vec<LeafRecord>, LogError> {
    let mut walk = Walk::new(Arc::clone(shared), shared.start(after));
    let mut leaves = Leaves::new(Arc::clone(shared));
    let mut records = Vec::new();
    while let Some(header) = walk.header()? {
        let is_wanted = header.next_time() > after.next();
        if header.kind == FrameKind::Gap && is_wanted {
            return Err(pruned(&header));
        }
        let whole = matches!(header.part, FramePart::Whole | FramePart::Last);
        if header.kind == FrameKind::Transactions && whole && is_wanted {
            let (_leaves, payload) = walk.stored(&header)?;
            leaves.records(&header, payload, |record| {
                if (after.next().0..=upto.0).contains(&record.time) {
                    records.push(record);
                }
            })?;
        }
        if header.next_time() > upto {
            break;
        }
        walk.pass(&header);
    }
    Ok(records)
}

fn insert(schemas: &mut SchemaHashes, payload: &[u8]) -> Result<(), FormatError> {
    let found = FoundSchema::from_bytes(payload)?;
    schemas.insert((found.source, found.id), schema_hash(payload));
    Ok(())
}

fn own(header: &Header, stored: Buffer, schemas: &SchemaHashes) -> Result<Own, FormatError> {
    if header.leaves > 0 {
        return Err(FormatError::Value(
            "the frame has commitments that this version does not know",
        ));
    }
    let plain = decode::plain(header, stored)?;
    let read = decode::heads(&plain)?;
    let source: Arc<str> = read.source.into();
    let tables = decode::table_places(&plain, &read)?;
    let mut schema = Vec::with_capacity(tables.len().saturating_mul(proof::HASH_BYTES));
    let mut pieces = Vec::with_capacity(tables.len().saturating_add(1).saturating_mul(32));
    let heads = tables.first().map_or(plain.len(), |table| table.start);
    pieces.extend_from_slice(&piece_hash(&plain[..heads]).0);
    for table in tables {
        let none = FormatError::Value("a table's schema is missing");
        let hash = schemas.get(&(Arc::clone(&source), table.schema)).ok_or(none)?;
        schema.extend_from_slice(&hash.0);
        // A piece that went left its hash.
        let hashed = || piece_hash(&plain[table.start..table.end]).0;
        pieces.extend_from_slice(&table.pruned.unwrap_or_else(hashed));
    }
    let (schema, stored) = (schema_hash(&schema), stored_hash(&pieces));
    Ok(Own { source, heads: read.heads, schema, stored })
}

fn position(position: Option<&SourcePosition>) -> Position {
    match position {
        None => Position::None,
        Some(SourcePosition::Lsn(lsn)) => Position::Lsn(*lsn),
        Some(SourcePosition::Line { bytes, lines }) => {
            Position::Line { bytes: *bytes, lines: *lines }
        }
        Some(SourcePosition::Step(step)) => Position::Step(*step),
    }
}
