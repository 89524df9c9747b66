//! When a refused caller should ask again (case M2): the first moment at which it is granted if nothing else happens.

#![allow(clippy::unnecessary_wraps, reason = "what is compared with may be none")]

use super::{
    fixture::*,
    rules::{hours, rule},
};
use crate::{
    domain::{
        allocation::{AllocationSettings, Cadence},
        decision::{DenialCode::*, Retry},
        entity::ExpiryPolicy,
        id::{DEFAULT_TEAM, MemberId, TeamId},
        money::Nanos,
        operation::{Extend, Reserve},
        period::{Period, Zone},
        policy::{BudgetUnit, Limit, Place},
        time::Span,
        usage::Usage,
    },
    engine::turn::{AllocationChange, Bounds, OrganizationChange},
};

mod pools;
mod random;

const MILLISECOND: Span = Span::micros(1000);

fn exactly(seconds: i64) -> Option<Retry> {
    Some(Retry { after: Span::seconds(seconds), may_be_sooner: false, at_least: false })
}

fn by_holds(seconds: i64) -> Option<Retry> {
    Some(Retry { after: Span::seconds(seconds), may_be_sooner: true, at_least: false })
}

fn a_guess(after: Span) -> Option<Retry> {
    Some(Retry { after, may_be_sooner: true, at_least: true })
}

fn monthly(max: i64) -> Limit {
    budget("b", BudgetUnit::Usd, max, Period::Monthly { zone: Zone::UTC })
}

impl World {
    fn hold(&mut self, id: &str, seconds: i64, usage: Usage) -> crate::domain::reservation_id::ReservationNo {
        self.try_reserve(&Reserve { ttl: Span::seconds(seconds), ..ask(id, usage) }).unwrap().reservation
    }

    fn retry(&mut self, usage: Usage) -> Option<Retry> {
        self.refused(usage).retry
    }

    fn expiry(&mut self, policy: ExpiryPolicy) {
        self.organization(OrganizationChange { expiry_policy: Some(policy), ..Default::default() });
    }

    /// Reports what was used so far and goes on for `seconds`.
    fn report(&mut self, no: crate::domain::reservation_id::ReservationNo, seconds: i64, usage: Usage) {
        let extend = Extend { ttl: Span::seconds(seconds), usage_so_far: Some(usage), estimate: None };
        self.extend(no, &extend).unwrap().unwrap();
    }
}

#[test]
fn what_is_held_frees_when_the_hold_runs_out_whatever_the_period() {
    for limit in [monthly(100), daily("b", 100), usd("b", 100), credits("b", 100)] {
        let mut world = World::new();
        world.limits(vec![limit]);
        world.hold("a", 4, cost(95));
        assert_eq!(world.retry(cost(10)), by_holds(4));
        world.advance(Span::micros(3_999_000));
        assert_eq!(world.refused(cost(10)).retry_after(), Some(MILLISECOND));
        world.advance(MILLISECOND);
        world.reserve("b", cost(10));
    }
    let mut world = World::new();
    world.wallet(100);
    world.hold("a", 4, cost(95));
    assert_eq!(world.retry(cost(10)), by_holds(4));
    assert_eq!(world.retry(cost(101)), None, "more than the balance");
}

#[test]
fn charge_and_check_are_told_the_same_wait() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    world.hold("a", 4, cost(95));
    assert_eq!(world.try_charge(&charge("c", cost(10))).unwrap().unwrap_err().retry, by_holds(4));
    let key = world.state.keys.place(&crate::domain::id::KeyId::trusted(KEY)).unwrap();
    let (name, usage) = (model(MODEL), cost(10));
    let ask = crate::engine::decide::Ask { key, model: &name, usage: &usage, min_output_tokens: None };
    assert_eq!(world.turn(|turn| turn.check(&ask)).unwrap().unwrap_err().retry, by_holds(4));
}

#[test]
fn a_hold_that_runs_out_frees_only_what_its_expiry_does_not_charge() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10)]);
    let part = world.hold("part", 10, cost(4));
    world.report(part, 10, cost(3));
    world.hold("rest", 20, cost(5));
    assert_eq!(world.retry(cost(3)), by_holds(20));
    assert_eq!(world.retry(cost(2)), by_holds(10));
    world.expiry(ExpiryPolicy::ChargeHeld);
    assert_eq!(world.retry(cost(3)), None, "one-time, and all of it will be charged");
    assert_eq!(world.retry(cost(2)), None);
    world.restart_limits(vec![daily("b", 10)]);
    world.hold("all", 10, cost(9));
    let to_midnight = Some(Retry { after: Span::seconds(12 * 3600), may_be_sooner: true, at_least: false });
    assert_eq!(world.retry(cost(3)), to_midnight, "but whoever holds it may use less");
}

