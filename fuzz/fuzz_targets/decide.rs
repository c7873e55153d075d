//! See `tests/src/fuzzing/decide.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::decide::check(input));
