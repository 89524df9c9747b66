//! Updates whose fields are not for the same people.

use quotad::api::proto::{self, Key};
use tonic::Code;

use crate::{
    calling::{EVERYBODY, Stage},
    messages::{budget, policy},
    people::outcome,
    rpc::{about, method, set, set_mask},
    world::ACME,
};

const OPERATOR: &[&str] = &["operator"];
const MANAGERS: &[&str] = &["operator", "owner", "admin"];
const FINANCE: &[&str] = &["operator", "owner", "admin", "finance_admin"];

/// An Update, where its entity's id stands and which it is, the fields, and who may change them.
type Case = (&'static str, (&'static str, &'static str), &'static [&'static str], &'static [&'static str]);

const CASES: &[Case] = &[
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["name"], MANAGERS),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["expiry_policy"], MANAGERS),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["disabled"], MANAGERS),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["policy"], FINANCE),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["credit_factor"], FINANCE),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["default_rule_id"], FINANCE),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["policy", "name"], MANAGERS),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["wallet_mode"], OPERATOR),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["name", "wallet_mode"], OPERATOR),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["bounds"], OPERATOR),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["suspended"], OPERATOR),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["ceiling"], OPERATOR),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["policy", "ceiling"], OPERATOR),
    ("OrganizationService/UpdateOrganization", ("organization.id", ACME), &["disabled", "suspended"], OPERATOR),
    ("TeamService/UpdateTeam", ("team.id", "default"), &["name"], MANAGERS),
    ("TeamService/UpdateTeam", ("team.id", "default"), &["disabled"], MANAGERS),
    ("TeamService/UpdateTeam", ("team.id", "default"), &["policy"], FINANCE),
    ("TeamService/UpdateTeam", ("team.id", "default"), &["member_policy"], FINANCE),
    ("TeamService/UpdateTeam", ("team.id", "default"), &["member_policy", "name"], MANAGERS),
    ("MemberService/UpdateMember", ("member.id", "ada"), &["name"], MANAGERS),
    ("MemberService/UpdateMember", ("member.id", "ada"), &["email"], MANAGERS),
    ("MemberService/UpdateMember", ("member.id", "ada"), &["role"], MANAGERS),
    ("MemberService/UpdateMember", ("member.id", "ada"), &["disabled"], MANAGERS),
    ("MemberService/UpdateMember", ("member.id", "ada"), &["policy"], FINANCE),
    ("MemberService/UpdateMember", ("member.id", "ada"), &["policy", "role"], MANAGERS),
    ("KeyService/UpdateKey", ("key.id", "k1"), &["policy"], FINANCE),
    ("KeyService/UpdateKey", ("key.id", "k1"), &["rule_id"], FINANCE),
];

#[tokio::test]
async fn limits_are_finances_business_names_and_roles_the_managers_and_the_wallets_mode_the_operators() {
    let stage = Stage::new().await;
    let mut wrong = Vec::new();
    for (update, (id_field, id), fields, allowed) in CASES {
        let method = method(update);
        let mut message = about(&method, ACME).unwrap();
        set(&mut message, id_field, id);
        set_mask(&mut message, fields);
        for who in EVERYBODY {
            let code = stage.call(who, &method, &message).await;
            let turned_away = matches!(code, Code::PermissionDenied | Code::Unauthenticated);
            if allowed.contains(&who) == turned_away {
                wrong.push(format!("{update} of {fields:?} by {who}: {code:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_own_key_takes_another_name_from_its_member_but_no_other_limits() {
    let stage = Stage::new().await;
    let update = method("KeyService/UpdateKey");
    let code = async |who: &str, key: &str, fields: &[&str]| {
        let mut message = about(&update, ACME).unwrap();
        set(&mut message, "key.id", key);
        set_mask(&mut message, fields);
        stage.call(who, &update, &message).await
    };
    for who in ["finance_admin", "developer", "basic"] {
        stage.world.key(&format!("k-{who}"), who, "default").await;
    }
    assert_eq!(code("developer", "k-developer", &["name"]).await, Code::Ok);
    assert_eq!(code("developer", "k-developer", &["disabled", "models"]).await, Code::Ok);
    assert_eq!(code("developer", "k-developer", &["policy"]).await, Code::PermissionDenied);
    assert_eq!(code("developer", "k-developer", &["rule_id"]).await, Code::PermissionDenied);
    assert_eq!(code("developer", "k-developer", &["name", "policy"]).await, Code::PermissionDenied);
    assert_eq!(code("developer", "k1", &["name"]).await, Code::NotFound, "another's is as if it weren't there");
    assert_eq!(code("developer", "k-unheard-of", &["name"]).await, Code::NotFound);
    assert_eq!(code("finance_admin", "k-finance_admin", &["name", "policy"]).await, Code::Ok);
    assert_eq!(code("finance_admin", "k1", &["policy"]).await, Code::Ok);
    assert_eq!(code("finance_admin", "k1", &["name", "policy"]).await, Code::NotFound);
    assert_eq!(code("basic", "k-basic", &["name"]).await, Code::PermissionDenied);
    assert_eq!(code("admin", "k1", &["name", "policy", "rule_id"]).await, Code::Ok);
}

#[tokio::test]
async fn a_developers_new_key_brings_no_limits_and_is_its_own() {
    let stage = Stage::new().await;
    let developer = stage.world.access(ACME, "developer").await;
    let create = async |key: Key| {
        let new = proto::CreateKeyRequest { key: Some(key), request_id: String::new() };
        outcome(developer.keys().create_key(new).await).map(|made| made.key.unwrap())
    };
    let denied = || crate::messages::failed(Code::PermissionDenied, "PERMISSION_DENIED");
    let key = |id: &str| Key { organization_id: ACME.into(), id: id.into(), ..Key::default() };
    let limited = Key { policy: policy(vec![budget("cap", "1")], Vec::new()), ..key("new") };
    assert_eq!(create(limited).await, Err(denied()));
    assert_eq!(create(Key { rule_id: "rule".into(), ..key("new") }).await, Err(denied()));
    assert_eq!(create(Key { member_id: "ada".into(), ..key("new") }).await, Err(denied()));
    assert_eq!(create(key("new")).await.unwrap().member_id, "developer");
}
