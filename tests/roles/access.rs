//! Access that stands for somebody: repeats are each caller's own, and each organization hears of the memberships in it only.

use quotad::{
    api::proto::{self, AuditEvent, Key},
    client::Connection,
};
use tonic::Code;

use crate::{
    calling::Stage,
    messages::{Failure, failed},
    people::{invitation, invite, outcome},
    world::{ACME, World},
};

fn reused() -> Failure {
    failed(Code::AlreadyExists, "REQUEST_ID_REUSED")
}

#[tokio::test]
async fn the_same_words_under_the_same_request_id_of_somebody_else_are_no_repeat() {
    let stage = Stage::new().await;
    let (first, second) =
        (stage.world.access(ACME, "developer").await, stage.world.access(ACME, "finance_admin").await);
    let new_key = || proto::CreateKeyRequest {
        key: Some(Key { organization_id: ACME.into(), ..Key::default() }),
        request_id: "key".into(),
    };
    let made = outcome(first.keys().create_key(new_key()).await).unwrap().key;
    assert_eq!(outcome(second.keys().create_key(new_key()).await), Err(reused()));
    let again = stage.world.access(ACME, "developer").await;
    assert_eq!(outcome(again.keys().create_key(new_key()).await).unwrap().key, made, "another token, the same member");
    let ask = || proto::SubmitCreditRequestRequest {
        organization_id: ACME.into(),
        amount: "5".into(),
        request_id: "credits".into(),
        ..Default::default()
    };
    outcome(first.credit_requests().submit_credit_request(ask()).await).unwrap();
    assert_eq!(outcome(second.credit_requests().submit_credit_request(ask()).await), Err(reused()));
    let card = proto::PaymentMethod { organization_id: ACME.into(), id: "card".into(), ..Default::default() };
    let card = proto::CreatePaymentMethodRequest { payment_method: Some(card), ..Default::default() };
    outcome(first.wallets().create_payment_method(card).await).unwrap();
    let top_up = || proto::TopUpRequest {
        organization_id: ACME.into(),
        amount_usd: "20".into(),
        request_id: "top-up".into(),
        payment_method_id: "card".into(),
        ..Default::default()
    };
    let ordered = outcome(first.wallets().top_up(top_up()).await).unwrap();
    assert_eq!(outcome(second.wallets().top_up(top_up()).await), Err(reused()));
    assert_eq!(outcome(stage.world.operator.wallets().top_up(top_up()).await), Err(reused()));
    let again = outcome(first.wallets().top_up(top_up()).await).unwrap();
    assert_eq!((again.replayed, again.order), (true, ordered.order));
}

/// What the log of an organization says of access tokens that ended: by whom, and of which member.
async fn ended(world: &World, organization: &str) -> Vec<(String, String)> {
    let list = proto::ListAuditEventsRequest {
        organization_id: organization.into(),
        kind: "access_token".into(),
        ..Default::default()
    };
    let events = outcome(world.operator.organizations().list_audit_events(list).await).unwrap().events;
    let ended = events.iter().filter(|event| event.after.contains("\"deleted\":true"));
    ended.map(|event: &AuditEvent| (event.actor.clone(), member_in(&event.after))).collect()
}

fn member_in(json: &str) -> String {
    let (_, rest) = json.split_once("\"member_id\":\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

async fn join(world: &World, pia: &Connection, organization: &str, member: &str) {
    let asked = proto::Invitation { organization_id: organization.into(), ..invitation("pia@example.com") };
    let (_, invitation_token) = invite(&world.operator, asked).await.unwrap();
    let accept = proto::AcceptInvitationRequest { invitation_token, member_id: member.into(), ..Default::default() };
    outcome(pia.members().accept_invitation(accept).await).unwrap();
}

async fn token_of(world: &World, organization: &str, member: &str) -> String {
    let list = proto::ListMemberTokensRequest { organization_id: organization.into(), member_id: member.into() };
    outcome(world.operator.tokens().list_member_tokens(list).await).unwrap().tokens.remove(0).id
}

async fn delete(by: &Connection, organization: &str, token_id: &str) {
    let delete = proto::DeleteMemberTokenRequest { organization_id: organization.into(), token_id: token_id.into() };
    outcome(by.tokens().delete_member_token(delete).await).unwrap();
}

async fn organizations_of(pia: &Connection) -> Vec<String> {
    let who = outcome(pia.tokens().who_am_i(proto::WhoAmIRequest {}).await).unwrap();
    who.identities.into_iter().map(|identity| identity.organization_id).collect()
}

#[tokio::test]
async fn the_end_of_an_access_token_stands_in_the_log_of_each_organization_that_it_was_good_for() {
    let mut world = World::new().await;
    let olga = world.person("olga", proto::Role::Owner).await;
    world.organization("lab", proto::WalletMode::Off).await;
    let pia = world.personal("pia-home", "pia").await;
    join(&world, &pia, ACME, "pia-acme").await;
    join(&world, &pia, "lab", "pia-lab").await;
    let token = token_of(&world, ACME, "pia-acme").await;
    delete(&olga, ACME, &token).await;
    assert_eq!(organizations_of(&pia).await, ["pia-home", "lab"]);
    assert_eq!(ended(&world, ACME).await, [("member:olga".to_owned(), "pia-acme".to_owned())]);
    for other in ["pia-home", "lab"] {
        assert_eq!(ended(&world, other).await, [], "{other}");
    }
    world.restart().await;
    let list = proto::ListMemberTokensRequest { organization_id: "lab".into(), member_id: "pia-lab".into() };
    let tokens = outcome(world.operator.tokens().list_member_tokens(list).await).unwrap().tokens;
    assert_eq!(tokens.len(), 1, "the rest of it outlives the restart");
}

#[tokio::test]
async fn who_ends_its_own_access_token_does_so_everywhere_as_the_member_that_it_is_there() {
    let world = World::new().await;
    let pia = world.personal("pia-home", "pia").await;
    join(&world, &pia, ACME, "pia-acme").await;
    let token = token_of(&world, ACME, "pia-acme").await;
    delete(&pia, ACME, &token).await;
    let who = outcome(pia.tokens().who_am_i(proto::WhoAmIRequest {}).await);
    assert_eq!(who.unwrap_err(), failed(Code::Unauthenticated, "TOKEN_UNKNOWN"));
    for (organization, member) in [(ACME, "pia-acme"), ("pia-home", "pia")] {
        let expected = (format!("member:{member}"), member.to_owned());
        assert_eq!(ended(&world, organization).await, [expected], "{organization}");
    }
}
