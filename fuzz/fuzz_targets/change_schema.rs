//! Arbitrary bytes as `change::exercise::schema` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| change::exercise::schema(bytes));
