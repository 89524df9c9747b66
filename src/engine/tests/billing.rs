//! Credits, the wallet, and that the books add up.

use super::fixture::*;
use crate::domain::{
    event::Event,
    id::{KeyId, MemberId},
    money::{Factor, Nanos},
    policy::Place,
};
use crate::engine::{conflict::Conflict, turn::OrganizationChange};

fn factor(text: &str) -> OrganizationChange {
    OrganizationChange { credit_factor: Some(Factor::parse("credit_factor", text).unwrap()), ..Default::default() }
}

#[test]
fn credits_are_usd_times_the_organizations_factor() {
    let mut world = World::new();
    world.organization(factor("2.5"));
    world.limits(vec![credits("c", 100), usd("u", 100)]);
    let no = world.reserve("r", cost(13));
    assert_eq!((world.counted("c"), world.counted("u")), ((0, 33), (0, 13)), "32.5 round up");
    assert_eq!(world.commit(no, cost(41)).overage.credits, Nanos::new(3));
    assert_eq!(named(&world.refused(cost(1))), ["c"]);
}

#[test]
fn a_change_of_the_factor_leaves_open_holds_as_they_are() {
    let mut world = World::new();
    world.limits(vec![credits("c", 100)]);
    let no = world.reserve("r", cost(10));
    world.organization(factor("5"));
    assert_eq!(world.counted("c"), (0, 10));
    world.commit(no, cost(20));
    assert_eq!(world.counted("c"), (20, 0));
    world.charge("c", cost(10));
    assert_eq!(world.counted("c"), (70, 0));
}

#[test]
fn without_a_factor_credit_caps_cannot_be_set_and_those_that_are_do_not_bind() {
    let mut world = World::new();
    let key = Place::Key(KeyId::trusted(KEY));
    world.limits(vec![credits("c", 10)]);
    world.organization(factor("0"));
    assert!(!world.limit("c").binding, "reads say so");
    world.reserve("r", cost(1_000));
    assert_eq!(world.counted("c"), (0, 0));
    let raised = world.set_policy(&key, vec![credits("c", 11)]);
    assert!(matches!(raised, Err(Conflict::Precondition(_))), "{raised:?}");
    assert!(world.set_policy(&Place::Member(MemberId::trusted("ann")), vec![credits("d", 1)]).is_err());
    world.limits(vec![credits("c", 10), usd("u", 5)]);
    world.limits(vec![usd("u", 5)]);
    world.organization(factor("1"));
    world.limits(vec![credits("c", 10)]);
    assert_eq!(named(&world.refused(cost(11))), ["c"]);
}

#[test]
fn a_wallet_that_is_off_takes_no_part() {
    let mut world = World::new();
    world.top_up("t", 5);
    let no = world.reserve("r", cost(100));
    world.commit(no, cost(100));
    assert_eq!((world.state.wallet.balance, world.state.entry), (Nanos::new(5), 2), "booked all the same");
}

#[test]
fn entries_and_events_are_numbered_without_gaps_and_balances_follow() {
    let mut world = World::new();
    world.wallet(1_000);
    for i in 0..30 {
        let no = world.reserve(&i.to_string(), cost(10));
        match i % 3 {
            0 => drop(world.commit(no, cost(i))),
            1 => drop(world.release(no)),
            _ => drop(world.charge(&format!("c{i}"), cost(i))),
        }
    }
    world.advance(MINUTE);
    let (mut entry, mut balance) = (0, Nanos::ZERO);
    for (i, record) in world.records.iter().enumerate() {
        assert_eq!(record.sequence, i as u64 + 1);
        let (number, delta, after) = match &record.event {
            Event::Settled(settled) => (settled.entry.unwrap(), settled.wallet, settled.balance),
            Event::ToppedUp(top_up) => (top_up.entry, top_up.amount, top_up.balance),
            _ => continue,
        };
        entry += 1;
        balance += delta;
        assert_eq!((number, after), (entry, balance));
    }
    assert_eq!((world.state.entry, world.state.wallet.balance), (entry, balance));
}

#[test]
fn time_never_runs_backwards_in_a_stream() {
    let mut world = World::new();
    world.limits(vec![rpm("r", 1)]);
    world.reserve("r", cost(1));
    world.now = NOON - MINUTE - MINUTE;
    world.refused(cost(1));
    world.top_up("t", 1);
    assert!(world.records.is_sorted_by_key(|record| record.time));
}
