//! E7: the wallet fills itself, once for each shortfall, within its cap, and stops where payment fails.

use quotad::{
    api::proto::{
        AlertKind, AutoTopUp, ChargeRequest, DenialCode, Organization, PaymentOutcome, TopUpState, WalletMode,
    },
    client::Connection,
};
use tonic::Code;

use crate::{
    messages::{charge, commit, failed, reserve, usd},
    payments::{auto, auto_of, automatic, balance, decide, method, switch_on, update_auto},
    people::{everybody, joins},
    world::{ACME, START, World, all_at_once},
};

/// Entry 1 tops up 4 USD, below the threshold of 5: switching on orders 10 at once.
async fn short() -> World {
    World::with_wallet("4").await
}

async fn spend(world: &World, request: &str, amount: &str) {
    world.charge(charge("k1", request, usd(amount))).await.unwrap().unwrap();
}

async fn alerts(world: &World, kind: AlertKind) -> Vec<quotad::api::proto::Alert> {
    crate::alerts::list(world, &[kind]).await
}

// E7
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_cross_the_threshold_together_place_one_order() {
    let world = World::with_wallet("10").await;
    let mut open = Vec::new();
    for no in 0..32 {
        open.push(world.reserve(reserve("k1", &format!("r{no}"), usd("0.1"))).await.unwrap().reservation_id);
    }
    assert_eq!(switch_on(&world, "5", "10", "").await.pending_order_id, "", "6.8 are free, more than 5");
    let commits = all_at_once(32, |no| {
        let (service, id): (Connection, _) = (world.service.clone(), open[no].clone());
        async move { service.quota().commit(commit(&id, usd("0.2"))).await.map(|_| ()) }
    });
    assert!(commits.await.into_iter().all(|done| done.is_ok()));
    let placed = automatic(&world).await;
    assert_eq!(placed.iter().map(|order| order.amount_usd.as_str()).collect::<Vec<_>>(), ["10"]);
    assert_eq!(auto(&world).await.pending_order_id, placed[0].id);
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "3.6");
    decide(&world, &placed[0].id, PaymentOutcome::Settled).await.unwrap();
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "13.6");
    assert_eq!((automatic(&world).await.len(), auto(&world).await.pending_order_id.as_str()), (1, ""));
    spend(&world, "next shortfall", "9").await;
    assert_eq!(automatic(&world).await.len(), 2);
    world.verify().await;
}

// E7
#[tokio::test]
async fn what_is_held_counts_as_spent_for_the_threshold() {
    let world = World::with_wallet("10").await;
    switch_on(&world, "5", "10", "").await;
    world.reserve(reserve("k1", "r1", usd("5"))).await.unwrap();
    assert_eq!(automatic(&world).await, [], "10 − 5 isn't below 5");
    world.reserve(reserve("k1", "r2", usd("0.01"))).await.unwrap();
    assert_eq!(automatic(&world).await.len(), 1);
}

async fn ordered(world: &World) -> Vec<String> {
    automatic(world).await.into_iter().map(|order| order.amount_usd).collect()
}

async fn pay(world: &World) -> String {
    let pending = auto(world).await.pending_order_id;
    decide(world, &pending, PaymentOutcome::Settled).await.unwrap();
    balance(&world.operator, ACME).await.unwrap()
}

/// Balance 5 − 100 = −95.
async fn overdrawn() -> World {
    let world = World::with_wallet("5").await;
    let over = ChargeRequest { already_used: true, ..charge("k1", "over", usd("100")) };
    world.charge(over).await.unwrap().unwrap();
    world
}

// M13
#[tokio::test]
async fn one_order_is_of_all_that_a_shortfall_lacks() {
    let mut world = overdrawn().await;
    switch_on(&world, "10", "20", "").await;
    assert_eq!(ordered(&world).await, ["105"]);
    world.restart().await;
    assert_eq!(pay(&world).await, "10");
    assert_eq!((ordered(&world).await.len(), alerts(&world, AlertKind::TopUpFailed).await.len()), (1, 0));
    spend(&world, "next", "1").await;
    assert_eq!(ordered(&world).await, ["20", "105"], "the next shortfall, at least the amount");
    world.verify().await;
}

