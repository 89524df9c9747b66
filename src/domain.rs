//! What things are: ids, money, usage, prices, periods, policies, entities, decisions and events.
//!
//! Pure values. This module must never do I/O, read a clock, draw randomness or know of async, SQL or protobuf.

pub mod access;
pub mod alert;
pub mod allocation;
pub mod bounds;
pub mod contact;
pub mod decision;
pub mod ended;
pub mod entity;
pub mod error;
pub mod event;
pub mod fingerprint;
pub mod fold;
pub mod id;
pub mod lease;
pub mod model;
pub mod money;
pub mod operation;
pub mod payment;
pub mod period;
pub mod policy;
pub mod price;
pub mod reservation_id;
pub mod rule;
pub mod snapshot;
pub mod text;
pub mod time;
pub mod usage;
pub mod zone;
