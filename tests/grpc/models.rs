//! Names of models, and lists of them: a name counts however it is spelled, and what is taken as a limit binds something.

use quotad::api::proto::{
    self, Budget, ChargeRequest, CheckRequest, CommitRequest, DenialCode, GetKeyRequest, Key, Price, Quota,
    ReserveRequest, Unit, UsageGrouping,
};

use crate::{
    messages::{
        budget, charge, check, commit, failed, failure, mask, policy, quota, reserve, tokens, usd, wrong_field,
    },
    world::{ACME, Place, World},
};

const OPUS: &str = "claude-opus-4-7";
fn narrowed(pattern: &str) -> Budget {
    Budget { models: vec![pattern.to_owned()], ..budget("narrow", "1") }
}

fn of(model: &str, request: ReserveRequest) -> ReserveRequest {
    ReserveRequest { model: model.to_owned(), ..request }
}

/// The code that a request of 15 USD is refused with; `None` where it is granted.
async fn refusal(world: &World, model: &str, request: &str) -> Option<DenialCode> {
    world.reserve(of(model, reserve("k1", request, usd("15")))).await.err().map(|denial| denial.code())
}

/// Case M7.
#[tokio::test]
async fn a_pattern_binds_at_every_place_and_in_every_unit() {
    let world = World::new().await;
    for place in Place::ALL {
        for (pattern, model, other) in [
            ("claude-opus-*", OPUS, Some("claude-sonnet-4")),
            ("anthropic/*", "anthropic/claude-opus-4-7", Some(OPUS)),
            (" *-OPUS-* ", OPUS, Some("m")),
            ("*", OPUS, None),
            ("*", "m", None),
        ] {
            world.limit(place, policy(vec![narrowed(pattern)], Vec::new())).await;
            let request = format!("{place:?}/{pattern}/{model}");
            assert_eq!(refusal(&world, model, &request).await, Some(DenialCode::BudgetExceeded), "{request}");
            if let Some(other) = other {
                assert_eq!(refusal(&world, other, &format!("{request}/other")).await, None, "{request}");
            }
        }
        for unit in [Unit::RequestsPerMinute, Unit::TokensPerMinute, Unit::InFlight] {
            let quota = Quota { models: vec!["claude-*".into()], ..quota("narrow", unit, 0) };
            world.limit(place, policy(Vec::new(), vec![quota])).await;
            let request = format!("{place:?}/{unit:?}");
            assert!(refusal(&world, OPUS, &request).await.is_some(), "{request}");
            assert_eq!(refusal(&world, "m", &format!("{request}/other")).await, None, "{request}");
        }
        world.limit(place, policy(Vec::new(), Vec::new())).await;
    }
}

/// Case M7: what a key may use.
#[tokio::test]
async fn a_key_may_use_what_its_patterns_mean() {
    let world = World::new().await;
    let models = vec!["Claude-*".to_owned(), "*/mini".into()];
    let key = Key { organization_id: ACME.into(), id: "k1".into(), models, ..Key::default() };
    let key = world.update_key(key, &["models"]).await.unwrap();
    assert_eq!(key.models, ["claude-*", "*/mini"], "lowered once, where they enter");
    for (model, allowed) in [(OPUS, true), ("openai/MINI", true), ("m", false), ("x-claude-1", false)] {
        let expected = (!allowed).then_some(DenialCode::ModelNotAllowed);
        assert_eq!(refusal(&world, model, model).await, expected, "{model}");
    }
}

