//! Segment files: their names, how one is created, and how frames are found in one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::buffer::Buffer;
use change::Time;

use crate::disk::{Access, Disk, DiskFile};
use crate::error::{LogError, Lost};
use crate::format::{
    FLAG_THIN, FRAME_ALIGNMENT, FormatError, FrameKind, HEADER_BYTES, Header, LEAF_BYTES, MAGIC,
    Place, aligned,
};
use crate::limits::{
    ALLOCATE_BYTES, EXPECT_BYTES, EXPECT_BYTES_MIN, WINDOW_BYTES, in_memory, on_disk,
};
use crate::preamble::Preamble;
use crate::schema::FoundSchema;

/// A segment's name before its first frame is durable.
pub(crate) const UNBORN: &str = "segment.new";

/// The name of a segment that is being rewritten.
pub(crate) const REWRITTEN: &str = "segment.thin";

/// How much is read to see what follows a large frame.
const GLANCE_BYTES: usize = 4 << 10;

/// How many bytes are searched at once for the next frame: what an unreadable sector hides with it.
const SEARCH_BYTES: usize = 4 << 10;

/// The file of a segment.
pub(crate) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

/// The number of the segment with this file name.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() == 20 { digits.parse().ok().filter(|&number| number > 0) } else { None }
}

/// A segment that is written.
pub(crate) struct Tail {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) path: PathBuf,
    pub(crate) number: u64,
    /// Where the next frame goes.
    pub(crate) end: u64,
    /// How long the file is.
    pub(crate) allocated: u64,
    /// Whether no transactions are in it yet.
    pub(crate) fresh: bool,
}

impl Tail {
    /// Makes the file long enough for frames up to `end`.
    pub(crate) fn reserve(&mut self, end: u64, segment_bytes_max: u64) -> Result<(), LogError> {
        if end <= self.allocated {
            return Ok(());
        }
        let (least, most) = ALLOCATE_BYTES;
        let step = (3 * self.allocated).clamp(least, most);
        let ahead = (self.allocated + step).min(segment_bytes_max).max(end);
        match self.allocate(ahead) {
            // A disk without room ahead may have room for what is to be written.
            Err(LogError::DiskFull { .. }) if ahead > end => self.allocate(end),
            allocated => allocated,
        }
    }

    fn allocate(&mut self, length: u64) -> Result<(), LogError> {
        if let Err(error) = self.file.allocate(length) {
            // Some file systems keep what they found before they ran out.
            if let Err(error) = self.file.truncate(self.allocated) {
                tracing::warn!(%error, "cannot give back what an unfinished allocation took");
            }
            return Err(LogError::io("allocate room for", &self.path, error));
        }
        self.allocated = length;
        Ok(())
    }
}

/// Creates a segment. It gets its name when its preamble is durable, so a segment with a name is never torn there.
/// When there is no room for it, nothing has happened.
pub(crate) fn create(
    disk: &dyn Disk,
    dir: &Path,
    number: u64,
    preamble: &Preamble,
    wall_clock_us: i64,
) -> Result<Tail, LogError> {
    let (unborn, path) = (dir.join(UNBORN), path(dir, number));
    let payload = preamble.to_bytes();
    let mut header = Header::new(FrameKind::Preamble);
    header.place = Place { segment: number, offset: 0 };
    header.first_time = preamble.next;
    header.wall_clock_us = wall_clock_us;
    header.payload_length = u32::try_from(payload.len()).expect("a preamble is small");
    header.plain_length = header.payload_length;
    header.payload_crc = crate::crc::crc32c(&payload);
    let failed = |error| LogError::io("create", &path, error);
    let file = disk.create(&unborn).map_err(failed)?;
    let end = header.end();
    let fresh = true;
    let mut tail = Tail { file, path: path.clone(), number, end, allocated: 0, fresh };
    tail.reserve(end, 0)?;
    tail.file.write_at(&[&header.to_bytes(), &payload], 0).map_err(failed)?;
    tail.file.sync().map_err(|error| LogError::unconfirmed(&path, error))?;
    disk.rename(&unborn, &path).map_err(failed)?;
    disk.sync_dir(dir).map_err(|error| LogError::unconfirmed(&path, error))?;
    Ok(tail)
}

/// Why a frame could not be read.
pub(crate) enum ReadError {
    /// It is not there, or not whole.
    Format(FormatError),
    /// The file cannot be read.
    Log(LogError),
}

impl From<FormatError> for ReadError {
    fn from(error: FormatError) -> Self {
        Self::Format(error)
    }
}

