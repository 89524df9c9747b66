//! Drains the journal into the books. Decisions never wait for it; reads of the books do.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future;

use super::{Error, Service, books::RENEW_EVERY};
use crate::{
    clock::Stopwatch,
    domain::{
        event::{Record, Stream},
        id::{KeyId, OrganizationId},
        lease::Lease,
    },
    engine::{directory::Cell, system::Registration},
    journal::Journal,
    store::{Store, StoreError},
};

/// Records to project in one transaction, roughly: the journal is read by whole batches.
pub(super) const BATCH: usize = 16_384;
/// A journal that isn't drained grows by some megabytes meanwhile.
const MEASURE_EVERY: Duration = Duration::from_secs(1);
/// How much longer than a batch took the next one is put off: what a transaction costs apart from its records, the database pays
/// half as often then, or less; and a server that is busy deciding keeps most of the machine for that.
const REST: u32 = 2;
/// Where the books follow: the disk may be lost meanwhile.
const LONGEST_REST: Duration = Duration::from_millis(200);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Projects all that a journal has, where no server does. Answers the position reached.
///
/// # Errors
/// [`Error`] when the journal can't be read or the books not be written.
pub async fn drain(journal: Arc<dyn Journal>, store: &dyn Store, lease: Lease) -> Result<u64, Error> {
    let mut reached = store.status().await?.position;
    let mut records = journal.read(reached + 1, BATCH).await?;
    while !records.is_empty() {
        let (projected, ahead) = future::join(store.project(lease, &records), read_ahead(&journal, &records)).await;
        reached = projected?;
        records = if ahead.is_empty() { journal.read(reached + 1, BATCH).await? } else { ahead };
    }
    Ok(reached)
}

/// What comes after a batch, for when that is projected; nothing where the journal has hardly more. Read in a task of its own,
/// because records take as long to decode as to send to a database. An error will come again when they are needed.
fn read_ahead(journal: &Arc<dyn Journal>, records: &[Record]) -> impl Future<Output = Vec<Record>> + use<> {
    let from = records.last().filter(|_| records.len() >= BATCH).map(|last| last.position + 1);
    let reading = from.map(|from| {
        let journal = Arc::clone(journal);
        tokio::spawn(async move { journal.read(from, BATCH).await })
    });
    async move {
        let Some(reading) = reading else { return Vec::new() };
        reading.await.ok().and_then(Result::ok).unwrap_or_default()
    }
}

/// Whether the journal grew, while so many records were projected, at a rate that decisions need the machine for.
fn is_busy(projected: usize, grown: u64) -> bool {
    grown > projected as u64 / 4
}

