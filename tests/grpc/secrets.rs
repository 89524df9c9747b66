//! What is told once: how long the secrets of keys and the tokens of invitations are good.

use quotad::api::proto;

use crate::{
    messages::{reserve, seconds, secret, usd},
    people::{invitation, outcome},
    world::{ACME, World},
};

const DAY: i64 = 86_400;

async fn rotate(world: &World, grace: i64) -> String {
    let rotate = proto::RotateKeyRequest { organization_id: ACME.into(), key_id: "k1".into(), grace: seconds(grace) };
    world.operator.keys().rotate_key(rotate).await.unwrap().into_inner().secret
}

/// Which of the secrets the key can be used with.
async fn taken(world: &World, secrets: &[&str]) -> Vec<bool> {
    let mut taken = Vec::new();
    for shown in secrets {
        let asked = proto::ReserveRequest { payer: secret(shown), ..reserve("", shown, usd("0")) };
        taken.push(world.reserve(asked).await.is_ok());
    }
    taken
}

#[tokio::test]
async fn a_rotation_ends_every_secret_but_the_new_one_and_the_one_it_replaces() {
    let mut world = World::new().await;
    let first = world.secret.clone();
    let second = rotate(&world, 30 * DAY).await;
    assert_eq!(taken(&world, &[&first, &second]).await, [true, true]);
    let third = rotate(&world, DAY).await;
    let secrets = [first.as_str(), &second, &third];
    assert_eq!(taken(&world, &secrets).await, [false, true, true], "the first was still in its grace");
    world.restart().await;
    assert_eq!(taken(&world, &secrets).await, [false, true, true], "as before the restart");
    let fourth = rotate(&world, 0).await;
    let secrets = [first.as_str(), &second, &third, &fourth];
    assert_eq!(taken(&world, &secrets).await, [false, false, false, true]);
    world.restart().await;
    assert_eq!(taken(&world, &secrets).await, [false, false, false, true]);
}

#[tokio::test]
async fn a_repeated_invitation_is_answered_without_another_token() {
    let world = World::new().await;
    for id in ["", "invitation-ivy"] {
        let email = format!("ivy{id}@example.com");
        let new = proto::CreateInvitationRequest {
            invitation: Some(proto::Invitation { id: id.into(), ..invitation(&email) }),
            request_id: format!("request{id}"),
            ..Default::default()
        };
        let made = outcome(world.operator.members().create_invitation(new.clone()).await).unwrap();
        let again = outcome(world.operator.members().create_invitation(new).await).unwrap();
        assert_eq!((again.invitation, again.token.as_str()), (made.invitation, ""), "{id:?}");
        world.accept(&made.token, &format!("ivy{id}")).await;
    }
}
