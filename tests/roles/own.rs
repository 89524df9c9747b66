//! What members may do to what is their own only, and what becomes of the access of those who are gone.

use quotad::api::proto::{self, CreditRequestState, MemberToken};
use tonic::Code;

use crate::{
    calling::Stage,
    messages::{Failure, failed, mask},
    people::{budget_of, outcome},
    rpc::{about, method, set},
    world::ACME,
};

fn denied() -> Failure {
    failed(Code::PermissionDenied, "PERMISSION_DENIED")
}

fn not_found() -> Failure {
    failed(Code::NotFound, "NOT_FOUND")
}

#[tokio::test]
async fn developers_and_finance_admins_reach_their_own_keys_managers_all() {
    let stage = Stage::new().await;
    for who in ["owner", "finance_admin", "developer", "basic"] {
        stage.world.key(&format!("k-{who}"), who, "default").await;
    }
    let codes = async |who: &str, key: &str| {
        let mut codes = Vec::new();
        for named in ["GetKey", "RotateKey", "DeleteKey"] {
            let method = method(&format!("KeyService/{named}"));
            let mut message = about(&method, ACME).unwrap();
            set(&mut message, "key_id", key);
            codes.push(stage.call(who, &method, &message).await);
        }
        codes
    };
    for who in ["finance_admin", "developer"] {
        assert_eq!(codes(who, "k1").await, [Code::NotFound; 3], "{who}");
        assert_eq!(codes(who, &format!("k-{who}")).await, [Code::Ok; 3], "{who}");
    }
    assert_eq!(codes("basic", "k-basic").await, [Code::PermissionDenied; 3]);
    assert_eq!(codes("admin", "k-owner").await, [Code::Ok; 3]);
    let listed = async |who: &str, member: &str| {
        let list =
            proto::ListKeysRequest { organization_id: ACME.into(), member_id: member.into(), ..Default::default() };
        let by = stage.world.access(ACME, who).await;
        let keys = outcome(by.keys().list_keys(list).await)?.keys;
        Ok::<Vec<String>, Failure>(keys.into_iter().map(|key| key.id).collect())
    };
    stage.world.key("k2-developer", "developer", "default").await;
    assert_eq!(listed("developer", "").await.unwrap(), ["k2-developer"]);
    assert_eq!(listed("developer", "ada").await, Err(denied()));
    assert_eq!(listed("admin", "").await.unwrap(), ["k1", "k-basic", "k2-developer"]);
}

#[tokio::test]
async fn credits_are_asked_for_by_each_for_itself_and_decided_by_finance() {
    let stage = Stage::new().await;
    let (developer, basic) = (stage.world.access(ACME, "developer").await, stage.world.access(ACME, "basic").await);
    let (finance, owner) = (stage.world.access(ACME, "finance_admin").await, stage.world.access(ACME, "owner").await);
    let ask = |member: &str| proto::SubmitCreditRequestRequest {
        organization_id: ACME.into(),
        member_id: member.into(),
        amount: "5".into(),
        ..Default::default()
    };
    for other in [&developer, &finance, &owner] {
        assert_eq!(outcome(other.credit_requests().submit_credit_request(ask("ada")).await), Err(denied()));
    }
    let asked = outcome(developer.credit_requests().submit_credit_request(ask("")).await).unwrap().request.unwrap();
    assert_eq!((asked.member_id.as_str(), asked.state()), ("developer", CreditRequestState::Pending));
    let get = proto::GetCreditRequestRequest { organization_id: ACME.into(), credit_request_id: asked.id.clone() };
    for reader in [&developer, &finance] {
        assert!(outcome(reader.credit_requests().get_credit_request(get.clone()).await).is_ok());
    }
    assert_eq!(outcome(basic.credit_requests().get_credit_request(get).await), Err(not_found()));
    let list = || proto::ListCreditRequestsRequest { organization_id: ACME.into(), ..Default::default() };
    let seen = async |by: &quotad::client::Connection| {
        outcome(by.credit_requests().list_credit_requests(list()).await).unwrap().total_size
    };
    assert_eq!((seen(&developer).await, seen(&basic).await, seen(&finance).await), (1, 0, 1));
    let others = proto::ListCreditRequestsRequest { member_id: "developer".into(), ..list() };
    assert_eq!(outcome(basic.credit_requests().list_credit_requests(others).await), Err(denied()));
    let approve = || proto::ApproveCreditRequestRequest {
        organization_id: ACME.into(),
        credit_request_id: asked.id.clone(),
        ..Default::default()
    };
    assert_eq!(outcome(developer.credit_requests().approve_credit_request(approve()).await), Err(denied()));
    let approved = outcome(finance.credit_requests().approve_credit_request(approve()).await).unwrap().request.unwrap();
    assert_eq!((approved.approved.as_str(), approved.decided_by.as_str()), ("5", "member:finance_admin"));
}

