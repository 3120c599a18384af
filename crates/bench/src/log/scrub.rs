//! How fast a scrub goes when nothing holds it back, beside read(2) of the same files. All of it comes from the disk.
//!
//! Everything is signed, so a scrub checks the checksums of frames, and each transaction against the tree, which takes a
//! hash of all that it reads.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use ::log::{Disk, RealDisk, scrub};

use super::input::{Groups, ROW_BYTES};
use super::provable::notary;
use super::{append_durably, files, megabytes, open};
use crate::figure::{Figure, median};
use crate::{Maybe, Outcome, Size};

const GROUP_ROWS: usize = 4_096;

/// Scrubs a log with proofs.
pub(crate) fn run(size: Size) -> Outcome {
    let directory = tempfile::tempdir()?;
    let (dir, count) = (directory.path(), size.of(3_000, 300));
    write(dir, count)?;
    let segments = files::segments(dir)?;
    let bytes = files::length(&segments)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (mut ours, mut raw) = (Vec::new(), Vec::new());
    for _ in 0..size.of(5, 1) {
        files::cool(&segments)?;
        let since = Instant::now();
        let scrubbed = scrub(dir, &disk, 0, |_| ControlFlow::Continue(()))?;
        ours.push(megabytes(bytes) / since.elapsed().as_secs_f64());
        let seen = (scrubbed.bytes, scrubbed.compared, scrubbed.tiles > 0);
        if seen != (bytes, count, true) || !scrubbed.damage.is_empty() {
            return Err(format!("of {bytes} bytes it says: {scrubbed:?}").into());
        }
        files::cool(&segments)?;
        let since = Instant::now();
        files::read(&segments)?;
        raw.push(megabytes(bytes) / since.elapsed().as_secs_f64());
    }
    let figure = Figure::alone("log-scrub", median(ours), "MB/s");
    Ok(vec![figure.beside("read(2) of the files", median(raw))])
}

/// Writes a log of so many transactions. Its end waits until the last of them is signed.
fn write(dir: &Path, count: u64) -> Maybe<()> {
    let log = open(dir)?;
    log.start_notary(notary()?)?;
    let mut groups = Groups::new(4);
    for _ in 1..count {
        log.append(&groups.next(GROUP_ROWS * ROW_BYTES), Box::new(drop))?;
    }
    append_durably(&log, &groups.next(GROUP_ROWS * ROW_BYTES))
}