#[test]
fn a_window_that_ends_before_the_hold_frees_first() {
    let mut world = World::new();
    world.limits(vec![budget("e", BudgetUnit::Usd, 10, Period::Every { seconds: 60, anchor: NOON.seconds() })]);
    world.hold("a", 600, cost(9));
    assert_eq!(world.retry(cost(5)), by_holds(60));
    world.set_policy(&Place::Organization, vec![usd("all", 10)]).unwrap();
    assert_eq!(world.retry(cost(5)), by_holds(60), "the new limit doesn't count what was held before it");
    world.advance(Span::seconds(60));
    world.hold("b", 30, cost(6));
    assert_eq!(world.retry(cost(5)), by_holds(30));
    world.charge("c", cost(4));
    assert_eq!(world.retry(cost(5)), by_holds(30), "the window resets later, and both are needed");
    assert_eq!(world.retry(cost(7)), None, "spent for good where it never resets");
}

#[test]
fn what_is_spent_waits_for_the_reset_alone() {
    let mut world = World::new();
    world.limits(vec![daily("d", 10)]);
    world.charge("a", cost(10));
    world.set_policy(&Place::Organization, vec![usd("o", 100)]).unwrap();
    assert_eq!(world.retry(cost(1)), exactly(12 * 3600));
}

#[test]
fn a_slot_is_waited_for_a_second_and_a_backlog_of_due_holds_for_less() {
    let mut world = World::new();
    world.limits(vec![slots("s", 1)]);
    world.hold("a", 600, cost(1));
    assert_eq!(world.retry(cost(1)), a_guess(Span::SECOND));
    world.set_policy(&Place::Organization, vec![rpm("r", 1)]).unwrap();
    assert_eq!(world.retry(cost(1)), a_guess(Span::SECOND), "the new quota counts from now on");

    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    for i in 0..100 {
        world.hold(&i.to_string(), 4, cost(1));
    }
    world.advance(Span::seconds(4));
    assert_eq!(world.retry(cost(80)), a_guess(Span::micros(100_000)));
    assert_eq!(world.state.open_count(), 36);
    world.hold("fits", 4, cost(60));
}

#[test]
fn slots_that_stay_taken_leave_the_longer_wait_a_guess() {
    let mut world = World::new();
    world.limits(vec![slots("s", 1), rpm("r", 1)]);
    world.hold("a", 600, cost(1));
    assert_eq!(world.refused(cost(1)).code, ConcurrencyExceeded);
    assert_eq!(world.retry(cost(1)), a_guess(Span::seconds(61)));
    let mut world = World::new();
    world.limits(vec![slots("s", 1), rpm("r", 1)]);
    world.hold("a", 30, cost(1));
    assert_eq!(world.retry(cost(1)), by_holds(30), "the hold gives its request back");
}

#[test]
fn holds_beyond_those_looked_at_leave_a_guess() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    for i in 0..100 {
        world.hold(&i.to_string(), 100 + i, cost(1));
    }
    assert_eq!(world.retry(cost(64)), by_holds(163));
    assert_eq!(world.retry(cost(65)), a_guess(Span::seconds(164)));
    assert_eq!(world.retry(cost(101)), None);
    let period = Period::Every { seconds: 120, anchor: NOON.seconds() };
    world.restart_limits(vec![budget("b", BudgetUnit::Usd, 100, period)]);
    world.hold("c", 600, cost(99));
    assert_eq!(world.retry(cost(65)), by_holds(120), "the window ends before the first of those");
}

#[test]
fn a_hold_that_runs_out_within_the_minute_gives_its_rate_back() {
    let mut world = World::new();
    world.limits(vec![tpm("t", 100)]);
    world.hold("a", 4, tokens(60, 20));
    world.charge("b", tokens(20, 0));
    assert_eq!(world.retry(tokens(80, 0)), by_holds(4));
    assert_eq!(world.retry(tokens(81, 0)), by_holds(61).map(|retry| Retry { may_be_sooner: false, ..retry }));
    assert_eq!(world.retry(tokens(101, 0)), None);
}

#[test]
fn every_wait_is_looked_at_again_where_it_ends() {
    let mut world = World::new();
    world.create_rule(rule("r", None, Some(hours(&[0, 1, 2, 3, 4, 5, 6], "08:00-12:01"))));
    world.bind(KEY, Some("r"));
    world.limits(vec![rpm("r", 1), usd("b", 10)]);
    world.charge("a", cost(1));
    assert_eq!(world.retry(cost(1)), exactly(20 * 3600), "the hours are over when the minute has slid");
    world.limits(vec![usd("b", 10), daily("d", 8)]);
    let no = world.hold("b", 59, cost(7));
    assert_eq!(world.retry(cost(4)), by_holds(59));
    world.report(no, 3600, cost(1));
    assert_eq!(world.retry(cost(4)), by_holds(20 * 3600), "by then the hold is gone, and the day is another");
}

