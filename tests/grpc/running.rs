//! Work while it runs: Extend, and the order to stop.

use std::collections::BTreeSet;

use quotad::api::proto::{
    self, DenialCode, ExtendRequest, Key, Member, Organization, ReservationState, ReserveRequest, Scope, Unit,
    WatchRevocationsRequest, WatchRevocationsResponse,
};
use tokio_stream::StreamExt as _;
use tonic::{Code, Streaming};

use crate::{
    messages::{budget, charge, codes, commit, extend, failed, mask, policy, quota, reserve, seconds, tokens, usd},
    world::{ACME, Place, START, World},
};

async fn held_by(world: &World, holder: &str, request_id: &str, cost: &str) -> String {
    let request = ReserveRequest { holder: holder.to_owned(), ..reserve("k1", request_id, usd(cost)) };
    world.reserve(request).await.unwrap().reservation_id
}

async fn watch(world: &World, holder: &str) -> Streaming<WatchRevocationsResponse> {
    let asked = WatchRevocationsRequest { holder: holder.to_owned() };
    world.service.quota().watch_revocations(asked).await.unwrap().into_inner()
}

async fn next(watch: &mut Streaming<WatchRevocationsResponse>) -> proto::Revocation {
    watch.next().await.unwrap().unwrap().revocation.unwrap()
}

#[tokio::test]
async fn an_extend_renews_the_hold_and_may_raise_it_but_only_as_far_as_fits() {
    let world = World::new().await;
    let limits = vec![quota("tpm", Unit::TokensPerMinute, 500), quota("slots", Unit::InFlight, 1)];
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "0.003")], limits)).await;
    let id = world.reserve(reserve("k1", "a", tokens(100, 100))).await.unwrap().reservation_id;
    world.advance(100);
    let plain = world.extend(ExtendRequest { ttl: seconds(50), ..extend(&id) }).await.unwrap().unwrap();
    assert_eq!((plain.expire_time.unwrap().seconds, plain.held.unwrap().usd.as_str()), (START + 150, "0.0011"));
    let more = ExtendRequest { estimate: Some(tokens(100, 200)), ..extend(&id) };
    for _ in 0..3 {
        let grant = world.extend(more.clone()).await.unwrap().unwrap();
        assert_eq!((grant.output_tokens, grant.held.unwrap().usd.as_str()), (200, "0.0021"), "absolute, never twice");
    }
    let before = world.books().await;
    assert_eq!(before.limit("cap"), ("0", "0.0021", "0.0009"));
    assert_eq!(before.limit("slots"), ("0", "1", "0"));
    let too_much = ExtendRequest { estimate: Some(tokens(100, 300)), ..extend(&id) };
    let denial = world.extend(too_much).await.unwrap().unwrap_err();
    assert_eq!(codes(&denial), (DenialCode::BudgetExceeded, vec![DenialCode::BudgetExceeded]));
    assert_eq!(denial.violations[0].asked, "0.001", "what is asked for beyond the hold");
    assert_eq!(world.books().await, before);
    let shrinking = [
        ExtendRequest { estimate: Some(tokens(100, 199)), ..extend(&id) },
        ExtendRequest { estimate: Some(tokens(99, 200)), ..extend(&id) },
    ];
    for shrinking in shrinking {
        assert_eq!(world.extend(shrinking).await.unwrap_err().0, Code::InvalidArgument);
    }
    world.extend(ExtendRequest { usage_so_far: Some(tokens(100, 50)), ..extend(&id) }).await.unwrap().unwrap();
    let less = ExtendRequest { usage_so_far: Some(tokens(100, 49)), ..extend(&id) };
    assert_eq!(world.extend(less).await.unwrap_err(), failed(Code::InvalidArgument, "INVALID_ARGUMENT"));
}

#[tokio::test]
async fn no_reservation_lives_longer_than_a_day_however_often_it_is_extended() {
    let world = World::new().await;
    let day = 24 * 3600;
    let id = world.reserve(ReserveRequest { ttl: seconds(day), ..reserve("k1", "a", usd("1")) }).await.unwrap();
    world.advance(day - 10);
    let grant = world.extend(ExtendRequest { ttl: seconds(3600), ..extend(&id.reservation_id) }).await.unwrap();
    assert_eq!(grant.unwrap().expire_time.unwrap().seconds, START + day);
    world.advance(10);
    let denial = world.extend(extend(&id.reservation_id)).await.unwrap().unwrap_err();
    assert_eq!(denial.code(), DenialCode::ReservationExpired);
}

