//! Arbitrary bytes as `source::exercise::messages` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| source::exercise::messages(bytes));
