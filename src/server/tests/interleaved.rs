//! Changes that come between a call's permission and its change, and between its change and the disk.

use std::pin::pin;

use futures::poll;

use super::*;
use crate::{
    domain::{access::Role, time::Span},
    service::{Error, KeyChange, MemberChange, NewMemberToken, Scope, Subject},
};

fn acme() -> OrganizationId {
    OrganizationId::trusted("acme")
}

fn key_of_ada(id: &str) -> NewKey {
    NewKey {
        rule: None,
        id: Some(KeyId::trusted(id)),
        member: Some(MemberId::trusted("ada")),
        team: TeamId::trusted(DEFAULT_TEAM),
        name: String::new(),
        disabled: false,
        expire_time: None,
        models: Models::default(),
        policy: Policy::default(),
    }
}

/// An access token of `ada`, who gets a role by that.
async fn token_of_ada(running: &Running, role: Role) -> String {
    let (service, operator) = (&running.service, operator(running));
    let ada = MemberId::trusted("ada");
    let change = MemberChange { role: Some(role), ..MemberChange::default() };
    service.update_member(&operator, &acme(), &ada, change, None).await.unwrap();
    let new = NewMemberToken {
        id: Some(crate::domain::id::TokenId::trusted("adas")),
        member: Some(ada),
        name: String::new(),
        expire_time: None,
    };
    service.create_member_token(&operator, &acme(), new).await.unwrap().0.secret
}

/// `ada`, permitted to change key `k1`.
fn permitted(running: &Running, token: &str, method: &str) -> Caller {
    let caller = running.service.authorize(Some(token), &format!("/quotad.v1.KeyService/{method}")).unwrap();
    let scope = Scope { organization: Some("acme"), subject: Subject::Key("k1"), ..Scope::default() };
    running.service.permit(&caller, &scope).unwrap()
}

// P7
#[tokio::test]
async fn a_new_key_is_answered_with_its_secret_though_it_is_deleted_before_the_disk_has_it() {
    let home = Home::new();
    let running = home.start().await;
    seed(&running).await;
    let (service, operator) = (Arc::clone(&running.service), operator(&running));
    let k2 = KeyId::trusted("k2");
    let acme = acme();
    let mut creating = pin!(service.create_key(&operator, &acme, key_of_ada("k2"), Repeatable::default()));
    assert!(poll!(creating.as_mut()).is_pending(), "it waits for the disk");
    service.delete_key(&operator, &acme, &k2, None).await.unwrap();
    let (view, secret) = creating.await.unwrap();
    assert_eq!((view.view.entity.id, secret.is_some()), (k2, true));
    running.shutdown().await.unwrap();
}

