//! How long an append takes at half load, beside the disk alone with the same bytes at the same rate.
//!
//! Half load is half of the rate that is reached when each group is appended as soon as the last is durable. Both sides
//! keep to a schedule: an operation is due at its moment, whatever became of the one before. Time counts from the moment
//! at which it began, or from when it was due, if its thread was still busy then: so nobody gains by being late. What the
//! system adds to a sleep counts for neither.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use ::log::Log;
use change::TransactionGroup;

use super::append::{append_one_by_one, frames, preallocated, write_durably};
use super::input::Groups;
use super::{append_durably, open};
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

/// How many bytes of different groups there are: more than the processor's cache holds.
const DIFFERENT_BYTES: usize = 64 << 20;

/// Measures groups of each size.
pub(crate) fn run(size: Size) -> Outcome {
    let sizes = [("1KB", 1 << 10), ("16KB", 16 << 10), ("256KB", 256 << 10)];
    let mut figures = Vec::new();
    for (name, bytes) in sizes {
        let (mut ours, mut raw) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for round in 0..size.of(5, 1) {
            let measured = measure(bytes, size, round)?;
            for at in 0..2 {
                ours[at].push(measured.ours[at]);
                raw[at].push(measured.raw[at]);
            }
        }
        for (percentile, (ours, raw)) in ["p50", "p99"].into_iter().zip(ours.into_iter().zip(raw)) {
            figures.push(
                Figure::alone(format!("log-latency-{name}-{percentile}"), median(ours), "us")
                    .beside("pwrite + fdatasync at the rate", median(raw)),
            );
        }
    }
    Ok(figures)
}

/// The 50th and 99th percentile of both sides, in microseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Measured {
    ours: [f64; 2],
    raw: [f64; 2],
}

/// Finds the rate, and measures both sides at half of it.
fn measure(bytes: usize, size: Size, round: u64) -> Maybe<Measured> {
    let directory = tempfile::tempdir()?;
    let dir = directory.path().join("log");
    let log = open(&dir)?;
    let (probes, operations) = (size.of(400, 50), size.of(2_000, 200));
    let different = (DIFFERENT_BYTES / bytes).clamp(probes, operations);
    let groups = Groups::new(round).take(different, bytes);
    let full = append_one_by_one(&log, &groups)?;
    let schedule = Schedule { interval: full.time_per_group() * 2, operations };
    let frames = frames(&dir, full.frame_bytes()?, different)?;
    let mut measured = Measured::default();
    // Who goes first takes turns.
    let ours_first = round.is_multiple_of(2);
    for is_ours in [ours_first, !ours_first] {
        if is_ours {
            measured.ours = percentiles(append(&log, &groups, schedule)?);
        } else {
            measured.raw = percentiles(write(&directory.path().join("raw"), &frames, schedule)?);
        }
    }
    Ok(measured)
}

/// When operations are due.
#[derive(Clone, Copy, Debug)]
struct Schedule {
    interval: Duration,
    operations: usize,
}

impl Schedule {
    /// Begins each operation when it is due, or as soon after that as the one before has returned; tells it its number and
    /// from when it counts.
    fn keep(self, mut begin: impl FnMut(usize, Instant) -> Maybe<()>) -> Maybe<()> {
        let mut due = Instant::now();
        for number in 0..self.operations {
            due += self.interval;
            let early = due.saturating_duration_since(Instant::now());
            let since = if early.is_zero() {
                due
            } else {
                std::thread::sleep(early);
                Instant::now()
            };
            begin(number, since)?;
        }
        Ok(())
    }
}

/// Appends by the schedule; returns how long each group took until it was durable.
fn append(log: &Log, groups: &[TransactionGroup], schedule: Schedule) -> Maybe<Vec<Duration>> {
    let mut times = Vec::with_capacity(schedule.operations);
    schedule.keep(|number, since| {
        append_durably(log, &groups[number % groups.len()])?;
        times.push(since.elapsed());
        Ok(())
    })?;
    Ok(times)
}

/// Writes pieces by the schedule into a file that has room for all of them; returns how long each took.
fn write(path: &Path, pieces: &[Vec<u8>], schedule: Schedule) -> Maybe<Vec<Duration>> {
    let length = pieces.first().ok_or("nothing to write")?.len();
    let file: File = preallocated(path, length * schedule.operations)?;
    let mut times = Vec::with_capacity(schedule.operations);
    schedule.keep(|number, since| {
        let offset = u64::try_from(length * number)?;
        write_durably(&file, &pieces[number % pieces.len()], offset)?;
        times.push(since.elapsed());
        Ok(())
    })?;
    Ok(times)
}

/// The 50th and the 99th percentile, in microseconds.
fn percentiles(mut times: Vec<Duration>) -> [f64; 2] {
    times.sort();
    [50, 99].map(|percent| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_waits_for_the_one_before_counts_from_when_it_was_due() {
        let interval = Duration::from_millis(20);
        let (mut begun, mut waited) = (Vec::new(), Duration::ZERO);
        let schedule = Schedule { interval, operations: 3 };
        let keep = schedule.keep(|number, since| {
            begun.push(since);
            match number {
                0 => std::thread::sleep(interval * 3),
                _ => waited = waited.max(since.elapsed()),
            }
            Ok(())
        });
        keep.unwrap();
        // The second was due when the first had taken one of its three intervals.
        assert!(begun[1] - begun[0] <= interval, "{begun:?}");
        assert_eq!(begun[2] - begun[1], interval);
        assert!(waited >= interval, "{waited:?}");
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = (1..=100).rev().map(Duration::from_micros).collect();
        let rounded = percentiles(times).map(|microseconds| format!("{microseconds:.0}"));
        assert_eq!(rounded, ["50", "99"]);
    }
}
