//! Signed notes: text, and below it lines that say who signed it (C2SP signed-note).
//!
//! ```text
//! <text>
//!
//! — <key's name> base64(<key id, 4 bytes big-endian> ‖ <signature>)
//! ```
//!
//! A note says nothing until a key that the reader already trusts has signed it: [`Note::verify`]. Signatures by other
//! keys are kept and ignored, so that anyone can add his own below, and everyone keeps the same bytes.
//!
//! Parsing is strict, and writing what was parsed gives the same bytes again: base64 has one spelling, and nothing is
//! trimmed.

use std::fmt;

use crate::key::{SignedAt, VerifierKey, is_key_name};
use crate::limits::{NOTE_BYTES_MAX, SIGNATURES_MAX};
use crate::text;

/// What begins a signature's line: an em dash and a blank.
const DASH: &str = "\u{2014} ";

/// Why bytes are not a note, or one is not to be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has another form.
    #[error("not a signed note: {0}")]
    Form(&'static str),
    /// No key that is trusted has signed it.
    #[error("no trusted key has signed the note")]
    Untrusted,
    /// The signature of a trusted key is wrong: the text was changed, or the signature was.
    #[error("the signature of {0} is not valid for this text")]
    Invalid(String),
}

/// A line of a signature.
///
/// Invariant: the name is a key's, and there is at least one byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    name: String,
    key_id: u32,
    bytes: Vec<u8>,
}

impl Signature {
    /// Joins what a key says; its name is known to be one.
    pub(crate) fn of(name: String, key_id: u32, bytes: Vec<u8>) -> Self {
        assert!(is_key_name(&name) && !bytes.is_empty(), "a key's signature");
        Self { name, key_id, bytes }
    }

    /// Reads a line, without its end.
    ///
    /// # Errors
    /// When it is not a signature's.
    pub fn parse(line: &str) -> Result<Self, NoteError> {
        let named = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' '));
        let (name, body) = named.ok_or(NoteError::Form("a signature is not — name base64"))?;
        if !is_key_name(name) {
            return Err(NoteError::Form("the name of a signature's key is not one"));
        }
        let body = text::bytes(body).ok_or(NoteError::Form("a signature is not base64"))?;
        match body.split_first_chunk::<4>() {
            Some((id, bytes)) if !bytes.is_empty() => Ok(Self {
                name: name.to_owned(),
                key_id: u32::from_be_bytes(*id),
                bytes: bytes.to_vec(),
            }),
            Some(_) | None => Err(NoteError::Form("a signature is too short")),
        }
    }

    /// The name of the key that is said to have signed.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of that key.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The signature's bytes, without the key's id.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = self.key_id.to_be_bytes().to_vec();
        body.extend_from_slice(&self.bytes);
        write!(f, "{DASH}{} {}", self.name, text::base64(body))
    }
}

/// A text with signatures. Nothing is said about whether they are valid.
///
/// Invariant: the text ends with a line end and has no control characters; there are 1 to [`SIGNATURES_MAX`]
/// signatures; and all of it fits [`NOTE_BYTES_MAX`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A valid signature by a trusted key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified<'a> {
    /// The key.
    pub key: &'a VerifierKey,
    /// When it signed.
    pub at: SignedAt,
}

impl Note {
    /// Joins a text and its signatures.
    ///
    /// # Errors
    /// When they cannot be a note.
    pub fn new(text: String, signatures: Vec<Signature>) -> Result<Self, NoteError> {
        if !text.ends_with('\n') || !text::is_clean(&text) {
            return Err(NoteError::Form("its text has no line end or has control characters"));
        }
        if !(1..=SIGNATURES_MAX).contains(&signatures.len()) {
            return Err(NoteError::Form("it has no signature, or too many"));
        }
        let note = Self { text, signatures };
        if note.to_string().len() > NOTE_BYTES_MAX {
            return Err(NoteError::Form("it is too long"));
        }
        Ok(note)
    }

    /// Reads a note.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Form("it is too long"));
        }
        let note = str::from_utf8(bytes).ok().ok_or(NoteError::Form("it is not UTF-8"))?;
        // The text may have empty lines; the last one ends it.
        let parts = note.strip_suffix('\n').and_then(|note| note.rsplit_once("\n\n"));
        let (head, lines) = parts.ok_or(NoteError::Form("it has no signatures"))?;
        if lines.split('\n').take(SIGNATURES_MAX.saturating_add(1)).count() > SIGNATURES_MAX {
            return Err(NoteError::Form("it has no signature, or too many"));
        }
        let signatures = lines.split('\n').map(Signature::parse).collect::<Result<_, _>>()?;
        Self::new(format!("{head}\n"), signatures)
    }

    /// The text that is signed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, valid or not.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// Returns what the trusted keys among `keys` have signed, each key once.
    ///
    /// # Errors
    /// When none has, or a signature that names one of them is not valid.
    pub fn verify<'a>(&self, keys: &'a [VerifierKey]) -> Result<Vec<Verified<'a>>, NoteError> {
        let mut verified: Vec<Verified<'a>> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = keys.iter().find(|key| key.is_named_by(signature)) else { continue };
            let at = key.verify(&self.text, signature);
            let at = at.ok_or_else(|| NoteError::Invalid(signature.name.clone()))?;
            match verified.iter_mut().find(|other| other.key == key) {
                // The same key may cosign again, later.
                Some(other) => other.at = other.at.max(at),
                None => verified.push(Verified { key, at }),
            }
        }
        if verified.is_empty() { Err(NoteError::Untrusted) } else { Ok(verified) }
    }

    /// Adds those lines of a witness's answer that are valid signatures by one of `keys`; others are ignored.
    ///
    /// # Errors
    /// When the answer is not lines of signatures, none is valid, or the note would be too large.
    pub fn with_signatures(&self, answer: &str, keys: &[VerifierKey]) -> Result<Self, NoteError> {
        if answer.len() > NOTE_BYTES_MAX {
            return Err(NoteError::Form("it is too long"));
        }
        let lines = answer.strip_suffix('\n').ok_or(NoteError::Form("it has no line end"))?;
        let mut signatures = self.signatures.clone();
        let before = signatures.len();
        for line in lines.split('\n') {
            let signature = Signature::parse(line)?;
            let valid = keys.iter().any(|key| key.verify(&self.text, &signature).is_some());
            if valid && !signatures.contains(&signature) {
                signatures.push(signature);
            }
        }
        if signatures.len() == before {
            return Err(NoteError::Untrusted);
        }
        Self::new(self.text.clone(), signatures)
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| writeln!(f, "{signature}"))
    }
}
