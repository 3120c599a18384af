//! Scrubbing: everything that lies on the disk is read again, before somebody needs it and finds it gone.
//!
//! ```text
//! segments ──► frames' checksums ──► leaves ──► tiles ──► the signed root
//! bases ─────► the hashes in the list of bases
//! ```
//!
//! Disks forget. What is read every day is noticed; what is cold is not, and meanwhile the copies that could repair it
//! grow old. So the segments that do not grow any more are read at a bounded rate, past what the system has in memory:
//! every frame against its checksums, every transaction against the tree as far as that is signed, the tiles against the
//! signed root, and the indexes against their own checksums. What is found is told ([`Damage`]) with its place and what to
//! do; what can be made again from the segments is made again. Segments are repaired from a copy ([`crate::repair`]).
//!
//! Of transactions whose history was folded there is no more to compare than the tree: a frame that keeps the hash of what
//! went still has its leaf, and of what is in a gap the tiles are right or not. A tile that holds such leaves cannot be made
//! again.
//!
//! A last write that did not finish is no damage, and a scrub changes nothing in a segment.

pub(crate) mod bases;
pub(crate) mod record;
pub(crate) mod survey;
pub(crate) mod thread;
pub(crate) mod tiles;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use change::Time;
use proof::leaf_hash;

use crate::Log;
use crate::disk::Disk;
use crate::error::LogError;
use crate::format::{FrameKind, Header};
use crate::index;
use crate::notary::leaves::Leaves;
use crate::retention::LIST;
use crate::segment;
use crate::shared::Shared;
use survey::{Ending, Pace, Survey, Wound};
use tiles::{BadTile, Tiles};

/// What kind of damage it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DamageKind {
    /// Bytes that are not what was written, and that nothing here follows from: of a segment, of a base, of the list of
    /// bases, or of a tile with leaves of transactions whose history was folded.
    Segment,
    /// A transaction that can be read, and is not the one that was signed.
    Altered,
    /// A tile or an index, which can be made again.
    Derived,
}

/// Something that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What kind it is.
    pub kind: DamageKind,
    /// The file, below the log's directory.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// The first and the last transaction that cannot be read, or are not right; `None` when there is none, or it is
    /// not known.
    pub times: Option<(Time, Time)>,
    /// The tables that the bytes belong to, as far as is known: at most these.
    pub tables: Vec<String>,
    /// What is wrong.
    pub reason: String,
    /// When it was found, in microseconds since 1970 UTC.
    pub since_us: i64,
}

impl Damage {
    /// What repairs it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self.kind {
            DamageKind::Segment if self.file == LIST => {
                "stop Evert, then `evert log repair`: it is made again from what the log says of the bases that are there"
            }
            DamageKind::Segment | DamageKind::Altered => {
                "stop Evert, then `evert log repair --from COPY`: a copy of the log's directory, or a backup"
            }
            DamageKind::Derived => {
                "nothing is lost: it is made again, by `evert run` or `evert log repair`"
            }
        }
    }

    /// Whether it is the same that was found before.
    fn is_at(&self, other: &Self) -> bool {
        (self.kind, &self.file, self.offset) == (other.kind, &other.file, other.offset)
    }
}

/// What a scrub read and found.
#[derive(Clone, Debug, Default)]
pub struct Scrubbed {
    /// How many segments were read.
    pub segments: u64,
    /// How many bytes of them.
    pub bytes: u64,
    /// How many bases were read.
    pub bases: u64,
    /// How many transactions were compared with the tree, as far as there is one.
    pub compared: u64,
    /// How many tiles were compared with the signed root.
    pub tiles: u64,
    /// How many tiles and indexes were made again.
    pub made_again: u64,
    /// What is wrong.
    pub damage: Vec<Damage>,
    /// Why transactions were not compared with the tree: the log cannot be opened.
    pub closed: Option<LogError>,
}

