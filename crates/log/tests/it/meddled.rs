//! The machine's disk, with something done at each read. Syncs cost nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use log::{Access, Disk, DiskFile, RealDisk};

/// What is done behind a read of a file opened for this access; returns how many of the bytes were read.
type AtRead = Arc<dyn Fn(Access, usize) -> usize + Send + Sync>;

pub(crate) struct Meddled {
    at_read: AtRead,
}

impl Meddled {
    pub(crate) fn new(at_read: impl Fn(Access, usize) -> usize + Send + Sync + 'static) -> Self {
        Self { at_read: Arc::new(at_read) }
    }

    fn wrap(&self, access: Access, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(MeddledFile { at_read: Arc::clone(&self.at_read), access, inner })
    }
}

impl Disk for Meddled {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(access, RealDisk.open(path, access)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.wrap(Access::Write, RealDisk.create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}

struct MeddledFile {
    at_read: AtRead,
    access: Access,
    inner: Arc<dyn DiskFile>,
}

impl DiskFile for MeddledFile {
    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok((self.at_read)(self.access, self.inner.read_at(buffer, offset)?))
    }

    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()> {
        self.inner.write_at(pieces, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        self.inner.allocate(length)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.inner.truncate(length)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
