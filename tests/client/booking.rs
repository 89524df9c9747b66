//! Against the real server: whatever is lost between a gate and quotad, work is booked once, where and when it was done.

use std::{sync::Arc, time::Duration};

use quotad::{
    api::proto::{ReservationState, ReserveRequest, TransactionKind},
    client::{Debts, Gate, GateError, GateOptions, Settled, WhenUnreachable},
    clock::ManualClock,
    domain::time::Timestamp,
};

use crate::{
    asking::options,
    fake::{Deed, Fake, drained, overloaded},
    messages::{budget, policy, reserve, seconds, tokens, usd},
    world::{Place, START, World},
};

/// A gate in front of a world that has a budget on its key, and what is between them.
struct Street {
    world: World,
    fake: Arc<Fake>,
    gate: Gate,
    /// The gate's own.
    clock: Arc<ManualClock>,
}

/// One attempt only, so that deeds fall on the calls that they are meant for.
fn once(when_unreachable: WhenUnreachable) -> GateOptions {
    let mut options = options(when_unreachable);
    options.reserve.overall = Duration::ZERO;
    // The server is real, and a slow machine is no outage.
    options.reserve.attempt = Duration::from_mins(1);
    options.settle.attempt = Duration::from_mins(1);
    options
}

impl Street {
    async fn new(deeds: impl IntoIterator<Item = Deed>) -> Self {
        let world = World::new().await;
        world.limit(Place::Key("k1"), policy(vec![budget("cap", "10")], Vec::new())).await;
        let fake = Fake::before(&world.service, deeds);
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(START)));
        let gate = Gate::with_clock(fake.connect(), once(WhenUnreachable::FailOpen), Arc::clone(&clock) as _);
        Self { world, fake, gate, clock }
    }

    /// Runs one request through an outage.
    async fn run_unheld(&self, request: ReserveRequest) {
        let ticket = self.gate.enter(request).await.unwrap();
        assert_eq!(ticket.grant(), None);
        assert_eq!(ticket.commit(usd("2")).await.unwrap(), Settled::Later);
        drained(&self.gate).await;
    }

    /// One entry of 2 USD of this kind, nothing held, and books that add up. Answers when it was used.
    async fn assert_booked_once(&self, kind: TransactionKind) -> i64 {
        let ledger = self.world.ledger().await;
        let [entry] = &ledger.transactions[..] else { panic!("{:?}", ledger.transactions) };
        assert_eq!((entry.kind(), entry.cost_usd.as_str()), (kind, "2"));
        assert_eq!(self.world.books().await.limit("cap"), ("2", "0", "8"));
        self.world.verify().await;
        entry.occurred_at.as_ref().unwrap().seconds
    }
}

#[tokio::test]
async fn a_hold_whose_answer_was_lost_is_committed_not_charged_beside() {
    let street = Street::new([Deed::Lose]).await;
    street.run_unheld(reserve("k1", "r", usd("1"))).await;
    street.assert_booked_once(TransactionKind::Commit).await;
    assert_eq!(street.fake.names(), ["reserve", "commit"]);
}

#[tokio::test]
async fn work_that_was_never_held_is_charged_at_the_time_it_began() {
    let street = Street::new([Deed::Break]).await;
    let ticket = street.gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    street.world.advance(3600);
    street.clock.set(Timestamp::from_seconds(START + 3600));
    ticket.commit(usd("2")).await.unwrap();
    drained(&street.gate).await;
    assert_eq!(street.assert_booked_once(TransactionKind::Charge).await, START);
}

