//! Proofs against the model: each that is made is the one of RFC 6962 and verifies; whatever is changed is refused.

use std::sync::LazyLock;

use proof::{
    EMPTY_ROOT, Hash, MemoryTiles, Prover, TreeHead, VerifyError, node_hash, verify_consistency,
    verify_inclusion,
};
use proptest::prelude::*;

use crate::model::{consistency, grown, head, leaves, mth, path, shape};

/// All pairs up to this size are checked.
const ALL_PAIRS: u64 = if cfg!(debug_assertions) { 260 } else { 600 };
/// Sizes around the edges of tiles, of which some pairs are checked.
const LARGE: u64 = 70_000;

static TREE: LazyLock<(Vec<Hash>, MemoryTiles)> = LazyLock::new(|| {
    let leaves = leaves(LARGE);
    let tiles = grown(&leaves).1;
    (leaves, tiles)
});

#[test]
fn every_leaf_of_every_tree_is_proved() {
    let (leaves, tiles) = &*TREE;
    for size in 1..=ALL_PAIRS {
        let tree = TreeHead { size, root: Prover::new(tiles, LARGE).root(size).unwrap() };
        assert_eq!(tree.root, mth(&leaves[..size as usize]));
        for index in 0..size {
            let proof = Prover::new(tiles, LARGE).inclusion(index, size).unwrap();
            let leaf = &leaves[index as usize];
            assert_eq!(verify_inclusion(leaf, index, &tree, &proof), Ok(()), "{index} of {size}");
            // The model is slow; the verifier has checked the rest.
            if size <= 70 || index % 37 == 0 {
                assert_eq!(proof, path(index as usize, &leaves[..size as usize]));
            }
        }
    }
}

#[test]
fn every_tree_is_the_beginning_of_every_larger_one() {
    let (leaves, tiles) = &*TREE;
    let heads: Vec<TreeHead> = (0..=ALL_PAIRS).map(|size| head(&leaves[..size as usize])).collect();
    for new in 0..=ALL_PAIRS {
        for old in 0..=new {
            let proof = Prover::new(tiles, LARGE).consistency(old, new).unwrap();
            let (from, to) = (&heads[old as usize], &heads[new as usize]);
            assert_eq!(verify_consistency(from, to, &proof), Ok(()), "{old} to {new}");
            if new <= 70 || old % 37 == 0 {
                assert_eq!(proof, consistency(old as usize, &leaves[..new as usize]));
            }
        }
    }
}

/// The sizes around 1, 2 and 3 levels of tiles.
fn sizes() -> impl Strategy<Value = u64> {
    let around = |size: u64| (size - 2..=size + 2).boxed();
    prop_oneof![1..LARGE, around(256), around(512), around(65_536), around(65_792)]
}

/// Checks that no change of one bit is accepted.
fn refuse_flips(
    hashes: &[Hash],
    bits: impl IntoIterator<Item = usize>,
    accept: impl Fn(&[Hash]) -> bool,
) {
    assert!(accept(hashes));
    for bit in bits {
        let mut changed = hashes.to_vec();
        let (byte, bit) = (bit / 8, bit % 8);
        changed[byte / 32].0[byte % 32] ^= 1 << bit;
        assert!(!accept(&changed), "bit {bit} of byte {byte} does not matter");
    }
}

#[test]
fn no_bit_of_a_small_inclusion_proof_can_be_changed() {
    let leaves = leaves(17);
    for size in 1..=17_usize {
        let tree = head(&leaves[..size]);
        for index in 0..size {
            let mut claim = vec![leaves[index], tree.root];
            claim.extend(path(index, &leaves[..size]));
            let accept = |claim: &[Hash]| {
                let tree = TreeHead { size: size as u64, root: claim[1] };
                verify_inclusion(&claim[0], index as u64, &tree, &claim[2..]).is_ok()
            };
            refuse_flips(&claim, 0..claim.len() * 256, accept);
        }
    }
}

