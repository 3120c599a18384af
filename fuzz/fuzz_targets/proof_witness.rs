//! Arbitrary bytes as `proof::exercise::witness` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::exercise::witness(bytes));
