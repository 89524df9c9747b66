//! Organizations, teams, memberships, members and keys: made, read, listed, changed and ended.

use quotad::api::proto::{
    self, CreateKeyRequest, CreateMemberRequest, CreateOrganizationRequest, CreateTeamRequest, DenialCode, Key, Member,
    Membership, Organization, Team, WalletMode,
};
use tonic::{Code, Response, Status};

use crate::{
    messages::{
        Failure, budget, by_request, commit, extend, failed, failure, key, mask, policy, reserve, usd, wrong_field,
    },
    world::{ACME, Place, World},
};

fn outcome<T>(answer: Result<Response<T>, Status>) -> Result<T, Failure> {
    answer.map(Response::into_inner).map_err(|status| failure(&status))
}

fn not_found() -> Failure {
    failed(Code::NotFound, "NOT_FOUND")
}

fn exists() -> Failure {
    failed(Code::AlreadyExists, "ALREADY_EXISTS")
}

fn reused() -> Failure {
    failed(Code::AlreadyExists, "REQUEST_ID_REUSED")
}

fn team(id: &str) -> Team {
    Team { organization_id: ACME.into(), id: id.into(), ..Team::default() }
}

fn member(id: &str) -> Member {
    Member { organization_id: ACME.into(), id: id.into(), ..Member::default() }
}

fn a_key(id: &str) -> Key {
    Key { organization_id: ACME.into(), id: id.into(), member_id: "ada".into(), ..Key::default() }
}

async fn create_team(world: &World, team: Team, request_id: &str) -> Result<Team, Failure> {
    let new = CreateTeamRequest { team: Some(team), request_id: request_id.into() };
    Ok(outcome(world.operator.teams().create_team(new).await)?.team.unwrap())
}

async fn create_key(world: &World, key: Key, request_id: &str) -> Result<(Key, String), Failure> {
    let new = CreateKeyRequest { key: Some(key), request_id: request_id.into() };
    let made = outcome(world.operator.keys().create_key(new).await)?;
    Ok((made.key.unwrap(), made.secret))
}

#[tokio::test]
async fn creations_mint_ids_where_none_are_given_and_repeat_by_request_id() {
    let world = World::new().await;
    let first = create_team(&world, Team { name: "Lab".into(), ..team("") }, "t1").await.unwrap();
    assert!(first.id.starts_with("team") && first.create_time.is_some());
    let again = create_team(&world, Team { name: "Lab".into(), ..team("") }, "t1").await.unwrap();
    assert_eq!(again, first);
    assert_eq!(create_team(&world, Team { name: "Other".into(), ..team("") }, "t1").await, Err(reused()));
    let another = create_team(&world, Team { name: "Lab".into(), ..team("") }, "").await.unwrap();
    assert_ne!(another.id, first.id);
    assert_eq!(create_team(&world, team(&first.id), "t2").await, Err(exists()));
    let new_member = |id: &str, request: &str| CreateMemberRequest {
        member: Some(member(id)),
        team_ids: Vec::new(),
        request_id: request.into(),
    };
    let made = outcome(world.operator.members().create_member(new_member("", "m1")).await).unwrap();
    let again = outcome(world.operator.members().create_member(new_member("", "m1")).await).unwrap();
    assert_eq!(made, again);
    let other_kind = outcome(world.operator.members().create_member(new_member("", "t1")).await);
    assert_eq!(other_kind.unwrap_err(), reused());
    let organization = Organization { name: "Minted".into(), ..Organization::default() };
    let new = CreateOrganizationRequest { organization: Some(organization), request_id: "o1".into() };
    let made = outcome(world.operator.organizations().create_organization(new.clone()).await).unwrap();
    let again = outcome(world.operator.organizations().create_organization(new).await).unwrap();
    assert_eq!(made, again);
    let organization = made.organization.unwrap();
    assert_eq!((organization.credit_factor.as_str(), organization.wallet_mode()), ("1", WalletMode::Enforced));
}

