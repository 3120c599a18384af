//! The file operations that the log needs, so that tests can make them fail.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::num::NonZeroU64;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::{in_memory, on_disk};
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, FallocateFlags, OFlags};
use rustix::io::Errno;

/// How many pieces one system call may write.
const PIECES_PER_CALL: usize = 1024;

/// How many bytes are copied at once: as many are lost with one that cannot be read.
const COPY_BYTES: usize = 4 << 10;

/// How many files are synced one by one before it pays to sync all that there are.
const FILES_SYNCED_EACH: usize = 32;

/// A disk, as far as the log uses one.
pub trait Disk: Send + Sync {
    /// Makes a directory and those above it, if they are missing. Their names are durable when those above are synced.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Lists the names in a directory, sorted.
    ///
    /// # Errors
    /// What the system says.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Opens an existing file.
    ///
    /// # Errors
    /// What the system says.
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates a file, or empties the one that is there, for reading and writing.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a directory that is empty. One that stays behind does no harm.
    ///
    /// # Errors
    /// What the system says.
    fn remove_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    /// Keeps a file under another name as well, or a copy of it: what of it cannot be read is zeros there.
    ///
    /// # Errors
    /// What the system says.
    fn keep(&self, path: &Path, aside: &Path) -> io::Result<()> {
        copy(self, path, aside)
    }
    /// Makes many files and the names in their directories durable. A disk that can do it at once may.
    ///
    /// # Errors
    /// What the system says.
    fn sync_all(&self, files: &[PathBuf]) -> io::Result<()> {
        sync_each(|path| self.open(path, Access::Write)?.sync(), |dir| self.sync_dir(dir), files)
    }
}

/// Copies a file as far as it can be read.
pub(crate) fn copy(disk: &(impl Disk + ?Sized), from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (disk.open(from, Access::Read)?, disk.create(to)?);
    let (length, mut offset) = (from.length()?, 0);
    let mut chunk = vec![0; COPY_BYTES];
    while offset < length {
        chunk.fill(0);
        let wanted = in_memory((length - offset).min(on_disk(COPY_BYTES)));
        from.read_at(&mut chunk[..wanted], offset).unwrap_or_default();
        to.write_at(&[&chunk[..wanted]], offset)?;
        offset += on_disk(wanted);
    }
    to.sync()
}

