//! How many mails an organization has sent of late, and to whom: so that it fills nobody's mailbox.
//!
//! Counted for each organization apart: what one sends delays nobody else's. Kept in memory; after a start it is counted anew from
//! what the alerts say was delivered, where one that went out with others in one mail counts as a mail of its own.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use smol_str::SmolStr;

use crate::{
    domain::{
        alert::{Alert, Delivery},
        bounds::Bounds,
        fold,
        id::OrganizationId,
        time::{Span, Timestamp},
    },
    engine::directory::Cell,
};

/// The time in which mails are counted.
const WITHIN: Span = Span::HOUR;

#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<OrganizationId, Sent>>);

#[derive(Debug, Default)]
struct Sent {
    all: VecDeque<Timestamp>,
    to: HashMap<SmolStr, VecDeque<Timestamp>>,
}

/// How many of the mails that were asked for may leave, and when more may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub mails: usize,
    pub more: Timestamp,
}

impl Sent {
    fn forget(&mut self, now: Timestamp) {
        let old = |at: &Timestamp| *at + WITHIN <= now;
        while self.all.front().is_some_and(old) {
            self.all.pop_front();
        }
        self.to.retain(|_, sent| {
            while sent.front().is_some_and(old) {
                sent.pop_front();
            }
            !sent.is_empty()
        });
    }

    fn note(&mut self, address: &str, at: Timestamp) {
        self.all.push_back(at);
        self.to.entry(fold::address(address)).or_default().push_back(at);
    }
}

impl Pace {
    /// Takes room for as many of `mails` to an address as there is. A mail that doesn't leave gives it back.
    pub(super) fn take(
        &self,
        organization: &OrganizationId,
        address: &str,
        mails: usize,
        bounds: &Bounds,
        now: Timestamp,
    ) -> Room {
        let mut sent = self.0.lock();
        let sent = sent.entry(organization.clone()).or_default();
        sent.forget(now);
        let (in_all, to_one) = (bounds.mails_per_hour as usize, bounds.mails_per_address as usize);
        let to = sent.to.get(&fold::address(address));
        let left = in_all.saturating_sub(sent.all.len()).min(to_one.saturating_sub(to.map_or(0, VecDeque::len)));
        let mails = mails.min(left);
        for _ in 0..mails {
            sent.note(address, now);
        }
        // The oldest of whichever is full makes room first.
        let to = sent.to.get(&fold::address(address)).filter(|to| to.len() >= to_one);
        let all = Some(&sent.all).filter(|all| all.len() >= in_all);
        let more = [to, all].into_iter().flatten().filter_map(VecDeque::front).max();
        Room { mails, more: more.map_or(now, |oldest| *oldest + WITHIN) }
    }

    /// Gives back room for one mail that didn't leave.
    pub(super) fn give_back(&self, organization: &OrganizationId, address: &str) {
        let mut sent = self.0.lock();
        let Some(sent) = sent.get_mut(organization) else { return };
        if sent.to.get_mut(&fold::address(address)).and_then(VecDeque::pop_back).is_some() {
            sent.all.pop_back();
        }
    }

    /// Counts what an organization's alerts say was delivered.
    pub(super) fn count(&self, cell: &Cell, now: Timestamp) {
        let inner = cell.lock();
        let mut delivered: Vec<(Timestamp, &String)> = inner.state.alerts.all().flat_map(delivered).collect();
        delivered.retain(|(at, _)| *at + WITHIN > now);
        if delivered.is_empty() {
            return;
        }
        delivered.sort();
        let mut sent = self.0.lock();
        let sent = sent.entry(cell.id.clone()).or_default();
        for (at, address) in delivered {
            sent.note(address, at);
        }
    }
}

/// Whom an alert reached by mail, and when.
fn delivered(alert: &Alert) -> impl Iterator<Item = (Timestamp, &String)> {
    let (at, left): (Option<Timestamp>, &[String]) = match &alert.mail {
        Delivery::Delivered(at) => (Some(*at), &[]),
        // To those who aren't left it went with the first attempt, or later: nobody knows, and the alert's time is the least.
        Delivery::Pending { left, .. } => (Some(alert.create_time), left),
        Delivery::None | Delivery::Failed(_) | Delivery::Undeliverable(_) => (None, &[]),
    };
    let reached = alert.recipients.iter().filter(move |to| !left.contains(to));
    reached.filter_map(move |to| Some((at?, to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_700_000_000);
    const BOUNDS: fn() -> Bounds = || Bounds { mails_per_hour: 5, mails_per_address: 2, ..Bounds::default() };

    fn acme() -> OrganizationId {
        OrganizationId::trusted("acme")
    }

    #[test]
    fn an_address_gets_so_many_mails_in_any_hour_whatever_its_case() {
        let pace = Pace::default();
        let take = |to: &str, mails, now| pace.take(&acme(), to, mails, &BOUNDS(), now);
        assert_eq!(take("a@example.org", 1, START).mails, 1);
        let later = START + Span::seconds(60);
        assert_eq!(take("A@example.org", 3, later), Room { mails: 1, more: START + Span::HOUR });
        assert_eq!(take("a@example.org", 1, START + Span::HOUR - Span::micros(1)).mails, 0);
        assert_eq!(take("a@example.org", 2, START + Span::HOUR), Room { mails: 1, more: later + Span::HOUR });
        let other = OrganizationId::trusted("other");
        assert_eq!(pace.take(&other, "a@example.org", 9, &BOUNDS(), later).mails, 2, "of another organization");
    }

    #[test]
    fn an_organization_sends_so_many_mails_in_any_hour() {
        let pace = Pace::default();
        let sent: usize =
            (0..9).map(|no| pace.take(&acme(), &format!("{no}@example.org"), 1, &BOUNDS(), START).mails).sum();
        assert_eq!(sent, 5);
        pace.give_back(&acme(), "0@example.org");
        pace.give_back(&acme(), "8@example.org");
        assert_eq!(pace.take(&acme(), "8@example.org", 9, &BOUNDS(), START).mails, 1, "what didn't leave makes room");
    }

    #[test]
    fn who_was_written_to_long_ago_takes_no_room() {
        let pace = Pace::default();
        for no in 0..5 {
            pace.take(&acme(), &format!("{no}@example.org"), 1, &BOUNDS(), START);
        }
        pace.take(&acme(), "new@example.org", 1, &BOUNDS(), START + Span::HOUR);
        let sent = pace.0.lock();
        assert_eq!((sent[&acme()].to.len(), sent[&acme()].all.len()), (1, 1));
    }
}
