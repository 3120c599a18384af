//! Bytes that mean ill: the fuzz targets' functions over their corpus, over changes of it, and over random bytes.
//!
//! A fuzzer finds more (`fuzz/`, `docs/testing.md`). This keeps what it found, wherever there is none.

use std::fs;
use std::path::Path;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What a fuzz target does with bytes.
type Run = fn(&[u8]);

const TARGETS: [(&str, Run); 18] = [
    ("backup_manifest", backup::exercise::manifest),
    ("change_schema", change::exercise::schema),
    ("change_text", change::exercise::text),
    ("log_base", log::exercise::base),
    ("log_frame", log::exercise::frame),
    ("log_index", log::exercise::index),
    ("log_payload", log::exercise::payload),
    ("log_segment", log::exercise::segment),
    ("proof_checkpoint", proof::exercise::checkpoint),
    ("proof_key", proof::exercise::key),
    ("proof_leaf", proof::exercise::leaf),
    ("proof_note", proof::exercise::note),
    ("proof_proof", proof::exercise::proof),
    ("proof_tile", proof::exercise::tile),
    ("proof_witness", proof::exercise::witness),
    ("source_copy", source::exercise::copy),
    ("source_messages", source::exercise::messages),
    ("source_value", source::exercise::value),
];

/// How many bytes of a target's corpus are changed in all: what is large takes longer.
const CHANGED_BYTES: usize = 4 << 20;

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new("../../fuzz/corpus").join(target);
    let corpus: Vec<_> =
        names(&directory).iter().map(|name| fs::read(directory.join(name)).unwrap()).collect();
    assert!(!corpus.is_empty(), "{target} has a corpus");
    corpus
}

/// Changes bytes a little: a bit, a byte, a cut, a copy of a piece to elsewhere.
fn change(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let place = random.random_range(0..=bytes.len());
    match random.random_range(0..6) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
        1 if place < bytes.len() => bytes[place] = random.random(),
        2 => bytes.truncate(place),
        3 => {
            let length = random.random_range(0..=(bytes.len() - place).min(64));
            let piece = bytes[place..place + length].to_vec();
            let to = random.random_range(0..=bytes.len());
            bytes.splice(to..to, piece);
        }
        4 => bytes.insert(place, b"\n +x0-\xe2"[random.random_range(0..7)]),
        _ => bytes.insert(place, random.random()),
    }
}

#[test]
fn no_bytes_break_a_decoder() {
    for (target, run) in TARGETS {
        let seeds = corpus(target);
        seeds.iter().for_each(|seed| run(seed));
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let bytes_each = seeds.iter().map(Vec::len).sum::<usize>() / seeds.len();
        for round in 0..(CHANGED_BYTES / bytes_each.max(1)).clamp(200, 3_000) {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..random.random_range(1..4) {
                change(&mut bytes, &mut random);
            }
            run(&bytes);
            let mut noise = vec![0; random.random_range(0..600)];
            random.fill(&mut noise[..]);
            run(&noise);
        }
        run(&[]);
        run(&[0xff; 4096]);
        run(&vec![b'\n'; 3 << 20]);
    }
}

#[test]
fn every_fuzz_target_is_run_here_as_well() {
    let files = names(Path::new("../../fuzz/fuzz_targets"));
    let theirs: Vec<&str> = files.iter().filter_map(|name| name.strip_suffix(".rs")).collect();
    assert_eq!(theirs, TARGETS.map(|(name, _)| name));
}
