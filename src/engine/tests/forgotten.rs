//! Holds that a crash forgot: still charged to the right key, once.

use super::fixture::*;
use crate::domain::{
    decision::DenialCode::*,
    id::{KeyId, MemberId},
    money::Nanos,
    operation::{Commit, Reserve},
    reservation_id::ReservationNo,
    time::Span,
    usage::Amounts,
};
use crate::engine::{
    conflict::Conflict,
    turn::{Forgotten, KeyChange},
};

fn forgotten(world: &World, no: ReservationNo) -> Forgotten {
    Forgotten { no, key: KeyId::trusted(KEY), model: model(MODEL), admit_time: world.now }
}

/// Reserves, and loses that and all that follows.
fn lose(world: &mut World, nanos: i64) -> Forgotten {
    let kept = world.records.len();
    let no = world.reserve("lost", cost(nanos));
    let lost = forgotten(world, no);
    world.crash(kept);
    lost
}

fn restore(world: &mut World, lost: &Forgotten) -> Result<(), Conflict> {
    world.turn(|turn| turn.restore(lost))
}

#[test]
fn a_forgotten_hold_is_told_from_one_that_never_was() {
    let mut world = World::new();
    let known = world.reserve("known", cost(1));
    let lost = lose(&mut world, 1);
    let epoch = world.epoch;
    assert!(world.state.was_forgotten(lost.no, epoch));
    assert!(!world.state.was_forgotten(known, epoch));
    assert!(!world.state.was_forgotten(lost.no, 1), "its own epoch isn't over");
    let next = world.reserve("next", cost(1));
    assert!(!world.state.was_forgotten(next, epoch));
    assert_eq!((next.sequence, next.epoch), (lost.no.sequence, 2), "the same sequence, in another epoch");
    let skipped = ReservationNo { epoch: 2, sequence: next.sequence + 1 };
    world.epoch = 4;
    assert!(world.state.was_forgotten(skipped, 4));
    assert!(world.state.was_forgotten(ReservationNo { epoch: 3, ..skipped }, 4), "an epoch of which nothing is left");
}

#[test]
fn its_commit_is_charged_where_it_was_admitted_and_overage_is_shown() {
    let mut world = World::new();
    world.wallet(100);
    world.limits(vec![daily("b", 50), slots("s", 1)]);
    world.now = NOON + Span::seconds(12 * 3600 - 60);
    let lost = lose(&mut world, 30);
    world.charge("meanwhile", cost(40));
    world.advance(Span::seconds(120));
    restore(&mut world, &lost).unwrap();
    assert_eq!(world.counted("s"), (0, 1));
    let charged = world.commit(lost.no, cost(30));
    assert_eq!(charged.overage, Amounts { usd: Nanos::new(20), ..Amounts::ZERO });
    assert_eq!((charged.balance, charged.late), (Nanos::new(30), false));
    assert_eq!(world.counted("b"), (0, 0), "yesterday's window");
    assert_eq!(world.counted("s"), (0, 0));
}

#[test]
fn it_is_charged_once_even_when_memory_has_forgotten_the_commit() {
    let mut world = World::new();
    let lost = lose(&mut world, 5);
    let commit = Commit { usage: cost(5), model: None };
    restore(&mut world, &lost).unwrap();
    restore(&mut world, &lost).unwrap();
    assert!(!world.try_commit(lost.no, &commit).unwrap().replayed);
    restore(&mut world, &lost).unwrap();
    assert!(world.try_commit(lost.no, &commit).unwrap().replayed);
    let epoch = world.epoch;
    assert!(!world.state.was_forgotten(lost.no, epoch), "now it is remembered");
    world.advance(Span::HOUR);
    let now = world.now;
    world.forget(now);
    assert!(world.state.reservation(lost.no).is_none());
    assert!(!world.state.was_forgotten(lost.no, epoch), "the books know it");
    let kept = world.records.len();
    world.crash(kept);
    assert!(!world.state.was_forgotten(lost.no, epoch + 1));
    assert_eq!(world.state.entry, 1);
}

#[test]
fn it_can_be_released_or_expire() {
    let mut world = World::new();
    world.limits(vec![slots("s", 1)]);
    let lost = lose(&mut world, 5);
    restore(&mut world, &lost).unwrap();
    assert!(!world.release(lost.no).unwrap());
    assert_eq!(world.counted("s"), (0, 0));
    let lost = lose(&mut world, 5);
    restore(&mut world, &lost).unwrap();
    world.advance(Span::seconds(600));
    assert_eq!(world.commit(lost.no, cost(3)).charged.usd, Nanos::new(3));
    assert_eq!((world.counted("s"), world.state.entry), ((0, 0), 1));
}

#[test]
fn one_that_is_too_old_or_of_no_key_here_is_refused() {
    let mut world = World::new();
    let lost = lose(&mut world, 5);
    let foreign = Forgotten { key: KeyId::trusted("foreign"), ..lost.clone() };
    assert_eq!(restore(&mut world, &foreign), Err(Conflict::ReservationUnknown));
    world.advance(Span::seconds(86_401));
    assert_eq!(restore(&mut world, &lost), Err(Conflict::ReservationTooOld));
}

#[test]
fn one_whose_key_was_deleted_is_still_charged() {
    let mut world = World::new();
    let lost = lose(&mut world, 5);
    world.turn(|turn| turn.delete_member(&MemberId::trusted("ann"))).unwrap();
    restore(&mut world, &lost).unwrap();
    assert_eq!(world.commit(lost.no, cost(5)).entry, 1);
}

#[test]
fn one_whose_key_was_disabled_must_stop() {
    let mut world = World::new();
    let lost = lose(&mut world, 5);
    world.key(KeyChange { disabled: Some(true), ..Default::default() });
    restore(&mut world, &lost).unwrap();
    assert_eq!(world.extend(lost.no, &renew()).unwrap().unwrap_err().code, Revoked);
}

#[test]
fn one_on_a_budget_that_is_spent_up_must_stop() {
    let mut world = World::new();
    world.limits(vec![usd("b", 5)]);
    let lost = lose(&mut world, 5);
    world.charge("c", cost(5));
    restore(&mut world, &lost).unwrap();
    assert_eq!(world.extend(lost.no, &renew()).unwrap().unwrap_err().code, Revoked);
}

#[test]
fn a_request_id_that_a_crash_forgot_is_free_again() {
    let mut world = World::new();
    let lost = lose(&mut world, 5);
    let anew = world.try_reserve(&Reserve { ..ask("lost", cost(9)) }).unwrap();
    assert!(!anew.replayed && anew.reservation != lost.no);
}

#[test]
fn a_snapshot_and_the_tail_lead_to_the_same_state() {
    let mut world = World::new();
    world.limits(vec![daily("b", 500), rpm("r", 100), tpm("t", 1000), slots("s", 9)]);
    world.wallet(1_000);
    let open = world.reserve("open", tokens(0, 0));
    let at = world.records.len();
    let bytes = postcard::to_allocvec(&world.state).unwrap();
    world.commit(open, cost(7));
    world.charge("c", cost(400));
    let mut restored: crate::engine::state::OrganizationState = postcard::from_bytes(&bytes).unwrap();
    for record in &world.records[at..] {
        let bytes = postcard::to_allocvec(record).unwrap();
        restored.apply(&postcard::from_bytes(&bytes).unwrap()).unwrap();
    }
    assert_eq!(restored, world.state);
    assert!(restored.apply(&world.records[0]).is_err(), "a record that doesn't continue the state is refused");
}