#[tokio::test]
async fn a_keys_secret_is_told_once_and_pays() {
    let mut world = World::new().await;
    let (made, secret) = create_key(&world, a_key(""), "k-1").await.unwrap();
    assert!(secret.starts_with(&made.secret_prefix) && made.secret_prefix.len() < secret.len() / 2);
    assert_eq!((made.team_id.as_str(), made.member_id.as_str()), ("default", "ada"));
    let (again, hidden) = create_key(&world, a_key(""), "k-1").await.unwrap();
    assert_eq!((again, hidden.as_str()), (made.clone(), ""));
    world.restart().await;
    assert_eq!(create_key(&world, a_key(""), "k-1").await.unwrap(), (made.clone(), String::new()));
    let asked = proto::ReserveRequest { payer: crate::messages::secret(&secret), ..reserve("", "r", usd("1")) };
    world.reserve(asked).await.unwrap();
    let settled = proto::CommitRequest { reservation: by_request(key(&made.id), "r"), ..commit("", usd("1")) };
    world.commit(settled).await.unwrap();
    assert_eq!(world.ledger().await.transactions[0].key_id, made.id);
}

#[tokio::test]
async fn key_ids_are_unique_over_all_organizations() {
    let world = World::new().await;
    world.organization("other", WalletMode::Off).await;
    world.member_of("other", "eve", &[]).await;
    let taken = Key { organization_id: "other".into(), member_id: "eve".into(), ..a_key("k1") };
    assert_eq!(create_key(&world, taken.clone(), "").await.unwrap_err(), exists());
    assert_eq!(create_key(&world, a_key("k1"), "").await.unwrap_err(), exists());
    let delete = proto::DeleteKeyRequest { organization_id: ACME.into(), key_id: "k1".into(), ..Default::default() };
    world.operator.keys().delete_key(delete).await.unwrap();
    assert_eq!(create_key(&world, a_key("k1"), "").await.unwrap_err(), failed(Code::AlreadyExists, "ID_DELETED"));
    assert_eq!(create_key(&world, taken, "").await.unwrap_err().0, Code::AlreadyExists);
    assert_eq!(world.reserve(reserve("k1", "r", usd("0"))).await.unwrap_err().code(), DenialCode::KeyUnknown);
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names_and_nothing_else() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "5")], Vec::new())).await;
    let loud = Key { name: "new".into(), disabled: true, models: vec!["x".into()], ..a_key("k1") };
    let updated = world.update_key(loud.clone(), &["name"]).await.unwrap();
    assert_eq!((updated.name.as_str(), updated.disabled, updated.models.len()), ("new", false, 0));
    assert_eq!(updated.policy.unwrap().budgets.len(), 1, "a policy that isn't named stays");
    let unlooked = Key { policy: policy(vec![budget("", "NaN")], Vec::new()), ..loud.clone() };
    world.update_key(unlooked, &["name", "name"]).await.unwrap();
    let refused = async |key: Key, paths: &[&str]| {
        let update = proto::UpdateKeyRequest { key: Some(key), update_mask: mask(paths), ..Default::default() };
        wrong_field(&world.operator.keys().update_key(update).await.unwrap_err())
    };
    for paths in [&[][..], &["id"], &["member_id"], &["*"], &["name", "policy.budgets"], &["Name"], &[""]] {
        assert_eq!(refused(loud.clone(), paths).await, "update_mask", "{paths:?}");
    }
    let update = proto::UpdateKeyRequest { key: Some(loud.clone()), update_mask: None, ..Default::default() };
    assert_eq!(wrong_field(&world.operator.keys().update_key(update).await.unwrap_err()), "update_mask");
    let update = proto::UpdateKeyRequest { key: None, update_mask: mask(&["name"]), ..Default::default() };
    assert_eq!(wrong_field(&world.operator.keys().update_key(update).await.unwrap_err()), "key");
    assert_eq!(refused(Key { name: "x".repeat(257), ..a_key("k1") }, &["name"]).await, "key.name");
    let get = proto::GetKeyRequest { organization_id: ACME.into(), key_id: "k1".into() };
    let now = world.operator.keys().get_key(get).await.unwrap().into_inner().key.unwrap();
    assert_eq!((now.name.as_str(), now.disabled, now.limits.len()), ("new", false, 1));
    let cleared = world.update_key(a_key("k1"), &["policy", "name"]).await.unwrap();
    assert_eq!((cleared.name.as_str(), cleared.policy.unwrap().budgets.len()), ("", 0));
    let organization = Organization { id: ACME.into(), wallet_mode: 99, ..Organization::default() };
    let update = |paths: &[&str]| proto::UpdateOrganizationRequest {
        organization: Some(organization.clone()),
        update_mask: mask(paths),
        ..Default::default()
    };
    let mut organizations = world.operator.organizations();
    let status = organizations.update_organization(update(&["wallet_mode"])).await.unwrap_err();
    assert_eq!(wrong_field(&status), "organization.wallet_mode");
    let status = organizations.update_organization(update(&["expiry_policy"])).await.unwrap_err();
    assert_eq!(wrong_field(&status), "organization.expiry_policy");
    let status = organizations.update_organization(update(&["credit_factor"])).await.unwrap_err();
    assert_eq!(wrong_field(&status), "organization.credit_factor");
}

