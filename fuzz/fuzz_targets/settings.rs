//! See `tests/fuzzing/settings.rs`.
#![no_main]

#[path = "../../tests/fuzzing/settings.rs"]
mod settings;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| settings::check(bytes));