// M13
#[tokio::test]
async fn an_order_fills_up_to_the_target_where_one_is_set() {
    let world = overdrawn().await;
    let target = AutoTopUp {
        enabled: true,
        threshold_usd: "10".into(),
        amount_usd: "20".into(),
        target_usd: "50".into(),
        ..AutoTopUp::default()
    };
    let fields = ["enabled", "threshold_usd", "amount_usd", "target_usd"];
    let set = update_auto(&world.operator, target, &fields).await.unwrap();
    assert_eq!((set.target_usd.as_str(), pay(&world).await.as_str()), ("50", "50"));
    let below = AutoTopUp { target_usd: "9.99".into(), ..AutoTopUp::default() };
    let refused = update_auto(&world.operator, below, &["target_usd"]).await.unwrap_err();
    assert_eq!(refused, failed(Code::InvalidArgument, "INVALID_ARGUMENT"));
    spend(&world, "next", "41").await;
    assert_eq!(ordered(&world).await, ["41", "145"]);
    assert_eq!(update_auto(&world.operator, AutoTopUp::default(), &["target_usd"]).await.unwrap().target_usd, "");
}

// M13
#[tokio::test]
async fn what_one_order_cannot_bring_is_alerted_and_ordered_a_day_later() {
    for (cap, first, second) in [("", "50", "55"), ("70", "70", "")] {
        let mut world = overdrawn().await;
        switch_on(&world, "10", "5", cap).await;
        assert_eq!(ordered(&world).await, [first], "ten times the amount, or what the cap leaves");
        pay(&world).await;
        world.restart().await;
        for no in 0..5 {
            world.reserve(reserve("k1", &format!("r{no}"), usd("1"))).await.unwrap_err();
        }
        let told = alerts(&world, AlertKind::TopUpFailed).await;
        assert_eq!((ordered(&world).await.len(), told.len()), (1, 1), "{told:?}");
        assert!(told[0].subject.contains("not enough"), "{told:?}");
        world.advance(86_399);
        world.reserve(reserve("k1", "early", usd("1"))).await.unwrap_err();
        assert_eq!(ordered(&world).await.len(), 1);
        world.advance(1);
        world.reserve(reserve("k1", "late", usd("1"))).await.unwrap_err();
        let expected = if second.is_empty() { vec![first] } else { vec!["50", first] };
        assert_eq!(ordered(&world).await, expected);
        world.verify().await;
    }
}

// M13
#[tokio::test]
async fn holds_order_once_and_their_end_ends_the_shortfall() {
    let world = World::with_wallet("100").await;
    switch_on(&world, "10", "5", "").await;
    let id = world.reserve(reserve("k1", "r1", usd("95"))).await.unwrap().reservation_id;
    world.reserve(reserve("k1", "r2", usd("5"))).await.unwrap();
    assert_eq!(ordered(&world).await, ["5"]);
    assert_eq!(pay(&world).await, "105");
    world.reserve(reserve("k1", "r3", usd("1"))).await.unwrap();
    assert_eq!(ordered(&world).await, ["5"], "4 are free, of the same shortfall still");
    world.release(crate::messages::release(&id)).await.unwrap();
    world.reserve(reserve("k1", "r4", usd("95"))).await.unwrap();
    assert_eq!(ordered(&world).await, ["5", "5"]);
    world.verify().await;
}

// E7
#[tokio::test]
async fn a_month_orders_no_more_than_its_cap_and_the_next_month_goes_on_by_itself() {
    let world = short().await;
    let mut auto_top_up = switch_on(&world, "5", "10", "25").await;
    for round in 0..2 {
        decide(&world, &auto_top_up.pending_order_id, PaymentOutcome::Settled).await.unwrap();
        spend(&world, &format!("c{round}"), "10").await;
        auto_top_up = auto(&world).await;
    }
    assert_eq!((automatic(&world).await.len(), auto_top_up.pending_order_id.as_str()), (2, ""), "30 is more than 25");
    spend(&world, "the rest", "4").await;
    let told = alerts(&world, AlertKind::TopUpFailed).await;
    assert_eq!(told.len(), 1, "once a month: {told:?}");
    assert!(told[0].subject.contains("monthly cap"), "{told:?}");
    let refused = world.reserve(reserve("k1", "r1", usd("1"))).await.unwrap_err();
    assert_eq!(refused.code(), DenialCode::WalletInsufficient);
    assert_eq!(automatic(&world).await.len(), 2);
    // 2023-12-01T00:00:00Z
    world.advance(1_701_388_800 - START);
    world.reserve(reserve("k1", "r2", usd("1"))).await.unwrap_err();
    assert_eq!(
        automatic(&world).await.len(),
        3,
        "an empty wallet, which charges nothing any more, is filled all the same"
    );
    assert!(auto(&world).await.enabled);
}

