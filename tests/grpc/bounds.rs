//! Limits that protect the service: how much an organization may have.

use quotad::{
    api::proto::{self, WalletMode},
    engine::turn::Bounds,
};
use tonic::Code;

use crate::{
    messages::{Failure, budget, failed, failure, policy},
    world::{ACME, Place, World},
};

fn too_many() -> Failure {
    failed(Code::FailedPrecondition, "TOO_MANY")
}

async fn bounded(bounds: Bounds) -> World {
    World::start(WalletMode::Off, |settings| settings.bounds = bounds).await
}

/// The failure and what it says.
fn refused<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> (Failure, String) {
    let status = answer.unwrap_err();
    (failure(&status), status.message().to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_has_at_most_so_many_keys_and_deleted_ones_make_room() {
    let world = bounded(Bounds { keys: 2, ..Bounds::default() }).await;
    world.key("k2", "ada", "default").await;
    let key = |id: &str| proto::CreateKeyRequest {
        key: Some(proto::Key {
            organization_id: ACME.into(),
            id: id.into(),
            member_id: "ada".into(),
            ..proto::Key::default()
        }),
        request_id: String::new(),
    };
    let (failure, message) = refused(world.operator.keys().create_key(key("k3")).await);
    assert_eq!(failure, too_many());
    assert!(message.contains("2 keys"), "{message}");
    let delete = proto::DeleteKeyRequest {
        organization_id: ACME.into(),
        key_id: "k2".into(),
        ..proto::DeleteKeyRequest::default()
    };
    world.operator.keys().delete_key(delete).await.unwrap();
    world.operator.keys().create_key(key("k3")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_and_open_invitations_count_together() {
    let world = bounded(Bounds { members: 2, ..Bounds::default() }).await;
    let invite = |email: &str| proto::CreateInvitationRequest {
        invitation: Some(proto::Invitation {
            organization_id: ACME.into(),
            email: email.into(),
            ..proto::Invitation::default()
        }),
        ..proto::CreateInvitationRequest::default()
    };
    let invited = world.operator.members().create_invitation(invite("bob@example.org")).await.unwrap().into_inner();
    let (failure, message) = refused(world.operator.members().create_invitation(invite("cat@example.org")).await);
    assert_eq!(failure, too_many());
    assert!(message.contains("2 members"), "{message}");
    let revoke =
        proto::RevokeInvitationRequest { organization_id: ACME.into(), invitation_id: invited.invitation.unwrap().id };
    world.operator.members().revoke_invitation(revoke).await.unwrap();
    world.member("bob").await;
    let new = proto::Member { organization_id: ACME.into(), ..proto::Member::default() };
    let new = proto::CreateMemberRequest { member: Some(new), ..proto::CreateMemberRequest::default() };
    assert_eq!(refused(world.operator.members().create_member(new).await).0, too_many());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn teams_rules_and_places_with_limits_are_bounded() {
    let world = bounded(Bounds { teams: 2, rules: 1, policies: 1, ..Bounds::default() }).await;
    world.team("research").await;
    let team = proto::Team { organization_id: ACME.into(), ..proto::Team::default() };
    let team = proto::CreateTeamRequest { team: Some(team), request_id: String::new() };
    assert_eq!(refused(world.operator.teams().create_team(team).await).0, too_many());
    let rule = || proto::CreateRuleRequest {
        rule: Some(proto::Rule { organization_id: ACME.into(), ..proto::Rule::default() }),
        request_id: String::new(),
    };
    world.operator.rules().create_rule(rule()).await.unwrap();
    assert_eq!(refused(world.operator.rules().create_rule(rule()).await).0, too_many());
    world.limit(Place::Key("k1"), policy(vec![budget("b", "1")], vec![])).await;
    world.limit(Place::Key("k1"), policy(vec![budget("c", "1")], vec![])).await;
    let team = proto::Team {
        organization_id: ACME.into(),
        id: "default".into(),
        policy: policy(vec![budget("b", "1")], vec![]),
        ..proto::Team::default()
    };
    let update = proto::UpdateTeamRequest {
        team: Some(team),
        update_mask: crate::messages::mask(&["policy"]),
        ..Default::default()
    };
    let (failure, message) = refused(world.operator.teams().update_team(update).await);
    assert_eq!(failure, too_many());
    assert!(message.contains("1 policies"), "{message}");
}
