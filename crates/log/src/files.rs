//! What a log consists of, for whoever copies it: files that only grow, and how far they are durable.
//!
//! The process that writes the log may fold history meanwhile: then segments are rewritten under their names, and bases
//! come and go. So all files are opened at once, and the list of bases is read before and after that. A file that is
//! open stays what it was, whatever gets its name. When the list is the same both times, no fold happened in between, and
//! what is open is a log: segments may have been rewritten already or not, the list says which changes a base holds.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use change::Time;
use proof::Hash;
use sha2::{Digest, Sha256};

use crate::Log;
use crate::disk::{Access, DiskFile};
use crate::error::LogError;
use crate::limits::{COPIED_STUB_BYTES_MAX, LISTED_TIMES_MAX, in_memory, on_disk};
use crate::retention::{self, Base, Bases, FoldedTable};
use crate::segment::{self, Frames};
use crate::walk::Walk;

/// A file of a log, as far as a copy needs it.
///
/// Invariant: what was listed under a name never changes; it only grows. What is to say something else in the same
/// place has another name.
#[derive(Clone)]
pub struct LogFile {
    /// What tells it from what had its place before: a segment that was rewritten is another file.
    pub name: String,
    /// Its place, below the log's directory.
    pub path: String,
    /// How many of its bytes belong to the copy: all of them are durable.
    pub bytes: u64,
    content: Content,
}

#[derive(Clone)]
enum Content {
    Open(Arc<dyn DiskFile>),
    /// Of what little is left of segments there may be more than a process may have open files.
    Read(Arc<[u8]>),
}

impl fmt::Debug for LogFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LogFile").field(&self.name).field(&self.bytes).finish()
    }
}

impl LogFile {
    /// Reads so many of its bytes, as they were when it was listed.
    ///
    /// # Errors
    /// What the system says; and when they are not all there.
    pub fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = match &self.content {
            Content::Open(file) => file.read_at(&mut bytes, offset)?,
            Content::Read(all) => {
                let all = all.get(in_memory(offset)..).unwrap_or_default();
                let read = all.len().min(length);
                bytes[..read].copy_from_slice(&all[..read]);
                read
            }
        };
        if read < length { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(bytes) }
    }
}

/// The files that hold the transactions of a log before some Time.
#[derive(Clone, Debug)]
pub struct LogFiles {
    /// The files, in order.
    pub files: Vec<LogFile>,
    /// The bases among them.
    pub folded: Vec<FoldedTable>,
    /// The Time from which on they hold all transactions as they were.
    pub since: Time,
    /// The first Time that is not in them.
    pub upper: Time,
}

impl Log {
    /// Opens the files that hold the transactions before `upper`, and nothing that came later.
    ///
    /// Who copies them, as far as they are listed, has a log. What follows from the segments (indexes) is not listed, nor
    /// the tree. When the log is read beside the process that writes it, that process says up to where it is durable;
    /// what was folded then must be what is listed, or the transaction that says so may be missing.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read; [`LogError::Pruned`] when the end itself was folded meanwhile.
    ///
    /// # Panics
    /// When the log does not reach `upper`.
    pub fn files(&self, upper: Time) -> Result<LogFiles, LogError> {
        assert!(upper <= self.upper(), "what is copied is in the log");
        let (disk, dir) = (&*self.shared.disk, &*self.shared.dir);
        for _ in 0..LISTED_TIMES_MAX {
            let list = retention::read(disk, dir)?;
            let bases = retention::parse(dir, list.as_deref())?;
            let files = self.open_files(upper, list.as_deref(), &bases);
            // A file that went with a fold is missed by nobody.
            if retention::read(disk, dir)? == list {
                let (folded, since) = (bases.folded(), bases.since());
                return Ok(LogFiles { files: files?, folded, since, upper });
            }
        }
        Err(LogError::io("list", dir, io::ErrorKind::ResourceBusy.into()))
    }

