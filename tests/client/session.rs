//! Many operations over one stream, each with its own answer, whatever becomes of the stream.

use std::{error::Error as _, time::Duration};

use quotad::{
    api::proto::{DenialCode, ReserveRequest},
    client::{Gate, Session, StreamBroken, WhenUnreachable, is_transient, reason},
};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::{
    asking::options,
    fake::{Deed, Fake, idle},
    messages::{
        budget, charge, check, checked, commit, extend, extended, policy, release, reserve, reserved, tokens, usd,
    },
    world::{Place, World},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_share_a_session_and_each_has_its_own_answer() {
    let world = World::new().await;
    let (session, _revocations) = Session::new(world.service.clone(), 64);
    let mut tasks = JoinSet::new();
    for no in 0..200_u64 {
        let session = session.clone();
        tasks.spawn(async move {
            let request = reserve("k1", &format!("r{no}"), tokens(100, 50));
            let id = reserved(session.reserve(request).await.unwrap()).unwrap().reservation_id;
            let charged = session.commit(commit(&id, tokens(100, no))).await.unwrap().charged.unwrap();
            assert_eq!(charged.tokens, 100 + no, "the answer to another operation");
        });
    }
    tasks.join_all().await;
    session.close().await;
    assert_eq!(world.ledger().await.transactions.len(), 200);
    world.verify().await;
}

#[tokio::test]
async fn every_operation_has_its_method_and_errors_have_their_details() {
    let world = World::new().await;
    let (session, _revocations) = Session::new(world.service.clone(), 8);
    assert!(checked(session.check(check("k1", usd("1"))).await.unwrap()).0.is_ok());
    let id = reserved(session.reserve(reserve("k1", "a", usd("1"))).await.unwrap()).unwrap().reservation_id;
    assert_eq!(extended(session.extend(extend(&id)).await.unwrap()).unwrap().reservation_id, id);
    assert_eq!(session.release(release(&id)).await.unwrap().released.unwrap().usd, "1");
    assert!(session.charge(charge("k1", "b", usd("2"))).await.unwrap().decision.is_some());
    let error = session.commit(commit("made-up", usd("1"))).await.unwrap_err();
    assert_eq!((error.code(), reason(&error).as_deref()), (Code::NotFound, Some("RESERVATION_NOT_FOUND")));
    assert!(!is_transient(&error));
}

#[tokio::test]
async fn revocations_of_what_was_reserved_over_it_are_handed_out() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], Vec::new())).await;
    let (session, mut revocations) = Session::new(world.service.clone(), 8);
    let id = reserved(session.reserve(reserve("k1", "r", usd("1"))).await.unwrap()).unwrap().reservation_id;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "0")], Vec::new())).await;
    let revocation = revocations.recv().await.unwrap();
    assert_eq!((revocation.reservation_id, revocation.request_id.as_str()), (id, "r"));
    assert_eq!(revocation.cause.unwrap().code(), DenialCode::BudgetExceeded);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_under_way_than_allowed_and_the_rest_wait_for_room() {
    let fake = Fake::new(vec![Deed::Hang; 3]);
    let (session, _revocations) = Session::new(fake.connect(), 3);
    let spawn = |count| {
        let mut tasks = JoinSet::new();
        for no in 0..count {
            let session = session.clone();
            tasks.spawn(async move { session.commit(commit(&format!("id{no}"), usd("1"))).await });
        }
        tasks
    };
    let hanging = spawn(3);
    idle().await;
    let waiting = spawn(7);
    idle().await;
    assert_eq!(fake.calls().len(), 3);
    drop(hanging);
    assert!(waiting.join_all().await.iter().all(Result::is_ok));
    assert_eq!(fake.calls().len(), 10);
}

#[tokio::test(start_paused = true)]
async fn room_is_free_again_when_a_caller_gives_up() {
    let fake = Fake::new([Deed::Hang]);
    let (session, _revocations) = Session::new(fake.connect(), 1);
    let hangs = session.reserve(reserve("k1", "hangs", usd("1")));
    tokio::time::timeout(Duration::from_secs(1), hangs).await.unwrap_err();
    let next = tokio::time::timeout(Duration::from_secs(1), session.reserve(reserve("k1", "next", usd("1"))));
    assert_eq!(reserved(next.await.unwrap().unwrap()).unwrap().reservation_id, "of next");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_fails_what_is_under_way_and_is_opened_again() {
    let fake = Fake::new([Deed::Hang, Deed::Cut]);
    let (session, _revocations) = Session::new(fake.connect(), 8);
    let (hangs, cuts) = (session.clone(), session.clone());
    let ask = async |session: Session, id: &str| session.reserve(reserve("k1", id, usd("1"))).await;
    let (first, second) = tokio::join!(ask(hangs, "a"), ask(cuts, "b"));
    for lost in [first.unwrap_err(), second.unwrap_err()] {
        assert!(is_transient(&lost) && lost.code() == Code::Unavailable, "{lost:?}");
        assert!(lost.source().unwrap().is::<StreamBroken>());
        assert_eq!(reason(&lost), None, "quotad never said so");
    }
    assert_eq!(reserved(ask(session, "c").await.unwrap()).unwrap().reservation_id, "of c");
}

#[tokio::test(start_paused = true)]
async fn a_gate_over_a_session_gets_over_a_stream_that_breaks() {
    let fake = Fake::new([Deed::Cut, Deed::Pass, Deed::Cut]);
    let (session, _revocations) = Session::new(fake.connect(), 8);
    let gate = Gate::new(session, options(WhenUnreachable::FailClosed));
    let request = ReserveRequest { holder: "gpu-1".into(), ..reserve("k1", "r", usd("1")) };
    gate.enter(request).await.unwrap().commit(usd("1")).await.unwrap();
    assert_eq!(fake.names(), ["reserve", "reserve", "commit", "commit"]);
}

#[tokio::test(start_paused = true)]
async fn closing_lets_what_is_under_way_be_answered_and_refuses_the_rest() {
    let world_of_one = Fake::new([]);
    let (session, _revocations) = Session::new(world_of_one.connect(), 8);
    let under_way = session.clone();
    let (answered, ()) = tokio::join!(under_way.reserve(reserve("k1", "r", usd("1"))), session.close());
    assert!(reserved(answered.unwrap()).is_ok());
    let late: Status = session.reserve(reserve("k1", "late", usd("1"))).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(!is_transient(&late));
}
