//! Tokens that come and go: what one costs doesn't grow with all the others that there are.

use std::time::Duration;

use futures::{StreamExt as _, future::join_all, stream};
use quotad::{
    api::proto::{CreateMemberTokenRequest, DeleteMemberTokenRequest, MemberToken, Role},
    client::Connection,
};
use tonic::Code;

use crate::{
    neighbour::beside,
    server::ORGANIZATION,
    world::{World, slice},
};

/// Who change their tokens.
const MEMBERS: usize = 16;
/// Members with tokens, in the short form and in the long one: with 60 tokens each there are 960, and 30,000.
const HOLDERS: [usize; 2] = [MEMBERS, 500];
/// From this length of a slice on a test is in its long form.
const LONG: Duration = Duration::from_secs(5);
/// Of each member, of the hundred that it may have.
const TOKENS: usize = 60;

/// Creates a token of a member, the caller itself where none is named, and answers its id.
async fn create(by: &Connection, member: &str) -> Result<String, tonic::Status> {
    let (organization_id, member_id) = (ORGANIZATION.to_owned(), member.to_owned());
    let token = Some(MemberToken { organization_id, member_id, ..MemberToken::default() });
    let created = by.tokens().create_member_token(CreateMemberTokenRequest { token }).await?;
    Ok(created.into_inner().token.unwrap().id)
}

/// A member makes itself a token and ends it, over and over.
async fn churn(member: &Connection) {
    loop {
        let changed = async {
            let (organization_id, token_id) = (ORGANIZATION.to_owned(), create(member, "").await?);
            let request = DeleteMemberTokenRequest { organization_id, token_id };
            member.tokens().delete_member_token(request).await.map(drop)
        };
        if let Err(status) = changed.await {
            assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
        }
    }
}

#[tokio::test]
async fn tokens_that_come_and_go_by_thousands_disturb_nobody() {
    let world = World::start(&[]).await;
    let holders = HOLDERS[usize::from(slice() >= LONG)];
    let mut members = Vec::new();
    for no in 0..holders {
        let member = format!("m-{no}");
        members.push(world.attacker(&member, Role::Basic).await);
        let create = async |_| drop(create(&world.operator, &member).await.unwrap());
        stream::iter(0..TOKENS).for_each_concurrent(16, create).await;
    }
    members.truncate(MEMBERS);
    let measured = beside(&world, async || {
        join_all(members.iter().map(churn)).await;
    })
    .await;
    measured.assert_undisturbed("members that change their tokens");
}
