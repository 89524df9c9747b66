//! The simulated disk: what was synced stays; of what was only written a crash keeps some beginning, torn maybe.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use quotad::{
    domain::{
        event::{Record, Stream},
        lease::{JournalId, StoreId},
        snapshot::{Snapshot, SnapshotMark},
    },
    journal::{AppendError, Extent, Journal, JournalError, Snapshots},
    packed::{pack, unpack},
};

use crate::trouble::Trouble;

/// A batch as it lies in the journal.
#[derive(Debug, Clone)]
struct Batch {
    last: u64,
    bytes: Vec<u8>,
    /// What the bytes are read as.
    records: Vec<Record>,
}

impl Batch {
    fn of(records: &[Record]) -> Self {
        let bytes = pack(records).unwrap();
        let read = unpack(&bytes).unwrap();
        assert_eq!(read, records, "written and read otherwise");
        Self { last: records[records.len() - 1].position, bytes, records: read }
    }
}

#[derive(Debug, Clone, Default)]
struct Files {
    books: Option<StoreId>,
    /// Last position that was trimmed.
    trimmed: u64,
    batches: Vec<Batch>,
    unsynced: Option<Batch>,
    /// By the streams' keys.
    snapshots: BTreeMap<String, Snapshot>,
    unsynced_snapshots: Vec<Snapshot>,
    /// What was trimmed: nobody reads it but the checks.
    archive: Vec<Record>,
}

/// Journal and snapshots of one data directory.
pub(crate) struct Disk {
    id: JournalId,
    files: Mutex<Files>,
    trouble: Arc<Trouble>,
}

impl Disk {
    pub(crate) fn new(id: JournalId, trouble: &Arc<Trouble>) -> Arc<Self> {
        Arc::new(Self { id, files: Mutex::default(), trouble: Arc::clone(trouble) })
    }

    /// Another one like it.
    #[allow(dead_code, reason = "shared with the fuzz targets")]
    pub(crate) fn copy(&self) -> Arc<Self> {
        let files = Mutex::new(self.files.lock().unwrap().clone());
        Arc::new(Self { id: self.id, files, trouble: Arc::clone(&self.trouble) })
    }

    /// The power failed, and the machine starts again.
    pub(crate) fn lose_power(&self) {
        let mut files = self.files.lock().unwrap();
        let chance = &self.trouble.chance;
        if let Some(mut batch) = files.unsynced.take()
            && chance.one_in(2)
        {
            let kept = chance.between(0, batch.bytes.len() as u64);
            if chance.one_in(2) {
                batch.bytes.truncate(usize::try_from(kept).unwrap());
            }
            // As the product finds it at its start: a torn end is no batch.
            if unpack(&batch.bytes).is_ok_and(|records| records == batch.records) {
                files.batches.push(batch);
            }
        }
        let unsynced = std::mem::take(&mut files.unsynced_snapshots);
        if chance.one_in(2) {
            files.keep(unsynced);
        }
    }

    /// All snapshots are gone, as if their file had been deleted.
    pub(crate) fn lose_snapshots(&self) {
        self.files.lock().unwrap().snapshots.clear();
    }

    /// Last position that isn't in it any more.
    pub(crate) fn begins(&self) -> u64 {
        self.files.lock().unwrap().trimmed
    }

    /// All records that ever were durable.
    pub(crate) fn history(&self) -> Vec<Record> {
        let files = self.files.lock().unwrap();
        let batches = files.batches.iter().flat_map(|batch| &batch.records);
        files.archive.iter().chain(batches).cloned().collect()
    }

    /// What came before this journal, for the checks.
    pub(crate) fn set_archive(&self, archive: Vec<Record>) {
        self.files.lock().unwrap().archive = archive;
    }

    /// The latest snapshots, whoever looks.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        self.files.lock().unwrap().snapshots.values().cloned().collect()
    }

    fn after(&self, after: Option<&Stream>, limit: usize) -> Vec<Snapshot> {
        let files = self.files.lock().unwrap();
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.key().to_owned()));
        files.snapshots.range((from, Bound::Unbounded)).take(limit).map(|(_, snapshot)| snapshot.clone()).collect()
    }
}

impl Files {
    fn last(&self) -> u64 {
        self.batches.last().map_or(self.trimmed, |batch| batch.last)
    }

    fn keep(&mut self, snapshots: Vec<Snapshot>) {
        for snapshot in snapshots {
            self.snapshots.insert(snapshot.stream.key().to_owned(), snapshot);
        }
    }
}

