//! P1, P2: a card is charged only for what its owner set, and only while its owner may set it.

use quotad::{
    api::proto::{
        AlertKind, AutoTopUp, DeleteMemberRequest, DeletePaymentMethodRequest, ListPaymentMethodsRequest, Member,
        PaymentOutcome, Role, UpdateMemberRequest,
    },
    client::Connection,
};
use tonic::Code;

use crate::{
    alerts,
    messages::{Failure, charge, failed, failure, mask, usd, wrong_field},
    payments::{
        auto, auto_of, automatic, balance, decide, fill, method, order, orders, pending, switch_on, update_auto,
    },
    people::joins,
    provider::world as world_with_provider,
    receiver::Receiver,
    world::{ACME, World},
};

fn denied() -> Failure {
    failed(Code::PermissionDenied, "PERMISSION_DENIED")
}

async fn change(world: &World, id: &str, change: Member, fields: &[&str]) {
    let member = Some(Member { organization_id: ACME.into(), id: id.into(), ..change });
    let update = UpdateMemberRequest { member, update_mask: mask(fields), ..Default::default() };
    world.operator.members().update_member(update).await.unwrap();
}

async fn labels(by: &Connection) -> Result<Vec<String>, Failure> {
    let asked = ListPaymentMethodsRequest { organization_id: ACME.into() };
    let answer = by.wallets().list_payment_methods(asked).await.map_err(|status| failure(&status))?;
    Ok(answer.into_inner().payment_methods.into_iter().map(|method| method.label).collect())
}

// P1
#[tokio::test]
async fn nobody_else_enlarges_what_a_card_is_charged() {
    let world = World::with_wallet("4").await;
    let (pia, bob) = (joins(&world, "pia", Role::Admin).await, joins(&world, "bob", Role::Owner).await);
    let card = method(&pia, "Visa …1", "tok_pia").await.unwrap();
    let first = fill(&pia, &card, "5", "10", "30").await.unwrap().pending_order_id;
    decide(&world, &first, PaymentOutcome::SoftDeclined).await.unwrap();
    let paused = auto(&world).await;
    assert!(paused.pause_until.is_some());
    let larger = [
        (&["amount_usd"][..], AutoTopUp { amount_usd: "9000".into(), ..AutoTopUp::default() }),
        (&["threshold_usd"], AutoTopUp { threshold_usd: "1000000".into(), ..AutoTopUp::default() }),
        (&["monthly_cap_usd"], AutoTopUp { monthly_cap_usd: "31".into(), ..AutoTopUp::default() }),
        (&["monthly_cap_usd"], AutoTopUp::default()),
        (
            &["amount_usd", "threshold_usd", "monthly_cap_usd"],
            AutoTopUp { amount_usd: "9000".into(), threshold_usd: "1000000".into(), ..AutoTopUp::default() },
        ),
    ];
    let same = AutoTopUp {
        enabled: true,
        threshold_usd: "5".into(),
        amount_usd: "10".into(),
        monthly_cap_usd: "30".into(),
        ..AutoTopUp::default()
    };
    for by in [&bob, &world.operator] {
        for (fields, settings) in &larger {
            assert_eq!(update_auto(by, settings.clone(), fields).await.unwrap_err(), denied(), "{fields:?}");
        }
        let fields = ["enabled", "threshold_usd", "amount_usd", "monthly_cap_usd"];
        let kept = update_auto(by, same.clone(), &fields).await.unwrap();
        assert_eq!(kept.pause_until, paused.pause_until, "the pause after a decline is its owner's to end");
    }
    assert_eq!(automatic(&world).await.len(), 1);
    let lower = AutoTopUp { monthly_cap_usd: "20".into(), amount_usd: "9".into(), ..AutoTopUp::default() };
    update_auto(&bob, lower, &["monthly_cap_usd", "amount_usd"]).await.unwrap();
    update_auto(&world.operator, AutoTopUp::default(), &["enabled"]).await.unwrap();
    let on = AutoTopUp { enabled: true, ..AutoTopUp::default() };
    for by in [&bob, &world.operator] {
        assert_eq!(update_auto(by, on.clone(), &["enabled"]).await.unwrap_err(), denied());
    }
    let on = update_auto(&pia, on, &["enabled"]).await.unwrap();
    assert_eq!((on.enabled, on.pause_until, automatic(&world).await.len()), (true, None, 2));
    assert_eq!((on.amount_usd.as_str(), on.monthly_cap_usd.as_str()), ("9", "20"));
}

