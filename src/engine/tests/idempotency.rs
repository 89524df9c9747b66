//! A retry never charges, holds or creates twice.

use super::fixture::*;
use crate::domain::{
    decision::ReservationState,
    money::Nanos,
    operation::{Charge, Extend, Reserve},
    time::Span,
};
use crate::engine::conflict::Conflict;

fn reused<T>(outcome: &Result<T, Conflict>) -> bool {
    matches!(outcome, Err(Conflict::RequestReused(_)))
}

#[test]
fn a_repeated_reserve_answers_the_same_grant() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10), rpm("r", 1), slots("s", 1)]);
    let request = ask("r", cost(10));
    let first = world.try_reserve(&request).unwrap();
    world.advance(Span::seconds(5));
    world.extend(first.reservation, &renew()).unwrap().unwrap();
    let events = world.records.len();
    let again = world.try_reserve(&request).unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!(
        (again.reservation, again.held, again.expire_time, again.output_tokens),
        (first.reservation, first.held, first.expire_time, first.output_tokens)
    );
    assert_eq!(world.records.len(), events);
    assert_eq!(world.counted("b"), (0, 10));
}

#[test]
fn a_request_id_with_other_content_is_a_conflict() {
    let mut world = World::new();
    world.reserve("r", cost(10));
    for other in [
        ask("r", cost(11)),
        Reserve { model: model(FREE), ..ask("r", cost(10)) },
        Reserve { ttl: Span::seconds(5), ..ask("r", cost(10)) },
        Reserve { min_output_tokens: Some(0), ..ask("r", cost(10)) },
        Reserve { labels: Some([("a".into(), "b".into())].into()), ..ask("r", cost(10)) },
    ] {
        assert!(reused(&world.reserve_as(KEY, &other)), "{other:?}");
    }
    world.add_key("k2", "ann", "default");
    assert!(reused(&world.reserve_as("k2", &ask("r", cost(10)))), "ids are unique in the organization");
    assert!(reused(&world.try_charge(&charge("r", cost(10)))));
    assert!(reused(&world.turn(|turn| turn.order_top_up(super::fixture::top_up("r", 1, 1), None))));
}

#[test]
fn a_repeated_reserve_tells_how_it_was_closed() {
    let mut world = World::new();
    let no = world.reserve("committed", cost(1));
    world.commit(no, cost(1));
    let no = world.reserve("released", cost(1));
    world.release(no).unwrap();
    world.reserve("expired", cost(1));
    world.advance(Span::seconds(600));
    let state = |world: &mut World, id| world.try_reserve(&ask(id, cost(1))).unwrap().state;
    assert_eq!(state(&mut world, "committed"), ReservationState::Committed);
    assert_eq!(state(&mut world, "released"), ReservationState::Released);
    assert_eq!(state(&mut world, "expired"), ReservationState::Expired);
}

#[test]
fn a_refusal_is_not_remembered() {
    let mut world = World::new();
    world.limits(vec![usd("b", 1)]);
    world.try_reserve(&ask("r", cost(2))).unwrap_err();
    world.limits(vec![usd("b", 2)]);
    assert!(!world.try_reserve(&ask("r", cost(2))).unwrap().replayed);
}

#[test]
fn a_repeated_charge_or_top_up_moves_money_once() {
    let mut world = World::new();
    world.wallet(100);
    let used = charge("c", cost(30));
    let first = world.try_charge(&used).unwrap().unwrap();
    world.charge("other", cost(5));
    let again = world.try_charge(&used).unwrap().unwrap();
    assert!(again.replayed);
    assert_eq!((again.entry, again.charged, again.balance), (first.entry, first.charged, Nanos::new(70)));
    assert!(reused(&world.try_charge(&Charge { already_used: true, ..used })));
    assert!(reused(&world.reserve_as(KEY, &ask("c", cost(30)))));

    let top_up = |world: &mut World, fingerprint| {
        world.turn(|turn| turn.order_top_up(super::fixture::top_up("t", 7, fingerprint), None))
    };
    assert!(!top_up(&mut world, 1).unwrap().1);
    assert!(top_up(&mut world, 1).unwrap().1);
    assert!(reused(&top_up(&mut world, 2)));
    assert_eq!(world.state.wallet.balance, Nanos::new(72));
}

