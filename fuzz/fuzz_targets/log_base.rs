//! Arbitrary bytes as `log::exercise::base` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log::exercise::base(bytes));
