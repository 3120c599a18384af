//! The hash of a tree: SHA-256, with a byte in front that keeps leaves and inner nodes apart.
//!
//! RFC 6962 §2.1 defines the Merkle tree hash MTH of a list `D[n]` of `n` entries:
//!
//! ```text
//! MTH([])    = SHA-256()
//! MTH([d])   = SHA-256(0x00 ‖ d)                                   a leaf
//! MTH(D[n])  = SHA-256(0x01 ‖ MTH(D[0:k]) ‖ MTH(D[k:n]))           k: the largest power of two below n
//! ```
//!
//! **Why the two prefixes.** Without them an inner node's 64 bytes would also be an entry with the same hash, and two
//! different lists would have one root. With them, and with SHA-256 free of collisions, two lists of the same length
//! with the same root are the same list: follow both trees down from the root; where they differ first, there is a
//! collision.
//!
//! **A proof does not show how long the list is.** In a tree of three leaves `a`, `b`, `c` the path of `a` is `[b, c]`.
//! It is also a valid path in a tree of four with the same root, because a hash does not show whether it is a leaf's
//! or a node's. So a proof means something only about a size *and* a root, and a checkpoint signs both.
//!
//! Other values that are hashed here have a text in front, which begins with a letter: none can be mistaken for a leaf
//! or a node.

use std::fmt;

use sha2::{Digest, Sha256};

/// The bytes of a hash.
pub const HASH_BYTES: usize = 32;

/// The root of a tree without leaves: SHA-256 of nothing.
pub const EMPTY_ROOT: Hash = Hash([
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24,
    0x27, 0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
]);

const LEAF_PREFIX: [u8; 1] = [0];
const NODE_PREFIX: [u8; 1] = [1];

/// A value of SHA-256. It is public: comparing two takes no care about time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Returns the hash of a leaf that holds `entry`.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update(LEAF_PREFIX).chain_update(entry).finalize().into())
}

/// Returns the hash of an inner node.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let state = Sha256::new().chain_update(NODE_PREFIX).chain_update(left.0);
    Hash(state.chain_update(right.0).finalize().into())
}

/// Returns `SHA-256(tag ‖ 0x0A ‖ pieces…)`. The tag has no line end in it, so that no tag begins another.
pub(crate) fn tagged_hash(tag: &'static str, pieces: &[&[u8]]) -> Hash {
    let mut state = Sha256::new().chain_update(tag).chain_update(b"\n");
    for piece in pieces {
        state.update(piece);
    }
    Hash(state.finalize().into())
}
