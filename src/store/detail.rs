//! Events inside the books: encoded as journalled, with a version of their own.

use std::sync::Arc;

use super::{EntryDetail, StoreError};
use crate::domain::event::EntryKind;

/// First byte of a detail: how the rest is encoded.
const VERSION: u8 = 2;
/// Bytes that nearly every detail fits into.
const ROOM: usize = 320;

pub(super) fn encode<T: serde::Serialize>(detail: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::with_capacity(ROOM);
    bytes.push(VERSION);
    postcard::to_extend(detail, bytes).map_err(|error| StoreError::Damaged(error.to_string()))
}

pub(super) fn decode<T: serde::de::DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, StoreError> {
    match bytes.split_first() {
        Some((&VERSION, detail)) => {
            postcard::from_bytes(detail).map_err(|error| StoreError::Damaged(format!("{what}: {error}")))
        }
        version => Err(StoreError::Damaged(format!("{what}: version {:?} isn't known", version.map(|(v, _)| v)))),
    }
}

/// The event of an entry.
pub(super) fn of_entry(kind: &str, detail: &[u8]) -> Result<EntryDetail, StoreError> {
    const WHAT: &str = "a ledger entry";
    let known = EntryKind::ALL.into_iter().find(|known| known.name() == kind);
    match known.ok_or_else(|| StoreError::Damaged(format!("{WHAT} is of the kind {kind:?}")))? {
        EntryKind::TopUp => Ok(EntryDetail::ToppedUp(Box::new(decode(WHAT, detail)?))),
        EntryKind::Refund | EntryKind::Adjustment | EntryKind::Reversal => {
            Ok(EntryDetail::Corrected(Box::new(decode(WHAT, detail)?)))
        }
        EntryKind::Commit | EntryKind::Charge | EntryKind::Expiry | EntryKind::LateCommit | EntryKind::Release => {
            Ok(EntryDetail::Settled(Arc::new(decode(WHAT, detail)?)))
        }
    }
}
