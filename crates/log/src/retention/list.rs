//! The list of bases: one small file, whose renaming is the moment at which a fold happens.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use change::{TableName, Time};
use proof::Hash;

use crate::disk::{Access, Disk};
use crate::error::{LogError, Lost};
use crate::format::{Cursor, FormatError};
use crate::limits::{FRAME_BYTES_MAX, in_memory, on_disk};
use crate::retention::DIRECTORY;
use crate::shared::State;

/// What the file begins with; the last two bytes are its version.
const MAGIC: &[u8; 8] = b"EVRTBS\x01\x00";
/// Its name below the log's directory.
pub(crate) const LIST: &str = "base/list";
/// Its name, and that of the next one before it is complete.
const NAME: &str = "list";
const UNFINISHED: &str = "unfinished";

/// What is known of a table's base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoldedTable {
    /// The table.
    pub table: TableName,
    /// The Time up to which its changes were folded.
    pub since: Time,
    /// How many rows the base has.
    pub rows: u64,
    /// How many bytes its file has.
    pub bytes: u64,
    /// The SHA-256 of its file.
    pub hash: Hash,
}

/// A table's base.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    pub(crate) since: Time,
    /// The first segment whose changes of the table are not in it.
    pub(crate) segment: u64,
    /// The number of its file.
    pub(crate) number: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) hash: Hash,
}

/// All bases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bases {
    /// The number of the next file.
    pub(crate) next: u64,
    /// Segments that are still to be rewritten: the first of them, and the one behind the last; equal for none.
    pub(crate) unthinned: (u64, u64),
    pub(crate) tables: BTreeMap<TableName, Base>,
}

impl Bases {
    /// The latest Time up to which something was folded.
    pub(crate) fn since(&self) -> Time {
        self.tables.values().map(|base| base.since).max().unwrap_or(Time::ZERO)
    }

    /// The bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        self.tables.values().map(|base| base.bytes).sum()
    }

    /// The Time up to which a table's changes were folded.
    pub(crate) fn since_of(&self, table: &TableName) -> Time {
        self.tables.get(table).map_or(Time::ZERO, |base| base.since)
    }

    /// The first segment whose changes of a table were not folded.
    pub(crate) fn segment_of(&self, table: &TableName) -> u64 {
        self.tables.get(table).map_or(1, |base| base.segment)
    }

    /// What is known of each.
    pub(crate) fn folded(&self) -> Vec<FoldedTable> {
        let table = |(table, base): (&TableName, &Base)| {
            let Base { since, rows, bytes, hash, .. } = *base;
            FoldedTable { table: table.clone(), since, rows, bytes, hash }
        };
        self.tables.iter().map(table).collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        let put = |bytes: &mut Vec<u8>, number: u64| bytes.extend_from_slice(&number.to_le_bytes());
        let (from, upto) = self.unthinned;
        for number in [self.next, from, upto, on_disk(self.tables.len())] {
            put(&mut bytes, number);
        }
        for (name, base) in &self.tables {
            for text in [&name.source, &name.table] {
                put(&mut bytes, on_disk(text.len()));
                bytes.extend_from_slice(text.as_bytes());
            }
            for number in [base.since.0, base.segment, base.number, base.rows, base.bytes] {
                put(&mut bytes, number);
            }
            bytes.extend_from_slice(&base.hash.0);
        }
        bytes.extend_from_slice(&crate::crc::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let (bytes, crc) = bytes.split_last_chunk::<4>().ok_or(FormatError::Short)?;
        if crate::crc::crc32c(bytes) != u32::from_le_bytes(*crc) {
            return Err(FormatError::PayloadChecksum);
        }
        let mut cursor = Cursor::new(bytes);
        if cursor.bytes(MAGIC.len())? != MAGIC {
            return Err(FormatError::Value("it is not a list of bases of this version"));
        }
        let mut bases = Self {
            next: cursor.u64()?,
            unthinned: (cursor.u64()?, cursor.u64()?),
            tables: BTreeMap::new(),
        };
        for _ in 0..cursor.u64()? {
            let name = TableName::new(take_text(&mut cursor)?, take_text(&mut cursor)?);
            let (since, segment, number) = (Time(cursor.u64()?), cursor.u64()?, cursor.u64()?);
            let (rows, bytes) = (cursor.u64()?, cursor.u64()?);
            let hash = cursor.bytes(proof::HASH_BYTES)?.try_into();
            let hash = Hash(hash.map_err(|_length| FormatError::Short)?);
            bases.tables.insert(name, Base { since, segment, number, rows, bytes, hash });
        }
        match cursor.left() {
            0 => Ok(bases),
            _ => Err(FormatError::Value("bytes are left behind the list of bases")),
        }
    }

    /// Writes the list beside the one that is there, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        let path = dir.join(DIRECTORY).join(UNFINISHED);
        let failed = |error| LogError::io("write", &path, error);
        let file = disk.create(&path).map_err(failed)?;
        file.write_at(&[&self.to_bytes()], 0).map_err(failed)?;
        file.sync().map_err(|error| LogError::sync(&path, error))
    }

    /// Puts the list that was written into its place, and into the log's state; not when a reader needs what it would
    /// take away. It is durable only when the directory is synced.
    pub(crate) fn install(
        self,
        disk: &dyn Disk,
        dir: &Path,
        state: &mut State,
    ) -> Result<bool, LogError> {
        let (from, upto) = self.unthinned;
        let reader = state.readers.values().min().copied().unwrap_or(u64::MAX);
        if from < upto && reader < upto {
            return Ok(false);
        }
        let dir = dir.join(DIRECTORY);
        let path = dir.join(NAME);
        disk.rename(&dir.join(UNFINISHED), &path)
            .map_err(|error| LogError::io("write", &path, error))?;
        state.bases = std::sync::Arc::new(self);
        Ok(true)
    }
}

