//! Repair: damaged bytes of segments are taken from a copy; what is derived is made again.
//!
//! ```text
//! survey ──► bytes of the copy ──► checked ──► a new file, synced ──► compared with the tree ──► in its place
//! ```
//!
//! A copy is whatever gives bytes of the log's files: a copied directory ([`CopiedDirectory`]), a backup. It is not believed:
//!
//! - its bytes must be whole frames that belong exactly there, with the Times that belong there;
//! - the frames beside them must be, in the copy, those that are here: it is a copy of this log, not of one that went on
//!   by itself;
//! - where the tree covers them, they must be what was signed.
//!
//! Where history was folded, here or in the copy, a segment's bytes need not be where the copy has them. Then the segment is
//! taken from the copy as a whole. A base is what the list of bases says; the list itself follows from what
//! the log says of the bases that are there; leaves of transactions that are gone are compared with the tree's root.
//!
//! Nothing of the log is touched before all of that holds for a file. Then the new file takes the place of the damaged
//! one in one step, and the damaged one stays aside, in `damaged/`. Nobody else may have the log open for writing.

mod copies;
mod whole;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use change::Time;

use crate::Log;
use crate::disk::{self, Access, Disk, DiskFile};
use crate::error::LogError;
use crate::format::{HEADER_BYTES, Header, Place};
use crate::limits::{in_memory, on_disk};
use crate::preamble::Preamble;
use crate::recovery::read_first;
use crate::retention::{self, LIST};
use crate::scrub::record::{self, Record};
use crate::scrub::survey::{self, Ending, Wound};
use crate::scrub::{Damage, DamageKind, Scrubbed, Scrubber, scrub};
use crate::segment::{self, Frames};

pub use copies::{CopiedDirectory, Copies};

/// What a repair did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// The damage whose bytes were taken from the copy.
    pub restored: Vec<Damage>,
    /// How many tiles and indexes were made again.
    pub made_again: u64,
    /// Where the damaged files are now.
    pub kept: Vec<PathBuf>,
    /// What is damaged still.
    pub left: Vec<Damage>,
    /// Why the copy did not help, for files that are in `left`.
    pub refused: BTreeMap<String, String>,
    /// What is not certain.
    pub warnings: Vec<String>,
    /// How many transactions were compared with the tree in the end.
    pub compared: u64,
}

/// Repairs a log that nobody has open: damaged segments and bases from a copy, when there is one; tiles, indexes and the
/// list of bases from what is there.
///
/// # Errors
/// When there is no log, or a file cannot be read or written. Nothing is half done then: a segment is as it was, or repaired.
pub fn repair(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    mut copies: Option<&mut dyn Copies>,
    now_us: i64,
) -> Result<Repaired, LogError> {
    let go_on = |_| ControlFlow::Continue(());
    let mut found = scrub(dir, disk, now_us, go_on)?;
    let mut repaired = Repaired::default();
    // Without the list of bases not all damage is found, and with damage perhaps not the list.
    for _ in 0..2 {
        let is_listed = !found.damage.iter().any(|damage| damage.file == LIST);
        if !is_listed {
            if let Some(copies) = copies.as_deref_mut() {
                Mender::new((dir, disk), copies, &mut repaired).bases_unlisted()?;
            }
            list_again(dir, disk, &found.damage, &mut repaired)?;
            found = scrub(dir, disk, now_us, go_on)?;
        }
        if let Some(copies) = copies.as_deref_mut() {
            Mender::new((dir, disk), copies, &mut repaired).mend(&found)?;
        }
        if is_listed {
            break;
        }
        found = scrub(dir, disk, now_us, go_on)?;
    }
    // Once more from the beginning, as anybody would read it.
    let after = match Log::open_read_only(dir, Arc::clone(disk)) {
        Ok((log, _)) => {
            let shared = Some(Arc::clone(&log.shared));
            let scrubber = Scrubber { disk: Arc::clone(disk), dir: dir.to_owned(), shared };
            let (mut after, mut tiles) = scrubber.pass(false, now_us, &mut |_| go_on(0))?;
            if let Some(copies) = copies {
                tiles.fill(|tile, count| copies.leaves(tile, count).ok().flatten());
            }
            scrubber.make_again(&mut after, &mut tiles)?;
            after
        }
        Err(_damaged) => scrub(dir, disk, now_us, go_on)?,
    };
    repaired.compared = after.compared;
    repaired.made_again += after.made_again;
    repaired.left = after.damage;
    let record = Record { passed_us: now_us, damage: repaired.left.clone() };
    record::save(&**disk, dir, &record)?;
    Ok(repaired)
}

