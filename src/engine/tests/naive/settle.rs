//! What happens to admissions.

use super::{Answer, DAY, EARLY, Failing, Fixed, Naive, SECOND, Use, decide::Admitted};
use crate::domain::{
    decision::{DenialCode, ReservationState},
    id::{Model, RequestId},
    money::Nanos,
    operation::{Charge, Commit, Extend, Reserve},
    policy::Unit,
    reservation_id::ReservationNo,
    time::Timestamp,
    usage::{Amounts, Usage},
};

fn conflict(name: &'static str) -> Answer {
    Answer::Conflict(name)
}

fn granted(used: &Use, replayed: bool) -> Answer {
    let (held, expire, output) = used.granted;
    let state = match used.state {
        ReservationState::Open if used.revoked.is_some() => ReservationState::Revoked,
        state => state,
    };
    Answer::Granted { held, expire, output, replayed, state }
}

fn replay(answer: &Answer) -> Answer {
    let mut answer = answer.clone();
    if let Answer::Charged { replayed, .. } = &mut answer {
        *replayed = true;
    }
    answer
}

fn took(used: &Use, request: &RequestId) -> bool {
    let reserved = used.reserve.as_ref().map(|(_, ask)| &ask.request);
    reserved.or(used.charge.as_ref().map(|(_, charge)| &charge.request)) == Some(request)
}

impl Naive {
    fn admission(&self, key: usize, model: &Model, admitted: Admitted) -> Use {
        let Admitted { usage, held, price, defs } = admitted;
        Use {
            no: None,
            reserve: None,
            charge: None,
            key,
            model: model.clone(),
            price,
            factor: self.factor,
            wallet: self.enforced,
            admit: self.now,
            defs,
            narrowed: self.narrowed_defs(key, model),
            granted: (held, 0, usage.output_tokens),
            usage,
            held,
            expire: 0,
            progress: None,
            revoked: None,
            state: ReservationState::Open,
            booked: Vec::new(),
            fixed: Vec::new(),
            posts: Vec::new(),
            settled: None,
            released: None,
            early: false,
        }
    }

    /// `no` is the number that the engine gave, if it granted.
    pub(in super::super) fn reserve(&mut self, key: usize, ask: &Reserve, no: Option<ReservationNo>) -> Answer {
        self.expire(None);
        if let Some(used) = self.uses.iter().rev().find(|used| took(used, &ask.request)) {
            let is_same = used.reserve.as_ref() == Some(&(key, ask.clone()));
            return if is_same { granted(used, true) } else { conflict("reused") };
        }
        if self.top_ups.iter().any(|(id, ..)| *id == ask.request) {
            return conflict("reused");
        }
        if ask.min_output_tokens.is_some_and(|least| least > ask.usage.output_tokens) {
            return conflict("invalid");
        }
        let admitted = match self.decide(key, &ask.model, &ask.usage, ask.min_output_tokens, true) {
            Ok(admitted) => admitted,
            Err(denial) => return denial,
        };
        let mut used = self.admission(key, &ask.model, admitted);
        (used.no, used.reserve) = (no, Some((key, ask.clone())));
        used.expire = self.now + ask.ttl.as_micros();
        used.granted.1 = used.expire;
        used.posts.push((self.now.div_euclid(SECOND), used.held.tokens, used.held.requests, used.defs.clone()));
        let answer = granted(&used, false);
        self.uses.push(used);
        answer
    }

    /// Expires what is due: at most 64, and the target.
    pub(in super::super) fn expire(&mut self, target: Option<ReservationNo>) {
        let is_due = |used: &Use, now: i64| used.is_open() && used.expire <= now;
        for _ in 0..64 {
            let due = self.uses.iter().enumerate().filter(|(_, used)| is_due(used, self.now));
            let Some((at, _)) = due.min_by_key(|(_, used)| (used.expire, used.no)) else { return };
            self.expire_one(at);
        }
        if let Some(at) = target.and_then(|no| self.find(no)).filter(|at| is_due(&self.uses[*at], self.now)) {
            self.expire_one(at);
        }
    }

    fn expire_one(&mut self, at: usize) {
        let used = &self.uses[at];
        let holds = used.held != Amounts::ZERO;
        let owed = if self.charge_held && holds { Some((used.usage, used.held)) } else { used.progress };
        match owed {
            Some((usage, total)) => {
                let on = used.defs.clone();
                self.book(at, (usage, total), on, ReservationState::Expired);
            }
            None => self.close(at, &Amounts::ZERO, &[], ReservationState::Expired),
        }
    }

