//! The limits of proofs. What is larger is refused before anything is allocated for it.

/// The most leaves of a tree: 2^63 − 1, so that every count fits the signed 64-bit numbers of other implementations.
pub const SIZE_MAX: u64 = i64::MAX as u64;

/// The most hashes of a proof. A tree of [`SIZE_MAX`] leaves has 63 levels; a consistency proof may name one more.
pub const PROOF_HASHES_MAX: usize = 64;

/// The most hashes of a proof that a witness takes (tlog-witness).
pub const WITNESS_HASHES_MAX: usize = 63;

/// The hashes of a full tile.
pub const TILE_WIDTH: u16 = 256;

/// The levels of the tree between one level of tiles and the next: 2^8 = 256.
pub const TILE_HEIGHT: u32 = 8;

/// The most levels of tiles that a tree of [`SIZE_MAX`] leaves has.
pub const TILE_LEVELS: u8 = 8;

/// The most bytes of an entry in a bundle: its length is 16 bits.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;

/// The most bytes of a signed note.
pub const NOTE_BYTES_MAX: usize = 1 << 20;

/// The most signatures of a note. Every verifier must take 16; a signature of ML-DSA-44 is 2,420 bytes.
pub const SIGNATURES_MAX: usize = 64;

/// The most bytes of a key's name.
pub const KEY_NAME_BYTES_MAX: usize = 255;

/// The most bytes of a verifier's or signer's key as text; a public key of ML-DSA-44 is 1,312 bytes.
pub const KEY_BYTES_MAX: usize = 4096;

/// The most bytes of a receipt, and of a request to a witness.
pub const RECEIPT_BYTES_MAX: usize = 2 << 20;