#[tokio::test]
async fn a_used_up_budget_stops_what_holds_on_it_and_its_holder_hears_once() {
    let world = World::new().await;
    world.limit(Place::Team("default"), policy(vec![budget("cap", "10")], Vec::new())).await;
    world.team("elsewhere").await;
    world.member_of(ACME, "eve", &["elsewhere"]).await;
    world.key("k-free", "eve", "elsewhere").await;
    let id = held_by(&world, "gpu-1", "a", "2").await;
    let free = ReserveRequest { holder: "gpu-1".into(), ..reserve("k-free", "b", usd("2")) };
    let free = world.reserve(free).await.unwrap().reservation_id;
    let mut early = watch(&world, "gpu-1").await;
    let mut other = watch(&world, "gpu-2").await;
    let used = proto::ChargeRequest { already_used: true, ..charge("k1", "used", usd("9.999999999")) };
    world.charge(used).await.unwrap().unwrap();
    let open = world.extend(extend(&id)).await.unwrap();
    assert!(open.is_ok(), "held and spent together pass the cap, but only what is spent stops work");
    let last = proto::ChargeRequest { already_used: true, ..charge("k1", "last", usd("0.000000001")) };
    world.charge(last).await.unwrap().unwrap();
    let mut late = watch(&world, "gpu-1").await;
    for watch in [&mut early, &mut late] {
        let revocation = next(watch).await;
        assert_eq!((&revocation.reservation_id, revocation.request_id.as_str()), (&id, "a"));
        let cause = revocation.cause.unwrap();
        assert_eq!((cause.code(), cause.scope()), (DenialCode::BudgetExceeded, Scope::Team));
        assert_eq!((cause.scope_id.as_str(), cause.limit_id.as_str()), ("default", "cap"));
        assert_eq!(revocation.revoke_time.unwrap().seconds, START);
    }
    let denial = world.extend(extend(&id)).await.unwrap().unwrap_err();
    assert_eq!(
        (denial.code(), denial.http_status, denial.message.as_str()),
        (DenialCode::Revoked, 429, "Budget exceeded")
    );
    assert_eq!(denial.violations[0].limit.as_ref().unwrap().limit_id, "cap");
    let replay = ReserveRequest { holder: "gpu-1".into(), ..reserve("k1", "a", usd("2")) };
    assert_eq!(world.reserve(replay).await.unwrap().state(), ReservationState::Revoked);
    assert!(world.extend(extend(&free)).await.unwrap().is_ok(), "another team's work goes on");
    let charged = world.commit(commit(&id, usd("1"))).await.unwrap();
    assert_eq!((charged.charged.unwrap().usd.as_str(), charged.overage.unwrap().usd.as_str()), ("1", "0"));
    // The other holder heard of none of this: its first is its own.
    let own = ReserveRequest { holder: "gpu-2".into(), ..reserve("k-free", "c", usd("1")) };
    let own = world.reserve(own).await.unwrap().reservation_id;
    let disabled = Key { organization_id: ACME.into(), id: "k-free".into(), disabled: true, ..Key::default() };
    world.update_key(disabled, &["disabled"]).await.unwrap();
    assert_eq!(next(&mut other).await.reservation_id, own);
    assert_eq!(next(&mut early).await.reservation_id, free, "and nothing came twice");
}

/// Everything that an admin can switch off, and the code under which its running work hears of it.
#[tokio::test]
async fn what_is_switched_off_stops_its_running_work_with_its_own_code() {
    let world = World::new().await;
    let off = |world: &World, step: usize| {
        let operator = world.operator.clone();
        async move {
            match step {
                0 => {
                    let key = Key { organization_id: ACME.into(), id: "k1".into(), disabled: true, ..Key::default() };
                    let (key, update_mask) = (Some(key), mask(&["disabled"]));
                    let update = proto::UpdateKeyRequest { key, update_mask, ..Default::default() };
                    operator.keys().update_key(update).await.map(|_| ())
                }
                1 => {
                    let member =
                        Member { organization_id: ACME.into(), id: "ada".into(), disabled: true, ..Member::default() };
                    let update = proto::UpdateMemberRequest {
                        member: Some(member),
                        update_mask: mask(&["disabled"]),
                        ..Default::default()
                    };
                    operator.members().update_member(update).await.map(|_| ())
                }
                2 => {
                    let id = String::from("default");
                    let team = proto::Team { organization_id: ACME.into(), id, disabled: true, ..Default::default() };
                    let update = proto::UpdateTeamRequest {
                        team: Some(team),
                        update_mask: mask(&["disabled"]),
                        ..Default::default()
                    };
                    operator.teams().update_team(update).await.map(|_| ())
                }
                _ => {
                    let organization = Organization { id: ACME.into(), disabled: true, ..Organization::default() };
                    let organization = Some(organization);
                    let update = proto::UpdateOrganizationRequest {
                        organization,
                        update_mask: mask(&["disabled"]),
                        ..Default::default()
                    };
                    operator.organizations().update_organization(update).await.map(|_| ())
                }
            }
        }
    };
    let mut watch = watch(&world, "gpu").await;
    let mut expected = Vec::new();
    let codes_in_order = [
        (DenialCode::KeyDisabled, Scope::Key, "k1", 401, "Invalid API key"),
        (DenialCode::MemberInactive, Scope::Member, "ada", 403, "Not allowed"),
        (DenialCode::TeamInactive, Scope::Team, "default", 403, "Not allowed"),
        (DenialCode::OrganizationInactive, Scope::Organization, "acme", 403, "Not allowed"),
    ];
    for (step, (code, scope, id, status, message)) in codes_in_order.into_iter().enumerate() {
        let held = held_by(&world, "gpu", &format!("r{step}"), "1").await;
        off(&world, step).await.unwrap();
        let revocation = next(&mut watch).await;
        let cause = revocation.cause.unwrap();
        assert_eq!((revocation.reservation_id, cause.code(), cause.scope()), (held.clone(), code, scope));
        assert_eq!((cause.scope_id.as_str(), cause.limit_id.as_str()), (id, ""));
        assert_eq!(world.extend(extend(&held)).await.unwrap().unwrap_err().code(), DenialCode::Revoked);
        expected.push(code);
        let denial = world.reserve(reserve("k1", "new", usd("1"))).await.unwrap_err();
        assert_eq!((denial.code(), denial.http_status, denial.message.as_str()), (code, status, message));
        assert_eq!(world.commit(commit(&held, usd("1"))).await.unwrap().entry, step as u64 + 1);
        restore(&world).await;
    }
    assert_eq!(expected.iter().collect::<BTreeSet<_>>().len(), 4);
}

