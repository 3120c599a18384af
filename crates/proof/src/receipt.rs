//! Receipts: a file that proves, offline and for ever, that a log holds an entry (C2SP tlog-proof, `.tlog-proof`).
//!
//! ```text
//! c2sp.org/tlog-proof@v1
//! extra <base64>                     optional, and never to be believed
//! index <decimal>
//! <hash in base64>                   the inclusion proof, from the leaf's sibling to the root's child
//! …
//!
//! <checkpoint, as a signed note>
//! ```
//!
//! Whoever has the entry, the log's public key and a receipt needs nobody else. The chain of reasons is: the log's key
//! signed size and root; the path binds the entry to that root at that index of a tree of that size; and, if witnesses
//! were asked for, they saw the same root as everyone else.

use crate::checkpoint::{Policy, TrustError, Trusted};
use crate::hash::Hash;
use crate::limits::{PROOF_HASHES_MAX, RECEIPT_BYTES_MAX};
use crate::note::{Note, NoteError};
use crate::text;
use crate::verify::{VerifyError, verify_inclusion};

const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// Why bytes are not a receipt, or one proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// It has another form.
    #[error("not a receipt: {0}")]
    Form(&'static str),
    /// Its checkpoint is not a signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// Its checkpoint is not believed.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Its proof does not hold.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

/// A proof that an entry is in a log, with everything that is needed to check it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Bytes for the application, authenticated by nothing. Empty for none.
    pub extra: Vec<u8>,
    /// The leaf, counted from 0.
    pub index: u64,
    /// The inclusion proof.
    pub proof: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: Note,
}

impl Receipt {
    /// Writes the file.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut receipt = format!("{HEADER}\n");
        if !self.extra.is_empty() {
            receipt.push_str(&format!("extra {}\n", text::base64(&self.extra)));
        }
        receipt.push_str(&format!("index {}\n", self.index));
        for hash in &self.proof {
            receipt.push_str(&text::base64(hash.0));
            receipt.push('\n');
        }
        receipt.push_str(&format!("\n{}", self.checkpoint));
        receipt
    }

    /// Reads a file. Only the one spelling that [`Receipt::encode`] writes is a receipt.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() > RECEIPT_BYTES_MAX {
            return Err(ReceiptError::Form("it is too long"));
        }
        let receipt = str::from_utf8(bytes).ok().ok_or(ReceiptError::Form("it is not UTF-8"))?;
        let parts = receipt.split_once("\n\n").ok_or(ReceiptError::Form("it has no checkpoint"))?;
        let (head, checkpoint) = parts;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(ReceiptError::Form("its first line is not c2sp.org/tlog-proof@v1"));
        }
        let extra = lines.next_if(|line| line.starts_with("extra "));
        let extra = match extra.and_then(|line| line.strip_prefix("extra ")) {
            Some("") => return Err(ReceiptError::Form("its extra line is empty")),
            Some(extra) => {
                text::bytes(extra).ok_or(ReceiptError::Form("its extra line is not base64"))?
            }
            None => Vec::new(),
        };
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = index.and_then(text::decimal).ok_or(ReceiptError::Form("it has no index"))?;
        let proof = hashes(lines, PROOF_HASHES_MAX).map_err(ReceiptError::Form)?;
        let checkpoint = Note::parse(checkpoint.as_bytes())?;
        Ok(Self { extra, index, proof, checkpoint })
    }

    /// Checks that the log holds the leaf with this hash, and returns the checkpoint that says so.
    ///
    /// # Errors
    /// When the checkpoint is not believed, or the proof does not hold.
    pub fn verify(&self, leaf: &Hash, policy: &Policy) -> Result<Trusted, ReceiptError> {
        let trusted = policy.open(&self.checkpoint)?;
        verify_inclusion(leaf, self.index, &trusted.checkpoint.tree(), &self.proof)?;
        Ok(trusted)
    }
}

/// Reads lines of one hash each, at most so many.
pub(crate) fn hashes<'a>(
    lines: impl Iterator<Item = &'a str>,
    hashes_max: usize,
) -> Result<Vec<Hash>, &'static str> {
    let mut hashes = Vec::new();
    for line in lines {
        if hashes.len() == hashes_max {
            return Err("its proof has too many hashes");
        }
        hashes.push(text::hash(line).ok_or("a line of its proof is not a hash in base64")?);
    }
    Ok(hashes)
}
