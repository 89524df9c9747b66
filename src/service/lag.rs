//! How far the books lag behind the journal, and what follows from it: for reads, which wait for them; for readiness; and for what
//! begins anew. What the books lack stays in memory, so beyond a lag work begins no faster than they follow.
//!
//! With the books out of reach everything goes on, until the journal is full. What runs is settled, however far they lag.

use std::{
    sync::atomic::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use super::{Error, Service, projector::BATCH};
use crate::{
    domain::event::{Event, Record},
    telemetry::Overload,
};

/// How long a read waits for the books where its caller sets no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Journal positions that the books may lag behind and still count as following: a few seconds' worth.
const MAX_LAG: u64 = 100_000;
/// Beyond the longest lag, of what the books took this part doesn't begin anew: memory shrinks while nearly all goes on.
const HELD_BACK: u64 = 8;

/// Beginnings and endings among some records.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moves {
    begun: u64,
    ended: u64,
}

impl Moves {
    pub(super) fn of(records: &[Record]) -> Self {
        let count = |what: fn(&Event) -> bool| records.iter().filter(|record| what(&record.event)).count() as u64;
        Self { begun: count(Event::is_beginning), ended: count(Event::is_ending) }
    }
}

/// What may begin while the books can be reached. Counted are beginnings (holds, and charges) and endings (of reservations, and the
/// same charges): what ended stays in memory until the books have it, and what has begun ends whatever they do.
#[derive(Debug)]
pub(super) struct Begin {
    begun: AtomicU64,
    /// Beginnings up to which something may begin, however far the books lag.
    until: AtomicU64,
    ended: AtomicU64,
    /// Those of the endings that the books have. Only the projector changes it.
    stored: AtomicU64,
    longest: u64,
    /// Where the journal ended when the server started: what ended before isn't counted, so that no backlog of then holds back.
    start: u64,
}

impl Begin {
    pub(super) fn new(start: u64, longest: u64) -> Self {
        let zero = AtomicU64::default;
        Self { begun: zero(), until: zero(), ended: zero(), stored: zero(), longest, start }
    }

    /// What was enqueued: not sooner, because the books lack nothing that isn't.
    pub(super) fn note(&self, enqueued: Moves) {
        for (counted, more) in [(&self.begun, enqueued.begun), (&self.ended, enqueued.ended)] {
            if more > 0 {
                counted.fetch_add(more, Relaxed);
            }
        }
    }

    fn may(&self) -> bool {
        let lack = self.ended.load(Relaxed).saturating_sub(self.stored.load(Relaxed));
        lack < self.longest || self.begun.load(Relaxed) < self.until.load(Relaxed)
    }

    /// The books have taken records.
    fn take(&self, records: &[Record]) {
        let (of_before, of_this_run) =
            records.split_at(records.partition_point(|record| record.position <= self.start));
        let of_this_run = Moves::of(of_this_run).ended;
        self.stored.fetch_add(of_this_run, Relaxed);
        let taken = Moves::of(of_before).ended + of_this_run;
        self.let_begin(taken - taken / HELD_BACK);
    }

    fn let_begin(&self, more: u64) {
        self.until.store(self.begun.load(Relaxed) + more, Relaxed);
    }

    /// The books lack nothing of what `ended` counts.
    fn caught_up(&self, ended: u64) {
        self.stored.fetch_max(ended, Relaxed);
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
        self.is_journal_filling() || self.books_lag() > MAX_LAG / 2 || !self.begin.may()
    }

    /// The books have reached `stored` by these records. To be called before those who wait for that are woken.
    pub(super) fn note_taken(&self, stored: u64, records: &[Record]) {
        // In this order: what ends from here on isn't taken for what the books have.
        let ended = self.begin.ended.load(SeqCst);
        self.begin.take(records);
        if self.writer.assigned_position() == stored {
            // Also of what they took while their answer was lost, or before this server joined them.
            self.begin.caught_up(ended);
        }
    }

    /// The books can be reached again: work goes on until they have taken a first batch.
    pub(super) fn note_reached(&self) {
        self.begin.let_begin(BATCH as u64);
        self.metrics.store_up.set(1);
    }

    /// They can't be: nothing is held back for them any more.
    pub(super) fn note_out_of_reach(&self) {
        self.metrics.store_up.set(0);
        self.stored.announce();
    }

