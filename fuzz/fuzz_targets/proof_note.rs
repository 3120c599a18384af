//! Arbitrary bytes as `proof::exercise::note` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| proof::exercise::note(bytes));
