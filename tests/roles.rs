//! Who may do what: every method × everybody × their own and another organization, and what depends on more than the method.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::unnecessary_wraps, reason = "fields that are messages are optional")]

#[path = "roles/access.rs"]
mod access;
#[path = "grpc/calling.rs"]
mod calling;
#[path = "roles/ceilings.rs"]
mod ceilings;
#[path = "roles/fields.rs"]
mod fields;
#[path = "roles/keys.rs"]
mod keys;
#[path = "roles/matrix.rs"]
mod matrix;
#[path = "grpc/messages.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod messages;
#[path = "roles/nobody.rs"]
mod nobody;
#[path = "roles/own.rs"]
mod own;
#[path = "grpc/people.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod people;
#[path = "support/rpc.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod rpc;
#[path = "roles/scopes.rs"]
mod scopes;
#[path = "roles/streams.rs"]
mod streams;
#[path = "grpc/world.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod world;
