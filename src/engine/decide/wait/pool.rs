//! Looks ahead at a team's pool. What a member asks of it is what nothing of its own covers, so it changes as the member's holds
//! run out: each moment asks anew.

use super::{Ahead, Until, Verdict};
use crate::{
    domain::{
        allocation::Drawn,
        event::{LimitNo, Reserved},
        money::Nanos,
        time::Timestamp,
    },
    engine::{
        decide::Path,
        limit::LimitEntry,
        reservation::Hold,
        state::{CappingPool, OrganizationState},
    },
};

/// A team's pool in the running cycle, with what its members use and hold as their holds run out.
pub(super) struct Pool {
    no: LimitNo,
    max: Nanos,
    asker: u32,
    /// Credits that the asker has of its own.
    given: Nanos,
    /// Credits that the asker needs besides those that it holds.
    need: Nanos,
    now: Then,
    cycle_end: Timestamp,
    /// True where the request counts in the next cycle, if it comes then.
    starts_over: bool,
    members: Vec<Member>,
    ends: Vec<End>,
}

/// Credits drawn on the pool at a moment, and those that the asker used and holds then.
#[derive(Clone, Copy)]
struct Then {
    pool: Drawn,
    asker: Drawn,
}

struct Member {
    membership: u32,
    given: Nanos,
    used: Nanos,
    held: Nanos,
}

/// A hold that runs out: what that changes.
struct End {
    at: Timestamp,
    change: Then,
}

impl Then {
    fn after(self, Self { pool, asker }: Self) -> Self {
        Self { pool: self.pool.plus(pool), asker: self.asker.plus(asker) }
    }

    /// Returns what would be if nothing were held: the best that holds can end in.
    fn without_holds(self) -> Self {
        let spent = |of: Drawn| Drawn { spent: of.spent, held: Nanos::ZERO };
        Self { pool: spent(self.pool), asker: spent(self.asker) }
    }

    fn holds(self) -> bool {
        self.pool.held.is_positive() || self.asker.held.is_positive()
    }
}

impl Pool {
    /// Returns the pool that caps a new request; `None` where none does.
    pub(super) fn of_request(state: &OrganizationState, path: &Path<'_>, need: Nanos) -> Option<Self> {
        let pool = state.pool_over(&path.key.entity)?;
        Self::new(state, pool.no, pool.entry, (path.key.entity.membership, need), true)
    }

    fn new(
        state: &OrganizationState,
        no: LimitNo,
        entry: &LimitEntry,
        (asker, need): (u32, Nanos),
        starts_over: bool,
    ) -> Option<Self> {
        let cycle = state.allocations.cycle;
        let (standing, credits) = (entry.standing_in(cycle.start, cycle.start), state.credits_of(asker));
        let pool = Drawn { spent: Nanos::new(standing.spent), held: Nanos::new(standing.held) };
        Some(Self {
            no,
            max: Nanos::new(entry.limit.max()?),
            asker,
            given: state.allocations.member(asker).given(),
            need,
            now: Then { pool, asker: Drawn { spent: credits.spent, held: credits.held } },
            cycle_end: cycle.end,
            starts_over,
            members: Vec::new(),
            ends: Vec::new(),
        })
    }

    /// Notes what the end of a hold changes: its member's own is used before the pool.
    pub(super) fn look_at(
        &mut self,
        state: &OrganizationState,
        hold: &Hold,
        at: Timestamp,
        (charged, freed): (Nanos, Nanos),
    ) {
        let Some(row) = state.keys.find(&hold.reserved.key).map(|row| &row.entity) else { return };
        let membership = row.membership;
        let counter = state.allocations.counter(membership);
        if state.allocations.team(row.team).pool != Some(self.no)
            || !state.is_of_this_cycle(counter, &hold.reserved.touches)
        {
            return;
        }
        let known = self.members.iter().position(|member| member.membership == membership);
        let known = known.unwrap_or_else(|| {
            let credits = state.credits_of(membership);
            let given = state.allocations.member(membership).given();
            self.members.push(Member { membership, given, used: credits.spent, held: credits.held });
            self.members.len() - 1
        });
        let Some(member) = self.members.get_mut(known) else { return };
        let before = Drawn::of(member.given, member.used, member.held);
        (member.used, member.held) = (member.used + charged, member.held - freed);
        let pool = Drawn::of(member.given, member.used, member.held).minus(before);
        let own = Drawn { spent: charged, held: Nanos::ZERO - freed };
        let asker = if membership == self.asker { own } else { Drawn::default() };
        self.ends.push(End { at, change: Then { pool, asker } });
    }

    /// Returns true where a decision made then admits the need: a request that its own credits cover doesn't ask the pool.
    fn fits(&self, Then { pool, asker }: Then) -> bool {
        let drawn = |held: Nanos| Drawn::of(self.given, asker.spent, held).total();
        let asked = drawn(asker.held + self.need) - drawn(asker.held);
        let asks = asked.is_positive() || asker.spent >= self.given;
        !asks || (pool.total() + asked <= self.max && pool.spent < self.max)
    }
}

impl Ahead<'_> {
    /// Watches the pool that more for a reservation is drawn on. One of a cycle that has ended gives nothing more.
    pub(super) fn watch_pool(&mut self, reserved: &Reserved, more: Nanos) -> Option<()> {
        let pool = self.state.pool_over_reserved(reserved).filter(|_| more.is_positive());
        let Some(CappingPool { no, entry, membership, is_over }) = pool else { return Some(()) };
        if is_over {
            return None;
        }
        self.pool = Pool::new(self.state, no, entry, (membership, more), false);
        Some(())
    }

    pub(super) fn look_at_pool(&self, at: Timestamp) -> Verdict {
        let Some(pool) = &self.pool else { return Verdict::Admits };
        if at >= pool.cycle_end {
            return if pool.starts_over { Verdict::Admits } else { Verdict::Never };
        }
        let mut then = pool.now;
        let mut ends = pool.ends.iter().peekable();
        while let Some(end) = ends.next_if(|end| end.at <= at) {
            then = then.after(end.change);
        }
        let unseen = self.unseen.filter(|unseen| *unseen < pool.cycle_end);
        if pool.fits(then) {
            // What unseen holds are charged may use up the rest, where nothing is needed of it.
            let is_unsure = pool.need == Nanos::ZERO && then.holds() && then.pool.total() >= pool.max;
            let is_unseen = unseen.is_some_and(|unseen| unseen <= at);
            return if is_unsure && is_unseen { Verdict::Unknown } else { Verdict::Admits };
        }
        while let Some(end) = ends.next_if(|end| end.at < pool.cycle_end) {
            then = then.after(end.change);
            if pool.fits(then) {
                return Verdict::Until(self.until(end.at, true));
            }
        }
        let may_fit_unseen = then.holds() && pool.fits(then.without_holds());
        let may_be_sooner = pool.now.holds() && pool.fits(pool.now.without_holds());
        match unseen.filter(|_| may_fit_unseen) {
            Some(unseen) if unseen <= at => Verdict::Unknown,
            Some(at) => Verdict::Until(Until { at, may_be_sooner: true, at_least: true }),
            None if pool.starts_over => Verdict::Until(Until { at: pool.cycle_end, may_be_sooner, at_least: false }),
            None => Verdict::Never,
        }
    }
}