// P1
#[tokio::test]
async fn a_card_comes_in_by_its_owner_alone_and_on_terms_that_its_owner_names() {
    let world = World::with_wallet("100").await;
    let (pia, bob) = (joins(&world, "pia", Role::Admin).await, joins(&world, "bob", Role::Owner).await);
    let card = method(&pia, "Visa …1", "tok_pia").await.unwrap();
    switch_on(&world, "5", "9000", "").await;
    let by_card = AutoTopUp { payment_method_id: card.clone(), ..AutoTopUp::default() };
    for by in [&bob, &world.operator] {
        let refused = update_auto(by, by_card.clone(), &["payment_method_id"]).await.unwrap_err();
        assert_eq!(refused, failed(Code::NotFound, "NOT_FOUND"));
    }
    let refused = update_auto(&pia, by_card, &["payment_method_id"]).await.unwrap_err();
    assert_eq!(refused, failed(Code::InvalidArgument, "INVALID_ARGUMENT"), "9000 was another's word");
    fill(&pia, &card, "5", "10", "30").await.unwrap();
    // Their own card they may put in its place.
    let bobs = method(&bob, "Visa …2", "tok_bob").await.unwrap();
    assert_eq!(fill(&bob, &bobs, "50", "9000", "").await.unwrap().payment_method_id, bobs);
}

// P1
#[tokio::test]
async fn what_a_member_orders_is_bounded_and_the_operator_is_not() {
    let world = World::with_wallet("1").await;
    let (ann, ben) = (joins(&world, "ann", Role::Basic).await, joins(&world, "ben", Role::Basic).await);
    for amount in ["1000000000", "10000.000000001"] {
        assert_eq!(order(&ann, "large", amount, "").await.unwrap_err().0, Code::InvalidArgument, "{amount}");
    }
    for no in 0..10 {
        pending(&ann, &format!("o{no}"), "10000").await;
    }
    assert_eq!(order(&ann, "o10", "1", "").await.unwrap_err(), failed(Code::FailedPrecondition, "TOO_MANY"));
    assert!(order(&ann, "o9", "10000", "").await.unwrap().replayed, "a repeat orders nothing");
    let others = pending(&ben, "bens", "1").await;
    let first = orders(&world).await.into_iter().find(|order| order.request_id == "o0").unwrap().id;
    decide(&world, &first, PaymentOutcome::HardDeclined).await.unwrap();
    pending(&ann, "o10", "1").await;
    decide(&world, &others, PaymentOutcome::Settled).await.unwrap();
    for no in 0..12 {
        order(&world.operator, &format!("operators{no}"), "1000000", "").await.unwrap();
    }
    assert_eq!(balance(&ann, ACME).await.unwrap(), "12000002");
}

