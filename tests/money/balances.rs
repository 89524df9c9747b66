//! E1 to E3: whose balance it is, who adds to it, and by what means of payment.

use quotad::{
    api::proto::{
        AccountKind, CreateKeyRequest, CreateMemberRequest, CreateOrganizationRequest, DeletePaymentMethodRequest, Key,
        ListPaymentMethodsRequest, Member, Organization, PaymentMethod, PaymentOutcome, Role, TopUpRequest, TopUpState,
    },
    client::Connection,
};
use tonic::Code;

use crate::{
    messages::{charge, failed, failure, usd, wrong_field},
    payments::{balance, decide, method, order, orders, pending},
    people::{acting, everybody, joins},
    world::{ACME, World},
};

const OWN: &str = "anns-own";

/// Ann's personal account, with a key.
async fn personal_account(world: &World) {
    let own = Organization { id: OWN.into(), kind: AccountKind::Personal.into(), ..Organization::default() };
    let new = CreateOrganizationRequest { organization: Some(own), request_id: String::new() };
    world.operator.organizations().create_organization(new).await.unwrap();
    let role = Role::Owner.into();
    let member = Member { organization_id: OWN.into(), id: "me".into(), role, ..Member::default() };
    let new = CreateMemberRequest { member: Some(member), ..CreateMemberRequest::default() };
    world.operator.members().create_member(new).await.unwrap();
    let key = Key { organization_id: OWN.into(), id: "own-key".into(), member_id: "me".into(), ..Key::default() };
    let new = CreateKeyRequest { key: Some(key), request_id: String::new() };
    world.operator.keys().create_key(new).await.unwrap();
}

async fn pay_into_own(world: &World, usd: &str) {
    let order = TopUpRequest {
        organization_id: OWN.into(),
        amount_usd: usd.into(),
        // The same as the organization's: request ids are each account's own.
        request_id: "first".into(),
        ..TopUpRequest::default()
    };
    world.operator.wallets().top_up(order).await.unwrap();
}

// E1
#[tokio::test]
async fn an_organizations_balance_is_its_own_apart_from_its_members_personal_accounts() {
    let world = World::with_wallet("10").await;
    personal_account(&world).await;
    let (ann, me) = (joins(&world, "ann", Role::Owner).await, acting(&world, OWN, "me").await);
    assert_eq!((balance(&ann, ACME).await.unwrap().as_str(), balance(&me, OWN).await.unwrap().as_str()), ("10", "0"));
    pay_into_own(&world, "3").await;
    world.charge(charge("k1", "c1", usd("4"))).await.unwrap().unwrap();
    world.charge(charge("own-key", "c1", usd("1"))).await.unwrap().unwrap();
    assert_eq!((balance(&ann, ACME).await.unwrap().as_str(), balance(&me, OWN).await.unwrap().as_str()), ("6", "2"));
    // Neither fills in for the other.
    world.charge(charge("own-key", "c2", usd("5"))).await.unwrap().unwrap_err();
    assert_eq!((balance(&ann, ACME).await.unwrap().as_str(), balance(&me, OWN).await.unwrap().as_str()), ("6", "2"));
    for (who, foreign) in [(&ann, OWN), (&me, ACME)] {
        assert_eq!(balance(who, foreign).await.unwrap_err(), failed(Code::NotFound, "NOT_FOUND"), "{foreign}");
    }
    world.verify().await;
}

// E2
#[tokio::test]
async fn every_member_adds_credits_by_its_own_means_and_the_balance_follows_the_payment_at_once() {
    let world = World::with_wallet("1").await;
    for (no, (role, person)) in everybody(&world).await.into_iter().enumerate() {
        let own = method(&person, &format!("Visa of {role}"), &format!("tok_{role}")).await.unwrap();
        let placed = order(&person, &format!("o-{role}"), "2.5", &own).await.unwrap();
        let (waiting, before) = (placed.order.unwrap(), placed.balance_usd);
        assert_eq!((waiting.state(), waiting.actor, waiting.entry), (TopUpState::Pending, format!("member:{role}"), 0));
        assert_eq!(balance(&person, ACME).await.unwrap(), before, "nothing is credited before it is paid");
        decide(&world, &waiting.id, PaymentOutcome::Settled).await.unwrap();
        let expected = ["3.5", "6", "8.5", "11", "13.5"][no];
        assert_eq!(balance(&person, ACME).await.unwrap(), expected, "{role}");
    }
    let payers: Vec<_> = world.ledger().await.transactions.into_iter().map(|entry| entry.member_id).collect();
    assert_eq!(payers, ["basic", "developer", "finance", "admin", "owner", ""]);
    world.verify().await;
}

// E2
#[tokio::test]
async fn a_request_that_was_refused_for_money_runs_as_soon_as_it_is_paid() {
    let world = World::start(quotad::api::proto::WalletMode::Enforced, |_| {}).await;
    let ann = joins(&world, "ann", Role::Basic).await;
    world.charge(charge("k1", "c1", usd("1"))).await.unwrap().unwrap_err();
    let id = pending(&ann, "o1", "5").await;
    world.charge(charge("k1", "c1", usd("1"))).await.unwrap().unwrap_err();
    decide(&world, &id, PaymentOutcome::Settled).await.unwrap();
    assert_eq!(world.charge(charge("k1", "c1", usd("1"))).await.unwrap().unwrap().balance_usd, "4");
}

