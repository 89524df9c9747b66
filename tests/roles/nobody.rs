//! Tokens of those who belong nowhere: nothing is answered to them.

use quotad::api::proto::{self, MemberToken};
use tonic::{Code, metadata::MetadataValue, transport::Endpoint};
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;

use crate::{
    messages::{Failure, MODEL, failed, failure, mask},
    people::{invitation, invite, outcome},
    world::{ACME, World},
};

/// Asks for all that is about no organization: who the token's bearer is, prices, what the server offers.
async fn reads(world: &World, secret: &str) -> Vec<Result<(), Failure>> {
    let by = world.speaking(secret);
    let channel = Endpoint::from_shared(world.address()).unwrap().connect().await.unwrap();
    let bearer: MetadataValue<_> = format!("Bearer {secret}").parse().unwrap();
    let mut reflection = ServerReflectionClient::with_interceptor(channel, move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok(request)
    });
    let reflected = reflection.server_reflection_info(tokio_stream::empty()).await;
    vec![
        outcome(by.tokens().who_am_i(proto::WhoAmIRequest {}).await).map(drop),
        outcome(by.prices().get_price(proto::GetPriceRequest { model: MODEL.into() }).await).map(drop),
        outcome(by.prices().list_prices(proto::ListPricesRequest::default()).await).map(drop),
        reflected.map(drop).map_err(|status| failure(&status)),
    ]
}

fn everything(answer: Result<(), Failure>) -> Vec<Result<(), Failure>> {
    vec![answer; 4]
}

fn denied() -> Result<(), Failure> {
    Err(failed(Code::PermissionDenied, "PERMISSION_DENIED"))
}

fn unknown() -> Result<(), Failure> {
    Err(failed(Code::Unauthenticated, "TOKEN_UNKNOWN"))
}

/// The secret of a new access token.
async fn token_of(world: &World, organization: &str, member: &str) -> String {
    let token =
        MemberToken { organization_id: organization.into(), member_id: member.into(), ..MemberToken::default() };
    let new = proto::CreateMemberTokenRequest { token: Some(token) };
    outcome(world.operator.tokens().create_member_token(new).await).unwrap().secret
}

async fn set_disabled(world: &World, organization: &str, member: &str, disabled: bool) {
    let member =
        proto::Member { organization_id: organization.into(), id: member.into(), disabled, ..proto::Member::default() };
    let update =
        proto::UpdateMemberRequest { member: Some(member), update_mask: mask(&["disabled"]), ..Default::default() };
    outcome(world.operator.members().update_member(update).await).unwrap();
}

async fn remove(world: &World, member: &str) {
    let delete = proto::DeleteMemberRequest {
        organization_id: ACME.into(),
        member_id: member.into(),
        ..proto::DeleteMemberRequest::default()
    };
    outcome(world.operator.members().delete_member(delete).await).unwrap();
}

async fn delete_organization(world: &World, id: &str) {
    let delete = proto::DeleteOrganizationRequest { organization_id: id.into(), ..Default::default() };
    outcome(world.operator.organizations().delete_organization(delete).await).unwrap();
}

#[tokio::test]
async fn an_invitees_token_reads_nothing_and_opens_the_door() {
    let world = World::new().await;
    let (_, token) = invite(&world.operator, invitation("ida@example.com")).await.unwrap();
    assert_eq!(reads(&world, &token).await, everything(denied()));
    world.accept(&token, "ida").await;
    assert_eq!(reads(&world, &token).await, everything(unknown()), "it is spent");
    assert_eq!(reads(&world, &token_of(&world, ACME, "ida").await).await, everything(Ok(())));
}

#[tokio::test]
async fn a_removed_members_token_is_as_if_it_had_never_been() {
    let mut world = World::new().await;
    world.person("dev", proto::Role::Developer).await;
    let token = token_of(&world, ACME, "dev").await;
    assert_eq!(reads(&world, &token).await, everything(Ok(())));
    remove(&world, "dev").await;
    assert_eq!(reads(&world, &token).await, everything(unknown()));
    let balance = proto::GetBalanceRequest { organization_id: ACME.into() };
    let read = outcome(world.speaking(&token).wallets().get_balance(balance).await).map(drop);
    assert_eq!(read, unknown());
    world.restart().await;
    assert_eq!(reads(&world, &token).await, everything(unknown()));
}

#[tokio::test]
async fn a_disabled_member_reads_nothing_until_it_is_enabled() {
    let world = World::new().await;
    world.person("dev", proto::Role::Developer).await;
    let token = token_of(&world, ACME, "dev").await;
    set_disabled(&world, ACME, "dev", true).await;
    assert_eq!(reads(&world, &token).await, everything(denied()));
    set_disabled(&world, ACME, "dev", false).await;
    assert_eq!(reads(&world, &token).await, everything(Ok(())));
}

#[tokio::test]
async fn the_members_of_a_deleted_organization_are_unknown() {
    let world = World::new().await;
    world.organization("lab", proto::WalletMode::Off).await;
    world.person_of("lab", "boss", proto::Role::Owner).await;
    let token = token_of(&world, "lab", "boss").await;
    assert_eq!(reads(&world, &token).await, everything(Ok(())));
    delete_organization(&world, "lab").await;
    assert_eq!(reads(&world, &token).await, everything(unknown()));
}

#[tokio::test]
async fn one_membership_that_stands_is_enough_and_the_others_are_not_told() {
    let world = World::new().await;
    world.personal("home", "pia").await;
    let token = token_of(&world, "home", "pia").await;
    let pia = world.speaking(&token);
    let asked = proto::Invitation { organization_id: ACME.into(), ..invitation("pia@example.com") };
    let (_, invitation_token) = invite(&world.operator, asked).await.unwrap();
    let accept = proto::AcceptInvitationRequest { invitation_token, member_id: "pia".into(), ..Default::default() };
    outcome(pia.members().accept_invitation(accept).await).unwrap();
    let belongs = async || {
        let who = outcome(pia.tokens().who_am_i(proto::WhoAmIRequest {}).await).unwrap();
        who.identities.into_iter().map(|identity| identity.organization_id).collect::<Vec<_>>()
    };
    assert_eq!(belongs().await, ["home", ACME]);
    set_disabled(&world, ACME, "pia", true).await;
    assert_eq!(belongs().await, ["home"]);
    assert_eq!(reads(&world, &token).await, everything(Ok(())));
    remove(&world, "pia").await;
    assert_eq!(belongs().await, ["home"]);
    delete_organization(&world, "home").await;
    assert_eq!(reads(&world, &token).await, everything(unknown()));
}
