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
/// Beyond the longest lag as much may end as a half of what the books took of that, so that memory shrinks while work goes on…
const SHARE: u64 = 2;
/// … and something in any case, also while what they take is other things.
const LEAST_SHARE: u64 = 16;

/// Up to where work may begin while the books can be reached, counted in endings: of reservations, and charges. Only those stay in
/// memory until the books have them.
#[derive(Debug)]
pub(super) struct Begin {
    ended: AtomicU64,
    /// Those of them that the books have; only the projector changes it.
    stored: AtomicU64,
    /// Endings up to which something may begin.
    until: AtomicU64,
}

impl Begin {
    /// What ended before this start counts as stored: a backlog of then holds nothing back.
    pub(super) fn new(longest: u64) -> Self {
        Self { ended: AtomicU64::new(0), stored: AtomicU64::new(0), until: AtomicU64::new(longest) }
    }

    pub(super) fn note_ended(&self, endings: u64) {
        if endings > 0 {
            self.ended.fetch_add(endings, Relaxed);
        }
    }

    fn may(&self) -> bool {
        self.ended.load(Relaxed) < self.until.load(Relaxed)
    }

    /// The books have taken so many records, so many endings among them, and lack no more than `lag` records.
    fn advance(&self, records: u64, endings: u64, lag: u64, longest: u64) {
        let ended = self.ended.load(Relaxed);
        // What they took while their answer was lost isn't counted: but they lack no more endings than records.
        let stored = (self.stored.load(Relaxed) + endings).max(ended.saturating_sub(lag));
        self.stored.store(stored, Relaxed);
        let more = (endings / SHARE).max(records / LEAST_SHARE);
        self.until.store(stored.saturating_add(longest).max(ended.saturating_add(more)), Relaxed);
    }
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
        self.is_journal_filling() || self.books_lag() > MAX_LAG / 2
    }

    /// The books have reached a position, by so many records and endings among them. To be called before those who wait are.
    pub(super) fn let_begin(&self, stored: u64, records: usize, endings: usize) {
        let lag = self.writer.assigned_position().saturating_sub(stored);
        self.begin.advance(records as u64, endings as u64, lag, self.tuning.longest_lag);
    }

    /// Whether something may begin: a Reserve, or a Charge of what wasn't used yet.
    pub fn may_begin(&self) -> bool {
        self.begin.may() || self.metrics.store_up.get() == 0
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
    fn beyond_the_longest_lag_half_as_much_may_end_as_the_books_take() {
        let begin = Begin::new(1000);
        begin.note_ended(999);
        assert!(begin.may(), "up to the longest lag nothing is held back");
        begin.note_ended(1);
        assert!(!begin.may());
        begin.advance(400, 200, 1_000_000, 1000);
        begin.note_ended(199);
        assert!(begin.may());
        begin.note_ended(1);
        assert!(!begin.may(), "they lack a thousand again");
        begin.note_ended(89_000);
        begin.advance(400, 200, 1_000_000, 1000);
        begin.note_ended(99);
        assert!(begin.may(), "however far behind: they took as many twice");
        begin.note_ended(1);
        assert!(!begin.may());
        begin.advance(160, 0, 1_000_000, 1000);
        begin.note_ended(9);
        assert!(begin.may(), "it never stands still");
        begin.note_ended(1);
        assert!(!begin.may());
    }

    #[test]
    fn what_the_books_took_unseen_is_counted_once_they_follow() {
        let begin = Begin::new(1000);
        begin.note_ended(5000);
        begin.advance(16, 0, 10, 1000);
        begin.note_ended(989);
        assert!(begin.may(), "they lack ten records at most");
        begin.note_ended(1);
        assert!(!begin.may());
    }
}
