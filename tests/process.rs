//! The real binary: killed, stopped, started on what others left, and refused what it can't serve.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]
#![allow(clippy::unnecessary_wraps, reason = "what goes into a message is an option there")]

#[path = "process/server.rs"]
mod server;

#[path = "process/bench.rs"]
mod bench;

#[path = "process/carrying.rs"]
mod carrying;

#[path = "process/full.rs"]
mod full;

#[path = "process/kill.rs"]
mod kill;

#[path = "process/recipes.rs"]
mod recipes;

#[path = "process/start.rs"]
mod start;
