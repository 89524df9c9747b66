//! Masks of updates, tokens of pages, and etags: what fits another call doesn't fit this one.

use prost_reflect::Value;
use quotad::api::proto::{self, Key, Member, Membership, Organization, Rule, Team};
use tonic::Code;

use crate::{
    calling::Stage,
    messages::{budget, failed, failure, mask, policy, wrong_field},
    people::{invitation, invite, outcome},
    reads::reads,
    rpc::{about, methods, name, set_mask},
    world::{ACME, World},
};

#[tokio::test]
async fn every_update_names_fields_that_it_knows_and_at_least_one() {
    let stage = Stage::new().await;
    let before = reads(&stage.world).await;
    let mut updates = 0;
    for method in methods() {
        if method.input().get_field_by_name("update_mask").is_none() {
            continue;
        }
        updates += 1;
        let mut message = about(&method, ACME).unwrap_or_else(|| prost_reflect::DynamicMessage::new(method.input()));
        for paths in [&[][..], &["unheard_of"], &["id"], &["*"], &["name.x"], &["create_time"], &["organization_id"]] {
            set_mask(&mut message, paths);
            let status = stage.ask("operator", &method, &message).await.unwrap_err();
            assert_eq!(wrong_field(&status), "update_mask", "{} of {paths:?}", name(&method));
        }
    }
    assert_eq!(updates, 13);
    assert_eq!(reads(&stage.world).await, before);
}

#[tokio::test]
async fn every_list_takes_its_own_tokens_and_no_negative_sizes() {
    let stage = Stage::new().await;
    let mut lists = 0;
    for method in methods() {
        if method.input().get_field_by_name("page_token").is_none() {
            continue;
        }
        lists += 1;
        let message = || {
            let mut message =
                about(&method, ACME).unwrap_or_else(|| prost_reflect::DynamicMessage::new(method.input()));
            if message.has_field_by_name("organization_id") && method.input().get_field_by_name("team_id").is_some() {
                message.set_field_by_name("team_id", Value::String("default".into()));
            }
            message
        };
        for token in ["x", "dGVhbXM6MQ", "%", "ä"] {
            let mut foreign = message();
            foreign.set_field_by_name("page_token", Value::String(token.into()));
            let status = stage.ask("operator", &method, &foreign).await.unwrap_err();
            assert_eq!(wrong_field(&status), "page_token", "{} with {token:?}", name(&method));
        }
        let mut negative = message();
        negative.set_field_by_name("page_size", Value::I32(-1));
        let status = stage.ask("operator", &method, &negative).await.unwrap_err();
        assert_eq!(wrong_field(&status), "page_size", "{}", name(&method));
    }
    assert!(lists >= 15, "{lists}");
}

/// Asserts that the token of a first page of one is taken by the same query, and by none with another filter.
macro_rules! assert_token_bound {
    ($world:ident, $service:ident.$method:ident($request:ident { $($field:ident: $value:expr),* })) => {{
        let first = proto::$request { organization_id: ACME.into(), page_size: 1, ..Default::default() };
        let mut client = $world.operator.$service();
        let page_token = client.$method(first.clone()).await.unwrap().into_inner().next_page_token;
        assert_ne!(page_token, "", "{}: two at least", stringify!($method));
        let next = proto::$request { page_token: page_token.clone(), page_size: 7, ..first.clone() };
        client.$method(next).await.unwrap();
        let other = proto::$request { page_token, $($field: $value,)* ..first };
        assert_eq!(wrong_field(&client.$method(other).await.unwrap_err()), "page_token", stringify!($method));
    }};
}

#[tokio::test]
async fn a_page_token_fits_the_query_that_it_came_from_only() {
    let world = World::new().await;
    world.team("lab").await;
    world.member("eve").await;
    world.key("k2", "ada", "default").await;
    for no in 0..2 {
        invite(&world.operator, invitation(&format!("i{no}@example.com"))).await.unwrap();
        let rule = Rule { organization_id: ACME.into(), ..Rule::default() };
        let new = proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() };
        outcome(world.operator.rules().create_rule(new).await).unwrap();
        let ask = proto::SubmitCreditRequestRequest {
            organization_id: ACME.into(),
            member_id: "ada".into(),
            amount: "1".into(),
            ..Default::default()
        };
        outcome(world.operator.credit_requests().submit_credit_request(ask).await).unwrap();
        world.top_up(&format!("t{no}"), "1").await.unwrap();
    }
    assert_token_bound!(world, teams.list_teams(ListTeamsRequest { search: "l".into() }));
    assert_token_bound!(world, teams.list_memberships(ListMembershipsRequest { member_id: "ada".into() }));
    assert_token_bound!(world, members.list_members(ListMembersRequest { search: "a".into() }));
    assert_token_bound!(world, members.list_invitations(ListInvitationsRequest { states: vec![1] }));
    assert_token_bound!(world, keys.list_keys(ListKeysRequest { team_id: "default".into() }));
    assert_token_bound!(world, rules.list_rules(ListRulesRequest { status: 2 }));
    assert_token_bound!(world, credit_requests.list_credit_requests(ListCreditRequestsRequest { states: vec![1] }));
    assert_token_bound!(world, allocations.list_team_allocations(ListTeamAllocationsRequest { search: "l".into() }));
    assert_token_bound!(world, alerts.list_alerts(ListAlertsRequest { unacknowledged: true }));
    assert_token_bound!(world, wallets.list_top_up_orders(ListTopUpOrdersRequest { states: vec![2] }));
    assert_token_bound!(world, ledger.list_transactions(ListTransactionsRequest { kinds: vec![1] }));
    assert_token_bound!(world, organizations.list_audit_events(ListAuditEventsRequest { kind: "rule".into() }));
}