/// Ids of all pages of a list.
macro_rules! pages {
    ($world:ident.$client:ident.$method:ident($request:ident { $($field:ident: $value:expr),* }).$items:ident, $size:expr) => {{
        let (mut ids, mut page_token) = (Vec::new(), String::new());
        loop {
            #[allow(clippy::needless_update, reason = "some requests have no further field")]
            let asked = proto::$request { page_size: $size, page_token, $($field: $value,)* ..Default::default() };
            let page = $world.operator.$client().$method(asked).await.unwrap().into_inner();
            assert!(page.$items.len() <= usize::try_from($size).unwrap());
            ids.extend(page.$items.into_iter().map(|item| item.id));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break ids;
            }
        }
    }};
}

#[tokio::test]
async fn pages_of_any_size_list_each_once_and_tokens_fit_their_own_list_only() {
    let world = World::new().await;
    for no in 0..4 {
        world.organization(&format!("o{no}"), WalletMode::Off).await;
        world.team(&format!("t{no}")).await;
        world.member_of(ACME, &format!("m{no}"), &[&format!("t{no}"), "default"]).await;
        world.key(&format!("key{no}"), &format!("m{no}"), "default").await;
    }
    for size in 1..=6 {
        let organizations =
            pages!(world.organizations.list_organizations(ListOrganizationsRequest {}).organizations, size);
        assert_eq!(organizations, ["acme", "o0", "o1", "o2", "o3"], "{size}");
        let teams = pages!(world.teams.list_teams(ListTeamsRequest { organization_id: ACME.into() }).teams, size);
        assert_eq!(teams, ["default", "t0", "t1", "t2", "t3"], "{size}");
        let members =
            pages!(world.members.list_members(ListMembersRequest { organization_id: ACME.into() }).members, size);
        assert_eq!(members, ["ada", "m0", "m1", "m2", "m3"], "{size}");
        let keys = pages!(world.keys.list_keys(ListKeysRequest { organization_id: ACME.into() }).keys, size);
        assert_eq!(keys, ["k1", "key0", "key1", "key2", "key3"], "{size}");
        let mine = pages!(
            world.keys.list_keys(ListKeysRequest { organization_id: ACME.into(), member_id: "m2".into() }).keys,
            size
        );
        assert_eq!(mine, ["key2"], "{size}");
    }
    let asked =
        proto::ListMembershipsRequest { organization_id: ACME.into(), member_id: "m1".into(), ..Default::default() };
    let memberships = world.operator.teams().list_memberships(asked).await.unwrap().into_inner().memberships;
    let teams: Vec<_> = memberships.into_iter().map(|membership| membership.team_id).collect();
    assert_eq!(teams, ["t1", "default"]);
    let asked = proto::ListTeamsRequest {
        organization_id: ACME.into(),
        page_size: 1,
        page_token: String::new(),
        ..Default::default()
    };
    let token = world.operator.teams().list_teams(asked.clone()).await.unwrap().into_inner().next_page_token;
    let foreign = proto::ListKeysRequest { organization_id: ACME.into(), page_token: token, ..Default::default() };
    assert_eq!(wrong_field(&world.operator.keys().list_keys(foreign).await.unwrap_err()), "page_token");
    let negative = proto::ListTeamsRequest { page_size: -1, ..asked };
    assert_eq!(wrong_field(&world.operator.teams().list_teams(negative).await.unwrap_err()), "page_size");
}

