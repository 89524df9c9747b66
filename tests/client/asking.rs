//! What a gate answers at Reserve: granted, refused, or out of reach, and never one for the other.

use std::time::Duration;

use quotad::{
    api::proto::{Denial, DenialCode, ReservationState, session_request::Op},
    client::{Gate, GateError, GateOptions, Retry, WhenUnreachable},
    clock::Stopwatch,
};
use tonic::{Code, Status};

use crate::{
    fake::{Deed, Fake, drained, idle, overloaded},
    messages::{reserve, usd},
    world::{Place, World},
};

pub(crate) fn options(when_unreachable: WhenUnreachable) -> GateOptions {
    GateOptions { seed: Some(7), ..GateOptions::new(when_unreachable) }
}

#[tokio::test]
async fn a_denial_is_an_answer_whatever_is_to_happen_in_an_outage() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), crate::messages::policy(vec![crate::messages::budget("cap", "1")], Vec::new())).await;
    for when_unreachable in [WhenUnreachable::FailClosed, WhenUnreachable::FailOpen] {
        let fake = Fake::before(&world.service, []);
        let mut options = options(when_unreachable);
        // The server is real, and a slow machine is no outage.
        options.reserve.attempt = Duration::from_mins(1);
        let gate = Gate::new(fake.connect(), options);
        let error = gate.enter(reserve("k1", "r", usd("2"))).await.unwrap_err();
        let GateError::Denied(denial) = &error else { panic!("{error:?}") };
        assert_eq!((denial.code(), denial.http_status), (DenialCode::BudgetExceeded, 429));
        assert_eq!(fake.names(), ["reserve"], "a refusal isn't asked about again, and nothing is given back");
    }
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_is_asked_again_under_the_same_id_and_refuses_nobody() {
    let fake = Fake::new([overloaded(), Deed::Break]);
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailClosed));
    let ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    assert_eq!(ticket.grant().unwrap().reservation_id, "of r");
    let calls = fake.calls();
    assert_eq!((calls.len(), &calls[0], &calls[1]), (3, &calls[1], &calls[2]));
}

#[tokio::test(start_paused = true)]
async fn failing_closed_tells_an_outage_within_the_deadline() {
    for deed in [overloaded(), Deed::Break, Deed::Hang] {
        let fake = Fake::new([]);
        fake.otherwise(deed);
        let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailClosed));
        let asked = Stopwatch::start();
        let error = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
        assert!(matches!(error, GateError::Unreachable(_)), "{error:?}");
        assert!(asked.elapsed() <= Retry::WAITED_FOR.overall + Duration::from_millis(5), "{:?}", asked.elapsed());
        assert!(fake.calls().len() > 3, "{:?}", fake.names());
    }
}

#[tokio::test(start_paused = true)]
async fn failing_open_lets_the_request_run_without_a_hold() {
    let fake = Fake::new([]);
    fake.otherwise(Deed::Hang);
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailOpen));
    let mut ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    assert_eq!(ticket.grant(), None);
    ticket.extend(None).await.unwrap();
    assert!(!fake.names().contains(&"extend"), "there is nothing to extend");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_wrong_is_no_outage_and_never_fails_open() {
    let fake = Fake::new([Deed::Refuse(Status::unauthenticated("no such token"))]);
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailOpen));
    let error = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    let GateError::Failed(status) = error else { panic!("{error:?}") };
    assert_eq!((status.code(), fake.names()), (Code::Unauthenticated, vec!["reserve"]));
}

#[tokio::test]
async fn a_request_id_whose_work_is_over_is_no_ticket() {
    let world = World::new().await;
    let gate = Gate::new(world.service.clone(), options(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap().commit(usd("1")).await.unwrap();
    let error = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    assert!(matches!(error, GateError::Ended(ReservationState::Committed)), "{error:?}");
    assert_eq!(world.books().await.entry, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hold_whose_answer_was_lost_is_given_back_by_payer_and_request_id() {
    let fake = Fake::new([]);
    fake.otherwise(Deed::Lose);
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    fake.otherwise(Deed::Pass);
    drained(&gate).await;
    let Some(Op::Release(release)) = fake.calls().pop() else { panic!("{:?}", fake.names()) };
    assert_eq!(release.reservation, crate::messages::by_request(crate::messages::key("k1"), "r"));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_said_it_holds_nothing_isnt_asked_to_give_it_back() {
    let fake = Fake::new([]);
    fake.otherwise(overloaded());
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    fake.otherwise(Deed::Pass);
    drained(&gate).await;
    idle().await;
    assert!(!fake.names().contains(&"release"), "{:?}", fake.names());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_during_reserve_leaves_no_hold() {
    let fake = Fake::new([Deed::Hang]);
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailOpen));
    let gone = tokio::time::timeout(Duration::from_millis(100), gate.enter(reserve("k1", "r", usd("1"))));
    gone.await.unwrap_err();
    drained(&gate).await;
    assert_eq!(fake.names(), ["reserve", "release"]);
}

/// The release that is owed has failed, and waits for its next attempt.
async fn release_was_tried(fake: &Fake) {
    while !fake.names().contains(&"release") {
        idle().await;
    }
    idle().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_tried_again_under_its_id_keeps_its_hold() {
    let fake = Fake::new([]);
    fake.otherwise(Deed::Break);
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    release_was_tried(&fake).await;
    fake.otherwise(Deed::Pass);
    let before = fake.calls().len();
    let ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    drained(&gate).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(fake.names()[before..], ["reserve"], "the running request's hold was given back");
    ticket.commit(usd("1")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_may_be_there_is_given_back_though_the_next_attempt_is_refused_for_overload() {
    let fake = Fake::new([]);
    fake.otherwise(Deed::Break);
    let gate = Gate::new(fake.connect(), options(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    release_was_tried(&fake).await;
    // Nothing is known to be held by this attempt; what the one before may hold is forgotten by nobody.
    fake.otherwise(overloaded());
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    let before = fake.calls().len();
    fake.otherwise(Deed::Pass);
    drained(&gate).await;
    assert!(fake.names()[before..].contains(&"release"), "{:?}", fake.names());
}

#[test]
fn errors_name_what_happened() {
    let denied = GateError::Denied(Box::new(Denial {
        code: DenialCode::BudgetExceeded.into(),
        message: "Budget exceeded".into(),
        ..Denial::default()
    }));
    assert_eq!(denied.to_string(), "DENIAL_CODE_BUDGET_EXCEEDED: Budget exceeded");
    let away = GateError::Unreachable(Status::unavailable("connection refused"));
    assert_eq!(away.to_string(), "quotad can't be reached (UNAVAILABLE: connection refused)");
}