#[test]
fn a_refused_charge_may_be_tried_again() {
    let mut world = World::new();
    world.limits(vec![usd("b", 1)]);
    world.try_charge(&charge("c", cost(2))).unwrap().unwrap_err();
    world.limits(vec![usd("b", 2)]);
    assert!(!world.charge("c", cost(2)).replayed);
}

#[test]
fn a_repeated_extend_holds_nothing_twice() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    let no = world.reserve("r", cost(10));
    let extend = Extend { estimate: Some(cost(30)), usage_so_far: Some(cost(40)), ..renew() };
    for _ in 0..3 {
        let granted = world.extend(no, &extend).unwrap().unwrap();
        assert_eq!(granted.held.usd, Nanos::new(40));
    }
    assert_eq!(world.counted("b"), (0, 40));
}

#[test]
fn a_creation_is_remembered_with_what_it_made() {
    let mut world = World::new();
    let id = request("create");
    world.turn(|turn| turn.take_request(Some(&id), 5, "team-1"));
    assert_eq!(world.turn(|turn| turn.created_before(Some(&id), 5)).unwrap().as_deref(), Some("team-1"));
    assert!(reused(&world.turn(|turn| turn.created_before(Some(&id), 6))));
    assert!(reused(&world.reserve_as(KEY, &ask("create", cost(1)))));
    assert_eq!(world.turn(|turn| turn.created_before(None, 5)), Ok(None));
}

#[test]
fn memory_forgets_what_is_over_only_once_the_books_have_it() {
    let mut world = World::new();
    let (open, over) = (world.reserve("open", cost(1)), world.reserve("over", cost(1)));
    world.commit(over, cost(1));
    world.charge("charge", cost(1));
    world.advance(Span::seconds(300));
    let (now, sequence) = (world.now, world.state.sequence);
    assert_eq!(world.state.forget(now, 10, sequence - 2), 0, "the books lack the commit");
    assert_eq!(world.state.forget(NOON, 10, sequence), 0, "not old enough");
    assert_eq!(world.state.forget(NOON, 1, sequence), 1, "too many");
    world.forget(now);
    assert!(world.state.reservation(over).is_none() && world.state.reservation(open).is_some());
    assert!(world.state.has_forgotten, "the books must be asked for the charge's id");
    assert_eq!(world.state.taken(&request("over")), None);
    assert!(world.state.taken(&request("open")).is_some());
}

#[test]
fn what_the_books_recall_is_answered_as_before() {
    let mut world = World::new();
    let no = world.reserve("r", cost(5));
    world.advance(Span::seconds(600));
    world.expire_due();
    let kept = world.state.reservation(no).unwrap().clone();
    world.advance(Span::HOUR);
    let now = world.now;
    world.forget(now);
    assert_eq!(world.state.reservation(no), None);
    let commit = crate::domain::operation::Commit { usage: cost(3), model: None };
    assert_eq!(world.try_commit(no, &commit).unwrap_err(), Conflict::ReservationUnknown);
    world.state.recall(kept, now);
    // What memory takes back is no part of the history, so the replica doesn't have it.
    let context = crate::engine::turn::Context {
        bounds: crate::engine::turn::Bounds::default(),
        now,
        epoch: 1,
        actor: &crate::domain::id::Actor::OPERATOR,
        prices: &world.prices,
    };
    let mut turn = crate::engine::turn::Turn::new(&mut world.state, context);
    let charged = turn.commit(no, &commit, 1).unwrap();
    assert!(charged.late && turn.commit(no, &commit, 1).unwrap().replayed);
}
