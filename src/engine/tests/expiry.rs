//! Expiry is an event: it frees, or charges, and a late Commit books the difference.

use super::fixture::*;
use crate::domain::{
    decision::DenialCode::*,
    entity::ExpiryPolicy,
    event::{EntryKind, Event, Record},
    money::Nanos,
    operation::{Commit, Extend, MAX_TTL, Reserve},
    time::Span,
    usage::Amounts,
};
use crate::engine::{conflict::Conflict, turn::OrganizationChange};

fn charge_held(world: &mut World) {
    world.organization(OrganizationChange { expiry_policy: Some(ExpiryPolicy::ChargeHeld), ..Default::default() });
}

fn lapse(world: &mut World) {
    world.advance(Span::seconds(600));
}

fn progress(world: &mut World, no: crate::domain::reservation_id::ReservationNo, nanos: i64) {
    let extend = Extend { usage_so_far: Some(cost(nanos)), ..renew() };
    world.extend(no, &extend).unwrap().unwrap();
}

#[test]
fn a_hold_lives_for_its_ttl_and_not_longer() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10)]);
    world.reserve("r", cost(10));
    world.advance(Span::micros(599_999_999));
    world.refused(cost(1));
    world.advance(Span::micros(1));
    world.reserve("s", cost(10));
    assert_eq!(world.state.entry, 0, "nothing was charged");
}

#[test]
fn what_is_due_expires_in_order_at_most_64_at_once_and_the_target_always() {
    let mut world = World::new();
    let mut all = Vec::new();
    for i in 0..100i64 {
        let ttl = Span::seconds(1 + (i * 37) % 50);
        let granted = world.try_reserve(&Reserve { ttl, ..ask(&i.to_string(), cost(1)) }).unwrap();
        all.push((granted.expire_time, granted.reservation));
    }
    all.sort_unstable();
    world.advance(Span::seconds(60));
    let before = world.records.len();
    let (_, last) = all[99];
    assert!(world.commit(last, cost(1)).late);
    let expired: Vec<_> = world.records[before..].iter().filter_map(expired).collect();
    let expected: Vec<_> = all[..64].iter().chain([&all[99]]).map(|(_, no)| *no).collect();
    assert_eq!(expired, expected);
    assert!(!world.turn(|turn| turn.expire_due(None)), "no more is due");
    assert_eq!((world.state.open_count(), world.state.next_expiry()), (0, None));
}

fn expired(record: &Record) -> Option<crate::domain::reservation_id::ReservationNo> {
    match &record.event {
        Event::Expired { reservation, .. } => Some(*reservation),
        _ => None,
    }
}

#[test]
fn expiry_charges_the_progress_and_frees_the_rest() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    world.wallet(100);
    let no = world.reserve("r", cost(50));
    progress(&mut world, no, 20);
    lapse(&mut world);
    world.expire_due();
    assert_eq!(world.counted("b"), (20, 0));
    assert_eq!((world.state.wallet.balance, world.state.wallet.held), (Nanos::new(80), Nanos::ZERO));
    let Event::Settled(settled) = &world.records.last().unwrap().event else { panic!() };
    assert_eq!((settled.kind, settled.booked.cost), (EntryKind::Expiry, Nanos::new(20)));
}

#[test]
fn expiry_charges_all_that_was_held_where_the_organization_says_so() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    charge_held(&mut world);
    let no = world.reserve("r", cost(50));
    progress(&mut world, no, 20);
    world.reserve("s", cost(7));
    lapse(&mut world);
    world.expire_due();
    assert_eq!(world.counted("b"), (57, 0));
    assert_eq!(world.release(no).unwrap_err(), Conflict::ReservationExpired, "a charge can't be released");
}

#[test]
fn a_late_commit_books_the_difference_once() {
    for (reported, used) in [(0, 30), (20, 30), (20, 5), (20, 20)] {
        let mut world = World::new();
        world.limits(vec![usd("b", 100)]);
        world.wallet(100);
        let no = world.reserve("r", cost(50));
        if reported > 0 {
            progress(&mut world, no, reported);
        }
        lapse(&mut world);
        let commit = Commit { usage: cost(used), model: None };
        let charged = world.try_commit(no, &commit).unwrap();
        assert!(charged.late && !charged.replayed);
        assert_eq!((charged.charged.usd, charged.balance), (Nanos::new(used), Nanos::new(100 - used)));
        assert_eq!(world.counted("b"), (used, 0), "{reported} {used}");
        let entry = world.state.entry;
        assert!(world.try_commit(no, &commit).unwrap().replayed);
        let other = Commit { usage: cost(used + 1), model: None };
        assert_eq!(world.try_commit(no, &other).unwrap_err(), Conflict::SettledOtherwise);
        assert_eq!(world.release(no).unwrap_err(), Conflict::ReservationCommitted);
        assert_eq!(world.state.entry, entry);
    }
}

#[test]
fn a_late_commit_of_what_expiry_charged_needs_no_entry() {
    let mut world = World::new();
    let no = world.reserve("r", cost(50));
    progress(&mut world, no, 20);
    lapse(&mut world);
    world.expire_due();
    let entry = world.state.entry;
    let charged = world.commit(no, cost(20));
    assert_eq!((charged.entry, world.state.entry), (0, entry));
    assert_eq!(charged.charged.usd, Nanos::new(20));
}

#[test]
fn a_late_commit_shows_what_it_puts_above_the_cap() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    let no = world.reserve("r", cost(50));
    lapse(&mut world);
    world.charge("c", cost(90));
    assert_eq!(world.commit(no, cost(30)).overage, Amounts { usd: Nanos::new(20), ..Amounts::ZERO });
    assert_eq!(world.counted("b"), (120, 0));
}

#[test]
fn a_release_after_expiry_has_happened_already() {
    let mut world = World::new();
    let no = world.reserve("r", cost(50));
    lapse(&mut world);
    assert!(world.release(no).unwrap());
    assert!(world.commit(no, cost(1)).late, "and doesn't shut out a late commit");
}

#[test]
fn extend_after_expiry_is_a_denial() {
    let mut world = World::new();
    let no = world.reserve("r", cost(50));
    lapse(&mut world);
    let denial = world.extend(no, &renew()).unwrap().unwrap_err();
    assert_eq!((denial.code, denial.code.http_status()), (ReservationExpired, 429));
}

#[test]
fn a_reservation_lives_24_hours_in_all() {
    let mut world = World::new();
    let no = world.reserve("r", cost(50));
    let extend = Extend { ttl: MAX_TTL, ..renew() };
    world.advance(Span::seconds(599));
    let granted = world.extend(no, &extend).unwrap().unwrap();
    assert_eq!(granted.expire_time, NOON + Span::DAY);
    world.advance(Span::seconds(86_400 - 599));
    assert_eq!(world.extend(no, &extend).unwrap().unwrap_err().code, ReservationExpired);
}
