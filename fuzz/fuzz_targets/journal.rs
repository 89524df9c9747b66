//! See `tests/fuzzing/journal.rs`.
#![no_main]

#[path = "../../tests/fuzzing/journal.rs"]
mod journal;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| journal::check(bytes));
