//! When a refused request would be granted: by trying every moment at which anything ends.

use std::collections::BTreeSet;

use super::{DAY, Naive, SECOND};
use crate::domain::{id::Model, policy::Unit, usage::Amounts};

/// How long, and whether it may be refused even then.
pub(in crate::engine::tests) type Wait = (i64, bool);

/// As far as the longest period lasts.
const DAYS: i64 = 17;

impl Naive {
    /// Everything after now at which a hold, a window, a minute or closing hours end.
    fn moments(&self, defs: &[usize]) -> BTreeSet<i64> {
        let ends = self.uses.iter().filter(|used| used.is_open()).map(|used| used.expire);
        let slides = self.uses.iter().flat_map(|used| &used.posts).map(|(second, ..)| (second + 61) * SECOND);
        let periods = defs.iter().filter_map(|def| self.defs[*def].limit.period());
        let resets = periods.filter_map(|period| Self::window(period, self.now).1);
        let openings = (0..DAYS).map(|day| (self.now.div_euclid(DAY) + day) * DAY + 8 * 3600 * SECOND);
        ends.chain(slides).chain(resets).chain(openings).filter(|at| *at > self.now).collect()
    }

    /// Lets the time come.
    fn reach(&mut self, at: i64) {
        self.now = at;
        while self.uses.iter().any(|used| used.is_open() && used.expire <= at) {
            self.expire(None);
        }
    }

    fn lacks_slot(&self, key: usize, defs: &[usize], opens: bool) -> bool {
        let is_slot = |def: &&usize| self.defs[**def].limit.unit() == Unit::InFlight;
        let lacks = defs.iter().filter(is_slot).any(|def| !self.admits(*def, self.now, 1));
        lacks || (opens && !self.full(key).is_empty())
    }

    pub(super) fn wait(&self, key: usize, model: &Model, need: &Amounts, opens: bool) -> Option<Wait> {
        let defs = self.path_defs(key, model);
        let (slots, others): (Vec<_>, Vec<_>) =
            defs.iter().copied().partition(|def| self.defs[*def].limit.unit() == Unit::InFlight);
        if slots.iter().any(|def: &usize| self.defs[*def].limit.max() == Some(0)) {
            return None;
        }
        let is_full = self.lacks_slot(key, &slots, opens);
        let soon = self.now + SECOND;
        let mut moments = self.moments(&others);
        moments.extend(is_full.then_some(soon));
        let mut then = self.clone();
        for at in moments {
            then.reach(at);
            if self.key_ends[key].is_some_and(|end| at >= end) {
                return None;
            }
            let is_waited_for = is_full && at < soon;
            let others = then.path_defs(key, model);
            let others: Vec<_> =
                others.into_iter().filter(|def| then.defs[*def].limit.unit() != Unit::InFlight).collect();
            if !is_waited_for && !then.is_closed(key) && then.fits(key, &others, need) {
                return Some((at - self.now, is_full && (at == soon || then.lacks_slot(key, &slots, opens))));
            }
        }
        None
    }

    pub(super) fn wait_for_extension(&self, at: usize, more: &Amounts) -> Option<Wait> {
        let used = &self.uses[at];
        let mut then = self.clone();
        for moment in self.moments(&used.defs).range(..used.expire) {
            then.reach(*moment);
            if then.failing_extension(at, more).is_empty() {
                return Some((moment - self.now, false));
            }
        }
        None
    }
}
