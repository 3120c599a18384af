//! pgoutput's messages become rows of the tables that the log knows.
//!
//! Pure: bytes in, gathered rows out. A relation is matched by name with the table as it was logged; the columns by
//! their names, so that a column that was added does no harm, and one that was dropped or changed stops the source.
#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use change::map::HashMap;
use change::{ChangeForm, SourcePosition, TRUNCATE, TableSchema, TransactionHead};

use super::gather::Gather;
use super::kinds::{Kind, Types};
use super::values::{self, Misfit};
use super::wire::{Cell, Malformed, Reader};
use crate::SourceError;

/// A table that is followed.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// The table as the log knows it.
    pub(crate) schema: Arc<TableSchema>,
    /// How its columns' values are decoded.
    pub(crate) kinds: Vec<Kind>,
    /// Its schema in PostgreSQL.
    pub(crate) namespace: String,
    /// Its name there.
    pub(crate) name: String,
}

impl Target {
    /// Whether some of its values can be understood only as text.
    pub(crate) fn has_texts(&self) -> bool {
        self.kinds.iter().any(Kind::is_sent_as_text)
    }
}

/// How the server's tuples fit a target.
#[derive(Clone, Debug)]
struct Relation {
    target: usize,
    /// For each of the target's columns, its place in the server's tuples.
    places: Vec<usize>,
    columns: usize,
}

/// What a message was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fed {
    /// Something within a transaction, or of no interest.
    Nothing,
    /// A transaction ended, and so did everything up to this LSN.
    Commit(u64),
}

/// The old row that an update or delete carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    Key,
    Full,
}

/// The state of one stream.
#[derive(Debug)]
pub(crate) struct Decoder {
    targets: Vec<Target>,
    types: Types,
    /// By object id; `None`: published, but not followed.
    relations: HashMap<u32, Option<Relation>>,
    gather: Gather,
    /// Transactions whose commit record begins before it are known already.
    known_before: u64,
    skipping: bool,
    commit_lsn: u64,
    /// Changes of the open transaction so far.
    ordinal: u64,
    new: Vec<Cell>,
    old: Vec<Cell>,
}

impl Decoder {
    /// Begins at a position: what was committed before is skipped.
    pub(crate) fn new(source: Arc<str>, targets: Vec<Target>, types: Types, position: u64) -> Self {
        let schemas: Vec<_> = targets.iter().map(|target| Arc::clone(&target.schema)).collect();
        Self {
            targets,
            types,
            relations: HashMap::default(),
            gather: Gather::new(source, &schemas),
            known_before: position,
            skipping: false,
            commit_lsn: 0,
            ordinal: 0,
            new: Vec::new(),
            old: Vec::new(),
        }
    }

    /// What has gathered.
    pub(crate) fn gather(&mut self) -> &mut Gather {
        &mut self.gather
    }

    /// Whether the server must send values as text: it sends all of them in one form.
    pub(crate) fn needs_text(&self) -> bool {
        self.targets.iter().any(Target::has_texts)
    }

    /// Whether the stream is within a transaction.
    pub(crate) fn is_open(&self) -> bool {
        self.gather.is_open() || self.skipping
    }

    /// Takes in one message.
    ///
    /// # Errors
    /// When a table changed so that going on would be wrong, or the bytes are not pgoutput's.
    pub(crate) fn feed(&mut self, payload: &[u8]) -> Result<Fed, SourceError> {
        let mut reader = Reader::new(payload);
        let result = match reader.u8() {
            Ok(b'I') => self.insert(reader, payload),
            Ok(b'U') => self.update(reader, payload),
            Ok(b'D') => self.delete(reader, payload),
            Ok(b'B') => self.begin(reader),
            Ok(b'C') => return self.commit(reader).map(Fed::Commit),
            Ok(b'R') => self.relation(reader),
            Ok(b'T') => self.truncate(reader),
            // Origin, type and logical messages.
            Ok(b'O' | b'Y' | b'M') => Ok(()),
            Ok(_) => Err(self.malformed(Malformed("an unknown message"))),
            Err(malformed) => Err(self.malformed(malformed)),
        };
        result.map(|()| Fed::Nothing)
    }

