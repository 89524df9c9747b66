//! Teams' pools of credits that are used up: who stands on one is stopped, and who doesn't goes on.

use super::fixture::*;
use crate::{
    domain::{
        allocation::{AllocationSettings, Cadence},
        decision::{DenialCode::*, Revocation},
        id::{DEFAULT_TEAM, MemberId, TeamId},
        money::Nanos,
        operation::{Charge, Extend, Reserve},
        policy::Scope,
        reservation_id::ReservationNo,
        time::Span,
    },
    engine::turn::AllocationChange,
};

fn team() -> TeamId {
    TeamId::trusted(DEFAULT_TEAM)
}

/// Hands out credits by the hour: so much to the team, and extra ones to ann, who has no monthly allocation.
pub(super) fn pooled(monthly: i64, extra: i64) -> World {
    let mut world = World::new();
    world.add_member("bob", &[DEFAULT_TEAM]);
    world.add_key("bobs", "bob", DEFAULT_TEAM);
    world.open_counters("bobs");
    let settings = AllocationSettings { cadence: Cadence::Hour, ..AllocationSettings::default() };
    world.turn(|turn| turn.set_allocation_settings(settings, true)).unwrap();
    let change = AllocationChange { monthly: Some(Some(Nanos::new(monthly))), extra: None };
    world.turn(|turn| turn.set_team_allocation(&team(), change, None)).unwrap();
    world.give("ann", extra);
    world
}

impl World {
    pub(super) fn give(&mut self, member: &str, extra: i64) {
        let change = AllocationChange { monthly: None, extra: Some(Some(Nanos::new(extra))) };
        let member = MemberId::trusted(member);
        self.turn(|turn| turn.set_member_allocation(&team(), &member, change)).unwrap();
    }

    /// What bob uses, who draws on the pool alone.
    pub(super) fn used_by_bob(&mut self, id: &str, nanos: i64) {
        let granted = self.reserve_as("bobs", &ask(id, cost(nanos))).unwrap().unwrap();
        self.commit(granted.reservation, cost(nanos));
    }

    fn used_beyond(&mut self, id: &str, nanos: i64) {
        let used = Charge { already_used: true, ..charge(id, cost(nanos)) };
        self.try_charge(&used).unwrap().unwrap();
    }
}

fn stopped(revocations: &[Revocation]) -> Vec<ReservationNo> {
    let is_pool = |revocation: &&Revocation| {
        (revocation.cause.code, revocation.cause.scope) == (BudgetExceeded, Scope::Allocation)
    };
    revocations.iter().filter(is_pool).map(|revocation| revocation.reservation).collect()
}

#[test]
fn who_begins_to_draw_on_a_pool_that_is_used_up_is_stopped_with_all_of_its_work() {
    let mut world = pooled(30, 10);
    world.used_by_bob("bob", 20);
    let within = world.reserve("within", cost(4));
    world.used_beyond("some", 5);
    assert_eq!(stopped(&world.revocations), [], "its own extra covers both");
    world.used_beyond("more", 2);
    assert_eq!(stopped(&world.revocations), [within], "11 of its own 10");
}

#[test]
fn who_uses_up_its_own_exactly_stands_on_the_pool_and_is_stopped() {
    let mut world = pooled(30, 10);
    world.used_by_bob("bob", 20);
    let within = world.reserve("within", cost(0));
    world.used_beyond("all", 10);
    assert_eq!(stopped(&world.revocations), [within]);
}

#[test]
fn a_pool_gives_nothing_more_to_what_was_admitted_in_a_cycle_that_has_ended() {
    let mut world = pooled(30, 0);
    let held = world.try_reserve(&Reserve { ttl: Span::seconds(7200), ..ask("r", cost(5)) }).unwrap().reservation;
    let more = Extend { estimate: Some(cost(6)), ..renew() };
    world.advance(Span::HOUR);
    let refused = world.extend(held, &more).unwrap().unwrap_err();
    assert_eq!((refused.code, refused.retry), (BudgetExceeded, None));
}

#[test]
fn who_has_a_cap_of_its_own_is_not_stopped_by_the_pool() {
    let mut world = pooled(30, 0);
    let change = AllocationChange { monthly: Some(Some(Nanos::new(10))), extra: None };
    world.turn(|turn| turn.set_member_allocation(&team(), &MemberId::trusted("ann"), change)).unwrap();
    world.used_by_bob("bob", 20);
    let capped = world.reserve("capped", cost(1));
    world.used_beyond("some", 8);
    assert!(world.revocations.is_empty() && world.state.hold(capped).unwrap().revoked().is_none());
}