    /// Ends the hold; what was counted of it and isn't charged goes, as far as it still counts.
    fn close(&mut self, at: usize, charged: &Amounts, on: &[usize], state: ReservationState) {
        let used = &self.uses[at];
        let own = if used.is_open() { used.held } else { Amounts::ZERO };
        let (both, before): (Vec<_>, Vec<_>) = used.defs.iter().copied().partition(|def| on.contains(def));
        let new = on.iter().copied().filter(|def| !used.defs.contains(def)).collect();
        self.post(at, charged.minus(own), both);
        self.post(at, Amounts::ZERO.minus(own), before);
        self.post(at, *charged, new);
        self.uses[at].state = state;
    }

    fn post(&mut self, at: usize, change: Amounts, on: Vec<usize>) {
        let admitted = self.uses[at].admit.div_euclid(SECOND);
        let counts = self.counts(admitted);
        let now = self.now.div_euclid(SECOND);
        let late = |n: i64| n.max(0);
        let post = if counts {
            (admitted, change.tokens, change.requests, on)
        } else {
            (now, late(change.tokens), late(change.requests), on)
        };
        self.uses[at].posts.push(post);
    }

    fn book(&mut self, at: usize, (usage, total): (Usage, Amounts), on: Vec<usize>, state: ReservationState) -> Answer {
        let used = &self.uses[at];
        let late = used.state == ReservationState::Expired;
        let booked = used.booked.iter().fold(total, |rest, (_, before, _)| rest.minus(*before));
        let own = if used.is_open() { used.held } else { Amounts::ZERO };
        let overage = self.overage(at, &booked, &own, &on);
        let counts = |usage: &Usage| {
            let cache = (usage.cached_input_tokens, usage.cache_write_tokens);
            (Self::input(usage), cache, usage.output_tokens, usage.requests)
        };
        let same_counts = used.booked.last().is_some_and(|(before, ..)| counts(before) == counts(&usage));
        let is_nothing = late && booked == Amounts::ZERO && same_counts;
        self.close(at, &booked, &on, state);
        self.uses[at].booked.push((usage, booked, on));
        self.entry += u64::from(!is_nothing);
        let entry = if is_nothing { 0 } else { self.entry };
        self.stop();
        Answer::Charged { charged: total, overage, late, replayed: false, entry, balance: self.balance() }
    }

    /// What wasn't held and stands above a cap then.
    fn overage(&self, at: usize, booked: &Amounts, own: &Amounts, on: &[usize]) -> Amounts {
        let used = &self.uses[at];
        let mut over = [0; 5];
        let grown = self.counts(used.admit.div_euclid(SECOND));
        for def in on.iter().filter(|def| self.is_alive(**def)) {
            let limit = &self.defs[*def].limit;
            let unit = limit.unit();
            let max = self.max_of(*def).filter(|_| self.binds(unit) && unit != Unit::InFlight);
            let Some(max) = max.filter(|_| !self.is_over(*def, used)) else { continue };
            let freed = if used.defs.contains(def) { Self::of(unit, own) } else { 0 };
            let more = Self::of(unit, booked) - freed;
            let (spent, held) = self.standing(*def, used.admit);
            let after = spent + held + if unit.is_budget() || grown { more } else { more.max(0) };
            let above = (after - max).min(more).max(0);
            over[unit as usize] = above.max(over[unit as usize]);
        }
        let pool = self.pool(used.key);
        let counts = used.defs.contains(&self.handed_part(8, used.key)) && !self.is_over(pool, used);
        if let Some(max) = self.max_of(pool).filter(|_| counts && self.binds(Unit::Credits)) {
            let more = self.redrawn(used.key, booked.credits.get(), -own.credits.get());
            let (spent, held) = self.pool_standing(super::KEYS[used.key].1);
            let above = (spent + held + more - max).min(more).max(0);
            over[Unit::Credits as usize] = above.max(over[Unit::Credits as usize]);
        }
        if used.wallet {
            let more = (booked.usd - own.usd).get();
            let above = self.wallet_held() + more - self.balance();
            over[Unit::Usd as usize] = over[Unit::Usd as usize].max(above.min(more));
        }
        let nanos = |unit: Unit| Nanos::new(over[unit as usize]);
        Amounts {
            usd: nanos(Unit::Usd),
            credits: nanos(Unit::Credits),
            tokens: over[Unit::TokensPerMinute as usize],
            requests: over[Unit::RequestsPerMinute as usize],
        }
    }

