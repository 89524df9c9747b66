//! The state of organizations, and everything that is decided on it.
//!
//! A [`turn`] is one operation on one organization: it decides on the state as it is, says what happened as events, and
//! [`apply`](state) puts each into effect. Nothing else changes state, live or in replay. No I/O, no clock, no randomness:
//! time comes in, records and answers go out.

pub mod conflict;
pub mod decide;
pub mod directory;
pub mod limit;
pub mod rate;
pub mod reservation;
mod shared;
pub mod state;
pub mod system;
pub mod table;
pub mod turn;
pub mod windows;

#[cfg(test)]
mod tests;
