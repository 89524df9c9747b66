//! What makes no sense is refused by the name of its field, and changes nothing.

use std::collections::HashMap;

use bytes::BufMut as _;
use http::uri::PathAndQuery;
use quotad::api::proto::{
    ChargeRequest, CommitRequest, CreatePriceRequest, DenialCode, ExtendRequest, Payer, Price, ReserveRequest,
    TopUpRequest, Usage, WatchRevocationsRequest, payer,
};
use tonic::{
    Code, Request, Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};
use tonic_types::StatusExt as _;

use crate::world::{KEY, MODEL, ORGANIZATION, World, ask, by_id, by_key, cost, failed, tokens};

type Change = fn(&mut ReserveRequest);

fn usage(request: &mut ReserveRequest) -> &mut Usage {
    request.usage.as_mut().unwrap()
}

fn duration(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

/// The field that the server blames, and what is wrong in the request.
fn cases() -> Vec<(&'static str, Change)> {
    vec![
        ("payer", |request| request.payer = None),
        ("payer", |request| request.payer = Some(Payer { payer: None })),
        ("payer.api_key", |request| request.payer = Some(Payer { payer: Some(payer::Payer::ApiKey(String::new())) })),
        ("payer.key_id", |request| request.payer = by_key("a\u{0}b")),
        ("payer.key_id", |request| request.payer = by_key(&"x".repeat(65))),
        ("request_id", |request| request.request_id.clear()),
        ("request_id", |request| request.request_id = "x".repeat(129)),
        ("request_id", |request| request.request_id = String::from("a\nb")),
        ("model", |request| request.model.clear()),
        ("model", |request| request.model = "m".repeat(200)),
        ("usage", |request| request.usage = None),
        ("usage.input_tokens", |request| usage(request).input_tokens = u64::MAX),
        ("usage.output_tokens", |request| usage(request).output_tokens = 1_000_000_001),
        ("usage.requests", |request| usage(request).requests = 1_000_001),
        ("usage.cached_input_tokens", |request| usage(request).cached_input_tokens = 11),
        ("usage.cost_usd", |request| usage(request).cost_usd = String::from("-1")),
        ("usage.cost_usd", |request| usage(request).cost_usd = String::from("NaN")),
        ("usage.cost_usd", |request| usage(request).cost_usd = String::from("inf")),
        ("usage.cost_usd", |request| usage(request).cost_usd = String::from("1e3")),
        ("usage.cost_usd", |request| usage(request).cost_usd = String::from("0.0000000001")),
        ("usage.cost_usd", |request| usage(request).cost_usd = String::from("1000001")),
        ("usage.cost_usd", |request| usage(request).cost_usd = "9".repeat(100)),
        ("min_output_tokens", |request| request.min_output_tokens = Some(11)),
        ("ttl", |request| request.ttl = duration(0, 0)),
        ("ttl", |request| request.ttl = duration(0, 999_999_999)),
        ("ttl", |request| request.ttl = duration(-5, 0)),
        ("ttl", |request| request.ttl = duration(86_401, 0)),
        ("ttl", |request| request.ttl = duration(i64::MAX, 0)),
        ("ttl", |request| request.ttl = duration(5, -1)),
        ("holder", |request| request.holder = String::from("a\u{1}")),
        ("labels", |request| request.labels = (0..17).map(|i| (i.to_string(), String::new())).collect()),
    ]
}

#[tokio::test]
async fn each_field_that_makes_no_sense_is_named_and_nothing_is_held() {
    let world = World::new().await;
    for (field, change) in cases() {
        let mut request = ask("r1", tokens(10, 10));
        change(&mut request);
        let shown = format!("{request:?}");
        let status = world.try_reserve(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{field}: {status:?}");
        let blamed = status.get_details_bad_request().unwrap().field_violations.remove(0);
        assert!(blamed.field.starts_with(field), "{} for {field} in {shown}", blamed.field);
        assert!(!blamed.description.is_empty());
    }
    for (name, value) in
        [(String::new(), String::new()), ("k".repeat(65), String::new()), (String::from("k"), "v".repeat(257))]
    {
        let mut request = ask("r1", tokens(10, 10));
        request.labels = HashMap::from([(name, value)]);
        assert_eq!(failed(world.try_reserve(request).await).0, Code::InvalidArgument);
    }
    assert_eq!((world.held().await, world.balance().await), (String::from("0"), String::from("1000")));
    world.reserve(ask("r1", tokens(10, 10))).await.unwrap();
}

#[tokio::test]
async fn settlements_that_make_no_sense_change_nothing() {
    let world = World::new().await;
    let reservation = world.reserve(ask("r1", cost("1"))).await.unwrap().reservation_id;
    let mut quota = world.gateway.quota();
    let commit = |reservation, usage| CommitRequest { reservation, usage, ..CommitRequest::default() };
    for bad in [
        commit(None, Some(cost("1"))),
        commit(by_id(&reservation), None),
        commit(by_id(&reservation), Some(cost("-1"))),
        commit(by_id(&reservation), Some(tokens(u64::MAX, 1))),
        CommitRequest { model: "m".repeat(300), ..commit(by_id(&reservation), Some(cost("1"))) },
    ] {
        assert_eq!(failed(quota.commit(bad).await).0, Code::InvalidArgument);
    }
    let extend = ExtendRequest { reservation: by_id(&reservation), ttl: duration(100_000, 0), ..Default::default() };
    assert_eq!(failed(quota.extend(extend).await).0, Code::InvalidArgument);
    let watch = WatchRevocationsRequest { holder: String::new() };
    assert_eq!(failed(quota.watch_revocations(watch).await.map(|_| ())).0, Code::InvalidArgument);
    let future = prost_types::Timestamp { seconds: 1_800_000_000, nanos: 0 };
    let charge = |already_used| ChargeRequest {
        payer: by_key(KEY),
        request_id: String::from("c"),
        model: MODEL.to_owned(),
        usage: Some(cost("1")),
        already_used,
        occurred_at: Some(future),
        ..ChargeRequest::default()
    };
    for already_used in [true, false] {
        assert_eq!(failed(quota.charge(charge(already_used)).await).0, Code::InvalidArgument);
    }
    assert_eq!((world.held().await, world.balance().await), (String::from("1"), String::from("1000")));
    world.verify().await;
}

#[tokio::test]
async fn who_cannot_pay_is_denied_in_band() {
    let world = World::new().await;
    let mut unknown = ask("r1", cost("1"));
    unknown.payer = by_key("nobody");
    let denial = world.reserve(unknown).await.unwrap_err();
    assert_eq!((denial.code(), denial.http_status, denial.retry_after), (DenialCode::KeyUnknown, 401, None));
    let mut wrong = ask("r1", cost("1"));
    wrong.payer = Some(Payer { payer: Some(payer::Payer::ApiKey(String::from("qk_wrong"))) });
    assert_eq!(world.reserve(wrong).await.unwrap_err().code(), DenialCode::KeyUnknown);
    let mut unpriced = ask("r1", tokens(1, 1));
    unpriced.model = String::from("unheard-of");
    let denial = world.reserve(unpriced.clone()).await.unwrap_err();
    assert_eq!(
        (denial.code(), denial.http_status, denial.message.as_str()),
        (DenialCode::ModelUnpriced, 400, "Unknown model")
    );
    unpriced.usage = Some(cost("0.5"));
    world.reserve(unpriced).await.unwrap();
}

#[tokio::test]
async fn a_message_too_large_is_refused_and_the_connection_lives_on() {
    let world = World::new().await;
    let mut huge = ask("r1", cost("1"));
    huge.model = "m".repeat(3 << 20);
    let status = world.try_reserve(huge).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    world.reserve(ask("r1", cost("1"))).await.unwrap();
}

#[tokio::test]
async fn money_and_prices_that_make_no_sense_are_refused() {
    let world = World::new().await;
    for amount in ["", "0", "-5", "NaN", "1,5", "0.0000000001", "1000000001"] {
        let request = TopUpRequest {
            organization_id: ORGANIZATION.to_owned(),
            amount_usd: amount.to_owned(),
            request_id: String::from("t"),
            reason: String::new(),
        };
        assert_eq!(failed(world.operator.wallets().top_up(request).await).0, Code::InvalidArgument, "{amount:?}");
    }
    for price in ["-1", "100001", "x"] {
        let price = Price { model: String::from("m"), input_per_million: price.to_owned(), ..Price::default() };
        let answer = world.operator.prices().create_price(CreatePriceRequest { price: Some(price) }).await;
        assert_eq!(failed(answer).0, Code::InvalidArgument);
    }
    assert_eq!(world.balance().await, "1000");
}

/// Sends and receives bytes as they are.
#[derive(Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}

#[tokio::test]
async fn bytes_that_are_no_message_are_the_callers_mistake() {
    let world = World::new().await;
    let channel = Endpoint::from_shared(world.endpoint()).unwrap().connect().await.unwrap();
    // Field 3, the model, in bytes that are no UTF-8; a field that ends before its length.
    for bytes in [vec![0x1a, 2, 0xff, 0xfe], vec![0x1a, 200, 1]] {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let mut request = Request::new(bytes);
        let bearer = format!("Bearer {}", world.secret).parse().unwrap();
        request.metadata_mut().insert("authorization", bearer);
        let path = PathAndQuery::from_static("/quotad.v1.QuotaService/Reserve");
        let answer = client.unary(request, path, Raw).await;
        assert_eq!(failed(answer), (Code::InvalidArgument, String::from("INVALID_ARGUMENT")));
    }
}
