//! What no caller should send: the documented answer, and nothing changed.

use std::collections::HashMap;

use prost_types::Duration;
use quotad::api::proto::{
    self, ChargeRequest, CheckRequest, CommitRequest, DenialCode, ExtendRequest, Key, ReleaseRequest, ReserveRequest,
    Unit, Usage, WatchRevocationsRequest,
};
use tonic::{Code, Request, transport::Endpoint};
use tonic_prost::ProstCodec;

use crate::{
    messages::{
        budget, by_request, charge, check, commit, extend, key, policy, quota, release, reserve, seconds, secret,
        tokens, usd, wrong_field,
    },
    world::{ACME, Books, Place, START, World},
};

async fn limited() -> (World, Books) {
    let world = World::with_wallet("100").await;
    let limits = vec![quota("rpm", Unit::RequestsPerMinute, 100), quota("slots", Unit::InFlight, 10)];
    world.limit(Place::Key("k1"), policy(vec![budget("cap", "50")], limits)).await;
    let books = world.books().await;
    (world, books)
}

/// Each kind of wrong usage, and the field that the answer names.
fn wrong_usages() -> Vec<(Usage, &'static str)> {
    let costs = [
        "-1",
        "-0.000000001",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "Infinity",
        "1e-3",
        "0.0000000001",
        "1.0000000001",
        "1000000001",
        "1000000000.000000001",
        "99999999999999999999999999999",
        "٣",
        " 1",
        "1 ",
        "+-1",
        "1.2.3",
        "0x1",
        "1_000",
        "$1",
        ".",
    ];
    let mut wrong: Vec<_> = costs.into_iter().map(|cost| (usd(cost), "cost_usd")).collect();
    wrong.push((usd(&"9".repeat(10_000)), "cost_usd"));
    let tokens_of = |input_tokens, cached, written, output_tokens| Usage {
        input_tokens,
        cached_input_tokens: cached,
        cache_write_tokens: written,
        output_tokens,
        ..Usage::default()
    };
    wrong.extend([
        (tokens_of(u64::MAX, 0, 0, 0), "input_tokens"),
        (tokens_of(1_000_000_000_001, 0, 0, 0), "input_tokens"),
        (tokens_of(1, 0, 0, u64::MAX), "output_tokens"),
        (tokens_of(10, u64::MAX, 1, 0), "cached_input_tokens"),
        (tokens_of(10, 0, u64::MAX, 0), "cache_write_tokens"),
        (Usage { requests: 1_000_000_001, ..tokens(1, 1) }, "requests"),
        (Usage { requests: u64::MAX, ..tokens(1, 1) }, "requests"),
    ]);
    wrong
}

#[tokio::test]
async fn usage_that_cannot_be_is_refused_by_every_operation_and_changes_nothing() {
    let (world, _) = limited().await;
    let id = world.reserve(reserve("k1", "open", usd("1"))).await.unwrap().reservation_id;
    let before = world.books().await;
    let mut quota = world.service.quota();
    for (usage, field) in wrong_usages() {
        let named = |within: &str| format!("{within}.{field}");
        let status = quota.reserve(reserve("k1", "r", usage.clone())).await.unwrap_err();
        assert_eq!(wrong_field(&status), named("usage"), "{usage:?}");
        let status = quota.charge(charge("k1", "r", usage.clone())).await.unwrap_err();
        assert_eq!(wrong_field(&status), named("usage"), "{usage:?}");
        let already = ChargeRequest { already_used: true, ..charge("k1", "r", usage.clone()) };
        assert_eq!(wrong_field(&quota.charge(already).await.unwrap_err()), named("usage"), "{usage:?}");
        let status = quota.check(check("k1", usage.clone())).await.unwrap_err();
        assert_eq!(wrong_field(&status), named("usage"), "{usage:?}");
        let status = quota.commit(commit(&id, usage.clone())).await.unwrap_err();
        assert_eq!(wrong_field(&status), named("usage"), "{usage:?}");
        let progress = ExtendRequest { usage_so_far: Some(usage.clone()), ..extend(&id) };
        assert_eq!(wrong_field(&quota.extend(progress).await.unwrap_err()), named("usage_so_far"), "{usage:?}");
        let raise = ExtendRequest { estimate: Some(usage.clone()), ..extend(&id) };
        assert_eq!(wrong_field(&quota.extend(raise).await.unwrap_err()), named("estimate"), "{usage:?}");
    }
    assert_eq!(world.books().await, before);
    world.verify().await;
}

