//! Arbitrary bytes as `log::exercise::segment` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log::exercise::segment(bytes));
