//! Files that a copy gives back as a whole: bases, and segments of which the one here or the one in the copy was rewritten
//! when history was folded.
//!
//! A copy from before the fold has a segment that holds more than it has to. That is right: the list of bases says which
//! changes are in a base, and the segment is to be rewritten once more. A copy that was folded further lacks what no base
//! here has, and is refused.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;

use change::Time;

use super::{Damage, DamageKind, Mended, Mender, Refused, file_name, lacks, new_path};
use crate::error::LogError;
use crate::format::{FLAG_THIN, FrameKind, HEADER_BYTES, Header, Place};
use crate::limits::{THIN_BUFFER_BYTES, on_disk};
use crate::recovery::read_first;
use crate::retention::{self, Base, Bases, LIST};
use crate::scrub::bases::{first_wrong, hash_of};
use crate::scrub::survey::{self, Ending};
use crate::segment::{self, Frames};

/// What tells a frame from any other in its place, however much is left of it.
type Sign = (Time, i64);

impl Mender<'_> {
    /// Puts damaged bases back that the copy has.
    pub(super) fn bases(&mut self, damage: &[Damage]) -> Result<(), LogError> {
        let Ok(bases) = retention::load(&**self.disk, self.dir) else { return Ok(()) };
        for base in bases.tables.values() {
            let file = retention::file_name(base.number);
            let Some(damage) = damage.iter().find(|damage| damage.file == file) else { continue };
            match self.base(base)? {
                None => self.repaired.restored.push(damage.clone()),
                Some(why) => drop(self.repaired.refused.insert(file, why)),
            }
        }
        Ok(())
    }

    /// Puts bases back that are not whole, when no list says which there are: those that the copy's list names. Whether
    /// they belong here, the log says when the list is made again.
    pub(super) fn bases_unlisted(&mut self) -> Result<(), LogError> {
        let Ok(theirs) = self.their_list() else { return Ok(()) };
        for base in theirs.tables.values() {
            if first_wrong(&**self.disk, self.dir, base.number).is_some() {
                let file = retention::file_name(base.number);
                match self.base(base)? {
                    None => drop(self.repaired.refused.remove(&file)),
                    Some(why) => drop(self.repaired.refused.insert(file, why)),
                }
            }
        }
        Ok(())
    }

    /// Puts a base in its place that the copy has; says why not when it has not.
    fn base(&mut self, base: &Base) -> Result<Option<String>, LogError> {
        let file = retention::file_name(base.number);
        let (path, name) = (self.dir.join(&file), self.copies.name());
        // Under a number that no list knows, it is removed at the next start if it stays.
        let number = u64::MAX;
        let new = retention::path(self.dir, number);
        let why = match self.fetch(&file, &new, base.bytes) {
            Ok(()) => {
                let go_on = &mut |_| ControlFlow::Continue(());
                let hash = hash_of(&**self.disk, self.dir, number, go_on);
                let hash = hash.map_err(|error| LogError::io("read", &new, error))?;
                (hash != Some(base.hash)).then(|| format!("{name} holds another {file}"))
            }
            Err(Refused::Copy(why)) => Some(why),
            Err(Refused::Log(error)) => return Err(error),
        };
        if why.is_some() {
            self.remove(&new)?;
            return Ok(why);
        }
        let was_missing = self.disk.open(&path, crate::Access::Read).is_err();
        self.put_file(&new, &path, was_missing)?;
        Ok(None)
    }

    /// What the copy's list of bases says.
    fn their_list(&mut self) -> Result<Bases, Refused> {
        let length = self.copies.length(LIST)?.unwrap_or(0);
        let list = self.copies.read(LIST, 0..length)?.filter(|list| !list.is_empty());
        let unknown = || {
            let name = self.copies.name();
            Refused::Copy(format!(
                "{name} does not say what was folded in it: its {LIST} is missing or damaged"
            ))
        };
        list.and_then(|list| Bases::from_bytes(&list).ok()).ok_or_else(unknown)
    }

    /// Whether a segment was rewritten, here or in the copy.
    pub(super) fn is_thin(&mut self, number: u64, is_there: bool) -> Result<bool, Refused> {
        let ours = is_there && Frames::open_damaged(&*self.overlay, self.dir, number)?.is_thin();
        Ok(ours || self.theirs_is_thin(number)?)
    }

    fn theirs_is_thin(&mut self, number: u64) -> Result<bool, Refused> {
        let first = self.copies.read(&file_name(number), 0..on_disk(HEADER_BYTES))?;
        let place = Place { segment: number, offset: 0 };
        let first = first.and_then(|bytes| Header::from_bytes(&bytes, place).ok());
        Ok(first.is_some_and(|header| header.flags & FLAG_THIN != 0))
    }

    /// Writes the new file of a segment from all that the copy has of it; says why not when the copy does not help.
    pub(super) fn prepare_whole(
        &mut self,
        number: u64,
        is_there: bool,
        damage: Vec<Damage>,
    ) -> Result<Result<Mended, String>, LogError> {
        match self.whole(number, is_there, damage) {
            Ok(mended) => Ok(Ok(mended)),
            Err(refused) => {
                let new = new_path(self.dir, number);
                self.overlay.remove(&segment::path(self.dir, number));
                self.remove(&new)?;
                match refused {
                    Refused::Copy(why) => Ok(Err(why)),
                    Refused::Log(error) => Err(error),
                }
            }
        }
    }

    fn whole(
        &mut self,
        number: u64,
        is_there: bool,
        damage: Vec<Damage>,
    ) -> Result<Mended, Refused> {
        let (name, file) = (self.copies.name(), file_name(number));
        let is_thin = self.theirs_is_thin(number)?;
        // Without the list it is not known what was folded; then it is listed again when the segments are whole.
        let ours = match retention::load(&**self.disk, self.dir) {
            Err(LogError::Damaged { .. }) => None,
            loaded => Some(loaded?),
        };
        match &ours {
            _ if !is_thin => {}
            Some(ours) => self.must_not_lack(number, ours)?,
            None if is_there && self.is_as_long(number)? => {}
            None => {
                let why = format!("{LIST} is damaged too: what was folded here is not known");
                return Err(Refused::Copy(why));
            }
        }
        let ending = self.ending(number);
        let known = if is_there { self.signs(number, ending, &damage)? } else { BTreeMap::new() };
        let length = self.copies.length(&file)?;
        let Some(length) = length else { return Err(self.lacks(number)) };
        let bytes = match ending {
            // Behind the end there may be room that was allocated ahead.
            Ending::At(end, _) if !is_thin => end,
            Ending::At(..) | Ending::Sealed | Ending::Open => length,
        };
        let new = new_path(self.dir, number);
        self.fetch(&file, &new, bytes)?;
        self.overlay.put(segment::path(self.dir, number), new);
        if !self.is_whole(number)? {
            return Err(Refused::Copy(format!("{name} is damaged there too, in {file}")));
        }
        let mut frames = Frames::open(&*self.overlay, self.dir, number)?;
        let log_id = read_first(&mut frames)?.1.log_id;
        let found = self.signs(number, ending, &[])?;
        let differs =
            |(offset, sign): (&u64, &Sign)| found.get(offset).is_some_and(|it| it != sign);
        if !self.is_ours(number, Some(log_id)) || known.iter().any(differs) {
            return Err(self.other_log());
        }
        let mut bases = ours.iter().flat_map(|ours| ours.tables.values());
        let is_folded = bases.any(|base| base.segment > number);
        let is_to_be_thinned = !is_thin && is_folded;
        Ok(Mended { number, damage, was_missing: !is_there, is_to_be_thinned })
    }

    /// Whether a rewritten segment is as long as its copy: then it was rewritten there as often as here.
    fn is_as_long(&mut self, number: u64) -> Result<bool, Refused> {
        let frames = Frames::open_damaged(&*self.overlay, self.dir, number)?;
        let ours = if frames.is_thin() { Some(frames.length()?) } else { None };
        Ok(ours.is_some() && ours == self.copies.length(&file_name(number))?)
    }

    /// Fails when the copy's segment lacks what no base here has.
    fn must_not_lack(&mut self, number: u64, ours: &Bases) -> Result<(), Refused> {
        let theirs = self.their_list()?;
        let further = theirs
            .tables
            .iter()
            .find(|(table, base)| base.segment > number && ours.segment_of(table) <= number);
        match further {
            None => Ok(()),
            Some((table, base)) => Err(Refused::Copy(format!(
                "{} was folded further: of {table} it has no changes up to Time {}, and no base here has them",
                self.copies.name(),
                base.since
            ))),
        }
    }

    /// What tells the frames of a segment that can be read, by their offsets; without those that are not what was signed.
    fn signs(
        &self,
        number: u64,
        ending: Ending,
        damage: &[Damage],
    ) -> Result<BTreeMap<u64, Sign>, LogError> {
        let mut signs = BTreeMap::new();
        let altered = |at: u64| {
            let mut altered = damage.iter().filter(|it| it.kind == DamageKind::Altered);
            altered.any(|it| it.offset == at)
        };
        let mut each = |header: &Header, at: u64, _| match header.kind {
            FrameKind::Transactions | FrameKind::Gap | FrameKind::Schema if !altered(at) => {
                signs.insert(header.place.offset, (header.first_time, header.wall_clock_us));
            }
            FrameKind::Transactions
            | FrameKind::Gap
            | FrameKind::Schema
            | FrameKind::Preamble
            | FrameKind::Close
            | FrameKind::Base => {}
        };
        let mut go_on = |_| ControlFlow::Continue(());
        survey::survey(&*self.overlay, (self.dir, number), ending, &mut go_on, &mut each)?;
        Ok(signs)
    }

    /// Writes so many bytes of a file of the copy to a new file, durably.
    fn fetch(&mut self, file: &str, new: &Path, bytes: u64) -> Result<(), Refused> {
        let failed = |error| LogError::io("write", new, error);
        let written = self.disk.create(new).map_err(failed)?;
        let mut offset = 0;
        while offset < bytes {
            let until = bytes.min(offset + on_disk(THIN_BUFFER_BYTES));
            let Some(piece) = self.copies.read(file, offset..until)? else {
                return Err(Refused::Copy(lacks(&self.copies.name(), file)));
            };
            written.write_at(&[&piece], offset).map_err(failed)?;
            offset = until;
        }
        written.sync().map_err(|error| LogError::unconfirmed(new, error))?;
        Ok(())
    }

    /// Says that a segment is to be rewritten, with the next fold.
    pub(super) fn list_unthinned(&self, number: u64) -> Result<(), LogError> {
        let mut bases = retention::load(&**self.disk, self.dir)?;
        let (from, upto) = bases.unthinned;
        bases.unthinned = if from < upto {
            (from.min(number), upto.max(number + 1))
        } else {
            (number, number + 1)
        };
        bases.replace(&**self.disk, self.dir)
    }

    fn remove(&self, path: &Path) -> Result<(), LogError> {
        match self.disk.remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LogError::io("remove", path, error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}
