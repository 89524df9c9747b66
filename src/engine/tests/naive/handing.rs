//! Rules and allocations, the slow and obvious way: each counter is one more limit, which nothing reuses.

use std::collections::BTreeMap;

use super::{Answer, DAY, Def, KEYS, Naive, SECOND};
use crate::{
    domain::{
        id::LimitId,
        money::Nanos,
        period::{Period, Zone},
        policy::{Budget, BudgetUnit, Limit, Models},
    },
    engine::tests::fixture::NOON,
};

/// Kinds of places beyond the policies': a rule's cap for a key, the organization's credits, a team's pool, a member's own.
pub(in crate::engine::tests) const CAP: usize = 5;
pub(super) const TOTAL: usize = 6;
const POOL: usize = 7;
pub(super) const OWN: usize = 8;

#[derive(Debug, Clone, Copy, Default)]
pub(in crate::engine::tests) struct NaiveRule {
    pub enabled: bool,
    /// Its cap and whether that is weekly, not daily.
    pub cap: Option<(i64, bool)>,
    pub cap_on: bool,
    /// Lets nobody in but from 08:00 to 20:00.
    pub hours: bool,
}

#[derive(Debug, Clone, Default)]
pub(in crate::engine::tests) struct Handed {
    pub rules: [NaiveRule; 2],
    pub bound: [Option<usize>; 3],
    pub default: Option<usize>,
    /// By rule and key.
    pub caps: BTreeMap<(usize, usize), usize>,
    pub total: Option<i64>,
    /// By key, whose membership is its own.
    pub own: [Option<i64>; 3],
    /// By key, what it used beyond its own when that was last set, and in which cycle.
    beyond: [(i64, i64); 3],
    parts: BTreeMap<(usize, usize), usize>,
}

fn limit(id: &str, max: Option<i64>, period: Period) -> Limit {
    Limit::Budget(Budget {
        id: LimitId::trusted(id),
        unit: BudgetUnit::Credits,
        max: max.map(Nanos::new),
        soft: None,
        period,
        models: Models::default(),
        alerts: None,
    })
}

impl Naive {
    /// The rule that a key is under.
    fn rule(&self, key: usize) -> Option<usize> {
        let in_force = |rule: &usize| self.handed.rules[*rule].enabled;
        self.handed.bound[key].filter(in_force).or(self.handed.default.filter(in_force))
    }

    /// Whether the hours of the key's rule are over.
    pub(super) fn is_closed(&self, key: usize) -> bool {
        let Some(rule) = self.rule(key).map(|rule| self.handed.rules[rule]) else { return false };
        let open = 8 * 3600 * SECOND..20 * 3600 * SECOND;
        rule.hours && !open.contains(&self.now.rem_euclid(DAY))
    }

    pub(in crate::engine::tests) fn handed_part(&self, kind: usize, which: usize) -> usize {
        self.handed.parts[&(kind, which)]
    }

    fn part(&self, kind: usize, which: usize) -> Option<usize> {
        self.handed.parts.get(&(kind, which)).copied()
    }

    /// The counter of the rule's cap, where that is switched on.
    pub(super) fn cap(&self, key: usize) -> Option<usize> {
        let rule = self.rule(key)?;
        let NaiveRule { cap, cap_on, .. } = self.handed.rules[rule];
        cap.filter(|_| cap_on)?;
        self.handed.caps.get(&(rule, key)).copied()
    }

    /// What of the allocations a key's requests count on.
    pub(super) fn allocated(&self, key: usize) -> Vec<usize> {
        let own = self.handed.own[key].and(self.part(OWN, key));
        let part = own.or_else(|| self.part(POOL, KEYS[key].1));
        part.into_iter().chain(self.part(TOTAL, 0)).collect()
    }

