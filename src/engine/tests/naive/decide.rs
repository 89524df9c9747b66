//! Admission, by trying.

use super::{Answer, EARLY, Failing, Naive, OPEN, OPEN_PER_KEY, SECOND, path};
use crate::domain::{
    decision::DenialCode,
    id::Model,
    money::Nanos,
    policy::{Models, Unit},
    price::Price,
    usage::{Amounts, Usage},
};

/// What is granted.
pub(in crate::engine::tests) struct Admitted {
    pub usage: Usage,
    pub held: Amounts,
    pub price: Option<Price>,
    pub defs: Vec<usize>,
}

pub(super) const CODES: [&str; 10] = [
    "key",
    "membership",
    "member",
    "team",
    "organization",
    "rule",
    "allocation",
    "allocation",
    "allocation",
    "ceiling",
];

/// Returns whether a list means the model: a star stands for nothing, or for one character and what a star stands for.
fn names(models: &Models, model: &Model) -> bool {
    fn matches(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, name) => name.is_none(),
            (Some((b'*', rest)), None) => matches(rest, name),
            (Some((b'*', rest)), Some((_, less))) => matches(rest, name) || matches(pattern, less),
            (Some((one, rest)), Some((other, less))) => one == other && matches(rest, less),
            (Some(_), None) => false,
        }
    }
    let patterns = models.patterns();
    patterns.is_empty() || patterns.iter().any(|p| matches(p.as_str().as_bytes(), model.as_str().as_bytes()))
}

impl Naive {
    pub(super) fn price(&self, model: &Model) -> Option<Price> {
        self.prices.get(model.as_str()).copied()
    }

    /// What a request of this key for this model counts on.
    pub(super) fn path_defs(&self, key: usize, model: &Model) -> Vec<usize> {
        let [own, above @ ..] = path(key);
        let of = |spot| self.policies.get(&spot).cloned().unwrap_or_default();
        let above = above.into_iter().flat_map(of).chain(self.allocated(key));
        let on_path = of(own).into_iter().chain(self.cap(key)).chain(above);
        let counts = |def: &usize| {
            let limit = &self.defs[*def].limit;
            names(limit.models(), model) && self.binds(limit.unit())
        };
        on_path.filter(counts).collect()
    }

    /// What a request of this key meets that is narrowed to other models.
    pub(super) fn narrowed_defs(&self, key: usize, model: &Model) -> Vec<usize> {
        let on_path = path(key).into_iter().flat_map(|spot| self.policies.get(&spot).cloned().unwrap_or_default());
        on_path.filter(|def| !names(self.defs[*def].limit.models(), model)).collect()
    }

    pub(super) fn admits(&self, def: usize, at: i64, need: i64) -> bool {
        let Some(max) = self.max_of(def) else { return true };
        let (spent, held) = self.standing(def, at);
        spent + held + need <= max && spent < max
    }

    pub(super) fn wallet_admits(&self, need: i64) -> bool {
        self.balance() > 0 && self.wallet_held() + need <= self.balance()
    }

    pub(super) fn fits(&self, key: usize, defs: &[usize], need: &Amounts) -> bool {
        let asked = self.pool_asked(key, need.credits.get());
        let in_pool = asked.is_none_or(|asked| self.admits(self.pool(key), self.now, asked));
        let all =
            in_pool && defs.iter().all(|def| self.admits(*def, self.now, Self::of(self.defs[*def].limit.unit(), need)));
        all && (!self.enforced || self.wallet_admits(need.usd.get()))
    }

    /// Codes of what stands in the way before any limit, and where.
    fn states(&self, key: usize, model: &Model) -> Vec<(DenialCode, String)> {
        let off = |kind: usize| self.off.get(&path(key)[kind]).is_some_and(|off| *off);
        let checks = [
            (off(0), DenialCode::KeyDisabled, 0),
            (self.key_ends[key].is_some_and(|end| self.now >= end), DenialCode::KeyExpired, 0),
            (off(2), DenialCode::MemberInactive, 2),
            (off(3), DenialCode::TeamInactive, 3),
            (off(4) || off(5), DenialCode::OrganizationInactive, 4),
            (!names(&self.key_models[key], model), DenialCode::ModelNotAllowed, 0),
        ];
        let failing = checks.into_iter().filter(|(fails, ..)| *fails);
        failing.map(|(_, code, kind)| (code, String::from(CODES[kind]))).collect()
    }

    pub(super) fn decide(
        &self,
        key: usize,
        model: &Model,
        usage: &Usage,
        least: Option<u64>,
        opens: bool,
    ) -> Result<Admitted, Answer> {
        if self.deleted[key] {
            let (code, wait) = (DenialCode::KeyUnknown, None);
            return Err(Answer::Denied { code, wait, violations: vec![(code, String::from("key"), None)] });
        }
        let price = self.price(model);
        let usage = &Self::read(usage, false, price.as_ref());
        let price = price.filter(|_| usage.cost.is_none());
        let priced = |usage: &Usage| {
            let usd = usage.cost.map(Nanos::get).or(price.map(|price| Self::cost(&price, usage)))?;
            Some(Self::amounts(usage, usd, self.factor))
        };
        let mut states = self.states(key, model);
        let defs = self.path_defs(key, model);
        if priced(usage).is_none() {
            states.push((DenialCode::ModelUnpriced, String::from("key")));
        }
        let least = least.filter(|_| price.is_some());
        let full = if opens { self.full(key) } else { Vec::new() };
        if states.is_empty() && !self.is_closed(key) && full.is_empty() {
            let outputs = least.unwrap_or(usage.output_tokens)..=usage.output_tokens;
            for output_tokens in outputs.rev() {
                let usage = Usage { output_tokens, ..*usage };
                let held = priced(&usage).unwrap();
                if self.fits(key, &defs, &held) {
                    return Ok(Admitted { usage, held, price, defs });
                }
            }
        }
        let smallest = Usage { output_tokens: least.unwrap_or(usage.output_tokens), ..*usage };
        let need = priced(&smallest);
        Err(self.denial((key, model), states, &defs, (&smallest, need), opens))
    }

