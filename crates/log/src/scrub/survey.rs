//! A segment read through damage: which of its bytes are not whole frames.
//!
//! Readers of the log stop at the first frame that they cannot read, and say so. A survey goes on behind it, so that all
//! of the damage is known at once. It needs nothing but the segment's file, so it also reads a log that cannot be
//! opened, and a file of which the disk does not give back every sector.
//!
//! A segment that was rewritten has its frames at other places in the file than when it was written. Both are known of a
//! wound: what lies beside it is known by its offset in the segment, its bytes are where the file has them.

use std::collections::BTreeSet;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use arrow::buffer::Buffer;
use change::{TableName, Time};

use crate::disk::Disk;
use crate::error::LogError;
use crate::format::{FRAME_ALIGNMENT, FormatError, FrameKind, Header};
use crate::limits::on_disk;
use crate::recovery::read_first;
use crate::schema::FoundSchema;
use crate::segment::{self, Frames, ReadError};

/// Called with the bytes that were read; says whether to go on. It may take its time.
pub(crate) type Pace<'a> = dyn FnMut(u64) -> ControlFlow<()> + 'a;

/// Called for a frame that is whole, with the place where the file has it.
pub(crate) type Each<'a> = dyn FnMut(&Header, u64, Buffer) + 'a;

/// Bytes that were whole frames once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wound {
    pub(crate) from: u64,
    /// Where the next frame begins that can be read, or the segment ends.
    pub(crate) until: u64,
    /// The bytes of the file.
    pub(crate) held: Range<u64>,
    pub(crate) reason: String,
    /// The next Time before it; [`Time::ZERO`] when that is not known.
    pub(crate) before: Time,
    /// The next Time behind it, when that is known.
    pub(crate) behind: Option<Time>,
    /// Where the frame before it begins.
    pub(crate) previous: Option<u64>,
}

/// What a segment's file holds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Survey {
    /// How many bytes of frames the file has.
    pub(crate) bytes: u64,
    /// Whether it was rewritten when history was folded.
    pub(crate) is_thin: bool,
    /// Ascending; no two touch.
    pub(crate) wounds: Vec<Wound>,
    /// The tables of the schemas that could be read.
    pub(crate) tables: BTreeSet<TableName>,
    /// Whether it was read to its end.
    pub(crate) finished: bool,
}

/// The numbers of a directory's segments, ascending.
pub(crate) fn numbers(disk: &dyn Disk, dir: &Path) -> Result<Vec<u64>, LogError> {
    let names = disk.list(dir).map_err(|error| LogError::io("list", dir, error))?;
    Ok(names.iter().filter_map(|name| segment::number(name)).collect())
}

/// How a segment ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ending {
    /// There, with this as the next Time.
    At(u64, Time),
    /// It is full, but nothing says where it ends.
    Sealed,
    /// Perhaps with a write that did not finish, which is no damage: nobody was told that it was durable.
    Open,
}

/// The next Time at a segment's beginning.
pub(crate) fn first_of(disk: &dyn Disk, dir: &Path, number: u64) -> Option<Time> {
    let (_, preamble) = read_first(&mut Frames::open(disk, dir, number).ok()?).ok()?;
    Some(preamble.next)
}

/// The next Time at a segment's end, when all of it can be read.
pub(crate) fn end_time(disk: &dyn Disk, dir: &Path, number: u64) -> Option<Time> {
    let mut next = None;
    let mut each = |header: &Header, _: u64, _: Buffer| next = Some(header.next_time());
    let mut pace = |_| ControlFlow::Continue(());
    let survey = survey(disk, (dir, number), Ending::Sealed, &mut pace, &mut each).ok()?;
    next.filter(|_| survey.wounds.is_empty())
}

/// Where a segment that has a successor ends and the Time there, as its successor says; `None` when it does not say.
pub(crate) fn end_of(disk: &dyn Disk, dir: &Path, number: u64) -> Option<(u64, Time)> {
    let mut frames = Frames::open(disk, dir, number.checked_add(1)?).ok()?;
    let (_, preamble) = read_first(&mut frames).ok()?;
    Some((preamble.previous_end, preamble.next))
}

/// Reads a segment; calls `each` for every frame that is whole, in order.
///
/// # Errors
/// When the file cannot be opened.
pub(crate) fn survey(
    disk: &dyn Disk,
    (dir, number): (&Path, u64),
    ending: Ending,
    pace: &mut Pace<'_>,
    each: &mut Each<'_>,
) -> Result<Survey, LogError> {
    let frames = Frames::open_damaged(disk, dir, number)?;
    let length = frames.length()?;
    let limit = match ending {
        Ending::At(end, _) => end,
        // Only its frames say how far it reached.
        Ending::Sealed | Ending::Open if frames.is_thin() => u64::MAX,
        Ending::Sealed | Ending::Open => length,
    };
    let survey = Survey { is_thin: frames.is_thin(), ..Survey::default() };
    let (offset, at, next, previous) = (0, 0, Time::ZERO, None);
    let mut surveyor =
        Surveyor { frames, length, limit, ending, offset, at, next, previous, survey };
    surveyor.run(pace, each)?;
    surveyor.frames.forget_file();
    Ok(surveyor.survey)
}