    fn begin(&mut self, mut reader: Reader<'_>) -> Result<(), SourceError> {
        if self.is_open() {
            return Err(self.malformed(Malformed("a transaction within a transaction")));
        }
        let read = |reader: &mut Reader<'_>| Ok((reader.u64()?, reader.i64()?));
        let (commit_lsn, committed_at) =
            read(&mut reader).map_err(|error| self.malformed(error))?;
        (self.commit_lsn, self.ordinal) = (commit_lsn, 0);
        // Commit records do not overlap: one that begins before the position also ends before it.
        self.skipping = commit_lsn < self.known_before;
        if !self.skipping {
            let committed_at_us = values::timestamp(committed_at).ok();
            let head = TransactionHead::at(SourcePosition::Lsn(commit_lsn), committed_at_us);
            self.gather.begin(head);
        }
        Ok(())
    }

    fn commit(&mut self, mut reader: Reader<'_>) -> Result<u64, SourceError> {
        let mut read = || {
            let (_flags, _commit_lsn) = (reader.u8()?, reader.u64()?);
            reader.u64()
        };
        let end_lsn = read().map_err(|error| self.malformed(error))?;
        if !self.is_open() {
            return Err(self.malformed(Malformed("a commit without a beginning")));
        }
        if !self.skipping {
            self.gather.commit(SourcePosition::Lsn(end_lsn));
        }
        self.skipping = false;
        Ok(end_lsn)
    }

    fn relation(&mut self, mut reader: Reader<'_>) -> Result<(), SourceError> {
        let read = read_relation(&mut reader).map_err(|error| self.malformed(error))?;
        let found = self
            .targets
            .iter()
            .position(|target| target.namespace == read.namespace && target.name == read.name);
        let relation = match found.and_then(|at| self.targets.get(at).map(|target| (at, target))) {
            Some((at, target)) => Some(fit(target, at, &read, &self.types)?),
            None => None,
        };
        self.relations.insert(read.oid, relation);
        Ok(())
    }

    fn insert(&mut self, mut reader: Reader<'_>, payload: &[u8]) -> Result<(), SourceError> {
        let mut new = std::mem::take(&mut self.new);
        let read = (|| {
            let oid = reader.u32()?;
            expect(reader.u8()?, b'N')?;
            reader.tuple(&mut new)?;
            Ok(oid)
        })();
        let result = match read {
            Ok(oid) => self.change(oid, payload, |rows| rows.put(&new, None, 1)),
            Err(malformed) => Err(self.malformed(malformed)),
        };
        self.new = new;
        result
    }

    fn update(&mut self, mut reader: Reader<'_>, payload: &[u8]) -> Result<(), SourceError> {
        let (mut new, mut old) = (std::mem::take(&mut self.new), std::mem::take(&mut self.old));
        let read = (|| {
            let oid = reader.u32()?;
            let mut tag = reader.u8()?;
            let kind = match tag {
                b'K' => Some(Old::Key),
                b'O' => Some(Old::Full),
                _ => None,
            };
            if kind.is_some() {
                reader.tuple(&mut old)?;
                tag = reader.u8()?;
            }
            expect(tag, b'N')?;
            reader.tuple(&mut new)?;
            Ok((oid, kind))
        })();
        let result = match read {
            Ok((oid, kind)) => self.change(oid, payload, |rows| {
                let old = kind.map(|kind| (kind, &*old));
                match old {
                    Some((kind, old)) => rows.remove(old, kind)?,
                    None if rows.form == ChangeForm::Exact => return Err(NO_OLD_ROW),
                    None => {}
                }
                rows.put(&new, old, 1)
            }),
            Err(malformed) => Err(self.malformed(malformed)),
        };
        (self.new, self.old) = (new, old);
        result
    }

