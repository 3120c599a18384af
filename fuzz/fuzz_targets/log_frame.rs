//! Arbitrary bytes as `log::exercise::frame` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log::exercise::frame(bytes));
