//! Drains the journal into the books. Decisions never wait for it; reads of the books do.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{Error, Service};
use crate::{
    domain::{
        event::{Record, Stream},
        id::OrganizationId,
    },
    engine::directory::Cell,
};

/// Records to project in one transaction, roughly: the journal is read by whole batches.
const BATCH: usize = 4096;
/// How long a read waits for the books where its caller sets no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Journal positions that the books may lag behind and still count as following: a few seconds' worth.
const MAX_LAG: u64 = 100_000;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

impl Service {
    /// Projects what the journal makes durable, until the task is dropped. With the books down it tries again.
    pub async fn run_projector(self: Arc<Self>) {
        let mut retry = FIRST_RETRY;
        loop {
            let reached = *self.stored.borrow();
            self.writer.wait_beyond(reached).await;
            match self.project(reached).await {
                Ok(()) => retry = FIRST_RETRY,
                Err(error) => {
                    self.metrics.store_up.set(0);
                    tracing::warn!(%error, position = reached, "the books can't be written; trying again");
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    async fn project(&self, reached: u64) -> Result<(), Error> {
        let records = self.journal.read(reached + 1, BATCH).await?;
        let Some(last) = records.last() else { return Ok(()) };
        self.store.project(&records).await?;
        let position = last.position;
        self.note_stored(&records);
        self.stored.send_replace(position);
        self.metrics.projected.reach(position);
        self.metrics.store_up.set(1);
        Ok(())
    }

    /// Lets memory forget what the books have.
    fn note_stored(&self, records: &[Record]) {
        let mut last: HashMap<&OrganizationId, u64> = HashMap::new();
        for record in records {
            if let Stream::Organization(id) = &record.stream {
                last.insert(id, record.sequence);
            }
        }
        for (id, sequence) in last {
            if let Some(cell) = self.directory.find(id) {
                cell.lock().stored = sequence;
                self.forget(&cell);
            }
        }
    }

    /// Forgets what is over for long enough and in the books.
    pub(super) fn forget(&self, cell: &Cell) {
        let before = self.clock.now() - self.tuning.remember;
        loop {
            let mut inner = cell.lock();
            let stored = inner.stored;
            if inner.state.forget(before, self.tuning.remember_at_most, stored) == 0 {
                return;
            }
        }
    }

    /// Waits until the books have reached a journal position.
    pub(super) async fn wait_stored(&self, position: u64) -> Result<(), Error> {
        let mut stored = self.stored.subscribe();
        let reached = stored.wait_for(|reached| *reached >= position);
        match tokio::time::timeout(LONGEST_WAIT, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::StoreUnavailable(String::from("the server is stopping"))),
            Err(_) => {
                Err(Error::StoreUnavailable(format!("they lag behind, at {} of {position}", *self.stored.borrow())))
            }
        }
    }

    /// Whether the books follow the journal closely enough to be read.
    pub fn books_follow(&self) -> bool {
        self.writer.durable_position().saturating_sub(*self.stored.borrow()) <= MAX_LAG
    }
}