#[test]
fn a_partial_grant_is_waited_for_no_longer_than_its_minimum_needs() {
    let mut world = World::new();
    world.limits(vec![usd("b", 20_000)]);
    world.hold("a", 4, tokens(8, 0));
    world.hold("b", 8, tokens(8, 0));
    let part = |least| Reserve { min_output_tokens: Some(least), ..ask("part", tokens(2, 9)) };
    assert_eq!(world.try_reserve(&part(5)).unwrap_err().retry, by_holds(4));
    assert_eq!(world.try_reserve(&part(6)).unwrap_err().retry, by_holds(8));
    world.advance(Span::seconds(4));
    assert_eq!(world.try_reserve(&part(5)).unwrap().output_tokens, 5);
}

#[test]
fn an_extension_waits_for_other_holds_but_not_beyond_its_own() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10)]);
    let no = world.hold("own", 20, cost(2));
    world.hold("short", 10, cost(3));
    world.hold("long", 30, cost(4));
    let more = |nanos| Extend { estimate: Some(cost(nanos)), ..renew() };
    assert_eq!(world.extend(no, &more(6)).unwrap().unwrap_err().retry, by_holds(10));
    assert_eq!(world.extend(no, &more(7)).unwrap().unwrap_err().retry, None, "it has run out before the other");
    world.advance(Span::seconds(10));
    world.extend(no, &more(6)).unwrap().unwrap();
}

#[test]
fn extra_credits_lapse_with_the_cycle_that_is_waited_for() {
    let mut world = World::new();
    let settings = AllocationSettings { cadence: Cadence::Hour, ..AllocationSettings::default() };
    world.turn(|turn| turn.set_allocation_settings(settings, true)).unwrap();
    let (team, ann) = (TeamId::trusted(DEFAULT_TEAM), MemberId::trusted("ann"));
    let change = AllocationChange { monthly: Some(Some(Nanos::new(10))), extra: Some(Some(Nanos::new(5))) };
    world.turn(|turn| turn.set_member_allocation(&team, &ann, change)).unwrap();
    world.charge("a", cost(4));
    world.hold("b", 60, cost(2));
    assert_eq!(world.retry(cost(11)), by_holds(60), "while the extra is there");
    world.charge("c", cost(1));
    assert_eq!(world.retry(cost(11)), None, "the next cycle has only 10");
    assert_eq!(world.retry(cost(10)), by_holds(60));
    world.charge("d", cost(2));
    assert_eq!(world.retry(cost(10)), exactly(3600));
}

#[test]
fn an_extension_beyond_its_cycle_is_held_to_the_cap_that_lasts() {
    let mut world = World::new();
    let settings = AllocationSettings { cadence: Cadence::Hour, ..AllocationSettings::default() };
    world.turn(|turn| turn.set_allocation_settings(settings, true)).unwrap();
    let (team, ann) = (TeamId::trusted(DEFAULT_TEAM), MemberId::trusted("ann"));
    let change = AllocationChange { monthly: Some(Some(Nanos::new(10))), extra: Some(Some(Nanos::new(5))) };
    world.turn(|turn| turn.set_member_allocation(&team, &ann, change)).unwrap();
    let no = world.hold("long", 7200, cost(4));
    world.hold("short", 3700, cost(6));
    let more = |nanos| Extend { estimate: Some(cost(nanos)), ..renew() };
    assert_eq!(world.extend(no, &more(10)).unwrap().unwrap_err().retry, by_holds(3700));
    assert_eq!(world.extend(no, &more(11)).unwrap().unwrap_err().retry, None, "the extra credits are gone by then");
    world.advance(Span::seconds(3700));
    world.extend(no, &more(11)).unwrap().unwrap_err();
    world.extend(no, &more(10)).unwrap().unwrap();
}

#[test]
fn the_servers_own_bounds_are_waited_for_like_slots() {
    let mut world = World::new();
    world.bounds = Bounds { open_per_key: 1, ..Bounds::default() };
    world.limits(vec![rpm("r", 1)]);
    world.hold("a", 5, cost(0));
    assert_eq!(world.retry(cost(1)), by_holds(5), "free by then, as the rate is");
    world.limits(vec![]);
    assert_eq!(world.retry(cost(1)), a_guess(Span::SECOND));
}
