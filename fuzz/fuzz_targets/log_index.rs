//! Arbitrary bytes as `log::exercise::index` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log::exercise::index(bytes));