/// Makes the list of bases again, and keeps the damaged one aside.
fn list_again(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    damage: &[Damage],
    repaired: &mut Repaired,
) -> Result<(), LogError> {
    let bases = match retention::listed_again(dir, disk) {
        Ok(Ok(bases)) => bases,
        Ok(Err(why)) => {
            repaired.refused.insert(LIST.to_owned(), why);
            return Ok(());
        }
        // What is wrong besides is told.
        Err(LogError::Damaged { .. } | LogError::Missing { .. }) => return Ok(()),
        Err(error) => return Err(error),
    };
    let (path, aside) = (dir.join(LIST), aside(&**disk, dir, "list")?);
    match disk.keep(&path, &aside) {
        Ok(()) => repaired.kept.push(aside),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(LogError::io("repair", &path, error)),
    }
    bases.replace(&**disk, dir)?;
    repaired.refused.remove(LIST);
    repaired.restored.extend(damage.iter().filter(|damage| damage.file == LIST).cloned());
    Ok(())
}

struct Mender<'a> {
    dir: &'a Path,
    disk: &'a Arc<dyn Disk>,
    /// The log as it will be.
    overlay: Arc<Overlay>,
    copies: &'a mut dyn Copies,
    repaired: &'a mut Repaired,
}

/// Good bytes of a segment.
struct Piece {
    offset: u64,
    bytes: Vec<u8>,
    /// Whether the segment ends with them.
    is_end: bool,
}

/// A segment whose new file is written and is not in its place yet.
struct Mended {
    number: u64,
    damage: Vec<Damage>,
    was_missing: bool,
    /// Whether it holds history that was folded.
    is_to_be_thinned: bool,
}

impl<'a> Mender<'a> {
    fn new(
        (dir, disk): (&'a Path, &'a Arc<dyn Disk>),
        copies: &'a mut dyn Copies,
        repaired: &'a mut Repaired,
    ) -> Self {
        let overlay = Arc::new(Overlay { inner: Arc::clone(disk), instead: Mutex::default() });
        Self { dir, disk, overlay, copies, repaired }
    }