#[tokio::test]
async fn a_cost_that_the_price_book_makes_absurd_is_refused_too() {
    let (world, before) = limited().await;
    world.price("gold", "100000", "100000").await;
    let id = world.reserve(reserve("k1", "open", usd("1"))).await.unwrap().reservation_id;
    let gold = |request| ReserveRequest { model: "gold".into(), ..request };
    let dear = tokens(1_000_000_000_000, 1_000_000_000_000);
    let status = world.service.quota().reserve(gold(reserve("k1", "r", dear.clone()))).await.unwrap_err();
    assert_eq!(wrong_field(&status), "usage");
    let settled = CommitRequest { model: "gold".into(), ..commit(&id, dear) };
    assert_eq!(wrong_field(&world.service.quota().commit(settled).await.unwrap_err()), "usage");
    world.release(release(&id)).await.unwrap();
    assert_eq!(world.books().await, before);
}

#[tokio::test]
async fn requests_that_lack_something_or_name_it_wrongly_are_refused_by_field() {
    let (world, before) = limited().await;
    let good = || reserve("k1", "r", usd("1"));
    let long = |n: usize| "x".repeat(n);
    let labels = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let many = (0..17).map(|no| (no.to_string(), String::new())).collect();
    let no_oneof = Some(proto::Payer { payer: None });
    let ttl = |seconds, nanos| Some(Duration { seconds, nanos });
    let cases: Vec<(ReserveRequest, &str)> = vec![
        (ReserveRequest { payer: None, ..good() }, "payer"),
        (ReserveRequest { payer: no_oneof, ..good() }, "payer"),
        (ReserveRequest { payer: key(""), ..good() }, "payer.key_id"),
        (ReserveRequest { payer: key(&long(65)), ..good() }, "payer.key_id"),
        (ReserveRequest { payer: key("k\u{7}"), ..good() }, "payer.key_id"),
        (ReserveRequest { payer: key("k/1"), ..good() }, "payer.key_id"),
        (ReserveRequest { payer: secret(""), ..good() }, "payer.api_key"),
        (ReserveRequest { payer: secret(&long(513)), ..good() }, "payer.api_key"),
        (ReserveRequest { request_id: String::new(), ..good() }, "request_id"),
        (ReserveRequest { request_id: long(129), ..good() }, "request_id"),
        (ReserveRequest { request_id: "a\nb".into(), ..good() }, "request_id"),
        (ReserveRequest { request_id: "a\0b".into(), ..good() }, "request_id"),
        (ReserveRequest { request_id: "a\u{85}b".into(), ..good() }, "request_id"),
        (ReserveRequest { model: String::new(), ..good() }, "model"),
        (ReserveRequest { model: long(129), ..good() }, "model"),
        (ReserveRequest { model: "m\t".into(), ..good() }, "model"),
        (ReserveRequest { usage: None, ..good() }, "usage"),
        (ReserveRequest { ttl: ttl(0, 0), ..good() }, "ttl"),
        (ReserveRequest { ttl: ttl(0, 999_999_999), ..good() }, "ttl"),
        (ReserveRequest { ttl: ttl(86_400, 1_000), ..good() }, "ttl"),
        (ReserveRequest { ttl: ttl(-5, 0), ..good() }, "ttl"),
        (ReserveRequest { ttl: ttl(i64::MAX, 0), ..good() }, "ttl"),
        (ReserveRequest { ttl: ttl(i64::MIN, 0), ..good() }, "ttl"),
        (ReserveRequest { holder: long(129), ..good() }, "holder"),
        (ReserveRequest { holder: "\u{1}me".into(), ..good() }, "holder"),
        (ReserveRequest { labels: many, ..good() }, "labels"),
        (ReserveRequest { labels: labels(&[("", "x")]), ..good() }, "labels"),
        (ReserveRequest { labels: labels(&[(&long(65), "x")]), ..good() }, "labels"),
        (ReserveRequest { labels: labels(&[("k", &long(257))]), ..good() }, "labels[\"k\"]"),
        (ReserveRequest { labels: labels(&[("k", "a\nb")]), ..good() }, "labels[\"k\"]"),
        (ReserveRequest { min_output_tokens: Some(1), ..good() }, "min_output_tokens"),
    ];
    for (request, field) in cases {
        let status = world.service.quota().reserve(request.clone()).await.unwrap_err();
        assert_eq!(wrong_field(&status), field, "{request:?}");
    }
    assert_eq!(world.books().await, before);
    let widest = ReserveRequest {
        request_id: long(128),
        holder: long(128),
        ttl: ttl(86_400, 0),
        labels: (0..16).map(|no| (format!("{no:064}"), long(192))).collect(),
        ..good()
    };
    world.reserve(widest).await.unwrap();
}

