//! Rules and allocations, the slow and obvious way: each counter is one more limit, which nothing reuses.

use std::collections::BTreeMap;

use super::{Answer, DAY, Def, KEYS, Naive, SECOND, Use};
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
const TOTAL: usize = 6;
pub(super) const POOL: usize = 7;
const OWN: usize = 8;
/// Length of a cycle.
const CYCLE: i64 = 6 * 3600 * SECOND;

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
    /// By key, whose membership is its own: monthly, and extra with the cycle that it is of.
    pub own: [Option<i64>; 3],
    pub extra: [(Option<i64>, i64); 3],
    /// Monthly of each team.
    pub teams: [Option<i64>; 2],
    /// Whose membership has ended.
    pub left: [bool; 3],
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

    /// Returns whether the hours of the key's rule are over.
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
        let rule = self.rule(key).filter(|_| !self.deleted[key])?;
        let NaiveRule { cap, cap_on, .. } = self.handed.rules[rule];
        cap.filter(|_| cap_on)?;
        self.handed.caps.get(&(rule, key)).copied()
    }

    /// Returns what of the allocations counts all of a key's requests. A pool counts a part.
    pub(super) fn allocated(&self, key: usize) -> Vec<usize> {
        self.part(OWN, key).into_iter().chain(self.part(TOTAL, 0)).collect()
    }

    /// Returns when the cycle of an instant began.
    pub(super) fn cycle_at(at: i64) -> i64 {
        at - (at - NOON.micros()).rem_euclid(CYCLE)
    }

    fn given(&self, key: usize) -> i64 {
        self.handed.own[key].unwrap_or(0) + self.extra(key).unwrap_or(0)
    }

    fn extra(&self, key: usize) -> Option<i64> {
        let (extra, of) = self.handed.extra[key];
        extra.filter(|_| of == Self::cycle_at(self.now))
    }

    fn team_keys(team: usize) -> impl Iterator<Item = usize> {
        (0..3).filter(move |key| KEYS[*key].1 == team)
    }

    /// The cap of a limit as it is now.
    pub(in crate::engine::tests) fn max_of(&self, def: usize) -> Option<i64> {
        let Def { spot: (kind, which), limit } = &self.defs[def];
        match *kind {
            TOTAL => self.handed.total,
            OWN => self.handed.own[*which].map(|_| self.given(*which)),
            POOL => {
                self.handed.teams[*which].map(|team| team - Self::team_keys(*which).map(|k| self.given(k)).sum::<i64>())
            }
            _ => limit.max(),
        }
    }

    /// Returns whether an admission counts in an allocation's cycle that has ended, or in none that is known.
    pub(super) fn is_over(&self, def: usize, used: &Use) -> bool {
        self.is_handed(def) && (used.early || Self::cycle_at(used.admit) != Self::cycle_at(self.now))
    }

    /// Returns whether a limit is an allocation.
    pub(super) fn is_handed(&self, def: usize) -> bool {
        [TOTAL, POOL, OWN].contains(&self.defs[def].spot.0)
    }

    /// Returns what a key's member used and holds in the running cycle.
    pub(super) fn credits_of(&self, key: usize) -> (i64, i64) {
        self.standing(self.handed_part(OWN, key), self.now)
    }

    /// Returns what of so much used and held a member's own doesn't cover.
    fn beyond(&self, key: usize, used: i64, held: i64) -> (i64, i64) {
        let beyond = |sum: i64| (sum - self.given(key)).max(0);
        (beyond(used), beyond(used + held) - beyond(used))
    }

    pub(in crate::engine::tests) fn pool_standing(&self, team: usize) -> (i64, i64) {
        Self::team_keys(team).fold((0, 0), |(spent, held), key| {
            let (used, open) = self.credits_of(key);
            let drawn = self.beyond(key, used, open);
            (spent + drawn.0, held + drawn.1)
        })
    }

    pub(super) fn pool(&self, key: usize) -> usize {
        self.handed_part(POOL, KEYS[key].1)
    }

    /// Whose work stands on the pool: nothing caps it besides, and its own is used up or held.
    pub(super) fn draws(&self, key: usize) -> bool {
        let (used, held) = self.credits_of(key);
        self.handed.own[key].is_none() && (used >= self.given(key) || used + held > self.given(key))
    }

    /// Returns what `credits` more ask of the pool, if they ask anything.
    pub(super) fn pool_asked(&self, key: usize, credits: i64) -> Option<i64> {
        if self.handed.own[key].is_some() || self.factor == 0 {
            return None;
        }
        let (used, held) = self.credits_of(key);
        let total = |held| {
            let (spent, held) = self.beyond(key, used, held);
            spent + held
        };
        let asked = total(held + credits) - total(held);
        (asked > 0 || used >= self.given(key)).then_some(asked)
    }

    /// Returns what a change of what is used and held changes of the pool's part in all.
    pub(super) fn redrawn(&self, key: usize, used_more: i64, held_more: i64) -> i64 {
        let (used, held) = self.credits_of(key);
        let (after, before) = (self.beyond(key, used + used_more, held + held_more), self.beyond(key, used, held));
        after.0 + after.1 - before.0 - before.1
    }

    /// Makes every counter that there could be; an engine opens those that it needs.
    pub(in crate::engine::tests) fn open_all(&mut self) {
        let seconds = u32::try_from(CYCLE / SECOND).unwrap();
        let period = Period::Every { seconds, anchor: NOON.seconds() };
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

    pub(in crate::engine::tests) fn set_rule(&mut self, which: usize, rule: NaiveRule, restart: bool) -> Answer {
        let before = self.handed.rules[which];
        let is_new = rule.cap.filter(|_| rule.cap_on) != before.cap.filter(|_| before.cap_on) || rule.cap != before.cap;
        if self.factor == 0 && rule.cap_on && rule.cap.is_some() && is_new {
            return Answer::Conflict("precondition");
        }
        let zone = Zone::UTC;
        let max = rule.cap.map(|(max, _)| max).filter(|_| rule.enabled && rule.cap_on);
        let period =
            rule.cap.map(|(_, weekly)| if weekly { Period::Weekly { zone, start: 0 } } else { Period::Daily { zone } });
        let goes_on = |def: &usize| period.is_none() || self.defs[*def].limit.period() == period;
        let known = |key: usize| self.handed.caps.get(&(which, key)).copied();
        let forgets = |def: usize| !goes_on(&def) && self.standing(def, self.now) != (0, 0);
        if !restart && (0..3).filter_map(known).any(forgets) {
            return Answer::Conflict("restart");
        }
        let kept = [0, 1, 2].map(|key| known(key).filter(goes_on));
        self.handed.rules[which] = rule;
        for (key, kept) in kept.into_iter().enumerate() {
            match (kept, period) {
                (Some(def), _) => self.set_max(def, max),
                (None, Some(period)) => {
                    self.handed.caps.insert((which, key), self.defs.len());
                    self.defs.push(Def { spot: (CAP, 3 * which + key), limit: limit("cap", max, period) });
                }
                (None, None) => {}
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
        Answer::Done
    }

    /// Returns what the members of a team have or used, whichever is more of each.
    fn committed(&self, team: usize) -> i64 {
        Self::team_keys(team).map(|key| self.given(key).max(self.credits_of(key).0)).sum()
    }

    fn free_in_account(&self) -> Option<i64> {
        let taken = |team: usize| self.handed.teams[team].unwrap_or(0).max(self.committed(team));
        self.handed.total.map(|total| total - taken(0) - taken(1))
    }

    /// Monthly or extra of a key's member, as given; an inner `None` takes the monthly away.
    #[expect(clippy::option_option, reason = "what isn't given stays, which is another thing than none")]
    pub(in crate::engine::tests) fn set_own(
        &mut self,
        key: usize,
        own: Option<Option<i64>>,
        extra: Option<i64>,
    ) -> Answer {
        if self.handed.left[key] {
            return Answer::Conflict("entity");
        }
        let before = self.clone();
        if let Some(own) = own {
            self.handed.own[key] = own;
        }
        if let Some(extra) = extra {
            self.handed.extra[key] = (Some(extra), Self::cycle_at(self.now));
        }
        if (self.handed.own, self.extra(key)) == (before.handed.own, before.extra(key)) {
            return Answer::Done;
        }
        let team = KEYS[key].1;
        let free = |naive: &Self| match naive.handed.teams[team] {
            Some(cap) => {
                let all = |key| {
                    let (used, held) = naive.credits_of(key);
                    naive.given(key).max(used + held)
                };
                Some(cap - Self::team_keys(team).map(all).sum::<i64>())
            }
            None => naive.free_in_account(),
        };
        let fits = free(self).is_none_or(|after| after >= 0 || free(&before).is_some_and(|before| after >= before));
        if self.factor == 0 || !fits {
            *self = before;
            return Answer::Conflict("precondition");
        }
        Answer::Done
    }

    pub(in crate::engine::tests) fn set_team(&mut self, team: usize, monthly: Option<i64>) -> Answer {
        if monthly == self.handed.teams[team] {
            return Answer::Done;
        }
        let distributed: i64 = Self::team_keys(team).map(|key| self.given(key)).sum();
        let before = (self.handed.teams[team], self.free_in_account());
        self.handed.teams[team] = monthly;
        let after = self.free_in_account();
        let fits = after.is_none_or(|after| after >= 0 || before.1.is_some_and(|before| after >= before));
        if self.factor == 0 || monthly.is_some_and(|monthly| monthly < distributed) || !fits {
            self.handed.teams[team] = before.0;
            return Answer::Conflict("precondition");
        }
        Answer::Done
    }

    /// A key that is deleted leaves a membership that nothing keeps.
    pub(in crate::engine::tests) fn leave(&mut self, key: usize) -> Answer {
        if self.handed.left[key] {
            return Answer::Conflict("entity");
        }
        if !self.deleted[key] {
            return Answer::Conflict("precondition");
        }
        self.handed.left[key] = true;
        (self.handed.own[key], self.handed.extra[key]) = (None, (None, 0));
        self.policies.remove(&(1, key));
        Answer::Done
    }
}
