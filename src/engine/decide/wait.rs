//! Looks ahead for the first moment at which a refused request would be granted if nothing else happened.
//!
//! Whatever refuses at a moment refuses until its own wait is over. So the latest of these waits is the next moment to look
//! at, until nothing refuses any more. Holds that run out by then count as their expiry will charge them. The work is bounded,
//! because it is done under the organization's lock: what can't be found out within the bounds is said to be a guess.

use smallvec::SmallVec;

use super::{Ask, OpenBounds, OrganizationState, Path, binding};
use crate::{
    domain::{
        decision::Retry,
        event::{LimitNo, Reserved},
        id::KeyId,
        policy::{AllocationPlace, Place, Unit},
        rule::{Hours, Rule},
        time::{Span, Timestamp},
        usage::Amounts,
    },
    engine::{
        limit::{Counter, LimitEntry, Standing, amount_in},
        rate::Rate,
        reservation::Hold,
    },
};

mod pool;

use pool::Pool;

/// Moments to look at.
const ROUNDS: usize = 8;
/// Holds to look at, those that run out first before the others.
const HOLDS: usize = 64;
/// Answered where a slot must get free: nobody can know when that is.
const SLOT_WAIT: Span = Span::SECOND;
/// Answered where holds that are due wait for their turn to be expired.
const BACKLOG_WAIT: Span = Span::micros(100_000);

/// Returns when to ask again for `need`; `None` when waiting doesn't help. Only limits, the wallet and the hours refuse it.
pub(super) fn until_granted(
    state: &OrganizationState,
    path: &Path<'_>,
    ask: &Ask<'_>,
    need: Amounts,
    open: OpenBounds,
    now: Timestamp,
) -> Option<Retry> {
    let mut ahead = Ahead::new(state, now);
    for (no, entry) in binding(state, path, ask.model) {
        ahead.watch(no, entry, state.standing(entry, now), amount_in(entry.limit.unit(), need))?;
    }
    ahead.pool = Pool::of_request(state, path, need.credits);
    if state.wallet_binds() {
        ahead.watch_wallet(need.usd.get())?;
    }
    ahead.watch_open(path, ask.key, open)?;
    ahead.hours = path.restricting_rule();
    if state.binds(Unit::Credits) {
        ahead.allocated = Some((path.key.entity.team, path.key.entity.membership, need.credits.get()));
    }
    ahead.key_end = path.key.entity.key.expire_time;
    ahead.look_at_holds();
    ahead.retry()
}

/// Returns when to ask again to hold `more` for a reservation, in the windows that it was admitted in, which never start over for
/// it; `None` when waiting doesn't help.
pub(in crate::engine) fn until_extended(
    state: &OrganizationState,
    reserved: &Reserved,
    more: Amounts,
    now: Timestamp,
) -> Option<Retry> {
    let mut ahead = Ahead::new(state, now);
    for touch in reserved.touches.iter().filter(|touch| touch.unit != Unit::InFlight && state.binds(touch.unit)) {
        let asked = amount_in(touch.unit, more);
        if let Some(entry) = state.limit(touch.limit).filter(|_| asked > 0) {
            let standing = Standing { reset: None, ..entry.standing_in(touch.window, now) };
            ahead.watch(touch.limit, entry, standing, asked)?;
            ahead.lapse(entry, &reserved.key);
        }
    }
    ahead.watch_pool(reserved, more.credits)?;
    if reserved.wallet && more.usd.is_positive() {
        ahead.watch_wallet(more.usd.get())?;
    }
    ahead.look_at_holds();
    ahead.retry()
}

struct Ahead<'a> {
    state: &'a OrganizationState,
    now: Timestamp,
    /// By number, once holds are looked at.
    limits: SmallVec<[Check<'a>; 8]>,
    wallet: Option<Check<'a>>,
    pool: Option<Pool>,
    /// The server's own bounds, for the key of this id and for all.
    open: Option<(&'a str, [Check<'a>; 2])>,
    hours: Option<(&'a Rule, &'a Hours)>,
    /// Places of the team and the membership, and the credits needed: the next cycle has other caps.
    allocated: Option<(u32, u32, i64)>,
    key_end: Option<Timestamp>,
    /// When the first hold ends that isn't looked at.
    unseen: Option<Timestamp>,
}

/// What may refuse.
struct Check<'a> {
    /// `None` for what is no limit of a policy.
    no: Option<LimitNo>,
    kind: Kind<'a>,
    max: i64,
    need: i64,
    spent: i64,
    held: i64,
    window: Timestamp,
    /// When all of it starts over.
    reset: Option<Timestamp>,
    /// The holds on it that run out, the earliest first.
    ends: Vec<End>,
}