#[tokio::test]
async fn the_other_operations_refuse_by_field_too() {
    let (world, before) = limited().await;
    let mut quota = world.service.quota();
    let lost = |payer, request: &str| CommitRequest { reservation: by_request(payer, request), ..commit("", usd("1")) };
    let no_oneof = Some(proto::ReservationRef { reservation: None });
    let commits = [
        (CommitRequest { reservation: None, ..commit("", usd("1")) }, "reservation"),
        (CommitRequest { reservation: no_oneof.clone(), ..commit("", usd("1")) }, "reservation"),
        (commit("", usd("1")), "reservation.reservation_id"),
        (lost(None, "r"), "reservation.payer_request.payer"),
        (lost(key("k1"), ""), "reservation.payer_request.request_id"),
        (CommitRequest { usage: None, ..commit("x", usd("1")) }, "usage"),
        (CommitRequest { model: "m\n".into(), ..commit("x", usd("1")) }, "model"),
    ];
    for (request, field) in commits {
        assert_eq!(wrong_field(&quota.commit(request).await.unwrap_err()), field);
    }
    let status =
        quota.release(ReleaseRequest { reservation: no_oneof.clone(), reason: String::new() }).await.unwrap_err();
    assert_eq!(wrong_field(&status), "reservation");
    let status = quota.release(ReleaseRequest { reason: "x".repeat(257), ..release("x") }).await.unwrap_err();
    assert_eq!(wrong_field(&status), "reason");
    let status = quota.extend(ExtendRequest { ttl: seconds(86_401), ..extend("x") }).await.unwrap_err();
    assert_eq!(wrong_field(&status), "ttl");
    let status = quota.extend(ExtendRequest { reservation: no_oneof, ..extend("x") }).await.unwrap_err();
    assert_eq!(wrong_field(&status), "reservation");
    let status = quota.charge(ChargeRequest { payer: None, ..charge("k1", "r", usd("1")) }).await.unwrap_err();
    assert_eq!(wrong_field(&status), "payer");
    let status = quota.check(CheckRequest { model: String::new(), ..check("k1", usd("1")) }).await.unwrap_err();
    assert_eq!(wrong_field(&status), "model");
    for holder in [String::new(), "x".repeat(129), "\u{1}s".to_owned()] {
        let status = quota.watch_revocations(WatchRevocationsRequest { holder }).await.unwrap_err();
        assert_eq!(wrong_field(&status), "holder");
    }
    assert_eq!(world.books().await, before);
}

#[tokio::test]
async fn usage_of_nothing_is_fine_and_counts_its_request() {
    let (world, before) = limited().await;
    let grant = world.reserve(reserve("k1", "r", Usage::default())).await.unwrap();
    let held = grant.held.unwrap();
    assert_eq!((held.usd.as_str(), held.tokens, held.requests), ("0", 0, 1));
    let charged = world.commit(commit(&grant.reservation_id, Usage::default())).await.unwrap();
    assert_eq!((charged.entry, charged.charged.unwrap().requests), (before.entry + 1, 1));
    let after = world.books().await;
    assert_eq!((after.limit("rpm").0, &after.balance), ("1", &before.balance));
    let entry = world.ledger().await.transactions.remove(0);
    assert_eq!((entry.cost_usd.as_str(), entry.usage.unwrap().requests), ("0", 1));
    let batch = Usage { requests: 5, ..Usage::default() };
    world.reserve(reserve("k1", "batch", batch)).await.unwrap();
    let books = world.books().await;
    assert_eq!((books.limit("rpm").0, books.limit("slots").1), ("6", "1"), "five requests, one slot");
}

