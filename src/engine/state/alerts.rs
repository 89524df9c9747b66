//! What people were told, and what they needn't be told again.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use crate::domain::{
    alert::{Alert, AlertSettings},
    id::AlertId,
    time::Timestamp,
};

/// Alerts that memory keeps; the books keep all. Those on their way stay beyond that.
const KEPT: usize = 2000;

/// No part of the history.
#[derive(Debug, Clone, Default)]
struct Recalled(HashMap<u64, Alert, RandomState>);

impl PartialEq for Recalled {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Recalled {}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Alerts {
    pub settings: Box<AlertSettings>,
    /// By their numbers, so the oldest first.
    log: BTreeMap<u64, Alert>,
    /// Alerts on their way on at least one channel, by the time of their next attempt.
    due: BTreeSet<(Timestamp, u64)>,
    /// The others.
    ended: BTreeSet<u64>,
    /// Forgotten, and taken back from the books for a while: found by id alone.
    #[serde(skip)]
    recalled: Recalled,
    /// Causes that were told, and until when they aren't told again.
    told: HashMap<SmolStr, Timestamp, RandomState>,
}

/// The number in an alert's id, which is that of an event.
fn number(id: &AlertId) -> Option<u64> {
    id.as_str().strip_prefix("alert-")?.parse().ok()
}

impl Alerts {
    pub fn find(&self, id: &AlertId) -> Option<&Alert> {
        let number = number(id)?;
        self.log.get(&number).or_else(|| self.recalled.0.get(&number)).filter(|alert| alert.id == *id)
    }

    /// The newest first.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.log.values().rev()
    }

    /// The newest first, from a number down or all, with their numbers.
    pub fn newest_first(&self, from: Option<u64>) -> impl Iterator<Item = (u64, &Alert)> {
        self.log.range(..=from.unwrap_or(u64::MAX)).rev().map(|(number, alert)| (*number, alert))
    }

    /// Returns the alerts to try by now, the longest due first.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = &Alert> {
        let due = self.due.iter().take_while(move |(next, _)| *next <= now);
        due.filter_map(|(_, number)| self.log.get(number))
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        self.due.first().map(|(next, _)| *next)
    }

    pub fn was_told(&self, cause: &str, now: Timestamp) -> bool {
        self.told.get(cause).is_some_and(|until| now < *until)
    }

    pub(super) fn tell(&mut self, cause: SmolStr, until: Timestamp, now: Timestamp) {
        // Grows only while causes live: looked through when it has doubled.
        if self.told.len() >= 64 && self.told.len().is_power_of_two() {
            self.told.retain(|_, until| now < *until);
        }
        self.told.insert(cause, until);
    }

    /// Whether there was an alert of this id up to the organization's last event, that isn't here.
    pub(super) fn may_have_forgotten(&self, id: &AlertId, last: u64) -> bool {
        self.find(id).is_none() && number(id).is_some_and(|number| number <= last)
    }

    pub(super) fn forget(&mut self, id: &AlertId) {
        if let Some(number) = number(id).filter(|number| self.ended.remove(number)) {
            self.log.remove(&number);
        }
    }

    pub(super) fn recall(&mut self, alert: Alert) {
        if let Some(number) = number(&alert.id).filter(|number| !self.log.contains_key(number)) {
            self.recalled.0.insert(number, alert);
        }
    }

    pub(super) fn end_recall(&mut self, id: &AlertId) {
        if let Some(number) = number(id) {
            self.recalled.0.remove(&number);
        }
    }

    /// Whether both agree on what neither may have forgotten.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let same = |(number, alert): (&u64, &Alert)| other.log.get(number).is_none_or(|other| alert == other);
        (&self.settings, &self.due, &self.told) == (&other.settings, &other.due, &other.told)
            && self.log.iter().all(same)
    }

    pub(super) fn set(&mut self, alert: Alert) {
        let Some(number) = number(&alert.id) else {
            debug_assert!(false, "{} is no id of an alert", alert.id);
            return;
        };
        if let Some(next) = self.log.get(&number).and_then(Alert::next_attempt) {
            self.due.remove(&(next, number));
        }
        match alert.next_attempt() {
            Some(next) => {
                self.due.insert((next, number));
                self.ended.remove(&number);
            }
            None => {
                self.ended.insert(number);
            }
        }
        self.recalled.0.remove(&number);
        self.log.insert(number, alert);
        // One that was taken back and has changed isn't forgotten again at once, old as it is.
        let oldest = self.ended.iter().copied().find(|oldest| *oldest != number);
        if let Some(oldest) = oldest.filter(|_| self.ended.len() > KEPT) {
            self.ended.remove(&oldest);
            self.log.remove(&oldest);
        }
    }
}
