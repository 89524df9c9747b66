//! One stream of many operations.

use std::collections::{HashMap, HashSet};

use quotad::{
    api::proto::{
        CommitRequest, ListTransactionsRequest, ReleaseRequest, SessionRequest, SessionResponse, TransactionKind,
        reserve_response, session_request::Op, session_response::Result as Answer,
    },
    domain::money::Nanos,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::world::{World, ask, by_id, cost, tokens};

const PAIRS: u64 = 5_000;

async fn open(world: &World) -> (mpsc::Sender<SessionRequest>, Streaming<SessionResponse>) {
    let (sender, receiver) = mpsc::channel(256);
    let answers = world.gateway.quota().session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
    (sender, answers)
}

fn op(correlation_id: u64, op: Op) -> SessionRequest {
    SessionRequest { correlation_id, op: Some(op) }
}

/// Reserves in one order, settles in the order of the answers, and every operation is answered once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_operations_are_each_answered_once_and_the_ledger_agrees() {
    let world = World::new().await;
    let (sender, mut answers) = open(&world).await;
    let asking = sender.clone();
    let asked = tokio::spawn(async move {
        for id in 0..PAIRS {
            // Neither ascending nor dense.
            let id = id * 7919 % PAIRS;
            asking.send(op(id, Op::Reserve(ask(&format!("s-{id}"), tokens(100 + id, 50))))).await.unwrap();
        }
    });
    let (mut reserved, mut settled, mut charged, mut released) = (HashSet::new(), HashSet::new(), Nanos::ZERO, 0);
    let mut pending = HashMap::new();
    while settled.len() < usize::try_from(PAIRS).unwrap() {
        let SessionResponse { correlation_id, result } = answers.message().await.unwrap().unwrap();
        match result.unwrap() {
            Answer::Reserve(answer) => {
                assert!(reserved.insert(correlation_id), "{correlation_id} is answered twice");
                let Some(reserve_response::Decision::Granted(granted)) = answer.decision else { panic!("{answer:?}") };
                pending.insert(correlation_id, granted.reservation_id);
            }
            Answer::Commit(committed) => {
                assert!(settled.insert(correlation_id), "{correlation_id} is answered twice");
                charged += Nanos::parse("usd", &committed.charged.unwrap().usd).unwrap();
            }
            Answer::Release(_) => {
                assert!(settled.insert(correlation_id), "{correlation_id} is answered twice");
                released += 1;
            }
            other => panic!("{other:?}"),
        }
        for (id, reservation) in pending.drain() {
            let reservation = by_id(&reservation);
            let settle = if id % 10 == 0 {
                Op::Release(ReleaseRequest { reservation, reason: String::new() })
            } else {
                Op::Commit(CommitRequest {
                    reservation,
                    usage: Some(tokens(100 + id, id % 60)),
                    ..CommitRequest::default()
                })
            };
            let sender = sender.clone();
            tokio::spawn(async move { sender.send(op(PAIRS + id, settle)).await.unwrap() });
        }
    }
    asked.await.unwrap();
    drop(sender);
    assert!(answers.message().await.unwrap().is_none(), "it ends when the caller has said all");
    assert_eq!((reserved.len(), released), (5000, 500));
    let request = ListTransactionsRequest { kinds: vec![TransactionKind::Commit.into()], ..Default::default() };
    let totals = world.list(request).await.totals.unwrap();
    assert_eq!((totals.entries, Nanos::parse("cost", &totals.cost_usd).unwrap()), (4500, charged));
    assert_eq!(world.held().await, "0");
    world.verify().await;
}

#[tokio::test]
async fn errors_come_in_band_under_their_own_number() {
    let world = World::new().await;
    let (sender, mut answers) = open(&world).await;
    let unknown = CommitRequest { reservation: by_id("nonsense"), usage: Some(tokens(1, 1)), ..Default::default() };
    let mut nobody = ask("r", tokens(1, 1));
    nobody.payer = None;
    sender.send(op(1, Op::Commit(unknown))).await.unwrap();
    sender.send(op(2, Op::Reserve(nobody))).await.unwrap();
    sender.send(SessionRequest { correlation_id: 3, op: None }).await.unwrap();
    sender.send(op(4, Op::Reserve(ask("fine", cost("1"))))).await.unwrap();
    drop(sender);
    let mut codes = HashMap::new();
    while let Some(SessionResponse { correlation_id, result }) = answers.message().await.unwrap() {
        let code = match result.unwrap() {
            Answer::Error(status) => status.code,
            _ => 0,
        };
        codes.insert(correlation_id, code);
    }
    assert_eq!(codes, HashMap::from([(1, 5), (2, 3), (3, 3), (4, 0)]));
    assert_eq!(world.held().await, "1", "the end of the stream changes no reservation");
}
