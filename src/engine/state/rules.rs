//! The organization's access rules, who is bound to them, and the counters of their caps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        event::LimitNo,
        id::RuleId,
        rule::{OpenMemo, Rule},
    },
    engine::table::Table,
};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RuleBook {
    pub rules: Table<Rule>,
    /// By place of the rule.
    uses: BTreeMap<u32, Use>,
    /// Of keys that have no rule of their own.
    pub(super) default: Option<u32>,
    /// Number of rules that are there and enabled.
    enabled: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Use {
    /// Live keys that are bound to it.
    bound: u32,
    /// The counters of its cap, by the places of their keys.
    pub counters: BTreeMap<u32, LimitNo>,
    #[serde(skip)]
    memo: OpenMemo,
}

/// A rule in force, and what is remembered of its hours.
#[derive(Debug, Clone, Copy)]
pub struct Effective<'a> {
    pub place: u32,
    pub rule: &'a Rule,
    pub memo: &'a OpenMemo,
}

/// How many live keys use a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct References {
    /// Bound to it.
    pub bound: u32,
    /// Without a rule in force of their own, while this is the organization's default.
    pub inherited: u32,
}

impl RuleBook {
    /// Key → default → none; one that is off is skipped.
    pub fn effective(&self, own: Option<u32>) -> Option<Effective<'_>> {
        let in_force = |place: u32| {
            let rule = &self.rules.row(place)?.entity;
            let memo = &self.uses.get(&place)?.memo;
            (rule.enabled && !rule.deleted).then_some(Effective { place, rule, memo })
        };
        own.and_then(in_force).or_else(|| self.default.and_then(in_force))
    }

    /// `keys` is how many live keys the organization has.
    pub fn references(&self, id: &RuleId, keys: u32) -> References {
        let Some(place) = self.rules.place(id) else { return References::default() };
        let bound = self.uses.get(&place).map_or(0, |used| used.bound);
        let is_default = self.default == Some(place);
        let is_on = self.rules.row(place).is_some_and(|row| row.entity.enabled);
        if !is_default || !is_on {
            return References { bound, inherited: 0 };
        }
        let on = self.rules.all().filter(|(_, row)| row.entity.enabled);
        let with_own: u32 = on.filter_map(|(place, _)| self.uses.get(&place)).map(|used| used.bound).sum();
        References { bound, inherited: keys.saturating_sub(with_own) }
    }

    /// Returns how the rules are used that another book has too, counting the keys of some places alone.
    pub(super) fn used_like(&self, other: &Self, keys: impl Fn(u32) -> bool) -> (Option<u32>, BTreeMap<u32, Use>) {
        let mut uses = self.uses.clone();
        uses.retain(|rule, _| other.uses.contains_key(rule));
        for used in uses.values_mut() {
            used.counters.retain(|key, _| keys(*key));
        }
        (self.default, uses)
    }

    pub fn default_rule(&self) -> Option<&Rule> {
        self.default.and_then(|place| self.rules.row(place)).map(|row| &row.entity)
    }

    /// Returns the number of rules that are there and enabled.
    pub fn enabled_count(&self) -> u32 {
        self.enabled
    }

    /// Puts a rule in its place, which it answers.
    pub(super) fn set(&mut self, rule: Rule) -> u32 {
        let is_on = |rule: &Rule| rule.enabled && !rule.deleted;
        let was_on = self.rules.find(&rule.id).is_some_and(|row| is_on(&row.entity));
        self.enabled = self.enabled + u32::from(is_on(&rule)) - u32::from(was_on);
        let place = self.rules.set(rule);
        // What was remembered of the minute was of the hours before.
        self.uses.entry(place).or_default().memo = OpenMemo::default();
        place
    }

    /// Takes a deleted rule away: keys that were bound to it are deleted too, and nothing counts under it.
    pub(super) fn forget(&mut self, id: &RuleId) {
        let Some(place) = self.rules.place(id) else { return };
        if self.rules.row(place).is_some_and(|row| row.entity.deleted) && self.rules.remove(id).is_some() {
            self.uses.remove(&place);
        }
    }

    pub(super) fn used(&mut self, place: u32) -> Option<&mut Use> {
        self.uses.get_mut(&place)
    }

    /// A live key came under a rule, or left it.
    pub(super) fn rebind(&mut self, from: Option<u32>, to: Option<u32>) {
        if let Some(used) = from.and_then(|place| self.used(place)) {
            used.bound = used.bound.saturating_sub(1);
        }
        if let Some(used) = to.and_then(|place| self.used(place)) {
            used.bound += 1;
        }
    }

    /// The counters of a rule's cap.
    pub fn counters(&self, place: u32) -> impl Iterator<Item = LimitNo> + '_ {
        self.uses.get(&place).into_iter().flat_map(|used| used.counters.values().copied())
    }
}
