//! What several services convert alike. Messages are destructured whole, so that a new field can't be forgotten.

pub(super) mod limits;
pub(super) mod time;
pub(super) mod usage;
