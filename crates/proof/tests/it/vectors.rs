//! The reference vectors of Certificate Transparency: trees of 0 to 8 leaves, and proofs in them.

use proof::{
    EMPTY_ROOT, Hash, Prover, TreeHead, leaf_hash, node_hash, root_of, verify_consistency,
    verify_inclusion,
};

use crate::model::{grown, hash, unhex};

const ENTRIES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

const INCLUSION: [(u64, u64, &[&str]); 4] = [
    (0, 1, &[]),
    (
        0,
        8,
        &[
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        &[
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
];

const CONSISTENCY: [(u64, u64, &[&str]); 5] = [
    (0, 8, &[]),
    (5, 5, &[]),
    (
        2,
        8,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        6,
        8,
        &[
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        &[
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
];

fn reference_leaves() -> Vec<Hash> {
    ENTRIES.iter().map(|entry| leaf_hash(&unhex(entry))).collect()
}

fn reference_head(size: u64) -> TreeHead {
    TreeHead { size, root: hash(ROOTS[size as usize]) }
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let leaves = reference_leaves();
    assert_eq!(EMPTY_ROOT, hash(ROOTS[0]));
    for (size, root) in ROOTS.iter().enumerate() {
        let (tree, tiles) = grown(&leaves[..size]);
        assert_eq!(tree.root(), hash(root), "the tree of {size} leaves");
        assert_eq!(
            Prover::new(&tiles, size as u64).root(size as u64).unwrap(),
            hash(root),
            "the tiles of {size} leaves"
        );
        assert_eq!(root_of(leaves[..size].iter().copied()), hash(root));
    }
}

#[test]
fn a_leaf_and_a_node_of_the_same_bytes_differ() {
    let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
    let both = [left.0, right.0].concat();
    assert_ne!(leaf_hash(&both), node_hash(&left, &right));
    // SHA-256(0x00) and SHA-256(0x01 ‖ SHA-256(0x00) ‖ SHA-256(0x00)), computed elsewhere.
    let empty = leaf_hash(b"");
    assert_eq!(empty, hash("6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"));
}

#[test]
fn inclusion_proofs_are_those_of_certificate_transparency() {
    let leaves = reference_leaves();
    for (index, size, expected) in INCLUSION {
        let expected: Vec<Hash> = expected.iter().map(|text| hash(text)).collect();
        let (_, tiles) = grown(&leaves[..size as usize]);
        assert_eq!(
            Prover::new(&tiles, size).inclusion(index, size).unwrap(),
            expected,
            "{index} of {size}"
        );
        let leaf = &leaves[index as usize];
        assert_eq!(verify_inclusion(leaf, index, &reference_head(size), &expected), Ok(()));
    }
}

#[test]
fn consistency_proofs_are_those_of_certificate_transparency() {
    let leaves = reference_leaves();
    for (old, new, expected) in CONSISTENCY {
        let expected: Vec<Hash> = expected.iter().map(|text| hash(text)).collect();
        let (_, tiles) = grown(&leaves[..new as usize]);
        assert_eq!(
            Prover::new(&tiles, new).consistency(old, new).unwrap(),
            expected,
            "{old} to {new}"
        );
        let (old, new) = (reference_head(old), reference_head(new));
        assert_eq!(verify_consistency(&old, &new, &expected), Ok(()));
    }
}
