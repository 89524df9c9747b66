//! What memberships draw on the pools of their teams: what they use beyond what they have of their own.
//!
//! Only decides: what it finds stands in events, which change the pools.

use super::{AccountSums, OrganizationState, TeamAllocation};
use crate::{
    domain::{
        allocation::{Allocation, Drawn},
        event::{LimitNo, Reserved, Touch},
        id::{KeyId, MemberId, TeamId},
        money::Nanos,
        period::{Period, Window},
        policy::{AllocationPlace, Place, Unit},
        time::Timestamp,
    },
    engine::{
        limit::{Counter, LimitEntry, Standing},
        reservation::Hold,
        table::KeyRow,
        windows::Counted,
    },
};

/// What a request asks of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Credits that nothing of the member's own covers.
    pub need: Nanos,
    /// Credits of its own that aren't used or held.
    pub own: Nanos,
    /// Whether the pool is asked: for a request of nothing only once the member's own is used up.
    pub asks: bool,
}

/// A team's pool where it caps what more a reservation holds.
#[derive(Debug, Clone, Copy)]
pub struct CappingPool<'a> {
    pub no: LimitNo,
    pub entry: &'a LimitEntry,
    pub membership: u32,
    /// True where the reservation counts in a cycle that has ended: no pool gives it anything more, because what was left there isn't
    /// known.
    pub is_over: bool,
}

/// The key, team and member that an entry is attributed to.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    pub key: &'a KeyId,
    pub team: &'a TeamId,
    pub member: &'a MemberId,
}

/// Places of the team, the member and the membership that an entry is attributed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places {
    pub team: u32,
    pub member: u32,
    pub membership: u32,
}

impl OrganizationState {
    /// Returns what a counter counted in a cycle.
    pub(super) fn counted_in(&self, no: Option<LimitNo>, cycle: Window) -> Counted {
        match no.and_then(|no| self.limit(no)).map(|entry| &entry.counter) {
            Some(Counter::Budget(windows)) => windows.at(cycle.start),
            _ => Counted::default(),
        }
    }

    /// Returns what a membership used and holds in the running cycle, whatever that is drawn on.
    pub fn credits_of(&self, membership: u32) -> Counted {
        self.counted_in(self.allocations.counter(membership), self.allocations.cycle)
    }

    /// Returns what a membership draws on its team, or would with an allocation like this.
    pub fn drawn_with(&self, membership: u32, own: Allocation) -> Drawn {
        let Counted { spent, held } = self.credits_of(membership);
        Drawn::of(own.given(), spent, held)
    }

    /// Returns what `credits` more would ask of the team's pool.
    pub fn draw(&self, membership: u32, own: Allocation, credits: Nanos) -> Draw {
        let Counted { spent, held } = self.credits_of(membership);
        let given = own.given();
        let need = Drawn::of(given, spent, held + credits).total() - Drawn::of(given, spent, held).total();
        Draw { need, own: (given - spent - held).at_least_zero(), asks: need.is_positive() || spent >= given }
    }

    /// Returns by how much a pool's part changes with what a key's member spent and holds on these limits. Nothing changes in a
    /// cycle that has ended: its pools are empty.
    pub fn redrawn(&self, key: &KeyId, touches: &[Touch], spent: Nanos, held: Nanos) -> Drawn {
        if spent == Nanos::ZERO && held == Nanos::ZERO {
            return Drawn::default();
        }
        let Some(KeyRow { membership, .. }) = self.keys.find(key).map(|row| &row.entity) else {
            return Drawn::default();
        };
        self.redrawn_by(*membership, touches, spent, held)
    }

    /// Returns the same for a membership.
    pub fn redrawn_by(&self, membership: u32, touches: &[Touch], spent: Nanos, held: Nanos) -> Drawn {
        if !self.is_of_this_cycle(self.allocations.counter(membership), touches) {
            return Drawn::default();
        }
        let given = self.allocations.member(membership).given();
        let before = self.credits_of(membership);
        let after = Drawn::of(given, before.spent + spent, before.held + held);
        after.minus(Drawn::of(given, before.spent, before.held))
    }

    /// Returns whether these count on a counter of allocations in the cycle that runs.
    pub fn is_of_this_cycle(&self, counter: Option<LimitNo>, touches: &[Touch]) -> bool {
        let start = self.allocations.cycle.start;
        counter.is_some_and(|no| touches.iter().any(|touch| touch.limit == no && touch.window == start))
    }

    /// Returns the pool of the team that a key is in.
    pub fn pool_of(&self, key: &KeyId) -> Option<LimitNo> {
        self.allocations.team(self.keys.find(key)?.entity.team).pool
    }

