//! Corrections reach what their entries counted on.

use super::fixture::*;
use crate::{
    domain::{
        entity::ExpiryPolicy,
        money::{Factor, Nanos},
        operation::Extend,
        policy::Place,
        time::Span,
    },
    engine::{
        conflict::Conflict,
        turn::{NewCorrection, OrganizationChange},
    },
};

impl World {
    fn refund(&mut self, id: &str, amount: i64, entry: u64) -> Result<(), Conflict> {
        let of = self.correctable(entry);
        self.turn(|turn| turn.correct(correction(id, amount), &of)).map(drop)
    }

    fn spent_on(&self, limit: &str) -> i64 {
        let (_, entry) = self.state.all_limits().find(|(_, entry)| entry.limit.id().as_str() == limit).unwrap();
        entry.standing(self.now).spent
    }
}

#[test]
fn the_last_correction_takes_what_rounding_left_of_the_credits() {
    let mut world = World::new();
    world.organization(OrganizationChange {
        credit_factor: Some(Factor::parse("f", "0.3").unwrap()),
        ..Default::default()
    });
    world.limits(vec![usd("usd", 1000), credits("credits", 1000)]);
    world.charge("c", cost(10));
    assert_eq!((world.spent_on("usd"), world.spent_on("credits")), (10, 3));
    for (no, (usd, credits)) in [(7, 3), (4, 2), (1, 1), (0, 0)].into_iter().enumerate() {
        let amount = world.spent_on("usd") - usd;
        world.refund(&format!("r{no}"), amount, 1).unwrap();
        assert_eq!((world.spent_on("usd"), world.spent_on("credits")), (usd, credits));
    }
    assert!(matches!(world.refund("more", 1, 1), Err(Conflict::Precondition(_))));
}

#[test]
fn all_entries_of_a_reservation_share_what_they_booked() {
    let mut world = World::new();
    world.organization(OrganizationChange { expiry_policy: Some(ExpiryPolicy::ChargeHeld), ..Default::default() });
    world.limits(vec![usd("usd", 1000)]);
    let no = world.reserve("r", cost(8));
    world.advance(Span::seconds(601));
    world.expire_due();
    assert_eq!(world.spent_on("usd"), 8);
    assert!(matches!(world.refund("early", 1, 1), Err(Conflict::SettlementOpen { entry: 1, .. })));
    world.commit(no, cost(5));
    assert_eq!(world.spent_on("usd"), 5);
    assert!(matches!(world.refund("more", 6, 1), Err(Conflict::Precondition(_))), "the late commit gave back 3");
    world.refund("some", 4, 1).unwrap();
    assert!(matches!(world.refund("other", 2, 2), Err(Conflict::Precondition(_))));
    world.refund("rest", 1, 2).unwrap();
    assert_eq!(world.spent_on("usd"), 0);
}

#[test]
fn what_expiry_charged_is_corrected_once_no_commit_can_come() {
    let mut world = World::new();
    let no = world.reserve("r", cost(8));
    let extend = Extend { ttl: Span::seconds(60), usage_so_far: Some(cost(3)), estimate: None };
    world.extend(no, &extend).unwrap().unwrap();
    world.advance(Span::DAY);
    world.expire_due();
    assert!(matches!(world.refund("early", 1, 1), Err(Conflict::SettlementOpen { .. })));
    world.advance(Span::SECOND);
    world.refund("late", 3, 1).unwrap();
}

#[test]
fn a_ceiling_follows_the_operators_word_alone() {
    let mut world = World::new();
    world.set_policy(&Place::Ceiling, vec![usd("ceiling", 1000)]).unwrap();
    world.set_policy(&Place::Organization, vec![usd("own", 1000)]).unwrap();
    world.charge("c", cost(10));
    let of = world.correctable(1);
    let steps = [(5, false, 5, 10), (-2, false, 7, 10), (3, true, 4, 7), (-6, false, 10, 10), (10, true, 0, 0)];
    for (no, (amount, by_operator, own, ceiling)) in steps.into_iter().enumerate() {
        let new = NewCorrection { by_operator, ..correction(&format!("r{no}"), amount) };
        world.turn(|turn| turn.correct(new, &of)).unwrap();
        assert_eq!((world.spent_on("own"), world.spent_on("ceiling")), (own, ceiling), "step {no}");
    }
}

#[test]
fn what_is_taken_again_stops_running_work() {
    let mut world = World::new();
    world.limits(vec![usd("usd", 10)]);
    world.charge("c", cost(10));
    world.refund("r", 5, 1).unwrap();
    let no = world.reserve("r1", cost(1));
    world.refund("back", -5, 1).unwrap();
    assert!(world.state.hold(no).unwrap().revoked().is_some());
    world.refund("again", 5, 1).unwrap();
    assert!(world.state.hold(no).unwrap().revoked().is_some(), "what was revoked stays so");
}

#[test]
fn what_is_taken_again_stops_those_who_draw_on_the_pool() {
    let mut world = super::pools::pooled(30, 5);
    let charged = world.charge("c", cost(30));
    world.refund("r", 10, charged.entry).unwrap();
    let granted = world.reserve_as("bobs", &ask("bob", cost(5))).unwrap().unwrap();
    world.refund("some", -9, charged.entry).unwrap();
    assert!(world.revocations.is_empty(), "24 of 25 are drawn");
    world.refund("rest", -1, charged.entry).unwrap();
    assert_eq!(world.revocations.iter().map(|stopped| stopped.reservation).collect::<Vec<_>>(), [granted.reservation]);
}

#[test]
fn a_correction_comes_after_what_is_due() {
    let mut world = super::pools::pooled(30, 0);
    world.limits(vec![usd("usd", 1000)]);
    world.charge("c", cost(10));
    let no = world.reserve("due", cost(8));
    let extend = Extend { ttl: Span::seconds(60), usage_so_far: Some(cost(3)), estimate: None };
    world.extend(no, &extend).unwrap().unwrap();
    world.advance(Span::HOUR);
    let of = world.correctable(1);
    let (correction, _) = world.turn(|turn| turn.correct(correction("r", 4), &of)).unwrap();
    assert_eq!((correction.entry, world.state.open_count()), (3, 0), "the hold was charged first");
    assert_eq!(world.spent_on("usd"), 9);
    let total = world.state.credits().account();
    assert_eq!((total.cycle.start, total.used), (world.now, Nanos::ZERO), "the cycle in which it counted is over");
}

#[test]
fn windows_that_are_gone_are_left_alone() {
    let mut world = World::new();
    world.limits(vec![daily("day", 100)]);
    world.charge("c", cost(10));
    for _ in 0..3 {
        world.advance(Span::DAY);
        world.charge(&format!("at {}", world.now), cost(1));
    }
    let of = world.correctable(1);
    let (correction, _) = world.turn(|turn| turn.correct(correction("r", 10), &of)).unwrap();
    assert_eq!(correction.usage.unwrap().limits.len(), 2, "the allocation's counters");
    assert_eq!(world.spent_on("day"), 1);
    assert_eq!(world.state.wallet.balance, Nanos::ZERO);
}
