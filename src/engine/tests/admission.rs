//! What is admitted, and that a refusal consumes nothing.

use proptest::prelude::*;

use super::fixture::*;
use crate::domain::{
    decision::DenialCode::*,
    id::{DEFAULT_TEAM, KeyId, MemberId, TeamId},
    money::{Factor, Nanos},
    operation::Reserve,
    policy::{Limit, Place, Policy},
    price::Price,
};

fn ann() -> MemberId {
    MemberId::trusted("ann")
}

fn home() -> TeamId {
    TeamId::trusted(DEFAULT_TEAM)
}

fn places() -> [Place; 5] {
    [
        Place::Key(KeyId::trusted(KEY)),
        Place::Membership(home(), ann()),
        Place::Member(ann()),
        Place::Team(home()),
        Place::Organization,
    ]
}

#[test]
fn spent_plus_held_plus_need_may_reach_max_and_not_pass_it() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    world.charge("c", cost(30));
    world.reserve("r", cost(30));
    assert_eq!(world.counted("b"), (30, 30));
    let denial = world.refused(cost(41));
    assert_eq!(denial.code, BudgetExceeded);
    world.reserve("fits", cost(40));
    assert_eq!(world.counted("b"), (30, 70));
}

#[test]
fn a_budget_used_up_refuses_even_a_free_request() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10)]);
    world.charge("c", cost(10));
    assert_eq!(named(&world.refused(cost(0))), ["b"]);
}

#[test]
fn a_held_budget_admits_a_free_request() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10)]);
    world.reserve("r", cost(10));
    world.reserve("free", cost(0));
}

#[test]
fn a_cap_of_zero_means_nothing() {
    let mut world = World::new();
    world.limits(vec![daily("b", 0)]);
    let denial = world.refused(cost(0));
    assert_eq!((denial.code, denial.retry_after()), (BudgetExceeded, None));
}

#[test]
fn an_enforced_wallet_needs_a_positive_balance_that_covers_what_is_held() {
    let mut world = World::new();
    world.wallet(0);
    assert_eq!(world.refused(cost(0)).code, WalletInsufficient, "used up means refused, even for a free request");
    world.top_up("t", 100);
    world.reserve("r", cost(60));
    let denial = world.refused(cost(41));
    let runs_out = Some(crate::domain::time::Span::seconds(600));
    assert_eq!((denial.code, denial.retry_after()), (WalletInsufficient, runs_out));
    world.reserve("fits", cost(40));
    world.reserve("free", cost(0));
}

#[test]
fn all_policies_of_the_path_apply_at_once() {
    for place in places() {
        let mut world = World::new();
        world.set_policy(&place, vec![usd("b", 5)]).unwrap();
        assert_eq!(named(&world.refused(cost(6))), ["b"], "{place:?}");
        world.reserve("fits", cost(5));
    }
}

#[test]
fn a_limit_of_another_path_takes_no_part() {
    let mut world = World::new();
    world.add_team("red");
    world.add_member("bob", &[DEFAULT_TEAM, "red"]);
    world.add_key("k2", "bob", "red");
    world.set_policy(&Place::Team(TeamId::trusted("red")), vec![usd("red", 0)]).unwrap();
    world.set_policy(&Place::Membership(home(), MemberId::trusted("bob")), vec![usd("bob-home", 0)]).unwrap();
    world.reserve("r", cost(1));
    assert_eq!(named(&world.reserve_as("k2", &ask("s", cost(1))).unwrap().unwrap_err()), ["red"]);
}

#[test]
fn a_refused_request_leaves_every_other_limit_untouched() {
    let mut world = World::new();
    for (i, place) in places().iter().enumerate() {
        let limits: Vec<Limit> = vec![
            usd(&format!("usd{i}"), 1000),
            rpm(&format!("rpm{i}"), 5),
            tpm(&format!("tpm{i}"), 500),
            slots(&format!("slots{i}"), 5),
        ];
        world.set_policy(place, limits).unwrap();
    }
    world.wallet(10);
    let before = world.state.clone();
    let events = world.records.len();
    for _ in 0..10 {
        assert_eq!(world.refused(cost(11)).code, WalletInsufficient);
    }
    assert_eq!(world.state, before);
    assert_eq!(world.records.len(), events, "and nothing is to be journalled");
}

#[test]
fn check_answers_like_reserve_and_holds_nothing() {
    let mut world = World::new();
    world.limits(vec![usd("b", 5_000)]);
    let before = world.state.clone();
    let check = |world: &mut World, usage, min_output_tokens| {
        let llama = model(MODEL);
        let key = world.state.keys.place(&KeyId::trusted(KEY)).unwrap();
        let ask = crate::engine::decide::Ask { key, model: &llama, usage: &usage, min_output_tokens };
        world.turn(|turn| turn.check(&ask)).unwrap()
    };
    assert_eq!(check(&mut world, cost(10), None).unwrap().held.usd, Nanos::new(10));
    assert_eq!(check(&mut world, tokens(1, 9), Some(1)).unwrap().usage.output_tokens, 2);
    assert_eq!(check(&mut world, cost(5_001), None).unwrap_err(), world.refused(cost(5_001)));
    assert_eq!(world.state, before);
}

