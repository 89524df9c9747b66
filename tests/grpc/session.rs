//! One stream of many operations.

use std::collections::{BTreeMap, BTreeSet};

use quotad::{
    api::proto::{
        self, DenialCode, ListTransactionsRequest, SessionRequest, SessionResponse, TransactionKind,
        session_request::Op, session_response::Result as Answer,
    },
    client::Connection,
};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Streaming};

use crate::{
    messages::{budget, charge, check, commit, extend, policy, release, reserve, reserved, tokens, usd},
    world::{Place, World},
};

struct Talk {
    requests: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
}

impl Talk {
    async fn open(connection: &Connection) -> Self {
        let (requests, receiver) = mpsc::channel(64);
        let answers = connection.quota().session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Self { requests, answers }
    }

    async fn ask(&self, correlation_id: u64, op: Op) {
        self.requests.send(SessionRequest { correlation_id, op: Some(op) }).await.unwrap();
    }

    async fn next(&mut self) -> (u64, Answer) {
        let SessionResponse { correlation_id, result } = self.answers.next().await.unwrap().unwrap();
        (correlation_id, result.unwrap())
    }

    async fn answer(&mut self, correlation_id: u64, op: Op) -> Answer {
        self.ask(correlation_id, op).await;
        let (answered, answer) = self.next().await;
        assert_eq!(answered, correlation_id);
        answer
    }
}

/// What the `no`th of the operations asks, given the reservation it settles: Commits of what was used, less often Releases.
fn settlement(no: u64, reservation: &str) -> Op {
    match no % 5 {
        4 => Op::Release(release(reservation)),
        _ => Op::Commit(commit(reservation, tokens(100, no % 7))),
    }
}

/// 4,000 Reserves and 1,000 Charges and 1,000 Checks, each of the Reserves settled in another order: 10,000 operations.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_thousand_operations_out_of_order_are_each_answered_once_and_add_up() {
    let world = World::new().await;
    let Talk { requests, mut answers } = Talk::open(&world.service).await;
    let (granted, mut settle) = mpsc::unbounded_channel::<(u64, String)>();
    let asking = tokio::spawn(async move {
        let send = async |correlation_id, op| {
            requests.send(SessionRequest { correlation_id, op: Some(op) }).await.unwrap();
        };
        // Correlation ids that go up and down: 7919 is coprime to 6000.
        for step in 0..6000_u64 {
            let id = step * 7919 % 6000;
            let op = match id {
                0..4000 => Op::Reserve(reserve("k1", &format!("r{id}"), tokens(100, 50))),
                4000..5000 => Op::Charge(charge("k1", &format!("c{id}"), usd("0.000000001"))),
                _ => Op::Check(check("k1", usd("1"))),
            };
            send(id, op).await;
        }
        let mut open = Vec::new();
        while open.len() < 4000 {
            open.push(settle.recv().await.unwrap());
        }
        for (id, reservation) in open.into_iter().rev() {
            send(10_000 + id, settlement(id, &reservation)).await;
        }
    });
    let mut seen = BTreeSet::new();
    let (mut committed, mut released) = (0_u64, 0);
    while let Some(answer) = answers.next().await {
        let SessionResponse { correlation_id, result } = answer.unwrap();
        assert!(seen.insert(correlation_id), "{correlation_id} was answered twice");
        match (correlation_id, result.unwrap()) {
            (0..4000, Answer::Reserve(response)) => {
                granted.send((correlation_id, reserved(response).unwrap().reservation_id)).unwrap();
            }
            (4000..5000, Answer::Charge(_)) | (5000..6000, Answer::Check(_)) => {}
            (10_000..14_000, Answer::Commit(response)) => {
                let amounts = response.charged.unwrap();
                assert_eq!(amounts.tokens, 100 + (correlation_id - 10_000) % 7, "the answer to another operation");
                committed += amounts.tokens;
            }
            (10_000..14_000, Answer::Release(_)) => released += 1,
            other => panic!("{other:?}"),
        }
    }
    asking.await.unwrap();
    assert_eq!((seen.len(), released), (10_000, 800));
    assert_sums(&world, committed).await;
}

async fn assert_sums(world: &World, committed_tokens: u64) {
    let of_kind = async |kind: TransactionKind| {
        let query = ListTransactionsRequest { kinds: vec![kind.into()], ..ListTransactionsRequest::default() };
        world.transactions(query).await.unwrap().totals.unwrap()
    };
    let outputs: u64 = (0..4000).filter(|no| no % 5 != 4).map(|no| no % 7).sum();
    assert_eq!(committed_tokens, 3200 * 100 + outputs);
    let commits = of_kind(TransactionKind::Commit).await;
    assert_eq!((commits.entries, commits.requests, commits.input_tokens), (3200, 3200, 320_000));
    assert_eq!(commits.output_tokens.unsigned_abs(), outputs);
    // 320,000 × 1,000 + outputs × 10,000 nano-USD.
    let nanos = 320_000_000 + outputs * 10_000;
    assert_eq!(commits.cost_usd, format!("0.{}", format!("{nanos:09}").trim_end_matches('0')));
    let charges = of_kind(TransactionKind::Charge).await;
    assert_eq!((charges.entries, charges.cost_usd.as_str()), (1000, "0.000001"));
    world.verify().await;
}

