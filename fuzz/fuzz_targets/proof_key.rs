//! Arbitrary bytes as `proof::exercise::key` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::exercise::key(bytes));
