//! The client module: against the real server, and against one that does what servers do at their worst.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::unnecessary_wraps, reason = "fields that are messages are optional")]

#[path = "client/asking.rs"]
mod asking;
#[path = "client/booking.rs"]
mod booking;
#[path = "client/connecting.rs"]
mod connecting;
#[path = "client/example.rs"]
mod example;
#[path = "client/fake.rs"]
mod fake;
#[path = "grpc/messages.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod messages;
#[path = "client/owing.rs"]
mod owing;
#[path = "client/places.rs"]
mod places;
#[path = "client/session.rs"]
mod session;
#[path = "grpc/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;
