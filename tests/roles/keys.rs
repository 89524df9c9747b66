//! The restrictions of a key: who set one last decides who changes it.

use quotad::{
    api::proto::{self, DenialCode, Key},
    client::Connection,
};
use tonic::Code;

use crate::{
    calling::Stage,
    messages::{Decision, Failure, check, codes, failed, mask, secret, usd},
    people::outcome,
    world::{ACME, START, World},
};

const KEY: &str = "mine";
/// The key's fields that both its member and managers set.
const SHARED: [&str; 3] = ["disabled", "expire_time", "models"];

fn denied() -> Failure {
    failed(Code::PermissionDenied, "PERMISSION_DENIED")
}

fn in_a_day() -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds: START + 86_400, nanos: 0 })
}

/// Restricted in every field.
fn restricted() -> Key {
    Key { disabled: true, expire_time: in_a_day(), models: vec!["m".into()], ..Key::default() }
}

async fn update(by: &Connection, key: Key, fields: &[&str]) -> Result<Key, Failure> {
    let key = Key { organization_id: ACME.into(), id: KEY.into(), ..key };
    let update = proto::UpdateKeyRequest { key: Some(key), update_mask: mask(fields), ..Default::default() };
    Ok(outcome(by.keys().update_key(update).await)?.key.unwrap())
}

/// A key of the developer, made by `by`.
async fn create(by: &Connection, key: Key) -> Key {
    let key = Key { organization_id: ACME.into(), id: KEY.into(), member_id: "developer".into(), ..key };
    let new = proto::CreateKeyRequest { key: Some(key), request_id: String::new() };
    outcome(by.keys().create_key(new).await).unwrap().key.unwrap()
}

struct Cast {
    stage: Stage,
    developer: Connection,
    admin: Connection,
}

impl Cast {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let (developer, admin) = (stage.world.access(ACME, "developer").await, stage.world.access(ACME, "admin").await);
        Self { stage, developer, admin }
    }

    fn world(&self) -> &World {
        &self.stage.world
    }
}

#[tokio::test]
async fn what_a_developer_restricted_itself_it_lifts_itself() {
    let cast = Cast::new().await;
    let made = create(&cast.developer, restricted()).await;
    assert_eq!(made.managed_fields, [""; 0]);
    for fields in [&SHARED[..], &SHARED[..]] {
        update(&cast.developer, Key::default(), fields).await.unwrap();
        let again = update(&cast.developer, restricted(), fields).await.unwrap();
        assert_eq!(again.managed_fields, [""; 0]);
    }
}

#[tokio::test]
async fn what_a_manager_restricted_only_managers_lift() {
    let cast = Cast::new().await;
    create(&cast.developer, Key::default()).await;
    let owner = cast.world().access(ACME, "owner").await;
    for by in [&cast.admin, &owner, &cast.world().operator] {
        let set = update(by, restricted(), &SHARED).await.unwrap();
        assert_eq!(set.managed_fields, SHARED);
        for field in SHARED {
            assert_eq!(update(&cast.developer, Key::default(), &[field]).await, Err(denied()), "{field}");
            assert_eq!(update(&cast.developer, Key::default(), &["name", field]).await, Err(denied()), "{field}");
        }
        let later = Key {
            expire_time: in_a_day().map(|at| prost_types::Timestamp { seconds: at.seconds + 1, ..at }),
            ..Key::default()
        };
        assert_eq!(update(&cast.developer, later, &["expire_time"]).await, Err(denied()));
        let more = Key { models: vec!["m".into(), "n".into()], ..Key::default() };
        assert_eq!(update(&cast.developer, more, &["models"]).await, Err(denied()));
        // Nothing of what it says is another than it is.
        let named = Key { name: "laptop".into(), ..restricted() };
        let same = update(&cast.developer, named, &["name", "disabled", "expire_time", "models"]).await.unwrap();
        assert_eq!((same.name.as_str(), same.managed_fields), ("laptop", SHARED.map(str::to_owned).to_vec()));
        let lifted = update(&cast.admin, Key::default(), &SHARED).await.unwrap();
        assert_eq!(lifted.managed_fields, [""; 0]);
        update(&cast.developer, restricted(), &SHARED).await.unwrap();
        update(&cast.developer, Key::default(), &SHARED).await.unwrap();
    }
}

#[tokio::test]
async fn a_manager_who_confirms_a_restriction_takes_it_over_in_that_field_alone() {
    let cast = Cast::new().await;
    create(&cast.developer, restricted()).await;
    let confirmed = update(&cast.admin, restricted(), &["disabled"]).await.unwrap();
    assert_eq!(confirmed.managed_fields, ["disabled"]);
    assert_eq!(update(&cast.developer, Key::default(), &["disabled"]).await, Err(denied()));
    update(&cast.developer, Key::default(), &["expire_time", "models"]).await.unwrap();
}

#[tokio::test]
async fn a_key_that_a_manager_made_is_restricted_as_it_was_made() {
    let mut cast = Cast::new().await;
    let made = create(&cast.admin, Key { disabled: false, ..restricted() }).await;
    assert_eq!(made.managed_fields, ["expire_time", "models"]);
    cast.stage.world.restart().await;
    let developer = cast.world().access(ACME, "developer").await;
    assert_eq!(update(&developer, Key::default(), &["expire_time"]).await, Err(denied()));
    assert_eq!(update(&developer, Key::default(), &["models"]).await, Err(denied()));
    update(&developer, Key { disabled: true, ..Key::default() }, &["disabled"]).await.unwrap();
    update(&developer, Key::default(), &["disabled"]).await.unwrap();
}

#[tokio::test]
async fn another_secret_revives_neither_a_disabled_key_nor_an_expired_one() {
    let cast = Cast::new().await;
    create(&cast.developer, Key::default()).await;
    let rotate = async || {
        let rotate = proto::RotateKeyRequest { organization_id: ACME.into(), key_id: KEY.into(), ..Default::default() };
        outcome(cast.developer.keys().rotate_key(rotate).await).unwrap()
    };
    let refusal = async |api_key: &str| {
        let request = proto::CheckRequest { payer: secret(api_key), ..check(KEY, usd("0")) };
        let (decision, _): (Decision, _) = cast.world().check(request).await;
        codes(&decision.unwrap_err()).0
    };
    update(&cast.admin, Key { disabled: true, ..Key::default() }, &["disabled"]).await.unwrap();
    let rotated = rotate().await;
    assert_eq!(rotated.key.unwrap().managed_fields, ["disabled"]);
    assert_eq!(refusal(&rotated.secret).await, DenialCode::KeyDisabled);
    assert_eq!(update(&cast.developer, Key::default(), &["disabled"]).await, Err(denied()));
    update(&cast.admin, Key { expire_time: in_a_day(), ..Key::default() }, &["disabled", "expire_time"]).await.unwrap();
    cast.world().advance(86_400);
    let rotated = rotate().await;
    assert_eq!(refusal(&rotated.secret).await, DenialCode::KeyExpired);
    assert_eq!(update(&cast.developer, Key::default(), &["expire_time"]).await, Err(denied()));
}