    /// Makes every counter that there could be; an engine opens those that it needs.
    pub(in crate::engine::tests) fn open_all(&mut self) {
        // Cycles of fifteen days from the start.
        let period = Period::Every { seconds: 15 * 86_400, anchor: NOON.seconds() };
        for (kind, count) in [(TOTAL, 1), (POOL, 2), (OWN, 3)] {
            for which in 0..count {
                self.handed.parts.insert((kind, which), self.defs.len());
                self.defs.push(Def { spot: (kind, which), limit: limit("allocation", None, period) });
            }
        }
    }

    fn set_max(&mut self, def: usize, max: Option<i64>) {
        if let Limit::Budget(budget) = &mut self.defs[def].limit {
            budget.max = max.map(Nanos::new);
        }
    }

    pub(in crate::engine::tests) fn set_rule(&mut self, which: usize, rule: NaiveRule) -> Answer {
        let before = self.handed.rules[which];
        let is_new = rule.cap.filter(|_| rule.cap_on) != before.cap.filter(|_| before.cap_on) || rule.cap != before.cap;
        if self.factor == 0 && rule.cap_on && rule.cap.is_some() && is_new {
            return Answer::Conflict("precondition");
        }
        self.handed.rules[which] = rule;
        let zone = Zone::UTC;
        let max = rule.cap.map(|(max, _)| max).filter(|_| rule.enabled && rule.cap_on);
        for key in 0..3 {
            let weekly = rule.cap.map(|(_, weekly)| weekly);
            match (before.cap.map(|(_, weekly)| weekly), weekly) {
                (Some(before), Some(now)) if before == now => self.set_max(self.handed.caps[&(which, key)], max),
                (_, None) => {
                    self.handed.caps.remove(&(which, key));
                }
                (_, Some(weekly)) => {
                    let period = if weekly { Period::Weekly { zone, start: 0 } } else { Period::Daily { zone } };
                    self.handed.caps.insert((which, key), self.defs.len());
                    self.defs.push(Def { spot: (CAP, 3 * which + key), limit: limit("cap", max, period) });
                }
            }
        }
        Answer::Done
    }

    pub(super) fn is_counting(&self, def: usize) -> bool {
        let (kind, which) = self.defs[def].spot;
        kind > CAP || self.handed.caps.get(&(which / 3, which % 3)) == Some(&def)
    }

    pub(in crate::engine::tests) fn set_total(&mut self, total: Option<i64>) -> Answer {
        if self.factor == 0 && total.is_some() && total != self.handed.total {
            return Answer::Conflict("precondition");
        }
        self.handed.total = total;
        let def = self.handed.parts[&(TOTAL, 0)];
        self.set_max(def, total);
        Answer::Done
    }

    /// Teams have nothing themselves, so that all comes out of the organization's.
    pub(in crate::engine::tests) fn set_own(&mut self, key: usize, own: Option<i64>) -> Answer {
        if own == self.handed.own[key] {
            return Answer::Done;
        }
        let given: i64 = self.handed.own.iter().flatten().sum();
        let pools: i64 = (0..2).map(|team| self.standing(self.handed.parts[&(POOL, team)], self.now).0).sum();
        let def = self.handed.parts[&(OWN, key)];
        let cycle = self.defs[def].limit.period().map_or(0, |period| Self::window(period, self.now).0);
        let of_cycle = |(amount, of): &(i64, i64)| if *of == cycle { *amount } else { 0 };
        let beyond: i64 = self.handed.beyond.iter().map(of_cycle).sum();
        let next = (self.standing(def, self.now).0 - own.unwrap_or(0)).max(0);
        let back = (of_cycle(&self.handed.beyond[key]) - next).max(0);
        let more = own.unwrap_or(0) - self.handed.own[key].unwrap_or(0) - back;
        let too_much = self.handed.total.is_some_and(|total| more > 0 && more > total - given - pools - beyond);
        if self.factor == 0 || too_much {
            return Answer::Conflict("precondition");
        }
        self.handed.own[key] = own;
        self.handed.beyond[key] = (next, cycle);
        self.set_max(def, own);
        Answer::Done
    }
}
