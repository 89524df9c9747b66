//! The real binary under load while everything around it breaks: killed, restarted, disks that fill up and fail, files that are
//! damaged, clocks that leap. What was acknowledged is in the books, once; nothing else is.
//!
//! Short rounds by default. `QUOTAD_FAULT_ROUNDS=50` makes them long, `QUOTAD_FAULT_SEED` repeats the moments that a run chose.

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

#[path = "support/cluster.rs"]
mod cluster;

#[path = "faults/acknowledged.rs"]
mod acknowledged;
#[path = "faults/caller.rs"]
mod caller;
#[path = "faults/check.rs"]
mod check;
#[path = "faults/control.rs"]
mod control;
#[path = "faults/load.rs"]
mod load;
#[path = "faults/moments.rs"]
mod moments;
#[path = "faults/proxy.rs"]
mod proxy;
#[path = "faults/quota.rs"]
mod quota;
#[path = "faults/seed.rs"]
mod seed;
#[path = "faults/world.rs"]
mod world;

#[path = "faults/clock.rs"]
mod clock;
#[path = "faults/damage.rs"]
mod damage;
#[path = "faults/database.rs"]
mod database;
#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/io_errors.rs"]
mod io_errors;
#[path = "faults/kill.rs"]
mod kill;
#[path = "faults/lag.rs"]
mod lag;
#[path = "faults/restart.rs"]
mod restart;
#[path = "faults/rolled_back.rs"]
mod rolled_back;
