//! Checking proofs. This file uses nothing of the crate but the hash of a node and the error texts here: an error in
//! how proofs are made cannot hide behind the same error in how they are checked.
//!
//! The prover walks down from the root; the verifier walks up from a leaf, with the algorithms of RFC 9162 §2.1.3.2
//! and §2.1.4.2. It holds two numbers, the index `fn` of a node among those of its height and the index `sn` of the
//! last node of that height, and halves both at each step.
//!
//! - `fn` odd: the node is a right child; the next hash of the proof is its left sibling.
//! - `fn` even and `fn < sn`: a left child; the next hash is its right sibling.
//! - `fn` even and `fn = sn`: the last node, without a sibling. It is the same node one height up, until it is a right
//!   child.
//!
//! **What is checked is a path's shape as well as its hashes.** The number of hashes must be exactly what `fn` and `sn`
//! ask for. For a given size each leaf has its own sequence of left and right, so a valid path for one index is not one
//! for another index without a collision of SHA-256. The size, on the other hand, is *not* checked by the hashes alone
//! (see [`crate::hash`]): it is bound to the root by the signature on a checkpoint.
//!
//! **Consistency** begins at the last subtree that ends with the old tree, a node in both trees, and computes two roots
//! from the same hashes: into the old root go those that are left siblings, into the new root all. If SHA-256 has no
//! collisions and both roots come out, the old list is the beginning of the new one.

use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// Why a proof proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The tree has no such leaf.
    #[error("a tree of {size} leaves has no leaf {index}")]
    Leaf {
        /// The leaf.
        index: u64,
        /// The number of leaves.
        size: u64,
    },
    /// The old tree is larger than the new one.
    #[error("a tree of {old} leaves cannot become one of {new}")]
    Sizes {
        /// The old tree's number of leaves.
        old: u64,
        /// The new tree's number of leaves.
        new: u64,
    },
    /// The proof has more or fewer hashes than these sizes ask for.
    #[error("the proof has {hashes} hashes, which is not what the sizes ask for")]
    Length {
        /// How many it has.
        hashes: usize,
    },
    /// The hashes lead to another root.
    #[error("the proof leads to the root {found}, not {expected}")]
    Root {
        /// The root that was to be reached.
        expected: Hash,
        /// The root that the proof leads to.
        found: Hash,
    },
    /// The hashes lead to another old root.
    #[error("the proof begins with the old root {found}, not {expected}")]
    OldRoot {
        /// The old root that is known.
        expected: Hash,
        /// The old root that the proof begins with.
        found: Hash,
    },
}

/// A tree that a proof speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: u64,
    /// The root.
    pub root: Hash,
}

/// A node on its way up: its index among the nodes of its height, and the index of the last one there.
struct Climb {
    node: u64,
    last: u64,
}

/// On which side the next hash of a proof stands.
enum Sibling {
    Left,
    Right,
}

impl Climb {
    /// Says where the sibling is, and goes up to the parent; `None` at the root.
    fn step(&mut self) -> Option<Sibling> {
        if self.last == 0 {
            return None;
        }
        let right_child = self.node & 1 == 1;
        if !right_child && self.node < self.last {
            self.up();
            return Some(Sibling::Right);
        }
        // The last node of its height has no sibling until it is a right child.
        while self.node & 1 == 0 && self.node > 0 {
            self.up();
        }
        self.up();
        Some(Sibling::Left)
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }
}

/// Checks that the leaf with hash `leaf` is at `index` of a tree.
///
/// # Errors
/// When it is not, or the proof does not show it.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    tree: &TreeHead,
    proof: &[Hash],
) -> Result<(), VerifyError> {
    let last = match tree.size.checked_sub(1) {
        Some(last) if index <= last => last,
        Some(_) | None => return Err(VerifyError::Leaf { index, size: tree.size }),
    };
    let length = VerifyError::Length { hashes: proof.len() };
    let mut climb = Climb { node: index, last };
    let mut root = *leaf;
    for hash in proof {
        root = match climb.step().ok_or(length)? {
            Sibling::Left => node_hash(hash, &root),
            Sibling::Right => node_hash(&root, hash),
        };
    }
    if climb.last > 0 {
        return Err(length);
    }
    if root != tree.root {
        return Err(VerifyError::Root { expected: tree.root, found: root });
    }
    Ok(())
}

/// Checks that the old tree is the beginning of the new one: nothing was changed, removed or put in between.
///
/// # Errors
/// When it is not, or the proof does not show it.
pub fn verify_consistency(
    old: &TreeHead,
    new: &TreeHead,
    proof: &[Hash],
) -> Result<(), VerifyError> {
    let length = VerifyError::Length { hashes: proof.len() };
    match (old.size.checked_sub(1), new.size.checked_sub(1)) {
        _ if old.size > new.size => Err(VerifyError::Sizes { old: old.size, new: new.size }),
        _ if old.size == new.size => {
            ensure(proof.is_empty(), length)?;
            new_root(new, old.root)?;
            if new.size == 0 { new_root(new, EMPTY_ROOT) } else { Ok(()) }
        }
        (Some(node), Some(last)) => extension(old, new, proof, Climb { node, last }),
        // Every tree begins with the one without leaves.
        (None, _) | (_, None) => {
            ensure(proof.is_empty(), length)?;
            old_root(old, EMPTY_ROOT)
        }
    }
}

/// Checks that a tree with leaves is the beginning of a larger one. `climb` is at the old tree's last leaf.
fn extension(
    old: &TreeHead,
    new: &TreeHead,
    proof: &[Hash],
    mut climb: Climb,
) -> Result<(), VerifyError> {
    let length = VerifyError::Length { hashes: proof.len() };
    // Up to the largest subtree that ends where the old tree ends; it is in both trees.
    while climb.node & 1 == 1 {
        climb.up();
    }
    let (begin, rest) = match climb.node {
        // It is the old tree as a whole, which the proof does not repeat.
        0 => (&old.root, proof),
        _ => proof.split_first().ok_or(length)?,
    };
    let (mut from_old, mut from_new) = (*begin, *begin);
    for hash in rest {
        match climb.step().ok_or(length)? {
            Sibling::Left => {
                from_old = node_hash(hash, &from_old);
                from_new = node_hash(hash, &from_new);
            }
            Sibling::Right => from_new = node_hash(&from_new, hash),
        }
    }
    ensure(climb.last == 0, length)?;
    old_root(old, from_old)?;
    new_root(new, from_new)
}

fn ensure(holds: bool, error: VerifyError) -> Result<(), VerifyError> {
    if holds { Ok(()) } else { Err(error) }
}

fn old_root(old: &TreeHead, found: Hash) -> Result<(), VerifyError> {
    ensure(found == old.root, VerifyError::OldRoot { expected: old.root, found })
}

fn new_root(new: &TreeHead, found: Hash) -> Result<(), VerifyError> {
    ensure(found == new.root, VerifyError::Root { expected: new.root, found })
}