async fn methods(of: &Connection) -> Vec<PaymentMethod> {
    let asked = ListPaymentMethodsRequest { organization_id: ACME.into() };
    of.wallets().list_payment_methods(asked).await.unwrap().into_inner().payment_methods
}

async fn delete(by: &Connection, id: &str) -> Result<(), crate::messages::Failure> {
    let gone = DeletePaymentMethodRequest { organization_id: ACME.into(), payment_method_id: id.into() };
    by.wallets().delete_payment_method(gone).await.map(|_| ()).map_err(|status| failure(&status))
}

// E3
#[tokio::test]
async fn a_payment_method_is_seen_used_and_deleted_by_its_owner_only() {
    let world = World::with_wallet("1").await;
    let people = everybody(&world).await;
    let basics = &people[4].1;
    let id = method(basics, "Visa …4242", "tok_4242").await.unwrap();
    let missing = failed(Code::NotFound, "NOT_FOUND");
    for (role, person) in &people[..4] {
        assert_eq!(methods(person).await, [], "{role} sees none");
        assert_eq!(order(person, role, "5", &id).await.unwrap_err(), missing, "{role} pays by none");
        assert_eq!(delete(person, &id).await.unwrap_err(), missing, "{role}");
    }
    let asked = ListPaymentMethodsRequest { organization_id: ACME.into() };
    let operators = world.operator.wallets().list_payment_methods(asked).await.unwrap_err();
    assert_eq!(operators.code(), Code::PermissionDenied);
    assert_eq!(methods(basics).await.iter().map(|method| method.id.as_str()).collect::<Vec<_>>(), [id.as_str()]);
    order(basics, "o1", "5", &id).await.unwrap();
    delete(basics, &id).await.unwrap();
    assert_eq!(methods(basics).await, []);
    assert_eq!(order(basics, "o2", "5", &id).await.unwrap_err(), missing, "and not after it is gone");
    assert_eq!(orders(&world).await.len(), 2, "the operator's and the owner's");
}

// E3
#[tokio::test]
async fn of_a_payment_method_its_label_is_told_and_its_token_never() {
    let mut world = World::with_wallet("1").await;
    joins(&world, "ann", Role::Developer).await;
    for restarted in [false, true] {
        let ann = acting(&world, ACME, "ann").await;
        if !restarted {
            method(&ann, "Visa …4242", "tok_never_told").await.unwrap();
        }
        let [told] = methods(&ann).await.try_into().unwrap();
        assert_eq!((told.label.as_str(), told.provider_token.as_str()), ("Visa …4242", ""));
        world.restart().await;
    }
}

// E3
#[tokio::test]
async fn a_card_number_is_no_payment_method() {
    let world = World::with_wallet("1").await;
    let ann = joins(&world, "ann", Role::Basic).await;
    for number in ["4242424242424242", "4242 4242 4242 4242", "3782-822463-10005"] {
        let method =
            PaymentMethod { organization_id: ACME.into(), provider_token: number.into(), ..PaymentMethod::default() };
        let new =
            quotad::api::proto::CreatePaymentMethodRequest { payment_method: Some(method), request_id: String::new() };
        let status = ann.wallets().create_payment_method(new).await.unwrap_err();
        assert_eq!(wrong_field(&status), "payment_method.provider_token");
        assert!(!status.message().contains("4242") && !status.message().contains("3782"), "{status:?}");
    }
    for (id, label) in [("", "4242 4242 4242 4242, Ann"), ("4242424242424242", "")] {
        let method = PaymentMethod {
            organization_id: ACME.into(),
            id: id.into(),
            label: label.into(),
            ..PaymentMethod::default()
        };
        let new =
            quotad::api::proto::CreatePaymentMethodRequest { payment_method: Some(method), request_id: String::new() };
        let status = ann.wallets().create_payment_method(new).await.unwrap_err();
        let field = if id.is_empty() { "payment_method.label" } else { "payment_method.id" };
        assert_eq!(wrong_field(&status), field);
        assert!(!status.message().contains("4242"), "{status:?}");
    }
    assert_eq!(methods(&ann).await, []);
}

// E3
#[tokio::test]
async fn the_method_that_automatic_top_up_pays_by_is_deleted_and_nothing_is_ordered_by_it_any_more() {
    let world = World::with_wallet("100").await;
    let ann = joins(&world, "ann", Role::Owner).await;
    let id = method(&ann, "Visa …4242", "tok_4242").await.unwrap();
    let auto = quotad::api::proto::AutoTopUp {
        enabled: true,
        amount_usd: "10".into(),
        threshold_usd: "5".into(),
        payment_method_id: id.clone(),
        ..Default::default()
    };
    let fields = ["enabled", "amount_usd", "threshold_usd", "payment_method_id"];
    crate::payments::update_auto(&ann, auto, &fields).await.unwrap();
    delete(&ann, &id).await.unwrap();
    let off = crate::payments::auto(&world).await;
    assert_eq!((off.enabled, off.disabled_reason.as_str()), (false, "the payment method was deleted"));
}
