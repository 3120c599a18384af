//! Arbitrary bytes as `proof::exercise::tile` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::exercise::tile(bytes));
