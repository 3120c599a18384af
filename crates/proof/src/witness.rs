//! A witness: it sees the checkpoints of logs, remembers one of each, and cosigns only what extends it (C2SP
//! tlog-witness, `add-checkpoint`).
//!
//! All that a witness knows of a log is the largest tree that it has cosigned, [`Seen`]. By induction each checkpoint
//! that it ever cosigned is the beginning of the next, so what it signs is one history. Two histories would need two
//! witnesses' worth of keys.
//!
//! The state must not go back, not even by a crash: a witness that forgets cosigns a fork. So the answer comes in two
//! halves. [`Witness::consider`] gives a [`Pending`] with the new state; the caller stores it durably, and only then
//! takes the cosignature out with [`Pending::release`]. From reading the state until it is stored nobody else may
//! answer for the same log: two requests at once could otherwise both extend the same tree, one of them backwards. A
//! witness that lost its state must retire its key.
//!
//! A time, keys and state are arguments; the same arguments give the same answer.

use std::collections::BTreeMap;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::hash::{EMPTY_ROOT, Hash};
use crate::key::{Cosigner, VerifierKey};
use crate::limits::{RECEIPT_BYTES_MAX, WITNESS_HASHES_MAX};
use crate::note::{Note, NoteError, Signature};
use crate::receipt::hashes;
use crate::text;
use crate::verify::{TreeHead, VerifyError, verify_consistency};

/// Why bytes are not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It has another form.
    #[error("not a request to a witness: {0}")]
    Form(&'static str),
    /// Its checkpoint is not a signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its note is not a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// The request to cosign a checkpoint. Nothing in it has been checked but its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddCheckpoint {
    old_size: u64,
    proof: Vec<Hash>,
    note: Note,
    checkpoint: Checkpoint,
}

impl AddCheckpoint {
    /// Asks to cosign `note`, with a proof of consistency with the tree of `old_size` leaves.
    ///
    /// # Errors
    /// When the note is not a checkpoint, or the proof has too many hashes.
    pub fn new(old_size: u64, proof: Vec<Hash>, note: Note) -> Result<Self, RequestError> {
        if proof.len() > WITNESS_HASHES_MAX {
            return Err(RequestError::Form("its proof has too many hashes"));
        }
        let checkpoint = Checkpoint::parse(note.text())?;
        Ok(Self { old_size, proof, note, checkpoint })
    }

    /// Writes the body of the request.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut request = format!("old {}\n", self.old_size);
        for hash in &self.proof {
            request.push_str(&text::base64(hash.0));
            request.push('\n');
        }
        request.push_str(&format!("\n{}", self.note));
        request
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, RequestError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(RequestError::Form("it is too long"));
        }
        let request = str::from_utf8(bytes).ok().ok_or(RequestError::Form("it is not UTF-8"))?;
        let parts = request.split_once("\n\n").ok_or(RequestError::Form("it has no checkpoint"))?;
        let mut lines = parts.0.split('\n');
        let old_size = lines.next().and_then(|line| line.strip_prefix("old "));
        let old_size = old_size.and_then(text::decimal);
        let old_size = old_size.ok_or(RequestError::Form("its first line is not the old size"))?;
        let proof = hashes(lines, WITNESS_HASHES_MAX).map_err(RequestError::Form)?;
        Self::new(old_size, proof, Note::parse(parts.1.as_bytes())?)
    }

    /// The checkpoint, which nobody has verified yet. Its origin says which [`Seen`] belongs to it.
    #[must_use]
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// The largest tree of a log that a witness has cosigned: all of its state.
///
/// Invariant: a checkpoint without extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen(Checkpoint);

impl Seen {
    /// The log.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.0.origin()
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> TreeHead {
        self.0.tree()
    }

    /// Writes the state: the text of a checkpoint, without signatures.
    #[must_use]
    pub fn encode(&self) -> String {
        self.0.text()
    }

    /// Reads the state. What cannot be read is not "nothing seen": a witness that cannot read its state must stop.
    ///
    /// # Errors
    /// When it is not what [`Seen::encode`] wrote.
    pub fn decode(state: &str) -> Result<Self, CheckpointError> {
        let checkpoint = Checkpoint::parse(state)?;
        match checkpoint.extensions() {
            [] => Ok(Self(checkpoint)),
            _ => Err(CheckpointError::EXTENDED_STATE),
        }
    }
}

