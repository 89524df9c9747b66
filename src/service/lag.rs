//! How far the books lag behind the journal, and what follows from it: for reads, which wait for them; for readiness; and for what
//! begins anew. What the books lack stays in memory, so beyond a lag work begins no faster than they follow.
//!
//! With the books out of reach everything goes on, until the journal is full. What runs is settled, however far they lag.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::{Error, Service};

/// How long a read waits for the books where its caller sets no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Journal positions that the books may lag behind and still count as following: a few seconds' worth.
const MAX_LAG: u64 = 100_000;
/// Beyond the longest lag the journal grows by a half of what the books take, so that it gets shorter while work goes on.
const SHARE: u64 = 2;

/// Journal position up to which work may begin while the books can be reached.
#[derive(Debug)]
pub(super) struct Begin(AtomicU64);

impl Begin {
    /// For books that have reached `stored` of a journal that has reached `durable`.
    pub(super) fn new(stored: u64, durable: u64, longest: u64) -> Self {
        Self(AtomicU64::new(up_to(stored, durable, 0, longest)))
    }
}

fn up_to(stored: u64, durable: u64, projected: u64, longest: u64) -> u64 {
    stored.saturating_add(longest).max(durable.saturating_add(projected / SHARE))
}

impl Service {
    pub(super) fn books_lag(&self) -> u64 {
        self.writer.durable_position().saturating_sub(self.stored.get())
    }

    /// Whether the books can be read, and follow the journal closely enough.
    pub fn books_follow(&self) -> bool {
        self.metrics.store_up.get() == 1 && self.metrics.store_stopped.get() == 0 && self.books_lag() <= MAX_LAG
    }

    /// Whether the books must have the machine that they need, more than decisions.
    pub(super) fn must_follow(&self) -> bool {
        self.is_journal_filling() || self.books_lag() > self.tuning.longest_lag / 2
    }

    /// The books have reached a position, by so many records. To be called before those who wait for it are.
    pub(super) fn let_begin(&self, stored: u64, records: usize) {
        let durable = self.writer.durable_position();
        self.begin.0.store(up_to(stored, durable, records as u64, self.tuning.longest_lag), Relaxed);
    }

    /// Whether something may begin: a Reserve, or a Charge of what wasn't used yet.
    pub fn may_begin(&self) -> bool {
        self.writer.durable_position() < self.begin.0.load(Relaxed) || self.metrics.store_up.get() == 0
    }

    /// Refuses what may not begin: for those who must be answered at once.
    ///
    /// # Errors
    /// [`Error::BooksLag`]
    pub(super) fn check_may_begin(&self) -> Result<(), Error> {
        if self.may_begin() {
            return Ok(());
        }
        self.metrics.overloaded.increment();
        Err(Error::BooksLag)
    }

    /// Waits until something may begin.
    pub async fn wait_to_begin(&self) {
        loop {
            // Made before the look, so that a move after it is heard.
            let moved = self.stored.moved();
            if self.may_begin() {
                return;
            }
            moved.await;
        }
    }

    /// Waits until the books have reached a journal position.
    pub(super) async fn wait_stored(&self, position: u64) -> Result<(), Error> {
        let lags = |_| Error::StoreUnavailable(format!("they lag behind, at {} of {position}", self.stored.get()));
        tokio::time::timeout(LONGEST_WAIT, self.stored.reach(position)).await.map_err(lags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_longest_lag_the_journal_grows_by_half_of_what_the_books_take() {
        assert_eq!(up_to(500, 700, 64, 1000), 1500, "up to the longest lag nothing holds work back");
        assert_eq!(up_to(500, 1500, 64, 1000), 1532);
        assert_eq!(up_to(500, 90_000, 64, 1000), 90_032, "also after they were out of reach for long");
        assert_eq!(up_to(500, 1500, 0, 1000), 1500);
        assert_eq!(up_to(500, 700, 64, u64::MAX), u64::MAX);
    }
}