struct Surveyor {
    frames: Frames,
    /// How long the file is.
    length: u64,
    /// Where the frames end, as offsets in the segment.
    limit: u64,
    ending: Ending,
    offset: u64,
    /// Where the file has that.
    at: u64,
    next: Time,
    previous: Option<u64>,
    survey: Survey,
}

impl Surveyor {
    fn run(&mut self, pace: &mut Pace<'_>, each: &mut Each<'_>) -> Result<(), LogError> {
        while self.offset < self.limit {
            let begun = self.at;
            let mut frame = self.frame();
            if matches!(frame, Err(ReadError::Format(_))) {
                // What was read ahead may be from before the frame was written.
                self.frames.forget();
                frame = self.frame();
            }
            match frame {
                Ok((header, stored)) => self.take(&header, stored, each),
                Err(ReadError::Format(_)) if self.is_the_end()? => break,
                Err(ReadError::Format(reason)) => self.wound(&reason.to_string()),
                Err(ReadError::Log(LogError::Io { source, .. })) => {
                    self.wound(&format!("the disk does not give it back: {source}"));
                }
                Err(ReadError::Log(error)) => return Err(error),
            }
            if pace(self.at.saturating_sub(begun)).is_break() {
                return Ok(());
            }
        }
        (self.survey.bytes, self.survey.finished) = (self.at, true);
        Ok(())
    }

    /// Whether there are no more frames, and there never were.
    fn is_the_end(&self) -> Result<bool, LogError> {
        // A segment gets its name when its preamble is durable, so none is torn there.
        if self.offset == 0 || matches!(self.ending, Ending::At(..)) {
            return Ok(false);
        }
        if self.survey.is_thin {
            // It was complete before it got its name.
            return Ok(self.at >= self.length);
        }
        let remains = match self.frames.remains(self.offset) {
            Ok(remains) => remains,
            // What the disk does not give back was written once, as far as anybody can tell.
            Err(LogError::Io { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        Ok(match self.ending {
            Ending::At(..) => false,
            Ending::Sealed => remains.end <= self.offset,
            Ending::Open => remains.durable.is_none(),
        })
    }

    fn frame(&mut self) -> Result<(Header, Buffer), ReadError> {
        let header = self.frames.header(self.offset, self.limit)?;
        let is_first = self.offset == 0;
        if is_first != (header.kind == FrameKind::Preamble) {
            return Err(FormatError::Value("a preamble is not where it belongs").into());
        }
        // Behind a wound the Time is what the frame says.
        if self.next != Time::ZERO && header.first_time != self.next {
            return Err(FormatError::Value("the Times do not follow each other").into());
        }
        let (_leaves, stored) = self.frames.stored(&header)?;
        Ok((header, stored))
    }

    fn take(&mut self, header: &Header, stored: Buffer, each: &mut Each<'_>) {
        if let Some(wound) = self.survey.wounds.last_mut()
            && wound.until == header.place.offset
        {
            wound.behind = Some(header.first_time);
        }
        if header.kind == FrameKind::Schema
            && let Ok(found) = FoundSchema::from_bytes(&stored)
        {
            self.survey.tables.insert(found.table.name().clone());
        }
        each(header, self.at, stored);
        self.previous = Some(header.place.offset);
        (self.offset, self.next) = (header.end(), header.next_time());
        self.at += header.room();
    }

    /// Notes damage, and goes on behind it.
    fn wound(&mut self, reason: &str) {
        let (until, at) = self.next_frame();
        match self.survey.wounds.last_mut() {
            Some(wound) if wound.until == self.offset => {
                (wound.until, wound.held.end) = (until, at);
            }
            _ => self.survey.wounds.push(Wound {
                from: self.offset,
                until,
                held: self.at..at,
                reason: reason.to_owned(),
                before: self.next,
                behind: None,
                previous: self.previous,
            }),
        }
        if let Some(wound) = self.survey.wounds.last_mut().filter(|_| until >= self.limit) {
            wound.behind = match self.ending {
                Ending::At(_, next) => Some(next),
                Ending::Sealed | Ending::Open => None,
            };
        }
        (self.offset, self.at, self.next) = (until, at, Time::ZERO);
        self.frames.enter(until, at);
    }

    /// Where the next frame is, in the segment and in the file; the end when there is none.
    fn next_frame(&self) -> (u64, u64) {
        let from = self.at + on_disk(FRAME_ALIGNMENT);
        let (is_thin, offset, limit) = (self.survey.is_thin, self.offset, self.limit);
        let until = if is_thin { self.length } else { limit };
        let found = self.frames.search(from, until, |header, at| {
            let belongs = header.place.offset == at || is_thin && header.place.offset > offset;
            belongs && header.end() <= limit
        });
        match found {
            Some((header, at)) => (header.place.offset, at),
            None if is_thin => (limit, self.length.max(self.at)),
            None => (limit, limit),
        }
    }
}