impl From<LogError> for ReadError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// Reads frames of one segment.
pub(crate) struct Frames {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    number: u64,
    /// Bytes read ahead, and where they begin.
    window: Vec<u8>,
    window_offset: u64,
    /// How much to read ahead next.
    window_bytes: usize,
    /// Up to where the disk was asked to read on its own.
    expected: u64,
    /// Up to where the file holds frames, as far as is known here.
    filled: u64,
    /// Where frames are in the file, when that is not where the segment had them: it was rewritten then.
    thin: Option<Thin>,
}

/// Where the frames of a rewritten segment are: offsets as they were when it was written, and in the file.
#[derive(Default)]
struct Thin {
    /// Some of them, far apart.
    known: BTreeMap<u64, u64>,
    /// The frame that was read last, and the one behind it.
    recent: [(u64, u64); 2],
}

impl Thin {
    /// The frame nearest to an offset and not behind it.
    fn nearest(&self, offset: u64) -> (u64, u64) {
        let known = self.known.range(..=offset).next_back().map(|(&at, &file)| (at, file));
        let recent = self.recent.into_iter().filter(|(at, _)| *at <= offset);
        recent.chain(known).max().unwrap_or_default()
    }

    /// Takes in that a frame is at `file`.
    fn note(&mut self, header: &Header, file: u64) {
        let next = (header.end(), file.saturating_add(header.room()));
        self.recent = [(header.place.offset, file), next];
        let last = self.known.last_key_value().map_or(0, |(_, &file)| file);
        if next.1 >= last.saturating_add(on_disk(WINDOW_BYTES)) {
            self.known.insert(next.0, next.1);
        }
    }
}

/// A frame's leaf commitments and its payload as stored.
pub(crate) type Stored = (Vec<[u8; LEAF_BYTES]>, Buffer);

