//! See `tests/src/fuzzing/manifest.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::manifest::check(input));