    /// Where an operation on a reservation finds it.
    fn seek(&mut self, no: ReservationNo) -> Result<usize, Answer> {
        self.expire(Some(no));
        let at = self.find(no).ok_or(conflict("unknown"))?;
        if self.now - self.uses[at].admit > DAY { Err(conflict("too old")) } else { Ok(at) }
    }

    /// Returns what usage of a reservation is read as, and comes to.
    fn settled(&self, at: usize, usage: &Usage, other: Option<&Model>) -> (Usage, Amounts) {
        let used = &self.uses[at];
        let beside = |usage: &Usage| usage.cache_outside_input == Some(true);
        let before = beside(&used.usage) || used.progress.is_some_and(|(so_far, _)| beside(&so_far));
        let price = match other {
            Some(model) => self.price(model).or(used.price),
            None => used.price.or(self.price(&used.model)),
        };
        let usage = Self::read(usage, before, price.as_ref());
        let by_price = price.map(|price| Self::cost(&price, &usage));
        let usd = usage.cost.map(Nanos::get).or(by_price).unwrap_or(used.held.usd.get());
        (usage, Self::amounts(&usage, usd, used.factor))
    }

    /// What counts a reservation where another model ran: of what it was held on, all that binds that model too, or all where that has
    /// no price; and what it met that was narrowed to others and binds that model by now.
    fn ran_on(&self, at: usize, other: &Model) -> Vec<usize> {
        let used = &self.uses[at];
        let binds = |def: &usize| self.defs[*def].limit.models().include(other);
        let is_priced = self.price(other).is_some();
        let held = used.defs.iter().copied().filter(|def| !is_priced || !self.is_counter(*def) || binds(def));
        let counts = |def: &usize| self.is_counter(*def) && self.binds(self.defs[*def].limit.unit());
        held.chain(used.narrowed.iter().copied().filter(|def| counts(def) && binds(def))).collect()
    }

    /// What expiry charged is charged no more.
    fn take_back(&mut self, at: usize) {
        let used = &self.uses[at];
        let charged = used.booked.iter().fold(Amounts::ZERO, |rest, (_, before, _)| rest.minus(*before));
        let on = used.defs.clone();
        self.post(at, charged, on.clone());
        self.uses[at].booked.push((Usage::default(), charged, on));
        self.entry += 1;
    }

    pub(in super::super) fn commit(&mut self, no: ReservationNo, commit: &Commit) -> Answer {
        let at = match self.seek(no) {
            Ok(at) => at,
            Err(answer) => return answer,
        };
        match self.uses[at].state {
            ReservationState::Released => return conflict("released"),
            ReservationState::Committed => {
                let (before, answer) = self.uses[at].settled.as_ref().unwrap();
                return if before.as_ref() == Some(commit) { replay(answer) } else { conflict("otherwise") };
            }
            _ => {}
        }
        let other = commit.model.as_ref().filter(|model| **model != self.uses[at].model);
        let used = self.settled(at, &commit.usage, other);
        let on = other.map_or_else(|| self.uses[at].defs.clone(), |other| self.ran_on(at, other));
        if other.is_some() && !self.uses[at].booked.is_empty() {
            self.take_back(at);
        }
        let answer = self.book(at, used, on, ReservationState::Committed);
        self.uses[at].settled = Some((Some(commit.clone()), answer.clone()));
        answer
    }

    pub(in super::super) fn release(&mut self, no: ReservationNo, reason: bool) -> Answer {
        let at = match self.seek(no) {
            Ok(at) => at,
            Err(answer) => return answer,
        };
        let used = &self.uses[at];
        match used.state {
            ReservationState::Committed => conflict("committed"),
            ReservationState::Released => match used.released {
                Some((before, released, charged, entry)) if before == reason => {
                    Answer::Released { released, charged, entry, replayed: true }
                }
                _ => conflict("otherwise"),
            },
            ReservationState::Expired if used.booked.is_empty() => {
                Answer::Released { released: Amounts::ZERO, charged: Amounts::ZERO, entry: 0, replayed: true }
            }
            ReservationState::Expired => conflict("expired"),
            _ => self.give_back(at, reason),
        }
    }

    /// Charges what was reported as used, and frees the rest.
    fn give_back(&mut self, at: usize, reason: bool) -> Answer {
        let (held, progress, on) = (self.uses[at].held, self.uses[at].progress, self.uses[at].defs.clone());
        let (charged, entry) = match progress {
            None => {
                self.close(at, &Amounts::ZERO, &[], ReservationState::Released);
                (Amounts::ZERO, 0)
            }
            Some((usage, total)) => {
                self.book(at, (usage, total), on, ReservationState::Released);
                (total, self.entry)
            }
        };
        let released = held.minus(charged).max(Amounts::ZERO);
        self.uses[at].released = Some((reason, released, charged, entry));
        Answer::Released { released, charged, entry, replayed: false }
    }

