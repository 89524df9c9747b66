//! See `tests/fuzzing/requests.rs`.
#![no_main]
#![allow(dead_code, reason = "shared with the simulation")]

#[path = "../../tests/sim/answers.rs"]
mod answers;
#[path = "../../tests/sim/books.rs"]
mod books;
#[path = "../../tests/sim/chance.rs"]
mod chance;
#[path = "../../tests/sim/disk.rs"]
mod disk;
#[path = "../../tests/sim/place.rs"]
mod place;
#[path = "../../tests/fuzzing/requests.rs"]
mod requests;
#[path = "../../tests/sim/time.rs"]
mod time;
#[path = "../../tests/sim/trouble.rs"]
mod trouble;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| requests::check(bytes));
