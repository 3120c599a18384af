//! Arbitrary bytes as `backup::exercise::manifest` reads them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backup::exercise::manifest(bytes));
