//! Small inputs at the edges of limits and money, each of which once went wrong.

use quotad::api::proto::{self, Budget, DenialCode, Unit, Usage};

use crate::{
    messages::{budget, charge, check, codes, commit, policy, quota, reserve, tokens, usd, wrong_field},
    world::{ACME, Place, World},
};

/// Case M9, on each verb that admits and in each unit.
#[tokio::test]
async fn zero_admits_nothing_and_what_is_used_up_exactly_admits_not_even_nothing() {
    use DenialCode::{BudgetExceeded, ConcurrencyExceeded, RateLimitExceeded};
    let zero = [
        (policy(vec![budget("l", "0")], Vec::new()), BudgetExceeded),
        (policy(vec![Budget { unit: Unit::Credits.into(), ..budget("l", "0") }], Vec::new()), BudgetExceeded),
        (policy(Vec::new(), vec![quota("l", Unit::TokensPerMinute, 0)]), RateLimitExceeded),
        (policy(Vec::new(), vec![quota("l", Unit::RequestsPerMinute, 0)]), RateLimitExceeded),
        (policy(Vec::new(), vec![quota("l", Unit::InFlight, 0)]), ConcurrencyExceeded),
    ];
    let world = World::new().await;
    for (limit, code) in zero {
        world.limit(Place::Key("k1"), limit).await;
        for usage in [Usage::default(), usd("0")] {
            let denials = [
                world.reserve(reserve("k1", "a", usage.clone())).await.unwrap_err(),
                world.charge(charge("k1", "b", usage.clone())).await.unwrap().unwrap_err(),
                world.check(check("k1", usage)).await.0.unwrap_err(),
            ];
            for denial in denials {
                assert_eq!((codes(&denial), denial.retry_after), ((code, vec![code]), None));
            }
        }
    }
    world.limit(Place::Key("k1"), policy(Vec::new(), vec![quota("tpm", Unit::TokensPerMinute, 500)])).await;
    let grant = world.reserve(reserve("k1", "whole", tokens(500, 0))).await.unwrap();
    let refused = async || world.reserve(reserve("k1", "more", Usage::default())).await.unwrap_err();
    assert_eq!(refused().await.retry_after.unwrap().seconds, 61, "while it runs");
    world.commit(commit(&grant.reservation_id, tokens(500, 0))).await.unwrap();
    assert_eq!(codes(&refused().await), (RateLimitExceeded, vec![RateLimitExceeded]));
    world.advance(61);
    world.reserve(reserve("k1", "more", Usage::default())).await.unwrap();
}

// P19
#[tokio::test]
async fn the_description_of_a_rule_has_as_many_characters_as_the_api_says_whatever_their_bytes() {
    let world = World::new().await;
    for (no, character) in ["a", "\u{df}", "\u{8cc7}", "\u{1f600}"].into_iter().enumerate() {
        let create = async |length: usize| {
            let rule = proto::Rule {
                organization_id: ACME.into(),
                id: format!("rule-{no}"),
                description: character.repeat(length),
                ..proto::Rule::default()
            };
            let new = proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() };
            world.operator.rules().create_rule(new).await
        };
        let status = create(1025).await.unwrap_err();
        assert_eq!(wrong_field(&status), "rule.description", "{character}: {status:?}");
        let made = create(1024).await.unwrap().into_inner().rule.unwrap();
        assert_eq!(made.description.chars().count(), 1024, "{character}");
    }
}
