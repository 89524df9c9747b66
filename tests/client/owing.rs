//! What is done is booked: retried, put off, bounded, and told where it is lost.

use std::time::Duration;

use quotad::{
    api::proto::{self, session_request::Op},
    client::{Debts, Gate, GateError, GateOptions, Retry, Settled, WhenUnreachable},
    clock::Stopwatch,
};

use crate::{
    asking::options,
    fake::{Deed, Fake, drained, idle, overloaded},
    messages::{by_id, by_request, key, reserve, tokens, usd},
};

fn open() -> GateOptions {
    options(WhenUnreachable::FailOpen)
}

fn closed() -> GateOptions {
    options(WhenUnreachable::FailClosed)
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_repeated_until_it_is_acknowledged() {
    let fake = Fake::new([Deed::Pass, overloaded(), Deed::Break, Deed::Hang, Deed::Lose]);
    let gate = Gate::new(fake.connect(), closed());
    let ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    assert!(matches!(ticket.commit(usd("0.5")).await.unwrap(), Settled::Charged(_)));
    let calls = fake.calls();
    assert_eq!(calls.len(), 6);
    for call in &calls[1..] {
        let Op::Commit(commit) = call else { panic!("{call:?}") };
        assert_eq!((&commit.reservation, &commit.usage), (&by_id("of r"), &Some(usd("0.5"))));
    }
    assert_eq!(gate.debts(), Debts::default());
}

#[tokio::test(start_paused = true)]
async fn a_commit_beyond_its_deadline_is_put_off_and_sent_when_the_server_is_back() {
    let fake = Fake::new([Deed::Pass]);
    fake.otherwise(Deed::Break);
    let gate = Gate::new(fake.connect(), closed());
    let ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    let begun = Stopwatch::start();
    assert_eq!(ticket.commit(usd("0.5")).await.unwrap(), Settled::Later);
    assert!(begun.elapsed() <= Retry::WORK_IS_DONE.overall + Duration::from_millis(5));
    assert_eq!(gate.debts().waiting, 1);
    fake.otherwise(Deed::Pass);
    drained(&gate).await;
    assert_eq!(gate.debts(), Debts { settled: 1, ..Debts::default() });
    let Some(Op::Commit(commit)) = fake.calls().pop() else { panic!("{:?}", fake.names()) };
    assert_eq!((commit.reservation, commit.usage), (by_id("of r"), Some(usd("0.5"))));
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_caller_went_away_is_sent_all_the_same() {
    let fake = Fake::new([Deed::Pass, Deed::Hang]);
    let gate = Gate::new(fake.connect(), closed());
    let ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    tokio::time::timeout(Duration::from_millis(10), ticket.commit(usd("0.5"))).await.unwrap_err();
    drained(&gate).await;
    assert_eq!(fake.names(), ["reserve", "commit", "commit"]);
    assert_eq!(gate.debts().settled, 1);
}

#[tokio::test(start_paused = true)]
async fn work_without_a_hold_makes_nobody_wait_for_its_booking() {
    let fake = Fake::new([]);
    fake.otherwise(overloaded());
    let gate = Gate::new(fake.connect(), open());
    let ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    let begun = Stopwatch::start();
    assert_eq!(ticket.commit(tokens(3, 4)).await.unwrap(), Settled::Later);
    assert_eq!(begun.elapsed(), Duration::ZERO);
    fake.otherwise(Deed::Pass);
    drained(&gate).await;
    let Some(Op::Charge(charge)) = fake.calls().pop() else { panic!("{:?}", fake.names()) };
    assert!(charge.already_used && charge.occurred_at.is_some());
    assert_eq!((charge.payer, charge.request_id.as_str()), (key("k1"), "r"));
    assert_eq!((charge.usage, charge.model.as_str()), (Some(tokens(3, 4)), crate::messages::MODEL));
}

#[tokio::test(start_paused = true)]
async fn a_ticket_let_go_is_released_or_committed_for_what_it_used() {
    let fake = Fake::new([]);
    let gate = Gate::new(fake.connect(), closed());
    drop(gate.enter(reserve("k1", "unused", usd("1"))).await.unwrap());
    drained(&gate).await;
    let mut ticket = gate.enter(reserve("k1", "used", usd("1"))).await.unwrap();
    ticket.used(tokens(10, 1));
    ticket.used(tokens(10, 2));
    ticket.ran_on("small");
    drop(ticket);
    drained(&gate).await;
    let calls = fake.calls();
    let [_, Op::Release(release), _, Op::Commit(commit)] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(release.reservation, by_id("of unused"));
    assert_eq!((&commit.reservation, &commit.usage), (&by_id("of used"), &Some(tokens(10, 2))));
    assert_eq!(commit.model, "small");
}

#[tokio::test(start_paused = true)]
async fn extend_reports_what_was_used_and_a_denial_of_it_stops_the_work() {
    let fake = Fake::new([]);
    let gate = Gate::new(fake.connect(), closed());
    let mut ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    ticket.used(tokens(10, 2));
    ticket.extend(Some(tokens(10, 50))).await.unwrap();
    let Some(Op::Extend(extend)) = fake.calls().pop() else { panic!("{:?}", fake.names()) };
    assert_eq!((extend.usage_so_far, extend.estimate), (Some(tokens(10, 2)), Some(tokens(10, 50))));
    ticket.release("over").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_beyond_the_bound_is_told_and_counted_and_the_rest_is_booked() {
    let fake = Fake::new([]);
    fake.otherwise(Deed::Hang);
    let gate = Gate::new(fake.connect(), GateOptions { max_debts: 2, ..open() });
    let mut tickets = Vec::new();
    for id in ["a", "b", "c"] {
        tickets.push(gate.enter(reserve("k1", id, usd("1"))).await.unwrap());
    }
    let mut answers = Vec::new();
    for ticket in tickets {
        answers.push(ticket.commit(usd("1")).await);
    }
    let [Ok(Settled::Later), Ok(Settled::Later), Err(GateError::Unsettled { max_debts: 2, .. })] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!(gate.debts(), Debts { waiting: 2, dropped: 1, ..Debts::default() });
    fake.otherwise(Deed::Pass);
    drained(&gate).await;
    assert_eq!(gate.debts(), Debts { settled: 2, dropped: 1, ..Debts::default() });
}

#[tokio::test(start_paused = true)]
async fn holds_that_merely_expire_take_no_room_of_work_that_was_done() {
    let fake = Fake::new([Deed::Pass]);
    fake.otherwise(Deed::Hang);
    let gate = Gate::new(fake.connect(), GateOptions { max_debts: 1, ..closed() });
    let mut ticket = gate.enter(reserve("k1", "done", usd("1"))).await.unwrap();
    for id in ["x", "y", "z"] {
        gate.enter(reserve("k1", id, usd("1"))).await.unwrap_err();
    }
    assert!(gate.debts().left_to_expire > 0, "{:?}", gate.debts());
    ticket.used(usd("1"));
    drop(ticket);
    assert_eq!(gate.debts().dropped, 0);
    fake.otherwise(Deed::Pass);
    drained(&gate).await;
    assert!(fake.names().contains(&"commit"));
}

#[tokio::test(start_paused = true)]
async fn usage_that_quotad_wont_have_is_counted_and_the_rest_is_booked() {
    let refused = Deed::Refuse(tonic::Status::failed_precondition("the reservation was released"));
    let fake = Fake::new([Deed::Pass, Deed::Pass, refused]);
    let gate = Gate::new(fake.connect(), closed());
    let mut tickets = Vec::new();
    for id in ["a", "b"] {
        let mut ticket = gate.enter(reserve("k1", id, usd("1"))).await.unwrap();
        ticket.used(usd("1"));
        tickets.push(ticket);
    }
    drop(tickets);
    drained(&gate).await;
    assert_eq!(gate.debts(), Debts { settled: 1, refused: 1, ..Debts::default() });
}

#[tokio::test(start_paused = true)]
async fn a_debt_is_paid_after_its_gate_is_gone() {
    let fake = Fake::new([Deed::Pass, Deed::Break]);
    let gate = Gate::new(fake.connect(), closed());
    let mut ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    ticket.used(usd("1"));
    drop((ticket, gate));
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(fake.names(), ["reserve", "commit", "commit"]);
}

#[tokio::test(start_paused = true)]
async fn giving_back_what_may_not_be_held_goes_by_what_was_asked() {
    let fake = Fake::new([]);
    fake.otherwise(Deed::Break);
    let gate = Gate::new(fake.connect(), open());
    let ticket = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    fake.otherwise(Deed::Pass);
    ticket.release("never ran").await.unwrap();
    drained(&gate).await;
    idle().await;
    let Some(Op::Release(proto::ReleaseRequest { reservation, reason })) = fake.calls().pop() else { panic!() };
    assert_eq!((reservation, reason.as_str()), (by_request(key("k1"), "r"), "never ran"));
}