#[async_trait]
impl Journal for Disk {
    async fn append(&self, batch: &[Record]) -> Result<(), AppendError> {
        let Some(first) = batch.first() else { return Ok(()) };
        self.trouble.pass().await;
        if self.trouble.disk_is_full() {
            return Err(AppendError::Retry(String::from("no space left")));
        }
        {
            let mut files = self.files.lock().unwrap();
            assert_eq!(first.position, files.last() + 1, "a batch doesn't follow the last one");
            assert!(files.unsynced.is_none(), "two batches are written at a time");
            files.unsynced = Some(Batch::of(batch));
        }
        self.trouble.pass().await;
        if self.trouble.sync_fails() {
            return Err(AppendError::Fatal(String::from("the sync failed")));
        }
        {
            let mut files = self.files.lock().unwrap();
            let batch = files.unsynced.take().unwrap();
            files.batches.push(batch);
        }
        self.trouble.pass().await;
        Ok(())
    }

    async fn checkpoint(&self) -> Result<(), AppendError> {
        self.trouble.pass().await;
        if self.trouble.disk_is_full() {
            return Err(AppendError::Retry(String::from("no space left")));
        }
        if self.trouble.sync_fails() {
            return Err(AppendError::Fatal(String::from("the sync failed")));
        }
        Ok(())
    }

    async fn read(&self, from: u64, at_least: usize) -> Result<Vec<Record>, JournalError> {
        self.trouble.pass().await;
        if self.trouble.read_fails() {
            return Err(JournalError::Io(String::from("a read failed")));
        }
        let files = self.files.lock().unwrap();
        let mut records = Vec::new();
        let begin = files.batches.partition_point(|batch| batch.last < from);
        for batch in &files.batches[begin..] {
            if records.len() >= at_least {
                break;
            }
            records.extend(batch.records.iter().filter(|record| record.position >= from).cloned());
        }
        Ok(records)
    }

    fn id(&self) -> JournalId {
        self.id
    }

    async fn books(&self) -> Result<Option<StoreId>, JournalError> {
        Ok(self.files.lock().unwrap().books)
    }

    async fn set_books(&self, books: Option<StoreId>) -> Result<(), JournalError> {
        self.trouble.pass().await;
        self.files.lock().unwrap().books = books;
        Ok(())
    }

    async fn begin_after(&self, position: u64) -> Result<(), JournalError> {
        let mut files = self.files.lock().unwrap();
        assert_eq!(files.last(), 0, "only an empty journal can begin anew");
        files.trimmed = position;
        Ok(())
    }

    async fn extent(&self) -> Result<Extent, JournalError> {
        let files = self.files.lock().unwrap();
        let epoch = files.batches.last().and_then(|batch| batch.records.last()).map_or(0, |record| record.epoch);
        Ok(Extent { trimmed: files.trimmed, last: files.last(), epoch })
    }

    async fn size(&self) -> Result<u64, JournalError> {
        Ok(self.files.lock().unwrap().batches.iter().map(|batch| batch.bytes.len() as u64).sum())
    }

    async fn trim(&self, position: u64) -> Result<(), JournalError> {
        self.trouble.pass().await;
        let mut files = self.files.lock().unwrap();
        // The last batch stays.
        let gone = files.batches.partition_point(|batch| batch.last <= position);
        let gone = gone.min(files.batches.len().saturating_sub(1));
        let gone: Vec<_> = files.batches.drain(..gone).collect();
        for batch in gone {
            files.trimmed = batch.last;
            files.archive.extend(batch.records);
        }
        Ok(())
    }
}

#[async_trait]
impl Snapshots for Disk {
    async fn save(&self, snapshots: &[Snapshot]) -> Result<(), JournalError> {
        self.trouble.pass().await;
        if self.trouble.snapshot_fails() {
            return Err(JournalError::Io(String::from("a snapshot can't be written")));
        }
        self.files.lock().unwrap().unsynced_snapshots = snapshots.to_vec();
        self.trouble.pass().await;
        {
            let mut files = self.files.lock().unwrap();
            let written = std::mem::take(&mut files.unsynced_snapshots);
            files.keep(written);
        }
        self.trouble.pass().await;
        Ok(())
    }

    async fn load(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<Snapshot>, JournalError> {
        self.trouble.pass().await;
        Ok(self.after(after, limit))
    }

    async fn find(&self, streams: &[Stream]) -> Result<Vec<Snapshot>, JournalError> {
        self.trouble.pass().await;
        let files = self.files.lock().unwrap();
        Ok(streams.iter().filter_map(|stream| files.snapshots.get(stream.key()).cloned()).collect())
    }

    async fn list(&self, after: Option<&Stream>, limit: usize) -> Result<Vec<SnapshotMark>, JournalError> {
        self.trouble.pass().await;
        let mark = |Snapshot { stream, sequence, position, .. }: Snapshot| SnapshotMark { stream, sequence, position };
        Ok(self.after(after, limit).into_iter().map(mark).collect())
    }
}
