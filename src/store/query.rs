//! The queries on the books, written once for every database.

pub(super) mod audit;
pub(super) mod change;
pub(super) mod find;
pub(super) mod list;
pub(super) mod search;