// P1
#[tokio::test]
async fn where_a_provider_charges_members_order_by_a_payment_method_of_their_own() {
    let provider = Receiver::start(Some("200 OK")).await;
    let world = world_with_provider(&provider).await;
    let (ann, pia) = (joins(&world, "ann", Role::Basic).await, joins(&world, "pia", Role::Admin).await);
    let (anns, pias) = (method(&ann, "1", "tok_ann").await.unwrap(), method(&pia, "2", "tok_pia").await.unwrap());
    let without = quotad::api::proto::TopUpRequest {
        organization_id: ACME.into(),
        amount_usd: "20".into(),
        request_id: "o1".into(),
        ..Default::default()
    };
    let status = ann.wallets().top_up(without).await.unwrap_err();
    assert_eq!(wrong_field(&status), "payment_method_id");
    assert_eq!(order(&ann, "o1", "20", &pias).await.unwrap_err().0, Code::NotFound);
    order(&ann, "o1", "20", &anns).await.unwrap();
    order(&world.operator, "o2", "20", "").await.unwrap();
    for by in [&pia, &world.operator] {
        assert_eq!(fill(by, "", "5", "10", "").await.unwrap_err().0, Code::InvalidArgument);
    }
    assert!(fill(&pia, &pias, "5", "10", "").await.unwrap().enabled);
}

// P2
#[tokio::test]
async fn with_its_owners_right_automatic_top_up_by_a_card_ends_and_owners_hear_of_it() {
    for (how, loses) in [
        ("role", Member { role: Role::FinanceAdmin.into(), ..Member::default() }),
        ("disabled", Member { disabled: true, ..Member::default() }),
        ("removed", Member::default()),
    ] {
        let world = World::with_wallet("100").await;
        let owner = joins(&world, "olga", Role::Owner).await;
        let pia = joins(&world, "pia", Role::Admin).await;
        let settings = quotad::api::proto::AlertSettings {
            organization_id: ACME.into(),
            recipients: vec!["ops@example.com".into()],
            ..Default::default()
        };
        let update = quotad::api::proto::UpdateAlertSettingsRequest {
            settings: Some(settings),
            update_mask: mask(&["recipients"]),
        };
        world.operator.alerts().update_alert_settings(update).await.unwrap();
        let card = method(&pia, "Visa …1", "tok_pia").await.unwrap();
        fill(&pia, &card, "5", "10", "").await.unwrap();
        if how == "removed" {
            let delete =
                DeleteMemberRequest { organization_id: ACME.into(), member_id: "pia".into(), ..Default::default() };
            world.operator.members().delete_member(delete).await.unwrap();
        } else {
            change(&world, "pia", loses, &[how]).await;
        }
        let off = auto_of(&owner).await.unwrap();
        assert!(!off.enabled && off.disabled_reason.contains("owner"), "{how}: {off:?}");
        let told = alerts::list(&world, &[AlertKind::AutoTopUpDisabled]).await;
        let recipients: Vec<_> = told.iter().map(|alert| alert.recipients.join(" ")).collect();
        assert_eq!(recipients, ["olga@example.com ops@example.com"], "{how}");
        world.charge(charge("k1", "c1", usd("99"))).await.unwrap().unwrap();
        assert_eq!(automatic(&world).await, [], "{how}");
    }
}

// P2
#[tokio::test]
async fn a_deactivated_member_takes_its_cards_back_and_does_nothing_else() {
    let world = World::with_wallet("100").await;
    joins(&world, "olga", Role::Owner).await;
    let pia = joins(&world, "pia", Role::Admin).await;
    let card = method(&pia, "Visa …1", "tok_pia").await.unwrap();
    fill(&pia, &card, "5", "10", "").await.unwrap();
    change(&world, "pia", Member { disabled: true, ..Member::default() }, &["disabled"]).await;
    assert_eq!(method(&pia, "Visa …2", "tok_more").await.unwrap_err(), denied());
    assert_eq!(order(&pia, "o1", "1", &card).await.unwrap_err(), denied());
    assert_eq!(balance(&pia, ACME).await.unwrap_err(), denied());
    assert_eq!(labels(&pia).await.unwrap(), ["Visa …1"]);
    let delete = DeletePaymentMethodRequest { organization_id: ACME.into(), payment_method_id: card };
    pia.wallets().delete_payment_method(delete).await.unwrap();
    assert_eq!(labels(&pia).await.unwrap(), [""; 0]);
}
