//! Makes the log provable: every transaction a leaf of a Merkle tree, the tree as tiles beside the segments, with the
//! records of its leaves in bundles, and its root signed.
//!
//! ```text
//! writer ─► segments ─► notary: leaves ─► tree ─► tiles, bundles ─► checkpoint
//!           (durable)   (follows, as any reader does)
//! ```
//!
//! The notary reads what is durable and never makes anyone wait: it hashes one group while the next is written. What
//! it keeps is derived (see `leaves`). Three things hold:
//!
//! - **Only what is durable is signed**, and it was visible before.
//! - **No two trees of one size are ever signed**, whatever crashes: the same bytes give the same tree. When the log
//!   has become shorter than what was signed, or other than that, nothing more is signed: [`LogError::Behind`],
//!   [`LogError::Altered`].
//! - **A checkpoint's tiles are there before the checkpoint**, and so are its bundles from the first one on that was
//!   written. A log that was signed before it had bundles, or was restored, has none of what came before; those that
//!   somebody removes stay away. Only the open one is computed again, unless some of its history was folded.
//!
//! A checkpoint follows the last transaction within [`NotaryOptions::interval`], or when the log is closed.

mod bundles;
pub(crate) mod leaves;
mod shelf;
mod thread;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use change::Time;
use proof::{Checkpoint, LeafRecord, Note, Signer, Tile, TileId, Tree, leaf_hash};

use crate::Log;
use crate::disk::Disk;
use crate::error::LogError;
use crate::format::{FrameKind, FramePart, Header};
use crate::limits::{NOTARY_FRAMES_PER_STEP, NOTARY_TILES_MAX};
use crate::walk::Walk;
use bundles::{Bundle, Bundles};
use leaves::Leaves;
use shelf::Shelf;

pub(crate) use shelf::read_file;
pub(crate) use thread::{Desk, join};

/// Where a log's proofs are, below its directory.
const DIRECTORY: &str = "proof";

/// The directory of the tree, of what is signed, and of the public key: what may be shown to everyone.
#[must_use]
pub fn proof_dir(log_dir: &Path) -> PathBuf {
    log_dir.join(DIRECTORY)
}

/// How a log is made provable.
#[derive(Debug)]
pub struct NotaryOptions {
    /// Who signs. The key's name is the log's origin.
    pub signer: Signer,
    /// How long a durable transaction waits at most for a checkpoint.
    pub interval: Duration,
}

/// A log's state as it was signed.
#[derive(Clone, Debug)]
pub struct Published {
    /// The state.
    pub checkpoint: Checkpoint,
    /// The state as it was signed.
    pub note: Note,
}

/// What was filled and is not written yet.
#[derive(Default)]
struct Filled {
    tiles: Vec<Tile>,
    bundles: Vec<Bundle>,
}

/// Keeps the tree of a log, step by step. [`Log::start_notary`] has a thread do that.
pub struct Notary {
    walk: Walk,
    leaves: Leaves,
    shelf: Shelf,
    signer: Signer,
    tree: Tree,
    bundles: Bundles,
    /// Tiles and bundles that are to be written.
    filled: Filled,
    /// The state that was signed before this process began, until the tree reaches it again.
    signed: Option<Checkpoint>,
    published: Option<Published>,
    settled: u64,
}

impl Notary {
    /// Takes up the tree of a log where it was left.
    ///
    /// # Errors
    /// When the log has lost what was signed, or its files cannot be read or written.
    pub fn open(log: &Log, signer: Signer) -> Result<Self, LogError> {
        let shared = Arc::clone(&log.shared);
        let root = proof_dir(&shared.dir);
        let mut shelf = Shelf::open(Arc::clone(&shared.disk), root)?;
        shelf.put_verifier(&signer.verifier().to_string())?;
        let held = log.upper().0.saturating_sub(1);
        let signed = signed(&shelf, &signer)?;
        if let Some(state) = signed.as_ref().filter(|state| state.size() > held) {
            let (checkpoint, signed) = (shelf.checkpoint_path(), state.size());
            return Err(LogError::Behind { checkpoint, signed, held });
        }
        let is_folded = shared.state().bases.since() > Time::ZERO;
        let (tree, settled) = settled(&shelf, &signer, held, signed.as_ref(), is_folded)?;
        let mut filled = Filled::default();
        let bundles = match Bundles::open(&shelf, &tree) {
            Some(bundles) => bundles,
            None => {
                let bundles = Bundles::compute(&shared, &tree);
                filled.bundles.extend(bundles.partial(tree.size()));
                bundles
            }
        };
        let after = Time(tree.size());
        let walk = Walk::new(Arc::clone(&shared), shared.start(after));
        let leaves = Leaves::new(shared);
        let published = None;
        let mut notary =
            Self { walk, leaves, shelf, signer, tree, bundles, filled, signed, published, settled };
        notary.compare()?;
        Ok(notary)
    }

