//! Verification reads all that there is: members get one an hour, the operator as many as it likes, one after the other.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use futures::{
    StreamExt as _,
    future::{join, join_all},
    stream,
};
use quotad::api::proto::{
    Budget, ChargeRequest, CreateKeyRequest, Key, Payer, Period, PeriodKind, Policy, Role, Unit, Usage, VerifyRequest,
    payer::Payer as By,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::{
    neighbour::beside,
    server::{MODEL, ORGANIZATION},
    world::World,
};

const KEYS: usize = 100;
const BUDGETS: usize = 20;
const MEMBERS: usize = 16;

/// A key with many budgets, and something spent on each.
async fn spend(world: &World, no: usize) {
    let id = format!("many-{no}");
    let budget = |no| Budget {
        id: format!("b-{no}"),
        unit: Unit::Usd.into(),
        max: String::from("1000"),
        period: Some(Period { kind: PeriodKind::Monthly.into(), ..Period::default() }),
        ..Budget::default()
    };
    let policy = Some(Policy { budgets: (0..BUDGETS).map(budget).collect(), ..Policy::default() });
    let (organization_id, member_id) = (ORGANIZATION.to_owned(), String::from("ann"));
    let key = Key { organization_id, id: id.clone(), member_id, policy, ..Key::default() };
    world.operator.keys().create_key(CreateKeyRequest { key: Some(key), ..Default::default() }).await.unwrap();
    let request = ChargeRequest {
        payer: Some(Payer { payer: Some(By::KeyId(id.clone())) }),
        request_id: id,
        model: MODEL.to_owned(),
        usage: Some(Usage { cost_usd: String::from("0.01"), ..Usage::default() }),
        ..ChargeRequest::default()
    };
    world.gateway.quota().charge(request).await.unwrap();
}

#[tokio::test]
async fn an_organization_verifies_once_an_hour_however_many_ask_and_the_operator_always() {
    let world = World::start(&[]).await;
    stream::iter(0..KEYS).for_each_concurrent(32, |no| spend(&world, no)).await;
    let members =
        join_all((0..MEMBERS).map(async |no| world.attacker(&format!("f-{no}"), Role::FinanceAdmin).await)).await;
    let before = world.memory();
    let (answered, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let request = || VerifyRequest { organization_id: ORGANIZATION.to_owned() };
    let measured = beside(&world, async || {
        let members = join_all(members.iter().map(async |member| {
            loop {
                match member.ledger().verify(request()).await {
                    Ok(verified) => {
                        let verified = verified.into_inner();
                        assert_eq!(verified.differences, []);
                        assert!(verified.windows >= (KEYS * BUDGETS) as u64, "{verified:?}");
                        answered.fetch_add(1, SeqCst);
                    }
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                        assert!(status.get_details_retry_info().is_some(), "{status:?}");
                        refused.fetch_add(1, SeqCst);
                    }
                }
            }
        }));
        let operators = join_all((0..4).map(async |_| {
            loop {
                assert_eq!(world.operator.ledger().verify(request()).await.unwrap().into_inner().differences, []);
            }
        }));
        join(members, operators).await;
    })
    .await;
    measured.assert_undisturbed("verification by all who may");
    let [answered, refused] = [answered, refused].map(|count| count.load(SeqCst));
    assert!(answered <= 1 && refused > 0, "{answered} answered, {refused} refused");
    let by_operator = join_all((0..3).map(async |_| world.operator.ledger().verify(request()).await.is_ok())).await;
    assert_eq!(by_operator, [true; 3], "it waits for its turn");
    let more = world.peak_memory().saturating_sub(before);
    assert!(more < 256 << 20, "verifying took {more} bytes");
}
