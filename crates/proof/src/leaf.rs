//! Leaves: what the log commits to for each transaction.
//!
//! A leaf is a record of fixed size with hashes in it, not the transaction itself. That keeps three promises at once:
//!
//! - **Everything is bound.** The record names the transaction's Time, where it came from, who asked for it, the
//!   schemas that its bytes are to be read with, and the bytes as they are stored.
//! - **Outsiders learn nothing but that.** Entries of a transparency log are public. Source names and request ids are
//!   in it as hashes, which anyone who knows the name can check. (A name that can be guessed can be confirmed by
//!   guessing: neither may be personal.)
//! - **Erasure breaks no proof.** The stored bytes of a sealed field are a ciphertext; without its key the leaf still
//!   verifies.
//!
//! **The plain text is committed to with a salt.** A plain hash of a name or a telephone number can be reversed by
//! trying all of them, also long after the key is gone. So the leaf holds, for each part of the plain text that can be
//! erased by itself,
//!
//! ```text
//! c = SHA-256("evert/plain/v1" ‖ 0x0A ‖ salt ‖ length ‖ plain text)         salt: 32 random bytes, length: 8 bytes
//! ```
//!
//! *Binding*: another text with the same `c` is a collision of SHA-256. *Hiding*: to whoever does not know the salt,
//! `c` is a random function's value at a point with 256 unknown bits, whatever he knows of the text. The length in
//! front stops a hash from being extended to another, longer text. Salt and key are destroyed together: what was
//! committed to can then be neither read nor guessed and confirmed.
//!
//! The commitments of a transaction's parts are leaves of a small Merkle tree of their own, whose root and size are in
//! the record. So one part can be shown, with an inclusion proof, and the others stay hidden or erased.
//!
//! The record, byte for byte, is in `docs/format.md`, section "Proofs". Transaction `Time` is leaf `Time − 1`.

use std::fmt;

use crate::hash::{HASH_BYTES, Hash, leaf_hash, tagged_hash};
use crate::tree::root_of;

/// The version of the record that this code writes, and the only one that it reads.
pub const LEAF_VERSION: u8 = 1;
/// The size of the record.
pub const LEAF_BYTES: usize = 208;

const MARK_SOURCE: u8 = 1;
const MARK_REQUEST: u8 = 2;

/// A field's name, offset and size, for the format's description and its test.
pub const LEAF_FIELDS: [(&str, usize, usize); 12] = [
    ("version", 0, 1),
    ("position_kind", 1, 1),
    ("marks", 2, 1),
    ("reserved", 3, 1),
    ("plain_parts", 4, 4),
    ("time", 8, 8),
    ("position", 16, 32),
    ("source", 48, 32),
    ("request", 80, 32),
    ("schema", 112, 32),
    ("stored", 144, 32),
    ("plain", 176, 32),
];

/// A transaction's place in its source's own history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// It has none: Evert itself wrote it, or a client did.
    None,
    /// PostgreSQL: an LSN.
    Lsn(u64),
    /// A file: bytes and lines read.
    Line {
        /// Bytes.
        bytes: u64,
        /// Lines.
        lines: u64,
    },
    /// A generator: steps made.
    Step(u64),
    /// A position that does not fit, by its hash: see [`position_hash`].
    Hashed(Hash),
}

/// The plain text of a transaction, committed to in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainText {
    /// How many parts there are, at least 1.
    parts: u32,
    /// The root over their commitments.
    root: Hash,
}

impl PlainText {
    /// Commits to parts, each by [`Salt::commit`]; `None` for no parts, or more than 2^32 − 1.
    #[must_use]
    pub fn of_parts(commitments: &[Hash]) -> Option<Self> {
        let parts = u32::try_from(commitments.len()).ok().filter(|parts| *parts > 0)?;
        let leaves = commitments.iter().map(|commitment| leaf_hash(&commitment.0));
        Some(Self { parts, root: root_of(leaves) })
    }

    /// The number of parts.
    #[must_use]
    pub fn parts(&self) -> u32 {
        self.parts
    }