    pub(super) fn may_begin(&self) -> bool {
        self.begin.may() || self.metrics.store_up.get() == 0
    }

    /// Refuses to begin something, a hold or a Charge of what wasn't used yet, that the books can't follow.
    ///
    /// # Errors
    /// [`Error::Overloaded`]
    pub(super) fn check_may_begin(&self) -> Result<(), Error> {
        if self.may_begin() {
            return Ok(());
        }
        Err(self.overloaded(Overload::Books))
    }

    /// Waits until something may begin, or for as long as somebody may be held back who was refused.
    pub async fn wait_to_begin(&self, longest: Duration) {
        let may_begin = async {
            loop {
                // Made before the look, so that a move after it is heard.
                let moved = self.stored.moved();
                if self.may_begin() {
                    return;
                }
                moved.await;
            }
        };
        // Who waited long enough hears the same.
        let _ = tokio::time::timeout(longest, may_begin).await;
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
    use crate::domain::{
        event::Stream,
        id::{Actor, KeyId, Model},
        money::Factor,
        reservation_id::ReservationNo,
        time::Timestamp,
        usage::{Amounts, Usage},
    };

    fn records(from: u64, count: u64, event: impl Fn() -> Event) -> Vec<Record> {
        let record = |position| Record {
            position,
            stream: Stream::System,
            sequence: 1,
            epoch: 1,
            time: Timestamp::EPOCH,
            actor: Actor::SYSTEM,
            event: event(),
        };
        (from..from + count).map(record).collect()
    }

    fn holds(count: u64) -> Vec<Record> {
        let reserved = crate::domain::event::Reserved {
            request: None,
            fingerprint: 0,
            key: KeyId::trusted("k"),
            model: Model::trusted("m"),
            price: None,
            factor: Factor::ONE,
            usage: Usage::default(),
            held: Amounts::ZERO,
            wallet: false,
            drawn: crate::domain::money::Nanos::ZERO,
            touches: std::sync::Arc::new([]),
            narrowed: Box::default(),
            expire_time: Timestamp::EPOCH,
            holder: None,
            labels: None,
        };
        let reserved = std::sync::Arc::new(reserved);
        records(1, count, || Event::Reserved(reserved.clone()))
    }

    fn ends(from: u64, count: u64) -> Vec<Record> {
        records(from, count, || Event::Expired {
            reservation: ReservationNo { epoch: 1, sequence: 1 },
            drawn: crate::domain::money::Nanos::ZERO,
        })
    }

    #[test]
    fn beyond_the_longest_lag_less_begins_than_the_books_take() {
        let begin = Begin::new(0, 1000);
        begin.note(Moves::of(&ends(1, 999)));
        assert!(begin.may(), "up to the longest lag nothing is held back");
        begin.note(Moves::of(&ends(1000, 10_001)));
        assert!(!begin.may());
        begin.take(&ends(1, 80));
        begin.note(Moves::of(&holds(69)));
        assert!(begin.may());
        begin.note(Moves::of(&holds(1)));
        assert!(!begin.may(), "seven eighths of what they took have begun, and nothing need have ended");
        begin.take(&holds(500));
        assert!(!begin.may(), "what they took of other things lets nothing begin");
        begin.take(&ends(81, 9921));
        assert!(begin.may(), "they lack 999");
    }

    #[test]
    fn a_backlog_of_before_the_start_holds_nothing_back_and_lets_no_more_in() {
        let begin = Begin::new(50_000, 1000);
        begin.take(&ends(1, 50_000));
        begin.note(Moves::of(&holds(60_000)));
        begin.note(Moves::of(&ends(110_001, 999)));
        assert!(begin.may());
        begin.note(Moves::of(&ends(111_000, 1)));
        assert!(!begin.may());
    }

    #[test]
    fn what_the_books_took_unseen_is_known_once_they_have_caught_up() {
        let begin = Begin::new(0, 1000);
        begin.note(Moves::of(&ends(1, 5000)));
        assert!(!begin.may());
        begin.caught_up(5000);
        begin.note(Moves::of(&ends(5001, 999)));
        assert!(begin.may());
        begin.note(Moves::of(&ends(6000, 1)));
        assert!(!begin.may());
    }
}
