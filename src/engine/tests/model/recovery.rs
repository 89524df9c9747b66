//! Crashes of the model's world, and what its history comes to.

use super::{
    super::naive::{Answer, Naive},
    FORGOTTEN_AFTER, Model,
};
use crate::{
    domain::{event::Event, money::Nanos},
    engine::state::OrganizationState,
};

impl Model {
    /// A crash that loses at most `lose` of the steps that nobody waited for.
    pub(super) fn crash(&mut self, lose: usize) -> (Answer, Answer) {
        let lose = lose.min(self.undurable.len());
        let mut live = self.world.state.clone();
        let mut kept = self.world.records.len();
        if lose > 0 {
            let (records, earlier) = self.undurable[self.undurable.len() - lose].clone();
            let gone = self.naive.uses.iter().filter(|used| used.no.is_some_and(|no| earlier.find(no).is_none()));
            let new = gone.filter(|used| self.lost.iter().all(|lost| lost.no != used.no));
            let new: Vec<_> = new.cloned().collect();
            self.lost.extend(new);
            let (now, prices) = (self.naive.now, self.naive.prices.clone());
            self.naive = Naive { prices, now, ..earlier };
            kept = records;
        }
        self.world.crash(kept);
        self.snapshots.retain(|(at, _)| *at <= kept);
        // What had been forgotten is there again, and is forgotten again.
        let now = self.world.now;
        let forget = |state: &mut OrganizationState| {
            let stored = state.sequence;
            while state.forget_ended(now, FORGOTTEN_AFTER, stored, &mut Vec::new()) > 0 {}
        };
        self.world.forget_ended_after(FORGOTTEN_AFTER, self.world.state.sequence);
        if lose == 0 {
            forget(&mut live);
            assert_eq!(self.world.state, live, "replay from the first record");
        }
        for (at, bytes) in &self.snapshots {
            let mut state: OrganizationState = postcard::from_bytes(bytes).unwrap();
            for record in &self.world.records[*at..] {
                state.apply(record).unwrap();
            }
            forget(&mut state);
            assert_eq!(state, self.world.state, "a snapshot and the records after it");
        }
        self.undurable.clear();
        (Answer::Done, Answer::Done)
    }

    /// The history adds up.
    pub(super) fn audit(&self) {
        let (mut entry, mut balance) = (0, Nanos::ZERO);
        for (at, record) in self.world.records.iter().enumerate() {
            assert_eq!(record.sequence, at as u64 + 1);
            let (number, delta, after) = match &record.event {
                Event::Settled(settled) => (settled.entry, settled.wallet, settled.balance),
                Event::ToppedUp(top_up) => (Some(top_up.entry), top_up.amount, top_up.balance),
                Event::Corrected(correction) => (Some(correction.entry), correction.wallet, correction.balance),
                _ => continue,
            };
            entry += u64::from(number.is_some());
            balance += delta;
            assert_eq!((number.unwrap_or(entry), after), (entry, balance));
        }
    }
}
