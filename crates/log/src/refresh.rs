//! Following a log that another process writes: what it added since, without reading again what is known.

use std::sync::Arc;

use change::Time;

use crate::Log;
use crate::error::LogError;
use crate::format::{FrameKind, Header};
use crate::recovery::read_first;
use crate::segment::{self, Frames, ReadError};
use crate::shared::{Growth, Index, Shared};

impl Log {
    /// Takes in what another process has written since this log was opened for reading, or refreshed; returns
    /// [`upper`](Self::upper). A log that is written here knows it already.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub fn refresh(&self) -> Result<Time, LogError> {
        if self.writing.is_none() {
            while self.shared.refresh()? {}
            let bases = crate::retention::load(&*self.shared.disk, &self.shared.dir)?;
            self.shared.state().bases = Arc::new(bases);
        }
        Ok(self.upper())
    }
}

impl Shared {
    /// Reads on in the last segment; returns whether there is another one by now.
    fn refresh(&self) -> Result<bool, LogError> {
        let (number, mut growth) = {
            let state = self.state();
            let last = state.segments.last().expect("a log has a segment");
            let (end, upper, totals) = (last.end, state.upper, state.totals);
            (last.number, Growth { end, index: Index::default(), upper, totals })
        };
        // Asked first: when there is a next segment, this one does not grow any more.
        let next = segment::path(&self.dir, number + 1);
        let next = match self.disk.open(&next, crate::Access::Read) {
            Ok(_file) => Some(read_first(&mut Frames::open(&*self.disk, &self.dir, number + 1)?)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(LogError::io("open", &next, error)),
        };
        let mut frames = Frames::open(&*self.disk, &self.dir, number)?;
        let end = match &next {
            Some((_, preamble)) => preamble.previous_end,
            None => frames.length()?,
        };
        while growth.end < end {
            match read(&mut frames, growth.end, end) {
                Ok(header) => growth.take(&header),
                Err(ReadError::Log(error)) => return Err(error),
                // What is not whole yet will be.
                Err(ReadError::Format(_)) if next.is_none() => break,
                Err(error @ ReadError::Format(_)) => {
                    return Err(frames.explain(error, growth.end, growth.upper));
                }
            }
        }
        self.publish(growth);
        self.wake();
        let Some((header, preamble)) = next else { return Ok(false) };
        self.add_segment(number + 1, preamble.next, header.end(), header.wall_clock_us);
        Ok(true)
    }
}

fn read(frames: &mut Frames, offset: u64, end: u64) -> Result<Header, ReadError> {
    let header = frames.header(offset, end)?;
    frames.stored(&header)?;
    Ok(header)
}

impl Growth {
    fn take(&mut self, header: &Header) {
        match header.kind {
            FrameKind::Preamble | FrameKind::Close | FrameKind::Gap | FrameKind::Base => {}
            FrameKind::Schema => self.index.add_schema(header.place.offset),
            FrameKind::Transactions => {
                self.index.add_transactions(header.first_time, header.place.offset);
                self.totals.frames += 1;
                self.totals.transactions += u64::from(header.transactions);
                self.totals.rows += u64::from(header.rows);
            }
        }
        (self.end, self.upper) = (header.end(), header.next_time());
    }
}