#[tokio::test]
async fn a_deleted_team_takes_its_keys_with_it_and_stops_their_work() {
    let world = World::new().await;
    world.team("lab").await;
    world.member_of(ACME, "eve", &["lab", "default"]).await;
    world.key("k-lab", "eve", "lab").await;
    world.key("k-eve", "eve", "default").await;
    let request = proto::ReserveRequest { holder: "gpu".into(), ..reserve("k-lab", "r", usd("1")) };
    let id = world.reserve(request).await.unwrap().reservation_id;
    let delete =
        |id: &str| proto::DeleteTeamRequest { organization_id: ACME.into(), team_id: id.into(), ..Default::default() };
    world.operator.teams().delete_team(delete("lab")).await.unwrap();
    let denial = world.extend(extend(&id)).await.unwrap().unwrap_err();
    assert_eq!((denial.code(), denial.violations[0].code()), (DenialCode::Revoked, DenialCode::TeamInactive));
    assert_eq!(world.reserve(reserve("k-lab", "s", usd("1"))).await.unwrap_err().code(), DenialCode::KeyUnknown);
    assert_eq!(world.commit(commit(&id, usd("0.5"))).await.unwrap().charged.unwrap().usd, "0.5");
    world.reserve(reserve("k-eve", "t", usd("1"))).await.unwrap();
    let get = proto::GetKeyRequest { organization_id: ACME.into(), key_id: "k-lab".into() };
    assert_eq!(outcome(world.operator.keys().get_key(get).await), Err(not_found()));
    let get =
        proto::GetMembershipRequest { organization_id: ACME.into(), team_id: "lab".into(), member_id: "eve".into() };
    assert_eq!(outcome(world.operator.teams().get_membership(get).await), Err(not_found()));
    assert_eq!(outcome(world.operator.teams().delete_team(delete("lab")).await), Err(not_found()));
    assert_eq!(create_team(&world, team("lab"), "").await, Err(failed(Code::AlreadyExists, "ID_DELETED")));
    let default = outcome(world.operator.teams().delete_team(delete("default")).await);
    assert_eq!(default, Err(failed(Code::FailedPrecondition, "FAILED_PRECONDITION")));
    world.verify().await;
}

#[tokio::test]
async fn a_deleted_member_or_organization_stops_its_keys_and_leaves_its_ledger() {
    let world = World::new().await;
    world.member("eve").await;
    world.key("k-eve", "eve", "default").await;
    let id = world.reserve(reserve("k-eve", "r", usd("1"))).await.unwrap().reservation_id;
    let delete =
        proto::DeleteMemberRequest { organization_id: ACME.into(), member_id: "eve".into(), ..Default::default() };
    world.operator.members().delete_member(delete).await.unwrap();
    assert_eq!(world.extend(extend(&id)).await.unwrap().unwrap_err().code(), DenialCode::Revoked);
    world.commit(commit(&id, usd("1"))).await.unwrap();
    let id = world.reserve(reserve("k1", "last", usd("1"))).await.unwrap().reservation_id;
    let delete = proto::DeleteOrganizationRequest { organization_id: ACME.into(), ..Default::default() };
    world.operator.organizations().delete_organization(delete.clone()).await.unwrap();
    assert!(world.reserve(reserve("k1", "no", usd("0"))).await.is_err());
    assert_eq!(world.extend(extend(&id)).await.unwrap().unwrap_err().code(), DenialCode::Revoked);
    world.commit(commit(&id, usd("2"))).await.unwrap();
    assert_eq!(world.ledger().await.as_of_entry, 2);
    assert_eq!(outcome(world.operator.organizations().delete_organization(delete).await), Err(not_found()));
    let get = proto::GetOrganizationRequest { organization_id: ACME.into() };
    assert_eq!(outcome(world.operator.organizations().get_organization(get).await), Err(not_found()));
    let balance = proto::GetBalanceRequest { organization_id: ACME.into() };
    assert_eq!(outcome(world.operator.wallets().get_balance(balance).await), Err(not_found()));
    assert_eq!(create_team(&world, team("late"), "").await, Err(not_found()));
    world.verify().await;
}

