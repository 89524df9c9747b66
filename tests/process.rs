//! The real binary: killed, stopped, started on what others left, and refused what it can't serve.

#[path = "process/server.rs"]
mod server;

#[path = "process/full.rs"]
mod full;

#[path = "process/kill.rs"]
mod kill;

#[path = "process/start.rs"]
mod start;