// E7
#[tokio::test]
async fn a_soft_decline_orders_nothing_for_an_hour_and_then_again() {
    let world = short().await;
    let first = switch_on(&world, "5", "10", "").await.pending_order_id;
    decide(&world, &first, PaymentOutcome::SoftDeclined).await.unwrap();
    let paused = auto(&world).await;
    assert_eq!((paused.enabled, paused.pending_order_id.as_str()), (true, ""));
    assert_eq!(paused.pause_until.unwrap().seconds, START + 3600);
    let told = alerts(&world, AlertKind::TopUpFailed).await;
    assert_eq!(told.len(), 1);
    world.advance(3599);
    spend(&world, "within", "1").await;
    assert_eq!(automatic(&world).await.len(), 1);
    world.advance(1);
    spend(&world, "after", "1").await;
    let placed = automatic(&world).await;
    assert_eq!((placed.len(), placed[0].state(), placed[1].state()), (2, TopUpState::Pending, TopUpState::Failed));
    assert_eq!(placed[1].failure, format!("said of {first}"));
}

// E7
#[tokio::test]
async fn a_wallet_that_ran_dry_during_the_pause_is_filled_at_the_first_request_after_it() {
    let world = short().await;
    let first = switch_on(&world, "5", "10", "").await.pending_order_id;
    spend(&world, "all", "4").await;
    decide(&world, &first, PaymentOutcome::SoftDeclined).await.unwrap();
    world.reserve(reserve("k1", "within", usd("1"))).await.unwrap_err();
    assert_eq!(automatic(&world).await.len(), 1);
    world.advance(3600);
    world.charge(charge("k1", "after", usd("1"))).await.unwrap().unwrap_err();
    let placed = automatic(&world).await;
    assert_eq!(placed.len(), 2);
    decide(&world, &placed[0].id, PaymentOutcome::Settled).await.unwrap();
    world.reserve(reserve("k1", "again", usd("1"))).await.unwrap();
}

// E7
#[tokio::test]
async fn a_second_soft_decline_in_a_row_switches_it_off_and_tells_the_owners() {
    let world = short().await;
    let owner = joins(&world, "olga", quotad::api::proto::Role::Owner).await;
    let first = switch_on(&world, "5", "10", "").await.pending_order_id;
    decide(&world, &first, PaymentOutcome::SoftDeclined).await.unwrap();
    world.advance(3600);
    spend(&world, "c1", "1").await;
    let second = auto(&world).await.pending_order_id;
    assert_eq!(alerts(&world, AlertKind::AutoTopUpDisabled).await, []);
    decide(&world, &second, PaymentOutcome::SoftDeclined).await.unwrap();
    let off = auto_of(&owner).await.unwrap();
    assert_eq!((off.enabled, off.disabled_reason), (false, format!("said of {second}")));
    let told = alerts(&world, AlertKind::AutoTopUpDisabled).await;
    assert_eq!(told.iter().map(|alert| alert.recipients.join(" ")).collect::<Vec<_>>(), ["olga@example.com"]);
    world.advance(7200);
    spend(&world, "c2", "1").await;
    assert_eq!(automatic(&world).await.len(), 2);
    let on = AutoTopUp { enabled: true, ..AutoTopUp::default() };
    let on = update_auto(&owner, on, &["enabled"]).await.unwrap();
    assert_eq!((on.enabled, on.disabled_reason.as_str(), on.pause_until), (true, "", None));
    assert_eq!(automatic(&world).await[0].id, on.pending_order_id, "it orders at once");
}

// E7
#[tokio::test]
async fn a_payment_in_between_forgives_a_soft_decline() {
    let world = short().await;
    let mut pending = switch_on(&world, "5", "10", "").await.pending_order_id;
    for round in 0..2 {
        decide(&world, &pending, PaymentOutcome::SoftDeclined).await.unwrap();
        world.advance(3600);
        spend(&world, &format!("c{round}"), "1").await;
        pending = auto(&world).await.pending_order_id;
        decide(&world, &pending, PaymentOutcome::Settled).await.unwrap();
        spend(&world, &format!("d{round}"), "9").await;
        pending = auto(&world).await.pending_order_id;
    }
    assert!(auto(&world).await.enabled);
    assert_eq!(alerts(&world, AlertKind::AutoTopUpDisabled).await, []);
}

// E7
#[tokio::test]
async fn one_hard_decline_switches_it_off_and_tells() {
    let world = short().await;
    let first = switch_on(&world, "5", "10", "").await.pending_order_id;
    decide(&world, &first, PaymentOutcome::HardDeclined).await.unwrap();
    let off = auto(&world).await;
    assert_eq!((off.enabled, off.pending_order_id.as_str()), (false, ""));
    assert_eq!(off.disabled_reason, format!("said of {first}"));
    assert_eq!(alerts(&world, AlertKind::AutoTopUpDisabled).await.len(), 1);
    assert_eq!(alerts(&world, AlertKind::TopUpFailed).await, [], "one message says it all");
    world.advance(86_400);
    spend(&world, "c1", "1").await;
    assert_eq!(automatic(&world).await.len(), 1);
}

