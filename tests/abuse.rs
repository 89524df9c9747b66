//! Hostile callers against the real binary: they get no memory that isn't theirs, and nobody else notices them.
//!
//! Short by default. `QUOTAD_ABUSE_SECONDS=10` makes each attack so long; `QUOTAD_ABUSE_BINARY` attacks another build of the server.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]
#![allow(clippy::unnecessary_wraps, reason = "what goes into a message is an option there")]

#[path = "process/server.rs"]
#[allow(dead_code, reason = "made for other tests, of which these use a part")]
mod server;

#[path = "abuse/neighbour.rs"]
#[allow(dead_code, reason = "made for all attacks, which come one by one")]
mod neighbour;
#[path = "abuse/world.rs"]
#[allow(dead_code, reason = "made for all attacks, which come one by one")]
mod world;

#[path = "support/rpc.rs"]
#[allow(dead_code, reason = "shared with other tests")]
mod rpc;

#[path = "abuse/wire.rs"]
mod wire;

#[path = "abuse/calm.rs"]
mod calm;

#[path = "abuse/bodies.rs"]
mod bodies;
#[path = "abuse/connections.rs"]
mod connections;
#[path = "abuse/flood.rs"]
mod flood;
#[path = "abuse/frames.rs"]
mod frames;
#[path = "abuse/growth.rs"]
mod growth;
#[path = "abuse/harness.rs"]
mod harness;
#[path = "abuse/holds.rs"]
mod holds;
#[path = "abuse/lists.rs"]
mod lists;
#[path = "abuse/machine.rs"]
mod machine;
#[path = "abuse/mail.rs"]
mod mail;
#[path = "abuse/reads.rs"]
mod reads;
#[path = "abuse/roles.rs"]
mod roles;
#[path = "abuse/tokens.rs"]
mod tokens;
#[path = "abuse/verify.rs"]
mod verify;
#[path = "abuse/walk.rs"]
mod walk;