/// Case M7: a limit that binds a spelling binds the model.
#[tokio::test]
async fn a_model_is_one_however_it_is_spelled_on_every_verb() {
    let world = World::new().await;
    world.price(" Big ", "1", "10").await;
    world
        .limit(Place::Organization, policy(vec![Budget { models: vec!["BIG".into()], ..budget("b", "1") }], vec![]))
        .await;
    let held = world.reserve(of("bIG", reserve("k1", "held", tokens(100_000, 0)))).await.unwrap();
    assert_eq!(held.held.as_ref().unwrap().usd, "0.1", "the price is found");
    let again = world.reserve(of("big ", reserve("k1", "held", tokens(100_000, 0)))).await.unwrap();
    assert!(again.replayed, "another spelling is the same content");
    let (decision, limits) = world.check(CheckRequest { model: "BIg".into(), ..check("k1", usd("0.91")) }).await;
    assert_eq!(decision.unwrap_err().code(), DenialCode::BudgetExceeded);
    assert_eq!(limits.iter().find(|limit| limit.limit_id == "b").unwrap().held, "0.1");
    let spelled = |model: &str, cost| CommitRequest { model: model.into(), ..commit(&held.reservation_id, usd(cost)) };
    world.commit(spelled("BIG", "0.2")).await.unwrap();
    assert!(world.commit(spelled("big", "0.2")).await.unwrap().replayed);
    let charged = ChargeRequest { model: "Big".into(), ..charge("k1", "charged", tokens(300_000, 0)) };
    world.charge(charged).await.unwrap().unwrap();
    let (_, limits) = world.check(CheckRequest { model: "big".into(), ..check("k1", usd("0")) }).await;
    assert_eq!(limits.iter().find(|limit| limit.limit_id == "b").unwrap().spent, "0.5");
    for model in ["big", " BIG"] {
        let query = proto::ListTransactionsRequest { model: model.into(), ..Default::default() };
        let found = world.transactions(query).await.unwrap();
        let models: Vec<_> = found.transactions.iter().map(|entry| entry.model.as_str()).collect();
        assert_eq!(models, ["big", "big"], "{model:?}");
        let query = proto::SummarizeUsageRequest {
            organization_id: ACME.into(),
            grouping: UsageGrouping::Model.into(),
            model: model.into(),
            ..Default::default()
        };
        let groups = world.operator.ledger().summarize_usage(query).await.unwrap().into_inner().groups;
        let groups: Vec<_> =
            groups.iter().map(|group| (group.id.as_str(), group.totals.as_ref().unwrap().entries)).collect();
        assert_eq!(groups, [("big", 2)], "{model:?}");
    }
    let mut prices = world.operator.prices();
    let again = Price { model: "BIG".into(), input_per_million: "1".into(), ..Price::default() };
    let again = prices.create_price(proto::CreatePriceRequest { price: Some(again) }).await.unwrap_err();
    assert_eq!(failure(&again), failed(tonic::Code::AlreadyExists, "ALREADY_EXISTS"));
    let got = prices.get_price(proto::GetPriceRequest { model: " bIg".into() }).await.unwrap().into_inner();
    assert_eq!(got.price.unwrap().model, "big");
    prices.delete_price(proto::DeletePriceRequest { model: "BIG".into() }).await.unwrap();
    assert_eq!(refusal_of_tokens(&world, "big").await, Some(DenialCode::ModelUnpriced));
}

async fn refusal_of_tokens(world: &World, model: &str) -> Option<DenialCode> {
    world.reserve(of(model, reserve("k1", "tokens", tokens(1, 1)))).await.err().map(|denial| denial.code())
}

/// Case M7: a pattern has no price.
#[tokio::test]
async fn a_price_is_of_an_exact_name() {
    let world = World::new().await;
    let mut prices = world.operator.prices();
    let star = || Price { model: "claude-*".into(), input_per_million: "1".into(), ..Price::default() };
    let create = prices.create_price(proto::CreatePriceRequest { price: Some(star()) }).await.unwrap_err();
    let update = proto::UpdatePriceRequest { price: Some(star()), update_mask: mask(&["input_per_million"]) };
    let update = prices.update_price(update).await.unwrap_err();
    for refused in [&create, &update] {
        assert_eq!(wrong_field(refused), "price.model");
        assert!(refused.message().contains("\"claude-*\"") && refused.message().contains("exact name"), "{refused:?}");
    }
    let get = prices.get_price(proto::GetPriceRequest { model: "*".into() }).await.unwrap_err();
    assert_eq!(wrong_field(&get), "model");
}