// E7
#[tokio::test]
async fn only_owners_and_admins_see_and_set_it_with_a_payment_method_of_their_own() {
    let world = World::with_wallet("100").await;
    let people = everybody(&world).await;
    let settings = |payment_method_id: String| AutoTopUp {
        enabled: true,
        threshold_usd: "5".into(),
        amount_usd: "10".into(),
        payment_method_id,
        ..AutoTopUp::default()
    };
    let fields = ["enabled", "threshold_usd", "amount_usd", "payment_method_id"];
    let basics = method(&people[4].1, "Visa …1", "tok_basic").await.unwrap();
    for (role, person) in people {
        let own = method(&person, "Visa …2", "tok_own").await.unwrap();
        let seen = auto_of(&person).await;
        let set = update_auto(&person, settings(own.clone()), &fields).await;
        if ["owner", "admin"].contains(&role) {
            assert!(seen.is_ok());
            assert_eq!(set.unwrap().payment_method_id, own);
            let theirs = update_auto(&person, settings(basics.clone()), &fields).await;
            assert_eq!(theirs.unwrap_err().0, Code::NotFound, "{role}");
        } else {
            let denied = failed(Code::PermissionDenied, "PERMISSION_DENIED");
            assert_eq!((seen.unwrap_err(), set.unwrap_err()), (denied.clone(), denied), "{role}");
        }
    }
}

// E7
#[tokio::test]
async fn settings_that_make_no_sense_are_refused_and_change_nothing() {
    let world = World::with_wallet("100").await;
    let before = switch_on(&world, "5", "10", "30").await;
    let wrong = [
        ("amount_usd", AutoTopUp { amount_usd: "0".into(), ..AutoTopUp::default() }),
        ("amount_usd", AutoTopUp { amount_usd: "-1".into(), ..AutoTopUp::default() }),
        ("amount_usd", AutoTopUp { amount_usd: "0.0000000001".into(), ..AutoTopUp::default() }),
        ("threshold_usd", AutoTopUp { threshold_usd: "many".into(), ..AutoTopUp::default() }),
        ("monthly_cap_usd", AutoTopUp { monthly_cap_usd: "9.99".into(), ..AutoTopUp::default() }),
        ("pending_order_id", AutoTopUp::default()),
    ];
    for (field, auto) in wrong {
        let refused = update_auto(&world.operator, auto, &[field]).await.unwrap_err();
        assert_eq!(refused, failed(Code::InvalidArgument, "INVALID_ARGUMENT"), "{field}");
    }
    assert_eq!(auto(&world).await, before);
}

// E7
#[tokio::test]
async fn a_wallet_that_takes_no_part_orders_nothing() {
    let world = World::start(WalletMode::Off, |_| {}).await;
    switch_on(&world, "5", "10", "").await;
    spend(&world, "c1", "1").await;
    assert_eq!(automatic(&world).await, []);
    assert!(!auto(&world).await.wallet_enforced, "it is set, and says that it does nothing");
    let enforced = Organization { wallet_mode: WalletMode::Enforced.into(), ..Organization::default() };
    world.update_organization(enforced, &["wallet_mode"]).await;
    assert_eq!(automatic(&world).await.len(), 1, "now it is looked at");
    assert!(auto(&world).await.wallet_enforced);
}

// E7
#[tokio::test]
async fn nothing_is_ordered_for_an_organization_that_was_stopped() {
    let world = World::with_wallet("10").await;
    let open = world.reserve(reserve("k1", "r1", usd("4"))).await.unwrap().reservation_id;
    switch_on(&world, "5", "10", "").await;
    let stopped = Organization { disabled: true, ..Organization::default() };
    world.update_organization(stopped, &["disabled"]).await;
    world.commit(commit(&open, usd("7"))).await.unwrap();
    world.reserve(reserve("k1", "r2", usd("1"))).await.unwrap_err();
    assert_eq!(balance(&world.operator, ACME).await.unwrap(), "3", "what ran is charged all the same");
    assert_eq!(automatic(&world).await, []);
    world.update_organization(Organization::default(), &["disabled"]).await;
    world.reserve(reserve("k1", "r3", usd("1"))).await.unwrap();
    assert_eq!(automatic(&world).await.len(), 1);
}
