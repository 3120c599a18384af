//! Zeros are written ahead of the writer, and never where it writes.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use log::{Access, Disk, DiskFile, RealDisk};

use crate::meddled::Wrapped;
use crate::world::{dir, group, ids, options, try_open};

/// Who writes where on the machine's disk, on which zeros take a while.
#[derive(Clone, Default)]
struct Watched(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// The zeros that are on their way.
    filling: Option<(u64, u64)>,
    /// Where the writer has written last.
    written: u64,
    fills: u64,
    filled: u64,
    wrong: Vec<String>,
}

impl Watched {
    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The disk that is watched.
    fn disk(&self) -> Wrapped {
        let watched = self.clone();
        Wrapped::new(move |access, inner| {
            if access.is_none() {
                watched.with(|seen| seen.written = 0);
            }
            match access {
                Some(Access::Read) => inner,
                Some(Access::Write) | None => {
                    Arc::new(WatchedFile { watched: watched.clone(), inner })
                }
            }
        })
    }
}

struct WatchedFile {
    watched: Watched,
    inner: Arc<dyn DiskFile>,
}

impl DiskFile for WatchedFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        let end = offset + pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        self.watched.with(|seen| {
            if let Some((from, until)) =
                seen.filling.filter(|(from, until)| offset < *until && *from < end)
            {
                seen.wrong.push(format!("{offset}..{end} while {from}..{until} is filled"));
            }
            seen.written = seen.written.max(end);
        });
        self.inner.write_at(pieces, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.inner.allocate(length)
    }

    fn fill(&self, from: u64, until: u64) -> io::Result<()> {
        let length = self.inner.length()?;
        self.watched.with(|seen| {
            if from < seen.written || until > length || !(from | until).is_multiple_of(4096) {
                let (written, wrong) = (seen.written, &mut seen.wrong);
                wrong.push(format!("{from}..{until} is filled of {written}..{length}"));
            }
            seen.filling = Some((from, until));
        });
        // Long enough for the writer to come here.
        std::thread::sleep(Duration::from_millis(5));
        let zeros = vec![0; usize::try_from(until - from).unwrap()];
        let filled = self.inner.write_at(&[&zeros], from);
        self.watched.with(|seen| {
            seen.filling = None;
            seen.fills += 1;
            seen.filled += until - from;
        });
        filled
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.watched.with(|seen| {
            if let Some((from, until)) = seen.filling {
                seen.wrong.push(format!("cut at {length} while {from}..{until} is filled"));
            }
        });
        self.inner.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends so many groups of so many rows; returns what was seen.
fn appended(groups: u64, rows: u32) -> Seen {
    let (dir, disk) = (dir(), Watched::default());
    let options = log::LogOptions {
        segment_bytes_max: 3 << 20,
        compression: log::Compression::Off,
        ..options()
    };
    let (log, _) = try_open(dir.path(), options, Arc::new(disk.disk())).unwrap();
    for step in 0..groups {
        log.append_durably(&group("s", step, &[rows])).unwrap();
    }
    assert_eq!(ids(&log, 0).len() as u64, groups * u64::from(rows));
    log.close();
    assert!(disk.with(|seen| seen.filling.is_none()), "nothing is written to a closed log");
    let (log, recovery) = log::Log::open_read_only(dir.path(), Arc::new(RealDisk)).unwrap();
    assert_eq!(recovery.cut_bytes, 0);
    assert_eq!(ids(&log, 0).len() as u64, groups * u64::from(rows), "zeros covered nothing");
    let seen = disk.with(std::mem::take);
    assert_eq!(seen.wrong, Vec::<String>::new());
    seen
}

#[test]
fn zeros_are_written_ahead_of_small_groups_and_never_over_them() {
    // Of 20 KB each; four segments.
    let seen = appended(600, 400);
    assert!(seen.fills > 10, "{}", seen.fills);
    assert!(seen.filled < 24 << 20, "not more than there was reason for");
}

#[test]
fn large_groups_and_a_young_log_are_not_filled_ahead() {
    assert_eq!(appended(60, 6_000).fills, 0);
    assert_eq!(appended(5, 400).fills, 0);
}

#[test]
fn the_machines_disk_fills_what_is_allocated_and_nothing_else() {
    let dir = dir();
    let path = dir.path().join("file");
    let file = RealDisk.create(&path).unwrap();
    file.allocate(1 << 20).unwrap();
    file.write_at(&[&[7; 5000]], 0).unwrap();
    match file.fill(8192, 1 << 20) {
        Ok(()) => {}
        // Some file systems cannot write past the cache.
        Err(error) => assert!(matches!(error.kind(), io::ErrorKind::InvalidInput), "{error}"),
    }
    file.write_at(&[&[9; 4096]], 8192).unwrap();
    file.sync().unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert_eq!(bytes.len(), 1 << 20);
    assert!(bytes[..5000].iter().all(|byte| *byte == 7));
    assert!(bytes[5000..8192].iter().all(|byte| *byte == 0));
    assert!(bytes[8192..12_288].iter().all(|byte| *byte == 9));
    assert!(bytes[12_288..].iter().all(|byte| *byte == 0));
}
