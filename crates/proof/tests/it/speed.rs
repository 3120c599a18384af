//! How fast a tree grows. `cargo test --release -p proof -- speed --nocapture` prints it.

use std::time::Instant;

use proof::{LeafRecord, Prover, Tree, leaf_hash};

use crate::leaf::example;
use crate::model::{grown, leaves};

#[test]
fn a_tree_of_many_leaves_is_the_tree_of_its_tiles() {
    let count: u64 = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let record = example();
    let began = Instant::now();
    let (mut tree, mut filled, mut tile_bytes) = (Tree::new(), Vec::new(), 0);
    for time in 1..=count {
        tree.append(LeafRecord { time, ..record }.leaf(), &mut filled);
        tile_bytes += filled.drain(..).map(|tile| tile.to_bytes().len()).sum::<usize>();
    }
    let root = tree.root();
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} leaves of 208 bytes, hashed and appended, with tiles: {rate:.0} leaves/s");
    assert_eq!(tile_bytes as u64 / 8192, count / 256 + count / 65_536);

    let hashes = leaves(count);
    let began = Instant::now();
    let mut tree = Tree::new();
    hashes.iter().for_each(|leaf| tree.append(*leaf, &mut filled));
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} leaf hashes appended, with tiles: {rate:.0} leaves/s");
    let (again, tiles) = grown(&hashes);
    assert_eq!(again.root(), tree.root());
    assert_ne!(root, tree.root());
    assert_eq!(Prover::new(&tiles, count).root(count).unwrap(), tree.root());
    assert_eq!(Tree::open(&tiles, count, &tree.root()).unwrap(), again);

    let began = Instant::now();
    let mut byte = 0;
    for index in 0..count {
        byte ^= leaf_hash(&index.to_le_bytes()).0[0];
    }
    let rate = count as f64 / began.elapsed().as_secs_f64();
    println!("{count} hashes of small leaves alone: {rate:.0}/s ({byte})");
}
