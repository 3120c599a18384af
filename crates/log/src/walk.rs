//! Goes through the durable frames of all segments, in order.

use std::sync::Arc;

use change::Time;

use crate::error::LogError;
use crate::format::{FormatError, FrameKind, Header};
use crate::segment::{Frames, Stored};
use crate::shared::{Pin, Shared, Start};

/// A place in the log, between two frames.
pub(crate) struct Walk {
    shared: Arc<Shared>,
    /// Keeps what is ahead from being folded.
    pin: Pin,
    frames: Option<Frames>,
    segment: u64,
    offset: u64,
    /// Where the segment's durable frames end, as far as is known here.
    end: u64,
    /// The next Time.
    next: Time,
}

impl Walk {
    pub(crate) fn new(shared: Arc<Shared>, start: Start) -> Self {
        let Start { pin, segment, offset, next, .. } = start;
        Self { shared, pin, frames: None, segment, offset, end: 0, next }
    }

    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }

    /// The offset of the next frame in the segment.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on at another frame of the segment, or at its end.
    pub(crate) fn jump(&mut self, offset: u64, next: Time) {
        (self.offset, self.next) = (offset, next);
    }

    pub(crate) fn next_time(&self) -> Time {
        self.next
    }

    /// The frames of the segment that the walk is in.
    pub(crate) fn frames(&mut self) -> Result<&mut Frames, LogError> {
        let frames = match self.frames.take() {
            Some(frames) => frames,
            None => Frames::open(&*self.shared.disk, &self.shared.dir, self.segment)?,
        };
        Ok(self.frames.insert(frames))
    }

    /// Reads the next frame's header without passing it; `None` at the durable end.
    ///
    /// The frame's Time is checked: frames follow each other without a gap.
    pub(crate) fn header(&mut self) -> Result<Option<Header>, LogError> {
        if self.offset >= self.end && !self.advance()? {
            return Ok(None);
        }
        let (offset, end, next) = (self.offset, self.end, self.next);
        let frames = self.frames()?;
        let header =
            frames.header(offset, end).map_err(|error| frames.explain(error, offset, next))?;
        let reason = if header.first_time != next {
            "the Times do not follow each other"
        } else if (offset == 0) != (header.kind == FrameKind::Preamble) {
            "a preamble is not where it belongs"
        } else {
            return Ok(Some(header));
        };
        Err(frames.damaged(offset, FormatError::Value(reason), next))
    }

    /// Reads the leaves and the payload of the frame that `header` returned.
    pub(crate) fn stored(&mut self, header: &Header) -> Result<Stored, LogError> {
        let (offset, next) = (self.offset, self.next);
        let frames = self.frames()?;
        frames.stored(header).map_err(|error| frames.explain(error, offset, next))
    }

    /// The error for a frame that is whole and yet not readable.
    pub(crate) fn damaged(&mut self, reason: FormatError) -> LogError {
        let (offset, next) = (self.offset, self.next);
        match self.frames() {
            Ok(frames) => frames.damaged(offset, reason, next),
            Err(error) => error,
        }
    }

    /// Passes the frame that `header` returned.
    pub(crate) fn pass(&mut self, header: &Header) {
        self.offset = header.end();
        self.next = header.next_time();
    }

    /// Learns of more durable bytes, in this segment or the next one.
    fn advance(&mut self) -> Result<bool, LogError> {
        loop {
            let end = self.shared.end_of(self.segment);
            self.end = end.ok_or_else(|| LogError::Missing {
                segment: crate::segment::path(&self.shared.dir, self.segment),
            })?;
            if self.offset < self.end {
                return Ok(true);
            }
            // The next segment exists only when this one does not grow any more: ask for this one's end first.
            let Some(next_end) = self.shared.end_of(self.segment + 1) else { return Ok(false) };
            if self.shared.end_of(self.segment) == Some(self.end) {
                (self.segment, self.offset, self.end) = (self.segment + 1, 0, next_end);
                self.frames = None;
                self.pin.enter(self.segment);
                return Ok(true);
            }
        }
    }
}
