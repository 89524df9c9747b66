//! What people were told, and what they needn't be told again.

use std::collections::{HashMap, VecDeque};

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

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Alerts {
    pub settings: Box<AlertSettings>,
    /// The oldest first.
    log: VecDeque<Alert>,
    /// Those that are on their way.
    pending: usize,
    /// Causes that were told, and until when they aren't told again.
    told: HashMap<SmolStr, Timestamp, RandomState>,
}

/// On one channel at least, though another may have delivered it.
fn is_on_its_way(alert: &Alert) -> bool {
    alert.next_attempt().is_some()
}

impl Alerts {
    pub fn find(&self, id: &AlertId) -> Option<&Alert> {
        self.log.iter().rev().find(|alert| alert.id == *id)
    }

    /// The newest first.
    pub fn all(&self) -> impl Iterator<Item = &Alert> {
        self.log.iter().rev()
    }

    pub fn pending(&self) -> impl Iterator<Item = &Alert> {
        let any = self.pending > 0;
        self.log.iter().filter(move |alert| any && is_on_its_way(alert))
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

    pub(super) fn set(&mut self, alert: Alert) {
        self.pending += usize::from(is_on_its_way(&alert));
        match self.log.iter_mut().rev().find(|known| known.id == alert.id) {
            Some(known) => {
                self.pending -= usize::from(is_on_its_way(known));
                *known = alert;
            }
            None => self.log.push_back(alert),
        }
        if self.log.len() > KEPT {
            let oldest = self.log.iter().position(|alert| !is_on_its_way(alert));
            if let Some(at) = oldest {
                self.log.remove(at);
            }
        }
    }
}
