//! How far the books are written, and who waits for them. Whoever waits longest is woken first.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use tokio::sync::{Notify, futures::Notified, watch};

/// A journal position.
#[derive(Debug)]
pub(super) struct Stored {
    position: AtomicU64,
    moved: Notify,
    /// How many wait for a position.
    waiting: watch::Sender<usize>,
}

/// One of those who wait, however it ends.
struct Waiting<'a>(&'a watch::Sender<usize>);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a watch::Sender<usize>) -> Self {
        waiting.send_modify(|count| *count += 1);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

impl Stored {
    pub(super) fn new(position: u64) -> Self {
        Self { position: AtomicU64::new(position), moved: Notify::new(), waiting: watch::Sender::new(0) }
    }

    pub(super) fn get(&self) -> u64 {
        self.position.load(SeqCst)
    }

    pub(super) fn set(&self, position: u64) {
        self.position.store(position, SeqCst);
        self.announce();
    }

    /// Lets those who wait look again.
    pub(super) fn announce(&self) {
        self.moved.notify_waiters();
    }

    /// Until the next move, counted from the call on.
    pub(super) fn moved(&self) -> Notified<'_> {
        self.moved.notified()
    }

    /// Completes once somebody waits.
    pub(super) async fn wanted(&self) {
        // The sender lives as long as this.
        let _ = self.waiting.subscribe().wait_for(|count| *count > 0).await;
    }

    pub(super) async fn reach(&self, position: u64) {
        if self.get() >= position {
            return;
        }
        let _waiting = Waiting::new(&self.waiting);
        loop {
            // Made before the look, so that a move after it is heard.
            let moved = self.moved();
            if self.get() >= position {
                return;
            }
            moved.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt as _, future};

    use super::*;

    #[tokio::test]
    async fn it_is_wanted_while_somebody_waits_and_no_longer() {
        let stored = Stored::new(5);
        assert_eq!(stored.reach(5).now_or_never(), Some(()));
        assert_eq!(stored.wanted().now_or_never(), None, "nobody waits");
        let waiting = stored.reach(6);
        {
            tokio::pin!(waiting);
            assert_eq!(future::poll_immediate(&mut waiting).await, None);
            assert_eq!(stored.wanted().now_or_never(), Some(()));
            stored.set(6);
            assert_eq!(future::poll_immediate(&mut waiting).await, Some(()));
        }
        assert_eq!(stored.wanted().now_or_never(), None, "it was reached");
        let mut gone = Box::pin(stored.reach(7));
        assert_eq!(future::poll_immediate(&mut gone).await, None);
        drop(gone);
        assert_eq!(stored.wanted().now_or_never(), None, "who waited gave up");
    }
}