/// Reads all of a log again, without changing anything: of a running process, of one at rest, of a copy.
///
/// `pace` is called with the bytes that were read, and says whether to go on.
///
/// # Errors
/// When there is no log, or its directory cannot be read.
pub fn scrub(
    dir: &Path,
    disk: &Arc<dyn Disk>,
    now_us: i64,
    mut pace: impl FnMut(u64) -> ControlFlow<()>,
) -> Result<Scrubbed, LogError> {
    if survey::numbers(&**disk, dir)?.is_empty() {
        return Err(LogError::NoLog { dir: dir.to_owned() });
    }
    let opened = Log::open_read_only(dir, Arc::clone(disk));
    let (shared, closed) = match opened {
        Ok((log, _)) => (Some(Arc::clone(&log.shared)), None),
        Err(error) => (None, Some(error)),
    };
    let scrubber = Scrubber { disk: Arc::clone(disk), dir: dir.to_owned(), shared };
    let (mut scrubbed, _tiles) = scrubber.pass(false, now_us, &mut pace)?;
    scrubbed.closed = closed;
    Ok(scrubbed)
}

/// Who scrubs.
pub(crate) struct Scrubber {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    /// The log, when it can be opened.
    pub(crate) shared: Option<Arc<Shared>>,
}

impl Scrubber {
    /// Reads everything once; without the segment that still grows, when `sealed_only`.
    pub(crate) fn pass(
        &self,
        sealed_only: bool,
        now_us: i64,
        pace: &mut Pace<'_>,
    ) -> Result<(Scrubbed, Tiles), LogError> {
        let mut scrubbed = Scrubbed::default();
        let mut tiles = Tiles::open(Arc::clone(&self.disk), &self.dir);
        tiles.verify(pace);
        let numbers = survey::numbers(&*self.disk, &self.dir)?;
        let last = numbers.last().copied().unwrap_or(0);
        let (mut leaves, mut gone, mut any_thin) = (None, Vec::new(), false);
        // Also what was folded has its segments: none goes as a whole.
        for number in 1..=last {
            if number == last && sealed_only {
                break;
            }
            if !numbers.contains(&number) {
                scrubbed.damage.push(self.missing(number));
                continue;
            }
            let mut reading = Reading {
                tiles: &mut tiles,
                leaves: leaves.take(),
                compared: 0,
                altered: Vec::new(),
                gone: &mut gone,
            };
            let survey = self.segment(number, last, &mut reading, pace)?;
            leaves = reading.leaves.take();
            let (compared, altered) = (reading.compared, reading.altered);
            scrubbed.segments += 1;
            scrubbed.bytes += survey.bytes;
            any_thin |= survey.is_thin;
            scrubbed.compared += compared;
            scrubbed.damage.extend(survey.wounds.iter().map(|w| self.wound(number, &survey, w)));
            scrubbed.damage.extend(altered.into_iter().map(|found| self.altered(number, &found)));
            if !survey.finished {
                break;
            }
        }
        self.bases(any_thin, &mut scrubbed, pace)?;
        scrubbed.damage.extend(self.indexes(last));
        scrubbed.tiles = tiles.read;
        scrubbed.damage.extend(tiles.bad.iter().map(|bad| of_tile(bad, &gone)));
        scrubbed.damage.iter_mut().for_each(|damage| damage.since_us = now_us);
        Ok((scrubbed, tiles))
    }

    /// Reads a segment, and compares what can be read with the tree.
    fn segment(
        &self,
        number: u64,
        last: u64,
        reading: &mut Reading<'_>,
        pace: &mut Pace<'_>,
    ) -> Result<Survey, LogError> {
        if let (None, Some(shared)) = (&reading.leaves, &self.shared) {
            reading.leaves = Some(Leaves::new(Arc::clone(shared)));
        }
        let ending = match survey::end_of(&*self.disk, &self.dir, number) {
            Some((end, next)) => Ending::At(end, next),
            None if number < last => Ending::Sealed,
            None => self.open_end(number),
        };
        survey::survey(&*self.disk, (&self.dir, number), ending, pace, &mut |header, at, stored| {
            reading.frame(header, at, stored);
        })
    }