    /// Returns what is full of open reservations by the server's own bounds.
    pub(super) fn full(&self, key: usize) -> Vec<Failing> {
        let open = |of: Option<usize>| {
            let counted = self.uses.iter().filter(|used| used.is_open() && of.is_none_or(|key| used.key == key));
            i64::try_from(counted.count()).unwrap()
        };
        let places = [("key", OPEN_PER_KEY, open(Some(key))), ("organization", OPEN, open(None))];
        let full = places.into_iter().filter(|(_, bound, open)| open >= &i64::from(*bound));
        let failing = |(scope, bound, open)| {
            let numbers = (i64::from(bound), 0, open, 1, None);
            (DenialCode::ConcurrencyExceeded, format!("{scope}/server"), Some(numbers))
        };
        full.map(failing).collect()
    }

    fn denial(
        &self,
        (key, model): (usize, &Model),
        states: Vec<(DenialCode, String)>,
        defs: &[usize],
        (usage, need): (&Usage, Option<Amounts>),
        opens: bool,
    ) -> Answer {
        let is_lasting = !states.is_empty();
        let mut violations: Vec<Failing> = states.into_iter().map(|(code, at)| (code, at, None)).collect();
        if self.is_closed(key) {
            violations.push((DenialCode::OutsideTimeWindow, String::from("rule"), None));
        }
        let counts = Self::amounts(usage, 0, 0);
        for code in [DenialCode::ConcurrencyExceeded, DenialCode::RateLimitExceeded, DenialCode::BudgetExceeded] {
            for def in defs {
                let unit = self.defs[*def].limit.unit();
                let asked = Self::of(unit, &need.unwrap_or(counts));
                let is_known = need.is_some() || !unit.is_budget();
                if self.code(*def) == code && is_known && !self.admits(*def, self.now, asked) {
                    violations.push(self.failing(*def, self.now, asked));
                }
            }
            let asked = need.and_then(|need| self.pool_asked(key, need.credits.get()));
            if let Some(asked) = asked
                .filter(|asked| code == DenialCode::BudgetExceeded && !self.admits(self.pool(key), self.now, *asked))
            {
                violations.push(self.failing(self.pool(key), self.now, asked));
            }
            if code == DenialCode::ConcurrencyExceeded && opens {
                violations.extend(self.full(key));
            }
        }
        if let Some(need) = need.filter(|need| self.enforced && !self.wallet_admits(need.usd.get())) {
            violations.push(self.wallet_failing(need.usd.get()));
        }
        let code = violations[0].0;
        let wait = need.filter(|_| !is_lasting).and_then(|need| self.wait(key, model, &need, opens));
        Answer::Denied { code, wait, violations }
    }

    pub(super) fn wallet_failing(&self, asked: i64) -> Failing {
        let numbers = (self.balance(), 0, self.wallet_held(), asked, None);
        (DenialCode::WalletInsufficient, String::from("wallet"), Some(numbers))
    }

    pub(super) fn code(&self, def: usize) -> DenialCode {
        match self.defs[def].limit.unit() {
            Unit::InFlight => DenialCode::ConcurrencyExceeded,
            Unit::RequestsPerMinute | Unit::TokensPerMinute => DenialCode::RateLimitExceeded,
            Unit::Usd | Unit::Credits => DenialCode::BudgetExceeded,
        }
    }

    /// A limit that fails.
    pub(super) fn failing(&self, def: usize, at: i64, asked: i64) -> Failing {
        let limit = &self.defs[def].limit;
        let max = self.max_of(def).unwrap();
        let (spent, held) = self.standing(def, at);
        let is_over = self.is_handed(def) && (at == EARLY || Self::cycle_at(at) != Self::cycle_at(self.now));
        let reset = match limit.period() {
            Some(_) if is_over => Some(Self::cycle_at(self.now)),
            Some(period) => Self::window(period, at).1,
            None if limit.unit() == Unit::InFlight => None,
            None => self.slides_by(def, asked),
        };
        let name = format!("{}/{}", CODES[self.defs[def].spot.0], limit.id());
        (self.code(def), name, Some((max, spent, held, asked, reset)))
    }

    /// Tries each instant at which something slides out.
    fn slides_by(&self, def: usize, asked: i64) -> Option<i64> {
        let mut instants: Vec<i64> = self
            .posts_on(def)
            .filter(|(second, ..)| self.counts(*second))
            .map(|(second, ..)| (second + 61) * SECOND)
            .collect();
        instants.sort_unstable();
        let fits = |now: &i64| Self { now: *now, ..self.clone() }.admits(def, *now, asked);
        instants.into_iter().find(fits)
    }
}
