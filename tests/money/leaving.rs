//! Memory gives up keys that were deleted and tokens that expired long ago: whoever names one is told the same as before.

use std::time::Duration;

use quotad::api::proto::{
    ChargeRequest, CommitRequest, CommitResponse, CreateKeyRequest, CreateRuleRequest, CreateServiceTokenRequest,
    DeleteKeyRequest, DeleteRuleRequest, DenialCode, GetInvitationRequest, GetKeyRequest, GetRuleRequest,
    InvitationState, Key, ListInvitationsRequest, ListServiceTokensRequest, ListTransactionsRequest,
    ResendInvitationRequest, RevokeInvitationRequest, Rule, ServiceToken, TransactionKind, UpdateKeyRequest,
    WalletMode,
};
use tonic::Code;

use crate::{
    forgotten::{DAY, guest, later},
    messages::{budget, by_request, charge, commit, failed, failure, key, mask, policy, reserve, secret, usd},
    payments::correct,
    people::until,
    world::{ACME, Place, START, World},
};

fn new_key(organization: &str) -> CreateKeyRequest {
    let key =
        Key { organization_id: organization.into(), id: "gone".into(), member_id: "ada".into(), ..Key::default() };
    CreateKeyRequest { key: Some(key), request_id: String::new() }
}

/// What a deleted key answers to whoever names it, on the control plane and on the data plane.
async fn answers_as_deleted(world: &World, charged: &CommitResponse, held: &str) {
    let get = GetKeyRequest { organization_id: ACME.into(), key_id: "gone".into() };
    let read = world.operator.keys().get_key(get).await.unwrap_err();
    assert!(read.code() == Code::NotFound && read.message().contains("was deleted"), "{read:?}");
    let again = world.operator.keys().create_key(new_key(ACME)).await.unwrap_err();
    assert_eq!(failure(&again), failed(Code::AlreadyExists, "ID_DELETED"));
    let again = world.operator.keys().create_key(new_key("other")).await.unwrap_err();
    assert_eq!(failure(&again), failed(Code::AlreadyExists, "ALREADY_EXISTS"), "in whichever organization");
    let refused = world.reserve(reserve("gone", "new", usd("1"))).await.unwrap_err();
    assert_eq!(refused.code(), DenialCode::KeyUnknown);
    let refused = world.charge(charge("gone", "new", usd("1"))).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), DenialCode::KeyUnknown);
    let replay = world.charge(charge("gone", "booked", usd("2"))).await.unwrap().unwrap();
    assert_eq!((replay.replayed, replay.entry), (true, charged.entry), "a Charge is known for ever");
    let other = world.charge(charge("gone", "booked", usd("3"))).await.unwrap_err();
    assert_eq!(other, failed(Code::AlreadyExists, "REQUEST_ID_REUSED"));
    let by_request = CommitRequest {
        reservation: by_request(key("gone"), "held"),
        usage: Some(usd("1")),
        ..CommitRequest::default()
    };
    for late in [commit(held, usd("1")), by_request] {
        assert_eq!(world.commit(late).await, Err(failed(Code::FailedPrecondition, "RESERVATION_TOO_OLD")));
    }
    let nobody = ChargeRequest { payer: secret("qk_nonsense"), already_used: true, ..charge("", "no key", usd("1")) };
    assert_eq!(world.charge(nobody).await.unwrap().unwrap_err().code(), DenialCode::KeyUnknown);
}

#[tokio::test]
async fn a_key_deleted_a_month_ago_answers_as_one_deleted_just_now() {
    let mut world = World::start(WalletMode::Off, |_| {}).await;
    world.organization("other", WalletMode::Off).await;
    world.member_of("other", "ada", &[]).await;
    let api_key = world.key("gone", "ada", "default").await;
    world.limit(Place::Member("ada"), policy(vec![budget("ever", "100")], Vec::new())).await;
    let held = world.reserve(reserve("gone", "held", usd("1"))).await.unwrap().reservation_id;
    let charged = world.charge(charge("gone", "booked", usd("2"))).await.unwrap().unwrap();
    world.commit(commit(&held, usd("1"))).await.unwrap();
    let delete =
        DeleteKeyRequest { organization_id: ACME.into(), key_id: "gone".into(), ..DeleteKeyRequest::default() };
    world.operator.keys().delete_key(delete).await.unwrap();
    // Ends after the key: once memory has given it up, the key has gone before.
    world.operator.members().create_invitation(guest()).await.unwrap();
    let revoke = RevokeInvitationRequest { organization_id: ACME.into(), invitation_id: "guest".into() };
    world.operator.members().revoke_invitation(revoke).await.unwrap();
    world.advance(2 * DAY);
    answers_as_deleted(&world, &charged, &held).await;
    later(&world, 31).await;
    for round in ["first", "second"] {
        answers_as_deleted(&world, &charged, &held).await;
        // What was used is booked whatever became of its key, named by its id or by its secret.
        for (how, payer) in [("id", key("gone")), ("secret", secret(&api_key))] {
            let used = charge("", &format!("{round} by {how}"), usd("3"));
            let used = ChargeRequest { payer, already_used: true, ..used };
            let booked = world.charge(used.clone()).await.unwrap().unwrap();
            assert_eq!(booked.charged.unwrap().usd, "3");
            assert!(world.charge(used).await.unwrap().unwrap().replayed);
            let newest = ListTransactionsRequest { page_size: 1, ..ListTransactionsRequest::default() };
            let entry = world.transactions(newest).await.unwrap().transactions.remove(0);
            let whose = [entry.key_id, entry.member_id, entry.team_id];
            assert_eq!(whose, ["gone", "ada", "default"]);
        }
        world.verify().await;
        world.restart().await;
    }
    assert_eq!(world.books().await.limit("ever").0, "15", "the member's budget counts all of it");
    correct(&world.operator, "back", charged.entry, TransactionKind::Refund, "2").await.unwrap();
    assert_eq!(world.books().await.limit("ever").0, "13");
    let newest = ListTransactionsRequest { page_size: 1, ..ListTransactionsRequest::default() };
    assert_eq!(world.transactions(newest).await.unwrap().transactions[0].key_id, "gone");
    world.verify().await;
    world.restart().await;
    assert_eq!(world.books().await.limit("ever").0, "13");
    answers_as_deleted(&world, &charged, &held).await;
}