    /// Whether nothing in a segment is other than what was signed; `None` when not all of it could be compared.
    pub(crate) fn is_signed(&self, number: u64) -> Option<bool> {
        let go_on = &mut |_| ControlFlow::Continue(());
        let mut tiles = Tiles::open(Arc::clone(&self.disk), &self.dir);
        tiles.verify(go_on);
        let (tiles, gone) = (&mut tiles, &mut Vec::new());
        let mut reading = Reading { tiles, leaves: None, compared: 0, altered: Vec::new(), gone };
        self.segment(number, number, &mut reading, go_on).ok()?;
        let Reading { tiles, leaves, altered, .. } = reading;
        let is_compared = leaves.is_some() && tiles.uncompared == 0;
        if altered.is_empty() { is_compared.then_some(true) } else { Some(false) }
    }

    /// How the segment that still grows ends.
    fn open_end(&self, number: u64) -> Ending {
        let Some(shared) = &self.shared else { return Ending::Open };
        let state = shared.state();
        match state.segment(number) {
            Some(segment) => Ending::At(segment.end, state.upper),
            None => Ending::Open,
        }
    }

    fn file(number: u64) -> String {
        let path = segment::path(Path::new(""), number);
        path.to_string_lossy().into_owned()
    }

    fn missing(&self, number: u64) -> Damage {
        let times = || {
            let first = survey::end_time(&*self.disk, &self.dir, number.checked_sub(1)?)?;
            let behind = survey::first_of(&*self.disk, &self.dir, number + 1)?;
            (first < behind).then(|| (first, Time(behind.0 - 1)))
        };
        Damage {
            kind: DamageKind::Segment,
            file: Self::file(number),
            offset: 0,
            bytes: 0,
            times: times(),
            tables: Vec::new(),
            reason: "the segment is missing".to_owned(),
            since_us: 0,
        }
    }

    fn wound(&self, number: u64, survey: &Survey, wound: &Wound) -> Damage {
        let Wound { from, until, held, reason, before, behind, previous: _ } = wound;
        let times = match behind {
            Some(behind) if *before > Time::ZERO && before < behind => {
                Some((*before, Time(behind.0 - 1)))
            }
            Some(_) | None => None,
        };
        let indexed = index::tables_in(&*self.disk, &self.dir, number, *from..*until);
        let tables = indexed.unwrap_or_else(|| survey.tables.clone());
        Damage {
            kind: DamageKind::Segment,
            file: Self::file(number),
            offset: held.start,
            bytes: held.end - held.start,
            times,
            tables: tables.iter().map(ToString::to_string).collect(),
            reason: reason.clone(),
            since_us: 0,
        }
    }

    fn altered(&self, number: u64, altered: &Altered) -> Damage {
        let end = altered.end;
        let tables = index::tables_in(&*self.disk, &self.dir, number, altered.offset..end);
        Damage {
            kind: DamageKind::Altered,
            file: Self::file(number),
            offset: altered.at,
            bytes: altered.bytes,
            times: Some((altered.first, altered.last)),
            tables: tables.unwrap_or_default().iter().map(ToString::to_string).collect(),
            reason: "the frame is whole, but it is not what was signed".to_owned(),
            since_us: 0,
        }
    }

    /// Indexes of full segments that are not right.
    fn indexes(&self, last: u64) -> Vec<Damage> {
        let Some(shared) = &self.shared else { return Vec::new() };
        let numbers = shared.full_segments().into_iter().filter(|number| *number < last);
        let wrong = numbers.filter(|number| {
            let end = shared.end_of(*number).unwrap_or(0);
            index::is_wrong(&*self.disk, &self.dir, *number, end)
        });
        let damage = |number: u64| Damage {
            kind: DamageKind::Derived,
            file: format!("index/{number:020}"),
            offset: 0,
            bytes: 0,
            times: None,
            tables: Vec::new(),
            reason: "the index does not match its checksum, or its segment".to_owned(),
            since_us: 0,
        };
        wrong.map(damage).collect()
    }

