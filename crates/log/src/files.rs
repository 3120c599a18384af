//! What a log consists of, for whoever copies it: files that only grow, and how far they are durable.

use std::sync::Arc;

use change::Time;

use crate::Log;
use crate::error::LogError;
use crate::segment;
use crate::walk::Walk;

/// A file of a log, as far as a copy needs it.
///
/// Invariant: what was listed under a name never changes; it only grows. A file that is to say something else has
/// another name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFile {
    /// Its name, below the log's directory.
    pub name: String,
    /// How many of its bytes belong to the copy: all of them are durable.
    pub bytes: u64,
}

/// The files that hold the transactions of a log before some Time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFiles {
    /// The files, in order.
    pub files: Vec<LogFile>,
    /// The Time before the first transaction in them.
    pub since: Time,
    /// The first Time that is not in them.
    pub upper: Time,
}

impl Log {
    /// Lists the files that hold the transactions before `upper`, and nothing that came later.
    ///
    /// Who copies them, as far as they are listed, has a log. What follows from the segments (indexes, tiles) is not
    /// listed. When the log is read beside the process that writes it, that process says up to where it is durable.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read.
    ///
    /// # Panics
    /// When the log does not reach `upper`.
    pub fn files(&self, upper: Time) -> Result<LogFiles, LogError> {
        assert!(upper <= self.upper(), "what is copied is in the log");
        let segments: Vec<(u64, Time, u64)> = {
            let state = self.shared.state();
            let all = state.segments.iter();
            all.map(|segment| (segment.number, segment.first, segment.end)).collect()
        };
        let since = segments.first().map_or(Time(1), |(_, first, _)| *first);
        let wanted = segments.iter().filter(|(_, first, _)| *first < upper || *first == since);
        let mut files: Vec<(u64, u64)> = wanted.map(|(number, _, end)| (*number, *end)).collect();
        if let Some(last) = files.last_mut() {
            last.1 = self.end_before(last.0, upper)?;
        }
        let name = |number: u64| {
            let path = segment::path(&self.shared.dir, number);
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let files = files.into_iter().map(|(number, bytes)| LogFile { name: name(number), bytes });
        Ok(LogFiles { files: files.collect(), since: Time(since.0.saturating_sub(1)), upper })
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