    fn delete(&mut self, mut reader: Reader<'_>, payload: &[u8]) -> Result<(), SourceError> {
        let mut old = std::mem::take(&mut self.old);
        let read = (|| {
            let oid = reader.u32()?;
            let kind = match reader.u8()? {
                b'K' => Old::Key,
                b'O' => Old::Full,
                _ => return Err(Malformed("a delete without the old row")),
            };
            reader.tuple(&mut old)?;
            Ok((oid, kind))
        })();
        let result = match read {
            Ok((oid, kind)) => self.change(oid, payload, |rows| rows.remove(&old, kind)),
            Err(malformed) => Err(self.malformed(malformed)),
        };
        self.old = old;
        result
    }

    fn truncate(&mut self, mut reader: Reader<'_>) -> Result<(), SourceError> {
        let read = (|| {
            let count = reader.i32()?;
            let _options = reader.u8()?;
            (0..count).map(|_| reader.u32()).collect::<Result<Vec<_>, _>>()
        })();
        for oid in read.map_err(|error| self.malformed(error))? {
            self.change(oid, &[], |rows| {
                rows.gather.table(rows.relation.target).rows().finish_row(TRUNCATE);
                rows.gather.added(1, 0);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Makes a change of a relation within the open transaction.
    fn change(
        &mut self,
        oid: u32,
        payload: &[u8],
        make: impl FnOnce(&mut Rows<'_>) -> Result<(), Malformed>,
    ) -> Result<(), SourceError> {
        if self.skipping {
            return Ok(());
        }
        if !self.gather.is_open() {
            return Err(self.malformed(Malformed("a change outside a transaction")));
        }
        self.ordinal += 1;
        let relation = match self.relations.get(&oid) {
            Some(Some(relation)) => relation,
            Some(None) => return Ok(()),
            None => return Err(self.malformed(Malformed("a change of an unknown relation"))),
        };
        let Some(target) = self.targets.get(relation.target) else { return Ok(()) };
        let mut rows = Rows {
            gather: &mut self.gather,
            target,
            form: target.schema.form(),
            relation,
            payload,
            place: Place { lsn: self.commit_lsn, ordinal: self.ordinal },
        };
        make(&mut rows).map_err(|error| self.malformed(error))
    }

    fn malformed(&self, malformed: Malformed) -> SourceError {
        let lsn = SourcePosition::Lsn(self.commit_lsn);
        let place = format!("the transaction that commits at {lsn}, change {}", self.ordinal);
        SourceError::Malformed { place, reason: malformed.0.to_owned() }
    }
}

const NO_OLD_ROW: Malformed = Malformed("an update without the old row of a table that has no key");

fn expect(tag: u8, wanted: u8) -> Result<(), Malformed> {
    if tag == wanted { Ok(()) } else { Err(Malformed("a change without a new row")) }
}

/// A change's place in the stream.
#[derive(Clone, Copy, Debug)]
struct Place {
    lsn: u64,
    ordinal: u64,
}

/// Where one change's rows go.
struct Rows<'a> {
    gather: &'a mut Gather,
    target: &'a Target,
    form: ChangeForm,
    relation: &'a Relation,
    payload: &'a [u8],
    place: Place,
}

impl Rows<'_> {
    /// Adds a new row; what it does not carry comes from the old one, or stays unchanged.
    fn put(
        &mut self,
        new: &[Cell],
        old: Option<(Old, &[Cell])>,
        diff: i64,
    ) -> Result<(), Malformed> {
        let row = Row { cells: new, old, payload: self.payload };
        match push_row(self.gather, self.target, self.relation, &row, diff)? {
            None => Ok(()),
            Some(reason) => {
                if self.form == ChangeForm::Upsert {
                    // The row that the key had is no more, though the new one cannot be taken in.
                    let cells = row.resolved();
                    let gone = Row { cells: &cells, old: None, payload: self.payload };
                    push_key(self.gather, self.target, self.relation, &gone)?;
                }
                let Place { lsn, ordinal } = self.place;
                let place = format!("{} change {ordinal}", SourcePosition::Lsn(lsn));
                let raw = show(self.target, self.relation, &row);
                self.gather.dead_letter(self.target.schema.name(), &place, &reason, &raw);
                Ok(())
            }
        }
    }

    /// Removes a row. One that could not be taken in was never there.
    fn remove(&mut self, old: &[Cell], kind: Old) -> Result<(), Malformed> {
        let row = Row { cells: old, old: None, payload: self.payload };
        match (self.form, kind) {
            (ChangeForm::Upsert, _) => push_key(self.gather, self.target, self.relation, &row),
            (ChangeForm::Exact, Old::Full) => {
                push_row(self.gather, self.target, self.relation, &row, -1).map(drop)
            }
            (ChangeForm::Exact, Old::Key) => Err(NO_OLD_ROW),
        }
    }
}

/// A row as the wire has it.
struct Row<'a> {
    cells: &'a [Cell],
    old: Option<(Old, &'a [Cell])>,
    payload: &'a [u8],
}

impl Row<'_> {
    fn cell(&self, place: usize) -> Cell {
        let cell = self.cells.get(place).copied().unwrap_or(Cell::Null);
        match (cell, self.old.map(|(kind, old)| (kind, old.get(place)))) {
            (Cell::Unchanged, Some((_, Some(&value @ Cell::Value { .. })))) => value,
            (Cell::Unchanged, Some((Old::Full, Some(Cell::Null)))) => Cell::Null,
            (cell, _) => cell,
        }
    }

    fn resolved(&self) -> Vec<Cell> {
        (0..self.cells.len()).map(|place| self.cell(place)).collect()
    }

    fn bytes(&self, start: usize, end: usize) -> &[u8] {
        self.payload.get(start..end).unwrap_or_default()
    }
}

const WRONG_COLUMNS: Malformed = Malformed("a row of another number of columns than its table");

/// Appends a whole row; returns why it cannot be taken in, if so.
fn push_row(
    gather: &mut Gather,
    target: &Target,
    relation: &Relation,
    row: &Row<'_>,
    diff: i64,
) -> Result<Option<String>, Malformed> {
    if row.cells.len() != relation.columns {
        return Err(WRONG_COLUMNS);
    }
    let table = gather.table(relation.target);
    let mut bytes = 0;
    for (at, (kind, &place)) in target.kinds.iter().zip(&relation.places).enumerate() {
        let pushed = match row.cell(place) {
            Cell::Value { start, end, form } => {
                bytes += end - start;
                let Some(column) = table.rows().columns().get_mut(at) else { continue };
                values::push(column, kind, (row.bytes(start, end), form))
            }
            Cell::Null => {
                if let Some(column) = table.rows().columns().get_mut(at) {
                    column.push_null();
                }
                Ok(())
            }
            Cell::Unchanged if target.schema.form() == ChangeForm::Exact => Err(UNRESOLVED),
            Cell::Unchanged => {
                table.push_unchanged(at);
                Ok(())
            }
        };
        match pushed {
            Ok(()) => {}
            Err(Misfit::Malformed(reason)) => return Err(Malformed(reason)),
            Err(Misfit::DoesNotFit(reason)) => {
                table.abandon_row();
                let column = target.schema.columns().field(at).name();
                return Ok(Some(format!("column {column}: {reason}")));
            }
        }
    }
    table.rows().finish_row(diff);
    gather.added(1, bytes + ROW_BYTES);
    Ok(None)
}

const UNRESOLVED: Misfit = Misfit::Malformed("an unchanged value without the old row");
/// What a row takes beside its values.
const ROW_BYTES: usize = 8;

/// Appends the removal of a row by its key. A key that cannot be taken in was never there.
fn push_key(
    gather: &mut Gather,
    target: &Target,
    relation: &Relation,
    row: &Row<'_>,
) -> Result<(), Malformed> {
    if row.cells.len() != relation.columns {
        return Err(WRONG_COLUMNS);
    }
    let table = gather.table(relation.target);
    let mut bytes = 0;
    for &at in target.schema.key() {
        let (Some(kind), Some(&place)) = (target.kinds.get(at), relation.places.get(at)) else {
            continue;
        };
        let Some(column) = table.rows().columns().get_mut(at) else { continue };
        let pushed = match row.cell(place) {
            Cell::Value { start, end, form } => {
                bytes += end - start;
                values::push(column, kind, (row.bytes(start, end), form))
            }
            // A unique index may be the identity only when its columns are NOT NULL.
            Cell::Null | Cell::Unchanged => Err(Misfit::Malformed("a key without a value")),
        };
        match pushed {
            Ok(()) => {}
            Err(Misfit::Malformed(reason)) => return Err(Malformed(reason)),
            Err(Misfit::DoesNotFit(_)) => {
                table.abandon_row();
                return Ok(());
            }
        }
    }
    table.rows().finish_row(-1);
    gather.added(1, bytes + ROW_BYTES);
    Ok(())
}

/// Writes a row for a person to read: `id = 1, name = Ada`.
fn show(target: &Target, relation: &Relation, row: &Row<'_>) -> String {
    const SHOWN_CHARS_MAX: usize = 200;
    let columns = target.schema.columns().fields().iter();
    let columns =
        columns.zip(&target.kinds).zip(&relation.places).map(|((field, kind), &place)| {
            let value = match row.cell(place) {
                Cell::Null => "NULL".to_owned(),
                Cell::Unchanged => "(unchanged)".to_owned(),
                Cell::Value { start, end, form } => {
                    let shown = values::show(kind, (row.bytes(start, end), form));
                    shown.chars().take(SHOWN_CHARS_MAX).collect()
                }
            };
            format!("{} = {value}", field.name())
        });
    columns.collect::<Vec<_>>().join(", ")
}

/// A relation message.
struct RelationMessage<'a> {
    oid: u32,
    namespace: &'a str,
    name: &'a str,
    identity: u8,
    /// Whether it is in the key, name, type, type modifier.
    columns: Vec<(bool, &'a str, u32, i32)>,
}

fn read_relation<'a>(reader: &mut Reader<'a>) -> Result<RelationMessage<'a>, Malformed> {
    let oid = reader.u32()?;
    let namespace = match reader.text()? {
        "" => "pg_catalog",
        namespace => namespace,
    };
    let (name, identity) = (reader.text()?, reader.u8()?);
    let count = reader.i16()?;
    let mut columns = Vec::new();
    for _ in 0..count {
        columns.push((reader.u8()? & 1 == 1, reader.text()?, reader.u32()?, reader.i32()?));
    }
    Ok(RelationMessage { oid, namespace, name, identity, columns })
}