#[derive(Clone, Copy)]
enum Kind<'a> {
    /// A budget, or the wallet: nothing is spent of a balance.
    Sum,
    /// An allocation, of which extra credits lapse: its cap from an instant on.
    Lapsing {
        from: Timestamp,
        max: i64,
    },
    Rate(&'a Rate),
    Slots,
}

/// A hold that runs out.
struct End {
    at: Timestamp,
    admitted: Timestamp,
    charged: i64,
    freed: i64,
}

/// What is said of a moment.
enum Verdict {
    Admits,
    Never,
    Until(Until),
    /// It refuses, and until when can't be known.
    Unknown,
}

/// A wait, with what [`Retry`] says of it.
#[derive(Clone, Copy)]
struct Until {
    at: Timestamp,
    may_be_sooner: bool,
    at_least: bool,
}

impl Until {
    /// Returns what both of them refuse until then.
    fn and(self, other: Self) -> Self {
        match self.at.cmp(&other.at) {
            std::cmp::Ordering::Less => other,
            std::cmp::Ordering::Greater => self,
            std::cmp::Ordering::Equal => Self {
                at: self.at,
                may_be_sooner: self.may_be_sooner && other.may_be_sooner,
                at_least: self.at_least || other.at_least,
            },
        }
    }
}

impl<'a> Ahead<'a> {
    fn new(state: &'a OrganizationState, now: Timestamp) -> Self {
        Self {
            state,
            now,
            limits: SmallVec::new(),
            wallet: None,
            pool: None,
            open: None,
            hours: None,
            allocated: None,
            key_end: None,
            unseen: None,
        }
    }

    /// Answers `None` where a limit never admits what is needed.
    fn watch(&mut self, no: LimitNo, entry: &'a LimitEntry, standing: Standing, need: i64) -> Option<()> {
        let Some(max) = entry.limit.max() else { return Some(()) };
        let Standing { spent, held, window, reset } = standing;
        let kind = match &entry.counter {
            Counter::Rate(rate) => Kind::Rate(rate),
            Counter::InFlight(_) => Kind::Slots,
            Counter::Budget(_) => Kind::Sum,
        };
        let check = Check { no: Some(no), kind, max, need, spent, held, window, reset, ends: Vec::new() };
        self.limits.push(check.unless_hopeless()?);
        Some(())
    }

    /// Notes that an allocation which was watched last has another cap in the next cycle. A hold stays in the window of its admission.
    fn lapse(&mut self, entry: &LimitEntry, key: &KeyId) {
        let allocations = &self.state.allocations;
        let caps = self.state.keys.find(key).map(|row| allocations.next_caps(row.entity.team, row.entity.membership));
        let next = match (&*entry.place, caps) {
            (Place::Allocation(AllocationPlace::Member(..)), Some([own, _])) => own,
            (Place::Allocation(AllocationPlace::Organization), Some([_, all])) => all,
            _ => None,
        };
        if let (Some(max), Some(check)) = (next.filter(|_| entry.limit.max().is_some()), self.limits.last_mut()) {
            check.kind = Kind::Lapsing { from: allocations.cycle.end, max: max.get() };
        }
    }

    fn watch_wallet(&mut self, need: i64) -> Option<()> {
        let wallet = &self.state.wallet;
        self.wallet = Some(Check::of(Kind::Sum, wallet.balance.get(), need, wallet.held.get()).unless_hopeless()?);
        Some(())
    }

    fn watch_open(&mut self, path: &'a Path<'_>, key: u32, open: OpenBounds) -> Option<()> {
        let slots = |max: u32, open: i64| Check::of(Kind::Slots, i64::from(max), 1, open).unless_hopeless();
        let of_key = slots(open.key, i64::from(self.state.open_count_of(key)))?;
        let all = slots(open.organization, i64::try_from(self.state.open_count()).unwrap_or(i64::MAX))?;
        self.open = Some((path.key.entity.key.id.as_str(), [of_key, all]));
        Some(())
    }

    /// Notes what the next holds to run out give back, and where.
    fn look_at_holds(&mut self) {
        self.limits.sort_unstable_by_key(|check| check.no);
        let state = self.state;
        let mut expiries = state.expiries.iter();
        for (time, no) in expiries.by_ref().take(HOLDS) {
            if let Some(hold) = state.hold(*no) {
                self.look_at(hold, self.ends_at(*time));
            }
        }
        self.unseen = expiries.next().map(|(time, _)| self.ends_at(*time));
    }

    /// Returns when a hold ends: what is due and still there will be expired within moments, and the others behind it.
    fn ends_at(&self, time: Timestamp) -> Timestamp {
        self.backlog().map_or(time, |backlog| time.max(backlog))
    }