    pub(in super::super) fn extend(&mut self, no: ReservationNo, extend: &Extend) -> Answer {
        let at = match self.seek(no) {
            Ok(at) => at,
            Err(answer) => return answer,
        };
        let used = &self.uses[at];
        let stop = |code| Answer::Denied { code, wait: None, violations: Vec::new() };
        match used.state {
            ReservationState::Committed => return conflict("committed"),
            ReservationState::Released => return conflict("released"),
            ReservationState::Expired => return stop(DenialCode::ReservationExpired),
            _ if used.revoked.is_some() => return stop(DenialCode::Revoked),
            _ => {}
        }
        let shrinks = |new: &Usage, old: &Usage| {
            let counts = |u: &Usage| {
                let cost = u.cost.map_or(0, |cost| u64::try_from(cost.get()).unwrap());
                [u.input_tokens, u.cached_input_tokens, u.cache_write_tokens, u.output_tokens, u.requests, cost]
            };
            counts(new).iter().zip(counts(old)).any(|(new, old)| *new < old)
        };
        let so_far = extend.usage_so_far;
        if let (Some(new), Some((old, _))) = (&so_far, &used.progress)
            && shrinks(new, old)
        {
            return conflict("invalid");
        }
        let (before, mut target) = (used.usage, used.held);
        let mut usage = before;
        if let Some(estimate) = &extend.estimate {
            let with_progress = so_far.map_or(*estimate, |so_far| estimate.at_least(&so_far));
            if shrinks(&with_progress, &used.usage) && shrinks(estimate, &used.usage) {
                return conflict("invalid");
            }
            usage = self.settled(at, estimate, None).0;
        }
        let progress = so_far.map(|so_far| self.settled(at, &so_far, None));
        if let Some((so_far, amounts)) = progress {
            (usage, target) = (usage.at_least(&so_far), target.max(amounts));
        }
        if extend.estimate.is_some() || so_far.is_some() {
            target = target.max(self.settled(at, &usage, None).1);
        }
        let more = target.minus(used.held);
        if let Some(denial) = self.extension_denial(at, &more) {
            return denial;
        }
        let on = self.uses[at].defs.clone();
        self.post(at, more, on);
        let expire = (self.now + extend.ttl.as_micros()).min(self.uses[at].admit + DAY);
        let used = &mut self.uses[at];
        (used.usage, used.held, used.expire) = (usage, target, expire);
        used.progress = progress.or(used.progress);
        Answer::Granted {
            held: target,
            expire,
            output: usage.output_tokens,
            replayed: false,
            state: ReservationState::Open,
        }
    }

    fn extension_denial(&self, at: usize, more: &Amounts) -> Option<Answer> {
        let violations = self.failing_extension(at, more);
        let code = violations.first()?.0;
        Some(Answer::Denied { code, wait: self.wait_for_extension(at, more), violations })
    }

    /// In the windows that it was admitted in, which never start over for it.
    pub(super) fn failing_extension(&self, at: usize, more: &Amounts) -> Vec<Failing> {
        let used = &self.uses[at];
        let mut failing = Vec::new();
        for code in [DenialCode::RateLimitExceeded, DenialCode::BudgetExceeded] {
            for def in used.defs.iter().filter(|def| self.is_alive(**def) && self.code(**def) == code) {
                let unit = self.defs[*def].limit.unit();
                let asked = Self::of(unit, more);
                let at = if self.is_handed(*def) && used.early { EARLY } else { used.admit };
                let binds = self.binds(unit) && asked > 0;
                if binds && !self.admits(*def, at, asked) {
                    failing.push(self.failing(*def, at, asked));
                }
            }
        }
        failing.extend(self.pool_failing(used, more.credits.get()));
        if used.wallet && more.usd.get() > 0 && !self.wallet_admits(more.usd.get()) {
            failing.push(self.wallet_failing(more.usd.get()));
        }
        failing
    }

    /// The pool gives nothing more in a cycle that has ended.
    fn pool_failing(&self, used: &Use, more: i64) -> Option<super::Failing> {
        let pool = self.pool(used.key);
        let counts = used.defs.contains(&self.handed_part(8, used.key)) && self.handed.own[used.key].is_none();
        if !counts || self.factor == 0 || self.max_of(pool).is_none() {
            return None;
        }
        let is_over = self.is_over(pool, used);
        let asked = if is_over { more } else { self.redrawn(used.key, 0, more) };
        let fails = asked > 0 && (is_over || !self.admits(pool, self.now, asked));
        fails.then(|| self.failing(pool, self.now, asked))
    }