/// Who may not pay, the code and what a gateway should answer.
#[tokio::test]
async fn payers_and_models_that_will_not_do_are_denied_by_code() {
    let (world, before) = limited().await;
    world.price("dear", "1", "1").await;
    for id in ["off", "old", "narrow"] {
        world.key(id, "ada", "default").await;
    }
    let of = |id: &str| Key { organization_id: ACME.into(), id: id.into(), ..Key::default() };
    world.update_key(Key { disabled: true, ..of("off") }, &["disabled"]).await.unwrap();
    let at = prost_types::Timestamp { seconds: START + 10, nanos: 0 };
    world.update_key(Key { expire_time: Some(at), ..of("old") }, &["expire_time"]).await.unwrap();
    world.update_key(Key { models: vec!["m".into()], ..of("narrow") }, &["models"]).await.unwrap();
    world.advance(9);
    assert!(world.check(check("old", usd("0"))).await.0.is_ok(), "good to the last second");
    world.advance(1);
    let other_model = |id, model: &str| ReserveRequest { model: model.to_owned(), ..reserve(id, "r", tokens(1, 1)) };
    let unknown_secret = ReserveRequest { payer: secret("qk_unknown"), ..reserve("", "r", usd("0")) };
    let key_invalid = (401, "Invalid API key");
    let cases = [
        (reserve("nobody", "r", usd("0")), DenialCode::KeyUnknown, key_invalid),
        (unknown_secret, DenialCode::KeyUnknown, key_invalid),
        (reserve("off", "r", usd("0")), DenialCode::KeyDisabled, key_invalid),
        (reserve("old", "r", usd("0")), DenialCode::KeyExpired, key_invalid),
        (other_model("narrow", "dear"), DenialCode::ModelNotAllowed, (403, "Not allowed")),
        (other_model("k1", "unheard-of"), DenialCode::ModelUnpriced, (400, "Unknown model")),
    ];
    for (request, code, (status, message)) in cases {
        let denial = world.reserve(request).await.unwrap_err();
        assert_eq!((denial.code(), denial.http_status, denial.message.as_str()), (code, status, message));
        assert_eq!((denial.violations.len(), denial.retry_after), (1, None), "{code:?}");
        assert_eq!(denial.violations[0].code(), code);
    }
    assert_eq!(world.books().await, before);
    let priced = ReserveRequest { usage: Some(usd("1")), ..other_model("k1", "unheard-of") };
    assert!(world.reserve(priced).await.is_ok(), "a cost of its own needs no price");
}

#[tokio::test]
async fn a_message_too_large_is_refused_and_the_connection_goes_on() {
    let (world, before) = limited().await;
    let huge = ReserveRequest { model: "x".repeat(2 << 20), ..reserve("k1", "r", usd("1")) };
    let status = world.service.quota().reserve(huge).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    let large = ReserveRequest { model: "x".repeat(1 << 19), ..reserve("k1", "r", usd("1")) };
    assert_eq!(wrong_field(&world.service.quota().reserve(large).await.unwrap_err()), "model");
    assert_eq!(world.books().await, before);
    world.reserve(reserve("k1", "r", usd("1"))).await.unwrap();
}

/// A Reserve with bytes where there should be text.
#[derive(Clone, PartialEq, prost::Message)]
struct RawReserve {
    #[prost(message, optional, tag = "1")]
    payer: Option<proto::Payer>,
    #[prost(bytes = "vec", tag = "2")]
    request_id: Vec<u8>,
    #[prost(string, tag = "3")]
    model: String,
    #[prost(message, optional, tag = "4")]
    usage: Option<Usage>,
}

async fn send_raw(world: &World, request_id: &[u8]) -> Result<(), tonic::Status> {
    let channel = Endpoint::from_shared(world.address()).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let request_id = request_id.to_vec();
    let raw = RawReserve { payer: key("k1"), request_id, model: "m".into(), usage: Some(usd("1")) };
    let mut request = Request::new(raw);
    let token = format!("Bearer {}", world.service_token);
    request.metadata_mut().insert("authorization", token.parse().unwrap());
    let codec = ProstCodec::<RawReserve, proto::ReserveResponse>::default();
    let path = http::uri::PathAndQuery::from_static("/quotad.v1.QuotaService/Reserve");
    client.unary(request, path, codec).await.map(|_| ())
}

#[tokio::test]
async fn text_that_is_no_utf_8_is_an_error_and_holds_nothing() {
    let (world, before) = limited().await;
    for bytes in [&b"\xff\xfe"[..], b"r\xc3", b"\xed\xa0\x80"] {
        let status = send_raw(&world, bytes).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    assert_eq!(world.books().await, before);
    send_raw(&world, "über".as_bytes()).await.unwrap();
    assert_eq!(world.books().await.limit("cap"), ("0", "1", "49"));
}
