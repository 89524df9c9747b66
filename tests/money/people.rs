//! Members with a role, an e-mail address and a connection of their own; and waiting for what happens by itself.

use std::time::Duration;

use quotad::{
    api::proto::{CreateMemberRequest, CreateMemberTokenRequest, Member, MemberToken, Role},
    client::Connection,
    clock::Stopwatch,
};

use crate::world::{ACME, World};

/// Long enough for a slow machine, and never waited for where all is well.
const PATIENCE: Duration = Duration::from_secs(40);

/// One member of each role, named after it.
pub(crate) const ROLES: [(&str, Role); 5] = [
    ("owner", Role::Owner),
    ("admin", Role::Admin),
    ("finance", Role::FinanceAdmin),
    ("developer", Role::Developer),
    ("basic", Role::Basic),
];

pub(crate) fn email(id: &str) -> String {
    format!("{id}@example.com")
}

/// A new member of `acme`, acting for itself.
pub(crate) async fn joins(world: &World, id: &str, role: Role) -> Connection {
    let member = Member {
        organization_id: ACME.into(),
        id: id.into(),
        name: format!("Name of {id}"),
        email: email(id),
        role: role.into(),
        ..Member::default()
    };
    let new = CreateMemberRequest { member: Some(member), ..CreateMemberRequest::default() };
    world.operator.members().create_member(new).await.unwrap();
    acting(world, ACME, id).await
}

/// One of each role, in the order of [`ROLES`].
pub(crate) async fn everybody(world: &World) -> Vec<(&'static str, Connection)> {
    let mut all = Vec::new();
    for (id, role) in ROLES {
        all.push((id, joins(world, id, role).await));
    }
    all
}

/// A connection under an access token of the member.
pub(crate) async fn acting(world: &World, organization: &str, member: &str) -> Connection {
    let token =
        MemberToken { organization_id: organization.into(), member_id: member.into(), ..MemberToken::default() };
    let new = CreateMemberTokenRequest { token: Some(token) };
    let secret = world.operator.tokens().create_member_token(new).await.unwrap().into_inner().secret;
    world.operator.with_token(&secret).unwrap()
}

/// Looks until there is something to see.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let waited = Stopwatch::start();
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(waited.elapsed() < PATIENCE, "in vain waited for: {what}");
        tokio::task::yield_now().await;
    }
}
