//! Arbitrary bytes as `source::exercise::value` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| source::exercise::value(bytes));