impl Bases {
    /// Puts the list in the place of the one that is there, durably, when nobody has the log open.
    pub(crate) fn replace(&self, disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
        self.write(disk, dir)?;
        let (base_dir, path) = (dir.join(DIRECTORY), dir.join(LIST));
        let renamed = disk.rename(&base_dir.join(UNFINISHED), &path);
        renamed.map_err(|error| LogError::io("write", &path, error))?;
        disk.sync_dir(&base_dir).map_err(|error| LogError::unconfirmed(&path, error))
    }
}

fn take_text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, FormatError> {
    let length = usize::try_from(cursor.u64()?).map_err(|_large| FormatError::Short)?;
    cursor.text(length)
}

/// The file of a base.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(file_name(number))
}

/// The file of a base, below the log's directory.
pub(crate) fn file_name(number: u64) -> String {
    format!("{DIRECTORY}/{number:020}.base")
}

/// Reads the list of bases; empty when nothing was folded yet.
pub(crate) fn load(disk: &dyn Disk, dir: &Path) -> Result<Bases, LogError> {
    parse(dir, read(disk, dir)?.as_deref())
}

/// Reads the bytes of the list of bases; `None` when nothing was folded yet.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Vec<u8>>, LogError> {
    let path = dir.join(LIST);
    let failed = |error| LogError::io("read", &path, error);
    let file = match disk.open(&path, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    // What is only in memory says nothing of the disk.
    file.forget();
    let length = file.length().map_err(failed)?.min(on_disk(FRAME_BYTES_MAX));
    let mut bytes = vec![0; in_memory(length)];
    let read = file.read_at(&mut bytes, 0).map_err(failed)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

/// Understands the bytes of the list of bases.
pub(crate) fn parse(dir: &Path, bytes: Option<&[u8]>) -> Result<Bases, LogError> {
    let Some(bytes) = bytes else { return Ok(Bases::default()) };
    Bases::from_bytes(bytes).map_err(|reason| LogError::Damaged {
        segment: dir.join(LIST),
        offset: 0,
        reason,
        lost: Lost { from: Time(1), until: None },
    })
}

/// Removes the files of bases that the list does not know: of a fold that was not finished, or was followed by another.
pub(crate) fn clear(disk: &dyn Disk, dir: &Path, bases: &Bases) -> Result<(), LogError> {
    let base_dir = dir.join(DIRECTORY);
    let failed = |error| LogError::io("clear", &base_dir, error);
    let names = match disk.list(&base_dir) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let known = |name: &str| {
        let number = name.strip_suffix(".base").and_then(|digits| digits.parse().ok());
        number.is_none_or(|number: u64| bases.tables.values().any(|base| base.number == number))
    };
    for name in names {
        if name == UNFINISHED || !known(&name) {
            disk.remove(&base_dir.join(name)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Reads arbitrary bytes as a list, once as they are and once with their checksum made right.
pub(crate) fn exercise(bytes: &[u8]) {
    let body = bytes.get(..bytes.len().saturating_sub(4)).unwrap_or_default();
    let right = [body, &crate::crc::crc32c(body).to_le_bytes()].concat();
    for bytes in [bytes, &right] {
        if let Ok(bases) = Bases::from_bytes(bytes) {
            assert_eq!(Bases::from_bytes(&bases.to_bytes()).as_ref(), Ok(&bases));
        }
    }
}