    fn mend(&mut self, found: &Scrubbed) -> Result<(), LogError> {
        self.bases(&found.damage)?;
        let mut numbers: Vec<u64> = found
            .damage
            .iter()
            .filter(|damage| damage.kind != DamageKind::Derived)
            .filter_map(|damage| segment::number(&damage.file))
            .collect();
        numbers.dedup();
        let mut mended = Vec::new();
        // From the last: what is repaired of a segment says where the one before it ends.
        for &number in numbers.iter().rev() {
            let file = file_name(number);
            let of_file =
                |damage: &&Damage| damage.file == file && damage.kind != DamageKind::Derived;
            let damage: Vec<Damage> = found.damage.iter().filter(of_file).cloned().collect();
            match self.prepare(number, damage)? {
                Ok(ready) => mended.push(ready),
                Err(why) => drop(self.repaired.refused.insert(file, why)),
            }
        }
        mended.reverse();
        for ready in mended {
            match self.is_signed(ready.number) {
                Some(true) => self.put(ready)?,
                None => {
                    let file = file_name(ready.number);
                    let copy = self.copies.name();
                    self.repaired.warnings.push(format!(
                        "{file} is as {copy} has it now, and not all of it could be compared with what was signed"
                    ));
                    self.put(ready)?;
                }
                Some(false) => {
                    let why =
                        format!("{} holds other transactions than were signed", self.copies.name());
                    self.repaired.refused.insert(file_name(ready.number), why);
                    self.discard(ready.number)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the new file of a segment; says why not when the copy does not help.
    fn prepare(
        &mut self,
        number: u64,
        damage: Vec<Damage>,
    ) -> Result<Result<Mended, String>, LogError> {
        let path = segment::path(self.dir, number);
        let is_there = survey::numbers(&**self.disk, self.dir)?.contains(&number);
        match self.is_thin(number, is_there) {
            Ok(true) => return self.prepare_whole(number, is_there, damage),
            Ok(false) => {}
            Err(Refused::Copy(why)) => return Ok(Err(why)),
            Err(Refused::Log(error)) => return Err(error),
        }
        let pieces = match self.pieces(number, is_there, &damage) {
            Ok(pieces) => pieces,
            Err(Refused::Copy(why)) => return Ok(Err(why)),
            Err(Refused::Log(error)) => return Err(error),
        };
        let new = new_path(self.dir, number);
        let failed = |error| LogError::io("write", &new, error);
        if is_there {
            disk::copy(&**self.disk, &path, &new).map_err(failed)?;
        } else {
            self.disk.create(&new).map_err(failed)?;
        }
        let file = self.disk.open(&new, Access::Write).map_err(failed)?;
        for Piece { offset, bytes, is_end } in &pieces {
            file.write_at(&[bytes], *offset).map_err(failed)?;
            if *is_end {
                file.truncate(offset + on_disk(bytes.len())).map_err(failed)?;
            }
        }
        if let Ending::At(end, _) = self.ending(number) {
            file.truncate(end).map_err(failed)?;
        }
        file.sync().map_err(|error| LogError::unconfirmed(&new, error))?;
        self.overlay.put(path, new);
        Ok(match self.is_whole(number)? {
            true => Ok(Mended { number, damage, was_missing: !is_there, is_to_be_thinned: false }),
            false => {
                self.discard(number)?;
                Err(format!("with what {} has, it is not whole", self.copies.name()))
            }
        })
    }

    /// The copy's bytes for all that is damaged of a segment, checked.
    fn pieces(
        &mut self,
        number: u64,
        is_there: bool,
        damage: &[Damage],
    ) -> Result<Vec<Piece>, Refused> {
        let (mut wounds, mut altered) = (Vec::new(), Vec::new());
        let ending = self.ending(number);
        if is_there {
            let (disk, dir) = (Arc::clone(&self.overlay), self.dir);
            let mut go_on = |_| ControlFlow::Continue(());
            let found =
                survey::survey(&*disk, (dir, number), ending, &mut go_on, &mut |_, _, _| {})?;
            wounds = found.wounds;
            // Frames that are whole and not what was signed.
            let found = damage.iter().filter(|damage| damage.kind == DamageKind::Altered);
            altered.extend(found.filter_map(|damage| self.altered(number, damage)));
        } else {
            let length = match ending {
                Ending::At(end, _) => Some(end),
                Ending::Sealed | Ending::Open => self.copies.length(&file_name(number))?,
            };
            let Some(until) = length else { return Err(self.lacks(number)) };
            let reason = String::new();
            let behind = survey::first_of(&*self.overlay, self.dir, number + 1);
            let before = Time::ZERO;
            let (from, held, previous) = (0, 0..until, None);
            wounds.push(Wound { from, until, held, reason, before, behind, previous });
        }
        // When nothing here says where the frames end, the copy does. Of a frame that is whole it is known.
        let is_end = |wound: &Wound| wound.behind.is_none() && !matches!(ending, Ending::At(..));
        let all = wounds.iter().map(|wound| (wound, is_end(wound)));
        let all = all.chain(altered.iter().map(|wound| (wound, false)));
        all.map(|(wound, is_end)| self.piece(number, wound, is_end)).collect()
    }

    /// A frame that is whole and not what was signed, as a wound. Its damage tells those of its transactions that differ.
    fn altered(&self, number: u64, damage: &Damage) -> Option<Wound> {
        let place = Place { segment: number, offset: damage.offset };
        let header = Header::from_bytes(&self.header_at(number, damage.offset)?, place).ok()?;
        let (from, until) = (damage.offset, damage.offset + damage.bytes);
        Some(Wound {
            from,
            until,
            held: from..until,
            reason: damage.reason.clone(),
            before: header.first_time,
            behind: Some(header.next_time()),
            previous: None,
        })
    }

    fn piece(&mut self, number: u64, wound: &Wound, is_end: bool) -> Result<Piece, Refused> {
        let mut until = wound.until;
        if is_end {
            until = self.copies.length(&file_name(number))?.unwrap_or(0).max(wound.from);
        }
        let bytes = self.copies.read(&file_name(number), wound.from..until)?;
        let Some(mut bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
            return Err(self.lacks(number));
        };
        let place = Place { segment: number, offset: wound.from };
        let (headers, whole) = whole_frames(&bytes, place);
        if headers.is_empty() || (whole < bytes.len() && !is_end) {
            return Err(Refused::Copy(format!("{} is damaged there too", self.copies.name())));
        }
        bytes.truncate(whole);
        let first = headers.first().map(|header| header.first_time);
        let last = headers.last().map(Header::next_time);
        let is_known = wound.before == Time::ZERO || first == Some(wound.before);
        if !is_known || wound.behind.is_some_and(|behind| last != Some(behind)) {
            return Err(self.other_log());
        }
        self.check_neighbours(number, wound, &bytes)?;
        if let Some(last) = last.filter(|_| is_end) {
            let (file, copy) = (file_name(number), self.copies.name());
            self.repaired.warnings.push(format!(
                "{file} ends before Time {last} now, as {copy} has it: what was written behind that is lost, if \
                 there was anything"
            ));
        }
        Ok(Piece { offset: wound.from, bytes, is_end })
    }

    /// Whether what lies beside the damage is the same in the copy.
    fn check_neighbours(
        &mut self,
        number: u64,
        wound: &Wound,
        bytes: &[u8],
    ) -> Result<(), Refused> {
        let beside = [wound.previous, Some(wound.until)];
        for offset in beside.into_iter().flatten() {
            let Some(ours) = self.header_at(number, offset) else { continue };
            let header = offset..offset + on_disk(HEADER_BYTES);
            let theirs = self.copies.read(&file_name(number), header)?;
            // A copy may end right behind.
            if theirs.is_some_and(|theirs| theirs != ours) {
                return Err(self.other_log());
            }
        }
        if wound.from == 0 && !self.is_ours(number, preamble_in(bytes).map(|it| it.log_id)) {
            return Err(self.other_log());
        }
        Ok(())
    }

    /// Whether a segment's log id is that of the segments beside it.
    fn is_ours(&self, number: u64, theirs: Option<[u8; 16]>) -> bool {
        let beside = [number.checked_sub(1), number.checked_add(1)].into_iter().flatten();
        let ours = beside.filter_map(|beside| self.log_id(beside)).next();
        ours.is_none_or(|ours| theirs == Some(ours))
    }

    /// The bytes of a whole header in the log as it is.
    fn header_at(&self, number: u64, offset: u64) -> Option<Vec<u8>> {
        let file = self.overlay.open(&segment::path(self.dir, number), Access::Read).ok()?;
        let mut bytes = vec![0; HEADER_BYTES];
        let read = file.read_at(&mut bytes, offset).ok()?;
        let place = Place { segment: number, offset };
        let is_header = read == bytes.len() && Header::from_bytes(&bytes, place).is_ok();
        is_header.then_some(bytes)
    }

    fn log_id(&self, number: u64) -> Option<[u8; 16]> {
        let mut frames = Frames::open(&*self.overlay, self.dir, number).ok()?;
        Some(read_first(&mut frames).ok()?.1.log_id)
    }

    fn ending(&self, number: u64) -> Ending {
        let last =
            survey::numbers(&*self.overlay, self.dir).ok().and_then(|all| all.last().copied());
        match survey::end_of(&*self.overlay, self.dir, number) {
            Some((end, next)) => Ending::At(end, next),
            None if last.is_some_and(|last| number < last) => Ending::Sealed,
            None => Ending::Open,
        }
    }

    fn is_whole(&self, number: u64) -> Result<bool, LogError> {
        let mut go_on = |_| ControlFlow::Continue(());
        let place = (self.dir, number);
        let found = survey::survey(
            &*self.overlay,
            place,
            self.ending(number),
            &mut go_on,
            &mut |_, _, _| {},
        )?;
        Ok(found.wounds.is_empty())
    }

    /// Whether a segment as it will be is what was signed; `None` when that cannot be known, as when more is damaged.
    fn is_signed(&self, number: u64) -> Option<bool> {
        let disk = Arc::clone(&self.overlay) as Arc<dyn Disk>;
        let (log, _) = Log::open_read_only(self.dir, Arc::clone(&disk)).ok()?;
        let shared = Some(Arc::clone(&log.shared));
        let scrubber = Scrubber { disk, dir: self.dir.to_owned(), shared };
        scrubber.is_signed(number)
    }

    /// Puts a repaired segment in its place.
    fn put(&mut self, ready: Mended) -> Result<(), LogError> {
        let Mended { number, damage, was_missing, is_to_be_thinned } = ready;
        let (path, new) = (segment::path(self.dir, number), new_path(self.dir, number));
        if is_to_be_thinned {
            self.list_unthinned(number)?;
        }
        self.put_file(&new, &path, was_missing)?;
        self.overlay.remove(&path);
        self.repaired.restored.extend(damage);
        Ok(())
    }

    /// Puts a new file in the place of a damaged one, which is kept aside.
    fn put_file(&mut self, new: &Path, path: &Path, was_missing: bool) -> Result<(), LogError> {
        let failed = |error| LogError::io("repair", path, error);
        if !was_missing {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let aside = aside(&**self.disk, self.dir, &name.unwrap_or_default())?;
            self.disk.keep(path, &aside).map_err(failed)?;
            self.disk.sync_dir(&self.dir.join(ASIDE)).map_err(failed)?;
            self.repaired.kept.push(aside);
        }
        self.disk.rename(new, path).map_err(failed)?;
        let above = path.parent().unwrap_or(self.dir);
        self.disk.sync_dir(above).map_err(|error| LogError::unconfirmed(path, error))
    }

    fn discard(&mut self, number: u64) -> Result<(), LogError> {
        let new = new_path(self.dir, number);
        self.overlay.remove(&segment::path(self.dir, number));
        self.disk.remove(&new).map_err(|error| LogError::io("remove", &new, error))
    }

    fn lacks(&self, number: u64) -> Refused {
        Refused::Copy(lacks(&self.copies.name(), &file_name(number)))
    }

    fn other_log(&self) -> Refused {
        Refused::Copy(format!(
            "{} is of another log, or of one that went on by itself: what lies beside is not the same",
            self.copies.name()
        ))
    }
}

fn lacks(copies: &str, file: &str) -> String {
    format!("{copies} does not hold these bytes of {file}")
}

/// A name for a damaged file that is not taken.
fn aside(disk: &dyn Disk, dir: &Path, file: &str) -> Result<PathBuf, LogError> {
    let dir = dir.join(ASIDE);
    let failed = |error| LogError::io("create", &dir, error);
    disk.create_dir(&dir).map_err(failed)?;
    let taken = disk.list(&dir).map_err(failed)?;
    let names = (0_u64..).map(|count| match count {
        0 => file.to_owned(),
        count => format!("{file}.{count}"),
    });
    let free = names.into_iter().find(|name| !taken.contains(name));
    Ok(dir.join(free.expect("numbers do not end")))
}

/// Where damaged files are kept.
const ASIDE: &str = "damaged";

/// Why a copy's bytes are not taken.
enum Refused {
    /// They do not help.
    Copy(String),
    /// The log's own files cannot be read.
    Log(LogError),
}

impl From<LogError> for Refused {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Copy(format!("the copy cannot be read: {error}"))
    }
}

fn file_name(number: u64) -> String {
    segment::path(Path::new(""), number).to_string_lossy().into_owned()
}

/// Where the new file of a segment is written.
fn new_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{}.repaired", file_name(number)))
}

/// The headers of the whole frames that some bytes begin with, and where those end.
fn whole_frames(bytes: &[u8], place: Place) -> (Vec<Header>, usize) {
    let (mut headers, mut at): (Vec<Header>, usize) = (Vec::new(), 0);
    while let Some(header) = whole_frame(bytes, at, place) {
        if headers.last().is_some_and(|before| before.next_time() != header.first_time) {
            break;
        }
        at = in_memory(header.end() - place.offset);
        headers.push(header);
    }
    (headers, at)
}

/// The header of the frame at `at` within bytes that begin at `place`, when all of it is there.
fn whole_frame(bytes: &[u8], at: usize, place: Place) -> Option<Header> {
    let rest = bytes.get(at..)?;
    let offset = place.offset + on_disk(at);
    let header = Header::from_bytes(rest, Place { offset, ..place }).ok()?;
    let leaves_end = HEADER_BYTES + in_memory(header.leaves_bytes());
    let payload_end = leaves_end + header.payload_length as usize;
    let leaves = crate::crc::crc32c(rest.get(HEADER_BYTES..leaves_end)?);
    let payload = crate::crc::crc32c(rest.get(leaves_end..payload_end)?);
    let is_whole = (leaves, payload) == (header.leaves_crc, header.payload_crc)
        && header.end() <= place.offset + on_disk(bytes.len());
    is_whole.then_some(header)
}

/// The preamble that a segment's first bytes hold.
fn preamble_in(bytes: &[u8]) -> Option<Preamble> {
    let payload_length = u32::from_le_bytes(bytes.get(12..16)?.try_into().ok()?);
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + payload_length as usize)?;
    Preamble::from_bytes(payload).ok()
}

/// A disk on which some files are others: the log as it will be.
struct Overlay {
    inner: Arc<dyn Disk>,
    instead: Mutex<BTreeMap<PathBuf, PathBuf>>,
}

impl Overlay {
    fn put(&self, path: PathBuf, new: PathBuf) {
        self.instead.lock().unwrap_or_else(PoisonError::into_inner).insert(path, new);
    }

    fn remove(&self, path: &Path) {
        self.instead.lock().unwrap_or_else(PoisonError::into_inner).remove(path);
    }

    fn of(&self, path: &Path) -> PathBuf {
        let instead = self.instead.lock().unwrap_or_else(PoisonError::into_inner);
        instead.get(path).cloned().unwrap_or_else(|| path.to_owned())
    }
}

impl Disk for Overlay {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = self.inner.list(dir)?;
        let instead = self.instead.lock().unwrap_or_else(PoisonError::into_inner);
        for path in instead.keys().filter(|path| path.parent() == Some(dir)) {
            names.extend(path.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.open(&self.of(path), access)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.inner.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
}
