//! Durable, ordered events, and snapshots beside them. The journal is the truth; everything else can be built from it.
//!
//! The journal knows records and bytes, never what they mean to an organization.

pub mod snapshots;
pub mod sqlite;
mod wal;
pub mod writer;

use async_trait::async_trait;

use crate::domain::{
    event::{Record, Stream},
    lease::{JournalId, StoreId},
    snapshot::{Snapshot, SnapshotMark},
};

/// Where batches of records are kept. One writer appends; readers may read meanwhile.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Makes a batch durable, as a whole or not at all. Positions continue the last batch's without gap.
    async fn append(&self, batch: &[Record]) -> Result<(), AppendError>;

    /// Brings what was appended to where it stays, if it is time for that. Who appends asks for it after each batch, when nobody waits
    /// for that any more: what was appended is durable without it.
    async fn checkpoint(&self) -> Result<(), AppendError>;

    /// Records from position `from` on, in order: whole batches, until at least `at_least` records are read or none is left.
    async fn read(&self, from: u64, at_least: usize) -> Result<Vec<Record>, JournalError>;

    /// What tells this journal from any other.
    fn id(&self) -> JournalId;

    /// The books that it was last written into, if any.
    async fn books(&self) -> Result<Option<StoreId>, JournalError>;

    /// Remembers which books it is written into; `None` where they turned out to be another journal's.
    async fn set_books(&self, books: Option<StoreId>) -> Result<(), JournalError>;

    /// Lets an empty journal begin behind `position`, as one that was trimmed there.
    async fn begin_after(&self, position: u64) -> Result<(), JournalError>;

    /// Where it begins and ends.
    async fn extent(&self) -> Result<Extent, JournalError>;

    /// Bytes on disk that records take.
    async fn size(&self) -> Result<u64, JournalError>;

    /// Forgets batches that lie wholly at or before `position`.
    async fn trim(&self, position: u64) -> Result<(), JournalError>;

    /// Leaves its files in order; nothing may be asked of it after that.
    async fn close(&self) {}
}

/// Which positions a journal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extent {
    /// Last position that was trimmed; 0 if none ever was.
    pub trimmed: u64,
    /// Last position; that of [`Self::trimmed`] where there is none beyond.
    pub last: u64,
    /// Epoch of the last record; 0 where there is none.
    pub epoch: u32,
}

/// Why a batch isn't durable, or a checkpoint wasn't made.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written; the same may be tried again (a full or read-only disk).
    #[error("the journal can't be written: {0}")]
    Retry(String),
    /// Whether the batch is on disk is unknown, or the journal is damaged: the process must stop and recover from disk.
    #[error("the journal failed: {0}")]
    Fatal(String),
}

/// Of other writes than appends. After a fatal one every append fails so, too.
impl From<AppendError> for JournalError {
    fn from(error: AppendError) -> Self {
        let (AppendError::Retry(why) | AppendError::Fatal(why)) = error;
        Self::Io(why)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("journal: {0}")]
    Io(String),
    /// Says what is damaged and where.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
}

/// Where snapshots are kept: the latest of each stream.
#[async_trait]
pub trait Snapshots: Send + Sync + 'static {
    /// Replaces the stream's snapshot, durably and atomically.
    async fn save(&self, snapshots: &[Snapshot]) -> Result<(), JournalError>;

    /// Every snapshot, in pages of whole snapshots: those whose stream sorts after `after`.
    async fn load(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, JournalError>;

    /// The snapshots of some streams, as far as there are any.
    async fn find(&self, streams: &[Stream]) -> Result<Vec<Snapshot>, JournalError>;

    /// Like [`Self::load`], without the states.
    async fn list(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, JournalError>;

    /// Leaves its files in order; nothing may be asked of it after that.
    async fn close(&self) {}
}
