//! The rules of the decision, one test each, and the engine against a naive model of the same rules.

mod admission;
mod allocations;
mod audit;
mod billing;
mod bounds;
mod ceilings;
mod concurrency;
mod ended;
mod expiry;
mod extension;
mod fixture;
mod forgotten;
mod handing_out;
mod idempotency;
mod model;
mod naive;
mod paying;
mod quotas;
mod refusals;
mod revocation;
mod rules;
mod settling;
mod sums;
mod timers;
mod waits;
mod windows;
