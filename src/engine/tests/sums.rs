//! Sums that can't be kept: what would carry one past 9·10⁹ is refused before it happens, and changes nothing.

use super::fixture::*;
use crate::{
    domain::{
        allocation::{AllocationSettings, CreditRequestState},
        entity::ExpiryPolicy,
        error::SumTooLarge,
        id::{CreditRequestId, DEFAULT_TEAM, MemberId, TeamId},
        money::{Factor, Nanos},
        operation::{Charge, Commit, Extend},
        payment::{OrderTerms, PaymentOutcome},
        usage::Usage,
    },
    engine::{
        conflict::Conflict,
        turn::{AllocationChange, Correctable, Orderer, OrganizationChange, Outcome},
    },
};

/// The most that one usage may cost at a thousand credits a USD, in nano-USD.
const MOST: i64 = Nanos::MAX_COST.get() / 1000;
/// As often as that sums can take it: 9·10⁹.
const TIMES: i64 = 9;

/// A member that may order what it likes.
fn orderer(member: &MemberId) -> Orderer<'_> {
    const TERMS: OrderTerms = OrderTerms { by_provider: false, amount: Nanos::MAX_INPUT, pending: 100 };
    Orderer { member, terms: &TERMS }
}

#[track_caller]
fn assert_too_large<T: std::fmt::Debug>(outcome: Outcome<T>, what: &str) {
    match outcome {
        Err(Conflict::SumTooLarge(SumTooLarge { what: named })) => assert!(named.contains(what), "{named}"),
        other => panic!("{other:?}"),
    }
}

impl World {
    /// A thousand credits a USD, so that nine usages are as much as sums can be.
    fn costly() -> Self {
        let mut world = Self::new();
        let credit_factor = Some(Factor::parse("credit_factor", "1000").unwrap());
        world.organization(OrganizationChange { credit_factor, ..Default::default() });
        world
    }

    /// What is refused leaves the state as it is: that no record was made, the fixture's replay shows.
    #[track_caller]
    fn refuses<T: std::fmt::Debug>(&mut self, what: &str, act: impl FnOnce(&mut Self) -> Outcome<T>) {
        let (before, wallet, entry) = (self.state.allocations.clone(), self.state.wallet, self.state.entry);
        assert_too_large(act(self), what);
        assert_eq!((&before, wallet, entry), (&self.state.allocations, self.state.wallet, self.state.entry));
    }
}

#[test]
fn charges_are_refused_where_a_counter_could_not_take_them() {
    let mut world = World::costly();
    for number in 0..TIMES {
        world.charge(&format!("c{number}"), cost(MOST));
    }
    world.refuses("limit", |world| world.try_charge(&charge("c9", cost(1))));
    let used = charge("c9", cost(1));
    world.refuses("limit", |world| world.try_charge(&Charge { already_used: true, ..used }));
    world.refuses("limit", |world| world.reserve_as(KEY, &ask("r", cost(1))));
    // The next cycle counts from nothing.
    world.reset_cycle();
    world.charge("c9", cost(MOST));
}

#[test]
fn holds_are_refused_where_a_counter_could_not_take_what_they_may_charge() {
    let mut world = World::costly();
    world.organization(OrganizationChange {
        expiry_policy: Some(ExpiryPolicy::ChargeHeld),
        ..OrganizationChange::default()
    });
    let holds: Vec<_> = (0..TIMES - 1).map(|number| world.reserve(&format!("r{number}"), cost(MOST))).collect();
    let small = world.reserve("small", cost(MOST / 2));
    world.refuses("limit", |world| world.reserve_as(KEY, &ask("r", cost(MOST))));
    let more = |usage| Extend { estimate: Some(usage), ..renew() };
    world.extend(small, &more(cost(MOST - 1))).unwrap().unwrap();
    let least = world.reserve("least", cost(1));
    world.refuses("limit", |world| world.extend(least, &more(cost(2))));
    world.extend(small, &more(cost(MOST - 1))).unwrap().unwrap();
    world.release(least).unwrap();
    world.extend(small, &more(cost(MOST))).unwrap().unwrap();
    world.release(holds[0]).unwrap();
    // What runs out is charged, and fits: all of it was held.
    world.advance(crate::domain::operation::DEFAULT_TTL);
    world.expire_due();
    assert_eq!(world.state.open_count(), 0);
    world.charge("c", cost(MOST));
    world.refuses("limit", |world| world.try_charge(&charge("d", cost(1))));
}

#[test]
fn a_settlement_that_a_counter_could_not_take_leaves_the_hold_as_it_is() {
    let mut world = World::costly();
    let no = world.reserve("r", cost(1));
    for number in 0..TIMES - 1 {
        world.charge(&format!("c{number}"), cost(MOST));
    }
    world.charge("last", cost(MOST - 1));
    let much = Commit { usage: cost(2), model: None };
    world.refuses("limit", |world| world.try_commit(no, &much));
    assert!(world.state.reservation(no).unwrap().is_open());
    world.commit(no, cost(1));
}