impl Service {
    /// Projects what the journal makes durable, until the task is dropped. With the books down it tries again.
    pub async fn run_projector(self: Arc<Self>) {
        let (mut retry, mut ahead) = (FIRST_RETRY, Vec::new());
        loop {
            match self.project_next(std::mem::take(&mut ahead)).await {
                Ok(read) => (retry, ahead) = (FIRST_RETRY, read),
                Err(error) => {
                    self.note_out_of_reach();
                    let position = self.stored.get();
                    tracing::warn!(%error, position, "the books can't be written; trying again");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Projects what was read ahead, or else what the journal has; answers what it read ahead meanwhile. Then rests.
    async fn project_next(&self, ahead: Vec<Record>) -> Result<Vec<Record>, Error> {
        let lease = self.join_books().await?;
        let reached = self.stored.get();
        let records = if ahead.first().is_some_and(|record| record.position == reached + 1) {
            ahead
        } else {
            self.writer.wait_beyond(reached).await;
            self.journal.read(reached + 1, BATCH).await?
        };
        if records.is_empty() {
            return Ok(records);
        }
        let (watch, durable) = (Stopwatch::start(), self.writer.durable_position());
        let (project, read) = (self.store.project(lease, &records), read_ahead(&self.journal, &records));
        let (projected, ahead) = future::join(project, read).await;
        if let Err(StoreError::Damaged(what)) = &projected {
            // Never skipped: from here on the books would be wrong. Somebody must look, and until then they stand still.
            if self.metrics.store_stopped.get() == 0 {
                tracing::error!(what, position = reached + 1, "the books refuse a record and stand still");
            }
            self.metrics.store_stopped.set(1);
        }
        let position = self.guard_books(projected)?;
        self.note_stored(&records).await;
        self.note_taken(position, &records);
        self.stored.set(position);
        self.metrics.projected.reach(position);
        self.metrics.store_up.set(1);
        self.metrics.store_stopped.set(0);
        let grown = self.writer.durable_position() - durable;
        let rests =
            if ahead.is_empty() { self.may_begin() } else { is_busy(records.len(), grown) && !self.must_follow() };
        if rests {
            let rest = watch.elapsed() * REST;
            let rest = if ahead.is_empty() { rest.min(LONGEST_REST) } else { rest };
            // Not while somebody waits for the books.
            let _ = tokio::time::timeout(rest, self.stored.wanted()).await;
        }
        Ok(ahead)
    }

    /// Keeps the lease on the books from running out, until the task is dropped.
    pub async fn run_lease(self: Arc<Self>) {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match self.renew_lease().await {
                // With something to write, only writing it shows that the books can be written.
                Ok(true) if self.books_lag() == 0 => self.metrics.store_up.set(1),
                Ok(_) => {}
                Err(error) => {
                    self.note_out_of_reach();
                    tracing::warn!(%error, "the lease on the books can't be renewed; trying again");
                }
            }
        }
    }

    /// Watches the size of the journal, until the task is dropped.
    pub async fn run_journal_watch(self: Arc<Self>) {
        loop {
            if let Err(error) = self.measure_journal().await {
                tracing::warn!(%error, "the journal's size can't be read");
            }
            tokio::time::sleep(MEASURE_EVERY).await;
        }
    }

    pub(super) async fn measure_journal(&self) -> Result<(), Error> {
        let limit = self.tuning.journal_max;
        let mut bytes = self.journal.size().await?;
        if bytes >= limit / 5 * 4 {
            // Not only when the next snapshots are due: what the books have needn't stay. The size is watched, whatever a
            // verification takes.
            if let Ok(alone) = self.trimming.try_write() {
                self.trim_journal(alone).await;
            }
            bytes = self.journal.size().await?;
            if bytes >= limit / 5 * 4 && self.is_round_worthwhile() {
                self.round.notify_one();
            }
        }
        let before = self.metrics.journal_bytes.get().unsigned_abs();
        self.metrics.journal_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let (is_full, was_full) = (bytes >= limit, self.is_journal_full());
        self.metrics.journal_full.set(is_full.into());
        if is_full && !was_full {
            tracing::error!(bytes, limit, "the journal is full: nothing new is held until the books follow");
        } else if was_full && !is_full {
            tracing::info!(bytes, limit, "the journal has room again");
        } else if !is_full && (before + 1..=bytes).contains(&(limit / 5 * 4)) {
            tracing::warn!(bytes, limit, "the journal is four fifths full, because the books don't follow");
        }
        Ok(())
    }

    /// Whether it will be full soon.
    pub(super) fn is_journal_filling(&self) -> bool {
        self.metrics.journal_bytes.get().unsigned_abs() >= self.tuning.journal_max / 2
    }

    pub(super) fn is_journal_full(&self) -> bool {
        self.metrics.journal_full.get() != 0
    }

    /// Lets memory forget what the books have.
    async fn note_stored(&self, records: &[Record]) {
        // In the same order each time, because others run in between.
        let mut last: BTreeMap<&OrganizationId, u64> = BTreeMap::new();
        for record in records {
            if let Stream::Organization(id) = &record.stream {
                last.insert(id, record.sequence);
            }
        }
        for (id, sequence) in last {
            if let Some(cell) = self.directory.find(id) {
                cell.lock().stored = sequence;
                self.forget(&cell).await;
            }
        }
    }

    /// Lets nothing find those keys any more, under the lock of the organization that has forgotten them. Answers whether there were any.
    fn forget_keys(&self, keys: &mut Vec<KeyId>) -> bool {
        if keys.is_empty() {
            return false;
        }
        let mut system = self.system.lock();
        for id in keys.drain(..) {
            if let Some(Registration { hash, previous, .. }) = system.forget_key(&id) {
                let previous = previous.map(|previous| previous.0);
                self.directory.forget_key(&id, [hash].into_iter().chain(previous));
            }
        }
        true
    }

    /// Forgets what is over for long enough and in the books.
    pub(super) async fn forget(&self, cell: &Cell) {
        let now = self.clock.now();
        let before = now - self.tuning.remember;
        let (mut keys, mut forgot_keys) = (Vec::new(), false);
        loop {
            let forgotten = {
                let mut inner = cell.lock();
                let stored = inner.stored;
                let ended = inner.state.forget_ended(now, self.tuning.remember_ended, stored, &mut keys);
                forgot_keys |= self.forget_keys(&mut keys);
                inner.state.forget(before, self.tuning.remember_at_most, stored) + ended
            };
            if forgotten == 0 {
                if forgot_keys {
                    self.directory.shrink();
                }
                return;
            }
            // There may be thousands of them, and others to run here.
            tokio::task::yield_now().await;
        }
    }
}
