//! Who a budget can be set for: members found among many, people who were invited, accounts that are for teams.

use quotad::{
    api::proto::{self, DenialCode, InvitationState, Key, Member, PeriodKind, Role},
    client::Connection,
};
use tonic::Code;

use super::{denied, one_time, seen, spend};
use crate::{
    messages::{Failure, failed, mask},
    people::{budget_of, get_member, invitation, invite, outcome},
    world::{ACME, World},
};

fn needs_team() -> Failure {
    failed(Code::FailedPrecondition, "TEAM_ACCOUNT_REQUIRED")
}

async fn found(by: &Connection, search: &str, page_size: i32) -> Vec<String> {
    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let list =
            proto::ListMembersRequest { organization_id: ACME.into(), search: search.into(), page_size, page_token };
        let page = outcome(by.members().list_members(list).await).unwrap();
        assert!(page.members.len() <= usize::try_from(page_size).unwrap());
        ids.extend(page.members.into_iter().map(|member| member.id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            assert_eq!(ids.len(), usize::try_from(page.total_size).unwrap(), "the total is of all pages");
            return ids;
        }
        assert!(usize::try_from(page.total_size).unwrap() > ids.len());
    }
}

// A7
#[tokio::test]
async fn members_are_found_by_part_of_their_name_or_address_page_by_page() {
    let world = World::new().await;
    let owner = world.person("olga", Role::Owner).await;
    for (id, name, email) in [
        ("m1", "Grace Hopper", "grace@navy.example"),
        ("m2", "Alan Turing", "alan@bletchley.example"),
        ("m3", "Edsger Dijkstra", "ewd@navy.example"),
        ("m4", "Ålan Übung", "x@example.org"),
    ] {
        let member = Member {
            organization_id: ACME.into(),
            id: id.into(),
            name: name.into(),
            email: email.into(),
            ..Member::default()
        };
        let new = proto::CreateMemberRequest { member: Some(member), ..Default::default() };
        world.operator.members().create_member(new).await.unwrap();
    }
    for size in [1, 2, 10] {
        assert_eq!(found(&owner, "NAVY", size).await, ["m1", "m3"]);
        assert_eq!(found(&owner, "turing", size).await, ["m2"]);
        assert_eq!(found(&owner, "lan", size).await, ["m2", "m4"]);
        assert_eq!(found(&owner, "über", size).await, Vec::<String>::new());
        assert_eq!(found(&owner, "ÜB", size).await, ["m4"]);
        assert_eq!(found(&owner, "", size).await, ["ada", "olga", "m1", "m2", "m3", "m4"]);
    }
}

// A7
#[tokio::test]
async fn a_budget_set_for_a_pending_invitation_holds_once_it_is_accepted() {
    let world = World::new().await;
    let finance = world.person("finn", Role::FinanceAdmin).await;
    let owner = world.person("olga", Role::Owner).await;
    let asked = proto::Invitation { policy: one_time("3"), name: "Ivy Lee".into(), ..invitation("ivy@example.com") };
    let (open, token) = invite(&owner, asked).await.unwrap();
    assert_eq!((open.state(), open.policy.clone()), (InvitationState::Pending, one_time("3")));
    invite(&owner, invitation("other@example.com")).await.unwrap();
    let list = proto::ListInvitationsRequest {
        organization_id: ACME.into(),
        search: "LEE".into(),
        states: vec![InvitationState::Pending.into()],
        ..Default::default()
    };
    let listed = outcome(finance.members().list_invitations(list.clone()).await).unwrap().invitations;
    assert_eq!(listed, std::slice::from_ref(&open));
    let changed = proto::Invitation { policy: one_time("2"), ..open };
    let update = proto::UpdateInvitationRequest { invitation: Some(changed), update_mask: mask(&["policy"]) };
    outcome(finance.members().update_invitation(update).await).unwrap();
    let (ivy, as_ivy) = world.accept(&token, "ivy").await;
    assert_eq!((ivy.name.as_str(), ivy.email.as_str()), ("Ivy Lee", "ivy@example.com"));
    assert_eq!(budget_of(&as_ivy, "").await.unwrap(), seen(PeriodKind::OneTime, "2"));
    world.key("k-ivy", "ivy", "default").await;
    assert_eq!(spend(&world, "k-ivy", "a", "2.5").await, Err(DenialCode::BudgetExceeded));
    spend(&world, "k-ivy", "a", "2").await.unwrap();
    assert_eq!(spend(&world, "k-ivy", "b", "0.1").await, Err(DenialCode::BudgetExceeded));
    assert_eq!(outcome(finance.members().list_invitations(list).await).unwrap().invitations, Vec::new());
}

