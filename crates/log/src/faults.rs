//! A disk that fails as real ones do, for tests of this crate and of those above it.
//!
//! It wraps the machine's files. It can run full, tear a write, refuse to sync, and crash: then every 512-byte block
//! that was written but not synced is kept or lost on its own, in any combination. After a failed sync it forgets, as
//! kernels do, what it could not write: the next sync succeeds, and the bytes are safe only when written once more.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::disk::{Access, Disk, DiskFile, RealDisk};
use crate::limits::{in_memory, on_disk};

/// The bytes that a disk writes whole or not at all.
const BLOCK_BYTES: usize = 512;

/// A disk with faults to order. Clones are the same disk.
#[derive(Clone, Default)]
pub struct FaultyDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// Bytes that files may still grow.
    room_bytes: Option<u64>,
    /// Bytes that may still be written before a write is torn for lack of room.
    write_bytes: Option<u64>,
    /// Syncs that succeed before one fails.
    syncs: Option<u64>,
    /// What a crash may lose: the bytes that unsynced writes replaced, oldest first.
    unsynced: Vec<Replaced>,
    /// A number for each file that was opened, which it keeps when its name changes.
    files: BTreeMap<PathBuf, u64>,
    files_opened: u64,
    /// Up to where a file was asked to be read ahead, at the furthest.
    expected: u64,
    /// How often that was asked.
    asked: u64,
    /// Grows with each crash; files of earlier lives do not work any more.
    life: u64,
    down: bool,
}

struct Replaced {
    file: u64,
    offset: u64,
    bytes: Vec<u8>,
    /// A sync failed since, so the next one does not care for these bytes.
    forgotten: bool,
}

impl Replaced {
    fn is_within(&self, file: u64, offset: u64, length: usize) -> bool {
        let end = self.offset + on_disk(self.bytes.len());
        self.file == file && self.offset >= offset && end <= offset + on_disk(length)
    }
}

