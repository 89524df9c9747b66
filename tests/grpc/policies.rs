//! Policies and prices: what can be set, and what an edit keeps.

use quotad::api::proto::{
    self, Budget, CreatePriceRequest, DayOfWeek, DenialCode, Key, Organization, Period, PeriodKind, Policy, Price,
    Quota, Unit,
};
use tonic::Code;

use crate::{
    messages::{
        budget, charge, failed, failure, mask, period, policy, quota, reserve, seconds, tokens, usd, wrong_field,
    },
    world::{ACME, Place, World},
};

#[tokio::test]
async fn an_edit_keeps_usage_unless_the_limit_is_another_one() {
    let world = World::new().await;
    let set = async |budgets: Vec<Budget>| world.limit(Place::Key("k1"), policy(budgets, Vec::new())).await;
    let daily = |max: &str| Budget { period: period(PeriodKind::Daily), ..budget("cap", max) };
    set(vec![daily("10")]).await;
    world.charge(charge("k1", "a", usd("4"))).await.unwrap().unwrap();
    world.reserve(reserve("k1", "b", usd("1"))).await.unwrap();
    let stands = async || {
        let books = world.books().await;
        let (spent, held, remaining) = books.limit("cap");
        (spent.to_owned(), held.to_owned(), remaining.to_owned())
    };
    let standing = |spent: &str, held: &str, remaining: &str| (spent.to_owned(), held.to_owned(), remaining.to_owned());
    set(vec![daily("6")]).await;
    assert_eq!(stands().await, standing("4", "1", "1"), "another cap");
    set(vec![budget("first", "1"), Budget { soft: "2".into(), models: vec!["m".into()], ..daily("6") }]).await;
    assert_eq!(stands().await, standing("4", "1", "1"), "another soft cap, models and place in the list");
    set(vec![daily("3")]).await;
    assert_eq!(stands().await, standing("4", "1", "-2"), "below what is spent");
    assert!(world.reserve(reserve("k1", "c", usd("0"))).await.is_err());
    set(vec![daily("20")]).await;
    let zoned = Period { time_zone: "Europe/Berlin".into(), ..daily("20").period.unwrap() };
    let place = Place::Key("k1");
    let zoned = policy(vec![Budget { period: Some(zoned), ..daily("20") }], Vec::new());
    world.try_limit(place, zoned, true).await.unwrap();
    assert_eq!(stands().await, standing("0", "0", "20"), "another zone begins at zero");
    set(vec![Budget { unit: Unit::Credits.into(), ..daily("20") }]).await;
    assert_eq!(stands().await, standing("0", "0", "20"), "another unit");
    world.verify().await;
}

#[tokio::test]
async fn a_policy_is_read_back_as_it_was_set() {
    let world = World::new().await;
    world.price("n", "1", "1").await;
    let every = Period {
        kind: PeriodKind::Every.into(),
        interval: seconds(3600),
        anchor: Some(prost_types::Timestamp { seconds: 1_000, nanos: 0 }),
        ..Period::default()
    };
    let weekly = Period {
        kind: PeriodKind::Weekly.into(),
        time_zone: "America/New_York".into(),
        week_start: DayOfWeek::Sunday.into(),
        ..Period::default()
    };
    let set = Policy {
        budgets: vec![
            Budget { soft: "0.5".into(), models: vec!["m".into(), "n".into()], ..budget("one", "1000000000") },
            Budget { period: Some(every), max: String::new(), soft: "0.000000001".into(), ..budget("two", "") },
            Budget { period: Some(weekly), unit: Unit::Credits.into(), ..budget("three", "0") },
        ],
        quotas: vec![
            quota("four", Unit::InFlight, 0),
            Quota { models: vec!["m".into()], ..quota("five", Unit::TokensPerMinute, 7) },
        ],
    };
    let key = Key { organization_id: ACME.into(), id: "k1".into(), policy: Some(set.clone()), ..Key::default() };
    assert_eq!(world.update_key(key, &["policy"]).await.unwrap().policy, Some(set));
}

