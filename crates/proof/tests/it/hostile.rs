//! Bytes that mean ill: the fuzz targets' functions over their corpus, over changes of it, and over random bytes.

use std::fs;
use std::path::Path;

use proof::exercise;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// What a fuzz target does with bytes.
type Run = fn(&[u8]);

const TARGETS: [(&str, Run); 7] = [
    ("proof_tile", exercise::tile),
    ("proof_note", exercise::note),
    ("proof_key", exercise::key),
    ("proof_checkpoint", exercise::checkpoint),
    ("proof_leaf", exercise::leaf),
    ("proof_proof", exercise::proof),
    ("proof_witness", exercise::witness),
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has a corpus");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// Changes bytes a little: a bit, a byte, a cut, a copy of a piece to elsewhere.
fn change(bytes: &mut Vec<u8>, random: &mut ChaCha8Rng) {
    let place = random.random_range(0..=bytes.len());
    match random.random_range(0..5) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
        1 if place < bytes.len() => bytes[place] = random.random(),
        2 => bytes.truncate(place),
        3 => {
            let length = random.random_range(0..=(bytes.len() - place).min(64));
            let piece = bytes[place..place + length].to_vec();
            let to = random.random_range(0..=bytes.len());
            bytes.splice(to..to, piece);
        }
        _ => bytes.insert(place, b"\n +x0-\xe2"[random.random_range(0..7)]),
    }
}

#[test]
fn no_bytes_break_a_decoder() {
    for (target, run) in TARGETS {
        let seeds = corpus(target);
        seeds.iter().for_each(|seed| run(seed));
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for round in 0..3000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..random.random_range(1..4) {
                change(&mut bytes, &mut random);
            }
            run(&bytes);
            let mut noise = vec![0; random.random_range(0..300)];
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
    let directory = Path::new("../../fuzz/fuzz_targets");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let names = files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
    let mut ours: Vec<String> = names.filter(|name| name.starts_with("proof_")).collect();
    let mut run: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    ours.sort();
    run.sort_unstable();
    assert_eq!(ours, run);
}