#[tokio::test]
async fn errors_come_in_band_and_the_session_goes_on() {
    let world = World::new().await;
    let mut talk = Talk::open(&world.service).await;
    let cases = [
        (Op::Reserve(reserve("k1", "", usd("1"))), Code::InvalidArgument),
        (Op::Reserve(reserve("k1", "r", usd("-1"))), Code::InvalidArgument),
        (Op::Commit(commit("made-up", usd("1"))), Code::NotFound),
        (Op::Release(proto::ReleaseRequest::default()), Code::InvalidArgument),
        (Op::Extend(extend("made-up")), Code::NotFound),
    ];
    for (no, (op, code)) in (1..).zip(cases) {
        let Answer::Error(error) = talk.answer(no, op).await else { panic!("no error for {no}") };
        assert_eq!(error.code, i32::from(code), "{no}");
        assert!(!error.message.is_empty() && !error.details.is_empty());
    }
    talk.requests.send(SessionRequest { correlation_id: 9, op: None }).await.unwrap();
    let (9, Answer::Error(error)) = talk.next().await else { panic!("a missing operation is an error") };
    assert_eq!(error.code, i32::from(Code::InvalidArgument));
    let Answer::Reserve(unknown) = talk.answer(10, Op::Reserve(reserve("nobody", "r", usd("1")))).await else {
        panic!("no decision")
    };
    assert_eq!(reserved(unknown).unwrap_err().code(), DenialCode::KeyUnknown);
    let Answer::Reserve(answer) = talk.answer(11, Op::Reserve(reserve("k1", "r", usd("1")))).await else {
        panic!("no decision")
    };
    assert!(!reserved(answer).unwrap().replayed, "what failed before took no request id");
}

#[tokio::test]
async fn every_operation_has_its_own_answer_over_a_session() {
    let world = World::new().await;
    let mut talk = Talk::open(&world.service).await;
    let Answer::Reserve(answer) = talk.answer(1, Op::Reserve(reserve("k1", "a", usd("1")))).await else { panic!() };
    let id = reserved(answer).unwrap().reservation_id;
    let Answer::Extend(answer) = talk.answer(2, Op::Extend(extend(&id))).await else { panic!() };
    assert_eq!(crate::messages::extended(answer).unwrap().reservation_id, id);
    let Answer::Check(answer) = talk.answer(3, Op::Check(check("k1", usd("1")))).await else { panic!() };
    assert!(crate::messages::checked(answer).0.is_ok());
    let Answer::Charge(answer) = talk.answer(4, Op::Charge(charge("k1", "b", usd("2")))).await else { panic!() };
    assert_eq!(crate::messages::charged(answer).unwrap().entry, 1);
    let Answer::Commit(answer) = talk.answer(5, Op::Commit(commit(&id, usd("0.5")))).await else { panic!() };
    assert_eq!((answer.entry, answer.charged.unwrap().usd.as_str()), (2, "0.5"));
    let Answer::Reserve(answer) = talk.answer(6, Op::Reserve(reserve("k1", "c", usd("1")))).await else { panic!() };
    let id = reserved(answer).unwrap().reservation_id;
    let Answer::Release(answer) = talk.answer(7, Op::Release(release(&id))).await else { panic!() };
    assert_eq!(answer.released.unwrap().usd, "1");
    // The same id twice is the client's affair: both are answered under it.
    talk.ask(8, Op::Check(check("k1", usd("1")))).await;
    talk.ask(8, Op::Check(check("k1", usd("1")))).await;
    assert_eq!((talk.next().await.0, talk.next().await.0), (8, 8));
}

#[tokio::test]
async fn what_a_session_reserved_outlives_it_and_its_revocations_reach_it_alone() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], Vec::new())).await;
    let mut gone = Talk::open(&world.service).await;
    let Answer::Reserve(answer) = gone.answer(1, Op::Reserve(reserve("k1", "gone", usd("1")))).await else { panic!() };
    let left = reserved(answer).unwrap().reservation_id;
    drop(gone);
    let mut talk = Talk::open(&world.service).await;
    let mut ids = BTreeMap::new();
    for name in ["mine", "named"] {
        let holder = if name == "named" { "gpu-1".to_owned() } else { String::new() };
        let request = proto::ReserveRequest { holder, ..reserve("k1", name, usd("1")) };
        let Answer::Reserve(answer) = talk.answer(1, Op::Reserve(request)).await else { panic!() };
        ids.insert(reserved(answer).unwrap().reservation_id, name);
    }
    assert_eq!(world.books().await.limit("cap"), ("0", "3", "7"), "the end of a session frees nothing");
    // Beyond what is held: booked whatever the cap says, which stops all others.
    let done = proto::ChargeRequest { already_used: true, ..charge("k1", "done", usd("10")) };
    world.charge(done).await.unwrap().unwrap();
    for _ in 0..2 {
        let (0, Answer::Revocation(revocation)) = talk.next().await else { panic!("no revocation") };
        assert_eq!(ids.remove(&revocation.reservation_id).unwrap(), revocation.request_id);
        let cause = revocation.cause.unwrap();
        assert_eq!((cause.code(), cause.scope()), (DenialCode::BudgetExceeded, proto::Scope::Key));
        assert_eq!((cause.scope_id.as_str(), cause.limit_id.as_str()), ("k1", "cap"));
        assert_eq!(revocation.key_id, "k1");
    }
    // Nothing else was pushed: the next answer is the one asked for.
    let Answer::Commit(charged) = talk.answer(2, Op::Commit(commit(&left, usd("0.25")))).await else { panic!() };
    assert_eq!((charged.charged.unwrap().usd.as_str(), charged.entry), ("0.25", 2));
}