#[tokio::test]
async fn a_policy_that_means_nothing_is_refused_by_field_and_the_old_one_stays() {
    let world = World::new().await;
    let kept = policy(vec![budget("kept", "5")], Vec::new());
    world.limit(Place::Key("k1"), kept.clone()).await;
    let of = |period: Period| Budget { period: Some(period), ..budget("b", "1") };
    let kind = |kind: PeriodKind| Period { kind: kind.into(), ..Period::default() };
    let budgets = [
        (budget("", "1"), "budgets[0].id"),
        (budget(&"x".repeat(65), "1"), "budgets[0].id"),
        (budget("a/b", "1"), "budgets[0].id"),
        (budget("b", "-1"), "budgets[0].max"),
        (budget("b", "NaN"), "budgets[0].max"),
        (budget("b", "1000000001"), "budgets[0].max"),
        (budget("b", "0.0000000001"), "budgets[0].max"),
        (Budget { soft: "inf".into(), ..budget("b", "1") }, "budgets[0].soft"),
        (Budget { soft: "2".into(), ..budget("b", "1") }, ""),
        (budget("b", ""), "budgets[0]"),
        (Budget { unit: Unit::InFlight.into(), ..budget("b", "1") }, "budgets[0].unit"),
        (Budget { unit: 0, ..budget("b", "1") }, "budgets[0].unit"),
        (Budget { unit: 77, ..budget("b", "1") }, "budgets[0].unit"),
        (Budget { period: None, ..budget("b", "1") }, "budgets[0].period"),
        (of(Period { kind: 42, ..Period::default() }), "budgets[0].period.kind"),
        (of(Period { time_zone: "Mars/Base".into(), ..kind(PeriodKind::Daily) }), "budgets[0].period.time_zone"),
        (of(Period { week_start: 8, ..kind(PeriodKind::Weekly) }), "budgets[0].period.week_start"),
        (of(Period { week_start: 1, ..kind(PeriodKind::Daily) }), "budgets[0].period.week_start"),
        (of(kind(PeriodKind::Every)), "budgets[0].period.interval"),
        (of(Period { interval: seconds(59), ..kind(PeriodKind::Every) }), "budgets[0].period.interval"),
        (of(Period { interval: seconds(367 * 86_400), ..kind(PeriodKind::Every) }), "budgets[0].period.interval"),
        (Budget { models: vec![String::new()], ..budget("b", "1") }, "budgets[0].models[0]"),
        (Budget { models: vec!["m".into(), "m".into()], ..budget("b", "1") }, "budgets[0].models"),
    ];
    let mut cases: Vec<(Policy, String)> = Vec::new();
    for (budget, field) in budgets {
        cases.push((Policy { budgets: vec![budget], quotas: Vec::new() }, field.to_owned()));
    }
    let quotas = [
        (quota("q", Unit::Usd, 1), "quotas[0].unit"),
        (Quota { unit: -1, ..quota("q", Unit::Usd, 1) }, "quotas[0].unit"),
    ];
    for (quota, field) in quotas {
        cases.push((Policy { budgets: Vec::new(), quotas: vec![quota] }, field.to_owned()));
    }
    cases.push((
        Policy { budgets: vec![budget("same", "1")], quotas: vec![quota("same", Unit::InFlight, 1)] },
        String::new(),
    ));
    cases.push((Policy { budgets: vec![budget("b", "1"); 1000], quotas: Vec::new() }, String::from("budgets")));
    for (wrong, field) in cases {
        let key = Key { organization_id: ACME.into(), id: "k1".into(), policy: Some(wrong.clone()), ..Key::default() };
        let update = proto::UpdateKeyRequest { key: Some(key), update_mask: mask(&["policy"]), ..Default::default() };
        let status = world.operator.keys().update_key(update).await.unwrap_err();
        let expected = if field.is_empty() { "key.policy".to_owned() } else { format!("key.policy.{field}") };
        assert_eq!(wrong_field(&status), expected, "{wrong:?}");
    }
    let get = proto::GetKeyRequest { organization_id: ACME.into(), key_id: "k1".into() };
    assert_eq!(world.operator.keys().get_key(get).await.unwrap().into_inner().key.unwrap().policy, kept);
}

#[tokio::test]
async fn credit_caps_cannot_be_set_while_credits_are_off() {
    let world = World::new().await;
    let off = Organization { credit_factor: "0".into(), ..Organization::default() };
    world.update_organization(off, &["credit_factor"]).await;
    let credits = Budget { unit: Unit::Credits.into(), ..budget("credits", "5") };
    let policy = policy(vec![credits], Vec::new());
    let key = Key { organization_id: ACME.into(), id: "k1".into(), policy, ..Key::default() };
    let refused = world.update_key(key, &["policy"]).await;
    assert_eq!(refused, Err(failed(Code::FailedPrecondition, "FAILED_PRECONDITION")));
}

