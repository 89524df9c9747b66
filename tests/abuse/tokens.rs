//! Tokens that come and go: what one costs doesn't grow with all the others that there are.

use futures::{StreamExt as _, future::join_all, stream};
use quotad::{
    api::proto::{CreateMemberTokenRequest, DeleteMemberTokenRequest, MemberToken, Role},
    client::Connection,
};
use tonic::Code;

use crate::{neighbour::beside, server::ORGANIZATION, world::World};

const MEMBERS: usize = 16;
/// Of each member, of the hundred that it may have.
const TOKENS: usize = 60;

/// Answers the id of the new token.
async fn create(member: &Connection) -> Result<String, tonic::Status> {
    let token = Some(MemberToken { organization_id: ORGANIZATION.to_owned(), ..MemberToken::default() });
    let created = member.tokens().create_member_token(CreateMemberTokenRequest { token }).await?;
    Ok(created.into_inner().token.unwrap().id)
}

/// A member makes itself a token and ends it, over and over.
async fn churn(member: &Connection) {
    loop {
        let changed = async {
            let (organization_id, token_id) = (ORGANIZATION.to_owned(), create(member).await?);
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
    let members = join_all((0..MEMBERS).map(async |no| world.attacker(&format!("m-{no}"), Role::Basic).await)).await;
    let every = members.iter().flat_map(|member| std::iter::repeat_n(member, TOKENS));
    stream::iter(every).for_each_concurrent(16, async |member| drop(create(member).await.unwrap())).await;
    let measured = beside(&world, async || {
        join_all(members.iter().map(churn)).await;
    })
    .await;
    measured.assert_undisturbed("members that change their tokens");
}