#[test]
fn no_bit_of_a_small_consistency_proof_can_be_changed() {
    let leaves = leaves(17);
    for new in 1..=17_usize {
        for old in 1..new {
            let (from, to) = (head(&leaves[..old]), head(&leaves[..new]));
            let mut claim = vec![from.root, to.root];
            claim.extend(consistency(old, &leaves[..new]));
            let accept = |claim: &[Hash]| {
                let from = TreeHead { root: claim[0], ..from };
                let to = TreeHead { root: claim[1], ..to };
                verify_consistency(&from, &to, &claim[2..]).is_ok()
            };
            refuse_flips(&claim, 0..claim.len() * 256, accept);
        }
    }
}

#[test]
fn no_other_index_fits_a_path_and_no_size_of_another_shape() {
    let leaves = leaves(70);
    for size in 1..=70_usize {
        let tree = head(&leaves[..size]);
        for index in 0..size {
            let proof = path(index, &leaves[..size]);
            let verify = |index, size| {
                let tree = TreeHead { size, root: tree.root };
                verify_inclusion(&leaves[index as usize % 70], index, &tree, &proof)
            };
            let leaf = &leaves[index];
            for bit in 0..64 {
                let other = index as u64 ^ (1 << bit);
                assert!(verify_inclusion(leaf, other, &tree, &proof).is_err(), "{other} of {size}");
                assert!(verify(other, size as u64).is_err());
                // A size of the same shape is refused by the signature over it: see the receipts' tests.
                let other = size as u64 ^ (1 << bit);
                let same = other > index as u64
                    && shape(index as u64, other) == shape(index as u64, size as u64);
                assert_eq!(
                    verify(index as u64, other).is_ok(),
                    same,
                    "{index} of {size} or {other}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn large_trees_are_proved(size in sizes(), index: u64, bits in prop::collection::vec(any::<usize>(), 8)) {
        let (leaves, tiles) = &*TREE;
        let index = index % size;
        let tree = TreeHead { size, root: Prover::new(tiles, LARGE).root(size).unwrap() };
        let mut claim = vec![leaves[index as usize], tree.root];
        claim.extend(Prover::new(tiles, LARGE).inclusion(index, size).unwrap());
        let length = claim.len() * 256;
        refuse_flips(&claim, bits.into_iter().map(|bit| bit % length), |claim| {
            let tree = TreeHead { size, root: claim[1] };
            verify_inclusion(&claim[0], index, &tree, &claim[2..]).is_ok()
        });
    }

    #[test]
    fn large_trees_are_consistent(new in sizes(), old: u64, bits in prop::collection::vec(any::<usize>(), 8)) {
        let (_, tiles) = &*TREE;
        let old = 1 + old % new;
        let head = |size| TreeHead { size, root: Prover::new(tiles, LARGE).root(size).unwrap() };
        let (from, to) = (head(old), head(new));
        let mut claim = vec![from.root, to.root];
        claim.extend(Prover::new(tiles, LARGE).consistency(old, new).unwrap());
        let length = claim.len() * 256;
        let bits = bits.into_iter().map(|bit| bit % length);
        refuse_flips(&claim, bits, |claim| {
            let from = TreeHead { root: claim[0], ..from };
            let to = TreeHead { root: claim[1], ..to };
            verify_consistency(&from, &to, &claim[2..]).is_ok()
        });
    }

    #[test]
    fn a_changed_leaf_is_a_fork(size in 2_u64..200, at: u64, old: u64) {
        let honest = leaves(size);
        let (at, old) = ((at % size) as usize, 1 + old % (size - 1));
        let mut forked = honest.clone();
        forked[at] = node_hash(&honest[at], &EMPTY_ROOT);
        let (from, to) = (head(&honest[..old as usize]), head(&forked));
        let proof = consistency(old as usize, &forked);
        // What was changed behind the old tree is not a fork of it.
        let extends = at >= old as usize;
        prop_assert_eq!(verify_consistency(&from, &to, &proof).is_ok(), extends);
    }

    #[test]
    fn claims_of_any_size_are_answered(first: u64, second: u64, count in 0_usize..70) {
        let proof = vec![EMPTY_ROOT; count];
        let tree = TreeHead { size: second, root: EMPTY_ROOT };
        let included = verify_inclusion(&EMPTY_ROOT, first, &tree, &proof);
        prop_assert_eq!(included.is_ok(), first == 0 && second == 1 && count == 0);
        let old = TreeHead { size: first, root: EMPTY_ROOT };
        let consistent = verify_consistency(&old, &tree, &proof);
        prop_assert_eq!(consistent.is_ok(), (first == 0 || first == second) && count == 0);
    }
}

#[test]
fn a_proof_has_exactly_the_hashes_that_the_sizes_ask_for() {
    let leaves = leaves(70);
    let tree = head(&leaves);
    for index in [0, 1, 33, 63, 64, 69] {
        let proof = path(index, &leaves);
        for hashes in 0..proof.len() {
            let found = verify_inclusion(&leaves[index], index as u64, &tree, &proof[..hashes]);
            assert_eq!(found, Err(VerifyError::Length { hashes }));
        }
        let longer = [proof.clone(), vec![EMPTY_ROOT]].concat();
        let found = verify_inclusion(&leaves[index], index as u64, &tree, &longer);
        assert_eq!(found, Err(VerifyError::Length { hashes: longer.len() }));
    }
    for old in [1, 32, 33, 64, 69] {
        let (from, proof) = (head(&leaves[..old]), consistency(old, &leaves));
        for hashes in 0..proof.len() {
            let found = verify_consistency(&from, &tree, &proof[..hashes]);
            assert_eq!(found, Err(VerifyError::Length { hashes }));
        }
        let longer = [proof.clone(), vec![EMPTY_ROOT]].concat();
        let found = verify_consistency(&from, &tree, &longer);
        assert_eq!(found, Err(VerifyError::Length { hashes: longer.len() }));
    }
}

#[test]
fn the_edges_of_consistency_are_refused_when_wrong() {
    let leaves = leaves(8);
    let (four, eight) = (head(&leaves[..4]), head(&leaves));
    let none = TreeHead { size: 0, root: EMPTY_ROOT };
    let proof = consistency(4, &leaves);
    assert_eq!(verify_consistency(&none, &none, &[]), Ok(()));
    assert_eq!(verify_consistency(&none, &eight, &[]), Ok(()));
    assert_eq!(
        verify_consistency(&eight, &four, &proof),
        Err(VerifyError::Sizes { old: 8, new: 4 })
    );
    let wrong_none = TreeHead { size: 0, root: eight.root };
    assert!(verify_consistency(&wrong_none, &eight, &[]).is_err(), "no leaves, but a root");
    assert!(verify_consistency(&wrong_none, &wrong_none, &[]).is_err());
    assert!(verify_consistency(&none, &eight, &proof).is_err(), "more hashes than none");
    assert!(verify_consistency(&four, &four, &proof).is_err());
    let other = TreeHead { root: eight.root, ..four };
    assert!(verify_consistency(&four, &other, &[]).is_err(), "two trees of one size");
}

#[test]
fn the_verifier_uses_nothing_of_the_prover() {
    let source = include_str!("../../src/verify.rs");
    let code: Vec<&str> =
        source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let ours: Vec<&&str> = code.iter().filter(|line| line.contains("crate::")).collect();
    assert_eq!(ours, [&"use crate::hash::{EMPTY_ROOT, Hash, node_hash};"]);
    assert!(!code.iter().any(|line| line.contains("super::")));
    assert!(!include_str!("../../src/prove.rs").contains("crate::verify"));
}
