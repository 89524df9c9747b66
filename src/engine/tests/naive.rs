//! The rules once more, the slow and obvious way: keeps every admission and charge for ever and adds them up whenever
//! something is to be known. Shares values with the engine, but no arithmetic, windows, counters or state.

#![allow(clippy::similar_names, reason = "USD and uses are what this is about")]

use std::collections::BTreeMap;

use crate::domain::{
    decision::{DenialCode, ReservationState},
    id::{Model, RequestId},
    money::Nanos,
    operation::{Charge, Commit, Reserve},
    period::Period,
    policy::{Limit, Models, Unit},
    price::Price,
    reservation_id::ReservationNo,
    time::Timestamp,
    usage::{Amounts, Usage},
};

mod decide;
mod handing;
mod settle;
mod wait;

pub(super) use handing::{CAP, Handed, NaiveRule};
pub(super) use wait::Wait;

pub(super) const SECOND: i64 = 1_000_000;
pub(super) const DAY: i64 = 86_400 * SECOND;
/// Stands for whatever was before the cycle in which it was booked.
pub(super) const EARLY: i64 = i64::MIN;

/// Open reservations that a key, and all together, may have here: so few that this binds often.
pub(super) const OPEN_PER_KEY: u32 = 4;
pub(super) const OPEN: u32 = 8;

/// A place of the path: kind (key, membership, member, team, organization, or [`CEILING`]) and which of them.
pub(super) type Spot = (usize, usize);

/// The member and team of each key.
pub(super) const KEYS: [(usize, usize); 3] = [(0, 0), (0, 1), (1, 1)];

/// The operator's place on the organization, behind those of what was handed out.
pub(super) const CEILING: usize = 9;

/// The places of a key's path. Each key has a membership of its own.
pub(super) fn path(key: usize) -> [Spot; 6] {
    let (member, team) = KEYS[key];
    [(0, key), (1, key), (2, member), (3, team), (4, 0), (CEILING, 0)]
}

#[derive(Debug, Clone)]
pub(super) struct Def {
    pub spot: Spot,
    pub limit: Limit,
}

/// One admission: a reservation or a charge.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub no: Option<ReservationNo>,
    pub reserve: Option<(usize, Reserve)>,
    pub charge: Option<(usize, Charge)>,
    pub key: usize,
    pub model: Model,
    pub price: Option<Price>,
    pub factor: i64,
    pub wallet: bool,
    pub admit: i64,
    /// What it counts on, as places in [`Naive::defs`].
    pub defs: Vec<usize>,
    /// What it met that is narrowed to other models.
    pub narrowed: Vec<usize>,
    /// As granted.
    pub granted: (Amounts, i64, u64),
    pub usage: Usage,
    pub held: Amounts,
    pub expire: i64,
    pub progress: Option<(Usage, Amounts)>,
    pub revoked: Option<DenialCode>,
    pub state: ReservationState,
    /// Each entry, with what it counts on.
    pub booked: Vec<(Usage, Amounts, Vec<usize>)>,
    pub fixed: Vec<Fixed>,
    /// Tokens and requests by the second in which they count, and on what.
    pub posts: Vec<(i64, i64, i64, Vec<usize>)>,
    pub settled: Option<(Option<Commit>, Answer)>,
    /// For which reason, what was given back and what was charged, under which entry.
    pub released: Option<(bool, Amounts, Amounts, u64)>,
    /// Whether it happened before the cycle in which it was booked.
    pub early: bool,
}

/// A correction of what was booked for a model: USD and credits given back, and what of them the ceiling follows.
#[derive(Debug, Clone)]
pub(super) struct Fixed {
    pub model: Model,
    pub all: (i64, i64),
    pub of_ceiling: (i64, i64),
    /// What it counts on.
    pub on: Vec<usize>,
}

/// What an operation answers, of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Granted { held: Amounts, expire: i64, output: u64, replayed: bool, state: ReservationState },
    Denied { code: DenialCode, wait: Option<Wait>, violations: Vec<Failing> },
    Charged { charged: Amounts, overage: Amounts, late: bool, replayed: bool, entry: u64, balance: i64 },
    Released { released: Amounts, charged: Amounts, entry: u64, replayed: bool },
    ToppedUp { balance: i64, replayed: bool },
    Conflict(&'static str),
    Done,
}

/// A violation: code, what fails, and its max, spent, held, asked and reset.
pub(super) type Failing = (DenialCode, String, Option<Numbers>);
pub(super) type Numbers = (i64, i64, i64, i64, Option<i64>);

