//! What can't be done as things stand: refused with the numbers or the names that stand in its way, and nothing is changed.

use quotad::{
    api::proto::{self, AllocationSettings, Member, MemberAllocation, Organization, Role, TeamAllocation},
    engine::turn::Bounds,
};
use tonic::{Code, Response, Status};

use crate::{
    messages::{budget, failed, failure, mask, policy},
    people::{outcome, set_member_policy},
    reads::reads,
    world::{ACME, Place, World},
};

/// Asserts the code and reason of a refusal, and what its message tells.
#[track_caller]
fn assert_refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, reason: &str, tells: &[&str]) {
    let status = answer.unwrap_err();
    assert_eq!(failure(&status), failed(Code::FailedPrecondition, reason));
    for told in tells {
        assert!(status.message().contains(told), "{told:?} is missing in {:?}", status.message());
    }
}

const STANDS_AGAINST: &str = "FAILED_PRECONDITION";

fn team(id: &str, monthly: &str) -> proto::UpdateTeamAllocationRequest {
    let allocation = TeamAllocation {
        organization_id: ACME.into(),
        team_id: id.into(),
        monthly: monthly.into(),
        ..TeamAllocation::default()
    };
    proto::UpdateTeamAllocationRequest { allocation: Some(allocation), update_mask: mask(&["monthly"]) }
}

fn member(id: &str, monthly: &str) -> proto::UpdateMemberAllocationRequest {
    let allocation = MemberAllocation {
        organization_id: ACME.into(),
        team_id: "default".into(),
        member_id: id.into(),
        monthly: monthly.into(),
        ..MemberAllocation::default()
    };
    proto::UpdateMemberAllocationRequest { allocation: Some(allocation), update_mask: mask(&["monthly"]) }
}

/// 100 credits a cycle, 60 of them with the team `default`, 25 of those with `ada`.
async fn distributed() -> World {
    let world = World::new().await;
    world.team("lab").await;
    world.member("eve").await;
    let settings =
        AllocationSettings { organization_id: ACME.into(), credits_per_cycle: "100".into(), ..Default::default() };
    let update = proto::UpdateAllocationSettingsRequest {
        settings: Some(settings),
        update_mask: mask(&["credits_per_cycle"]),
        validate_only: false,
        ..Default::default()
    };
    let mut allocations = world.operator.allocations();
    allocations.update_allocation_settings(update).await.unwrap();
    allocations.update_team_allocation(team("default", "60")).await.unwrap();
    allocations.update_member_allocation(member("ada", "25")).await.unwrap();
    world
}

#[tokio::test]
async fn more_than_there_is_cannot_be_given_out() {
    let world = distributed().await;
    let before = reads(&world).await;
    let mut allocations = world.operator.allocations();
    assert_refused(allocations.update_team_allocation(team("lab", "40.5")).await, STANDS_AGAINST, &["40.50", "40.00"]);
    assert_refused(
        allocations.update_team_allocation(team("default", "101")).await,
        STANDS_AGAINST,
        &["41.00", "40.00"],
    );
    assert_refused(
        allocations.update_member_allocation(member("eve", "36")).await,
        STANDS_AGAINST,
        &["36.00", "35.00"],
    );
    assert_refused(
        allocations.update_member_allocation(member("ada", "61")).await,
        STANDS_AGAINST,
        &["36.00", "35.00"],
    );
    assert_refused(
        allocations.update_team_allocation(team("default", "24")).await,
        STANDS_AGAINST,
        &["24.00", "25.00"],
    );
    assert_eq!(reads(&world).await, before);
    allocations.update_team_allocation(team("lab", "40")).await.unwrap();
    allocations.update_member_allocation(member("eve", "35")).await.unwrap();
}