#[test]
fn a_balance_takes_no_more_than_can_be_kept() {
    let mut world = World::new();
    let billion = Nanos::MAX_INPUT.get();
    world.wallet(billion);
    for number in 1..TIMES {
        world.top_up(&format!("t{number}"), billion);
    }
    assert_eq!(world.state.wallet.balance, Nanos::MAX_SUM);
    world.refuses("balance", |world| world.turn(|turn| turn.order_top_up(top_up("t9", 1, 7), None)));
    let ann = MemberId::trusted("ann");
    world.refuses("balance", |world| world.turn(|turn| turn.order_top_up(top_up("t9", 1, 7), Some(orderer(&ann)))));
    let of = Correctable { wallet: Nanos::new(-5), ..money(3) };
    world.refuses("balance", |world| world.turn(|turn| turn.correct(correction("x", 1), &of)));
}

#[test]
fn an_order_that_was_paid_is_not_settled_where_the_balance_could_not_take_it() {
    let mut world = World::new();
    let billion = Nanos::MAX_INPUT.get();
    world.wallet(billion);
    let ann = MemberId::trusted("ann");
    let ordered = |world: &mut World, id: &str| {
        world.turn(|turn| turn.order_top_up(top_up(id, billion, 7), Some(orderer(&ann)))).map(|(order, _)| order.id)
    };
    let orders: Vec<_> = (1..TIMES).map(|number| ordered(&mut world, &format!("o{number}")).unwrap()).collect();
    assert_too_large(ordered(&mut world, "o9"), "balance");
    world.top_up("operator", billion);
    let settle = |world: &mut World, id| {
        world.turn(|turn| turn.decide_order(id, PaymentOutcome::Settled, String::new(), "")).map(|_| ())
    };
    for id in &orders[1..] {
        settle(&mut world, id).unwrap();
    }
    world.refuses("balance", |world| settle(world, &orders[0]));
}

#[test]
fn a_balance_goes_no_deeper_than_can_be_kept() {
    let mut world = World::new();
    world.wallet(1);
    world.organization(OrganizationChange { expiry_policy: Some(ExpiryPolicy::ChargeHeld), ..Default::default() });
    world.state.wallet.balance = Nanos::MAX_COST - Nanos::MAX_SUM;
    let mut used = charge("c", Usage { cost: Some(Nanos::MAX_COST), ..cost(0) });
    used.already_used = true;
    let booked = |world: &mut World, charge: &Charge| {
        let key = world.state.keys.place(&crate::domain::id::KeyId::trusted(KEY)).unwrap();
        world.turn_unreplayed(|turn| turn.charge(key, charge)).map(|decided| decided.is_ok())
    };
    assert_eq!(booked(&mut world, &used), Ok(true));
    used.request = request("d");
    assert_too_large(booked(&mut world, &used), "below zero");
    assert_eq!(world.state.wallet.balance, -Nanos::MAX_SUM);
}

#[test]
fn no_more_credits_are_given_out_than_can_be_counted() {
    let mut world = World::new();
    let team = TeamId::trusted(DEFAULT_TEAM);
    let billion = Nanos::MAX_INPUT;
    world.turn(|turn| turn.set_allocation_settings(AllocationSettings::default(), true)).unwrap();
    let monthly = AllocationChange { monthly: Some(Some(billion)), extra: None };
    let allot = |world: &mut World, member: &str, change| {
        let member = MemberId::trusted(member);
        world.turn(|turn| turn.set_member_allocation(&TeamId::trusted(DEFAULT_TEAM), &member, change))
    };
    for number in 0..TIMES {
        let member = format!("m{number}");
        world.add_member(&member, &[DEFAULT_TEAM]);
        allot(&mut world, &member, monthly).unwrap();
    }
    let one = AllocationChange { monthly: Some(Some(Nanos::new(1))), extra: None };
    world.refuses("gives out", |world| allot(world, "ann", one));
    world.add_team("other");
    world.refuses("gives out", |world| {
        world.turn(|turn| turn.set_team_allocation(&TeamId::trusted("other"), one, None))
    });
    let id = CreditRequestId::trusted("q");
    let ann = MemberId::trusted("ann");
    let submit = |world: &mut World, id: &CreditRequestId| {
        let asked = Nanos::new(1);
        world.turn(|turn| turn.submit_credit_request(id.clone(), (&team, &ann), asked, String::new()))
    };
    submit(&mut world, &id).unwrap();
    world.refuses("gives out", |world| world.turn(|turn| turn.approve_credit_request(&id, None, String::new())));
    assert_eq!(world.state.credit_requests.find(&id).unwrap().entity.state, CreditRequestState::Pending);
}

#[test]
fn extra_credits_add_up_to_no_more_than_can_be_counted() {
    let mut world = World::new();
    let (team, ann) = (TeamId::trusted(DEFAULT_TEAM), MemberId::trusted("ann"));
    for number in 0..TIMES {
        let id = CreditRequestId::trusted(format!("q{number}"));
        let asked = Nanos::MAX_INPUT;
        world.turn(|turn| turn.submit_credit_request(id.clone(), (&team, &ann), asked, String::new())).unwrap();
        world.turn(|turn| turn.approve_credit_request(&id, None, String::new())).unwrap();
    }
    let id = CreditRequestId::trusted("last");
    world.turn(|turn| turn.submit_credit_request(id.clone(), (&team, &ann), Nanos::new(1), String::new())).unwrap();
    world.refuses("ann", |world| world.turn(|turn| turn.approve_credit_request(&id, None, String::new())));
}
