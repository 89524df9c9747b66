//! Saves the state beside the journal, organization by organization, and trims what nobody needs any more.

use std::sync::{Arc, atomic::Ordering};

use tokio::sync::RwLockWriteGuard;

use super::{Error, Service};
use crate::{
    domain::{event::Stream, snapshot::Snapshot},
    engine::directory::Cell,
};

/// Version of the encoded states; a snapshot of another one isn't read.
const VERSION: u8 = 2;
/// Organizations to save in one transaction, whose end is waited for, and the bytes that are enough for one.
const AT_ONCE: usize = 1024;
pub(super) const BYTES_AT_ONCE: usize = 4 << 20;

/// # Errors
/// [`Error::Internal`] when it can't be encoded, which is a defect.
pub(super) fn encode<T: serde::Serialize>(state: &T) -> Result<Vec<u8>, Error> {
    postcard::to_extend(state, vec![VERSION]).map_err(|error| Error::Internal(format!("a snapshot: {error}")))
}

/// # Errors
/// [`Error::Internal`], saying what is wrong with the bytes.
pub(super) fn decode<T: serde::de::DeserializeOwned>(stream: &Stream, bytes: &[u8]) -> Result<T, Error> {
    let damaged = |what: String| {
        Error::Internal(format!("the snapshot of {stream:?} {what}; restore the whole data directory from one backup"))
    };
    match bytes.split_first() {
        Some((&VERSION, state)) => {
            postcard::from_bytes(state).map_err(|error| damaged(format!("can't be read: {error}")))
        }
        Some((version, _)) => Err(damaged(format!("has version {version}, this is {VERSION}"))),
        None => Err(damaged(String::from("is empty"))),
    }
}

impl Service {
    /// Saves rounds of snapshots until the task is dropped.
    pub async fn run_snapshots(self: Arc<Self>) {
        let mut rounds = tokio::time::interval(self.tuning.snapshot_every);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        rounds.tick().await;
        loop {
            tokio::select! {
                biased;
                _ = rounds.tick() => {}
                () = self.round.notified() => {}
            }
            if let Err(error) = self.end_expired_tokens().await {
                tracing::warn!(%error, "expired tokens can't be ended; the next round does it");
            }
            if let Err(error) = self.save_snapshots().await {
                tracing::warn!(%error, "snapshots can't be saved; the journal is kept");
            }
        }
    }

    /// One round: everything that changed since its last snapshot, then trims the journal behind the older of snapshots and
    /// books.
    ///
    /// # Errors
    /// [`Error`] when a snapshot can't be saved, and the journal is kept; or when the journal's size can't be read.
    pub async fn save_snapshots(&self) -> Result<(), Error> {
        let from = self.writer.durable_position();
        let system = {
            let system = self.system.lock();
            (system.sequence, system.clone())
        };
        let position = self.writer.assigned_position();
        let state = encode(&system.1)?;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for cell in self.directory.all() {
            self.forget(&cell).await;
            let Some(snapshot) = snapshot_of(&cell)? else { continue };
            bytes += snapshot.state.len();
            batch.push(snapshot);
            if batch.len() == AT_ONCE || bytes >= BYTES_AT_ONCE {
                self.save(std::mem::take(&mut batch)).await?;
                bytes = 0;
            }
        }
        self.save(batch).await?;
        // Last: should damage bring older snapshots back, this one is among them, and its position tells at the next start.
        self.save(vec![Snapshot { stream: Stream::System, sequence: system.0, position, state }]).await?;
        self.saved.store(from, Ordering::Release);
        self.trim_journal(self.trimming.write().await).await;
        self.measure_journal().await?;
        if let Err(error) = self.mirror(from).await {
            tracing::warn!(%error, "the books can't keep what a server is built from; the next round does it");
        }
        Ok(())
    }

    /// Behind the older of the last whole round and the books. What stays because that failed is trimmed the next time.
    pub(super) async fn trim_journal(&self, _alone: RwLockWriteGuard<'_, ()>) {
        let saved = self.saved.load(Ordering::Acquire);
        if let Err(error) = self.journal.trim(saved.min(self.stored.get())).await {
            tracing::warn!(%error, "the journal can't be trimmed");
        }
    }

    /// Whether a round now would let the journal be trimmed further.
    pub(super) fn is_round_worthwhile(&self) -> bool {
        self.stored.get() > self.saved.load(Ordering::Acquire)
    }

    /// A snapshot must never be ahead of the journal on disk: a crash would leave a state that no journal explains.
    async fn save(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        let Some(position) = snapshots.iter().map(|snapshot| snapshot.position).max() else { return Ok(()) };
        self.writer.wait_durable(position).await?;
        let saved: Vec<_> = snapshots.iter().map(|snapshot| (snapshot.stream.clone(), snapshot.sequence)).collect();
        self.snapshots.save(&snapshots).await?;
        for (stream, sequence) in saved {
            let Stream::Organization(id) = stream else { continue };
            if let Some(cell) = self.directory.find(&id) {
                cell.lock().saved = sequence;
            }
        }
        Ok(())
    }
}

/// Cloned under the lock, encoded outside of it; `None` where nothing changed since the last one.
fn snapshot_of(cell: &Cell) -> Result<Option<Snapshot>, Error> {
    let (state, position) = {
        let inner = cell.lock();
        if inner.saved == inner.state.sequence {
            return Ok(None);
        }
        (inner.state.clone(), inner.position)
    };
    let stream = Stream::Organization(cell.id.clone());
    Ok(Some(Snapshot { stream, sequence: state.sequence, position, state: encode(&state)? }))
}