    fn backlog(&self) -> Option<Timestamp> {
        let is_behind = self.state.next_expiry().is_some_and(|first| first <= self.now);
        is_behind.then(|| self.now + BACKLOG_WAIT)
    }

    fn look_at(&mut self, hold: &Hold, at: Timestamp) {
        let freed = hold.held();
        let owed = hold.owed_at_expiry(self.state.organization.expiry_policy);
        let charged = owed.map_or(Amounts::ZERO, |(_, amounts)| amounts);
        for touch in hold.reserved.touches.iter() {
            let place = self.limits.binary_search_by_key(&Some(touch.limit), |check| check.no);
            let Some(check) = place.ok().and_then(|place| self.limits.get_mut(place)) else { continue };
            if !touch.unit.is_budget() || touch.window == check.window {
                let of = |amounts| amount_in(touch.unit, amounts);
                check.ends.push(End { at, admitted: touch.window, charged: of(charged), freed: of(freed) });
            }
        }
        let end = |charged: i64, freed: i64| End { at, admitted: hold.admit_time, charged, freed };
        if let Some(pool) = &mut self.pool {
            pool.look_at(self.state, hold, at, (charged.credits, freed.credits));
        }
        if let Some(wallet) = self.wallet.as_mut().filter(|_| hold.reserved.wallet) {
            wallet.ends.push(end(charged.usd.get(), freed.usd.get()));
        }
        if let Some((key, [of_key, all])) = &mut self.open {
            all.ends.push(end(0, 1));
            if hold.reserved.key.as_str() == *key {
                of_key.ends.push(end(0, 1));
            }
        }
    }

    fn retry(&self) -> Option<Retry> {
        let mut found = Until { at: self.now, may_be_sooner: false, at_least: false };
        for round in 0..=ROUNDS {
            match self.look(found.at) {
                Verdict::Admits => break,
                Verdict::Never => return None,
                Verdict::Unknown => {
                    (found.may_be_sooner, found.at_least) = (true, true);
                    break;
                }
                Verdict::Until(_) if round == ROUNDS => found.at_least = true,
                Verdict::Until(next) => {
                    let may_be_sooner = found.may_be_sooner || next.may_be_sooner;
                    found = Until { may_be_sooner, ..next };
                }
            }
            // Who waits until the key has expired has waited in vain.
            if self.key_end.is_some_and(|end| found.at >= end) {
                return None;
            }
        }
        let Until { at, may_be_sooner, at_least } = found;
        (at > self.now).then(|| Retry { after: at - self.now, may_be_sooner, at_least })
    }

    /// Returns what all checks together say of a moment.
    fn look(&self, at: Timestamp) -> Verdict {
        let of_server = self.open.iter().flat_map(|(_, checks)| checks);
        let checks = self.limits.iter().chain(&self.wallet).chain(of_server).map(|check| self.look_on(check, at));
        let (mut latest, mut is_unknown) = (None::<Until>, false);
        for verdict in checks.chain([self.look_at_pool(at), self.look_at_hours(at), self.look_at_next_cycle(at)]) {
            match verdict {
                Verdict::Admits => {}
                Verdict::Never => return Verdict::Never,
                Verdict::Unknown => is_unknown = true,
                Verdict::Until(until) => latest = Some(latest.map_or(until, |latest| latest.and(until))),
            }
        }
        match latest {
            Some(until) => Verdict::Until(until),
            None if is_unknown => Verdict::Unknown,
            None => Verdict::Admits,
        }
    }

    fn look_on(&self, check: &Check<'_>, at: Timestamp) -> Verdict {
        match check.kind {
            Kind::Sum | Kind::Lapsing { .. } => self.look_on_sum(check, at),
            Kind::Rate(rate) => self.look_on_rate(check, rate, at),
            Kind::Slots => self.look_on_slots(check, at),
        }
    }

    fn look_on_sum(&self, check: &Check<'_>, at: Timestamp) -> Verdict {
        if check.reset.is_some_and(|end| at >= end) {
            // Nothing counts yet in the next window.
            return Verdict::Admits;
        }
        let (mut spent, mut held) = (check.spent, check.held);
        let mut ends = check.ends.iter().peekable();
        while let Some(end) = ends.next_if(|end| end.at <= at) {
            (spent, held) = (spent + end.charged, held - end.freed);
        }
        if check.fits_at(at, spent, held) {
            // What unseen holds are charged may use up the rest, where nothing is needed of it.
            let is_unsure = check.need == 0 && held > 0 && spent + held >= check.max;
            return if is_unsure && self.unseen.is_some_and(|unseen| unseen <= at) {
                Verdict::Unknown
            } else {
                Verdict::Admits
            };
        }
        let may_be_sooner = check.held > 0 && check.fits(check.spent, 0);
        let in_window = |end: Timestamp| check.reset.is_none_or(|reset| end < reset);
        while let Some(end) = ends.next_if(|end| in_window(end.at)) {
            (spent, held) = (spent + end.charged, held - end.freed);
            if check.fits_at(end.at, spent, held) {
                return Verdict::Until(self.until(end.at, true));
            }
        }
        let may_fit_unseen = held > 0 && check.fits(spent, 0);
        let unseen = self.unseen.filter(|unseen| may_fit_unseen && in_window(*unseen));
        match (unseen, check.reset) {
            (Some(unseen), _) if unseen <= at => Verdict::Unknown,
            (Some(at), _) => Verdict::Until(Until { at, may_be_sooner: true, at_least: true }),
            (None, Some(at)) => Verdict::Until(Until { at, may_be_sooner, at_least: false }),
            (None, None) => Verdict::Never,
        }
    }

