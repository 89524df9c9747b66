//! Callers whose rights are narrow or have ended, as fast as they can ask: they get nothing, however often they try.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures::future::join_all;
use quotad::{
    api::proto::{
        ChargeRequest, CreateServiceTokenRequest, DeleteMemberRequest, DenialCode, GetBalanceRequest,
        ListPricesRequest, Payer, Role, ServiceToken, Usage, WhoAmIRequest, charge_response::Decision,
        payer::Payer as By,
    },
    client::Connection,
};
use tonic::Code;

use crate::{
    neighbour::beside,
    rpc::is_broken,
    server::{MODEL, ORGANIZATION},
    world::World,
};

const VICTIM: &str = "victim";
const VICTIM_KEY: &str = "victim-key";
/// Calls under way at a time.
const AT_ONCE: usize = 16;

async fn balance(world: &World, organization: &str) -> String {
    let get = GetBalanceRequest { organization_id: organization.to_owned() };
    world.operator.wallets().get_balance(get).await.unwrap().into_inner().balance_usd
}

/// One that is for the organization under attack alone.
async fn narrow(world: &World) -> Connection {
    let token = ServiceToken { organization_ids: vec![ORGANIZATION.to_owned()], ..ServiceToken::default() };
    let new = CreateServiceTokenRequest { token: Some(token) };
    let secret = world.operator.tokens().create_service_token(new).await.unwrap().into_inner().secret;
    world.operator.with_token(&secret).unwrap()
}

#[tokio::test]
async fn a_narrow_token_charges_nobody_elses_key_however_often_it_tries() {
    let world = World::start(&[]).await;
    world.organization(VICTIM).await;
    world.member(VICTIM, "vera", Role::Owner).await;
    world.key(VICTIM, VICTIM_KEY, "vera").await;
    let thief = narrow(&world).await;
    let tried = AtomicU64::new(0);
    let charge = async || {
        let no = tried.fetch_add(1, Relaxed);
        let request = ChargeRequest {
            payer: Some(Payer { payer: Some(By::KeyId(VICTIM_KEY.to_owned())) }),
            request_id: format!("theft-{no}"),
            model: MODEL.to_owned(),
            usage: Some(Usage { cost_usd: String::from("1"), ..Usage::default() }),
            already_used: true,
            ..ChargeRequest::default()
        };
        let answer = match thief.quota().charge(request).await {
            Ok(answer) => answer.into_inner(),
            Err(broken) if is_broken(&broken) => return,
            Err(refused) => panic!("{refused:?}"),
        };
        match answer.decision {
            Some(Decision::Denied(denial)) => assert_eq!(denial.code(), DenialCode::KeyUnknown),
            taken => panic!("{taken:?}"),
        }
    };
    let measured = beside(&world, async || {
        loop {
            join_all((0..AT_ONCE).map(|_| charge())).await;
        }
    })
    .await;
    assert_eq!(balance(&world, VICTIM).await, "1000000", "after {} attempts", tried.load(Relaxed));
    assert!(tried.load(Relaxed) > 0);
    measured.assert_undisturbed("charges of a foreign key");
}

#[tokio::test]
async fn a_removed_members_token_is_told_nothing_however_often_it_asks() {
    let world = World::start(&[]).await;
    let gone = world.attacker("gone", Role::Admin).await;
    let delete = DeleteMemberRequest {
        organization_id: ORGANIZATION.to_owned(),
        member_id: String::from("gone"),
        ..DeleteMemberRequest::default()
    };
    world.operator.members().delete_member(delete).await.unwrap();
    let asked = AtomicU64::new(0);
    let ask = async || {
        let (mut tokens, mut prices) = (gone.tokens(), gone.prices());
        let answers = [
            tokens.who_am_i(WhoAmIRequest {}).await.map(drop),
            prices.list_prices(ListPricesRequest::default()).await.map(drop),
            balance_of(&gone).await,
        ];
        asked.fetch_add(answers.len() as u64, Relaxed);
        for answer in answers {
            let refused = answer.unwrap_err();
            if !is_broken(&refused) {
                assert_eq!(refused.code(), Code::Unauthenticated);
            }
        }
    };
    let measured = beside(&world, async || {
        loop {
            join_all((0..AT_ONCE).map(|_| ask())).await;
        }
    })
    .await;
    assert!(asked.load(Relaxed) > 0);
    measured.assert_undisturbed("reads by a removed member");
}

async fn balance_of(by: &Connection) -> Result<(), tonic::Status> {
    let get = GetBalanceRequest { organization_id: ORGANIZATION.to_owned() };
    by.wallets().get_balance(get).await.map(drop)
}
