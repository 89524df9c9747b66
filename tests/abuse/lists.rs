//! Long lists in requests, and long lists that requests ask for.

use futures::{StreamExt as _, stream};
use quotad::{
    api::proto::{
        CreateMemberRequest, GetMemberRequest, ListAlertsRequest, ListCreditRequestsRequest, ListInvitationsRequest,
        ListMembershipsRequest, ListTopUpOrdersRequest, ListTransactionsRequest, Member, Role, TopUpRequest,
        TopUpState,
    },
    client::Connection,
};
use tonic::{Code, Response, Status};

use crate::{neighbour::beside, rpc::is_broken, server::ORGANIZATION, world::World};

/// Much more than any enum has, and a message within the size that the server takes.
const VALUES: usize = 1_000_000;
/// What such messages may cost the server: each is there once, for as long as it takes to read it.
const MOST_MEMORY: u64 = 64 << 20;

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<Response<T>, Status>, field: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().starts_with(field), "{status:?}");
}

async fn filters(caller: &Connection) {
    let (organization_id, values) = (|| ORGANIZATION.to_owned(), || vec![1; VALUES]);
    let orders = ListTopUpOrdersRequest { organization_id: organization_id(), states: values(), ..Default::default() };
    refused(caller.wallets().list_top_up_orders(orders).await, "states");
    let requests =
        ListCreditRequestsRequest { organization_id: organization_id(), states: values(), ..Default::default() };
    refused(caller.credit_requests().list_credit_requests(requests).await, "states");
    let invitations =
        ListInvitationsRequest { organization_id: organization_id(), states: values(), ..Default::default() };
    refused(caller.members().list_invitations(invitations).await, "states");
    let alerts = ListAlertsRequest { organization_id: organization_id(), kinds: values(), ..Default::default() };
    refused(caller.alerts().list_alerts(alerts).await, "kinds");
    for kinds in [33_000, VALUES] {
        let kinds = vec![1; kinds];
        let entries = ListTransactionsRequest { organization_id: organization_id(), kinds, ..Default::default() };
        refused(caller.ledger().list_transactions(entries).await, "kinds");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_filter_of_a_million_values_stalls_nobody() {
    let world = World::start(&[]).await;
    let attacker = world.attacker("mallory", Role::Admin).await;
    let before = world.memory();
    let measured = beside(&world, async || {
        loop {
            filters(&attacker).await;
        }
    })
    .await;
    measured.assert_undisturbed("filters of 1,000,000 values");
    let taken = world.peak_memory().saturating_sub(before);
    assert!(taken < MOST_MEMORY, "{taken} bytes");
}

/// Orders of the organization, all settled.
async fn order(world: &World, orders: usize) {
    let order = async |no: usize| {
        let request = TopUpRequest {
            organization_id: ORGANIZATION.to_owned(),
            amount_usd: String::from("0.01"),
            request_id: format!("order-{no}"),
            ..TopUpRequest::default()
        };
        world.operator.wallets().top_up(request).await.unwrap();
    };
    stream::iter(0..orders).for_each_concurrent(128, order).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_finds_nothing_among_many_stalls_nobody() {
    let world = World::start(&[]).await;
    let orders = if std::env::var_os("QUOTAD_ABUSE_SECONDS").is_some() { 20_000 } else { 1000 };
    order(&world, orders).await;
    let attacker = world.attacker("mallory", Role::Basic).await;
    let measured = beside(&world, async || {
        let failed = || ListTopUpOrdersRequest {
            organization_id: ORGANIZATION.to_owned(),
            states: vec![TopUpState::Failed.into()],
            page_size: 1000,
            ..ListTopUpOrdersRequest::default()
        };
        stream::repeat(())
            .for_each_concurrent(64, async |()| {
                match attacker.wallets().list_top_up_orders(failed()).await {
                    Ok(page) => assert!(page.into_inner().orders.is_empty()),
                    // As many calls as an organization may make, or as a connection's caller may give up.
                    Err(status) => {
                        assert!(status.code() == Code::ResourceExhausted || is_broken(&status), "{status:?}");
                    }
                }
            })
            .await;
    })
    .await;
    measured.assert_undisturbed(&format!("64 lists at a time of {orders} orders"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_joins_each_team_once_however_often_it_is_named() {
    let world = World::start(&[]).await;
    let attacker = world.attacker("mallory", Role::Admin).await;
    let member = |id: &str, teams: usize| CreateMemberRequest {
        member: Some(Member { organization_id: ORGANIZATION.into(), id: id.into(), ..Member::default() }),
        team_ids: vec![String::from("default"); teams],
        ..CreateMemberRequest::default()
    };
    let before = world.memory();
    let measured = beside(&world, async || {
        loop {
            refused(attacker.members().create_member(member("many", 100_000)).await, "team_ids");
        }
    })
    .await;
    measured.assert_undisturbed("a member who joins a team 100,000 times");
    let taken = world.peak_memory().saturating_sub(before);
    assert!(taken < MOST_MEMORY, "{taken} bytes");
    let missing = GetMemberRequest { organization_id: ORGANIZATION.into(), member_id: String::from("many") };
    assert_eq!(attacker.members().get_member(missing).await.unwrap_err().code(), Code::NotFound);
    attacker.members().create_member(member("some", 100)).await.unwrap();
    let memberships = ListMembershipsRequest {
        organization_id: ORGANIZATION.into(),
        member_id: String::from("some"),
        ..Default::default()
    };
    let memberships = attacker.teams().list_memberships(memberships).await.unwrap().into_inner().memberships;
    assert_eq!(memberships.len(), 1, "{memberships:?}");
}
