//! What a fuzzer does with arbitrary bytes: read them as each format, and check that what was read means the same
//! when it is written again. The fuzz targets call these functions, and so does a plain test.
//!
//! They panic when a promise is broken; on no bytes may they.

use crate::checkpoint::Checkpoint;
use crate::hash::{EMPTY_ROOT, HASH_BYTES, Hash};
use crate::key::{Cosigner, Signer, VerifierKey};
use crate::leaf::LeafRecord;
use crate::note::Note;
use crate::prove::Prover;
use crate::receipt::Receipt;
use crate::store::MemoryTiles;
use crate::tile::{Tile, TileId, TileLevel, decode_bundle, encode_bundle};
use crate::tree::Tree;
use crate::verify::{TreeHead, verify_consistency, verify_inclusion};
use crate::witness::{AddCheckpoint, Seen, Witness};

/// Reads a path, a tile and a bundle; opens a tree over tiles that hold these bytes.
pub fn tile(bytes: &[u8]) {
    let (numbers, rest) = bytes.split_at(bytes.len().min(8));
    if let Some(id) = str::from_utf8(bytes).ok().and_then(TileId::parse) {
        assert_eq!(Some(id.path().as_str()), str::from_utf8(bytes).ok());
    }
    let size = numbers.iter().fold(0_u64, |number, byte| (number << 8) | u64::from(*byte));
    let width = u16::try_from(size & 0x1ff).unwrap_or(0);
    if let Some(entries) = decode_bundle(rest, width) {
        assert_eq!(encode_bundle(entries).as_deref(), Some(rest));
    }
    let mut tiles = MemoryTiles::default();
    for id in TileId::partials(size) {
        tiles.insert_bytes(id, rest.to_vec());
        if let Some(tile) = Tile::from_bytes(id, rest) {
            assert_eq!(tile.to_bytes(), rest);
        }
    }
    let prover = Prover::new(&tiles, size);
    let Ok(root) = prover.root(size) else { return };
    if let Ok(tree) = Tree::open(&tiles, size, &root) {
        assert_eq!((tree.size(), tree.root()), (size, root));
        assert!(tree.partial_tiles().iter().all(|tile| tile.to_bytes() == rest));
    }
    let last = size.saturating_sub(1);
    for place in [0, last, last >> 1] {
        let leaf = TileId::holding(TileLevel::Hashes(0), place, size);
        assert!(leaf.is_none_or(|id| id.width() > 0));
        if let Ok(proof) = prover.inclusion(place, size) {
            let leaf =
                rest.as_chunks::<HASH_BYTES>().0.get(usize::try_from(place & 0xff).unwrap_or(0));
            let tree = TreeHead { size, root };
            let verified = leaf.map(|leaf| verify_inclusion(&Hash(*leaf), place, &tree, &proof));
            assert_eq!(verified, Some(Ok(())));
        }
        if let (Ok(proof), Ok(old)) = (prover.consistency(place, size), prover.root(place)) {
            let (old, new) = (TreeHead { size: place, root: old }, TreeHead { size, root });
            assert_eq!(verify_consistency(&old, &new, &proof), Ok(()));
        }
    }
}

/// Reads a note, and tries to verify it.
pub fn note(bytes: &[u8]) {
    if let Ok(note) = Note::parse(bytes) {
        assert_eq!(note.to_string().as_bytes(), bytes);
        let signed = note.verify(&known()).is_ok();
        let lines: String = note.signatures().iter().map(|line| format!("{line}\n")).collect();
        let again = note.with_signatures(&lines, &known());
        assert!(again.is_err(), "what is there already is not added, signed or not: {signed}");
    }
}

/// Reads a key of either kind.
pub fn key(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(key) = VerifierKey::parse(text) {
        assert_eq!(key.to_string(), text);
    }
    if let Ok(signer) = Signer::parse(text) {
        let signature = signer.sign("a text\n").ok();
        let valid =
            signature.and_then(|signature| signer.verifier().verify("a text\n", &signature));
        assert!(valid.is_some());
    }
    assert!(Signer::parse(text).is_err() || Cosigner::parse(text).is_err());
}

/// Reads a checkpoint's text.
pub fn checkpoint(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.text(), text);
    }
    if let Ok(seen) = Seen::decode(text) {
        assert_eq!(seen.encode(), text);
    }
}

/// Reads a leaf's record.
pub fn leaf(bytes: &[u8]) {
    if let Ok(record) = LeafRecord::decode(bytes) {
        assert_eq!(record.encode(), bytes);
    }
}

/// Reads a receipt; then takes the bytes as two sizes and hashes, and verifies whatever that claims.
pub fn proof(bytes: &[u8]) {
    if let Ok(receipt) = Receipt::parse(bytes) {
        assert_eq!(receipt.encode().as_bytes(), bytes);
    }
    let Some((first, rest)) = bytes.split_first_chunk::<8>() else { return };
    let Some((second, rest)) = rest.split_first_chunk::<8>() else { return };
    let (first, second) = (u64::from_le_bytes(*first), u64::from_le_bytes(*second));
    let hashes: Vec<Hash> = rest.as_chunks::<HASH_BYTES>().0.iter().copied().map(Hash).collect();
    let Some((root, proof)) = hashes.split_first() else { return };
    let tree = TreeHead { size: second, root: *root };
    // Whoever finds bytes for which this holds has found a collision, or a tree of one leaf.
    let found = verify_inclusion(&EMPTY_ROOT, first, &tree, proof);
    assert!(found.is_err() || (second == 1 && *root == EMPTY_ROOT));
    let old = TreeHead { size: first, root: EMPTY_ROOT };
    let found = verify_consistency(&old, &tree, proof);
    assert!(found.is_err() || first == 0 || (first == second && *root == EMPTY_ROOT));
}

/// Reads a request to a witness, and answers it with and without state.
pub fn witness(bytes: &[u8]) {
    let Ok(request) = AddCheckpoint::parse(bytes) else { return };
    assert_eq!(request.encode().as_bytes(), bytes);
    let origin = request.checkpoint().origin().to_owned();
    let cosigner = Cosigner::from_seed("witness.example/w", &[7; 32]).expect("a name and a seed");
    let mut witness = Witness::new(cosigner);
    witness.watch(&origin, known());
    let seen = Checkpoint::new(&origin, 1, EMPTY_ROOT).ok().map(|seen| seen.text());
    let seen = seen.and_then(|seen| Seen::decode(&seen).ok());
    for seen in [None, seen.as_ref()] {
        match witness.consider(seen, &request, 1) {
            Ok(pending) => {
                let new = request.checkpoint().tree();
                assert_eq!(pending.seen().tree(), new);
                assert!(seen.is_none_or(|seen| seen.tree().size <= new.size));
                assert!(pending.release().ends_with('\n'));
            }
            Err(refusal) => {
                assert!((400..500).contains(&refusal.status()));
                assert!(!refusal.body().0.is_empty());
            }
        }
    }
}

/// The key that signed the corpus.
fn known() -> Vec<VerifierKey> {
    let signer = Signer::from_seed("fuzz.example/log", &[9; 32]).expect("a name and a seed");
    vec![signer.verifier().clone()]
}