#[tokio::test]
async fn a_charge_goes_beyond_the_limits_because_the_work_is_done() {
    let street = Street::new([overloaded()]).await;
    let ticket = street.gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    ticket.commit(usd("12")).await.unwrap();
    drained(&street.gate).await;
    assert_eq!(street.world.books().await.limit("cap"), ("12", "0", "-2"));
    assert_eq!(street.fake.names(), ["reserve", "charge"], "nothing can be held after an answer that nothing is");
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_booked_once() {
    let street = Street::new([Deed::Break, Deed::Pass, Deed::Lose]).await;
    street.run_unheld(reserve("k1", "r", usd("1"))).await;
    street.assert_booked_once(TransactionKind::Charge).await;
    assert_eq!(street.fake.names(), ["reserve", "commit", "charge", "commit", "charge"]);
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_booked_once() {
    let street = Street::new([Deed::Pass, Deed::Lose]).await;
    let ticket = street.gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    let Settled::Charged(charged) = ticket.commit(usd("2")).await.unwrap() else { panic!("put off") };
    assert!(charged.replayed);
    street.assert_booked_once(TransactionKind::Commit).await;
}

#[tokio::test]
async fn a_reserve_that_arrives_between_commit_and_charge_is_committed() {
    let street = Street::new([Deed::Delay, Deed::Pass, Deed::Overtaken]).await;
    street.run_unheld(reserve("k1", "r", usd("1"))).await;
    street.assert_booked_once(TransactionKind::Commit).await;
    assert_eq!(street.fake.names(), ["reserve", "commit", "charge", "commit"]);
}

#[tokio::test]
async fn a_reserve_that_arrives_after_the_charge_holds_nothing() {
    let street = Street::new([Deed::Break]).await;
    let request = reserve("k1", "r", usd("1"));
    street.run_unheld(request.clone()).await;
    street.world.service.quota().reserve(request).await.unwrap_err();
    street.assert_booked_once(TransactionKind::Charge).await;
}

#[tokio::test]
async fn a_hold_that_expired_and_was_forgotten_meanwhile_is_booked_late() {
    let street = Street::new([Deed::Lose]).await;
    let request = ReserveRequest { ttl: seconds(60), ..reserve("k1", "r", usd("1")) };
    let ticket = street.gate.enter(request).await.unwrap();
    // Past its expiry and the time for which ended reservations are remembered.
    street.world.advance(61);
    street.world.books().await;
    street.world.advance(3600);
    street.world.books().await;
    ticket.commit(usd("2")).await.unwrap();
    drained(&street.gate).await;
    street.assert_booked_once(TransactionKind::LateCommit).await;
}

#[tokio::test]
async fn a_machine_whose_clock_is_ahead_books_as_of_the_servers_now_and_once() {
    let street = Street::new([Deed::Break, Deed::Pass, Deed::Pass, Deed::Lose]).await;
    street.clock.set(Timestamp::from_seconds(START + 600));
    street.run_unheld(reserve("k1", "r", usd("1"))).await;
    assert_eq!(street.assert_booked_once(TransactionKind::Charge).await, START);
    assert_eq!(street.fake.names(), ["reserve", "commit", "charge", "charge", "commit", "charge"]);
}

#[tokio::test]
async fn usage_of_a_key_that_quotad_doesnt_know_is_refused_and_counted() {
    let street = Street::new([Deed::Break]).await;
    let ticket = street.gate.enter(reserve("nobody", "r", usd("1"))).await.unwrap();
    ticket.commit(usd("2")).await.unwrap();
    drained(&street.gate).await;
    assert_eq!(street.gate.debts(), Debts { refused: 1, ..Debts::default() });
}

#[tokio::test]
async fn failing_closed_leaves_nothing_held() {
    let street = Street::new([Deed::Lose]).await;
    let gate = Gate::new(street.fake.connect(), once(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    drained(&gate).await;
    assert_eq!(street.world.books().await.limit("cap"), ("0", "0", "10"));
    assert_eq!(street.fake.names(), ["reserve", "release"]);
}

#[tokio::test]
async fn an_id_whose_hold_was_given_back_is_over_and_says_so() {
    let street = Street::new([Deed::Lose]).await;
    let gate = Gate::new(street.fake.connect(), once(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    drained(&gate).await;
    let error = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    assert!(matches!(error, GateError::Ended(ReservationState::Released)), "{error:?}");
    assert!(gate.enter(reserve("k1", "r2", usd("1"))).await.is_ok());
}

#[tokio::test]
async fn a_hold_that_was_revoked_before_its_grant_was_heard_of_is_given_back() {
    let street = Street::new([Deed::Lose]).await;
    street.fake.otherwise(Deed::Break);
    let gate = Gate::new(street.fake.connect(), once(WhenUnreachable::FailClosed));
    gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    while !street.fake.names().contains(&"release") {
        tokio::task::yield_now().await;
    }
    street.world.limit(Place::Key("k1"), policy(vec![budget("cap", "0")], Vec::new())).await;
    street.fake.otherwise(Deed::Pass);
    let error = gate.enter(reserve("k1", "r", usd("1"))).await.unwrap_err();
    assert!(matches!(error, GateError::Ended(_)), "{error:?}");
    drained(&gate).await;
    assert_eq!(street.world.books().await.limit("cap"), ("0", "0", "0"));
}

#[tokio::test]
async fn a_revoked_request_is_denied_its_extension_and_commits_what_it_used() {
    let street = Street::new([]).await;
    let mut ticket = street.gate.enter(reserve("k1", "r", usd("1"))).await.unwrap();
    street.world.limit(Place::Key("k1"), policy(vec![budget("cap", "0")], Vec::new())).await;
    let error = ticket.extend(None).await.unwrap_err();
    assert!(matches!(error, quotad::client::GateError::Denied(_)), "{error:?}");
    assert!(matches!(ticket.commit(tokens(1, 1)).await.unwrap(), Settled::Charged(_)));
}