    pub(in super::super) fn charge(&mut self, key: usize, charge: &Charge) -> Answer {
        self.expire(None);
        if let Some(used) = self.uses.iter().rev().find(|used| took(used, &charge.request)) {
            let is_same = used.charge.as_ref() == Some(&(key, charge.clone()));
            return if is_same { replay(&used.settled.as_ref().unwrap().1) } else { conflict("reused") };
        }
        let at = charge.occurred_at.map_or(self.now, Timestamp::micros);
        if at > self.now || self.now - at > DAY || (at != self.now && !charge.already_used) {
            return conflict("invalid");
        }
        let admitted = if charge.already_used {
            let price = self.price(&charge.model);
            let usage = Self::read(&charge.usage, false, price.as_ref());
            let price = price.filter(|_| usage.cost.is_none());
            let usd = usage.cost.map(Nanos::get);
            let Some(usd) = usd.or(price.map(|price| Self::cost(&price, &usage))) else {
                let unpriced = DenialCode::ModelUnpriced;
                let violations = vec![(unpriced, String::from("key"), None)];
                return Answer::Denied { code: unpriced, wait: None, violations };
            };
            let held = Self::amounts(&usage, usd, self.factor);
            Admitted { usage, held, price, defs: self.path_defs(key, &charge.model) }
        } else {
            match self.decide(key, &charge.model, &charge.usage, None, false) {
                Ok(admitted) => admitted,
                Err(denial) => return denial,
            }
        };
        let (total, on) = ((admitted.usage, admitted.held), admitted.defs.clone());
        let mut used = self.admission(key, &charge.model, admitted);
        (used.admit, used.charge, used.state) = (at, Some((key, charge.clone())), ReservationState::Committed);
        used.early = self.is_over(self.pool(key), &used);
        self.uses.push(used);
        let answer = self.book(self.uses.len() - 1, total, on, ReservationState::Committed);
        self.uses.last_mut().unwrap().settled = Some((None, answer.clone()));
        answer
    }

    /// Puts right what an entry booked for a model, of which that much was booked in all.
    pub(in super::super) fn correct(
        &mut self,
        (at, entry): (usize, usize),
        (model, (usd, credits)): (&Model, (i64, i64)),
        amount: i64,
        by_operator: bool,
    ) -> Answer {
        self.expire(None);
        let used = &self.uses[at];
        if used.state == ReservationState::Expired && self.now - used.admit <= DAY {
            return conflict("open");
        }
        let of =
            |part: fn(&Fixed) -> i64| used.fixed.iter().filter(|fixed| fixed.model == *model).map(part).sum::<i64>();
        let (before, ceiling_before) = (of(|fixed| fixed.all.0), of(|fixed| fixed.of_ceiling.0));
        let after = before + amount;
        if !(0..=usd).contains(&after) {
            return conflict("precondition");
        }
        let share = |part: i64| credits * part / usd;
        let ceiling = (ceiling_before + if by_operator { amount } else { 0 }).min(after).max(0);
        let all = (amount, share(after) - share(before));
        let of_ceiling = (ceiling - ceiling_before, share(ceiling) - share(ceiling_before));
        let on = self.uses[at].booked[entry].2.clone();
        self.uses[at].fixed.push(Fixed { model: model.clone(), all, of_ceiling, on });
        self.entry += 1;
        self.stop();
        Answer::ToppedUp { balance: self.balance(), replayed: false }
    }

    pub(in super::super) fn top_up(&mut self, request: &RequestId, amount: i64) -> Answer {
        self.expire(None);
        self.entry += 1;
        self.top_ups.push((request.clone(), amount, 0));
        Answer::ToppedUp { balance: self.balance(), replayed: false }
    }

    /// A hold that a crash forgot, named again.
    pub(in super::super) fn restore(&mut self, lost: &Use) -> Result<(), Answer> {
        if self.now - lost.admit > DAY {
            return Err(conflict("too old"));
        }
        let (key, model) = (lost.key, &lost.model);
        let (price, defs) = (self.price(model), self.path_defs(key, model));
        let mut used =
            self.admission(key, model, Admitted { usage: Usage::default(), held: Amounts::ZERO, price, defs });
        (used.no, used.admit) = (lost.no, lost.admit);
        used.expire = (self.now + 600 * SECOND).min(lost.admit + DAY);
        used.early = self.is_over(self.pool(key), &used);
        self.uses.push(used);
        self.stop();
        Ok(())
    }
}
