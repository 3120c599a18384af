//! Arbitrary bytes as `proof::exercise::proof` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::exercise::proof(bytes));
