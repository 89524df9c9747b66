//! quotad: may this request run, and who pays?
//!
//! Read it in the order in which a request passes: [`api`] converts and asks [`service`], which lets [`engine`] decide in
//! memory on what [`domain`] defines, has [`journal`] record what was decided, and answers. Behind the scenes the service
//! projects the journal into [`store`], the books, and has [`notify`] tell people what they should know.
//!
//! Imports run one way only: `domain ← engine ← {journal, store, notify} ← service ← api`; `tests/tidy.rs` enforces it.

pub mod api;
pub mod client;
pub mod clock;
pub mod config;
pub mod domain;
pub mod engine;
pub mod journal;
pub mod notify;
pub mod packed;
pub mod server;
pub mod service;
pub mod sqlite_copy;
pub mod store;
pub mod telemetry;