#[test]
fn a_limit_narrowed_to_models_counts_those_alone() {
    let mut world = World::new();
    world.limits(vec![only("other", usd("b", 0)), only(MODEL, rpm("r", 1))]);
    world.reserve("r", cost(9));
    assert_eq!(named(&world.refused(cost(1))), ["r"]);
    let other = Reserve { model: model("other"), ..ask("o", cost(1)) };
    assert_eq!(named(&world.try_reserve(&other).unwrap_err()), ["b"]);
}

#[test]
fn a_soft_cap_warns_and_never_refuses() {
    let mut world = World::new();
    let mut limit = usd("b", 100);
    if let Limit::Budget(budget) = &mut limit {
        (budget.soft, budget.max) = (Some(Nanos::new(10)), None);
    }
    world.limits(vec![limit]);
    assert!(world.try_reserve(&ask("a", cost(9))).unwrap().warnings.is_empty());
    let warnings = world.try_reserve(&ask("b", cost(1))).unwrap().warnings;
    assert_eq!((warnings[0].soft, warnings[0].held), (Some(10), 10));
    world.reserve("c", cost(1_000_000));
}

#[test]
fn a_partial_grant_says_how_many_tokens_may_be_generated() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10_000), tpm("t", 1000)]);
    let request = Reserve { min_output_tokens: Some(2), ..ask("r", tokens(3, 50)) };
    let granted = world.try_reserve(&request).unwrap();
    assert_eq!(granted.output_tokens, 3, "(10000 − 3×1000) / 2000");
    assert_eq!(granted.held.usd, Nanos::new(9_000));
    assert_eq!(granted.held.tokens, 6, "only what is granted is held");
    assert_eq!(world.counted("t"), (6, 0));
}

#[test]
fn a_partial_grant_is_never_below_the_minimum_and_asks_for_that() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10_000)]);
    let before = world.state.clone();
    let denial = world.try_reserve(&Reserve { min_output_tokens: Some(4), ..ask("r", tokens(3, 50)) }).unwrap_err();
    assert!(
        matches!(&denial.violations[0].at, crate::domain::decision::Violated::Limit { asked: 11_000, .. }),
        "{denial:?}"
    );
    assert_eq!(world.state, before);
    let given = Reserve { min_output_tokens: Some(0), ..ask("s", cost(10_001)) };
    assert!(world.try_reserve(&given).is_err(), "a cost that the caller gave can't be cut");
    let absurd = Reserve { min_output_tokens: Some(51), ..ask("t", tokens(3, 50)) };
    assert!(is_invalid(&world.reserve_as(KEY, &absurd), "min_output_tokens"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// One more output token wouldn't have fitted on some limit, by brute force.
    #[test]
    fn a_partial_grant_is_the_largest_that_fits(
        caps in (0..200_000i64, 0..200_000i64, 0..150u64, 1..200_000i64),
        factor in 1..5_000_000_000i64,
        prices in (0..3_000_000_000i64, 0..3_000_000_000i64),
        (input, output, least) in (0..60u64, 0..120u64, 0..120u64),
        spent in 0..100i64,
    ) {
        let least = least.min(output);
        let mut world = World::new();
        let factor = Factor::trusted(Nanos::new(factor));
        world.organization(crate::engine::turn::OrganizationChange { credit_factor: Some(factor), ..Default::default() });
        world.set_price(MODEL, Price { input: Nanos::new(prices.0), output: Nanos::new(prices.1), ..Price::default() });
        world.wallet(caps.3);
        world.limits(vec![usd("u", caps.0), tpm("t", caps.2)]);
        world.set_policy(&Place::Organization, vec![credits("c", caps.1)]).unwrap();
        let _ = world.try_charge(&charge("spent", cost(spent)));
        let whole = ask("r", tokens(input, output));
        let decide = |output: u64| {
            let mut copy = World::new();
            copy.state = world.state.clone();
            copy.prices = world.prices.clone();
            let place = copy.state.keys.place(&KeyId::trusted(KEY)).unwrap();
            let usage = tokens(input, output);
            let ask = crate::engine::decide::Ask { key: place, model: &whole.model, usage: &usage, min_output_tokens: None };
            crate::engine::decide::decide(&copy.state, &ask, crate::engine::decide::OpenBounds::NONE, &copy.prices, copy.now).is_ok()
        };
        let expected = (least..=output).rev().find(|output| decide(*output));
        let granted = world.try_reserve(&Reserve { min_output_tokens: Some(least), ..whole.clone() });
        prop_assert_eq!(granted.ok().map(|granted| granted.output_tokens), expected);
    }
}

#[test]
fn policies_that_contradict_themselves_are_refused() {
    assert!(Policy::checked(vec![usd("b", 1), rpm("b", 1)]).is_err(), "an id that stands twice");
}