    /// The root over `leaf_hash(commitment)` of each part.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.root
    }
}

/// What makes a commitment unguessable: 32 bytes from a cryptographic source of randomness, used once.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt(pub [u8; 32]);

impl fmt::Debug for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salt(…)")
    }
}

impl Salt {
    /// Commits to a plain text.
    #[must_use]
    pub fn commit(&self, plain: &[u8]) -> Hash {
        let length = plain.len() as u64;
        tagged_hash("evert/plain/v1", &[&self.0, &length.to_le_bytes(), plain])
    }
}

/// Returns the hash that stands for a source's name.
#[must_use]
pub fn source_hash(name: &str) -> Hash {
    tagged_hash("evert/source/v1", &[name.as_bytes()])
}

/// Returns the hash that stands for a request's id.
#[must_use]
pub fn request_hash(id: &[u8]) -> Hash {
    tagged_hash("evert/request/v1", &[id])
}

/// Returns the hash that stands for the description of a schema.
#[must_use]
pub fn schema_hash(schema: &[u8]) -> Hash {
    tagged_hash("evert/schema/v1", &[schema])
}

/// Returns the hash of bytes as they are stored.
#[must_use]
pub fn stored_hash(stored: &[u8]) -> Hash {
    tagged_hash("evert/stored/v1", &[stored])
}

/// Returns the hash of a piece of stored bytes. What is stored in pieces is committed to by [`stored_hash`] over their
/// hashes, one after the other, so that a piece can go without the others losing their proof.
#[must_use]
pub fn piece_hash(piece: &[u8]) -> Hash {
    tagged_hash("evert/piece/v1", &[piece])
}

/// Returns the hash over the parts of a transaction up to this one: `before` is that of the parts before it, `schema`
/// and `stored` are this part's own. The last part's stands for what is stored of the transaction.
#[must_use]
pub fn part_hash(before: Option<&Hash>, schema: &Hash, stored: &Hash) -> Hash {
    let before = before.map_or(&[][..], |hash| &hash.0);
    tagged_hash("evert/part/v1", &[before, &schema.0, &stored.0])
}

/// Returns the hash that stands for a position that does not fit into a record.
#[must_use]
pub fn position_hash(position: &[u8]) -> Hash {
    tagged_hash("evert/position/v1", &[position])
}

/// The record of one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafRecord {
    /// The transaction's Time, from 1.
    pub time: u64,
    /// The source, by [`source_hash`].
    pub source: Option<Hash>,
    /// Its place in the source's history.
    pub position: Position,
    /// The request that asked for it, by [`request_hash`].
    pub request: Option<Hash>,
    /// What its bytes are to be read with, by [`schema_hash`].
    pub schema: Hash,
    /// The bytes that are stored, by [`stored_hash`].
    pub stored: Hash,
    /// The plain text, when some of the stored bytes are sealed.
    pub plain: Option<PlainText>,
}

/// Why bytes are not a leaf's record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeafError {
    /// It has another size.
    #[error("a leaf's record has {LEAF_BYTES} bytes")]
    Size,
    /// Another version wrote it.
    #[error("the leaf's record has version {0}")]
    Version(u8),
    /// A field holds what no record has there.
    #[error("the leaf's record is not one: its field {0} holds what is never there")]
    Field(&'static str),
}

impl LeafRecord {
    /// Writes the record.
    ///
    /// # Panics
    /// When the Time is 0, which no transaction has.
    #[must_use]
    pub fn encode(&self) -> [u8; LEAF_BYTES] {
        assert!(self.time > 0, "the first transaction has Time 1");
        let (kind, position) = self.position.encode();
        let mark = |hash: Option<Hash>, mark: u8| if hash.is_some() { mark } else { 0 };
        let marks = mark(self.source, MARK_SOURCE) | mark(self.request, MARK_REQUEST);
        let mut bytes = Vec::with_capacity(LEAF_BYTES);
        bytes.extend_from_slice(&[LEAF_VERSION, kind, marks, 0]);
        bytes.extend_from_slice(&self.plain.map_or(0, |plain| plain.parts).to_le_bytes());
        bytes.extend_from_slice(&self.time.to_le_bytes());
        bytes.extend_from_slice(&position);
        bytes.extend_from_slice(&or_zeros(self.source));
        bytes.extend_from_slice(&or_zeros(self.request));
        bytes.extend_from_slice(&self.schema.0);
        bytes.extend_from_slice(&self.stored.0);
        bytes.extend_from_slice(&or_zeros(self.plain.map(|plain| plain.root)));
        bytes.try_into().expect("the fields fill the record")
    }

