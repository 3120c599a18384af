//! Arbitrary bytes as `proof::exercise::checkpoint` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::exercise::checkpoint(bytes));
