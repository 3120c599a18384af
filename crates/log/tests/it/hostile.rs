//! Bytes that mean ill: the fuzz targets' functions over their corpus, over changes of it, and over random bytes.

use std::fs;
use std::path::Path;

use log::exercise;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a fuzz target does with bytes.
type Run = fn(&[u8]);

const TARGETS: [(&str, Run); 3] = [
    ("log_frame", exercise::frame),
    ("log_payload", exercise::payload),
    ("log_index", exercise::index),
];

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new("../../fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target} has a corpus");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn no_bytes_break_a_decoder() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    for (target, run) in TARGETS {
        let seeds = corpus(target);
        seeds.iter().for_each(|seed| run(seed));
        for round in 0..4000 {
            let mut bytes = seeds[round % seeds.len()].clone();
            for _ in 0..random.random_range(1..4) {
                let place = random.random_range(0..=bytes.len());
                match random.random_range(0..4) {
                    0 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
                    1 if place < bytes.len() => bytes[place] = random.random(),
                    2 => bytes.truncate(place),
                    _ => bytes.insert(place, random.random()),
                }
            }
            run(&bytes);
        }
        for _ in 0..1000 {
            let length = random.random_range(0..600);
            let bytes: Vec<u8> = (0..length).map(|_| random.random()).collect();
            run(&bytes);
        }
    }
}