/// Why a witness does not cosign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The witness does not watch this log.
    #[error("this witness does not know the log {0}")]
    UnknownLog(String),
    /// The log has not signed the checkpoint.
    #[error("the log's own signature: {0}")]
    Unsigned(NoteError),
    /// The old tree is larger than the new one.
    #[error("the old size is {old}, but the checkpoint has only {new} leaves")]
    Sizes {
        /// The size that the request calls old.
        old: u64,
        /// The checkpoint's size.
        new: u64,
    },
    /// The request starts from another tree than the one last cosigned. It can be made again from there.
    #[error("the largest tree that was cosigned has {seen} leaves")]
    Conflict {
        /// The size last cosigned.
        seen: u64,
    },
    /// The log signed two different trees of one size. Both signatures together prove it to anyone.
    #[error("fork: {origin} signed two trees of {size} leaves, with the roots {seen} and {found}")]
    Fork {
        /// The log.
        origin: String,
        /// The number of leaves.
        size: u64,
        /// The root last cosigned.
        seen: Hash,
        /// The root now offered.
        found: Hash,
    },
    /// The checkpoint is signed, but was not shown to extend what was cosigned. If no valid proof can be had, it is a
    /// fork.
    #[error("the checkpoint was not shown to extend the tree last cosigned: {0}")]
    Proof(VerifyError),
    /// The witness's own clock is wrong.
    #[error("the witness's clock says {0} s since 1970")]
    Clock(u64),
}

impl Refusal {
    /// The status of the HTTP response.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Request(_) | Self::Sizes { .. } => 400,
            Self::Unsigned(_) => 403,
            Self::UnknownLog(_) => 404,
            Self::Conflict { .. } | Self::Fork { .. } => 409,
            Self::Proof(_) => 422,
            Self::Clock(_) => 500,
        }
    }

    /// The body of the HTTP response, and its content type.
    #[must_use]
    pub fn body(&self) -> (String, &'static str) {
        match self {
            Self::Conflict { seen } => (format!("{seen}\n"), "text/x.tlog.size"),
            Self::Request(_)
            | Self::UnknownLog(_)
            | Self::Unsigned(_)
            | Self::Sizes { .. }
            | Self::Fork { .. }
            | Self::Proof(_)
            | Self::Clock(_) => (format!("{self}\n"), "text/plain; charset=utf-8"),
        }
    }
}

/// A cosignature that may be given out once the state that goes with it is durable.
#[derive(Debug)]
#[must_use = "store the state, then release the cosignature"]
pub struct Pending {
    seen: Seen,
    signature: Signature,
}

impl Pending {
    /// The state to be stored before anything else.
    #[must_use]
    pub fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Returns the cosignature's line, the body of the response. To be called when [`Pending::seen`] is durable.
    #[must_use]
    pub fn release(self) -> String {
        format!("{}\n", self.signature)
    }
}

/// The logs that a witness watches, and its key.
#[derive(Debug)]
pub struct Witness {
    cosigner: Cosigner,
    logs: BTreeMap<String, Vec<VerifierKey>>,
}

impl Witness {
    /// Makes a witness that watches no log.
    #[must_use]
    pub fn new(cosigner: Cosigner) -> Self {
        Self { cosigner, logs: BTreeMap::new() }
    }

    /// Watches a log, whose checkpoints one of these keys signs.
    pub fn watch(&mut self, origin: &str, keys: Vec<VerifierKey>) {
        self.logs.insert(origin.to_owned(), keys);
    }

    /// The public key of the cosignatures.
    #[must_use]
    pub fn verifier(&self) -> &VerifierKey {
        self.cosigner.verifier()
    }

    /// Decides about a request. `seen` is the state of the request's log, `None` if nothing was ever cosigned for it;
    /// `time_s` is now, in seconds since 1970 UTC.
    ///
    /// # Errors
    /// When it does not cosign. The state is then as it was.
    ///
    /// # Panics
    /// When `seen` is another log's.
    pub fn consider(
        &self,
        seen: Option<&Seen>,
        request: &AddCheckpoint,
        time_s: u64,
    ) -> Result<Pending, Refusal> {
        let AddCheckpoint { old_size, proof, note, checkpoint } = request;
        let origin = checkpoint.origin();
        let keys = self.logs.get(origin);
        let keys = keys.ok_or_else(|| Refusal::UnknownLog(origin.to_owned()))?;
        note.verify(keys).map_err(Refusal::Unsigned)?;
        let new = checkpoint.tree();
        if *old_size > new.size {
            return Err(Refusal::Sizes { old: *old_size, new: new.size });
        }
        let old = match seen {
            Some(seen) => {
                assert_eq!(seen.origin(), origin, "the state is the state of the request's log");
                seen.tree()
            }
            None => TreeHead { size: 0, root: EMPTY_ROOT },
        };
        if *old_size != old.size {
            return Err(Refusal::Conflict { seen: old.size });
        }
        if old.size == new.size && old.root != new.root {
            let origin = origin.to_owned();
            return Err(Refusal::Fork { origin, size: new.size, seen: old.root, found: new.root });
        }
        verify_consistency(&old, &new, proof).map_err(Refusal::Proof)?;
        let signature = self.cosigner.cosign(checkpoint, time_s);
        let signature = signature.ok().ok_or(Refusal::Clock(time_s))?;
        Ok(Pending { seen: Seen(checkpoint.bare()), signature })
    }
}
