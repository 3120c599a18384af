//! Checkpoints: what a log says about itself at one size (C2SP tlog-checkpoint).
//!
//! ```text
//! example.com/behind-the-sofa                        origin: which log
//! 20852163                                           size: leaves
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=       root, in base64
//!                                                    (further lines: extensions)
//! ```
//!
//! It is the text of a signed note. By signing, the log says that these `size` entries are its beginning for ever. Two
//! signed checkpoints that are not consistent prove that it lied, to anyone, without trust in who shows them.
//!
//! Who shows different checkpoints to different people splits their view. Each view is consistent, so no proof shows
//! it; only people who compare do. Witnesses compare for everybody: a [`Policy`] asks for the cosignatures of `quorum`
//! of them. When more than half of `n` witnesses are asked for and fewer than `2·quorum − n` lie, two views cannot both
//! be cosigned.

use crate::hash::{EMPTY_ROOT, Hash};
use crate::key::{SignedAt, VerifierKey};
use crate::limits::{NOTE_BYTES_MAX, SIZE_MAX};
use crate::note::{Note, NoteError};
use crate::text;
use crate::verify::TreeHead;

/// Why a text is not a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: {0}")]
pub struct CheckpointError(&'static str);

impl CheckpointError {
    /// What was stored as a witness's state is a checkpoint with extensions, which a witness does not store.
    pub(crate) const EXTENDED_STATE: Self = Self("a witness's state has no extensions");
}

/// The state of a log at one size.
///
/// Invariant: origin and extensions are lines, the size is at most [`SIZE_MAX`], and no leaves have the root
/// [`EMPTY_ROOT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    tree: TreeHead,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// Describes a log's state.
    ///
    /// # Errors
    /// When the origin is not a line, or no tree is like this.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, CheckpointError> {
        Self::with_extensions(origin, TreeHead { size, root }, Vec::new())
    }

    /// Describes a log's state with further lines. They are better left out: nobody can audit them.
    ///
    /// # Errors
    /// When the origin or an extension is not a line, or no tree is like this.
    pub fn with_extensions(
        origin: &str,
        tree: TreeHead,
        extensions: Vec<String>,
    ) -> Result<Self, CheckpointError> {
        if !text::is_line(origin) {
            return Err(CheckpointError("its origin is empty or has control characters"));
        }
        if !extensions.iter().all(|line| text::is_line(line)) {
            return Err(CheckpointError("an extension is empty or has control characters"));
        }
        if tree.size > SIZE_MAX {
            return Err(CheckpointError("its size is 2^63 or more"));
        }
        if tree.size == 0 && tree.root != EMPTY_ROOT {
            return Err(CheckpointError("it has no leaves, but not the root of no leaves"));
        }
        Ok(Self { origin: origin.to_owned(), tree, extensions })
    }

    /// Reads the text of a note.
    ///
    /// # Errors
    /// When it is not a checkpoint's.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        if text.len() > NOTE_BYTES_MAX {
            return Err(CheckpointError("it is too long"));
        }
        let body = text.strip_suffix('\n').ok_or(CheckpointError("its last line has no end"))?;
        let mut lines = body.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(CheckpointError("it has fewer than three lines"));
        };
        let size = text::decimal(size).ok_or(CheckpointError("its size is not a number"))?;
        let root = text::hash(root).ok_or(CheckpointError("its root is not 32 bytes in base64"))?;
        let extensions = lines.map(ToOwned::to_owned).collect();
        Self::with_extensions(origin, TreeHead { size, root }, extensions)
    }

    /// The text to be signed.
    #[must_use]
    pub fn text(&self) -> String {
        let root = text::base64(self.tree.root.0);
        let mut text = format!("{}\n{}\n{root}\n", self.origin, self.tree.size);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Which log it is.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root
    }

    /// The same without its extensions: what a witness knows of it.
    #[must_use]
    pub(crate) fn bare(&self) -> Self {
        Self { origin: self.origin.clone(), tree: self.tree, extensions: Vec::new() }
    }

    /// Size and root.
    #[must_use]
    pub fn tree(&self) -> TreeHead {
        self.tree
    }

    /// The further lines.
    #[must_use]
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

/// Whom to believe about a log.
///
/// Invariant: at least one log key, and no larger quorum than there are witnesses.
#[derive(Clone, Debug)]
pub struct Policy {
    origin: String,
    keys: Vec<VerifierKey>,
    log_keys: usize,
    quorum: usize,
}

/// Why a checkpoint is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustError {
    /// It is not signed as it must be.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// It is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// It is another log's.
    #[error("the checkpoint is one of {found}, not of {expected}")]
    Origin {
        /// The log that is meant.
        expected: String,
        /// The log that it names.
        found: String,
    },
    /// The log itself has not signed it.
    #[error("the log itself has not signed the checkpoint")]
    Log,
    /// Too few witnesses have signed it.
    #[error("{found} of the trusted witnesses have cosigned the checkpoint, not {quorum}")]
    Quorum {
        /// How many must.
        quorum: usize,
        /// How many have.
        found: usize,
    },
    /// Such a policy cannot be met, or means nothing.
    #[error("the policy has no log key, a key twice, or fewer witnesses than its quorum")]
    Policy,
}

/// A checkpoint that a policy accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// The witnesses that cosigned it, each with the time in seconds since 1970 UTC.
    pub witnesses: Vec<(String, u64)>,
}

impl Policy {
    /// Trusts a log by its keys, any of which may sign, and `quorum` of its witnesses.
    ///
    /// # Errors
    /// When a policy like this cannot be met, or the same public key would count twice.
    pub fn new(
        origin: &str,
        log_keys: Vec<VerifierKey>,
        witnesses: Vec<VerifierKey>,
        quorum: usize,
    ) -> Result<Self, TrustError> {
        let count = log_keys.len();
        let reachable = count > 0 && quorum <= witnesses.len();
        let mut keys = log_keys;
        keys.extend(witnesses);
        // A witness under two names is one witness.
        let mut publics: Vec<_> = keys.iter().skip(count).map(VerifierKey::public).collect();
        publics.sort_unstable();
        let distinct = publics.windows(2).all(|pair| pair.first() != pair.last());
        if !reachable || !distinct {
            return Err(TrustError::Policy);
        }
        Ok(Self { origin: origin.to_owned(), keys, log_keys: count, quorum })
    }

    /// Checks a note, and returns the checkpoint that it is.
    ///
    /// # Errors
    /// When it is not to be believed.
    pub fn open(&self, note: &Note) -> Result<Trusted, TrustError> {
        let verified = note.verify(&self.keys)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != self.origin {
            let found = checkpoint.origin;
            return Err(TrustError::Origin { expected: self.origin.clone(), found });
        }
        let is_log = |key| self.keys.iter().take(self.log_keys).any(|log| log == key);
        let is_witness = |key| self.keys.iter().skip(self.log_keys).any(|witness| witness == key);
        if !verified.iter().any(|signed| is_log(signed.key)) {
            return Err(TrustError::Log);
        }
        let cosigned = verified.iter().filter(|signed| is_witness(signed.key));
        let witnesses = cosigned.filter_map(|signed| match signed.at {
            SignedAt::Time(time_s) => Some((signed.key.name().to_owned(), time_s)),
            // A signature without a time is no cosignature.
            SignedAt::Untimed => None,
        });
        let witnesses: Vec<_> = witnesses.collect();
        if witnesses.len() < self.quorum {
            return Err(TrustError::Quorum { quorum: self.quorum, found: witnesses.len() });
        }
        Ok(Trusted { checkpoint, witnesses })
    }
}
