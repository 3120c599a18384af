//! Opening a log: what is there, where it goes on, and what a crash left behind.
//!
//! Only the last segment is read; its preamble says what the others hold. The frames are read until one is not whole.
//! Then there are three cases:
//!
//! 1. Nothing but zeros follows: the log ended there.
//! 2. A frame follows whose write began behind the unreadable one: that was durable once. This is damage. It is
//!    reported and nothing is touched.
//! 3. Anything else is an unfinished last write, which nobody was told is durable. It is cut, and said.
//!
//! When the log is only read, another process may be writing it. What was read ahead may then be older than what is
//! found behind it, so case 2 is believed only when a new look at the frame does not find it either.
//!
//! The frames of the last write are written once more and synced before anyone may read them: after a crash of the
//! process they may be in memory only, and after a failed sync the system may believe them to be on disk.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use change::{SourcePosition, Time};

use crate::decode;
use crate::disk::{Access, Disk};
use crate::error::LogError;
use crate::format::{FormatError, FrameKind, HEADER_BYTES, Header, Place};
use crate::limits::{in_memory, on_disk};
use crate::preamble::Preamble;
use crate::retention::{self, Bases};
use crate::schema::FoundSchema;
use crate::segment::{self, Frames, REWRITTEN, ReadError, Tail, UNBORN};
use crate::shared::{Index, Segment};

/// What was found when a log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// The next Time to assign.
    pub upper: Time,
    /// The bytes of an unfinished last write that were cut off.
    pub cut_bytes: u64,
    /// The segment that they were cut off from.
    pub cut_segment: Option<PathBuf>,
    /// Where each source goes on: behind its last whole transaction.
    pub positions: BTreeMap<String, SourcePosition>,
    /// The log's identity, chosen at its creation.
    pub log_id: [u8; 16],
}

/// A log that was read and may be continued.
pub(crate) struct Recovered {
    pub(crate) preamble: Preamble,
    pub(crate) segments: Vec<Segment>,
    /// What was folded.
    pub(crate) bases: Bases,
    pub(crate) schemas: Vec<FoundSchema>,
    /// Whether the last segment holds no transactions yet.
    pub(crate) fresh: bool,
    /// Whether the log was closed in order.
    pub(crate) closed: bool,
    pub(crate) cut_bytes: u64,
    /// Where the last write began.
    last_write: u64,
}

impl Recovered {
    pub(crate) fn report(&self, dir: &Path) -> Recovery {
        let positions = self.preamble.positions.iter();
        let last = self.segments.last().map(|last| segment::path(dir, last.number));
        Recovery {
            upper: self.preamble.next,
            cut_bytes: self.cut_bytes,
            cut_segment: last.filter(|_| self.cut_bytes > 0),
            positions: positions.map(|(name, at)| (name.to_string(), *at)).collect(),
            log_id: self.preamble.log_id,
        }
    }
}

/// Reads a log; `None` when there is none.
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Option<Recovered>, LogError> {
    let recovered = recover_unlisted(disk, dir)?;
    let listed = |recovered| -> Result<Recovered, LogError> {
        let bases = retention::load(disk, dir)?;
        Ok(Recovered { bases, ..recovered })
    };
    recovered.map(listed).transpose()
}

