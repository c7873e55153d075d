//! See `tests/src/fuzzing/parse.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::parse::check(input));