    fn look_on_rate(&self, check: &Check<'_>, rate: &Rate, at: Timestamp) -> Verdict {
        let given_back = |end: &End| (end.at, end.admitted.seconds(), end.freed - end.charged);
        let first = |ends: &mut dyn Iterator<Item = _>| rate.first_fit(at, check.need, check.max, ends);
        let Some(fit) = first(&mut check.ends.iter().map(given_back)) else { return Verdict::Never };
        if fit <= at {
            return Verdict::Admits;
        }
        let at_once = check.ends.iter().map(|end| (at, end.admitted.seconds(), end.freed));
        let may_be_sooner = self.unseen.is_some() || first(&mut at_once.into_iter()).is_some_and(|sooner| sooner < fit);
        Verdict::Until(self.until(fit, may_be_sooner))
    }

    fn look_on_slots(&self, check: &Check<'_>, at: Timestamp) -> Verdict {
        let gone = check.ends.iter().take_while(|end| end.at <= at).count();
        let open = check.held - i64::try_from(gone).unwrap_or(i64::MAX);
        let soon = self.now + SLOT_WAIT;
        if open < check.max {
            Verdict::Admits
        } else if at < soon {
            Verdict::Until(Until { at: soon, may_be_sooner: true, at_least: true })
        } else {
            Verdict::Unknown
        }
    }

    /// A wait that ends when a hold does, or a second has slid out.
    fn until(&self, at: Timestamp, may_be_sooner: bool) -> Until {
        Until { at, may_be_sooner, at_least: self.backlog() == Some(at) }
    }

    fn look_at_hours(&self, at: Timestamp) -> Verdict {
        match self.hours {
            Some((rule, hours)) if !hours.is_open(rule.zone, at) => match hours.opens_after(rule.zone, at) {
                Some(at) => Verdict::Until(Until { at, may_be_sooner: false, at_least: false }),
                None => Verdict::Never,
            },
            _ => Verdict::Admits,
        }
    }

    /// Extra credits lapse with the cycle.
    fn look_at_next_cycle(&self, at: Timestamp) -> Verdict {
        let allocations = &self.state.allocations;
        let Some((team, membership, need)) = self.allocated.filter(|_| at >= allocations.cycle.end) else {
            return Verdict::Admits;
        };
        let mut caps = allocations.next_caps(team, membership).into_iter().flatten();
        if caps.any(|cap| need.max(1) > cap.get()) { Verdict::Never } else { Verdict::Admits }
    }
}

impl Check<'_> {
    fn of(kind: Kind<'_>, max: i64, need: i64, held: i64) -> Check<'_> {
        let (window, reset) = (Timestamp::EPOCH, None);
        Check { no: None, kind, max, need, spent: 0, held, window, reset, ends: Vec::new() }
    }

    /// `None` where neither a reset nor the end of holds can help.
    fn unless_hopeless(self) -> Option<Self> {
        let is_hopeless = match self.kind {
            Kind::Sum | Kind::Lapsing { .. } => {
                self.need.max(1) > self.max || (self.reset.is_none() && !self.fits(self.spent, 0))
            }
            Kind::Rate(_) | Kind::Slots => self.need.max(1) > self.max,
        };
        (!is_hopeless).then_some(self)
    }

    /// As [`Self::fits`], by the cap that is in force at an instant.
    fn fits_at(&self, at: Timestamp, spent: i64, held: i64) -> bool {
        match self.kind {
            Kind::Lapsing { from, max } if at >= from => self.fits_in(max, spent, held),
            _ => self.fits(spent, held),
        }
    }

    fn fits(&self, spent: i64, held: i64) -> bool {
        self.fits_in(self.max, spent, held)
    }

    /// Returns the same as [`LimitEntry::admits`], for what is spent and held then.
    fn fits_in(&self, max: i64, spent: i64, held: i64) -> bool {
        spent.saturating_add(held).saturating_add(self.need) <= max && spent < max
    }
}
