//! Where a file source's bytes come from: a thread reads ahead, block by block, so that nothing else ever waits for a
//! disk or a pipe.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::SourceError;
use crate::limits::{BLOCK_BYTES, BLOCKS_AHEAD_MAX};

/// How long the end of a file that is followed is left alone before it is looked at again.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(50);

/// What is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A file.
    Path(PathBuf),
    /// The process's standard input.
    Stdin,
}

impl Input {
    /// What messages call it.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Stdin => "stdin".to_owned(),
        }
    }

    /// An error of reading it.
    pub(crate) fn error(&self, source: io::Error) -> SourceError {
        SourceError::Io { place: self.shown(), source }
    }
}

/// Blocks that were read ahead; ends with the input.
pub(crate) type Blocks = mpsc::Receiver<io::Result<Vec<u8>>>;

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadOptions {
    /// The first byte.
    pub(crate) from: u64,
    /// Whether to wait at the end for more.
    pub(crate) follow: bool,
    /// The byte to end at, if the file is longer.
    pub(crate) upto: Option<u64>,
}

/// Reads a file from a place.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn read_file(path: &Path, options: ReadOptions) -> io::Result<Blocks> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(options.from))?;
    if let Some(upto) = options.upto {
        let left = upto.saturating_sub(options.from);
        return Ok(read_ahead(file.take(left), |_| Ok(End::Ended)));
    }
    if !options.follow {
        return Ok(read_ahead(file, |_| Ok(End::Ended)));
    }
    Ok(read_ahead(file, |file| {
        std::thread::sleep(FOLLOW_INTERVAL);
        if file.metadata()?.len() < file.stream_position()? {
            return Err(io::Error::other("the file became shorter while it was followed"));
        }
        Ok(End::MoreMayCome)
    }))
}

/// Reads anything to its end.
pub(crate) fn read_all(reader: impl Read + Send + 'static) -> Blocks {
    read_ahead(reader, |_| Ok(End::Ended))
}

/// What it means that a reader has nothing more.
enum End {
    Ended,
    MoreMayCome,
}

fn read_ahead<R: Read + Send + 'static>(
    mut reader: R,
    at_end: impl Fn(&mut R) -> io::Result<End> + Send + 'static,
) -> Blocks {
    let (sender, blocks) = mpsc::channel(BLOCKS_AHEAD_MAX);
    // A thread of its own, not of the runtime's: one that waits for a pipe must not hold up the end of the process.
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let block = match read_block(&mut reader) {
                Ok(block) if block.is_empty() => match at_end(&mut reader) {
                    Ok(End::Ended) => return,
                    Ok(End::MoreMayCome) => continue,
                    Err(error) => Err(error),
                },
                block => block,
            };
            let is_over = block.is_err();
            if sender.blocking_send(block).is_err() || is_over {
                return;
            }
        }
    });
    blocks
}

/// Reads what is there, at most a block; empty at the end.
fn read_block(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        match reader.read(&mut block) {
            Ok(bytes) => {
                block.truncate(bytes);
                return Ok(block);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