/// Reads a log as if nothing was folded; `None` when there is none.
pub(crate) fn recover_unlisted(disk: &dyn Disk, dir: &Path) -> Result<Option<Recovered>, LogError> {
    let names = disk.list(dir).map_err(|error| LogError::io("list", dir, error))?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| segment::number(name)).collect();
    let Some(&last) = numbers.last() else { return Ok(None) };
    if let Some((missing, _)) = (1..).zip(&numbers).find(|(wanted, found)| wanted != *found) {
        return Err(LogError::Missing { segment: segment::path(dir, missing) });
    }
    let mut segments = Vec::with_capacity(numbers.len());
    for number in 1..=last {
        let mut frames = Frames::open(disk, dir, number)?;
        let (header, preamble) = read_first(&mut frames)?;
        if let Some(before) = segments.last_mut() {
            let before: &mut Segment = before;
            before.end = preamble.previous_end;
        }
        let thin_bytes = if frames.is_thin() { Some(frames.length()?) } else { None };
        let (begun_us, index) = (header.wall_clock_us, Index::default());
        segments.push(Segment {
            number,
            first: preamble.next,
            end: 0,
            begun_us,
            thin_bytes,
            index,
        });
    }
    let mut frames = Frames::open(disk, dir, last)?;
    let mut scan = Scan::new(read_first(&mut frames)?.1);
    let mut looked_at = None;
    let (reason, remains) = loop {
        let reason = scan.run(&mut frames)?;
        let remains = frames.remains(scan.offset)?;
        if remains.durable.is_none() || looked_at == Some(scan.offset) {
            break (reason, remains);
        }
        looked_at = Some(scan.offset);
        frames.forget();
    };
    if matches!(reason, FormatError::Version(_)) || remains.durable.is_some() {
        return Err(frames.damaged(scan.offset, reason, scan.preamble.next));
    }
    let bases = Bases::default();
    let open = segments.last_mut().expect("there is a last segment");
    open.end = scan.offset;
    open.index = scan.index;
    Ok(Some(Recovered {
        preamble: scan.preamble,
        segments,
        bases,
        schemas: scan.schemas,
        fresh: scan.fresh,
        closed: scan.closed,
        cut_bytes: remains.end - scan.offset,
        last_write: scan.last_write,
    }))
}

/// Makes the last segment ready to be continued.
pub(crate) fn resume(disk: &dyn Disk, dir: &Path, recovered: &Recovered) -> Result<Tail, LogError> {
    let Segment { number, end, .. } = *recovered.segments.last().expect("a log has a segment");
    let path = segment::path(dir, number);
    let failed = |error| LogError::io("repair", &path, error);
    let file = disk.open(&path, Access::Write).map_err(failed)?;
    if recovered.cut_bytes > 0 {
        tracing::warn!(
            segment = %path.display(),
            offset = end,
            bytes = recovered.cut_bytes,
            "cut an unfinished write off the log; nothing that was acknowledged is lost"
        );
    }
    let mut last = vec![0; in_memory(end - recovered.last_write)];
    if file.read_at(&mut last, recovered.last_write).map_err(failed)? < last.len() {
        // What was not read must not be written over with zeros.
        return Err(failed(ErrorKind::UnexpectedEof.into()));
    }
    if !are_frames(&last, Place { segment: number, offset: recovered.last_write }) {
        // After a failed sync the system may drop from memory what is not on the disk, between two looks at it.
        let what = "its last write reads otherwise than a moment ago";
        return Err(failed(std::io::Error::new(ErrorKind::InvalidData, what)));
    }
    // What lies behind the end must never be taken for a frame, so it goes even when it is only zeros.
    file.truncate(end).map_err(failed)?;
    file.write_at(&[&last], recovered.last_write).map_err(failed)?;
    file.sync().map_err(failed)?;
    for name in disk.list(dir).map_err(failed)? {
        if name == UNBORN || name == REWRITTEN {
            disk.remove(&dir.join(name)).map_err(failed)?;
        }
    }
    retention::clear(disk, dir, &recovered.bases)?;
    // Whoever gave the segment its name may have been stopped before that was durable.
    disk.sync_dir(dir).map_err(failed)?;
    let fresh = recovered.fresh;
    Ok(Tail { file, path: path.clone(), number, end, allocated: end, fresh })
}

/// Whether bytes are whole frames that belong where they are.
fn are_frames(bytes: &[u8], place: Place) -> bool {
    let mut at = 0;
    while at < bytes.len() {
        let (rest, offset) = (&bytes[at..], place.offset + on_disk(at));
        let Ok(header) = Header::from_bytes(rest, Place { offset, ..place }) else { return false };
        let leaves = HEADER_BYTES..HEADER_BYTES + in_memory(header.leaves_bytes());
        let payload = leaves.end..leaves.end + header.payload_length as usize;
        let crc = |range| rest.get(range).map(crate::crc::crc32c);
        if (crc(leaves), crc(payload)) != (Some(header.leaves_crc), Some(header.payload_crc)) {
            return false;
        }
        at += in_memory(header.end() - offset);
    }
    at == bytes.len()
}

