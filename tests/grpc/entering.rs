//! Who is let in, and to what.

use quotad::{
    api::proto::{self, CreateServiceTokenRequest, DeleteServiceTokenRequest, ServiceToken},
    client::Connection,
};
use tokio_stream::StreamExt as _;
use tonic::{Code, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use crate::{
    messages::{Failure, check, failed, failure, reserve, usd},
    world::{START, World},
};

async fn token(world: &World, id: &str, lives: Option<i64>) -> Result<String, Failure> {
    let expire_time = lives.map(|lives| prost_types::Timestamp { seconds: START + lives, nanos: 0 });
    let token = Some(ServiceToken { id: id.into(), expire_time, ..ServiceToken::default() });
    let made = world.operator.tokens().create_service_token(CreateServiceTokenRequest { token }).await;
    made.map(|made| made.into_inner().secret).map_err(|status| failure(&status))
}

async fn try_with(world: &World, secret: &str) -> Result<(), Failure> {
    let connection = world.service.with_token(secret).unwrap();
    let answer = connection.quota().check(check("k1", usd("0"))).await;
    answer.map(|_| ()).map_err(|status| failure(&status))
}

fn unknown() -> Failure {
    failed(Code::Unauthenticated, "TOKEN_UNKNOWN")
}

fn denied() -> Failure {
    failed(Code::PermissionDenied, "PERMISSION_DENIED")
}

#[tokio::test]
async fn a_token_is_refused_when_it_is_unknown_has_expired_or_was_deleted() {
    let mut world = World::new().await;
    assert_eq!(try_with(&world, "qt_made_up").await, Err(unknown()));
    assert_eq!(try_with(&world, "").await, Err(unknown()));
    let short = token(&world, "short", Some(10)).await.unwrap();
    let long = token(&world, "long", None).await.unwrap();
    assert_ne!(short, long);
    world.advance(9);
    assert_eq!(try_with(&world, &short).await, Ok(()));
    world.advance(1);
    assert_eq!(try_with(&world, &short).await, Err(unknown()));
    assert_eq!(try_with(&world, &long).await, Ok(()));
    let invalid = failed(Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(token(&world, "stillborn", Some(10)).await, Err(invalid));
    assert_eq!(token(&world, "long", None).await, Err(failed(Code::AlreadyExists, "ALREADY_EXISTS")));
    let delete = DeleteServiceTokenRequest { token_id: "long".into() };
    world.operator.tokens().delete_service_token(delete.clone()).await.unwrap();
    assert_eq!(try_with(&world, &long).await, Err(unknown()), "at once");
    let again = world.operator.tokens().delete_service_token(delete).await.unwrap_err();
    assert_eq!(failure(&again), failed(Code::NotFound, "NOT_FOUND"));
    world.restart().await;
    assert_eq!(try_with(&world, &long).await, Err(unknown()));
    world.reserve(reserve("k1", "r", usd("1"))).await.unwrap();
}

#[tokio::test]
async fn each_token_opens_its_own_half_only() {
    let world = World::new().await;
    let operator = &world.operator;
    let refused = operator.quota().reserve(reserve("k1", "r", usd("1"))).await.unwrap_err();
    assert_eq!(failure(&refused), denied());
    let watch = proto::WatchRevocationsRequest { holder: "h".into() };
    assert_eq!(failure(&operator.quota().watch_revocations(watch).await.unwrap_err()), denied());
    let session = operator.quota().session(tokio_stream::empty()).await;
    assert_eq!(failure(&session.unwrap_err()), denied());
    let service = &world.service;
    macro_rules! refused {
        ($($client:ident.$method:ident($request:ident);)*) => {$(
            let status = service.$client().$method(proto::$request::default()).await.unwrap_err();
            assert_eq!(failure(&status), denied(), stringify!($method));
        )*};
    }
    refused! {
        organizations.create_organization(CreateOrganizationRequest);
        organizations.delete_organization(DeleteOrganizationRequest);
        organizations.list_organizations(ListOrganizationsRequest);
        teams.create_team(CreateTeamRequest);
        teams.list_memberships(ListMembershipsRequest);
        members.create_member(CreateMemberRequest);
        members.get_member(GetMemberRequest);
        keys.create_key(CreateKeyRequest);
        keys.update_key(UpdateKeyRequest);
        prices.create_price(CreatePriceRequest);
        wallets.top_up(TopUpRequest);
        wallets.get_balance(GetBalanceRequest);
        ledger.list_transactions(ListTransactionsRequest);
        ledger.verify(VerifyRequest);
        tokens.create_service_token(CreateServiceTokenRequest);
        tokens.list_service_tokens(ListServiceTokensRequest);
    }
}

#[tokio::test]
async fn without_a_token_there_is_health_and_nothing_else() {
    let world = World::new().await;
    let channel = Endpoint::from_shared(world.address()).unwrap().connect().await.unwrap();
    let missing = || failed(Code::Unauthenticated, "TOKEN_MISSING");
    let mut quota = proto::quota_service_client::QuotaServiceClient::new(channel.clone());
    assert_eq!(failure(&quota.reserve(reserve("k1", "r", usd("1"))).await.unwrap_err()), missing());
    let mut organizations = proto::organization_service_client::OrganizationServiceClient::new(channel.clone());
    let listed = organizations.list_organizations(proto::ListOrganizationsRequest::default()).await;
    assert_eq!(failure(&listed.unwrap_err()), missing());
    let mut reflection = ServerReflectionClient::new(channel.clone());
    let asked = reflection.server_reflection_info(tokio_stream::empty()).await;
    assert_eq!(failure(&asked.unwrap_err()), missing());
    let mut health = HealthClient::new(channel);
    for service in ["", "quotad.v1.QuotaService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving, "{service:?}");
    }
    let other = health.check(HealthCheckRequest { service: "nonsense".into() }).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound);
}

async fn reflected(connection: &str, token: &str) -> Vec<String> {
    let channel = Endpoint::from_shared(connection.to_owned()).unwrap().connect().await.unwrap();
    let bearer: tonic::metadata::MetadataValue<_> = format!("Bearer {token}").parse().unwrap();
    let mut reflection = ServerReflectionClient::with_interceptor(channel, move |mut request: tonic::Request<()>| {
        request.metadata_mut().insert("authorization", bearer.clone());
        Ok(request)
    });
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let asked = ServerReflectionRequest { host: String::new(), message_request };
    let answers = reflection.server_reflection_info(tokio_stream::iter([asked])).await.unwrap();
    let answer = answers.into_inner().next().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else { panic!("{answer:?}") };
    list.service.into_iter().map(|service| service.name).collect()
}

#[tokio::test]
async fn reflection_tells_anybody_with_a_token_what_there_is() {
    let world = World::new().await;
    let secret = token(&world, "curious", None).await.unwrap();
    let names = reflected(&world.address(), &secret).await;
    for service in ["Quota", "Organization", "Team", "Member", "Key", "Price", "Wallet", "Ledger", "Token"] {
        assert!(names.contains(&format!("quotad.v1.{service}Service")), "{service} is not in {names:?}");
    }
}

#[tokio::test]
async fn the_operators_token_lies_in_the_data_directory_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(world.data_dir()).unwrap() {
        let entry = entry.unwrap();
        let Ok(text) = std::fs::read_to_string(entry.path()) else { continue };
        if Connection::open(&world.address(), text.trim()).await.is_ok_and(|_| text.trim().starts_with("qo")) {
            found.push(entry.metadata().unwrap().permissions().mode() & 0o777);
        }
    }
    assert_eq!(found, [0o600]);
}
