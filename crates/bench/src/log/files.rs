//! A log's files, read as they are: the physical limit of whatever reads the log.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Maybe;

/// The most bytes that one call reads.
const READ_BYTES: usize = 1 << 20;

/// The segments of a log, in order.
pub(super) fn segments(dir: &Path) -> Maybe<Vec<PathBuf>> {
    let paths = fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>()?;
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    paths.sort();
    Ok(paths)
}

/// How many bytes the files have.
pub(super) fn length(paths: &[PathBuf]) -> Maybe<u64> {
    let lengths = paths.iter().map(|path| fs::metadata(path).map(|file| file.len()));
    Ok(lengths.sum::<Result<u64, _>>()?)
}

/// Takes the files out of memory.
pub(super) fn cool(paths: &[PathBuf]) -> Maybe<()> {
    for path in paths {
        let file = File::open(path)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// Reads the files with read(2), one after the other.
pub(super) fn read(paths: &[PathBuf]) -> Maybe<()> {
    let mut buffer = vec![0; READ_BYTES];
    for path in paths {
        let mut file = File::open(path)?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}
