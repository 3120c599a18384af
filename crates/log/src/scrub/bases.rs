//! Bases, compared with what the list of bases says of them.
//!
//! The list has the SHA-256 of each base. Who reads while history is folded may find another list than that of a moment
//! ago, and a base gone: what was found counts only when the list is still the same.

use std::io::ErrorKind;
use std::path::Path;

use change::{TableName, Time};
use proof::Hash;
use sha2::{Digest, Sha256};

use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::format::{FrameKind, Header};
use crate::limits::{LISTED_TIMES_MAX, THIN_BUFFER_BYTES, on_disk};
use crate::retention::{self, Base, Bases, LIST};
use crate::scrub::survey::Pace;
use crate::scrub::{Damage, DamageKind, Scrubbed, Scrubber};
use crate::segment::{Frames, ReadError};

impl Scrubber {
    /// Reads all bases. When segments were rewritten, there must be a list.
    pub(super) fn bases(
        &self,
        any_thin: bool,
        scrubbed: &mut Scrubbed,
        pace: &mut Pace<'_>,
    ) -> Result<(), LogError> {
        for _ in 0..LISTED_TIMES_MAX {
            let list = match retention::read(&*self.disk, &self.dir) {
                Ok(list) => list,
                Err(LogError::Io { source, .. }) => {
                    let reason = format!("the disk does not give it back: {source}");
                    scrubbed.damage.push(of_list(reason, 0));
                    return Ok(());
                }
                Err(error) => return Err(error),
            };
            let bytes = list.as_ref().map_or(0, |list| on_disk(list.len()));
            let bases = match list.as_deref().map(Bases::from_bytes) {
                Some(Ok(bases)) => bases,
                Some(Err(reason)) => {
                    scrubbed.damage.push(of_list(reason.to_string(), bytes));
                    return Ok(());
                }
                None => Bases::default(),
            };
            let mut damage = Vec::new();
            if any_thin && bases.tables.is_empty() {
                damage.push(of_list("the list of bases is missing".to_owned(), 0));
            }
            for (table, base) in &bases.tables {
                damage.extend(self.base(table, base, pace)?);
            }
            if damage.is_empty() || retention::read(&*self.disk, &self.dir)? == list {
                scrubbed.bases += on_disk(bases.tables.len());
                scrubbed.damage.extend(damage);
                return Ok(());
            }
        }
        Ok(())
    }

    fn base(
        &self,
        table: &TableName,
        base: &Base,
        pace: &mut Pace<'_>,
    ) -> Result<Option<Damage>, LogError> {
        let wrong = match hash_of(&*self.disk, &self.dir, base.number, pace) {
            Ok(Some(hash)) if hash == base.hash => return Ok(None),
            Ok(Some(_)) => "the base is not the one that was written".to_owned(),
            // It was ended amid that.
            Ok(None) => return Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => "the base is missing".to_owned(),
            Err(error) => format!("the disk does not give it back: {error}"),
        };
        let offset = first_wrong(&*self.disk, &self.dir, base.number).unwrap_or(0);
        Ok(Some(Damage {
            kind: DamageKind::Segment,
            file: retention::file_name(base.number),
            offset,
            bytes: base.bytes.saturating_sub(offset),
            times: (base.since > Time::ZERO).then_some((Time(1), base.since)),
            tables: vec![table.to_string()],
            reason: wrong,
            since_us: 0,
        }))
    }
}

/// Where the first frame of a base is that cannot be read; `None` when all can.
pub(crate) fn first_wrong(disk: &dyn Disk, dir: &Path, number: u64) -> Option<u64> {
    let frames = Frames::open_file(disk, retention::path(dir, number), number);
    let Ok((mut frames, length)) = frames.and_then(|frames| frames.length().map(|it| (frames, it)))
    else {
        return Some(0);
    };
    let (mut offset, mut ended) = (0, false);
    while offset < length {
        let mut frame = || -> Result<Header, ReadError> {
            let header = frames.header(offset, length)?;
            frames.stored(&header)?;
            Ok(header)
        };
        match frame() {
            Ok(header) => (offset, ended) = (header.end(), header.kind == FrameKind::Close),
            Err(_) => return Some(offset),
        }
    }
    (!ended).then_some(offset)
}

fn of_list(reason: String, bytes: u64) -> Damage {
    Damage {
        kind: DamageKind::Segment,
        file: LIST.to_owned(),
        offset: 0,
        bytes,
        times: None,
        tables: Vec::new(),
        reason,
        since_us: 0,
    }
}

/// The SHA-256 of a base; `None` when it was ended amid that.
pub(crate) fn hash_of(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    pace: &mut Pace<'_>,
) -> std::io::Result<Option<Hash>> {
    let file = disk.open(&retention::path(dir, number), Access::Read)?;
    // What is only in memory says nothing of the disk.
    file.forget();
    let (mut hash, mut chunk, mut offset) = (Sha256::new(), vec![0; THIN_BUFFER_BYTES], 0);
    loop {
        let read = file.read_at(&mut chunk, offset)?;
        hash.update(&chunk[..read]);
        offset += on_disk(read);
        if read < chunk.len() {
            file.forget();
            return Ok(Some(Hash(hash.finalize().into())));
        }
        if pace(on_disk(read)).is_break() {
            return Ok(None);
        }
    }
}
