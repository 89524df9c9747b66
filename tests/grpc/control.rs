//! What administrators do, and its effect in the very next decision.

use quotad::api::proto::{
    CreateKeyRequest, CreateOrganizationRequest, CreateServiceTokenRequest, CreateTeamRequest, DeleteMemberRequest,
    DeleteServiceTokenRequest, DeleteTeamRequest, DenialCode, GetKeyRequest, GetTeamRequest, Key, ListKeysRequest,
    ListTeamsRequest, Organization, PeriodKind, Policy, Price, ServiceToken, Team, UpdatePriceRequest,
    UpdateTeamRequest,
};
use tonic::Code;

use crate::world::{KEY, MODEL, ORGANIZATION, World, ask, both, by_key, cost, failed, tokens, usd};

fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() })
}

fn team(id: &str, name: &str) -> Team {
    Team { organization_id: ORGANIZATION.to_owned(), id: id.to_owned(), name: name.to_owned(), ..Team::default() }
}

#[tokio::test]
async fn an_update_changes_the_named_fields_alone() {
    let world = World::new().await;
    world.team("red", usd("cap", "5", PeriodKind::Daily)).await;
    let update = |team: Team, update_mask| UpdateTeamRequest { team: Some(team), update_mask };
    let mut teams = world.operator.teams();
    let renamed =
        teams.update_team(update(team("red", "Red"), mask(&["name"]))).await.unwrap().into_inner().team.unwrap();
    assert_eq!((renamed.name.as_str(), renamed.policy.unwrap().budgets.len(), renamed.disabled), ("Red", 1, false));
    for bad in [None, mask(&[]), mask(&["id"]), mask(&["name", "polizy"])] {
        let answer = teams.update_team(update(team("red", "Blue"), bad)).await;
        assert_eq!(failed(answer).0, Code::InvalidArgument);
    }
    let request = GetTeamRequest { organization_id: ORGANIZATION.to_owned(), team_id: String::from("red") };
    assert_eq!(teams.get_team(request).await.unwrap().into_inner().team.unwrap().name, "Red");
    let missing = teams.update_team(update(team("blue", ""), mask(&["name"]))).await;
    assert_eq!(failed(missing), (Code::NotFound, String::from("NOT_FOUND")));
}

#[tokio::test]
async fn editing_a_limit_keeps_its_usage_and_another_period_starts_over() {
    let world = World::new().await;
    world.team("red", usd("cap", "5", PeriodKind::Daily)).await;
    world.join("red", "ann", Policy::default()).await;
    world.key("red-key", "ann", "red", Policy::default()).await;
    let mut request = ask("r1", cost("4"));
    request.payer = by_key("red-key");
    let reservation = world.reserve(request).await.unwrap().reservation_id;
    world.commit(&reservation, cost("4")).await.unwrap();
    let mut teams = world.operator.teams();
    let mut spent_of = async |policy: Policy| {
        let team = Team { policy: Some(policy), ..team("red", "") };
        let request = UpdateTeamRequest { team: Some(team), update_mask: mask(&["policy"]) };
        let team = teams.update_team(request).await.unwrap().into_inner().team.unwrap();
        team.limits[0].spent.clone()
    };
    assert_eq!(spent_of(usd("cap", "4.5", PeriodKind::Daily)).await, "4");
    let mut request = ask("r2", cost("1"));
    request.payer = by_key("red-key");
    assert_eq!(world.reserve(request.clone()).await.unwrap_err().code(), DenialCode::BudgetExceeded);
    assert_eq!(spent_of(usd("cap", "4.5", PeriodKind::Weekly)).await, "0");
    world.reserve(request).await.unwrap();
}

#[tokio::test]
async fn a_creation_under_a_request_id_is_made_once() {
    let world = World::new().await;
    let key = |name: &str| CreateKeyRequest {
        key: Some(Key {
            organization_id: ORGANIZATION.to_owned(),
            member_id: String::from("ann"),
            name: name.to_owned(),
            ..Key::default()
        }),
        request_id: String::from("create-1"),
    };
    let mut keys = world.operator.keys();
    let first = keys.create_key(key("one")).await.unwrap().into_inner();
    let again = keys.create_key(key("one")).await.unwrap().into_inner();
    assert_eq!(first.key.unwrap().id, again.key.unwrap().id);
    assert!(!first.secret.is_empty() && again.secret.is_empty(), "a secret is told once");
    assert_eq!(failed(keys.create_key(key("two")).await).1, "REQUEST_ID_REUSED");

    let organization = |request_id: &str| CreateOrganizationRequest {
        organization: Some(Organization { name: String::from("Minted"), ..Organization::default() }),
        request_id: request_id.to_owned(),
    };
    let mut organizations = world.operator.organizations();
    let mut create = async |request_id: &str| {
        organizations.create_organization(organization(request_id)).await.unwrap().into_inner().organization.unwrap().id
    };
    assert_eq!(create("o1").await, create("o1").await);
    assert_ne!(create("o1").await, create("o2").await);
}