// A11
#[tokio::test]
async fn a_personal_account_has_no_budgets_of_members_until_it_is_made_a_team_account() {
    let world = World::new().await;
    let pia = world.personal("pia-home", "pia").await;
    let organization_id = || String::from("pia-home");
    world.key_of("pia-home", "k-pia", "pia", "default").await;
    let top_up = proto::TopUpRequest {
        organization_id: organization_id(),
        amount_usd: "20".into(),
        request_id: "t".into(),
        ..Default::default()
    };
    world.operator.wallets().top_up(top_up).await.unwrap();
    spend(&world, "k-pia", "a", "5").await.unwrap();
    let limited =
        Member { organization_id: organization_id(), id: "pia".into(), policy: one_time("1"), ..Member::default() };
    let limited =
        proto::UpdateMemberRequest { member: Some(limited), update_mask: mask(&["policy"]), ..Default::default() };
    assert_eq!(outcome(pia.members().update_member(limited.clone()).await), Err(needs_team()));
    let asked = proto::Invitation { organization_id: organization_id(), ..invitation("friend@example.com") };
    assert_eq!(invite(&pia, asked.clone()).await, Err(needs_team()));
    let team = proto::Team {
        organization_id: organization_id(),
        id: "default".into(),
        member_policy: one_time("1"),
        ..Default::default()
    };
    let of_team =
        proto::UpdateTeamRequest { team: Some(team), update_mask: mask(&["member_policy"]), ..Default::default() };
    assert_eq!(outcome(pia.teams().update_team(of_team).await), Err(needs_team()));
    let membership = proto::Membership {
        organization_id: organization_id(),
        team_id: "default".into(),
        member_id: "pia".into(),
        policy: one_time("1"),
        ..Default::default()
    };
    let update = proto::UpdateMembershipRequest {
        membership: Some(membership),
        update_mask: mask(&["policy"]),
        ..Default::default()
    };
    assert_eq!(outcome(pia.teams().update_membership(update).await), Err(needs_team()));
    spend(&world, "k-pia", "b", "2").await.unwrap();
    let convert = proto::ConvertToTeamAccountRequest { organization_id: organization_id() };
    let converted = outcome(pia.organizations().convert_to_team_account(convert).await).unwrap().organization.unwrap();
    assert_eq!(converted.kind(), proto::AccountKind::Team);
    let asked_balance = proto::GetBalanceRequest { organization_id: organization_id() };
    assert_eq!(outcome(pia.wallets().get_balance(asked_balance).await).unwrap().balance_usd, "13");
    let all = proto::ListTransactionsRequest { organization_id: organization_id(), ..Default::default() };
    let entries = outcome(pia.ledger().list_transactions(all).await).unwrap().transactions;
    assert_eq!(entries.iter().map(|entry| entry.entry).collect::<Vec<_>>(), [3, 2, 1]);
    spend(&world, "k-pia", "c", "3").await.unwrap();
    outcome(pia.members().update_member(limited).await).unwrap();
    assert_eq!(spend(&world, "k-pia", "d", "1.5").await, Err(DenialCode::BudgetExceeded));
    invite(&pia, asked).await.unwrap();
    world.verify().await;
}

// A11
#[tokio::test]
async fn a_person_joins_another_team_account_by_invitation_with_the_token_it_has() {
    let world = World::new().await;
    let pia = world.personal("pia-home", "pia").await;
    let stranger = world.personal("sam-home", "sam").await;
    let owner = world.person("olga", Role::Owner).await;
    let asked = proto::Invitation { role: Role::Developer.into(), ..invitation("pia@example.com") };
    let (_, token) = invite(&owner, asked).await.unwrap();
    let accept = |member: &str| proto::AcceptInvitationRequest {
        invitation_token: token.clone(),
        member_id: member.into(),
        ..Default::default()
    };
    let refused = outcome(stranger.members().accept_invitation(accept("sam")).await);
    assert_eq!(refused, Err(failed(Code::FailedPrecondition, "FAILED_PRECONDITION")), "another was invited");
    assert_eq!(budget_of(&pia, "").await, Err(failed(Code::NotFound, "NOT_FOUND")));
    let accepted = outcome(pia.members().accept_invitation(accept("pia2")).await).unwrap();
    assert_eq!((accepted.secret.as_str(), accepted.member.unwrap().role()), ("", Role::Developer));
    let identities = outcome(pia.tokens().who_am_i(proto::WhoAmIRequest {}).await).unwrap().identities;
    let named: Vec<_> =
        identities.iter().map(|identity| (identity.organization_id.as_str(), identity.member_id.as_str())).collect();
    assert_eq!(named, [("pia-home", "pia"), (ACME, "pia2")]);
    assert_eq!(budget_of(&pia, "").await.unwrap(), Vec::new());
    assert_eq!(get_member(&pia, "ada").await, Err(denied()), "an owner at home is a developer here");
    let key = Key { organization_id: ACME.into(), id: "k-pia".into(), ..Key::default() };
    let new = proto::CreateKeyRequest { key: Some(key), ..Default::default() };
    let made = outcome(pia.keys().create_key(new).await).unwrap().key.unwrap();
    assert_eq!(made.member_id, "pia2");
    spend(&world, "k-pia", "a", "1").await.unwrap();
    let again = outcome(pia.members().accept_invitation(accept("pia3")).await);
    assert_eq!(again, Err(failed(Code::InvalidArgument, "INVALID_ARGUMENT")), "an invitation is accepted once");
}