#[tokio::test]
async fn a_price_is_made_changed_by_mask_listed_and_ended() {
    let world = World::new().await;
    let mut prices = world.operator.prices();
    let price = Price {
        model: "org/llm 7b".into(),
        input_per_million: "3".into(),
        cached_input_per_million: "0.3".into(),
        output_per_million: "15".into(),
        per_request: "0.0000001".into(),
        ..Price::default()
    };
    let create = |price: Price| CreatePriceRequest { price: Some(price) };
    let made = prices.create_price(create(price.clone())).await.unwrap().into_inner().price.unwrap();
    assert_eq!((made.cached_input_per_million.as_str(), made.cache_write_per_million.as_str()), ("0.3", ""));
    let again = prices.create_price(create(price.clone())).await.unwrap_err();
    assert_eq!(failure(&again), failed(Code::AlreadyExists, "ALREADY_EXISTS"));
    let wrong = [
        (Price { input_per_million: "-1".into(), ..price.clone() }, "price.input_per_million"),
        (Price { output_per_million: "100000.1".into(), ..price.clone() }, "price.output_per_million"),
        (Price { per_request: "NaN".into(), ..price.clone() }, "price.per_request"),
        (Price { model: String::new(), ..price.clone() }, "price.model"),
    ];
    for (wrong, field) in wrong {
        assert_eq!(wrong_field(&prices.create_price(create(wrong)).await.unwrap_err()), field);
    }
    // (100 − 40) × 3,000 + 40 × 300 + 3 × 15,000 nano-USD and 100 for each of two requests.
    let usage = proto::Usage { cached_input_tokens: 40, requests: 2, ..tokens(100, 3) };
    let request = proto::ReserveRequest { model: "org/llm 7b".into(), ..reserve("k1", "r", usage) };
    assert_eq!(world.reserve(request).await.unwrap().held.unwrap().usd, "0.0002372");
    let update =
        |price: Price, paths: &[&str]| proto::UpdatePriceRequest { price: Some(price), update_mask: mask(paths) };
    let changed = Price { output_per_million: "20".into(), input_per_million: "99".into(), ..price.clone() };
    let changed =
        prices.update_price(update(changed, &["output_per_million"])).await.unwrap().into_inner().price.unwrap();
    assert_eq!((changed.input_per_million.as_str(), changed.output_per_million.as_str()), ("3", "20"));
    let status = prices.update_price(update(price.clone(), &["model"])).await.unwrap_err();
    assert_eq!(wrong_field(&status), "update_mask");
    let listed =
        prices.list_prices(proto::ListPricesRequest { page_size: 1, page_token: String::new() }).await.unwrap();
    let listed = listed.into_inner();
    assert_eq!((listed.prices[0].model.as_str(), listed.next_page_token.is_empty()), ("m", false));
    let next = proto::ListPricesRequest { page_size: 5, page_token: listed.next_page_token };
    assert_eq!(prices.list_prices(next).await.unwrap().into_inner().prices, [changed]);
    let delete = proto::DeletePriceRequest { model: "org/llm 7b".into() };
    prices.delete_price(delete.clone()).await.unwrap();
    let gone = failed(Code::NotFound, "NOT_FOUND");
    assert_eq!(failure(&prices.delete_price(delete).await.unwrap_err()), gone);
    let get = proto::GetPriceRequest { model: "org/llm 7b".into() };
    assert_eq!(failure(&prices.get_price(get).await.unwrap_err()), gone);
    let request = proto::ReserveRequest { model: "org/llm 7b".into(), ..reserve("k1", "s", tokens(1, 1)) };
    assert_eq!(world.reserve(request).await.unwrap_err().code(), DenialCode::ModelUnpriced);
}

#[tokio::test]
async fn a_fraction_of_a_nano_is_rounded_up_once() {
    let world = World::new().await;
    world.price("tiny", "0.0001", "0.0001").await;
    // 0.0001 USD per million: 0.1 nano-USD a token.
    let cost = async |input, output, request: &str| {
        let request = proto::ReserveRequest { model: "tiny".into(), ..reserve("k1", request, tokens(input, output)) };
        world.reserve(request).await.unwrap().held.unwrap().usd
    };
    assert_eq!(cost(1, 0, "a").await, "0.000000001");
    assert_eq!(cost(5, 5, "b").await, "0.000000001");
    assert_eq!(cost(5, 6, "c").await, "0.000000002");
    assert_eq!(cost(0, 0, "d").await, "0");
}
