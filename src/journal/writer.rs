//! Group commit: one task writes what all organizations enqueue, in bounded batches, and wakes those who wait for the disk.
//!
//! A push never waits and never fails, because the state has changed by then; who may not push asks for room before. The
//! records of one push are never split over two batches, so that an operation is on disk as a whole or not at all.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use super::{AppendError, Journal};
use crate::{clock::Stopwatch, domain::event::Record, telemetry::Metrics};

#[cfg(test)]
mod tests;

/// Most records in a batch, unless one push alone has more: what comes in behind must not wait long.
const MAX_BATCH: usize = 4096;
/// Records that there stays room for: what one burst needed isn't kept for ever.
const KEPT_ROOM: usize = 2 * MAX_BATCH;
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// How the writer collects.
#[derive(Debug, Clone, Copy)]
pub struct Collecting {
    /// How long records that nobody waits for may stay in memory.
    pub window: Duration,
    /// Records beyond which [`Writer::has_room`] says no.
    pub capacity: usize,
}

/// The records may or may not reach the disk later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal can't be written")]
pub struct JournalFailed;

/// A handle to the writing task; clones share it.
#[derive(Clone)]
pub struct Writer(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    waiters: Mutex<BinaryHeap<Reverse<Waiter>>>,
    /// Last position on disk. Stored before waiters are woken, read by them under their lock: none is missed.
    durable: AtomicU64,
    durable_watch: watch::Sender<u64>,
    /// Records that aren't on disk.
    queued: AtomicUsize,
    capacity: usize,
    failed: AtomicBool,
    /// Set for good when what is on disk isn't known any more.
    fatal: watch::Sender<Option<String>>,
    filled: Notify,
    urgent: Notify,
    room: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Queue {
    records: Vec<Record>,
    /// Length of each push.
    pushes: Vec<usize>,
    assigned: u64,
}

struct Waiter {
    position: u64,
    wake: oneshot::Sender<Result<(), JournalFailed>>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.position == other.position
    }
}

impl Eq for Waiter {}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.position.cmp(&other.position)
    }
}

