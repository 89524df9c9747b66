use super::*;

fn key() -> proto::Payer {
    proto::Payer { payer: Some(proto::payer::Payer::KeyId("k1".into())) }
}

fn used() -> proto::Usage {
    proto::Usage { input_tokens: 10, output_tokens: 5, ..proto::Usage::default() }
}

fn a_reserve() -> proto::ReserveRequest {
    proto::ReserveRequest {
        payer: Some(key()),
        request_id: "r1".into(),
        model: "m".into(),
        usage: Some(used()),
        ..proto::ReserveRequest::default()
    }
}

fn by_id(id: &str) -> proto::ReservationRef {
    let named = proto::reservation_ref::Reservation::ReservationId(id.into());
    proto::ReservationRef { reservation: Some(named) }
}

fn secret(secret: &str) -> proto::Payer {
    proto::Payer { payer: Some(proto::payer::Payer::ApiKey(secret.into())) }
}

#[test]
fn a_reserve_that_sets_only_what_it_must_gets_the_defaults() {
    let (payer, reserve, include_limits) = super::reserve(a_reserve()).unwrap();
    assert_eq!(payer, Payer::Key(KeyId::trusted("k1")));
    assert_eq!((reserve.ttl, reserve.usage.requests), (DEFAULT_TTL, 1));
    assert_eq!((reserve.holder, reserve.labels, reserve.min_output_tokens), (None, None, None));
    assert!(!include_limits);
}

#[test]
fn a_reserve_that_can_not_be_understood_names_the_field() {
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let cases = [
        (proto::ReserveRequest { payer: None, ..a_reserve() }, "payer"),
        (proto::ReserveRequest { payer: Some(proto::Payer { payer: None }), ..a_reserve() }, "payer"),
        (proto::ReserveRequest { payer: Some(secret("")), ..a_reserve() }, "payer.api_key"),
        (proto::ReserveRequest { payer: Some(secret(&"x".repeat(513))), ..a_reserve() }, "payer.api_key"),
        (proto::ReserveRequest { request_id: String::new(), ..a_reserve() }, "request_id"),
        (proto::ReserveRequest { request_id: "x".repeat(129), ..a_reserve() }, "request_id"),
        (proto::ReserveRequest { model: String::new(), ..a_reserve() }, "model"),
        (proto::ReserveRequest { usage: None, ..a_reserve() }, "usage"),
        (proto::ReserveRequest { ttl: seconds(0), ..a_reserve() }, "ttl"),
        (proto::ReserveRequest { ttl: seconds(86_401), ..a_reserve() }, "ttl"),
        (proto::ReserveRequest { ttl: seconds(-1), ..a_reserve() }, "ttl"),
        (proto::ReserveRequest { holder: "a\u{1}".into(), ..a_reserve() }, "holder"),
        (proto::ReserveRequest { labels: [(String::new(), String::new())].into(), ..a_reserve() }, "labels"),
    ];
    for (request, field) in cases {
        assert_eq!(super::reserve(request.clone()).unwrap_err().field, field, "{request:?}");
    }
    assert!(super::reserve(proto::ReserveRequest { ttl: seconds(86_400), ..a_reserve() }).is_ok());
    assert!(super::reserve(proto::ReserveRequest { payer: Some(secret(&"x".repeat(512))), ..a_reserve() }).is_ok());
}

#[test]
fn an_error_about_a_secret_does_not_show_it() {
    let long = "sk-secret".repeat(100);
    let error = super::reserve(proto::ReserveRequest { payer: Some(secret(&long)), ..a_reserve() }).unwrap_err();
    assert!(!error.to_string().contains("secret-") && !error.to_string().contains("sk-"));
}

#[test]
fn a_commit_must_say_what_was_used() {
    let commit =
        proto::CommitRequest { reservation: Some(by_id("id")), usage: None, ..proto::CommitRequest::default() };
    assert_eq!(super::commit(commit).unwrap_err().field, "usage");
    let commit =
        proto::CommitRequest { reservation: Some(by_id("id")), usage: Some(used()), ..proto::CommitRequest::default() };
    let (reservation, commit, _) = super::commit(commit).unwrap();
    assert_eq!((reservation, commit.model), (ReservationRef::Id("id".into()), None));
}

#[test]
fn a_reservation_is_named_by_id_or_by_what_was_asked() {
    let of = |reservation| super::release(proto::ReleaseRequest { reservation, reason: String::new() });
    let asked = |payer, request_id: &str| {
        let request = proto::PayerRequest { payer, request_id: request_id.into() };
        Some(proto::ReservationRef { reservation: Some(proto::reservation_ref::Reservation::PayerRequest(request)) })
    };
    assert_eq!(of(None).unwrap_err().field, "reservation");
    assert_eq!(of(Some(proto::ReservationRef { reservation: None })).unwrap_err().field, "reservation");
    assert_eq!(of(Some(by_id(""))).unwrap_err().field, "reservation.reservation_id");
    assert_eq!(of(asked(None, "r")).unwrap_err().field, "reservation.payer_request.payer");
    assert_eq!(of(asked(Some(key()), "")).unwrap_err().field, "reservation.payer_request.request_id");
    let (found, _) = of(asked(Some(key()), "r")).unwrap();
    assert_eq!(found, ReservationRef::Request(Payer::Key(KeyId::trusted("k1")), RequestId::trusted("r")));
    let long = proto::ReleaseRequest { reservation: Some(by_id("id")), reason: "x".repeat(257) };
    assert_eq!(super::release(long).unwrap_err().field, "reason");
}

#[test]
fn an_extend_may_report_nothing() {
    let extend = proto::ExtendRequest { reservation: Some(by_id("id")), ..proto::ExtendRequest::default() };
    let (_, extend) = super::extend(extend).unwrap();
    assert_eq!(extend, Extend { ttl: DEFAULT_TTL, usage_so_far: None, estimate: None });
    let absurd = Some(proto::Usage { output_tokens: u64::MAX, ..proto::Usage::default() });
    let extend =
        proto::ExtendRequest { reservation: Some(by_id("id")), estimate: absurd, ..proto::ExtendRequest::default() };
    assert_eq!(super::extend(extend).unwrap_err().field, "estimate.output_tokens");
}
