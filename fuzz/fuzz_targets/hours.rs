//! See `tests/fuzzing/hours.rs`.
#![no_main]

#[path = "../../tests/fuzzing/hours.rs"]
mod hours;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hours::check(bytes));