/// Finds the target's columns in a relation.
fn fit(
    target: &Target,
    at: usize,
    found: &RelationMessage<'_>,
    types: &Types,
) -> Result<Relation, SourceError> {
    let changed = |difference: String| SourceError::SchemaChanged {
        table: target.schema.name().to_string(),
        difference,
    };
    let mut places = Vec::with_capacity(target.kinds.len());
    for (field, kind) in target.schema.columns().fields().iter().zip(&target.kinds) {
        let name = field.name();
        let place = found.columns.iter().position(|(_, column, ..)| column == name);
        let Some((place, &(_, _, oid, modifier))) =
            place.and_then(|place| found.columns.get(place).map(|column| (place, column)))
        else {
            return Err(changed(format!("column {name} is gone")));
        };
        if types.resolve(oid, modifier).as_ref() != Some(kind) {
            return Err(changed(format!("column {name} has another type")));
        }
        places.push(place);
    }
    if target.schema.form() == ChangeForm::Upsert && found.identity != b'f' {
        let key = |at: &usize| target.schema.columns().fields().get(*at).map(|f| f.name().as_str());
        let mut old: Vec<_> = target.schema.key().iter().filter_map(key).collect();
        let keys = found.columns.iter().filter(|(key, ..)| *key);
        let mut new: Vec<_> = keys.map(|(_, name, ..)| *name).collect();
        old.sort_unstable();
        new.sort_unstable();
        if old != new {
            let (old, new) = (old.join(", "), new.join(", "));
            return Err(changed(format!("its key was ({old}) and is now ({new})")));
        }
    }
    Ok(Relation { target: at, places, columns: found.columns.len() })
}