#[tokio::test]
async fn a_request_for_credits_is_decided_once_and_never_for_more_than_was_asked_or_is_there() {
    let world = distributed().await;
    let mut requests = world.operator.credit_requests();
    let mut ask = async |amount: &str| {
        let ask = proto::SubmitCreditRequestRequest {
            organization_id: ACME.into(),
            member_id: "ada".into(),
            amount: amount.into(),
            ..Default::default()
        };
        requests.submit_credit_request(ask).await.unwrap().into_inner().request.unwrap().id
    };
    let (small, large, unwanted) = (ask("5").await, ask("36").await, ask("1").await);
    let approve = |id: &str, amount: &str| proto::ApproveCreditRequestRequest {
        organization_id: ACME.into(),
        credit_request_id: id.into(),
        amount: amount.into(),
        note: String::new(),
    };
    let deny = |id: &str| proto::DenyCreditRequestRequest {
        organization_id: ACME.into(),
        credit_request_id: id.into(),
        note: String::new(),
    };
    let before = reads(&world).await;
    let mut requests = world.operator.credit_requests();
    assert_refused(requests.approve_credit_request(approve(&small, "6")).await, STANDS_AGAINST, &["6.00", "5.00"]);
    assert_refused(requests.approve_credit_request(approve(&large, "")).await, STANDS_AGAINST, &["36.00", "35.00"]);
    assert_eq!(reads(&world).await, before);
    requests.approve_credit_request(approve(&small, "4")).await.unwrap();
    requests.deny_credit_request(deny(&unwanted)).await.unwrap();
    let before = reads(&world).await;
    for (id, decided) in [(&small, "approved"), (&unwanted, "denied")] {
        assert_refused(requests.approve_credit_request(approve(id, "1")).await, STANDS_AGAINST, &[id, decided]);
        assert_refused(requests.deny_credit_request(deny(id)).await, STANDS_AGAINST, &[id, decided]);
    }
    assert_eq!(reads(&world).await, before);
}

#[tokio::test]
async fn what_is_in_use_is_not_deleted() {
    let world = World::new().await;
    world.key("k2", "ada", "default").await;
    let mut rules = world.operator.rules();
    for id in ["bound", "general"] {
        let rule = proto::Rule { organization_id: ACME.into(), id: id.into(), enabled: true, ..Default::default() };
        rules.create_rule(proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() }).await.unwrap();
    }
    let bind = |rule: &str| proto::Key {
        organization_id: ACME.into(),
        id: "k1".into(),
        rule_id: rule.into(),
        ..proto::Key::default()
    };
    world.update_key(bind("bound"), &["rule_id"]).await.unwrap();
    let default = |rule: &str| Organization { default_rule_id: rule.into(), ..Organization::default() };
    world.update_organization(default("general"), &["default_rule_id"]).await;
    let before = reads(&world).await;
    let delete = |rule: &str| proto::DeleteRuleRequest { organization_id: ACME.into(), rule_id: rule.into() };
    let in_use = "RULE_IN_USE";
    assert_refused(rules.delete_rule(delete("bound")).await, in_use, &["bound", "1 key;"]);
    assert_refused(rules.delete_rule(delete("general")).await, in_use, &["general", "1 key ", "default"]);
    let leave = proto::DeleteMembershipRequest {
        organization_id: ACME.into(),
        team_id: "default".into(),
        member_id: "ada".into(),
    };
    assert_refused(world.operator.teams().delete_membership(leave).await, STANDS_AGAINST, &["k1"]);
    let end =
        proto::DeleteTeamRequest { organization_id: ACME.into(), team_id: "default".into(), ..Default::default() };
    assert_refused(world.operator.teams().delete_team(end).await, STANDS_AGAINST, &["default"]);
    assert_eq!(reads(&world).await, before);
    world.update_key(bind(""), &["rule_id"]).await.unwrap();
    world.update_organization(default(""), &["default_rule_id"]).await;
    for rule in ["bound", "general"] {
        rules.delete_rule(delete(rule)).await.unwrap();
    }
}

