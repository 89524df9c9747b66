//! The API as its callers see it: a real client, real gRPC, a server on files, and a clock that the test moves.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]
#![allow(clippy::unnecessary_wraps, reason = "what goes into a message is an option there")]

#[path = "grpc/world.rs"]
mod world;

#[path = "grpc/bad_input.rs"]
mod bad_input;

#[path = "grpc/caps.rs"]
mod caps;

#[path = "grpc/control.rs"]
mod control;

#[path = "grpc/ledger.rs"]
mod ledger;

#[path = "grpc/lifecycle.rs"]
mod lifecycle;

#[path = "grpc/session.rs"]
mod session;