/// Rows of `COPY … (FORMAT binary)` for one target.
pub(crate) struct CopyDecoder<'a> {
    target: &'a Target,
    relation: Relation,
    cells: Vec<Cell>,
    /// The beginning of a row whose end has not come yet.
    pending: Vec<u8>,
    header: bool,
    ended: bool,
    rows: u64,
}

/// `COPY`'s signature, without the flags and the length of the header's extension.
const COPY_SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

impl<'a> CopyDecoder<'a> {
    /// Begins a table's copy; `at` is its place among the gathered tables.
    pub(crate) fn new(target: &'a Target, at: usize) -> Self {
        let columns = target.kinds.len();
        let relation = Relation { target: at, places: (0..columns).collect(), columns };
        Self {
            target,
            relation,
            cells: Vec::new(),
            pending: Vec::new(),
            header: false,
            ended: false,
            rows: 0,
        }
    }

    /// Takes in some bytes; returns how many rows they ended.
    ///
    /// # Errors
    /// When they are not what `COPY` sends.
    pub(crate) fn feed(&mut self, gather: &mut Gather, bytes: &[u8]) -> Result<u64, SourceError> {
        let before = self.rows;
        let result = if self.pending.is_empty() {
            self.read(gather, bytes)
        } else {
            let mut pending = std::mem::take(&mut self.pending);
            pending.extend_from_slice(bytes);
            self.read(gather, &pending)
        };
        result.map_err(|malformed| self.malformed(malformed))?;
        Ok(self.rows - before)
    }

