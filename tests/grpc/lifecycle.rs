//! A reservation from its grant to its end, whichever way it ends, and once more.

use quotad::api::proto::{
    ChargeRequest, CheckRequest, CommitRequest, DenialCode, ExtendRequest, Organization, Payer, PayerRequest,
    PeriodKind, Policy, ReleaseRequest, ReservationRef, ReservationState, UpdateKeyRequest, UpdateOrganizationRequest,
    Usage, Violation, WatchRevocationsRequest, charge_response, extend_response, payer, reservation_ref,
};
use tonic::Code;

use crate::world::{KEY, MODEL, ORGANIZATION, START, World, ask, by_id, by_key, cost, failed, tokens, usd};

async fn release(world: &World, reservation: &str, reason: &str) -> Result<(String, bool), tonic::Status> {
    let request = ReleaseRequest { reservation: by_id(reservation), reason: reason.to_owned() };
    let answer = world.gateway.quota().release(request).await?.into_inner();
    Ok((answer.released.unwrap().usd, answer.replayed))
}

async fn extend(world: &World, request: ExtendRequest) -> Result<String, DenialCode> {
    match world.gateway.quota().extend(request).await.unwrap().into_inner().decision.unwrap() {
        extend_response::Decision::Granted(granted) => Ok(granted.held.unwrap().usd),
        extend_response::Decision::Denied(denial) => Err(denial.code()),
    }
}

#[tokio::test]
async fn what_was_held_becomes_what_was_used() {
    let world = World::new().await;
    let granted = world.reserve(ask("r1", tokens(1000, 500))).await.unwrap();
    assert_eq!((world.balance().await, world.held().await), (String::from("1000"), String::from("0.002")));
    let committed = world.commit(&granted.reservation_id, tokens(1000, 100)).await.unwrap();
    assert_eq!(committed.charged.unwrap().usd, "0.0012");
    assert_eq!((committed.balance_usd.as_str(), committed.late, committed.replayed), ("999.9988", false, false));
    assert_eq!((world.balance().await, world.held().await), (String::from("999.9988"), String::from("0")));
    world.verify().await;
}

#[tokio::test]
async fn the_secret_and_the_id_of_a_key_pay_alike() {
    let world = World::new().await;
    let secret = world.key("other", "ann", "", Policy::default()).await;
    let by_secret = Some(Payer { payer: Some(payer::Payer::ApiKey(secret)) });
    let mut request = ask("r1", tokens(10, 10));
    request.payer = by_secret.clone();
    let granted = world.reserve(request.clone()).await.unwrap();
    request.payer = by_key("other");
    let again = world.reserve(request).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.reservation_id, granted.reservation_id);
    let request = PayerRequest { payer: by_secret, request_id: String::from("r1") };
    let reservation = Some(ReservationRef { reservation: Some(reservation_ref::Reservation::PayerRequest(request)) });
    let request = CommitRequest { reservation, usage: Some(tokens(10, 5)), ..CommitRequest::default() };
    let committed = world.gateway.quota().commit(request).await.unwrap().into_inner();
    assert_eq!(committed.charged.unwrap().usd, "0.00002");
}

#[tokio::test]
async fn a_retry_is_answered_alike_and_other_content_is_refused() {
    let world = World::new().await;
    let first = world.reserve(ask("r1", tokens(100, 50))).await.unwrap();
    world.pass(5);
    let again = world.reserve(ask("r1", tokens(100, 50))).await.unwrap();
    assert!(again.replayed && !first.replayed);
    assert_eq!(
        (&again.reservation_id, &again.held, again.expire_time),
        (&first.reservation_id, &first.held, first.expire_time)
    );
    let reused = (Code::AlreadyExists, String::from("REQUEST_ID_REUSED"));
    assert_eq!(failed(world.try_reserve(ask("r1", tokens(100, 51))).await), reused);

    let committed = world.commit(&first.reservation_id, tokens(90, 10)).await.unwrap();
    let repeated = world.commit(&first.reservation_id, tokens(90, 10)).await.unwrap();
    assert!(repeated.replayed);
    assert_eq!((repeated.entry, &repeated.charged), (committed.entry, &committed.charged));
    let otherwise = failed(world.commit(&first.reservation_id, tokens(90, 11)).await);
    assert_eq!(otherwise, (Code::AlreadyExists, String::from("SETTLED_OTHERWISE")));
    let closed = world.reserve(ask("r1", tokens(100, 50))).await.unwrap();
    assert_eq!((closed.replayed, closed.state()), (true, ReservationState::Committed));
    assert_eq!(world.balance().await, "999.99989");
}

