//! See `tests/src/fuzzing/checksum.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tests::fuzzing::checksum::check(input));