// P7
#[tokio::test]
async fn a_change_is_answered_as_it_was_made_whatever_others_do_before_the_disk_has_it() {
    let home = Home::new();
    let running = home.start().await;
    seed(&running).await;
    let (service, operator) = (Arc::clone(&running.service), operator(&running));
    let (acme, k1, ada) = (acme(), KeyId::trusted("k1"), MemberId::trusted("ada"));
    let mut rotating = pin!(service.rotate_key(&operator, &acme, &k1, Span::ZERO));
    assert!(poll!(rotating.as_mut()).is_pending());
    let named = KeyChange { name: Some(String::from("mine")), ..KeyChange::default() };
    let mut naming = pin!(service.update_key(&operator, &acme, &k1, named, None));
    assert!(poll!(naming.as_mut()).is_pending());
    let named = MemberChange { name: Some(String::from("Ada")), ..MemberChange::default() };
    let mut renaming = pin!(service.update_member(&operator, &acme, &ada, named, None));
    assert!(poll!(renaming.as_mut()).is_pending());
    service.delete_member(&operator, &acme, &ada, None).await.unwrap();
    let (rotated, secret) = rotating.await.unwrap();
    assert_eq!((rotated.view.entity.name.as_str(), secret.starts_with("qk")), ("", true));
    assert_eq!(naming.await.unwrap().view.entity.name, "mine");
    assert_eq!(renaming.await.unwrap().view.entity.name, "Ada");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_role_that_was_taken_after_the_call_was_permitted_changes_nothing() {
    for lost in [
        MemberChange { role: Some(Role::Basic), ..MemberChange::default() },
        MemberChange { disabled: Some(true), ..MemberChange::default() },
    ] {
        let home = Home::new();
        let running = home.start().await;
        seed(&running).await;
        let service = &running.service;
        let token = token_of_ada(&running, Role::Admin).await;
        let caller = permitted(&running, &token, "DeleteKey");
        let (k1, ada) = (KeyId::trusted("k1"), MemberId::trusted("ada"));
        service.update_member(&operator(&running), &acme(), &ada, lost, None).await.unwrap();
        let refused = service.delete_key(&caller, &acme(), &k1, None).await.unwrap_err();
        assert!(matches!(refused, Error::PermissionDenied(_)), "{refused}");
        assert!(service.key(&acme(), &k1).is_ok());
        running.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn who_may_change_its_own_only_by_now_does_not_change_it_as_a_manager() {
    let home = Home::new();
    let running = home.start().await;
    seed(&running).await;
    let service = &running.service;
    let token = token_of_ada(&running, Role::Admin).await;
    let caller = permitted(&running, &token, "UpdateKey");
    let (k1, ada) = (KeyId::trusted("k1"), MemberId::trusted("ada"));
    let demoted = MemberChange { role: Some(Role::Developer), ..MemberChange::default() };
    service.update_member(&operator(&running), &acme(), &ada, demoted, None).await.unwrap();
    let change = KeyChange { name: Some(String::from("mine")), ..KeyChange::default() };
    let refused = service.update_key(&caller, &acme(), &k1, change.clone(), None).await.unwrap_err();
    assert!(matches!(refused, Error::PermissionDenied(_)), "{refused}");
    let anew = permitted(&running, &token, "UpdateKey");
    assert!(service.update_key(&anew, &acme(), &k1, change, None).await.is_ok(), "it is its own");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_token_that_was_ended_after_the_call_was_permitted_changes_nothing() {
    let home = Home::new();
    let running = home.start().await;
    seed(&running).await;
    let service = &running.service;
    let token = token_of_ada(&running, Role::Admin).await;
    let caller = permitted(&running, &token, "RotateKey");
    let adas = crate::domain::id::TokenId::trusted("adas");
    service.delete_member_token(&operator(&running), &acme(), &adas).await.unwrap();
    let refused = service.rotate_key(&caller, &acme(), &KeyId::trusted("k1"), Span::ZERO).await.unwrap_err();
    assert!(matches!(refused, Error::TokenUnknown | Error::NotFound { .. }), "{refused}");
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn what_was_read_is_not_answered_to_who_may_no_longer_read_it_and_a_change_is() {
    let home = Home::new();
    let running = home.start().await;
    seed(&running).await;
    let service = &running.service;
    let token = token_of_ada(&running, Role::Admin).await;
    let (reading, changing) = (permitted(&running, &token, "GetKey"), permitted(&running, &token, "UpdateKey"));
    service.permit_answer(&reading).unwrap();
    let ada = MemberId::trusted("ada");
    let basic = MemberChange { role: Some(Role::Basic), ..MemberChange::default() };
    service.update_member(&operator(&running), &acme(), &ada, basic, None).await.unwrap();
    let refused = service.permit_answer(&reading).unwrap_err();
    assert!(matches!(refused, Error::PermissionDenied(_)), "{refused}");
    service.permit_answer(&changing).unwrap();
    service.delete_member(&operator(&running), &acme(), &ada, None).await.unwrap();
    let refused = service.permit_answer(&reading).unwrap_err();
    assert!(matches!(refused, Error::TokenUnknown | Error::NotFound { .. }), "{refused}");
    running.shutdown().await.unwrap();
}
