//! Placeholder of the group-commit writer while it is built.
use super::Journal;
use crate::domain::event::Record;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::{Notify, watch};

#[derive(Debug, thiserror::Error)]
#[error("journal failed")]
pub struct JournalFailed;

struct Shared {
    queue: Mutex<(Vec<Record>, u64)>,
    durable: watch::Sender<u64>,
    wake: Notify,
}
#[derive(Clone)]
pub struct Writer(Arc<Shared>);
impl Writer {
    pub fn start(journal: Arc<dyn Journal>, position: u64) -> Self {
        let w = Self(Arc::new(Shared {
            queue: Mutex::new((Vec::new(), position)),
            durable: watch::Sender::new(position),
            wake: Notify::new(),
        }));
        let s = w.clone();
        tokio::spawn(async move {
            loop {
                s.0.wake.notified().await;
                let batch = std::mem::take(&mut s.0.queue.lock().0);
                if batch.is_empty() {
                    continue;
                }
                let last = batch.last().map_or(0, |r| r.position);
                if journal.append(&batch).await.is_ok() {
                    s.0.durable.send_replace(last);
                }
            }
        });
        w
    }
    pub fn push(&self, records: impl IntoIterator<Item = Record>) -> u64 {
        let mut q = self.0.queue.lock();
        for mut r in records {
            q.1 += 1;
            r.position = q.1;
            q.0.push(r);
        }
        let p = q.1;
        drop(q);
        self.0.wake.notify_one();
        p
    }
    pub async fn wait_durable(&self, position: u64) -> Result<(), JournalFailed> {
        self.0.durable.subscribe().wait_for(|d| *d >= position).await.map(|_| ()).map_err(|_| JournalFailed)
    }
    pub async fn wait_beyond(&self, position: u64) {
        let _ = self.wait_durable(position + 1).await;
    }
    pub fn has_room(&self) -> bool {
        true
    }
    pub async fn wait_for_room(&self) {}
    pub fn is_failed(&self) -> bool {
        false
    }
    pub fn durable_position(&self) -> u64 {
        *self.0.durable.borrow()
    }
    pub fn assigned_position(&self) -> u64 {
        self.0.queue.lock().1
    }
}