    /// Returns the pool that caps a key's requests: they have no cap of their own, and the team has one.
    pub fn pool_over(&self, key: &KeyRow) -> Option<CappingPool<'_>> {
        if self.allocations.member(key.membership).cap().is_some() || !self.binds(Unit::Credits) {
            return None;
        }
        let no = self.allocations.team(key.team).pool?;
        let entry = self.limit(no).filter(|entry| entry.limit.max().is_some())?;
        Some(CappingPool { no, entry, membership: key.membership, is_over: false })
    }

    /// Returns the pool that caps what more a reservation holds; `None` also for one that no allocation counts.
    pub fn pool_over_reserved(&self, reserved: &Reserved) -> Option<CappingPool<'_>> {
        let pool = self.pool_over(&self.keys.find(&reserved.key)?.entity)?;
        let counter = self.allocations.counter(pool.membership)?;
        let is_counted = reserved.touches.iter().any(|touch| touch.limit == counter);
        let is_over = !self.is_of_this_cycle(Some(counter), &reserved.touches);
        is_counted.then_some(CappingPool { is_over, ..pool })
    }

    /// Returns the places of what an entry names. A key that has left memory is in none.
    pub fn places_of(&self, whose: Whose<'_>) -> Option<Places> {
        if let Some(KeyRow { team, member, membership, .. }) = self.keys.find(whose.key).map(|row| &row.entity) {
            return Some(Places { team: *team, member: *member, membership: *membership });
        }
        Some(Places {
            team: self.teams.place(whose.team)?,
            member: self.members.place(whose.member)?,
            membership: self.memberships.place(&(whose.team.clone(), whose.member.clone()))?,
        })
    }

    /// Changes what the pool counts that an entry drew on.
    pub(super) fn draw_on_pool(&mut self, whose: Whose<'_>, drawn: Drawn, now: Timestamp) {
        if !drawn.is_nothing()
            && let Some(Places { team, .. }) = self.places_of(whose)
        {
            self.draw_on(team, drawn, now);
        }
    }

    /// Changes what the pool of an open reservation's team holds: its key is there.
    pub(super) fn hold_of_pool(&mut self, key: &KeyId, held: Nanos, now: Timestamp) {
        if held != Nanos::ZERO
            && let Some(team) = self.keys.find(key).map(|row| row.entity.team)
        {
            self.draw_on(team, Drawn { spent: Nanos::ZERO, held }, now);
        }
    }

    /// Does the same for a team, by its place.
    pub(super) fn draw_on(&mut self, team: u32, drawn: Drawn, now: Timestamp) {
        let start = self.allocations.cycle.start;
        let allocated = self.allocations.team(team);
        let entry = allocated.pool.and_then(|no| self.entries.get_mut(no.0 as usize)?.as_mut());
        let Some(Counter::Budget(windows)) = entry.map(|entry| &mut entry.counter) else { return };
        let before = windows.at(start).spent;
        windows.add(start, drawn.spent, drawn.held, now);
        if drawn.spent != Nanos::ZERO {
            let after = windows.at(start).spent;
            let adds = |spent| AccountSums::of(&allocated, spent);
            self.allocations.follow_team(adds(before), adds(after));
        }
    }

    /// Changes what a team has, by its place.
    pub(super) fn change_team(&mut self, team: u32, change: impl FnOnce(&mut TeamAllocation)) {
        let spent = self.counted_in(self.allocations.team(team).pool, self.allocations.cycle).spent;
        let stands = self.allocations.team_mut(team);
        let before = AccountSums::of(stands, spent);
        change(stands);
        let after = AccountSums::of(stands, spent);
        self.allocations.follow_team(before, after);
    }

    /// Returns whether a membership's work stands on its team's pool: it has no cap of its own and has used up, or holds more
    /// than, what it has.
    pub fn draws(&self, membership: u32) -> bool {
        let own = self.allocations.member(membership);
        let Counted { spent, held } = self.credits_of(membership);
        own.cap().is_none() && (spent >= own.given() || spent + held > own.given())
    }

    /// Returns whether a hold stands on the pool.
    pub fn draws_on(&self, pool: LimitNo, hold: &Hold) -> bool {
        let Some(row) = self.keys.find(&hold.reserved.key).map(|row| &row.entity) else { return false };
        self.allocations.team(row.team).pool == Some(pool)
            && self.is_of_this_cycle(self.allocations.counter(row.membership), &hold.reserved.touches)
            && self.draws(row.membership)
    }

    /// Returns whether a window of a limit belongs to a cycle that has ended: an allocation refuses and revokes nothing there.
    pub fn is_over(&self, entry: &LimitEntry, window: Timestamp) -> bool {
        matches!(entry.limit.period(), Some(Period::Cycle(_))) && window != self.allocations.cycle.start
    }

    /// Returns how a limit stands now. The counters of memberships that have nothing of their own aren't told of every cycle.
    pub fn standing(&self, entry: &LimitEntry, at: Timestamp) -> Standing {
        match &*entry.place {
            Place::Allocation(AllocationPlace::Member(..)) => {
                let Window { start, end } = Period::Cycle(self.allocations.cycle).window_at(at);
                let counted = match &entry.counter {
                    Counter::Budget(windows) => windows.at(start),
                    Counter::Rate(_) | Counter::InFlight(_) => Counted::default(),
                };
                Standing { spent: counted.spent.get(), held: counted.held.get(), window: start, reset: Some(end) }
            }
            _ => entry.standing(at),
        }
    }
}