/// Case M7: what binds nothing is said where it is set and read.
#[tokio::test]
async fn reads_say_which_entries_match_no_priced_model() {
    let world = World::new().await;
    let entries = || ["m", "m-typo", "claude-*", "*"].map(String::from).to_vec();
    let limits = || {
        let budget = Budget { models: entries(), ..budget("b", "1") };
        policy(vec![budget], vec![Quota { models: entries(), ..quota("q", Unit::InFlight, 5) }])
    };
    let said = |policy: Option<proto::Policy>| {
        let policy = policy.unwrap();
        (policy.budgets[0].unmatched_models.clone(), policy.quotas[0].unmatched_models.clone())
    };
    let unmatched = || vec!["m-typo".to_owned(), "claude-*".into()];
    let both = || (unmatched(), unmatched());
    let key =
        Key { organization_id: ACME.into(), id: "k1".into(), models: entries(), policy: limits(), ..Key::default() };
    let key = world.update_key(key, &["models", "policy"]).await.unwrap();
    assert_eq!((said(key.policy), key.unmatched_models), (both(), unmatched()), "Update says it");
    let get_key = || GetKeyRequest { organization_id: ACME.into(), key_id: "k1".into() };
    let read = async || world.operator.keys().get_key(get_key()).await.unwrap().into_inner().key.unwrap();
    let key = read().await;
    assert_eq!((said(key.policy), key.unmatched_models), (both(), unmatched()), "Get says it");
    world.price(OPUS, "1", "1").await;
    assert_eq!(read().await.unmatched_models, ["m-typo"], "as the book is at the moment");
    for place in Place::ALL {
        world.limit(place, limits()).await;
    }
    let one = || (vec!["m-typo".to_owned()], vec!["m-typo".to_owned()]);
    let organization = proto::GetOrganizationRequest { organization_id: ACME.into() };
    let organization = world.operator.organizations().get_organization(organization).await.unwrap().into_inner();
    let organization = organization.organization.unwrap();
    assert_eq!((said(organization.policy), said(organization.ceiling)), (one(), one()));
    let team = proto::GetTeamRequest { organization_id: ACME.into(), team_id: "default".into() };
    let team = world.operator.teams().get_team(team).await.unwrap().into_inner().team.unwrap();
    assert_eq!(said(team.policy), one());
    let member = proto::GetMemberRequest { organization_id: ACME.into(), member_id: "ada".into() };
    let member = world.operator.members().get_member(member).await.unwrap().into_inner().member.unwrap();
    assert_eq!(said(member.policy), one());
    let (team_id, member_id) = ("default".into(), "ada".into());
    let membership = proto::GetMembershipRequest { organization_id: ACME.into(), team_id, member_id };
    let membership = world.operator.teams().get_membership(membership).await.unwrap().into_inner().membership;
    assert_eq!(said(membership.unwrap().policy), one());
    let keys = proto::ListKeysRequest { organization_id: ACME.into(), ..Default::default() };
    let keys = world.operator.keys().list_keys(keys).await.unwrap().into_inner().keys;
    assert_eq!((said(keys[0].policy.clone()), keys[0].unmatched_models.len()), ((vec![], vec![]), 0), "not in lists");
}

/// Case M6: what isn't set in a price follows the input's price of the moment; a reservation keeps what it was admitted at.
#[tokio::test]
async fn what_a_price_leaves_unset_costs_what_input_costs_at_the_moment() {
    let world = World::new().await;
    let mut prices = world.operator.prices();
    let price = Price { model: "big".into(), input_per_million: "1".into(), ..Price::default() };
    let made = prices.create_price(proto::CreatePriceRequest { price: Some(price.clone()) }).await.unwrap();
    let shown = |price: Option<Price>| {
        let price = price.unwrap();
        let set = [price.cached_input_per_million, price.cache_write_per_million];
        (set, [price.effective_cached_input_per_million, price.effective_cache_write_per_million])
    };
    let both = |text: &str| [text.to_owned(), text.to_owned()];
    assert_eq!(shown(made.into_inner().price), (both(""), both("1")), "what was set, and what it costs");
    let cached = |cached, written| proto::Usage {
        cached_input_tokens: cached,
        cache_write_tokens: written,
        ..tokens(1_000_000, 0)
    };
    let cost = async |request: &str, usage| {
        let granted = world.reserve(of("big", reserve("k1", request, usage))).await.unwrap();
        (granted.held.unwrap().usd, granted.reservation_id)
    };
    let (before, kept) = cost("kept", cached(1_000_000, 0)).await;
    assert_eq!(before, "1");
    for (input, expected) in [("4", "4"), ("0.5", "0.5")] {
        let change = Price { input_per_million: input.into(), ..price.clone() };
        let update = proto::UpdatePriceRequest { price: Some(change), update_mask: mask(&["input_per_million"]) };
        let changed = prices.update_price(update).await.unwrap().into_inner().price;
        assert_eq!(shown(changed), (both(""), both(expected)));
        assert_eq!(cost(&format!("read at {input}"), cached(1_000_000, 0)).await.0, expected);
        assert_eq!(cost(&format!("written at {input}"), cached(0, 1_000_000)).await.0, expected);
    }
    world.commit(commit(&kept, cached(1_000_000, 0))).await.unwrap();
    let entry = world.ledger().await.transactions.remove(0);
    assert_eq!((entry.cost_usd.as_str(), shown(entry.price)), ("1", (both("1"), both("1"))), "as it was at Reserve");
    let change = async |cached: &str, paths: &[&str]| {
        let price = Price { cached_input_per_million: cached.into(), input_per_million: "8".into(), ..price.clone() };
        let update = proto::UpdatePriceRequest { price: Some(price), update_mask: mask(paths) };
        shown(world.operator.prices().update_price(update).await.unwrap().into_inner().price)
    };
    let at = |cached: &str, written: &str| [cached.to_owned(), written.to_owned()];
    assert_eq!(change("0", &["cached_input_per_million"]).await, (at("0", ""), at("0", "0.5")), "0 is set");
    assert_eq!(change("", &["input_per_million"]).await, (at("0", ""), at("0", "8")), "what is set stays");
    assert_eq!(change("", &["cached_input_per_million"]).await, (both(""), both("8")), "unset by an empty text");
}
