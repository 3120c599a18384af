//! Zeros ahead of the writer, so that a sync has less to do.
//!
//! A file system notes of a range that is allocated ahead that nothing was written there yet. The first write there
//! changes that note, so a sync writes it too, and waits for it: with small groups that takes as long as their own bytes.
//! (Databases recycle the files of their logs for this reason.) So a thread writes zeros before the writer comes, past the
//! cache, where the writer's sync does not wait for them. (Its write may: many file systems let one at a time write to a
//! file. So chunks are small.)
//!
//! That writes what is small twice. Writes above [`PREFILL_WRITE_BYTES_MAX`], on average, are better off without it.
//!
//! The thread and the writer never write in the same place: what is not filled when the writer comes there is the
//! writer's, and one chunk that is under way is waited for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::disk::DiskFile;
use crate::format::aligned;
use crate::limits::{
    PREFILL_AHEAD_BYTES, PREFILL_CHUNK_BYTES, PREFILL_WRITE_BYTES_MAX, WRITE_ALIGNMENT, on_disk,
};
use crate::segment::Tail;

/// What the writer and the thread agree on.
#[derive(Default)]
pub(crate) struct Prefill {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The segment's file; `None` when there is none to fill.
    file: Option<Arc<dyn DiskFile>>,
    /// Up to here the file is written, or filled, or the writer's.
    from: u64,
    /// Up to here it is to be filled.
    until: u64,
    /// Whether a chunk from there on is being written.
    is_filling: bool,
    /// Whether the thread is there.
    works: bool,
    /// Whether something was filled: the disk can do it.
    fills: bool,
    stopped: bool,
    /// How many bytes are written with a sync, as a moving average.
    write_bytes: u64,
    /// How many bytes were written since the log was opened.
    written: u64,
}

impl Prefill {
    /// Starts the thread.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let prefill = Arc::clone(self);
        prefill.state().works = true;
        std::thread::Builder::new().name("log prefill".to_owned()).spawn(move || prefill.run())
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_all();
    }

    /// Where a write that would end at `end` is to end: zeros up to there spare the disk from reading what is there.
    pub(crate) fn padded(&self, end: u64) -> u64 {
        if self.state().fills { aligned(end, WRITE_ALIGNMENT) } else { end }
    }

    /// Takes everything before `end` for the writer, which is about to write there.
    pub(crate) fn claim(&self, end: u64) {
        let mut state = self.state();
        if end > state.from {
            state = self.quiet(state);
            state.from = state.from.max(aligned(end, WRITE_ALIGNMENT));
        }
    }

    /// Takes in that so many bytes were written, and up to where the file is allocated.
    pub(crate) fn written(&self, tail: &Tail, end: u64) {
        let bytes = end - tail.end;
        let mut state = self.state();
        state.written += bytes;
        let before = if state.write_bytes == 0 { bytes } else { state.write_bytes };
        state.write_bytes = (before * 7 + bytes) / 8;
        if !state.works || state.write_bytes > PREFILL_WRITE_BYTES_MAX {
            return;
        }
        if state.file.is_none() {
            state.file = Some(Arc::clone(&tail.file));
        }
        // Not more than there was reason for: a log of a few groups stays small.
        let ahead = state.written.min(PREFILL_AHEAD_BYTES);
        let until = (end + ahead).min(tail.allocated);
        // In chunks, so that the thread wakes seldom.
        if !state.is_filling && until >= state.from + PREFILL_CHUNK_BYTES {
            state.until = until - until % on_disk(WRITE_ALIGNMENT);
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Forgets the file, which is cut or left; nothing is written to it any more.
    pub(crate) fn leave(&self) {
        let mut state = self.quiet(self.state());
        state.file = None;
        (state.from, state.until) = (0, 0);
    }

    /// Waits until no chunk is under way.
    fn quiet<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let filling = |state: &mut State| state.is_filling;
        self.changed.wait_while(state, filling).unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.state();
        while !state.stopped {
            let end = state.until.min(state.from + PREFILL_CHUNK_BYTES);
            let file = state.file.clone().filter(|_| end > state.from);
            let Some(file) = file else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let from = state.from;
            state.is_filling = true;
            drop(state);
            let filled = file.fill(from, end);
            state = self.state();
            state.is_filling = false;
            state.from = end;
            match filled {
                Ok(()) => state.fills = true,
                // Nothing depends on it. The writer finds out by itself what is wrong with the disk.
                Err(error) => {
                    tracing::debug!(%error, "the log is not filled ahead");
                    state.stopped = true;
                }
            }
            self.changed.notify_all();
        }
        (state.works, state.fills, state.file) = (false, false, None);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
