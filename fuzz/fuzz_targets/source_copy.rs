//! Arbitrary bytes as `source::exercise::copy` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| source::exercise::copy(bytes));