    /// Reads a record. It has one spelling: what can be read is what [`LeafRecord::encode`] writes.
    ///
    /// # Errors
    /// When the bytes are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, LeafError> {
        let bytes: &[u8; LEAF_BYTES] = bytes.try_into().ok().ok_or(LeafError::Size)?;
        let mut fields = Fields(bytes);
        let [version, kind, marks, reserved] = fields.take();
        if version != LEAF_VERSION {
            return Err(LeafError::Version(version));
        }
        check(reserved == 0, "reserved")?;
        check(marks & !(MARK_SOURCE | MARK_REQUEST) == 0, "marks")?;
        let parts = u32::from_le_bytes(fields.take());
        let time = u64::from_le_bytes(fields.take());
        check(time > 0, "time")?;
        let position = Position::decode(kind, fields.take())?;
        let source = optional(marks & MARK_SOURCE != 0, fields.take(), "source")?;
        let request = optional(marks & MARK_REQUEST != 0, fields.take(), "request")?;
        let (schema, stored) = (Hash(fields.take()), Hash(fields.take()));
        let plain = optional(parts > 0, fields.take(), "plain")?;
        let plain = plain.map(|root| PlainText { parts, root });
        Ok(Self { time, source, position, request, schema, stored, plain })
    }

    /// The hash of the leaf in the log's tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        leaf_hash(&self.encode())
    }
}

impl Position {
    fn encode(self) -> (u8, [u8; HASH_BYTES]) {
        let numbers = |first: u64, second: u64| {
            let mut field = [0; HASH_BYTES];
            let bytes = first.to_le_bytes().into_iter().chain(second.to_le_bytes());
            field.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
            field
        };
        match self {
            Self::None => (0, numbers(0, 0)),
            Self::Lsn(lsn) => (1, numbers(lsn, 0)),
            Self::Line { bytes, lines } => (2, numbers(bytes, lines)),
            Self::Step(step) => (3, numbers(step, 0)),
            Self::Hashed(hash) => (4, hash.0),
        }
    }

    fn decode(kind: u8, bytes: [u8; HASH_BYTES]) -> Result<Self, LeafError> {
        let mut fields = Fields(&bytes);
        let (first, second) =
            (u64::from_le_bytes(fields.take()), u64::from_le_bytes(fields.take()));
        let position = match kind {
            0 => Self::None,
            1 => Self::Lsn(first),
            2 => Self::Line { bytes: first, lines: second },
            3 => Self::Step(first),
            4 => Self::Hashed(Hash(bytes)),
            _ => return Err(LeafError::Field("position_kind")),
        };
        check(position.encode() == (kind, bytes), "position")?;
        Ok(position)
    }
}

/// Bytes of fixed size, taken field by field.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self.0.split_first_chunk::<N>().expect("the fields fill the record");
        self.0 = rest;
        *field
    }
}

fn or_zeros(hash: Option<Hash>) -> [u8; HASH_BYTES] {
    hash.map_or([0; HASH_BYTES], |hash| hash.0)
}

fn optional(
    there: bool,
    bytes: [u8; HASH_BYTES],
    field: &'static str,
) -> Result<Option<Hash>, LeafError> {
    check(there || bytes == [0; HASH_BYTES], field)?;
    Ok(there.then_some(Hash(bytes)))
}

fn check(holds: bool, field: &'static str) -> Result<(), LeafError> {
    if holds { Ok(()) } else { Err(LeafError::Field(field)) }
}
