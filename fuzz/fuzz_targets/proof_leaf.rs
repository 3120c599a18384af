//! Arbitrary bytes as `proof::exercise::leaf` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::exercise::leaf(bytes));