    /// Ends the copy.
    ///
    /// # Errors
    /// When the last row, or the mark behind it, did not come.
    pub(crate) fn finish(&self) -> Result<(), SourceError> {
        let is_whole = self.ended && self.pending.is_empty();
        if is_whole { Ok(()) } else { Err(self.malformed(Malformed("the copy ends too early"))) }
    }

    fn malformed(&self, malformed: Malformed) -> SourceError {
        SourceError::Malformed {
            place: format!("row {} of the copy of {}", self.rows + 1, self.target.schema.name()),
            reason: malformed.0.to_owned(),
        }
    }

    fn read(&mut self, gather: &mut Gather, bytes: &[u8]) -> Result<(), Malformed> {
        let mut left = bytes;
        if !self.header {
            let Some((header, rest)) = left.split_first_chunk::<19>() else {
                self.pending = left.to_vec();
                return Ok(());
            };
            if !header.starts_with(COPY_SIGNATURE) {
                return Err(Malformed("not the beginning of a binary copy"));
            }
            self.header = true;
            left = rest;
        }
        while !left.is_empty() {
            let mut reader = Reader::new(left);
            match reader.copy_row(&mut self.cells) {
                Ok(true) => self.row(gather, left)?,
                Ok(false) => self.ended = true,
                // The row's end comes with the next message.
                Err(_too_short) => {
                    self.pending = left.to_vec();
                    return Ok(());
                }
            }
            left = reader.left();
        }
        Ok(())
    }

    fn row(&mut self, gather: &mut Gather, payload: &[u8]) -> Result<(), Malformed> {
        self.rows += 1;
        let row = Row { cells: &self.cells, old: None, payload };
        if let Some(reason) = push_row(gather, self.target, &self.relation, &row, 1)? {
            let place = format!("backfill row {}", self.rows);
            let raw = show(self.target, &self.relation, &row);
            gather.dead_letter(self.target.schema.name(), &place, &reason, &raw);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
