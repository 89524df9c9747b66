//! A state that was changed by something else than its events is told from one that wasn't.

use super::fixture::*;
use crate::{
    domain::{
        id::{DEFAULT_TEAM, MemberId, TeamId},
        money::Nanos,
        policy::Place,
    },
    engine::{
        limit::Counter,
        state::{Mismatch, OrganizationState},
        turn::AllocationChange,
    },
};

/// With a budget, something spent and something held, and credits given out.
fn world() -> World {
    let mut world = World::new();
    world.set_policy(&Place::Member(MemberId::trusted("ann")), vec![usd("month", 100_000)]).unwrap();
    let monthly = AllocationChange { monthly: Some(Some(Nanos::new(60_000))), extra: None };
    world
        .turn(|turn| turn.set_member_allocation(&TeamId::trusted(DEFAULT_TEAM), &MemberId::trusted("ann"), monthly))
        .unwrap();
    world.charge("c1", cost(300));
    world.try_reserve(&ask("r1", cost(500))).unwrap();
    world
}

#[track_caller]
fn assert_named(found: &[Mismatch], what: &str, expected: &str, stands: &str) {
    let named = found.iter().any(|m| m.what.contains(what) && m.expected == expected && m.found == stands);
    assert!(named, "{what}: {expected} against {stands} isn't in {found:#?}");
}

fn changed(world: &World, change: impl FnOnce(&mut OrganizationState)) -> OrganizationState {
    let mut state = world.state.clone();
    change(&mut state);
    state
}

fn anns_window(state: &mut OrganizationState, spent: i64, held: i64) {
    let (no, start) = state
        .all_limits()
        .find_map(|(no, entry)| match (&*entry.place, &entry.counter) {
            (Place::Member(_), Counter::Budget(windows)) => windows.iter().next().map(|(start, _)| (no, start)),
            _ => None,
        })
        .unwrap();
    let entry = state.entries[no.0 as usize].as_mut().unwrap();
    let Counter::Budget(windows) = &mut entry.counter else { unreachable!() };
    windows.add(start, Nanos::new(spent), Nanos::new(held), NOON);
}

#[test]
fn a_state_that_its_events_led_to_agrees_with_itself_and_with_a_replay() {
    let world = world();
    assert_eq!(world.state.inconsistencies(), []);
    assert_eq!(world.state.mismatches(&world.state.clone()), []);
}

#[test]
fn money_that_came_from_nowhere_is_named_with_both_amounts() {
    let world = world();
    let richer = changed(&world, |state| state.wallet.balance += Nanos::new(7));
    assert_named(&richer.mismatches(&world.state), "balance", "0", "0.000000007");
}

#[test]
fn a_budget_that_counts_something_else_is_named() {
    let world = world();
    let spent = changed(&world, |state| anns_window(state, 5, 0));
    assert_named(&spent.mismatches(&world.state), "budget member/ann/month from", "0.0000003", "0.000000305");
    assert_eq!(spent.inconsistencies(), [], "what is spent follows from the books alone");
}

#[test]
fn a_hold_without_a_reservation_is_named_even_without_a_replay() {
    let world = world();
    let held = changed(&world, |state| anns_window(state, 0, 5));
    assert_named(&held.inconsistencies(), "held of budget member/ann/month", "0.0000005", "0.000000505");
    assert_named(&held.mismatches(&world.state), "held of budget member/ann/month", "0.0000005", "0.000000505");
}

#[test]
fn a_reservation_that_was_lost_is_named() {
    let world = world();
    let lost = changed(&world, |state| state.expiries.clear());
    assert_named(&lost.mismatches(&world.state), "open reservations", "1", "0");
    assert_named(&lost.inconsistencies(), "reservations that expire", "1", "0");
}

#[test]
fn a_team_that_gave_out_more_than_its_members_have_is_named() {
    let world = world();
    let more = changed(&world, |state| {
        let team = state.teams.place(&TeamId::trusted(DEFAULT_TEAM)).unwrap();
        state.allocations.team_mut(team).distributed += Nanos::new(1);
    });
    assert_named(&more.inconsistencies(), "distributed in team default", "0.00006", "0.000060001");
}

#[test]
fn an_entity_that_isnt_what_was_set_is_named_by_its_row() {
    let mut world = world();
    let before = world.state.clone();
    world.add_member("bob", &[DEFAULT_TEAM]);
    let found = before.mismatches(&world.state);
    assert_named(&found, "member in row 1", "one", "none");
    assert_named(&found, "sequence", &world.state.sequence.to_string(), &before.sequence.to_string());
}