#[tokio::test]
async fn the_last_active_owner_stays_one() {
    let world = World::new().await;
    let owner = world.person("olga", Role::Owner).await;
    world.person("second", Role::Owner).await;
    let update = |id: &str, role: Role, disabled: bool, path: &str| proto::UpdateMemberRequest {
        member: Some(Member {
            organization_id: ACME.into(),
            id: id.into(),
            role: role.into(),
            disabled,
            ..Member::default()
        }),
        update_mask: mask(&[path]),
        ..Default::default()
    };
    let mut members = owner.members();
    members.update_member(update("second", Role::Owner, true, "disabled")).await.unwrap();
    let before = reads(&world).await;
    for mut members in [owner.members(), world.operator.members()] {
        for role in [Role::Admin, Role::FinanceAdmin, Role::Developer, Role::Basic] {
            let demoted = members.update_member(update("olga", role, false, "role")).await;
            assert_refused(demoted, "LAST_OWNER", &["olga"]);
        }
        let disabled = members.update_member(update("olga", Role::Owner, true, "disabled")).await;
        assert_refused(disabled, "LAST_OWNER", &["olga"]);
        let delete =
            proto::DeleteMemberRequest { organization_id: ACME.into(), member_id: "olga".into(), ..Default::default() };
        assert_refused(members.delete_member(delete).await, "LAST_OWNER", &["olga"]);
    }
    assert_eq!(reads(&world).await, before);
    members.update_member(update("second", Role::Owner, false, "disabled")).await.unwrap();
    members.update_member(update("olga", Role::Admin, false, "role")).await.unwrap();
}

#[tokio::test]
async fn an_organization_holds_as_much_as_the_operator_lets_it_and_is_told_how_much() {
    let bounds = Bounds { keys: 2, members: 2, teams: 2, rules: 1, policies: 1, ..Bounds::default() };
    let world = World::start(proto::WalletMode::Off, |settings| settings.bounds = bounds).await;
    world.key("k2", "ada", "default").await;
    world.team("lab").await;
    world.member("eve").await;
    world.limit(Place::Member("ada"), policy(vec![budget("cap", "1")], Vec::new())).await;
    let rule = |id: &str| {
        let rule = proto::Rule { organization_id: ACME.into(), id: id.into(), ..Default::default() };
        proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() }
    };
    world.operator.rules().create_rule(rule("first")).await.unwrap();
    let before = reads(&world).await;
    assert_refused(world.operator.rules().create_rule(rule("second")).await, "TOO_MANY", &["1 rules"]);
    let key = proto::Key { organization_id: ACME.into(), member_id: "ada".into(), ..proto::Key::default() };
    let key = proto::CreateKeyRequest { key: Some(key), request_id: String::new() };
    assert_refused(world.operator.keys().create_key(key).await, "TOO_MANY", &["2 keys"]);
    let team = proto::Team { organization_id: ACME.into(), ..proto::Team::default() };
    let team = proto::CreateTeamRequest { team: Some(team), request_id: String::new() };
    assert_refused(world.operator.teams().create_team(team).await, "TOO_MANY", &["2 teams"]);
    let member = proto::CreateMemberRequest {
        member: Some(Member { organization_id: ACME.into(), ..Member::default() }),
        ..Default::default()
    };
    assert_refused(world.operator.members().create_member(member).await, "TOO_MANY", &["2 members"]);
    let invited = proto::CreateInvitationRequest {
        invitation: Some(crate::people::invitation("ivy@example.com")),
        ..Default::default()
    };
    assert_refused(world.operator.members().create_invitation(invited).await, "TOO_MANY", &["2 members"]);
    let capped = policy(vec![budget("cap", "1")], Vec::new());
    let refused = set_member_policy(&world.operator, "eve", capped.clone()).await;
    assert_eq!(refused, Err(failed(Code::FailedPrecondition, "TOO_MANY")));
    assert_eq!(reads(&world).await, before);
    set_member_policy(&world.operator, "ada", policy(Vec::new(), Vec::new())).await.unwrap();
    set_member_policy(&world.operator, "eve", capped).await.unwrap();
    let gone = proto::DeleteKeyRequest { organization_id: ACME.into(), key_id: "k2".into(), ..Default::default() };
    outcome(world.operator.keys().delete_key(gone).await).unwrap();
    world.key("k3", "ada", "default").await;
}
