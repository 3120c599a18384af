//! RFC 6962 §2.1 as it is written, over a whole list of leaves, without tiles or thrift; and what tests share.

use proof::{EMPTY_ROOT, Hash, MemoryTiles, Tree, TreeHead, leaf_hash, node_hash};

/// The bytes that a text of hexadecimal digits says.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// The hash that a text of hexadecimal digits says.
pub(crate) fn hash(text: &str) -> Hash {
    Hash(unhex(text).try_into().unwrap())
}

/// Different leaves, each a function of its index.
pub(crate) fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|index| leaf_hash(&index.to_be_bytes())).collect()
}

/// A tree over leaves, and all of its tiles.
pub(crate) fn grown(leaves: &[Hash]) -> (Tree, MemoryTiles) {
    let (mut tree, mut tiles, mut filled) = (Tree::new(), MemoryTiles::default(), Vec::new());
    for leaf in leaves {
        tree.append(*leaf, &mut filled);
        filled.drain(..).for_each(|tile| tiles.insert(&tile));
    }
    tree.partial_tiles().iter().for_each(|tile| tiles.insert(tile));
    (tree, tiles)
}

/// The head of the tree over leaves.
pub(crate) fn head(leaves: &[Hash]) -> TreeHead {
    TreeHead { size: leaves.len() as u64, root: mth(leaves) }
}

fn split(length: usize) -> usize {
    let mut k = 1;
    while k * 2 < length {
        k *= 2;
    }
    k
}

/// MTH(D[n]).
pub(crate) fn mth(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT,
        [leaf] => *leaf,
        _ => {
            let k = split(leaves.len());
            node_hash(&mth(&leaves[..k]), &mth(&leaves[k..]))
        }
    }
}

/// PATH(m, D[n]).
pub(crate) fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() <= 1 {
        return Vec::new();
    }
    let k = split(leaves.len());
    let (mut rest, other) = if m < k {
        (path(m, &leaves[..k]), mth(&leaves[k..]))
    } else {
        (path(m - k, &leaves[k..]), mth(&leaves[..k]))
    };
    rest.push(other);
    rest
}

/// PROOF(m, D[n]).
pub(crate) fn consistency(m: usize, leaves: &[Hash]) -> Vec<Hash> {
    if m == 0 { Vec::new() } else { subproof(m, leaves, Whole::Old) }
}

/// Whether the subtree is the whole old tree as far as it goes.
#[derive(Clone, Copy, PartialEq)]
enum Whole {
    Old,
    Part,
}

fn subproof(m: usize, leaves: &[Hash], whole: Whole) -> Vec<Hash> {
    if m == leaves.len() {
        return if whole == Whole::Old { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = split(leaves.len());
    let (mut rest, other) = if m <= k {
        (subproof(m, &leaves[..k], whole), mth(&leaves[k..]))
    } else {
        (subproof(m - k, &leaves[k..], Whole::Part), mth(&leaves[..k]))
    };
    rest.push(other);
    rest
}

/// On which side the siblings of a leaf stand, from the leaf up: what a path's verification depends on.
pub(crate) fn shape(index: u64, size: u64) -> Vec<bool> {
    let (mut lo, mut hi, mut sides) = (0, size, Vec::new());
    while hi - lo > 1 {
        let mut k = 1;
        while k < (hi - lo).div_ceil(2) {
            k *= 2;
        }
        sides.push(index < lo + k);
        if index < lo + k { hi = lo + k } else { lo += k }
    }
    sides.reverse();
    sides
}
