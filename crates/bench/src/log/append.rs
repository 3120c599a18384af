//! The log's append + sync, beside what the disk can do with the same bytes.
//!
//! One group at a time: the next is appended when the last is durable, so both sides make as many syncs of as many
//! bytes. The raw side writes the log's own bytes, read back from its segments, into a file that has room for all of them
//! before it begins; what the log's steps of allocating cost counts against the log. Each raw write takes other bytes, as
//! the log's do: the same few over and over would come from the processor's cache. Both sides begin with a write that does
//! not count.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use ::log::Log;
use change::TransactionGroup;

use super::input::Groups;
use super::{append_durably, files, megabytes, open};
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

/// Measures groups of each size.
pub(crate) fn run(size: Size) -> Outcome {
    let sizes = [("1KB", 1 << 10), ("16KB", 16 << 10), ("256KB", 256 << 10), ("1MB", 1 << 20)];
    let mut figures = Vec::new();
    for (name, bytes) in sizes {
        let groups = (size.of(64 << 20, 4 << 20) / bytes).clamp(16, size.of(2_000, 200));
        let rounds = size.of(5, 1);
        let (mut ours, mut raw) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // In turn, so that a busy moment of the machine hits both.
            let directory = tempfile::tempdir()?;
            let dir = directory.path().join("log");
            let made = Groups::new(round).take(groups, bytes);
            let rate = append_one_by_one(&open(&dir)?, &made)?;
            ours.push(rate.megabytes_s());
            let frames = frames(&dir, rate.frame_bytes()?, groups)?;
            raw.push(write_raw(&directory.path().join("raw"), &frames)?);
        }
        figures.push(
            Figure::alone(format!("log-append-{name}"), median(ours), "MB/s")
                .beside("pwrite + fdatasync", median(raw)),
        );
    }
    Ok(figures)
}

/// What was appended in some time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Appended {
    groups: u32,
    bytes: u64,
    time: Duration,
}

impl Appended {
    /// Bytes a second.
    pub(super) fn megabytes_s(self) -> f64 {
        megabytes(self.bytes) / self.time.as_secs_f64()
    }

    /// The time that a group took.
    pub(super) fn time_per_group(self) -> Duration {
        self.time / self.groups
    }

    /// The bytes of a group in the log.
    pub(super) fn frame_bytes(self) -> Maybe<usize> {
        Ok(usize::try_from(self.bytes / u64::from(self.groups))?)
    }
}

/// Appends groups one by one. The first of them does not count.
pub(super) fn append_one_by_one(log: &Log, groups: &[TransactionGroup]) -> Maybe<Appended> {
    let (first, rest) = groups.split_first().ok_or("nothing to append")?;
    append_durably(log, first)?;
    let before = log.stat().bytes;
    let since = Instant::now();
    for group in rest {
        append_durably(log, group)?;
    }
    let time = since.elapsed();
    let bytes = log.stat().bytes - before;
    Ok(Appended { groups: u32::try_from(rest.len())?, bytes, time })
}

/// The log's own bytes, in pieces of a frame's size: as many as it wrote.
pub(super) fn frames(log: &Path, bytes: usize, times: usize) -> Maybe<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    for path in files::segments(log)? {
        all.extend(fs::read(path)?);
    }
    Ok(all.chunks_exact(bytes).take(times).map(<[u8]>::to_vec).collect())
}

/// Writes each piece behind the one before into a preallocated file, with a sync each; returns MB/s.
fn write_raw(path: &Path, pieces: &[Vec<u8>]) -> Maybe<f64> {
    let file = preallocated(path, pieces.iter().map(Vec::len).sum::<usize>())?;
    let (first, rest) = pieces.split_first().ok_or("nothing to write")?;
    write_durably(&file, first, 0)?;
    let (mut offset, since) = (u64::try_from(first.len())?, Instant::now());
    for piece in rest {
        write_durably(&file, piece, offset)?;
        offset += u64::try_from(piece.len())?;
    }
    let written = offset - u64::try_from(first.len())?;
    Ok(megabytes(written) / since.elapsed().as_secs_f64())
}

/// A new file with room for so many bytes.
pub(super) fn preallocated(path: &Path, bytes: usize) -> Maybe<File> {
    let file = File::create_new(path)?;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, u64::try_from(bytes)?)?;
    file.sync_all()?;
    Ok(file)
}

/// Makes a piece of a file durable.
pub(super) fn write_durably(file: &File, piece: &[u8], offset: u64) -> Maybe<()> {
    file.write_all_at(piece, offset)?;
    rustix::fs::fdatasync(file)?;
    Ok(())
}
