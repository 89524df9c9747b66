//! Windows are remembered: a request counts in the period in which it was admitted.

use super::fixture::*;
use crate::domain::{
    id::KeyId,
    money::Nanos,
    operation::{Commit, Extend, MAX_TTL, Reserve},
    period::{Period, Zone},
    policy::{BudgetUnit, Limit, Place},
    time::Span,
};

/// Just before midnight UTC.
fn evening(world: &mut World) {
    world.now = NOON + Span::seconds(12 * 3600 - 60);
}

fn held_over_midnight(world: &mut World, usage: i64) -> crate::domain::reservation_id::ReservationNo {
    evening(world);
    let no = world.try_reserve(&Reserve { ttl: MAX_TTL, ..ask("r", cost(usage)) }).unwrap().reservation;
    world.advance(Span::seconds(120));
    no
}

#[test]
fn a_commit_after_midnight_counts_yesterday() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10)]);
    let no = held_over_midnight(&mut world, 6);
    assert_eq!(world.counted("b"), (0, 0), "today nothing is held");
    world.reserve("today", cost(10));
    let charged = world.commit(no, cost(12));
    assert_eq!(charged.overage.usd, Nanos::new(2));
    assert_eq!(world.counted("b"), (0, 10));
}

#[test]
fn a_release_and_an_expiry_after_midnight_free_yesterday() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10)]);
    let no = held_over_midnight(&mut world, 10);
    world.release(no).unwrap();
    assert_eq!(world.counted("b"), (0, 0));
    world.reserve("a", cost(4));
    world.advance(Span::seconds(600));
    world.expire_due();
    assert_eq!(world.counted("b"), (0, 0));
}

#[test]
fn an_extension_after_midnight_is_measured_against_yesterday() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10)]);
    evening(&mut world);
    world.charge("spent", cost(7));
    let no = held_over_midnight(&mut world, 0);
    world.charge("today", cost(1));
    let more = |usd| Extend { estimate: Some(cost(usd)), ..renew() };
    assert!(world.extend(no, &more(4)).unwrap().is_err(), "7 are spent, though nothing is held any more");
    world.extend(no, &more(3)).unwrap().unwrap();
    assert_eq!(world.counted("b"), (1, 0));
    assert_eq!(world.commit(no, cost(5)).overage.usd, Nanos::new(2));
}

#[test]
fn a_late_commit_shows_its_overage_in_the_window_it_was_admitted_in() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10)]);
    evening(&mut world);
    world.charge("spent", cost(8));
    let no = world.reserve("r", cost(2));
    world.advance(Span::seconds(3600));
    world.charge("today", cost(1));
    let charged = world.commit(no, cost(5));
    assert!(charged.late);
    assert_eq!(charged.overage.usd, Nanos::new(3));
}

#[test]
fn a_calendar_budget_starts_over_at_its_zones_midnight() {
    let zone = Zone::parse("zone", "America/New_York").unwrap();
    let mut world = World::new();
    world.limits(vec![budget("b", BudgetUnit::Usd, 10, Period::Daily { zone })]);
    world.charge("a", cost(10));
    let wait = world.refused(cost(1)).retry_after().unwrap();
    assert_eq!(wait, Span::seconds(17 * 3600), "05:00 UTC");
    world.advance(Span::micros(wait.as_micros() - 1));
    world.refused(cost(1));
    world.advance(Span::micros(1));
    world.reserve("b", cost(10));
}

#[test]
fn a_one_time_budget_freezes_when_used_up() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10)]);
    world.charge("a", cost(10));
    world.advance(Span::seconds(400 * 86_400));
    assert_eq!(named(&world.refused(cost(0))), ["b"]);
    assert_eq!(world.limit("b").reset_time, None);
}

#[test]
fn a_budget_of_every_n_seconds_counts_from_its_anchor() {
    let mut world = World::new();
    let period = Period::Every { seconds: 3600, anchor: NOON.seconds() - 600 };
    world.limits(vec![budget("b", BudgetUnit::Usd, 10, period)]);
    world.charge("a", cost(10));
    assert_eq!(world.refused(cost(1)).retry_after(), Some(Span::seconds(3000)));
}

#[test]
fn editing_a_limit_keeps_its_usage() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100), rpm("r", 5), slots("s", 5)]);
    world.reserve("r", cost(10));
    world.charge("c", cost(20));
    let mut soft = usd("b", 50);
    if let Limit::Budget(budget) = &mut soft {
        budget.soft = Some(Nanos::new(1));
    }
    world.limits(vec![only(MODEL, rpm("r", 9)), only(MODEL, soft), slots("s", 1)]);
    assert_eq!(world.counted("b"), (20, 10));
    assert_eq!(world.counted("r"), (2, 0));
    assert_eq!(world.counted("s"), (0, 1));
}

#[test]
fn a_new_id_period_zone_or_unit_begins_at_zero() {
    let period = |zone: &str| Period::Daily { zone: Zone::parse("zone", zone).unwrap() };
    let weekly = |start| Period::Weekly { zone: Zone::UTC, start };
    let set = |id: &str, period| budget(id, BudgetUnit::Usd, 10, period);
    let edits = [
        (set("b", Period::OneTime), set("c", Period::OneTime)),
        (set("b", Period::OneTime), set("b", period("UTC"))),
        (set("b", period("UTC")), set("b", period("Asia/Tokyo"))),
        (set("b", weekly(0)), set("b", weekly(6))),
        (set("b", Period::OneTime), credits("b", 10)),
    ];
    for (before, after) in edits {
        let id = after.id().to_string();
        let mut world = World::new();
        world.limits(vec![before]);
        let no = world.reserve("open", cost(5));
        world.charge("c", cost(5));
        let place = Place::Key(KeyId::trusted(KEY));
        // Of another id nothing was counted that could be lost.
        let unsaid = world.set_policy(&place, vec![after.clone()]);
        assert_eq!(unsaid.is_ok(), id == "c", "{id}: {unsaid:?}");
        world.replace_policy(&place, vec![after], true).unwrap();
        assert_eq!(world.counted(&id), (0, 0), "{id}");
        world.try_commit(no, &Commit { usage: cost(7), model: None }).unwrap();
        assert_eq!(world.counted(&id), (0, 0), "what was admitted before counts on what it was admitted on");
    }
}