    /// How many transactions are in the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The state that was signed last by this process.
    #[must_use]
    pub fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// Takes in some of what became durable; returns how many bytes of it, `None` at the durable end.
    ///
    /// # Errors
    /// When the log is damaged or was altered, or a file cannot be read or written.
    pub fn step(&mut self) -> Result<Option<u64>, LogError> {
        let mut bytes = 0;
        // When the disk refuses them, nothing is added to what waits in memory.
        self.write_tiles()?;
        for _ in 0..NOTARY_FRAMES_PER_STEP {
            let Some(header) = self.walk.header()? else { break };
            bytes += header.bytes();
            self.take(&header)?;
            self.walk.pass(&header);
            if self.filled.tiles.len() >= NOTARY_TILES_MAX {
                self.write_tiles()?;
            }
        }
        self.write_tiles()?;
        Ok((bytes > 0).then_some(bytes))
    }

    /// Signs and publishes the state, unless nothing is new. All tiles are written before.
    ///
    /// # Errors
    /// When a file cannot be written.
    #[expect(clippy::missing_panics_doc, reason = "a checkpoint's text and a signature are a note")]
    pub fn publish(&mut self) -> Result<(), LogError> {
        let size = self.tree.size();
        // What was signed before must be reached, and found equal, before anything else is signed.
        if size == self.published_size() || size == 0 || self.signed.is_some() {
            return Ok(());
        }
        self.write_tiles()?;
        self.write_partial()?;
        let checkpoint = self.checkpoint();
        let signature = self.signer.sign_checkpoint(&checkpoint);
        let note = Note::new(checkpoint.text(), vec![signature]).expect("a checkpoint is a note");
        self.shelf.put_checkpoint(&note)?;
        self.published = Some(Published { checkpoint, note });
        Ok(())
    }

    /// Makes durable what was published, so that the next start goes on from here.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn settle(&mut self) -> Result<(), LogError> {
        let size = self.tree.size();
        if size == self.settled {
            return Ok(());
        }
        self.write_tiles()?;
        self.write_partial()?;
        self.shelf.settle(&self.checkpoint())?;
        self.settled = size;
        Ok(())
    }

    fn published_size(&self) -> u64 {
        self.published.as_ref().map_or(0, |published| published.checkpoint.size())
    }

    /// Whether some of the tree is not published.
    fn is_ahead(&self) -> bool {
        self.tree.size() > self.published_size()
    }

    /// How many files a settlement would make durable.
    fn unsettled(&self) -> usize {
        self.shelf.unsynced()
    }

    fn checkpoint(&self) -> Checkpoint {
        let origin = self.signer.verifier().name();
        Checkpoint::new(origin, self.tree.size(), self.tree.root())
            .expect("a key's name is an origin, and a tree has a root")
    }

    fn write_tiles(&mut self) -> Result<(), LogError> {
        // One by one: those that were written are not written again after a failure.
        while let Some((id, bytes)) = self.filled.bundles.first() {
            self.shelf.put_tile(*id, bytes)?;
            self.filled.bundles.remove(0);
        }
        while let Some(tile) = self.filled.tiles.first() {
            self.shelf.put_tile(tile.id(), &tile.to_bytes())?;
            self.filled.tiles.remove(0);
        }
        Ok(())
    }

    /// Writes what is at the tree's right edge, as far as it is filled.
    fn write_partial(&mut self) -> Result<(), LogError> {
        if let Some((id, bytes)) = self.bundles.partial(self.tree.size()).filter(is_partial) {
            self.shelf.put_tile(id, &bytes)?;
        }
        for tile in self.tree.partial_tiles() {
            self.shelf.put_tile(tile.id(), &tile.to_bytes())?;
        }
        Ok(())
    }

    fn take(&mut self, header: &Header) -> Result<(), LogError> {
        match header.kind {
            FrameKind::Preamble | FrameKind::Close | FrameKind::Base => return Ok(()),
            // What went is in the tree, or the tree has lost it.
            FrameKind::Gap if header.next_time().0 > self.tree.size() + 1 => {
                return Err(pruned(header));
            }
            FrameKind::Gap => return Ok(()),
            FrameKind::Schema => {
                let (_leaves, payload) = self.walk.stored(header)?;
                return self.leaves.take_schema(header, &payload);
            }
            FrameKind::Transactions => {}
        }
        // Parts of what comes later are read when it comes, if they were passed by here.
        let known = header.next_time().0 <= self.tree.size() + 1;
        let whole = matches!(header.part, FramePart::Whole | FramePart::Last);
        if known && whole {
            return Ok(());
        }
        let (_leaves, payload) = self.walk.stored(header)?;
        let mut records = Vec::with_capacity(header.transactions as usize);
        self.leaves.records(header, payload, |record| records.push(record))?;
        for record in records {
            // A frame that the tree ends within has some leaves in it already.
            if record.time > self.tree.size() {
                self.append(&record)?;
            }
        }
        Ok(())
    }

    fn append(&mut self, record: &LeafRecord) -> Result<(), LogError> {
        assert_eq!(record.time, self.tree.size() + 1, "leaves follow each other");
        let (place, record) = (self.tree.size(), record.encode());
        self.tree.append(leaf_hash(&record), &mut self.filled.tiles);
        self.filled.bundles.extend(self.bundles.append(place, record));
        self.compare()
    }

    /// Compares the tree with what was signed, when it has that size.
    fn compare(&mut self) -> Result<(), LogError> {
        let Some(signed) = &self.signed else { return Ok(()) };
        if signed.size() != self.tree.size() {
            return Ok(());
        }
        let found = self.tree.root();
        if found != signed.root() {
            return Err(LogError::Altered {
                checkpoint: self.shelf.checkpoint_path(),
                size: signed.size(),
                signed: signed.root(),
                found,
            });
        }
        let (checkpoint, note) = (signed.clone(), self.shelf.checkpoint()?);
        self.signed = None;
        if self.settled < checkpoint.size() {
            // They may not have survived.
            self.filled.tiles.extend(self.tree.partial_tiles());
            let bundle = self.bundles.partial(self.tree.size());
            self.filled.bundles.extend(bundle.filter(is_partial));
        }
        self.published = note.map(|note| Published { checkpoint, note });
        Ok(())
    }
}