#[tokio::test]
async fn access_tokens_are_made_by_their_member_and_ended_by_it_or_a_manager() {
    let stage = Stage::new().await;
    let (developer, owner) = (stage.world.access(ACME, "developer").await, stage.world.access(ACME, "owner").await);
    let token = |id: &str, member: &str| MemberToken {
        organization_id: ACME.into(),
        id: id.into(),
        member_id: member.into(),
        ..MemberToken::default()
    };
    let create = async |by: &quotad::client::Connection, token: MemberToken| {
        outcome(by.tokens().create_member_token(proto::CreateMemberTokenRequest { token: Some(token) }).await)
    };
    assert_eq!(create(&owner, token("t", "developer")).await.unwrap_err(), denied(), "nobody acts as somebody else");
    assert_eq!(create(&developer, token("t", "owner")).await.unwrap_err(), denied());
    let made = create(&developer, token("mine", "")).await.unwrap();
    assert_eq!(made.token.unwrap().member_id, "developer");
    let mine = stage.world.speaking(&made.secret);
    assert_eq!(budget_of(&mine, "").await, Ok(Vec::new()));
    create(&owner, token("owners", "")).await.unwrap();
    let delete = async |by: &quotad::client::Connection, id: &str| {
        let delete = proto::DeleteMemberTokenRequest { organization_id: ACME.into(), token_id: id.into() };
        outcome(by.tokens().delete_member_token(delete).await).map(drop)
    };
    assert_eq!(delete(&developer, "owners").await, Err(not_found()));
    let list = |member: &str| proto::ListMemberTokensRequest { organization_id: ACME.into(), member_id: member.into() };
    assert_eq!(outcome(developer.tokens().list_member_tokens(list("owner")).await), Err(denied()));
    let own = outcome(developer.tokens().list_member_tokens(list("")).await).unwrap().tokens;
    assert!(own.iter().all(|token| token.member_id == "developer") && own.iter().any(|token| token.id == "mine"));
    delete(&owner, "mine").await.unwrap();
    assert_eq!(budget_of(&mine, "").await, Err(failed(Code::Unauthenticated, "TOKEN_UNKNOWN")));
}

#[tokio::test]
async fn a_disabled_member_is_let_in_nowhere_and_a_removed_one_is_unknown() {
    let stage = Stage::new().await;
    let (developer, admin) = (stage.world.access(ACME, "developer").await, stage.world.access(ACME, "admin").await);
    let set_disabled = async |disabled: bool| {
        let member = proto::Member {
            organization_id: ACME.into(),
            id: "developer".into(),
            disabled,
            ..proto::Member::default()
        };
        let update =
            proto::UpdateMemberRequest { member: Some(member), update_mask: mask(&["disabled"]), ..Default::default() };
        outcome(admin.members().update_member(update).await).unwrap();
    };
    let balance = proto::GetBalanceRequest { organization_id: ACME.into() };
    set_disabled(true).await;
    assert_eq!(outcome(developer.wallets().get_balance(balance.clone()).await), Err(denied()));
    set_disabled(false).await;
    assert!(outcome(developer.wallets().get_balance(balance.clone()).await).is_ok());
    let delete = proto::DeleteMemberRequest {
        organization_id: ACME.into(),
        member_id: "developer".into(),
        ..Default::default()
    };
    outcome(admin.members().delete_member(delete).await).unwrap();
    let unknown = || Err(failed(Code::Unauthenticated, "TOKEN_UNKNOWN"));
    assert_eq!(outcome(developer.wallets().get_balance(balance.clone()).await), unknown());
    let delete = proto::DeleteOrganizationRequest { organization_id: ACME.into(), ..Default::default() };
    outcome(stage.world.operator.organizations().delete_organization(delete).await).unwrap();
    assert_eq!(outcome(admin.wallets().get_balance(balance).await), unknown());
}

#[tokio::test]
async fn a_role_taken_or_given_holds_for_the_next_call() {
    let stage = Stage::new().await;
    let (basic, owner) = (stage.world.access(ACME, "basic").await, stage.world.access(ACME, "owner").await);
    let set_role = async |role: proto::Role| {
        let member = proto::Member {
            organization_id: ACME.into(),
            id: "basic".into(),
            role: role.into(),
            ..proto::Member::default()
        };
        let update =
            proto::UpdateMemberRequest { member: Some(member), update_mask: mask(&["role"]), ..Default::default() };
        outcome(owner.members().update_member(update).await).unwrap();
    };
    let list = || proto::ListTeamsRequest { organization_id: ACME.into(), ..Default::default() };
    assert_eq!(outcome(basic.teams().list_teams(list()).await), Err(denied()));
    set_role(proto::Role::FinanceAdmin).await;
    assert!(outcome(basic.teams().list_teams(list()).await).is_ok());
    set_role(proto::Role::Developer).await;
    assert_eq!(outcome(basic.teams().list_teams(list()).await), Err(denied()));
}
