//! How far the books are written, and who waits for them. Whoever waits longest is woken first.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::Notify;

/// A journal position.
#[derive(Debug)]
pub(super) struct Stored {
    position: AtomicU64,
    moved: Notify,
}

impl Stored {
    pub(super) fn new(position: u64) -> Self {
        Self { position: AtomicU64::new(position), moved: Notify::new() }
    }

    pub(super) fn get(&self) -> u64 {
        self.position.load(SeqCst)
    }

    pub(super) fn set(&self, position: u64) {
        self.position.store(position, SeqCst);
        self.moved.notify_waiters();
    }

    pub(super) async fn reach(&self, position: u64) {
        loop {
            // Made before the look, so that a move after it is heard.
            let moved = self.moved.notified();
            if self.get() >= position {
                return;
            }
            moved.await;
        }
    }
}