    fn open_files(
        &self,
        upper: Time,
        list: Option<&[u8]>,
        bases: &Bases,
    ) -> Result<Vec<LogFile>, LogError> {
        let mut files = Vec::new();
        if let Some(list) = list {
            let hash = Hash(Sha256::digest(list).into());
            let (path, bytes) = (retention::LIST.to_owned(), on_disk(list.len()));
            let (name, content) = (format!("{path}.{hash}"), Content::Read(list.into()));
            files.push(LogFile { name, path, bytes, content });
        }
        for base in bases.tables.values() {
            files.push(self.base_file(base)?);
        }
        let segments: Vec<(u64, Time, u64)> = {
            let state = self.shared.state();
            let all = state.segments.iter();
            all.map(|segment| (segment.number, segment.first, segment.end)).collect()
        };
        let reached = segments.partition_point(|(_, first, _)| *first < upper).max(1);
        for &(number, _, end) in &segments[..reached] {
            files.push(self.segment_file(number, end)?);
        }
        // A log does not end with a segment that was rewritten: the next one begins behind it.
        let is_thin = files.last().is_some_and(|last| last.name != last.path);
        let last = if is_thin { reached } else { reached - 1 };
        let upto = bases.since();
        let &(number, _, end) = segments.get(last).ok_or(LogError::Pruned { from: upper, upto })?;
        if is_thin {
            files.push(self.segment_file(number, end)?);
        }
        let bytes = self.end_before(number, upper)?;
        if let Some(file) = files.last_mut().filter(|file| file.name == file.path) {
            file.bytes = bytes;
        }
        Ok(files)
    }

    fn base_file(&self, base: &Base) -> Result<LogFile, LogError> {
        let path = retention::path(&self.shared.dir, base.number);
        let content = match self.shared.disk.open(&path, Access::Read) {
            Ok(file) => Content::Open(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(LogError::Missing { segment: path });
            }
            Err(error) => return Err(LogError::io("open", &path, error)),
        };
        // After a crash that a list did not outlive, its bases' numbers are given once more.
        let path = retention::file_name(base.number);
        Ok(LogFile { name: format!("{path}.{}", base.hash), path, bytes: base.bytes, content })
    }

    /// A segment that ends at `end`, if it was not rewritten.
    fn segment_file(&self, number: u64, end: u64) -> Result<LogFile, LogError> {
        let frames = Frames::open(&*self.shared.disk, &self.shared.dir, number)?;
        let path = segment::path(&PathBuf::new(), number).to_string_lossy().into_owned();
        let is_thin = frames.is_thin();
        let bytes = if is_thin { frames.length()? } else { end };
        let file = frames.into_file();
        // It never grows again, and is rewritten again only to be smaller. (Were it of the same length once, that would
        // do no harm: a segment that holds more than it has to is right.)
        let name = if is_thin { format!("{path}.{bytes}") } else { path.clone() };
        let mut listed = LogFile { name, path, bytes, content: Content::Open(file) };
        if is_thin && bytes <= COPIED_STUB_BYTES_MAX {
            let read = listed.read(0, in_memory(bytes));
            let read = read.map_err(|error| {
                LogError::io("read", &self.shared.dir.join(&listed.path), error)
            })?;
            listed.content = Content::Read(read.into());
        }
        Ok(listed)
    }

    /// Where the last frame ends, in a segment, that makes a transaction before `upper` visible; the preamble's end when
    /// none does. What lies behind may not be durable.
    fn end_before(&self, number: u64, upper: Time) -> Result<u64, LogError> {
        let first = self.shared.state().segment(number).map_or(Time(1), |segment| segment.first);
        let mut start = self.shared.start(Time(upper.0.saturating_sub(2)));
        if start.segment != number {
            (start.segment, start.offset, start.next) = (number, 0, first);
        }
        let mut walk = Walk::new(Arc::clone(&self.shared), start);
        let mut end = 0;
        while let Some(header) = walk.header()? {
            let within = header.place.segment == number && header.next_time() <= upper;
            if !within || header.next_time() == upper && end > 0 && header.transactions == 0 {
                break;
            }
            if header.transactions > 0 || header.place.offset == 0 {
                end = header.end();
            }
            walk.pass(&header);
        }
        Ok(end)
    }
}