/// Asserts that an update with an etag from before another update is refused, and one with the latest is not.
macro_rules! assert_etag_checked {
    ($world:ident, $service:ident.$method:ident($request:ident { $entity:ident: $kind:ident }), $given:expr) => {{
        let given: $kind = $given;
        let mut client = $world.operator.$service();
        let update = |etag: &str, cap: &str| proto::$request {
            $entity: Some($kind {
                etag: etag.into(),
                policy: policy(vec![budget("cap", cap)], Vec::new()),
                ..given.clone()
            }),
            update_mask: mask(&["policy"]),
            ..Default::default()
        };
        let first = client.$method(update("", "1")).await.unwrap().into_inner().$entity.unwrap().etag;
        let second = client.$method(update(&first, "2")).await.unwrap().into_inner().$entity.unwrap().etag;
        let before = reads(&$world).await;
        for stale in [first.as_str(), "x"] {
            let status = client.$method(update(stale, "3")).await.unwrap_err();
            assert_eq!(failure(&status), failed(Code::Aborted, "ETAG_STALE"), stringify!($method));
        }
        assert_eq!(reads(&$world).await, before);
        client.$method(update(&second, "3")).await.unwrap();
        first
    }};
}

#[tokio::test]
async fn a_stale_etag_changes_and_deletes_nothing() {
    let world = World::new().await;
    world.team("lab").await;
    let organization_id = || String::from(ACME);
    let organization = Organization { id: organization_id(), ..Organization::default() };
    assert_etag_checked!(
        world,
        organizations.update_organization(UpdateOrganizationRequest { organization: Organization }),
        organization
    );
    let lab = Team { organization_id: organization_id(), id: "lab".into(), ..Team::default() };
    let of_lab = assert_etag_checked!(world, teams.update_team(UpdateTeamRequest { team: Team }), lab);
    let ada = Member { organization_id: organization_id(), id: "ada".into(), ..Member::default() };
    let of_ada = assert_etag_checked!(world, members.update_member(UpdateMemberRequest { member: Member }), ada);
    let (team_id, member_id) = (String::from("default"), String::from("ada"));
    let membership = Membership { organization_id: organization_id(), team_id, member_id, ..Membership::default() };
    assert_etag_checked!(
        world,
        teams.update_membership(UpdateMembershipRequest { membership: Membership }),
        membership
    );
    let k1 = Key { organization_id: organization_id(), id: "k1".into(), ..Key::default() };
    let of_k1 = assert_etag_checked!(world, keys.update_key(UpdateKeyRequest { key: Key }), k1);
    let before = reads(&world).await;
    let stale = || failed(Code::Aborted, "ETAG_STALE");
    let delete = proto::DeleteTeamRequest { organization_id: organization_id(), team_id: "lab".into(), etag: of_lab };
    assert_eq!(outcome(world.operator.teams().delete_team(delete).await), Err(stale()));
    let delete =
        proto::DeleteMemberRequest { organization_id: organization_id(), member_id: "ada".into(), etag: of_ada };
    assert_eq!(outcome(world.operator.members().delete_member(delete).await), Err(stale()));
    let delete = proto::DeleteKeyRequest { organization_id: organization_id(), key_id: "k1".into(), etag: of_k1 };
    assert_eq!(outcome(world.operator.keys().delete_key(delete).await), Err(stale()));
    let delete = proto::DeleteOrganizationRequest { organization_id: organization_id(), etag: "x".into() };
    assert_eq!(outcome(world.operator.organizations().delete_organization(delete).await), Err(stale()));
    assert_eq!(reads(&world).await, before);
}

#[tokio::test]
async fn of_two_edits_of_one_rule_the_second_hears_of_the_first() {
    let world = World::new().await;
    let rule = Rule { organization_id: ACME.into(), id: "office".into(), ..Rule::default() };
    let new = proto::CreateRuleRequest { rule: Some(rule.clone()), request_id: String::new() };
    let read = outcome(world.operator.rules().create_rule(new).await).unwrap().rule.unwrap();
    let rename = async |name: &str, etag: &str| {
        let rule = Rule { name: name.into(), etag: etag.into(), ..rule.clone() };
        let update = proto::UpdateRuleRequest { rule: Some(rule), update_mask: mask(&["name"]), ..Default::default() };
        outcome(world.operator.rules().update_rule(update).await).map(|answer| answer.rule.unwrap())
    };
    let first = rename("Office", &read.etag).await.unwrap();
    assert_eq!(rename("Bureau", &read.etag).await, Err(failed(Code::Aborted, "ETAG_STALE")));
    assert_eq!(rename("Bureau", &first.etag).await.unwrap().name, "Bureau");
}
