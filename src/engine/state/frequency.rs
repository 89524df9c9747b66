//! Frequencies of things that cost their maker nothing. Counted from the events, so that a restart forgets nothing of them.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::OrganizationState;
use crate::domain::{
    access::InvitationState,
    alert::AlertKind,
    entity::Key,
    event::{Event, Record},
    fold,
    id::Actor,
    time::{Span, Timestamp},
};

/// A day or an hour is counted in this many parts.
const PARTS: i64 = 24;

/// A thing that is counted, and whose.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Counted {
    /// Requests for credits that somebody submitted.
    CreditRequests(Actor),
    /// Keys that somebody created or rotated.
    Keys(Actor),
    /// Invitations created or sent again.
    Invitations,
    /// Invitations after the first to one folded address.
    ResendsTo(SmolStr),
    /// Addresses that test messages were for.
    TestMails,
}

impl Counted {
    /// The time within which a bound counts it.
    fn within(&self) -> Span {
        match self {
            Self::CreditRequests(_) | Self::ResendsTo(_) => Span::DAY,
            Self::Keys(_) | Self::Invitations | Self::TestMails => Span::HOUR,
        }
    }

    pub fn resends_to(email: &str) -> Self {
        Self::ResendsTo(fold::address(email))
    }
}

/// Counts of the parts of the time, the oldest first.
type Parts = SmallVec<[(i64, u32); 2]>;

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frequencies(HashMap<Counted, Parts, RandomState>);

/// The part of the time that an instant lies in.
fn part_of(within: Span, at: Timestamp) -> i64 {
    at.micros().div_euclid(within.as_micros() / PARTS)
}

/// Returns true while something of this part may lie within the time before `now`.
fn counts(part: i64, within: Span, now: Timestamp) -> bool {
    part >= part_of(within, now) - PARTS
}

impl Frequencies {
    fn note(&mut self, counted: Counted, times: u32, now: Timestamp) {
        // Grows only with what happened within the time: looked through when it has doubled.
        if self.0.len() >= 64 && self.0.len().is_power_of_two() {
            self.0.retain(|counted, parts| parts.last().is_some_and(|(part, _)| counts(*part, counted.within(), now)));
        }
        let within = counted.within();
        let parts = self.0.entry(counted).or_default();
        parts.retain(|(part, _)| counts(*part, within, now));
        let part = part_of(within, now);
        match parts.last_mut().filter(|(last, _)| *last == part) {
            Some((_, count)) => *count = count.saturating_add(times),
            None => parts.push((part, times)),
        }
    }

    /// Returns true where something is counted now.
    pub fn is_recent(&self, counted: &Counted, now: Timestamp) -> bool {
        let last = self.0.get(counted).and_then(|parts| parts.last());
        last.is_some_and(|(part, _)| counts(*part, counted.within(), now))
    }

    /// Returns the time until it may happen `more` times again under the bound `max`; `None` where it may now.
    pub fn wait(&self, counted: &Counted, more: u32, max: u32, now: Timestamp) -> Option<Span> {
        let within = counted.within();
        let parts = self.0.get(counted)?;
        let recent = parts.iter().filter(|(part, _)| counts(*part, within, now));
        let mut over = recent.clone().map(|(_, count)| u64::from(*count)).sum::<u64>() + u64::from(more);
        if over <= u64::from(max) {
            return None;
        }
        for (part, count) in recent {
            over -= u64::from(*count);
            if over <= u64::from(max) {
                let length = within.as_micros() / PARTS;
                let gone = Timestamp::from_micros((part + PARTS + 1).saturating_mul(length));
                return Some(gone - now);
            }
        }
        Some(within)
    }
}

impl OrganizationState {
    /// Counts what an event makes anew, unless the operator or quotad itself did it.
    pub(super) fn note_frequency(&mut self, Record { event, actor, time, .. }: &Record) {
        if *actor == Actor::OPERATOR || *actor == Actor::SYSTEM {
            return;
        }
        match event {
            Event::CreditRequestSet(request) if self.credit_requests.find(&request.id).is_none() => {
                self.frequencies.note(Counted::CreditRequests(actor.clone()), 1, *time);
            }
            Event::KeySet(key) if self.has_new_secret(key) => {
                self.frequencies.note(Counted::Keys(actor.clone()), 1, *time);
            }
            // One that has expired already isn't sent: something else of it was changed.
            Event::InvitationSet(invitation)
                if invitation.state == InvitationState::Pending && invitation.expire_time > *time =>
            {
                let known = self.invitations.find(&invitation.id).map(|row| row.entity.expire_time);
                if known != Some(invitation.expire_time) {
                    let to = Counted::resends_to(&invitation.email);
                    // The first one is told of, but is no resend. Memory may have forgotten it.
                    let is_again = invitation.create_time < *time || self.frequencies.is_recent(&to, *time);
                    self.frequencies.note(Counted::Invitations, 1, *time);
                    self.frequencies.note(to, u32::from(is_again), *time);
                }
            }
            // One that memory has forgotten can only be acknowledged.
            Event::AlertSet(alert)
                if alert.kind == AlertKind::Test
                    && alert.acknowledged.is_none()
                    && self.alerts.find(&alert.id).is_none() =>
            {
                let times = u32::try_from(alert.recipients.len().max(1)).unwrap_or(u32::MAX);
                self.frequencies.note(Counted::TestMails, times, *time);
            }
            _ => {}
        }
    }

    fn has_new_secret(&self, key: &Key) -> bool {
        let known = self.keys.find(&key.id).map(|row| &row.entity.key);
        known.is_none_or(|known| known.secret_prefix != key.secret_prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_700_000_000);

    fn by(name: &str) -> Counted {
        Counted::CreditRequests(Actor::member(&crate::domain::id::MemberId::trusted(name)))
    }

    #[test]
    fn what_is_counted_may_happen_so_often_within_any_such_time() {
        let mut frequencies = Frequencies::default();
        let step = Span::seconds(3600);
        for no in 0..10 {
            let now = START + Span::micros(step.as_micros() * no);
            assert_eq!(frequencies.wait(&by("ada"), 1, 10, now), None, "{no}");
            frequencies.note(by("ada"), 1, now);
        }
        let now = START + Span::seconds(10 * 3600);
        let wait = frequencies.wait(&by("ada"), 1, 10, now).unwrap();
        assert_eq!(frequencies.wait(&by("bob"), 1, 10, now), None);
        assert!(wait >= Span::seconds(14 * 3600) && wait <= Span::seconds(15 * 3600), "{wait:?}");
        assert_eq!(frequencies.wait(&by("ada"), 1, 10, now + wait), None);
        assert!(frequencies.wait(&by("ada"), 1, 10, now + wait - Span::micros(1)).is_some());
        assert!(frequencies.wait(&by("ada"), 2, 10, now + wait).is_some());
        assert_eq!(frequencies.wait(&by("ada"), 11, 10, now), Some(Span::DAY), "more at once than ever may");
    }

    #[test]
    fn who_did_nothing_for_long_takes_no_room() {
        let mut frequencies = Frequencies::default();
        for no in 0..1000 {
            frequencies.note(by(&no.to_string()), 1, START);
        }
        let later = START + Span::seconds(3 * 86_400);
        for no in 0..100 {
            frequencies.note(by(&format!("other-{no}")), 1, later);
        }
        assert!(frequencies.0.len() <= 128, "{}", frequencies.0.len());
    }
}