#[tokio::test]
async fn a_membership_is_made_left_and_made_again_with_a_fresh_policy() {
    let world = World::new().await;
    world.team("lab").await;
    let of = |team: &str| Membership {
        organization_id: ACME.into(),
        team_id: team.into(),
        member_id: "ada".into(),
        ..Membership::default()
    };
    let join = async |membership: Membership| {
        let new = proto::CreateMembershipRequest { membership: Some(membership), ..Default::default() };
        outcome(world.operator.teams().create_membership(new).await)
    };
    let leave = async |team: &str| {
        let (team_id, member_id) = (team.into(), "ada".into());
        let delete = proto::DeleteMembershipRequest { organization_id: ACME.into(), team_id, member_id };
        outcome(world.operator.teams().delete_membership(delete).await)
    };
    let outsider = Key { team_id: "lab".into(), ..a_key("k-lab") };
    let refused = failed(Code::FailedPrecondition, "FAILED_PRECONDITION");
    assert_eq!(create_key(&world, outsider.clone(), "").await.unwrap_err(), refused);
    let capped = Membership { policy: policy(vec![budget("cap", "1")], Vec::new()), ..of("lab") };
    join(capped.clone()).await.unwrap();
    assert_eq!(join(capped).await.unwrap_err(), exists());
    assert_eq!(join(of("nowhere")).await.unwrap_err(), not_found());
    create_key(&world, outsider, "").await.unwrap();
    assert_eq!(leave("lab").await.unwrap_err(), refused, "a key is left");
    assert_eq!(world.reserve(reserve("k-lab", "r", usd("2"))).await.unwrap_err().code(), DenialCode::BudgetExceeded);
    let delete = proto::DeleteKeyRequest { organization_id: ACME.into(), key_id: "k-lab".into(), ..Default::default() };
    world.operator.keys().delete_key(delete).await.unwrap();
    leave("lab").await.unwrap();
    assert_eq!(leave("lab").await.unwrap_err(), not_found());
    let again = join(of("lab")).await.unwrap().membership.unwrap();
    assert_eq!(again.policy.unwrap().budgets.len(), 0);
}

#[tokio::test]
async fn nothing_of_another_organization_is_ever_found() {
    let world = World::new().await;
    world.organization("other", WalletMode::Off).await;
    let other = || String::from("other");
    let get = proto::GetKeyRequest { organization_id: other(), key_id: "k1".into() };
    assert_eq!(outcome(world.operator.keys().get_key(get).await), Err(not_found()));
    let stolen = Key { organization_id: other(), name: "mine".into(), ..a_key("k1") };
    assert_eq!(world.update_key(stolen, &["name"]).await, Err(not_found()));
    let delete = proto::DeleteKeyRequest { organization_id: other(), key_id: "k1".into(), ..Default::default() };
    assert_eq!(outcome(world.operator.keys().delete_key(delete).await), Err(not_found()));
    let get = proto::GetMemberRequest { organization_id: other(), member_id: "ada".into() };
    assert_eq!(outcome(world.operator.members().get_member(get).await), Err(not_found()));
    let foreign = Key { organization_id: other(), ..a_key("new") };
    assert_eq!(create_key(&world, foreign, "").await.unwrap_err(), not_found());
    let get = proto::GetTeamRequest { organization_id: "nobody".into(), team_id: "default".into() };
    assert_eq!(outcome(world.operator.teams().get_team(get).await), Err(not_found()));
    for bad in ["", "a b", "a\0", &"x".repeat(65)] {
        let get = proto::GetTeamRequest { organization_id: ACME.into(), team_id: bad.into() };
        assert_eq!(wrong_field(&world.operator.teams().get_team(get).await.unwrap_err()), "team_id", "{bad:?}");
    }
    world.reserve(reserve("k1", "r", usd("1"))).await.unwrap();
}
