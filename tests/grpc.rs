//! The whole product over real gRPC: a server in this process, its own client, and a clock that stands until it is moved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::unnecessary_wraps, reason = "fields that are messages are optional")]

#[path = "grpc/bad_input.rs"]
mod bad_input;
#[path = "grpc/bounds.rs"]
mod bounds;
#[path = "grpc/calling.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod calling;
#[path = "grpc/charging.rs"]
mod charging;
#[path = "grpc/concurrency.rs"]
mod concurrency;
#[path = "grpc/control_amounts.rs"]
mod control_amounts;
#[path = "grpc/control_bad_input.rs"]
mod control_bad_input;
#[path = "grpc/control_conflicts.rs"]
mod control_conflicts;
#[path = "grpc/control_updates.rs"]
mod control_updates;
#[path = "grpc/counters.rs"]
mod counters;
#[path = "grpc/edges.rs"]
mod edges;
#[path = "grpc/entering.rs"]
mod entering;
#[path = "grpc/entities.rs"]
mod entities;
#[path = "grpc/ledgers.rs"]
mod ledgers;
#[path = "grpc/messages.rs"]
mod messages;
#[path = "grpc/models.rs"]
mod models;
#[path = "grpc/paging.rs"]
mod paging;
#[path = "grpc/people.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod people;
#[path = "grpc/personal.rs"]
mod personal;
#[path = "grpc/policies.rs"]
mod policies;
#[path = "grpc/ran.rs"]
mod ran;
#[path = "grpc/reads.rs"]
mod reads;
#[path = "grpc/reserving.rs"]
mod reserving;
#[path = "grpc/restarting.rs"]
mod restarting;
#[path = "support/rpc.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod rpc;
#[path = "grpc/running.rs"]
mod running;
#[path = "grpc/searching.rs"]
mod searching;
#[path = "grpc/secrets.rs"]
mod secrets;
#[path = "grpc/session.rs"]
mod session;
#[path = "grpc/settling.rs"]
mod settling;
#[path = "grpc/tool.rs"]
mod tool;
#[path = "grpc/waiting.rs"]
mod waiting;
#[path = "grpc/world.rs"]
mod world;