/// Reads a segment's preamble, with its header.
pub(crate) fn read_first(frames: &mut Frames) -> Result<(Header, Preamble), LogError> {
    let length = frames.length()?;
    let mut read = || -> Result<(Header, Preamble), ReadError> {
        let header = frames.header(0, length)?;
        if header.kind != FrameKind::Preamble {
            return Err(FormatError::Value("a segment begins without a preamble").into());
        }
        let preamble = Preamble::from_bytes(&frames.stored(&header)?.1)?;
        Ok((header, preamble))
    };
    read().map_err(|error| frames.explain(error, 0, Time::ZERO))
}

/// Goes through a segment frame by frame.
struct Scan {
    preamble: Preamble,
    index: Index,
    schemas: Vec<FoundSchema>,
    offset: u64,
    last_write: u64,
    fresh: bool,
    closed: bool,
}

impl Scan {
    fn new(preamble: Preamble) -> Self {
        Self {
            preamble,
            index: Index::default(),
            schemas: Vec::new(),
            offset: 0,
            last_write: 0,
            fresh: true,
            closed: false,
        }
    }

    /// Reads on as far as frames follow each other; returns why there is no other.
    fn run(&mut self, frames: &mut Frames) -> Result<FormatError, LogError> {
        let length = frames.length()?;
        loop {
            let (header, stored) = match read_frame(frames, self.offset, length) {
                Ok(read) => read,
                Err(ReadError::Format(reason)) => return Ok(reason),
                Err(ReadError::Log(error)) => return Err(error),
            };
            // The checksum says that this was written as it is, so whatever is wrong with it is not a torn write.
            if let Err(reason) = self.take(&header, stored) {
                return Err(frames.damaged(self.offset, reason, self.preamble.next));
            }
        }
    }

    fn take(&mut self, header: &Header, stored: arrow::buffer::Buffer) -> Result<(), FormatError> {
        self.closed = header.kind == FrameKind::Close;
        match header.kind {
            FrameKind::Preamble if self.offset > 0 => {
                return Err(FormatError::Value("a preamble is within a segment"));
            }
            FrameKind::Preamble | FrameKind::Close => {}
            FrameKind::Gap | FrameKind::Base => {
                return Err(FormatError::Value("a frame is not of the kind that belongs here"));
            }
            FrameKind::Schema => {
                self.schemas.push(FoundSchema::from_bytes(&stored)?);
                self.index.add_schema(self.offset);
            }
            FrameKind::Transactions => {
                if header.first_time != self.preamble.next {
                    return Err(FormatError::Value("the Times do not follow each other"));
                }
                let plain = decode::plain(header, stored)?;
                let read = decode::heads(&plain)?;
                let position = read.heads.iter().rev().find_map(|head| head.position);
                self.preamble.apply(header, &read.source.into(), position);
                self.index.add_transactions(header.first_time, self.offset);
                self.fresh = false;
            }
        }
        self.offset = header.end();
        self.last_write = header.batch_offset;
        Ok(())
    }
}

fn read_frame(
    frames: &mut Frames,
    offset: u64,
    length: u64,
) -> Result<(Header, arrow::buffer::Buffer), ReadError> {
    let header = frames.header(offset, length)?;
    let (_leaves, stored) = frames.stored(&header)?;
    Ok((header, stored))
}

/// Makes the directory's own name durable, and those above it: the log would be lost with any of them.
///
/// It is not known which of them are new, but the log is: later openings need not ask again.
pub(crate) fn sync_names_above(disk: &dyn Disk, dir: &Path) -> Result<(), LogError> {
    for above in dir.ancestors().skip(1) {
        match disk.sync_dir(above) {
            // What may be neither read nor written here was not made here.
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {}
            synced => synced.map_err(|error| LogError::io("create", dir, error))?,
        }
    }
    Ok(())
}

/// Creates a log.
pub(crate) fn create(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    log_id: [u8; 16],
    wall_clock_us: i64,
) -> Result<(Tail, Preamble), LogError> {
    let preamble = Preamble { log_id, next: Time::ZERO.next(), ..Preamble::default() };
    let tail = segment::create(&**disk, dir, 1, &preamble, wall_clock_us)?;
    Ok((tail, preamble))
}
