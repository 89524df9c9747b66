//! The rules of the decision, one test each, and the engine against a naive model of the same rules.

mod admission;
mod billing;
mod expiry;
mod extension;
mod fixture;
mod forgotten;
mod idempotency;
mod quotas;
mod refusals;
mod revocation;
mod settling;
mod windows;