impl FaultyDisk {
    /// Lets files grow by `bytes` more, then says that the disk is full. `None`: as much as there is.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.state().room_bytes = bytes;
    }

    /// Lets `bytes` more be written, then tears the write there and says that the disk is full.
    pub fn set_writable(&self, bytes: Option<u64>) {
        self.state().write_bytes = bytes;
    }

    /// Lets `count` syncs succeed, then fails one, then succeeds again, as kernels do.
    pub fn fail_sync_after(&self, count: u64) {
        self.state().syncs = Some(count);
    }

    /// Up to where any file was asked to be read ahead, at the furthest; 0 when none was.
    #[must_use]
    pub fn expected(&self) -> u64 {
        self.state().expected
    }

    /// How often the disk was asked to read any file ahead.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.state().asked
    }

    /// Stops the machine: nothing works until [`restart`](Self::restart).
    pub fn crash(&self) {
        self.state().down = true;
    }

    /// Starts the machine again. Asks for each unsynced block whether it reached the disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn restart(&self, mut keep: impl FnMut() -> bool) -> io::Result<()> {
        let mut state = self.state();
        while let Some(Replaced { file, offset, bytes, .. }) = state.unsynced.pop() {
            let Some((path, _)) = state.files.iter().find(|(_, known)| **known == file) else {
                continue;
            };
            let file = RealDisk.open(path, Access::Write)?;
            // Blocks are those of the disk, not of the write.
            let mut at = 0;
            while at < bytes.len() {
                let block = in_memory(offset) + at;
                let end = (at + BLOCK_BYTES - block % BLOCK_BYTES).min(bytes.len());
                if !keep() {
                    file.write_at(&[&bytes[at..end]], on_disk(block))?;
                }
                at = end;
            }
        }
        state.down = false;
        state.syncs = None;
        state.life += 1;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn up(&self) -> io::Result<u64> {
        let state = self.state();
        if state.down { Err(Errno::IO.into()) } else { Ok(state.life) }
    }

    fn wrap(&self, path: &Path, inner: Arc<dyn DiskFile>, life: u64) -> Arc<dyn DiskFile> {
        let mut state = self.state();
        state.files_opened += 1;
        let opened = state.files_opened;
        let file = *state.files.entry(path.to_owned()).or_insert(opened);
        Arc::new(FaultyFile { disk: self.clone(), file, inner, life })
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.up()?;
        RealDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.up()?;
        RealDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let life = self.up()?;
        Ok(self.wrap(path, RealDisk.open(path, access)?, life))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let life = self.up()?;
        self.state().files.remove(path);
        Ok(self.wrap(path, RealDisk.create(path)?, life))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.up()?;
        RealDisk.rename(from, to)?;
        let mut state = self.state();
        if let Some(file) = state.files.remove(from) {
            state.files.insert(to.to_owned(), file);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.up()?;
        self.state().files.remove(path);
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.up()?;
        RealDisk.sync_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.up()?;
        RealDisk.remove_dir(dir)
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    file: u64,
    inner: Arc<dyn DiskFile>,
    life: u64,
}

impl FaultyFile {
    fn up(&self) -> io::Result<()> {
        if self.disk.up()? == self.life { Ok(()) } else { Err(Errno::IO.into()) }
    }

    /// Takes `wanted` bytes of what a limit leaves; returns how many it gives.
    fn take(limit: &mut Option<u64>, wanted: u64) -> u64 {
        match limit {
            Some(left) => {
                let given = wanted.min(*left);
                *left -= given;
                given
            }
            None => wanted,
        }
    }

    fn remember(&self, offset: u64, length: usize) -> io::Result<()> {
        let mut bytes = vec![0; length];
        self.inner.read_at(&mut bytes, offset)?;
        let mut state = self.disk.state();
        for replaced in &mut state.unsynced {
            replaced.forgotten &= !replaced.is_within(self.file, offset, length);
        }
        state.unsynced.push(Replaced { file: self.file, offset, bytes, forgotten: false });
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.up()?;
        self.inner.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.up()?;
        self.inner.read_at(buffer, offset)
    }

    fn expect(&self, offset: u64, length: u64) {
        let mut state = self.disk.state();
        state.expected = state.expected.max(offset + length);
        state.asked += 1;
    }

    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        self.up()?;
        let bytes = pieces.concat();
        let growth = (offset + bytes.len() as u64).saturating_sub(self.inner.length()?);
        let mut state = self.disk.state();
        let room = Self::take(&mut state.room_bytes, growth);
        let wanted = bytes.len() as u64 - (growth - room);
        let given = Self::take(&mut state.write_bytes, wanted);
        let given = in_memory(given);
        drop(state);
        self.remember(offset, given)?;
        self.inner.write_at(&[&bytes[..given]], offset)?;
        if given < bytes.len() { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.up()?;
        let before = self.inner.length()?;
        let growth = length.saturating_sub(before);
        let given = Self::take(&mut self.disk.state().room_bytes, growth);
        // Real ones also take what there is before they say that it is not enough.
        if given > 0 {
            self.inner.allocate(before + given)?;
        }
        if given < growth { Err(Errno::NOSPC.into()) } else { Ok(()) }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.up()?;
        let freed = self.inner.length()?.saturating_sub(length);
        self.inner.truncate(length)?;
        if let Some(room) = &mut self.disk.state().room_bytes {
            *room += freed;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.up()?;
        let mut state = self.disk.state();
        match state.syncs {
            Some(0) => {
                state.syncs = None;
                for replaced in &mut state.unsynced {
                    replaced.forgotten |= replaced.file == self.file;
                }
                return Err(Errno::IO.into());
            }
            Some(left) => state.syncs = Some(left - 1),
            None => {}
        }
        state.unsynced.retain(|replaced| replaced.file != self.file || replaced.forgotten);
        drop(state);
        self.inner.sync()
    }
}