#[tokio::test]
async fn ids_of_keys_are_unique_over_organizations_and_foreign_ids_are_not_found() {
    let world = World::new().await;
    world.organization("other", Policy::default()).await;
    let member = quotad::api::proto::Member {
        organization_id: String::from("other"),
        id: String::from("bob"),
        ..Default::default()
    };
    let request = quotad::api::proto::CreateMemberRequest { member: Some(member), ..Default::default() };
    world.operator.members().create_member(request).await.unwrap();
    let foreign = Key {
        organization_id: String::from("other"),
        id: KEY.to_owned(),
        member_id: String::from("bob"),
        ..Key::default()
    };
    let mut keys = world.operator.keys();
    let request = CreateKeyRequest { key: Some(foreign), request_id: String::new() };
    assert_eq!(failed(keys.create_key(request).await), (Code::AlreadyExists, String::from("ALREADY_EXISTS")));
    let request = GetKeyRequest { organization_id: String::from("other"), key_id: KEY.to_owned() };
    assert_eq!(failed(keys.get_key(request).await).0, Code::NotFound);
    let request = GetKeyRequest { organization_id: String::from("nobody"), key_id: KEY.to_owned() };
    assert_eq!(failed(keys.get_key(request).await).0, Code::NotFound);
}

#[tokio::test]
async fn lists_come_in_pages_whose_tokens_belong_to_them() {
    let world = World::new().await;
    for i in 0..5 {
        world.team(&format!("team-{i}"), Policy::default()).await;
    }
    let organization_id = ORGANIZATION.to_owned();
    let (mut seen, mut page_token) = (Vec::new(), String::new());
    let mut teams = world.operator.teams();
    loop {
        let request = ListTeamsRequest { organization_id: organization_id.clone(), page_size: 2, page_token };
        let page = teams.list_teams(request).await.unwrap().into_inner();
        seen.extend(page.teams.into_iter().map(|team| team.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
        let request = ListKeysRequest {
            organization_id: organization_id.clone(),
            page_token: page_token.clone(),
            ..Default::default()
        };
        assert_eq!(failed(world.operator.keys().list_keys(request).await).0, Code::InvalidArgument);
    }
    assert_eq!(seen, ["default", "team-0", "team-1", "team-2", "team-3", "team-4"]);
    let request = ListTeamsRequest { organization_id, page_size: -1, page_token: String::new() };
    assert_eq!(failed(teams.list_teams(request).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_deleted_stops_at_once_and_its_ledger_stays() {
    let world = World::new().await;
    world.team("red", Policy::default()).await;
    world.member("bob", &["red"]).await;
    world.key("red-key", "bob", "red", Policy::default()).await;
    let mut request = ask("r1", cost("1"));
    request.payer = by_key("red-key");
    let reservation = world.reserve(request.clone()).await.unwrap().reservation_id;
    let delete =
        |team_id: &str| DeleteTeamRequest { organization_id: ORGANIZATION.to_owned(), team_id: team_id.to_owned() };
    let mut teams = world.operator.teams();
    assert_eq!(failed(teams.delete_team(delete("default")).await).0, Code::FailedPrecondition);
    teams.delete_team(delete("red")).await.unwrap();
    request.request_id = String::from("r2");
    assert_eq!(world.reserve(request).await.unwrap_err().code(), DenialCode::KeyUnknown);
    world.commit(&reservation, cost("1")).await.unwrap();
    assert_eq!(world.balance().await, "999", "running work is still charged");
    let again = CreateTeamRequest { team: Some(team("red", "")), request_id: String::new() };
    assert_eq!(failed(teams.create_team(again).await), (Code::AlreadyExists, String::from("ID_DELETED")));
    let request = DeleteMemberRequest { organization_id: ORGANIZATION.to_owned(), member_id: String::from("ann") };
    world.operator.members().delete_member(request).await.unwrap();
    assert_eq!(world.reserve(ask("r3", cost("1"))).await.unwrap_err().code(), DenialCode::KeyUnknown);
    world.verify().await;
}

#[tokio::test]
async fn a_price_applies_from_now_on_and_open_holds_keep_theirs() {
    let world = World::new().await;
    let reservation = world.reserve(ask("r1", tokens(1000, 0))).await.unwrap().reservation_id;
    let price = Price { model: MODEL.to_owned(), input_per_million: String::from("100"), ..Price::default() };
    let update_mask = mask(&["input_per_million"]);
    let request = UpdatePriceRequest { price: Some(price), update_mask };
    let updated = world.operator.prices().update_price(request).await.unwrap().into_inner().price.unwrap();
    assert_eq!((updated.input_per_million.as_str(), updated.output_per_million.as_str()), ("100", "2"));
    assert_eq!(world.commit(&reservation, tokens(1000, 0)).await.unwrap().charged.unwrap().usd, "0.001");
    assert_eq!(world.reserve(ask("r2", tokens(1000, 0))).await.unwrap().held.unwrap().usd, "0.1");
}

#[tokio::test]
async fn credits_that_are_not_tracked_cannot_be_capped() {
    let world = World::new().await;
    let update = |credit_factor: &str, policy: Option<Policy>| {
        let paths: &[&str] = if policy.is_some() { &["policy"] } else { &["credit_factor"] };
        let (id, credit_factor) = (ORGANIZATION.to_owned(), credit_factor.to_owned());
        let organization = Organization { id, credit_factor, policy, ..Organization::default() };
        quotad::api::proto::UpdateOrganizationRequest { organization: Some(organization), update_mask: mask(paths) }
    };
    let mut credits = usd("credits", "10", PeriodKind::Monthly);
    credits.budgets[0].unit = quotad::api::proto::Unit::Credits.into();
    let mut organizations = world.operator.organizations();
    organizations.update_organization(update("0", None)).await.unwrap();
    let refused = organizations.update_organization(update("", Some(credits.clone()))).await;
    assert_eq!(failed(refused).0, Code::FailedPrecondition);
    organizations.update_organization(update("10", None)).await.unwrap();
    organizations.update_organization(update("", Some(both(credits, Policy::default())))).await.unwrap();
    assert_eq!(world.reserve(ask("r1", cost("1.1"))).await.unwrap_err().code(), DenialCode::BudgetExceeded);
    assert_eq!(world.reserve(ask("r1", cost("0.9"))).await.unwrap().held.unwrap().credits, "9");
}

#[tokio::test]
async fn every_call_needs_the_right_token_and_a_deleted_one_stops_at_once() {
    let world = World::new().await;
    let secretless = world.operator.with_token("qt_made_up").unwrap();
    let unknown = secretless.quota().reserve(ask("r", cost("1"))).await;
    assert_eq!(failed(unknown), (Code::Unauthenticated, String::from("TOKEN_UNKNOWN")));
    let operator = world.operator.quota().reserve(ask("r", cost("1"))).await;
    assert_eq!(failed(operator), (Code::PermissionDenied, String::from("PERMISSION_DENIED")));
    let request = ListTeamsRequest { organization_id: ORGANIZATION.to_owned(), ..Default::default() };
    assert_eq!(failed(world.gateway.teams().list_teams(request).await).0, Code::PermissionDenied);
    let soon = prost_types::Timestamp { seconds: 1_700_000_060, nanos: 0 };
    let token = ServiceToken { id: String::from("brief"), expire_time: Some(soon), ..ServiceToken::default() };
    let mut tokens = world.operator.tokens();
    let secret = tokens
        .create_service_token(CreateServiceTokenRequest { token: Some(token) })
        .await
        .unwrap()
        .into_inner()
        .secret;
    let brief = world.operator.with_token(&secret).unwrap();
    brief.quota().reserve(ask("r1", cost("1"))).await.unwrap();
    world.pass(61);
    assert_eq!(failed(brief.quota().reserve(ask("r2", cost("1"))).await).0, Code::Unauthenticated);
    let token = ServiceToken { id: String::from("gone"), ..ServiceToken::default() };
    let secret = tokens
        .create_service_token(CreateServiceTokenRequest { token: Some(token) })
        .await
        .unwrap()
        .into_inner()
        .secret;
    let gone = world.operator.with_token(&secret).unwrap();
    gone.quota().reserve(ask("r3", cost("1"))).await.unwrap();
    tokens.delete_service_token(DeleteServiceTokenRequest { token_id: String::from("gone") }).await.unwrap();
    assert_eq!(failed(gone.quota().reserve(ask("r4", cost("1"))).await).0, Code::Unauthenticated);
}
