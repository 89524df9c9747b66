//! The real binary: stopped, started on what others left, refused what it can't serve, and used by the other programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]
#![allow(clippy::unnecessary_wraps, reason = "what goes into a message is an option there")]

#[path = "process/server.rs"]
#[allow(dead_code, reason = "made for other tests too, of which these use a part")]
mod server;

#[path = "process/bench.rs"]
mod bench;

#[path = "process/carrying.rs"]
mod carrying;

#[path = "support/cluster.rs"]
mod cluster;

#[path = "process/moved.rs"]
mod moved;

#[path = "process/private.rs"]
mod private;

#[path = "process/recipes.rs"]
mod recipes;

#[path = "process/secrets.rs"]
mod secrets;

#[path = "process/socket.rs"]
mod socket;
#[path = "process/start.rs"]
mod start;

#[path = "process/tool.rs"]
mod tool;