fn is_partial((id, _bytes): &(TileId, Vec<u8>)) -> bool {
    id.is_partial()
}

/// The size up to which a log's tree is durable; `None` when it has no tree.
pub(crate) fn settled_size(disk: &dyn Disk, dir: &Path) -> Result<Option<u64>, LogError> {
    let root = proof_dir(dir);
    let read = |name: &str| {
        let path = root.join(name);
        read_file(disk, &path).map_err(|error| LogError::io("read", &path, error))
    };
    if read("verifier")?.is_none() {
        return Ok(None);
    }
    let text = read("settled")?.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(Some(text.and_then(|text| Checkpoint::parse(&text).ok()).map_or(0, |state| state.size())))
}

/// The error for transactions of which nothing is kept.
pub(crate) fn pruned(gap: &Header) -> LogError {
    LogError::Pruned { from: gap.first_time, upto: Time(gap.next_time().0.saturating_sub(1)) }
}

/// What was signed before with this key.
fn signed(shelf: &Shelf, signer: &Signer) -> Result<Option<Checkpoint>, LogError> {
    let Some(note) = shelf.checkpoint()? else { return Ok(None) };
    if note.verify(std::slice::from_ref(signer.verifier())).is_err() {
        tracing::warn!(
            checkpoint = %shelf.checkpoint_path().display(),
            "the checkpoint is not one of this log's key; it will be replaced"
        );
        return Ok(None);
    }
    Ok(Checkpoint::parse(note.text()).ok().filter(|state| state.size() > 0))
}

/// The tree as far as its tiles are durable, and its size, or 0 when it is not known to be durable. When tiles are not
/// what they should be, it is made anew.
///
/// That cannot be done where history was folded. There, one of another name is taken up, as a restored log has it,
/// because leaves do not depend on the name; and when none is settled, the one that was `signed`.
fn settled(
    shelf: &Shelf,
    signer: &Signer,
    held: u64,
    signed: Option<&Checkpoint>,
    is_folded: bool,
) -> Result<(Tree, u64), LogError> {
    let is_ours = |state: &Checkpoint| state.origin() == signer.verifier().name();
    let settled = shelf.settled()?.filter(|state| is_ours(state) || is_folded);
    let settled = settled.filter(|state| state.size() <= held).map(|state| (state, true));
    let signed = signed.filter(|_| is_folded).map(|state| (state.clone(), false));
    for (state, is_durable) in settled.into_iter().chain(signed) {
        match Tree::open(shelf, state.size(), &state.root()) {
            Ok(tree) => return Ok((tree, if is_durable { state.size() } else { 0 })),
            Err(error) => {
                tracing::warn!(%error, "tiles of the log's tree are damaged; they are made anew from the log");
            }
        }
    }
    Ok((Tree::new(), 0))
}

impl Log {
    /// Computes the record of a transaction: what the tree commits to for it. `None` when it is not in the log.
    ///
    /// # Errors
    /// When the log is damaged, or cannot be read.
    pub fn leaf_record(&self, time: Time) -> Result<Option<LeafRecord>, LogError> {
        if time == Time::ZERO || time >= self.upper() {
            return Ok(None);
        }
        let before = Time(time.0 - 1);
        Ok(leaves::between(&self.shared, before, time)?.pop())
    }
}
