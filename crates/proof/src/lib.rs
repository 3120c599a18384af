//! Proofs about a log that nobody needs to trust: that it holds an entry, and that it only ever grew.
//!
//! ```text
//! transaction ─► leaf ─► tree ─► tiles (static files)          checkpoint ─► witnesses
//!                          └───► root ─► signed checkpoint ───►     └► cosignatures
//! tiles ─► prove ─► proof ─► receipt ─► verify ◄─ log key, witness keys
//! ```
//!
//! Entries are hashed into a Merkle tree (RFC 6962). Its root at a size fixes all entries before, so signing a size and
//! a root is signing the log's whole history. From the tree follow two short proofs, of about log₂(size) hashes:
//! *inclusion*, that an entry is at its place, and *consistency*, that an older tree is the beginning of a newer one.
//! Files and texts are C2SP's, so that the tools of other logs read them: tlog-tiles, signed-note, tlog-checkpoint,
//! tlog-cosignature, tlog-witness, tlog-proof.
//!
//! | Module | Holds |
//! |---|---|
//! | `hash` | the hash of leaves and nodes, and what collisions would mean |
//! | `leaf` | what is committed to for a transaction; salts, and why erasure breaks no proof |
//! | `tree` | the growing tree: its right edge, and tiles as they fill |
//! | `tile`, `store` | tiles: names, bytes, where they are read from |
//! | `prove` | proofs, from tiles |
//! | `verify` | their verification; it shares nothing with `prove` but the hash |
//! | `key`, `note`, `checkpoint` | keys, signed texts, what a log signs, whom to believe |
//! | `receipt` | a proof in a file, for offline use |
//! | `witness` | cosigning what only grows, refusing forks |
//!
//! What is assumed: SHA-256 has no collisions that anyone can find, Ed25519 signatures cannot be forged, and whoever
//! verifies has the right public keys. What is not assumed: anything about the log, its operator, or the files.
//!
//! The crate is pure. Times, seeds and salts are arguments; nothing is read but through a [`TileReader`]. Bytes from
//! elsewhere are refused, never a panic: no decoder indexes, or computes a number that could overflow.

#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::string_slice)]

mod checkpoint;
#[doc(hidden)]
pub mod exercise;
mod hash;
mod key;
mod leaf;
pub mod limits;
mod note;
mod prove;
mod receipt;
mod store;
mod text;
mod tile;
mod tree;
mod verify;
mod witness;

pub use checkpoint::{Checkpoint, CheckpointError, Policy, TrustError, Trusted};
pub use hash::{EMPTY_ROOT, HASH_BYTES, Hash, leaf_hash, node_hash};
pub use key::{Algorithm, Cosigner, KEY_BYTES, KeyError, SignError, SignedAt, Signer, VerifierKey};
pub use leaf::{
    LEAF_BYTES, LEAF_FIELDS, LEAF_VERSION, LeafError, LeafRecord, PlainText, Position, Salt,
    part_hash, piece_hash, position_hash, request_hash, schema_hash, source_hash, stored_hash,
};
pub use note::{Note, NoteError, Signature, Verified};
pub use prove::{ProveError, Prover};
pub use receipt::{Receipt, ReceiptError};
pub use store::{DirectoryTiles, MemoryTiles, TileError, TileReader};
pub use tile::{Tile, TileId, TileLevel, decode_bundle, encode_bundle};
pub use tree::{Tree, TreeError, root_of};
pub use verify::{TreeHead, VerifyError, verify_consistency, verify_inclusion};
pub use witness::{AddCheckpoint, Pending, Refusal, RequestError, Seen, Witness};
