//! The machine's disk, with something around its files. Syncs cost nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use log::{Access, Disk, DiskFile, RealDisk};

/// What is done behind a read of a file opened for this access; returns how many of the bytes were read.
type AtRead = Arc<dyn Fn(Access, usize) -> usize + Send + Sync>;

/// What becomes of a file: one that was opened for some access, or was created.
type Wrap = Box<dyn Fn(Option<Access>, Arc<dyn DiskFile>) -> Arc<dyn DiskFile> + Send + Sync>;

/// The machine's disk with something around its files.
pub(crate) struct Wrapped(Wrap);

impl Wrapped {
    pub(crate) fn new(
        wrap: impl Fn(Option<Access>, Arc<dyn DiskFile>) -> Arc<dyn DiskFile> + Send + Sync + 'static,
    ) -> Self {
        Self(Box::new(wrap))
    }
}

/// The machine's disk, on which something is done at each read.
pub(crate) fn meddled(at_read: impl Fn(Access, usize) -> usize + Send + Sync + 'static) -> Wrapped {
    let at_read: AtRead = Arc::new(at_read);
    Wrapped::new(move |access, inner| {
        let access = access.unwrap_or(Access::Write);
        Arc::new(MeddledFile { at_read: Arc::clone(&at_read), access, inner })
    })
}

impl Disk for Wrapped {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok((self.0)(Some(access), RealDisk.open(path, access)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok((self.0)(None, RealDisk.create(path)?))
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