    /// Makes what is derived and not right again, and takes it off the list.
    pub(crate) fn make_again(
        &self,
        scrubbed: &mut Scrubbed,
        tiles: &mut Tiles,
    ) -> Result<(), LogError> {
        scrubbed.made_again += tiles.make_again()?;
        let bad: BTreeSet<String> = tiles.bad.iter().map(|bad| Tiles::file(bad.id)).collect();
        let shared = self.shared.as_ref();
        let mut failed = None;
        scrubbed.damage.retain(|damage| {
            if damage.file.starts_with("proof/") {
                return bad.contains(&damage.file);
            }
            match (damage.kind, damage.times) {
                (DamageKind::Derived, _) => {}
                (DamageKind::Altered, Some(times)) => return !tiles.clears(times),
                (DamageKind::Altered, None) | (DamageKind::Segment, _) => return true,
            }
            let number = damage.file.strip_prefix("index/").and_then(|name| name.parse().ok());
            let (Some(number), Some(shared)) = (number, shared) else {
                return bad.contains(&damage.file);
            };
            // One that is being rewritten has another index soon; and the notary writes them under the same lock.
            let Ok(_nobody_rewrites) = shared.thinning.try_lock() else { return true };
            match shared.keep_index(number) {
                Ok(()) => {
                    scrubbed.made_again += 1;
                    false
                }
                Err(error) => {
                    failed.get_or_insert(error);
                    true
                }
            }
        });
        // A segment that is damaged has no index; that is told already.
        match failed {
            Some(error @ (LogError::Io { .. } | LogError::DiskFull { .. })) => Err(error),
            Some(_) | None => Ok(()),
        }
    }
}

/// A tile that is not right. Leaves of transactions that are gone can be had from nowhere else.
fn of_tile(bad: &BadTile, gone: &[(Time, Time)]) -> Damage {
    let (first, last) = Tiles::covers(bad.id);
    let is_gone = gone.iter().any(|(from, until)| *from <= last && first <= *until);
    let is_only = is_gone && bad.is_of_leaves();
    let more = ", and the history of transactions in it was folded";
    Damage {
        kind: if is_only { DamageKind::Segment } else { DamageKind::Derived },
        file: Tiles::file(bad.id),
        offset: 0,
        bytes: u64::from(bad.id.width()) * 32,
        times: Some((first, last)),
        tables: Vec::new(),
        reason: format!("{}{}", bad.reason, if is_only { more } else { "" }),
        since_us: 0,
    }
}

/// Transactions of a frame that are not what was signed.
struct Altered {
    offset: u64,
    end: u64,
    /// Where the file has the frame.
    at: u64,
    bytes: u64,
    first: Time,
    last: Time,
}

/// Compares a segment with the tree as it is read.
struct Reading<'a> {
    tiles: &'a mut Tiles,
    /// `None` when leaves cannot be computed in this segment any more.
    leaves: Option<Leaves>,
    compared: u64,
    altered: Vec<Altered>,
    /// Transactions of which nothing is there any more: the first and the last of each gap.
    gone: &'a mut Vec<(Time, Time)>,
}

impl Reading<'_> {
    fn frame(&mut self, header: &Header, at: u64, stored: Buffer) {
        if header.kind == FrameKind::Gap && header.transactions > 0 {
            self.gone.push((header.first_time, Time(header.next_time().0 - 1)));
        }
        let Some(leaves) = &mut self.leaves else { return };
        let read = match header.kind {
            FrameKind::Preamble | FrameKind::Close | FrameKind::Gap | FrameKind::Base => Ok(()),
            FrameKind::Schema => leaves.take_schema(header, &stored),
            FrameKind::Transactions => {
                let (tiles, altered, compared) =
                    (&mut *self.tiles, &mut self.altered, &mut self.compared);
                leaves.records(header, stored, |record| {
                    *compared += 1;
                    let time = Time(record.time);
                    if tiles.differs(time, leaf_hash(&record.encode())) {
                        Altered::add(altered, header, at, time);
                    }
                })
            }
        };
        if read.is_err() {
            // Damage before it, which is told; behind it leaves are computed again from the next segment on.
            self.leaves = None;
        }
    }
}

impl Altered {
    fn add(all: &mut Vec<Self>, header: &Header, at: u64, time: Time) {
        match all.last_mut().filter(|last| last.offset == header.place.offset) {
            Some(known) => known.last = time,
            None => all.push(Self {
                offset: header.place.offset,
                end: header.end(),
                at,
                bytes: header.room(),
                first: time,
                last: time,
            }),
        }
    }
}