/// Service tokens by their ids, the one of the tests themselves left out.
async fn tokens(world: &World) -> Vec<String> {
    let list = ListServiceTokensRequest::default();
    let listed = world.operator.tokens().list_service_tokens(list).await.unwrap().into_inner().tokens;
    listed.into_iter().map(|token| token.id).filter(|id| id.starts_with("job")).collect()
}

#[tokio::test]
async fn tokens_that_expired_a_month_ago_are_gone() {
    let mut world =
        World::start(WalletMode::Off, |settings| settings.snapshot_interval = Duration::from_millis(50)).await;
    for (id, days) in [("job-1", Some(1)), ("job-2", Some(40)), ("job-3", None)] {
        let expire_time = days.map(|days| prost_types::Timestamp { seconds: START + days * DAY, nanos: 0 });
        let token = Some(ServiceToken { id: id.into(), expire_time, ..ServiceToken::default() });
        world.operator.tokens().create_service_token(CreateServiceTokenRequest { token }).await.unwrap();
    }
    world.advance(29 * DAY);
    assert_eq!(tokens(&world).await, ["job-1", "job-2", "job-3"], "expired, and shown as that");
    world.advance(3 * DAY);
    until("the expired token's end", async || (tokens(&world).await.len() == 2).then_some(())).await;
    world.restart().await;
    assert_eq!(tokens(&world).await, ["job-2", "job-3"]);
    world.advance(60 * DAY);
    until("the other token's end", async || (tokens(&world).await == ["job-3"]).then_some(())).await;
    world.verify().await;
}

#[tokio::test]
async fn an_invitation_that_expired_a_month_ago_is_read_by_its_id_and_sent_again() {
    let mut world = World::start(WalletMode::Off, |_| {}).await;
    world.operator.members().create_invitation(guest()).await.unwrap();
    later(&world, 40).await;
    for _ in 0..2 {
        let get = GetInvitationRequest { organization_id: ACME.into(), invitation_id: "guest".into() };
        let read = world.operator.members().get_invitation(get).await.unwrap().into_inner().invitation.unwrap();
        assert_eq!(read.state(), InvitationState::Expired);
        let again = world.operator.members().create_invitation(guest()).await.unwrap_err();
        assert_eq!(again.code(), Code::AlreadyExists, "{again:?}");
        world.verify().await;
        world.restart().await;
    }
    let resend = ResendInvitationRequest {
        organization_id: ACME.into(),
        invitation_id: "guest".into(),
        ..ResendInvitationRequest::default()
    };
    world.operator.members().resend_invitation(resend).await.unwrap();
    world.restart().await;
    let list = ListInvitationsRequest { organization_id: ACME.into(), ..ListInvitationsRequest::default() };
    let listed = world.operator.members().list_invitations(list).await.unwrap().into_inner().invitations;
    assert_eq!((listed.len(), listed[0].state()), (1, InvitationState::Pending));
    world.verify().await;
}

#[tokio::test]
async fn a_rule_deleted_a_month_ago_is_told_as_deleted_and_its_id_stays_taken() {
    let mut world = World::start(WalletMode::Off, |_| {}).await;
    let rule = || Some(Rule { organization_id: ACME.into(), id: "nights".into(), ..Rule::default() });
    let create = || CreateRuleRequest { rule: rule(), ..CreateRuleRequest::default() };
    let named = || (String::from(ACME), String::from("nights"));
    world.operator.rules().create_rule(create()).await.unwrap();
    let (organization_id, rule_id) = named();
    world.operator.rules().delete_rule(DeleteRuleRequest { organization_id, rule_id }).await.unwrap();
    world.operator.members().create_invitation(guest()).await.unwrap();
    let revoke = RevokeInvitationRequest { organization_id: ACME.into(), invitation_id: "guest".into() };
    world.operator.members().revoke_invitation(revoke).await.unwrap();
    later(&world, 31).await;
    for _ in 0..2 {
        let (organization_id, rule_id) = named();
        let read = world.operator.rules().get_rule(GetRuleRequest { organization_id, rule_id }).await.unwrap_err();
        assert!(read.code() == Code::NotFound && read.message().contains("was deleted"), "{read:?}");
        let again = world.operator.rules().create_rule(create()).await.unwrap_err();
        assert_eq!(failure(&again), failed(Code::AlreadyExists, "ID_DELETED"));
        let key = Key { organization_id: ACME.into(), id: "k1".into(), rule_id: "nights".into(), ..Key::default() };
        let update =
            UpdateKeyRequest { key: Some(key), update_mask: mask(&["rule_id"]), ..UpdateKeyRequest::default() };
        let bound = world.operator.keys().update_key(update).await.unwrap_err();
        assert!(bound.message().contains("was deleted"), "{bound:?}");
        world.verify().await;
        world.restart().await;
    }
}
