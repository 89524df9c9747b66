//! An access token that changes while its bearer accepts an invitation with it.

use std::pin::pin;

use futures::poll;

use super::{staged::Stage, *};
use crate::{
    domain::{
        access::{InvitationState, Role},
        entity::AccountKind,
        id::{InvitationId, TokenId},
    },
    service::NewMemberToken,
};

const EMAIL: &str = "pia@example.com";
const ROOM: usize = 100;

fn organization(id: &str) -> OrganizationId {
    OrganizationId::trusted(id)
}

fn token_id() -> TokenId {
    TokenId::trusted("pias")
}

/// Pia is the member `pia` of `home`, with the access token `pias`. Answers its secret.
async fn pia(stage: &Stage) -> String {
    let (service, caller) = (&stage.running.service, operator(&stage.running));
    for id in ["home", "lab"] {
        let new = NewOrganization {
            kind: AccountKind::Team,
            id: Some(organization(id)),
            name: String::new(),
            credit_factor: Factor::ONE,
            wallet_mode: WalletMode::Off,
            expiry_policy: ExpiryPolicy::default(),
            bounds: None,
            disabled: false,
            suspended: false,
            ceiling: Policy::default(),
            policy: Policy::default(),
        };
        service.create_organization(&caller, new, Repeatable::default()).await.unwrap();
    }
    let pia = member("pia");
    let member = NewMember {
        role: Role::Owner,
        id: Some(pia.clone()),
        name: String::new(),
        email: EMAIL.to_owned(),
        disabled: false,
        policy: Policy::default(),
        teams: Vec::new(),
    };
    service.create_member(&caller, &organization("home"), member, Repeatable::default()).await.unwrap();
    let token = NewMemberToken { id: Some(token_id()), member: Some(pia), name: String::new(), expire_time: None };
    service.create_member_token(&caller, &organization("home"), token).await.unwrap().0.secret
}

fn accepting(stage: &Stage, secret: &str) -> Caller {
    stage.running.service.authorize(Some(secret), "/quotad.v1.MemberService/AcceptInvitation").unwrap()
}

fn organizations_of(stage: &Stage, secret: &str) -> Vec<String> {
    let who = stage.running.service.who_am_i(&accepting(stage, secret));
    who.identities.iter().map(|identity| identity.organization.to_string()).collect()
}

fn member(id: &str) -> MemberId {
    MemberId::trusted(id)
}

fn is_open(stage: &Stage, of: &str, id: &InvitationId) -> bool {
    stage.running.service.invitation(&organization(of), id).unwrap().invitation.state == InvitationState::Pending
}

#[tokio::test]
async fn two_invitations_accepted_at_once_with_one_token_both_count() {
    let stage = Stage::with_room_for(ROOM).await;
    let secret = pia(&stage).await;
    let (_, acme) = stage.invite(&organization("acme"), EMAIL).await;
    let (_, lab) = stage.invite(&organization("lab"), EMAIL).await;
    let (service, caller) = (&stage.running.service, accepting(&stage, &secret));
    let gate = stage.journal.gate.lock().await;
    stage.fill(ROOM);
    let mut first = pin!(service.accept_invitation(&caller, Some(&acme), Some(member("a")), None));
    let mut second = pin!(service.accept_invitation(&caller, Some(&lab), Some(member("b")), None));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(gate);
    first.await.unwrap();
    second.await.unwrap();
    assert_eq!(organizations_of(&stage, &secret), ["home", "acme", "lab"]);
}

#[tokio::test]
async fn a_token_that_was_deleted_meanwhile_accepts_nothing_and_stays_deleted() {
    let stage = Stage::with_room_for(ROOM).await;
    let secret = pia(&stage).await;
    let (id, acme) = stage.invite(&organization("acme"), EMAIL).await;
    let (service, caller) = (&stage.running.service, accepting(&stage, &secret));
    let gate = stage.journal.gate.lock().await;
    stage.fill(ROOM);
    let mut accept = pin!(service.accept_invitation(&caller, Some(&acme), Some(member("a")), None));
    assert!(poll!(&mut accept).is_pending());
    let (home, operator) = (organization("home"), operator(&stage.running));
    let token = token_id();
    let mut delete = pin!(service.delete_member_token(&operator, &home, &token));
    assert!(poll!(&mut delete).is_pending());
    drop(gate);
    delete.await.unwrap();
    assert!(matches!(accept.await, Err(service::Error::TokenUnknown)));
    let unknown = service.authorize(Some(&secret), "/quotad.v1.MemberService/AcceptInvitation");
    assert!(matches!(unknown, Err(service::Error::TokenUnknown)));
    assert!(is_open(&stage, "acme", &id) && service.member(&organization("acme"), &member("a")).is_err());
}

#[tokio::test]
async fn a_membership_that_was_taken_from_the_token_meanwhile_stays_taken() {
    let stage = Stage::with_room_for(ROOM).await;
    let secret = pia(&stage).await;
    let (_, acme) = stage.invite(&organization("acme"), EMAIL).await;
    let (_, lab) = stage.invite(&organization("lab"), EMAIL).await;
    let service = &stage.running.service;
    service.accept_invitation(&accepting(&stage, &secret), Some(&acme), Some(member("a")), None).await.unwrap();
    let caller = accepting(&stage, &secret);
    let gate = stage.journal.gate.lock().await;
    stage.fill(ROOM);
    let mut accept = pin!(service.accept_invitation(&caller, Some(&lab), Some(member("b")), None));
    assert!(poll!(&mut accept).is_pending());
    let (home, operator) = (organization("home"), operator(&stage.running));
    let token = token_id();
    let mut delete = pin!(service.delete_member_token(&operator, &home, &token));
    assert!(poll!(&mut delete).is_pending());
    drop(gate);
    delete.await.unwrap();
    accept.await.unwrap();
    assert_eq!(organizations_of(&stage, &secret), ["acme", "lab"]);
}
