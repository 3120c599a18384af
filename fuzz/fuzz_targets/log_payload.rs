//! Arbitrary bytes as `log::exercise::payload` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| log::exercise::payload(bytes));