/// Syncs files one by one, then the directories that they are in.
fn sync_each(
    sync: impl Fn(&Path) -> io::Result<()>,
    sync_dir: impl Fn(&Path) -> io::Result<()>,
    files: &[PathBuf],
) -> io::Result<()> {
    let mut dirs = BTreeSet::new();
    for path in files {
        sync(path)?;
        dirs.extend(path.parent());
    }
    dirs.into_iter().try_for_each(sync_dir)
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only.
    Read,
    /// Reading and writing.
    Write,
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// What the system says.
    fn length(&self) -> io::Result<u64>;
    /// Reads until the buffer is full or the file ends; returns how many bytes were read.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Reads what the vector has room for and the file holds, behind what is in the vector.
    ///
    /// A disk that can read into memory that holds nothing yet saves filling it first.
    ///
    /// # Errors
    /// What the system says.
    fn read_into(&self, bytes: &mut Vec<u8>, offset: u64) -> io::Result<()> {
        let start = bytes.len();
        bytes.resize(bytes.capacity(), 0);
        let read = self.read_at(&mut bytes[start..], offset)?;
        bytes.truncate(start + read);
        Ok(())
    }
    /// Says that a range will be read soon. A disk that can begins to read it, without making anyone wait.
    fn expect(&self, _offset: u64, _length: u64) {}
    /// Says that what is kept of the file in memory is not wanted: what is read next comes from the disk, if the disk
    /// can tell the difference.
    fn forget(&self) {}
    /// Writes all pieces, one behind the other.
    ///
    /// # Errors
    /// What the system says; any prefix may have been written then.
    fn write_at(&self, pieces: &[&[u8]], offset: u64) -> io::Result<()>;
    /// Makes the file at least this long, with zeros, and reserves the room.
    ///
    /// # Errors
    /// What the system says.
    fn allocate(&self, length: u64) -> io::Result<()>;
    /// Writes zeros where nothing was written yet, in multiples of 4 KiB, so that a later sync of what is written there
    /// has less to do. Nothing may depend on it.
    ///
    /// # Errors
    /// What the system says; [`Unsupported`](io::ErrorKind::Unsupported) where it is of no use.
    fn fill(&self, _from: u64, _until: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Cuts the file at this length.
    ///
    /// # Errors
    /// What the system says.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable.
    ///
    /// # Errors
    /// What the system says. Afterwards nothing is known of what was written since the last success.
    fn sync(&self) -> io::Result<()>;
}

/// The machine's own files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let write = access == Access::Write;
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        if access == Access::Read {
            // The system reads further ahead then. Where it cannot, nothing is lost.
            rustix::fs::fadvise(&file, 0, None, Advice::Sequential).unwrap_or_default();
        }
        Ok(Arc::new(RealFile(file)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        Ok(Arc::new(RealFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Above a path of one name is the working directory.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        OpenOptions::new().read(true).open(dir)?.sync_all()
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn keep(&self, path: &Path, aside: &Path) -> io::Result<()> {
        // Another name costs no room, and nothing needs to be read for it.
        fs::hard_link(path, aside).or_else(|_error| copy(self, path, aside))
    }

    fn sync_all(&self, files: &[PathBuf]) -> io::Result<()> {
        match files {
            // One call for the whole file system costs less than many for its files.
            [first, ..] if files.len() > FILES_SYNCED_EACH => {
                Ok(rustix::fs::syncfs(OpenOptions::new().read(true).open(first)?)?)
            }
            _ => {
                let sync = |path: &Path| self.open(path, Access::Write)?.sync();
                sync_each(sync, |dir| self.sync_dir(dir), files)
            }
        }
    }
}

/// How many zeros are written at once past the cache.
const ZEROS_BYTES: usize = 256 << 10;

/// Zeros where a disk can take them from without a copy.
#[repr(align(4096))]
struct Zeros([u8; ZEROS_BYTES]);

impl Zeros {
    fn boxed() -> Box<Self> {
        Box::new(Self([0; ZEROS_BYTES]))
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
        let mut total = 0;
        while !buffer.is_empty() {
            match self.0.read_at(buffer, offset) {
                Ok(0) => break,
                Ok(read) => {
                    buffer = &mut buffer[read..];
                    offset += read as u64;
                    total += read;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(total)
    }

    fn read_into(&self, bytes: &mut Vec<u8>, mut offset: u64) -> io::Result<()> {
        while bytes.len() < bytes.capacity() {
            match rustix::io::pread(&self.0, spare_capacity(bytes), offset) {
                Ok(0) => break,
                Ok(read) => offset += read as u64,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn expect(&self, offset: u64, length: u64) {
        // It is only a hint: where the system does not take it, nothing is lost.
        let advice = Advice::WillNeed;
        rustix::fs::fadvise(&self.0, offset, NonZeroU64::new(length), advice).unwrap_or_default();
    }

    fn forget(&self) {
        // The system keeps what is not on the disk yet, and is not asked for more than a hint.
        rustix::fs::fadvise(&self.0, 0, None, Advice::DontNeed).unwrap_or_default();
    }

    fn write_at(&self, pieces: &[&[u8]], mut offset: u64) -> io::Result<()> {
        for pieces in pieces.chunks(PIECES_PER_CALL) {
            let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|p| IoSlice::new(p)).collect();
            let mut rest = slices.as_mut_slice();
            // Empty pieces at the front would make a finished write look like a full disk.
            IoSlice::advance_slices(&mut rest, 0);
            while !rest.is_empty() {
                match rustix::io::pwritev(&self.0, rest, offset) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        offset += written as u64;
                        IoSlice::advance_slices(&mut rest, written);
                    }
                    Err(Errno::INTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.0, FallocateFlags::empty(), 0, length) {
            Ok(()) => Ok(()),
            // Some file systems cannot reserve room; zeros that are not there yet do as well.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => self.0.set_len(length.max(self.length()?)),
            Err(error) => Err(error.into()),
        }
    }

    fn fill(&self, mut from: u64, until: u64) -> io::Result<()> {
        // A handle of its own: past the cache, where the sync of others does not wait for it.
        let path = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let flags = OFlags::DIRECT.bits().cast_signed();
        let file = OpenOptions::new().write(true).custom_flags(flags).open(path)?;
        let zeros = Zeros::boxed();
        while from < until {
            let length = usize::try_from(until - from).unwrap_or(usize::MAX).min(ZEROS_BYTES);
            match file.write_at(&zeros.0[..length], from) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => from += written as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