#[tokio::test]
async fn second_settlements_are_told_how_it_ended() {
    let world = World::new().await;
    let committed = world.reserve(ask("r1", tokens(10, 10))).await.unwrap().reservation_id;
    world.commit(&committed, tokens(10, 10)).await.unwrap();
    assert_eq!(
        failed(release(&world, &committed, "").await),
        (Code::FailedPrecondition, String::from("RESERVATION_COMMITTED"))
    );
    let released = world.reserve(ask("r2", tokens(10, 10))).await.unwrap().reservation_id;
    assert_eq!(release(&world, &released, "gone").await.unwrap(), (String::from("0.00003"), false));
    assert_eq!(release(&world, &released, "gone").await.unwrap(), (String::from("0.00003"), true));
    assert_eq!(failed(release(&world, &released, "other").await).0, Code::AlreadyExists);
    let late = failed(world.commit(&released, tokens(10, 10)).await);
    assert_eq!(late, (Code::FailedPrecondition, String::from("RESERVATION_RELEASED")));
    let other = if committed.starts_with('A') { "B" } else { "A" };
    let forged = format!("{other}{}", &committed[1..]);
    for unknown in [forged.as_str(), "nonsense", ""] {
        let reason = failed(world.commit(unknown, tokens(1, 1)).await).1;
        assert!(["RESERVATION_NOT_FOUND", "INVALID_ARGUMENT"].contains(&reason.as_str()), "{unknown}: {reason}");
    }
    world.pass(86_401);
    let old = failed(world.commit(&committed, tokens(10, 10)).await);
    assert_eq!(old, (Code::FailedPrecondition, String::from("RESERVATION_TOO_OLD")));
    world.verify().await;
}

#[tokio::test]
async fn an_expired_hold_is_freed_and_a_late_commit_books_the_difference_once() {
    let world = World::new().await;
    let silent = world.reserve(ask("silent", tokens(1000, 0))).await.unwrap().reservation_id;
    let told = world.reserve(ask("told", tokens(1000, 0))).await.unwrap().reservation_id;
    let progress =
        ExtendRequest { reservation: by_id(&told), usage_so_far: Some(tokens(600, 0)), ..ExtendRequest::default() };
    assert_eq!(extend(&world, progress).await, Ok(String::from("0.001")));
    world.pass(601);
    let late = ExtendRequest { reservation: by_id(&silent), ..ExtendRequest::default() };
    assert_eq!(extend(&world, late).await, Err(DenialCode::ReservationExpired));
    assert_eq!((world.held().await, world.balance().await), (String::from("0"), String::from("999.9994")));
    let committed = world.commit(&told, tokens(400, 0)).await.unwrap();
    assert_eq!((committed.late, committed.charged.unwrap().usd.as_str()), (true, "0.0004"));
    assert_eq!(world.balance().await, "999.9996", "the difference is given back");
    assert!(world.commit(&told, tokens(400, 0)).await.unwrap().replayed);
    assert!(world.commit(&silent, tokens(100, 0)).await.unwrap().late);
    assert_eq!(world.balance().await, "999.9995");
    world.verify().await;
}

#[tokio::test]
async fn an_extension_holds_more_only_if_it_fits() {
    let world = World::new().await;
    world.key("small", "ann", "", usd("cap", "0.003", PeriodKind::OneTime)).await;
    let mut request = ask("r1", tokens(1000, 0));
    request.payer = by_key("small");
    let reservation = world.reserve(request).await.unwrap().reservation_id;
    let more = |input| ExtendRequest {
        reservation: by_id(&reservation),
        estimate: Some(tokens(input, 0)),
        ..ExtendRequest::default()
    };
    assert_eq!(extend(&world, more(2500)).await, Ok(String::from("0.0025")));
    assert_eq!(extend(&world, more(2500)).await, Ok(String::from("0.0025")), "a retry holds nothing twice");
    assert_eq!(extend(&world, more(3001)).await, Err(DenialCode::BudgetExceeded));
    assert_eq!(world.held().await, "0.0025");
    let less = world.gateway.quota().extend(more(100)).await;
    assert_eq!(failed(less), (Code::InvalidArgument, String::from("INVALID_ARGUMENT")));
}