impl Writer {
    /// Starts the writing task, which continues after `position`.
    pub fn start(journal: Arc<dyn Journal>, position: u64, collecting: Collecting, metrics: Arc<Metrics>) -> Self {
        metrics.enqueued.reach(position);
        metrics.durable.reach(position);
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue { assigned: position, ..Queue::default() }),
            waiters: Mutex::default(),
            durable: AtomicU64::new(position),
            durable_watch: watch::Sender::new(position),
            queued: AtomicUsize::new(0),
            capacity: collecting.capacity,
            failed: AtomicBool::new(false),
            fatal: watch::Sender::new(None),
            filled: Notify::new(),
            urgent: Notify::new(),
            room: Notify::new(),
            metrics,
        });
        let writing = tokio::spawn(write(Arc::clone(&shared), journal, collecting.window));
        let guarded = Arc::clone(&shared);
        tokio::spawn(async move {
            // It ends by itself only after it has failed for good.
            if let Err(error) = writing.await {
                guarded.fail_for_good(error.to_string());
            }
        });
        Self(shared)
    }

    /// Enqueues the records of one operation and gives them their positions. Answers the last.
    pub fn push(&self, records: impl IntoIterator<Item = Record>) -> u64 {
        let mut guard = self.0.queue.lock();
        let queue = &mut *guard;
        let before = queue.records.len();
        for mut record in records {
            queue.assigned += 1;
            record.position = queue.assigned;
            queue.records.push(record);
        }
        let pushed = queue.records.len() - before;
        queue.pushes.push(pushed);
        let position = queue.assigned;
        // Under the lock, so that it is never taken off before it was added.
        self.0.queued.fetch_add(pushed, Relaxed);
        drop(guard);
        self.0.metrics.enqueued.reach(position);
        if before == 0 {
            self.0.filled.notify_one();
        }
        position
    }

    /// # Errors
    /// [`JournalFailed`] when the disk takes no writes at present.
    pub async fn wait_durable(&self, position: u64) -> Result<(), JournalFailed> {
        if self.durable_position() >= position {
            return Ok(());
        }
        let (wake, woken) = oneshot::channel();
        {
            let mut waiters = self.0.waiters.lock();
            if self.durable_position() >= position {
                return Ok(());
            }
            if self.is_failed() {
                return Err(JournalFailed);
            }
            waiters.push(Reverse(Waiter { position, wake }));
        }
        self.0.urgent.notify_one();
        woken.await.unwrap_or(Err(JournalFailed))
    }

    /// Waits until something beyond `position` is on disk.
    pub async fn wait_beyond(&self, position: u64) {
        let mut durable = self.0.durable_watch.subscribe();
        // The sender lives as long as this handle.
        let _ = durable.wait_for(|reached| *reached > position).await;
    }

    pub fn has_room(&self) -> bool {
        self.0.queued.load(Relaxed) < self.0.capacity
    }

    pub async fn wait_for_room(&self) {
        while !self.has_room() {
            let room = self.0.room.notified();
            if self.has_room() {
                return;
            }
            room.await;
        }
    }

    /// True while the last write failed: nothing new should be decided.
    pub fn is_failed(&self) -> bool {
        self.0.failed.load(SeqCst)
    }

    pub fn durable_position(&self) -> u64 {
        self.0.durable.load(SeqCst)
    }

    /// The last position given out.
    pub fn assigned_position(&self) -> u64 {
        self.0.queue.lock().assigned
    }

    /// Waits until all that was enqueued is on disk.
    ///
    /// # Errors
    /// [`JournalFailed`] when the disk takes no writes.
    pub async fn drain(&self) -> Result<(), JournalFailed> {
        self.wait_durable(self.assigned_position()).await
    }

    /// Why it isn't known any more what is on disk, if so.
    pub fn lost(&self) -> Option<String> {
        self.0.fatal.borrow().clone()
    }

    /// Completes when it isn't known any more what is on disk, and says why: the process must end, and recover from disk.
    pub async fn failed_for_good(&self) -> String {
        let mut fatal = self.0.fatal.subscribe();
        match fatal.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// The writing task.
async fn write(shared: Arc<Shared>, journal: Arc<dyn Journal>, window: Duration) {
    // Handed to and fro, so that the queue needn't grow anew under its lock.
    let (mut records, mut pushes) = (Vec::new(), Vec::new());
    loop {
        shared.filled.notified().await;
        let mut window = std::pin::pin!(tokio::time::sleep(window));
        // Looked at again after each notice, which may be of somebody who was served meanwhile.
        while shared.waiters.lock().is_empty() {
            // In this order, so that what happens depends on nothing but what came in when.
            tokio::select! {
                biased;
                () = &mut window => break,
                () = shared.urgent.notified() => {}
            }
        }
        {
            let mut queue = shared.queue.lock();
            std::mem::swap(&mut queue.records, &mut records);
            std::mem::swap(&mut queue.pushes, &mut pushes);
        }
        let (mut rest, mut lengths) = (&records[..], pushes.iter().copied().peekable());
        while let Some(first) = lengths.next() {
            let mut length = first;
            while let Some(next) = lengths.next_if(|next| length + next <= MAX_BATCH) {
                length += next;
            }
            let (batch, behind) = rest.split_at(length);
            rest = behind;
            if !shared.append(&*journal, batch).await {
                return;
            }
        }
        records.clear();
        records.shrink_to(KEPT_ROOM);
        pushes.clear();
        pushes.shrink_to(KEPT_ROOM);
    }
}

impl Shared {
    /// Writes a batch, however long it takes; false when it never will be, or none after it.
    async fn append(&self, journal: &dyn Journal, batch: &[Record]) -> bool {
        let Some(last) = batch.last() else { return true };
        let mut retry = FIRST_RETRY;
        loop {
            let stopwatch = Stopwatch::start();
            match journal.append(batch).await {
                Ok(()) => {
                    let micros = stopwatch.elapsed().as_micros();
                    self.metrics.journal_write_micros.add(u64::try_from(micros).unwrap_or(u64::MAX));
                    self.note_durable(last.position, batch.len());
                    return self.checkpoint(journal).await;
                }
                Err(AppendError::Retry(why)) => {
                    if !self.failed.swap(true, SeqCst) {
                        tracing::error!(why, position = last.position, "the journal can't be written; trying again");
                    }
                    self.metrics.journal_failing.set(1);
                    self.fail_waiters();
                    tokio::time::sleep(retry).await;
                    retry = (retry * 2).min(LAST_RETRY);
                }
                Err(AppendError::Fatal(why)) => {
                    self.fail_for_good(why);
                    return false;
                }
            }
        }
    }

    /// False when nothing may be written any more.
    async fn checkpoint(&self, journal: &dyn Journal) -> bool {
        match journal.checkpoint().await {
            Ok(()) => true,
            Err(AppendError::Retry(why)) => {
                tracing::warn!(why, "the journal's log can't be copied into its file; it grows until it can");
                true
            }
            Err(AppendError::Fatal(why)) => {
                self.fail_for_good(why);
                false
            }
        }
    }

    fn note_durable(&self, position: u64, records: usize) {
        if self.failed.swap(false, SeqCst) {
            tracing::info!(position, "the journal is written again");
            self.metrics.journal_failing.set(0);
        }
        self.durable.store(position, SeqCst);
        self.queued.fetch_sub(records, Relaxed);
        self.metrics.durable.reach(position);
        self.metrics.journal_batches.increment();
        {
            let mut waiters = self.waiters.lock();
            while waiters.peek().is_some_and(|Reverse(first)| first.position <= position) {
                if let Some(Reverse(waiter)) = waiters.pop() {
                    // Who doesn't wait any more needs no answer.
                    let _ = waiter.wake.send(Ok(()));
                }
            }
        }
        self.durable_watch.send_replace(position);
        self.room.notify_waiters();
    }

    fn fail_for_good(&self, why: String) {
        self.failed.store(true, SeqCst);
        self.fail_waiters();
        self.fatal.send_replace(Some(why));
    }

    fn fail_waiters(&self) {
        for Reverse(waiter) in self.waiters.lock().drain() {
            let _ = waiter.wake.send(Err(JournalFailed));
        }
    }
}