#[derive(Debug, Clone)]
pub(super) struct Naive {
    /// Every limit that ever was.
    pub defs: Vec<Def>,
    /// Those that are, by place.
    pub policies: BTreeMap<Spot, Vec<usize>>,
    /// Those that were removed and still count something, the last one at the end.
    pub retired: BTreeMap<Spot, Vec<usize>>,
    pub uses: Vec<Use>,
    pub top_ups: Vec<(RequestId, i64, i64)>,
    pub prices: BTreeMap<&'static str, Price>,
    pub off: BTreeMap<Spot, bool>,
    pub deleted: [bool; 3],
    pub key_ends: [Option<i64>; 3],
    pub key_models: [Models; 3],
    pub factor: i64,
    pub enforced: bool,
    pub charge_held: bool,
    pub handed: Handed,
    pub entry: u64,
    pub now: i64,
}

impl Naive {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            defs: Vec::new(),
            policies: BTreeMap::new(),
            retired: BTreeMap::new(),
            uses: Vec::new(),
            top_ups: Vec::new(),
            prices: BTreeMap::new(),
            off: BTreeMap::new(),
            deleted: [false; 3],
            key_ends: [None; 3],
            key_models: Default::default(),
            factor: 1_000_000_000,
            enforced: false,
            charge_held: false,
            handed: Handed::default(),
            entry: 0,
            now: now.micros(),
        }
    }

    /// Start and end of the window that an instant falls into.
    pub(super) fn window(period: Period, at: i64) -> (i64, Option<i64>) {
        let span = |offset: i64, length: i64| {
            let start = (at + offset).div_euclid(length) * length - offset;
            (start, Some(start + length))
        };
        match period {
            Period::OneTime => (0, None),
            Period::Cycle(window) => (window.start.micros(), Some(window.end.micros())),
            Period::Daily { zone } if zone.to_string() == "Asia/Tokyo" => span(9 * 3600 * SECOND, DAY),
            Period::Daily { .. } => span(0, DAY),
            // The epoch was a Thursday.
            Period::Weekly { start, .. } => span((3 - i64::from(start)) * DAY, 7 * DAY),
            Period::Every { seconds, anchor } => span(-anchor * SECOND, i64::from(seconds) * SECOND),
            Period::Monthly { .. } => unreachable!("months have tests of their own"),
        }
    }

    pub(super) fn binds(&self, unit: Unit) -> bool {
        unit != Unit::Credits || self.factor != 0
    }

    pub(super) fn cost(price: &Price, usage: &Usage) -> i64 {
        let plain = Self::input(usage) - usage.cached_input_tokens - usage.cache_write_tokens;
        let parts = [
            (plain, price.input, 1),
            (usage.cached_input_tokens, price.cached_input, 1),
            (usage.cache_write_tokens, price.cache_write, 1),
            (usage.output_tokens, price.output, 1),
            (usage.requests, price.per_request, 1_000_000),
        ];
        let millionths: i64 = parts.iter().map(|(n, price, per)| i64::try_from(*n).unwrap() * price.get() * per).sum();
        millionths / 1_000_000 + i64::from(millionths % 1_000_000 > 0)
    }

    /// Says how the cache is counted, for a usage of a reservation that was read as `before`.
    pub(super) fn read(usage: &Usage, before: bool, price: Option<&Price>) -> Usage {
        let cache = usage.cached_input_tokens + usage.cache_write_tokens;
        let said = usage.cache_outside_input.unwrap_or(price.is_some_and(|price| price.cache_outside_input));
        let beside = before || (cache > 0 && said) || cache > usage.input_tokens;
        Usage { cache_outside_input: if beside { Some(true) } else { usage.cache_outside_input }, ..*usage }
    }

    pub(super) fn input(usage: &Usage) -> u64 {
        let beside = usage.cache_outside_input == Some(true);
        usage.input_tokens + if beside { usage.cached_input_tokens + usage.cache_write_tokens } else { 0 }
    }

    pub(super) fn amounts(usage: &Usage, usd: i64, factor: i64) -> Amounts {
        let nanos = i128::from(usd) * i128::from(factor);
        let credits = i64::try_from(nanos / 1_000_000_000 + i128::from(nanos % 1_000_000_000 > 0)).unwrap();
        let tokens = i64::try_from(Self::input(usage) + usage.output_tokens).unwrap();
        let requests = i64::try_from(usage.requests).unwrap();
        Amounts { usd: Nanos::new(usd), credits: Nanos::new(credits), tokens, requests }
    }

    /// What an amount is for a limit of this unit.
    pub(super) fn of(unit: Unit, amounts: &Amounts) -> i64 {
        match unit {
            Unit::Usd => amounts.usd.get(),
            Unit::Credits => amounts.credits.get(),
            Unit::TokensPerMinute => amounts.tokens,
            Unit::RequestsPerMinute => amounts.requests,
            Unit::InFlight => 1,
        }
    }

    /// Spent and held on a limit, in the window of an instant.
    pub(super) fn standing(&self, def: usize, at: i64) -> (i64, i64) {
        let limit = &self.defs[def].limit;
        let unit = limit.unit();
        let holds = |used: &Use| used.is_open() && used.defs.contains(&def);
        if let (handing::POOL, team) = self.defs[def].spot {
            return self.pool_standing(team);
        }
        let is_early = |used: &&Use| !self.is_handed(def) || used.early == (at == EARLY);
        match (unit, limit.period()) {
            (Unit::InFlight, _) => (0, i64::try_from(self.uses.iter().filter(|used| holds(used)).count()).unwrap()),
            (_, None) => {
                let posts = self.posts_on(def).filter(|(second, ..)| self.counts(*second));
                let amount = |(_, tokens, requests, _): &(i64, i64, i64, Vec<usize>)| {
                    if unit == Unit::TokensPerMinute { *tokens } else { *requests }
                };
                (posts.map(amount).sum(), 0)
            }
            (_, Some(period)) => {
                let is_in =
                    |used: &&Use| at == EARLY || Self::window(period, used.admit).0 == Self::window(period, at).0;
                let inside = self.uses.iter().filter(is_early).filter(is_in);
                inside.fold((0, 0), |(spent, held), used| {
                    let on_it = used.booked.iter().filter(|(_, _, on)| on.contains(&def));
                    let booked: i64 = on_it.map(|(_, amounts, _)| Self::of(unit, amounts)).sum();
                    let booked =
                        booked - used.fixed(unit, |fixed| fixed.on.contains(&def), self.defs[def].spot.0 == CEILING);
                    (spent + booked, held + if holds(used) { Self::of(unit, &used.held) } else { 0 })
                })
            }
        }
    }

    pub(super) fn posts_on(&self, def: usize) -> impl Iterator<Item = &(i64, i64, i64, Vec<usize>)> {
        self.uses.iter().flat_map(|used| &used.posts).filter(move |(_, _, _, on)| on.contains(&def))
    }

    /// Whether something of this second can lie within the last 60 seconds.
    pub(super) fn counts(&self, second: i64) -> bool {
        self.now.div_euclid(SECOND) <= second + 60
    }

    pub(super) fn balance(&self) -> i64 {
        let added: i64 = self.top_ups.iter().map(|(_, amount, _)| amount).sum();
        let paid = self.uses.iter().filter(|used| used.wallet).flat_map(|used| &used.booked);
        let fixed = self.uses.iter().filter(|used| used.wallet).map(|used| used.fixed(Unit::Usd, |_| true, false));
        added - paid.map(|(_, amounts, _)| amounts.usd.get()).sum::<i64>() + fixed.sum::<i64>()
    }

    pub(super) fn wallet_held(&self) -> i64 {
        self.uses.iter().filter(|used| used.wallet && used.is_open()).map(|used| used.held.usd.get()).sum()
    }

    pub(super) fn find(&self, no: ReservationNo) -> Option<usize> {
        self.uses.iter().position(|used| used.no == Some(no))
    }

    /// Replaces a policy; a limit that counts the same as before keeps its usage, also after it was removed.
    pub(super) fn set_policy(&mut self, spot: Spot, limits: Vec<Limit>, restart: bool) -> Answer {
        let old = self.policies.get(&spot).cloned().unwrap_or_default();
        let is_set = |limit: &Limit| old.iter().any(|def| self.defs[*def].limit == *limit);
        if self.factor == 0 && limits.iter().any(|limit| limit.unit() == Unit::Credits && !is_set(limit)) {
            return Answer::Conflict("precondition");
        }
        let same = |a: &Limit, b: &Limit| a.id() == b.id() && a.unit() == b.unit() && a.period() == b.period();
        let removed = self.retired.get(&spot).cloned().unwrap_or_default();
        // A member that is given a one-time budget has none: nothing of one before is remembered.
        let discarded = |limit: &Limit| spot.0 == 2 && limit.period() == Some(Period::OneTime);
        let counts = |def: &usize| self.standing(*def, self.now) != (0, 0);
        let goes_on = |def: &usize, limit: &Limit| same(&self.defs[*def].limit, limit);
        let forgets = |limit: &Limit| {
            let named = |def: &&usize| self.defs[**def].limit.id() == limit.id();
            match old.iter().find(named) {
                Some(active) if goes_on(active, limit) => false,
                Some(active) if counts(active) => true,
                None if discarded(limit) => false,
                _ => !removed.iter().any(|def| goes_on(def, limit)) && removed.iter().filter(named).any(counts),
            }
        };
        if !restart && limits.iter().any(forgets) {
            return Answer::Conflict("restart");
        }
        // What starts over where that was said is forgotten.
        let is_replaced = |def: &usize| {
            limits.iter().any(|limit| goes_on(def, limit) || (restart && self.defs[*def].limit.id() == limit.id()))
        };
        let kept = old.iter().filter(|def| !discarded(&self.defs[**def].limit));
        let gone: Vec<_> = removed.iter().chain(kept).copied().filter(|def| counts(def) && !is_replaced(def)).collect();
        self.retired.insert(spot, gone);
        let removed = if restart { Vec::new() } else { removed };
        let mut new = Vec::new();
        for limit in limits {
            let kept = old.iter().chain(removed.iter().rev()).copied().find(|def| same(&self.defs[*def].limit, &limit));
            let def = kept.unwrap_or(self.defs.len());
            if kept.is_none() {
                self.defs.push(Def { spot, limit: limit.clone() });
            }
            self.defs[def].limit = limit;
            new.push(def);
        }
        self.policies.insert(spot, new);
        self.stop();
        Answer::Done
    }

    pub(super) fn is_alive(&self, def: usize) -> bool {
        let spot = self.defs[def].spot;
        match self.policies.get(&spot) {
            _ if (CAP..CEILING).contains(&spot.0) => self.is_counting(def),
            Some(defs) => defs.contains(&def),
            None => false,
        }
    }

    /// Returns whether a limit is set, or was removed and still counts.
    pub(super) fn is_counter(&self, def: usize) -> bool {
        let is_retired = self.retired.get(&self.defs[def].spot).is_some_and(|defs| defs.contains(&def));
        is_retired || self.is_alive(def)
    }

    /// Whoever holds on what is used up or switched off must stop: first cause first.
    pub(super) fn stop(&mut self) {
        let empty = self.enforced && self.balance() <= 0;
        for at in 0..self.uses.len() {
            let used = &self.uses[at];
            if !used.is_open() || used.revoked.is_some() {
                continue;
            }
            let off = |kind: usize| self.off.get(&path(used.key)[kind]).is_some_and(|off| *off);
            let is_deleted = self.deleted[used.key].then_some(DenialCode::KeyUnknown);
            let places = [
                (0, DenialCode::KeyDisabled),
                (2, DenialCode::MemberInactive),
                (3, DenialCode::TeamInactive),
                (4, DenialCode::OrganizationInactive),
                (5, DenialCode::OrganizationInactive),
            ];
            let switched_off = places.into_iter().find(|(kind, _)| off(*kind)).map(|(_, code)| code);
            let used_up = |def: &usize| {
                let limit = &self.defs[*def].limit;
                let is_budget = limit.unit().is_budget() && self.binds(limit.unit()) && self.is_alive(*def);
                let is_current = !self.is_over(*def, used);
                is_budget && is_current && self.max_of(*def).is_some_and(|max| self.standing(*def, used.admit).0 >= max)
            };
            let pool = self.pool(used.key);
            let is_on_pool = used.defs.contains(&self.handed_part(8, used.key)) && self.draws(used.key);
            let mut limits = used.defs.iter().chain(is_on_pool.then_some(&pool));
            let spent = limits.any(used_up).then_some(DenialCode::BudgetExceeded);
            let unpaid = (empty && used.wallet).then_some(DenialCode::WalletInsufficient);
            self.uses[at].revoked = is_deleted.or(switched_off).or(spent).or(unpaid);
        }
    }
}

impl Use {
    pub(super) fn is_open(&self) -> bool {
        self.state == ReservationState::Open
    }

    /// Returns what corrections gave back of it, as a limit of this unit sees it.
    pub(super) fn fixed(&self, unit: Unit, which: impl Fn(&&Fixed) -> bool, is_ceiling: bool) -> i64 {
        let seen = self.fixed.iter().filter(which);
        let seen = seen.map(|fixed| if is_ceiling { fixed.of_ceiling } else { fixed.all });
        seen.map(|(usd, credits)| if unit == Unit::Credits { credits } else { usd }).sum()
    }
}