#[tokio::test]
async fn known_usage_is_charged_at_once_and_even_beyond_a_cap_if_it_was_used() {
    let world = World::new().await;
    world.key("small", "ann", "", usd("cap", "1", PeriodKind::OneTime)).await;
    let charge = |id: &str, usd: &str, already_used| ChargeRequest {
        payer: by_key("small"),
        request_id: id.to_owned(),
        model: MODEL.to_owned(),
        usage: Some(cost(usd)),
        already_used,
        ..ChargeRequest::default()
    };
    let ask = async |request: ChargeRequest| {
        world.gateway.quota().charge(request).await.unwrap().into_inner().decision.unwrap()
    };
    let charge_response::Decision::Charged(first) = ask(charge("c1", "0.6", false)).await else { panic!() };
    assert_eq!((first.entry, first.balance_usd.as_str()), (2, "999.4"));
    let charge_response::Decision::Denied(denial) = ask(charge("c2", "0.6", false)).await else { panic!() };
    assert_eq!(denial.code(), DenialCode::BudgetExceeded);
    let charge_response::Decision::Charged(forced) = ask(charge("c2", "0.6", true)).await else { panic!() };
    assert_eq!(forced.overage.unwrap().usd, "0.2");
    let charge_response::Decision::Charged(again) = ask(charge("c1", "0.6", false)).await else { panic!() };
    assert!(again.replayed);
    assert_eq!(world.balance().await, "998.8");
    let mut early = charge("c3", "1", true);
    early.occurred_at = Some(prost_types::Timestamp { seconds: START.seconds() - 86_401, nanos: 0 });
    assert_eq!(failed(world.gateway.quota().charge(early).await).0, Code::InvalidArgument);
}

#[tokio::test]
async fn running_work_is_told_to_stop_and_may_still_commit() {
    let world = World::new().await;
    world.key("small", "ann", "", usd("cap", "1", PeriodKind::OneTime)).await;
    let held = |id: &str| {
        let mut request = ask(id, cost("0.3"));
        (request.payer, request.holder) = (by_key("small"), String::from("gateway-1"));
        request
    };
    let [runs, ends] = ["runs", "ends"].map(held);
    let (runs, ends) = (world.reserve(runs).await.unwrap(), world.reserve(ends).await.unwrap());
    let watch = WatchRevocationsRequest { holder: String::from("gateway-1") };
    let mut live = world.gateway.quota().watch_revocations(watch.clone()).await.unwrap().into_inner();
    let overage = world.commit(&ends.reservation_id, cost("1.1")).await.unwrap().overage.unwrap();
    assert_eq!(overage.usd, "0.4", "0.3 of the cap were held by the other");
    let revocation = live.message().await.unwrap().unwrap().revocation.unwrap();
    assert_eq!((&revocation.reservation_id, revocation.request_id.as_str()), (&runs.reservation_id, "runs"));
    let cause = revocation.cause.unwrap();
    assert_eq!(
        (cause.code(), cause.limit_id.as_str(), cause.scope_id.as_str()),
        (DenialCode::BudgetExceeded, "cap", "small")
    );
    let mut later = world.gateway.quota().watch_revocations(watch).await.unwrap().into_inner();
    let caught_up = later.message().await.unwrap().unwrap().revocation.unwrap();
    assert_eq!(caught_up.reservation_id, runs.reservation_id, "who comes later is told what was revoked before");
    let more = ExtendRequest { reservation: by_id(&runs.reservation_id), ..ExtendRequest::default() };
    assert_eq!(extend(&world, more).await, Err(DenialCode::Revoked));
    assert_eq!(world.commit(&runs.reservation_id, cost("0.1")).await.unwrap().charged.unwrap().usd, "0.1");
    world.verify().await;
}

