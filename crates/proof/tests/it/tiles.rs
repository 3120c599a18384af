//! Tiles: names, bytes, rebuilding, and what is missing or wrong.

use std::fs;

use proof::{
    DirectoryTiles, EMPTY_ROOT, MemoryTiles, ProveError, Prover, Tile, TileError, TileId,
    TileLevel, Tree, TreeError, decode_bundle, encode_bundle, leaf_hash, verify_inclusion,
};

use crate::model::{grown, head, leaves};

fn id(level: u8, index: u64, width: u16) -> TileId {
    TileId::new(TileLevel::Hashes(level), index, width).unwrap()
}

#[test]
fn paths_are_those_of_the_specification() {
    let entries = |index, width| TileId::new(TileLevel::Entries, index, width).unwrap();
    let cases = [
        (id(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (id(0, 0, 256), "tile/0/000"),
        (id(0, 999, 256), "tile/0/999"),
        (id(0, 1000, 256), "tile/0/x001/000"),
        (id(3, 5, 17), "tile/3/005.p/17"),
        (id(0, 273, 112), "tile/0/273.p/112"),
        (id(0, 12_345_678_901_234_567, 255), "tile/0/x012/x345/x678/x901/x234/567.p/255"),
        (entries(1_234_067, 8), "tile/entries/x001/x234/067.p/8"),
        (entries(0, 256), "tile/entries/000"),
    ];
    for (id, path) in cases {
        assert_eq!(id.path(), path);
        assert_eq!(TileId::parse(path), Some(id), "{path}");
    }
}

#[test]
fn a_path_has_one_spelling() {
    let wrong = [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/x001/x000",
        "tile/0/001/000",
        "tile/0/x01/000",
        "tile/0/000/",
        "tile/0/000.p",
        "tile/0/000.p/",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/1.p/1",
        "tile/00/000",
        "tile/8/000",
        "tile/64/000",
        "tile/256/000",
        "tile/-1/000",
        "tile/Entries/000",
        "/tile/0/000",
        "tile/0/../0/000",
        "tile/7/001",
        "tile/0/x999/x999/x999/x999/x999/x999/999",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/x999/x999/999",
        "tile/0/\u{0661}\u{0661}\u{0661}",
    ];
    for path in wrong {
        assert_eq!(TileId::parse(path), None, "{path}");
    }
}

#[test]
fn a_tree_has_the_tiles_that_the_specification_says() {
    // 70,000 leaves: "273 full level 0 tiles, one partial level 0 tile of width 112, one full level 1 tile, one partial
    // level 1 tile of width 17, and one partial level 2 tile of width 1".
    let (tree, tiles) = grown(&leaves(70_000));
    let ids: Vec<TileId> = tiles.iter().map(|(id, _)| id).collect();
    let full = |level| ids.iter().filter(|id| id.level() == level && !id.is_partial()).count();
    assert_eq!(full(TileLevel::Hashes(0)), 273);
    assert_eq!(full(TileLevel::Hashes(1)), 1);
    let partials = vec![id(0, 273, 112), id(1, 1, 17), id(2, 0, 1)];
    assert_eq!(TileId::partials(70_000), partials);
    assert_eq!(ids.iter().filter(|id| id.is_partial()).count(), 3);
    assert_eq!(tree.partial_tiles().iter().map(Tile::id).collect::<Vec<_>>(), partials);
    // 256 leaves: "a full level 0 tile and a partial level 1 tile of width 1".
    let (_, tiles) = grown(&leaves(256));
    let ids: Vec<TileId> = tiles.iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [id(0, 0, 256), id(1, 0, 1)]);
    assert!(tiles.iter().all(|(id, bytes)| bytes.len() == usize::from(id.width()) * 32));
}

#[test]
fn a_tree_is_rebuilt_from_its_tiles_and_grows_on() {
    let leaves = leaves(1100);
    for size in [0, 1, 2, 3, 255, 256, 257, 511, 512, 513, 768, 1000] {
        let (tree, tiles) = grown(&leaves[..size]);
        let mut again = Tree::open(&tiles, size as u64, &tree.root()).unwrap();
        assert_eq!(again.root(), tree.root(), "{size} leaves");
        assert_eq!(again.partial_tiles(), tree.partial_tiles());
        let mut filled = Vec::new();
        leaves[size..].iter().for_each(|leaf| again.append(*leaf, &mut filled));
        assert_eq!(again.root(), head(&leaves).root, "{size} leaves and the rest");
    }
}

#[test]
fn tiles_of_another_tree_are_refused() {
    let (tree, mut tiles) = grown(&leaves(300));
    assert!(matches!(Tree::open(&tiles, 300, &EMPTY_ROOT), Err(TreeError::Root { .. })));
    let partial = id(0, 1, 44);
    let mut bytes = tree.partial_tiles()[0].to_bytes();
    bytes[40] ^= 1;
    tiles.insert_bytes(partial, bytes.clone());
    assert!(matches!(Tree::open(&tiles, 300, &tree.root()), Err(TreeError::Root { .. })));
    bytes.pop();
    tiles.insert_bytes(partial, bytes);
    let opened = Tree::open(&tiles, 300, &tree.root());
    assert!(matches!(opened, Err(TreeError::Tile(TileError::Malformed(id))) if id == partial));
    tiles.remove(partial);
    let opened = Tree::open(&tiles, 300, &tree.root());
    assert!(matches!(opened, Err(TreeError::Tile(TileError::Missing(_)))));
}

#[test]
fn a_full_tile_stands_in_for_its_partial_one() {
    let leaves = leaves(600);
    let (_, mut tiles) = grown(&leaves);
    let old = head(&leaves[..300]);
    assert!(matches!(Tree::open(&tiles, 300, &old.root), Err(TreeError::Tile(_))));
    // At 300 leaves tile 1 of level 0 was partial, and that file is gone since. The one of level 1 must still be there,
    // because no full tile has come in its place.
    grown(&leaves[..300]).0.partial_tiles()[1..].iter().for_each(|tile| tiles.insert(tile));
    assert_eq!(Tree::open(&tiles, 300, &old.root).unwrap().root(), old.root);
    let proof = Prover::new(&tiles, 300).inclusion(290, 300).unwrap();
    assert_eq!(verify_inclusion(&leaves[290], 290, &old, &proof), Ok(()));
}

#[test]
fn a_larger_trees_tiles_prove_what_was_true_of_a_smaller_one() {
    let leaves = leaves(600);
    let (_, tiles) = grown(&leaves);
    let prover = Prover::new(&tiles, 600);
    for size in [1, 255, 256, 257, 300, 599, 600] {
        let old = head(&leaves[..size as usize]);
        assert_eq!(prover.root(size).unwrap(), old.root);
        let proof = prover.inclusion(size - 1, size).unwrap();
        let leaf = &leaves[size as usize - 1];
        assert_eq!(verify_inclusion(leaf, size - 1, &old, &proof), Ok(()));
    }
    assert!(matches!(prover.root(601), Err(ProveError::Unpublished { size: 601, published: 600 })));
    assert!(matches!(prover.inclusion(0, 601), Err(ProveError::Unpublished { .. })));
    assert!(matches!(prover.consistency(0, 601), Err(ProveError::Unpublished { .. })));
    assert!(matches!(prover.consistency(9, 8), Err(ProveError::Sizes { old: 9, new: 8 })));
    assert!(matches!(prover.inclusion(8, 8), Err(ProveError::Leaf { index: 8, size: 8 })));
}

#[test]
fn a_pruned_range_is_said_to_be_missing() {
    let leaves = leaves(1000);
    let (_, mut tiles) = grown(&leaves);
    assert!(tiles.remove(id(0, 0, 256)));
    // Leaves behind the pruned range can still be proved: the range's root is in the level above.
    let proof = Prover::new(&tiles, 1000).inclusion(300, 1000).unwrap();
    assert_eq!(verify_inclusion(&leaves[300], 300, &head(&leaves), &proof), Ok(()));
    let missing = Prover::new(&tiles, 1000).inclusion(3, 1000);
    assert!(
        matches!(missing, Err(ProveError::Tile(TileError::Missing(tile))) if tile == id(0, 0, 256))
    );
}

#[test]
fn a_directory_is_read_like_memory() {
    let directory = tempfile::tempdir().unwrap();
    let leaves = leaves(700);
    let (tree, tiles) = grown(&leaves);
    for (id, bytes) in tiles.iter() {
        let path = directory.path().join(id.path());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let files = DirectoryTiles::new(directory.path().to_owned());
    assert_eq!(Tree::open(&files, 700, &tree.root()).unwrap(), tree);
    for index in [0, 255, 256, 699] {
        let proof = Prover::new(&files, 700).inclusion(index, 700).unwrap();
        assert_eq!(proof, Prover::new(&tiles, 700).inclusion(index, 700).unwrap());
    }
    // A file that is too long is noticed, without being read to its end.
    let partial = directory.path().join(id(0, 2, 188).path());
    let mut bytes = fs::read(&partial).unwrap();
    bytes.resize(1 << 20, 0);
    fs::write(&partial, bytes).unwrap();
    let opened = Tree::open(&files, 700, &tree.root());
    assert!(matches!(opened, Err(TreeError::Tile(TileError::Malformed(_)))));
    fs::remove_file(&partial).unwrap();
    let opened = Tree::open(&files, 700, &tree.root());
    assert!(matches!(opened, Err(TreeError::Tile(TileError::Missing(_)))));
    fs::create_dir(&partial).unwrap();
    let opened = Tree::open(&files, 700, &tree.root());
    assert!(matches!(opened, Err(TreeError::Tile(TileError::Io { .. }))));
}

#[test]
fn a_bundle_holds_entries_and_nothing_else() {
    let entries: [&[u8]; 4] = [b"", b"a", b"bc", &[7; 65_535]];
    let bundle = encode_bundle(entries).unwrap();
    assert_eq!(&bundle[..8], [0, 0, 0, 1, b'a', 0, 2, b'b']);
    assert_eq!(decode_bundle(&bundle, 4).unwrap(), entries);
    assert_eq!(decode_bundle(&bundle, 3), None, "an entry too many");
    assert_eq!(decode_bundle(&bundle, 5), None, "an entry too few");
    assert_eq!(decode_bundle(&bundle[..bundle.len() - 1], 4), None, "cut within an entry");
    assert_eq!(decode_bundle(&[&bundle[..], &[0]].concat(), 4), None, "a byte of a length");
    assert_eq!(encode_bundle([&[0_u8; 65_536][..]]), None, "an entry too long");
    assert_eq!(encode_bundle(vec![&b""[..]; 257]), None, "too many entries");
    // Entries hash to the hashes of the tile beside them.
    let leaves: Vec<_> = entries.iter().map(|entry| leaf_hash(entry)).collect();
    let (tree, _) = grown(&leaves);
    assert_eq!(tree.partial_tiles()[0].hashes(), leaves);
}

#[test]
fn huge_sizes_are_refused_before_anything_is_read() {
    let tiles = MemoryTiles::default();
    for size in [1, 1 << 40, i64::MAX as u64] {
        assert!(matches!(Tree::open(&tiles, size, &EMPTY_ROOT), Err(TreeError::Tile(_))));
        let prover = Prover::new(&tiles, size);
        assert!(matches!(prover.root(size), Err(ProveError::Tile(_))));
        assert_eq!(prover.inclusion(size - 1, size).is_ok(), size == 1);
    }
    for size in [1 << 63, u64::MAX] {
        assert!(matches!(Tree::open(&tiles, size, &EMPTY_ROOT), Err(TreeError::Size(_))));
        let prover = Prover::new(&tiles, size);
        assert!(matches!(prover.root(size), Err(ProveError::Unpublished { .. })));
        assert!(matches!(prover.inclusion(0, size), Err(ProveError::Unpublished { .. })));
    }
}
