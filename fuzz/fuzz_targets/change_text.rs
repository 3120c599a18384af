//! Arbitrary bytes as `change::exercise::text` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| change::exercise::text(bytes));