impl Frames {
    pub(crate) fn open(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Self, LogError> {
        Self::open_file(disk, path(dir, number), number)
    }

    /// Opens a file whose frames name a segment of this number.
    pub(crate) fn open_file(disk: &dyn Disk, path: PathBuf, number: u64) -> Result<Self, LogError> {
        let mut frames = Self::new(disk, path, number)?;
        let mut first = [0; HEADER_BYTES];
        let read = frames.file.read_at(&mut first, 0).map_err(|error| frames.failed(error))?;
        let first = Header::from_bytes(&first[..read], Place { segment: number, offset: 0 });
        let is_thin = first.is_ok_and(|header| header.flags & FLAG_THIN != 0);
        frames.thin = is_thin.then(Thin::default);
        Ok(frames)
    }

    fn new(disk: &dyn Disk, path: PathBuf, number: u64) -> Result<Self, LogError> {
        let file = disk.open(&path, Access::Read);
        let file = file.map_err(|error| LogError::io("open", &path, error))?;
        Ok(Self {
            file,
            path,
            number,
            window: Vec::new(),
            window_offset: 0,
            window_bytes: WINDOW_BYTES,
            expected: 0,
            filled: 0,
            thin: None,
        })
    }

    /// Opens a segment of which the first frame may be damaged: then another one says whether it was rewritten.
    pub(crate) fn open_damaged(disk: &dyn Disk, dir: &Path, number: u64) -> Result<Self, LogError> {
        let mut frames = Self::new(disk, path(dir, number), number)?;
        // What is only in memory says nothing of the disk.
        frames.file.forget();
        let mut first = [0; HEADER_BYTES];
        let read = frames.file.read_at(&mut first, 0).unwrap_or(0);
        let is_rewritten = |header: &Header| header.flags & FLAG_THIN != 0;
        let is_thin = match Header::from_bytes(&first[..read], Place { segment: number, offset: 0 })
        {
            Ok(header) => is_rewritten(&header),
            // Where none is marked, all are where they were.
            Err(_) => {
                let length = frames.length()?;
                frames.search(0, length, |header, _| is_rewritten(header)).is_some()
            }
        };
        frames.thin = is_thin.then(Thin::default);
        Ok(frames)
    }

    /// Where the file holds the next frame that `fits`, from a place in the file on, whatever can be read in between.
    pub(crate) fn search(
        &self,
        from: u64,
        until: u64,
        fits: impl Fn(&Header, u64) -> bool,
    ) -> Option<(Header, u64)> {
        let mut at = from;
        while at < until {
            // Headers may cross the borders of what is searched at once.
            let mut bytes = vec![0; SEARCH_BYTES + HEADER_BYTES];
            let read = self.file.read_at(&mut bytes, at).unwrap_or(0);
            let bytes = &bytes[..read];
            for start in (0..SEARCH_BYTES).step_by(FRAME_ALIGNMENT) {
                let Some(rest) = bytes.get(start..).filter(|rest| rest.starts_with(&MAGIC)) else {
                    continue;
                };
                let found = at + on_disk(start);
                if let Ok(header) = Header::in_segment(rest, self.number)
                    && fits(&header, found)
                {
                    return Some((header, found));
                }
            }
            at += on_disk(SEARCH_BYTES);
        }
        None
    }

    /// Goes on at a frame that was found at a place in the file.
    pub(crate) fn enter(&mut self, offset: u64, at: u64) {
        self.forget();
        if let Some(thin) = &mut self.thin {
            thin.recent = [(offset, at); 2];
        }
    }

    /// Lets the system drop from memory what it has of the file.
    pub(crate) fn forget_file(&self) {
        self.file.forget();
    }

    /// Whether the segment was rewritten when history was folded.
    pub(crate) fn is_thin(&self) -> bool {
        self.thin.is_some()
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn into_file(self) -> Arc<dyn DiskFile> {
        self.file
    }

    pub(crate) fn length(&self) -> Result<u64, LogError> {
        self.file.length().map_err(|error| self.failed(error))
    }

    /// Reads the header at `offset` of frames that end at `end`.
    pub(crate) fn header(&mut self, offset: u64, end: u64) -> Result<Header, ReadError> {
        if end < offset.saturating_add(on_disk(HEADER_BYTES)) {
            return Err(FormatError::Short.into());
        }
        self.filled = self.filled.max(end);
        let at = self.locate(offset, end)?;
        let header = self.header_at(offset, at, end)?;
        if header.end() > end {
            return Err(FormatError::Short.into());
        }
        Ok(header)
    }

    /// Where the file holds the frame at an offset.
    fn locate(&mut self, offset: u64, end: u64) -> Result<u64, ReadError> {
        let Some(thin) = &self.thin else { return Ok(offset) };
        let (mut reached, mut at) = thin.nearest(offset);
        while reached < offset {
            let header = self.header_at(reached, at, end)?;
            (reached, at) = (header.end(), at.saturating_add(header.room()));
            if reached > offset {
                // Whoever asks knows the segment as it was.
                let upto = Time(header.next_time().0.saturating_sub(1));
                return Err(LogError::Pruned { from: header.first_time, upto }.into());
            }
        }
        Ok(at)
    }

    /// Reads the header of the frame at `offset`, which the file holds at `at`.
    fn header_at(&mut self, offset: u64, at: u64, end: u64) -> Result<Header, ReadError> {
        if self.in_window(at, HEADER_BYTES).is_none() {
            let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.window.resize(left.min(self.window_bytes), 0);
            self.window_offset = at;
            let read = self.file.read_at(&mut self.window, at);
            self.window.truncate(read.map_err(|error| self.failed(error))?);
        }
        let bytes = self.in_window(at, HEADER_BYTES).ok_or(FormatError::Short)?;
        let header = Header::from_bytes(bytes, Place { segment: self.number, offset })?;
        let large = header.bytes() > on_disk(WINDOW_BYTES);
        self.window_bytes = if large { GLANCE_BYTES } else { WINDOW_BYTES };
        if let Some(thin) = &mut self.thin {
            thin.note(&header, at);
        }
        Ok(header)
    }

    /// Reads a frame's leaves and payload, and compares them with their checksums.
    pub(crate) fn stored(&mut self, header: &Header) -> Result<Stored, ReadError> {
        let at = self.locate(header.place.offset, u64::MAX)?;
        self.expect(at.saturating_add(header.room()));
        let offset = at + on_disk(HEADER_BYTES);
        let leaves = self.read(offset, in_memory(header.leaves_bytes()))?;
        let payload = header.payload_length as usize;
        let payload = self.read(offset + header.leaves_bytes(), payload)?;
        let crcs = (crate::crc::crc32c(&leaves), crate::crc::crc32c(&payload));
        if crcs != (header.leaves_crc, header.payload_crc) {
            return Err(FormatError::PayloadChecksum.into());
        }
        Ok((leaves.as_chunks().0.to_vec(), Buffer::from_vec(payload)))
    }

    /// Lets the disk read what comes next while what was read is worked on.
    ///
    /// Not what nobody wrote yet: whoever writes there would wait until it is read. Nor the little that a reader at the
    /// end has before it.
    fn expect(&mut self, offset: u64) {
        let (ahead, left) = EXPECT_BYTES;
        let filled = if self.thin.is_some() { u64::MAX } else { self.filled };
        if offset + left > self.expected {
            let (from, until) = (self.expected.max(offset), filled.min(offset + ahead));
            if until.saturating_sub(from) >= EXPECT_BYTES_MIN {
                self.file.expect(from, until - from);
                self.expected = until;
            }
        }
    }

    /// Forgets what was read ahead: what is read next is what the file holds then.
    pub(crate) fn forget(&mut self) {
        self.window.clear();
    }

    fn in_window(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let start = in_memory(offset.checked_sub(self.window_offset)?);
        self.window.get(start..start.checked_add(length)?)
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = Vec::with_capacity(length);
        let ahead = match offset.checked_sub(self.window_offset).map(in_memory) {
            Some(start) => self.window.get(start..).unwrap_or_default(),
            None => &[],
        };
        let ahead = &ahead[..ahead.len().min(length)];
        bytes.extend_from_slice(ahead);
        if bytes.len() < length {
            let read = self.file.read_into(&mut bytes, offset + on_disk(ahead.len()));
            read.map_err(|error| self.failed(error))?;
        }
        if bytes.len() < length {
            return Err(FormatError::Short.into());
        }
        bytes.truncate(length);
        Ok(bytes)
    }

    /// Reads a schema frame's payload.
    pub(crate) fn schema(&mut self, header: &Header) -> Result<FoundSchema, ReadError> {
        Ok(FoundSchema::from_bytes(&self.stored(header)?.1)?)
    }

    /// Makes the error for damage at `offset`: says what is lost, from the transaction `next` on.
    pub(crate) fn damaged(&self, offset: u64, reason: FormatError, next: Time) -> LogError {
        let segment = self.path.clone();
        if let FormatError::Version(version) = reason {
            return LogError::Version { segment, version };
        }
        if reason == FormatError::Pruned {
            return LogError::Pruned { from: next, upto: next };
        }
        match self.remains(offset) {
            Ok(remains) => {
                let until = remains.next.map(|header| header.first_time);
                LogError::Damaged { segment, offset, reason, lost: Lost { from: next, until } }
            }
            Err(error) => error,
        }
    }

    /// Turns any reason for not reading a frame into what the caller of the log is told.
    pub(crate) fn explain(&self, error: ReadError, offset: u64, next: Time) -> LogError {
        match error {
            ReadError::Format(reason) => self.damaged(offset, reason, next),
            ReadError::Log(error) => error,
        }
    }

    /// Looks at what is behind an unreadable frame.
    pub(crate) fn remains(&self, from: u64) -> Result<Remains, LogError> {
        let mut remains = Remains { end: from, next: None, durable: None };
        if self.is_thin() {
            // Its frames are found one by one only. It was complete before it got its name.
            return Ok(remains);
        }
        let mut chunk = vec![0; WINDOW_BYTES];
        let zeros = vec![0; WINDOW_BYTES];
        let mut offset = from;
        loop {
            let read = self.file.read_at(&mut chunk, offset).map_err(|error| self.failed(error))?;
            let bytes = &chunk[..read];
            if *bytes != zeros[..read] {
                let last = bytes.iter().rposition(|&byte| byte != 0).unwrap_or(0);
                remains.end = offset + on_disk(last) + 1;
                self.find_frames(bytes, offset, from, &mut remains)?;
            }
            offset += on_disk(read);
            if read < chunk.len() || remains.durable.is_some() {
                return Ok(remains);
            }
        }
    }

    fn find_frames(
        &self,
        bytes: &[u8],
        offset: u64,
        from: u64,
        remains: &mut Remains,
    ) -> Result<(), LogError> {
        for (at, block) in (offset..).step_by(FRAME_ALIGNMENT).zip(bytes.chunks(FRAME_ALIGNMENT)) {
            if at == from || !block.starts_with(&MAGIC) {
                continue;
            }
            let mut header = [0; HEADER_BYTES];
            self.file.read_at(&mut header, at).map_err(|error| self.failed(error))?;
            let place = Place { segment: self.number, offset: at };
            if let Ok(header) = Header::from_bytes(&header, place) {
                if header.batch_offset > from {
                    remains.durable.get_or_insert(header.place);
                }
                remains.next.get_or_insert(header);
            }
        }
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> LogError {
        LogError::io("read", &self.path, error)
    }
}

/// What is behind a frame that cannot be read.
pub(crate) struct Remains {
    /// Where the last byte that is not zero ends.
    pub(crate) end: u64,
    /// The next frame that can be read.
    pub(crate) next: Option<Header>,
    /// A frame whose write began behind the unreadable one: what is before it was durable.
    pub(crate) durable: Option<Place>,
}

/// The header and bytes of a frame that closes the log.
pub(crate) fn close_header(place: Place, next: Time, wall_clock_us: i64) -> Header {
    let mut header = Header::new(FrameKind::Close);
    header.place = place;
    header.batch_offset = place.offset;
    header.first_time = next;
    header.wall_clock_us = wall_clock_us;
    assert_eq!(header.end(), place.offset + aligned(header.bytes(), FRAME_ALIGNMENT));
    header
}