#[tokio::test]
async fn a_switched_off_key_or_organization_refuses_and_stops_work() {
    let world = World::new().await;
    let mut request = ask("r1", cost("1"));
    request.holder = String::from("h");
    world.reserve(request).await.unwrap();
    let watch = WatchRevocationsRequest { holder: String::from("h") };
    let mut watch = world.gateway.quota().watch_revocations(watch).await.unwrap().into_inner();
    let organization = Organization { id: ORGANIZATION.to_owned(), disabled: true, ..Organization::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec![String::from("disabled")] });
    let request = UpdateOrganizationRequest { organization: Some(organization), update_mask: update_mask.clone() };
    world.operator.organizations().update_organization(request).await.unwrap();
    let cause = watch.message().await.unwrap().unwrap().revocation.unwrap().cause.unwrap();
    assert_eq!(cause.code(), DenialCode::OrganizationInactive);
    let denial = world.reserve(ask("r2", cost("1"))).await.unwrap_err();
    assert_eq!((denial.code(), denial.http_status), (DenialCode::OrganizationInactive, 403));
    let key = quotad::api::proto::Key {
        organization_id: ORGANIZATION.to_owned(),
        id: KEY.to_owned(),
        disabled: true,
        ..Default::default()
    };
    world.operator.keys().update_key(UpdateKeyRequest { key: Some(key), update_mask }).await.unwrap();
    let denial = world.reserve(ask("r2", cost("1"))).await.unwrap_err();
    let codes: Vec<_> = denial.violations.iter().map(Violation::code).collect();
    assert_eq!(codes, [DenialCode::KeyDisabled, DenialCode::OrganizationInactive]);
    assert_eq!((denial.http_status, denial.message.as_str()), (401, "Invalid API key"));
}

#[tokio::test]
async fn a_restart_changes_nothing_that_a_caller_can_see() {
    let world = World::new().await;
    world.key("slow", "ann", "", crate::world::quota("rpm", quotad::api::proto::Unit::RequestsPerMinute, 2)).await;
    let slow = |id: &str| {
        let mut request = ask(id, tokens(1000, 0));
        request.payer = by_key("slow");
        request
    };
    let open = world.reserve(slow("open")).await.unwrap();
    let done = world.reserve(slow("done")).await.unwrap();
    let committed = world.commit(&done.reservation_id, tokens(500, 0)).await.unwrap();
    let world = world.restarted().await;
    let denial = world.reserve(slow("third")).await.unwrap_err();
    assert_eq!(denial.code(), DenialCode::RateLimitExceeded, "the last minute is remembered");
    let again = world.reserve(slow("open")).await.unwrap();
    assert_eq!((again.replayed, &again.reservation_id), (true, &open.reservation_id));
    let repeated = world.commit(&done.reservation_id, tokens(500, 0)).await.unwrap();
    assert_eq!((repeated.replayed, repeated.entry), (true, committed.entry));
    world.commit(&open.reservation_id, tokens(1000, 0)).await.unwrap();
    assert_eq!((world.balance().await, world.held().await), (String::from("999.9985"), String::from("0")));
    world.verify().await;
}

#[tokio::test]
async fn what_memory_forgot_is_answered_from_the_books() {
    let world = World::new().await;
    let reservation = world.reserve(ask("r1", tokens(1000, 0))).await.unwrap().reservation_id;
    world.commit(&reservation, tokens(500, 0)).await.unwrap();
    // Long over; some more work lets memory forget it.
    world.pass(7200);
    for i in 0..20 {
        let other = world.reserve(ask(&format!("later-{i}"), tokens(1, 0))).await.unwrap().reservation_id;
        world.commit(&other, tokens(1, 0)).await.unwrap();
    }
    world.list(quotad::api::proto::ListTransactionsRequest::default()).await;
    let before = world.balance().await;
    let repeated = world.commit(&reservation, tokens(500, 0)).await.unwrap();
    assert_eq!((repeated.replayed, repeated.entry), (true, 2));
    assert_eq!(failed(world.commit(&reservation, tokens(501, 0)).await).1, "SETTLED_OTHERWISE");
    assert_eq!(world.balance().await, before);
}

#[tokio::test]
async fn a_check_answers_like_reserve_and_holds_nothing() {
    let world = World::new().await;
    let check = |usage: Usage| CheckRequest {
        payer: by_key(KEY),
        model: MODEL.to_owned(),
        usage: Some(usage),
        ..CheckRequest::default()
    };
    let answer = world.gateway.quota().check(check(cost("999"))).await.unwrap().into_inner();
    assert!(matches!(answer.decision, Some(quotad::api::proto::check_response::Decision::Granted(_))));
    assert_eq!(answer.limits.last().unwrap().max, "1000", "the wallet is the last");
    let answer = world.gateway.quota().check(check(cost("1000.000000001"))).await.unwrap().into_inner();
    let Some(quotad::api::proto::check_response::Decision::Denied(denial)) = answer.decision else { panic!() };
    assert_eq!((denial.code(), denial.http_status), (DenialCode::WalletInsufficient, 402));
    assert_eq!(world.held().await, "0");
}