async fn restore(world: &World) {
    let organization_id = || String::from(ACME);
    let key = Key { organization_id: organization_id(), id: "k1".into(), ..Key::default() };
    world.update_key(key, &["disabled"]).await.unwrap();
    let member = Some(Member { organization_id: organization_id(), id: "ada".into(), ..Member::default() });
    let update = proto::UpdateMemberRequest { member, update_mask: mask(&["disabled"]), ..Default::default() };
    world.operator.members().update_member(update).await.unwrap();
    let team = Some(proto::Team { organization_id: organization_id(), id: "default".into(), ..Default::default() });
    let update = proto::UpdateTeamRequest { team, update_mask: mask(&["disabled"]), ..Default::default() };
    world.operator.teams().update_team(update).await.unwrap();
    world.update_organization(Organization::default(), &["disabled"]).await;
}

#[tokio::test]
async fn an_emptied_wallet_and_a_lowered_cap_stop_running_work() {
    let world = World::with_wallet("5").await;
    let mut watch = watch(&world, "gpu").await;
    let id = held_by(&world, "gpu", "a", "1").await;
    let used = proto::ChargeRequest { already_used: true, ..charge("k1", "used", usd("5")) };
    world.charge(used).await.unwrap().unwrap();
    let revocation = next(&mut watch).await;
    let cause = revocation.cause.unwrap();
    assert_eq!((revocation.reservation_id, cause.code()), (id, DenialCode::WalletInsufficient));
    assert_eq!((cause.scope(), cause.scope_id.as_str()), (Scope::Wallet, "acme"));
    let denial = world.reserve(reserve("k1", "b", usd("0"))).await.unwrap_err();
    assert_eq!((denial.code(), denial.http_status), (DenialCode::WalletInsufficient, 402));
    assert_eq!(denial.message, "Insufficient balance");
    world.top_up("more", "10").await.unwrap();
    world.limit(Place::Member("ada"), policy(vec![budget("cap", "10")], Vec::new())).await;
    let id = held_by(&world, "gpu", "c", "1").await;
    world.charge(charge("k1", "three", usd("3"))).await.unwrap().unwrap();
    world.limit(Place::Member("ada"), policy(vec![budget("cap", "3.5")], Vec::new())).await;
    assert!(world.extend(extend(&id)).await.unwrap().is_ok(), "3 of 3.5 are spent");
    world.limit(Place::Member("ada"), policy(vec![budget("cap", "3")], Vec::new())).await;
    let revocation = next(&mut watch).await;
    assert_eq!((revocation.reservation_id, revocation.cause.unwrap().limit_id), (id, "cap".into()));
}

#[tokio::test]
async fn quotas_refuse_but_never_stop_running_work() {
    let world = World::new().await;
    let id = held_by(&world, "gpu", "a", "1").await;
    let nothing = |unit| quota("q", unit, 0);
    for unit in [Unit::RequestsPerMinute, Unit::TokensPerMinute, Unit::InFlight] {
        world.limit(Place::Key("k1"), policy(Vec::new(), vec![nothing(unit)])).await;
        let asked = proto::Usage { cost_usd: "0".into(), ..tokens(1, 0) };
        assert!(world.reserve(reserve("k1", "b", asked)).await.is_err(), "{unit:?}");
        assert!(world.extend(extend(&id)).await.unwrap().is_ok(), "{unit:?}");
    }
}
