//! What a refusal says: its code, every limit that fails, and how long to wait.

use super::fixture::*;
use crate::domain::{
    decision::{DenialCode::*, Violated},
    id::{DEFAULT_TEAM, KeyId, MemberId, TeamId},
    money::Nanos,
    operation::Reserve,
    policy::{Models, Place, Scope},
    time::{Span, Timestamp},
};
use crate::engine::turn::{KeyChange, MemberChange, OrganizationChange, TeamChange};

#[test]
fn the_code_is_that_of_the_first_check_that_fails() {
    let mut world = World::new();
    world.limits(vec![usd("b", 0), rpm("r", 0), slots("s", 0)]);
    world.wallet(0);
    let code = |world: &mut World| world.refused(cost(1)).code;
    assert_eq!(code(&mut world), ConcurrencyExceeded);
    world.limits(vec![usd("b", 0), tpm("t", 0), rpm("r", 0)]);
    assert_eq!(code(&mut world), RateLimitExceeded);
    world.limits(vec![usd("b", 0)]);
    assert_eq!(code(&mut world), BudgetExceeded);
    world.limits(vec![]);
    assert_eq!(code(&mut world), WalletInsufficient);

    let unpriced = Reserve { model: model("unheard-of"), ..ask("u", tokens(1, 1)) };
    world.limits(vec![slots("s", 0)]);
    let denial = world.try_reserve(&unpriced).unwrap_err();
    assert_eq!((denial.code, denial.code.http_status()), (ModelUnpriced, 400));
    world.key(KeyChange {
        models: Some(Models::checked("models", vec![pattern("only")]).unwrap()),
        ..Default::default()
    });
    assert_eq!(world.try_reserve(&unpriced).unwrap_err().code, ModelNotAllowed);
    world.organization(OrganizationChange { disabled: Some(true), ..Default::default() });
    assert_eq!(code(&mut world), OrganizationInactive);
    world.team(TeamChange { disabled: Some(true), ..Default::default() });
    assert_eq!(code(&mut world), TeamInactive);
    world.member(MemberChange { disabled: Some(true), ..Default::default() });
    assert_eq!(code(&mut world), MemberInactive);
    let now = world.now;
    world.key(KeyChange { expire_time: Some(Some(now)), ..Default::default() });
    assert_eq!(code(&mut world), KeyExpired);
    world.key(KeyChange { disabled: Some(true), ..Default::default() });
    assert_eq!(code(&mut world), KeyDisabled);
    world.turn(|turn| turn.delete_key(&KeyId::trusted(KEY))).unwrap();
    assert_eq!(code(&mut world), KeyUnknown);
}

#[test]
fn everything_that_fails_is_listed_in_the_order_of_the_checks() {
    let mut world = World::new();
    let (ann, home) = (MemberId::trusted("ann"), TeamId::trusted(DEFAULT_TEAM));
    world.wallet(1);
    world.limits(vec![usd("key-usd", 1), slots("key-slots", 0), usd("roomy", 1_000_000)]);
    world.set_policy(&Place::Membership(home.clone(), ann.clone()), vec![usd("joint-usd", 1)]).unwrap();
    world.set_policy(&Place::Member(ann), vec![tpm("member-tpm", 1), credits("member-credits", 1)]).unwrap();
    world.set_policy(&Place::Team(home), vec![usd("team-usd", 1)]).unwrap();
    world.set_policy(&Place::Organization, vec![rpm("org-rpm", 0), usd("org-usd", 1)]).unwrap();
    world.member(MemberChange { disabled: Some(true), ..Default::default() });
    let denial = world.refused(tokens(10, 10));
    let expected = [
        "member",
        "key-slots",
        "member-tpm",
        "org-rpm",
        "key-usd",
        "joint-usd",
        "member-credits",
        "team-usd",
        "org-usd",
        "wallet",
    ];
    assert_eq!(named(&denial), expected);
    assert_eq!(denial.code, MemberInactive);
}

#[test]
fn a_violation_says_which_limit_and_every_number_of_it() {
    let mut world = World::new();
    world.set_policy(&Place::Organization, vec![daily("b", 100)]).unwrap();
    world.charge("c", cost(10));
    world.reserve("r", cost(20));
    let denial = world.refused(cost(71));
    let Violated::Limit { state, asked } = &denial.violations[0].at else { panic!("{denial:?}") };
    assert_eq!((state.scope, state.scope_id.as_str()), (Scope::Organization, "acme"));
    assert_eq!((state.max, state.spent, state.held, *asked, state.remaining()), (Some(100), 10, 20, 71, Some(70)));
    assert_eq!(state.reset_time, Some(NOON + Span::HOUR + Span::seconds(11 * 3600)));
    assert!(state.period.is_some());
    assert_eq!(denial.retry_after(), Some(Span::seconds(600)), "until the hold runs out");
    assert_eq!(denial.message, "Budget exceeded");
}

#[test]
fn retry_after_is_absent_when_waiting_does_not_help() {
    let mut world = World::new();
    world.limits(vec![usd("once", 10)]);
    assert_eq!(world.refused(cost(11)).retry_after(), None, "one_time");
    world.limits(vec![daily("day", 10)]);
    assert_eq!(world.refused(cost(11)).retry_after(), None, "asked above max");
    world.limits(vec![tpm("t", 10)]);
    assert_eq!(world.refused(tokens(6, 5)).retry_after(), None, "an estimate larger than the quota can never run");
    world.limits(vec![slots("s", 0)]);
    assert_eq!(world.refused(cost(0)).retry_after(), None);
    world.limits(vec![]);
    world.key(KeyChange { disabled: Some(true), ..Default::default() });
    assert_eq!(world.refused(cost(0)).retry_after(), None);
}

#[test]
fn retry_after_is_the_longest_wait() {
    let mut world = World::new();
    world.limits(vec![slots("s", 1)]);
    world.reserve("r", cost(1));
    assert_eq!(world.refused(cost(1)).retry_after(), Some(Span::SECOND), "1 s for concurrency");
    let mut world = World::new();
    world.limits(vec![rpm("r", 1), daily("d", 10)]);
    world.charge("c", cost(4));
    assert_eq!(world.refused(cost(6)).retry_after(), Some(Span::seconds(61)));
    let denial = world.refused(cost(7));
    assert_eq!((denial.code, denial.retry_after()), (RateLimitExceeded, Some(Span::seconds(12 * 3600))));
}

#[test]
fn waiting_does_not_help_where_the_key_expires_first() {
    let mut world = World::new();
    world.limits(vec![daily("d", 10)]);
    let end = world.now + MINUTE;
    world.key(KeyChange { expire_time: Some(Some(end)), ..Default::default() });
    world.charge("c", cost(10));
    assert_eq!(world.refused(cost(1)).retry_after(), None);
}

#[test]
fn a_key_is_refused_from_its_expiry_on() {
    let mut world = World::new();
    let end = world.now + MINUTE;
    world.key(KeyChange { expire_time: Some(Some(end)), ..Default::default() });
    world.now = Timestamp::from_micros(end.micros() - 1);
    world.reserve("r", cost(1));
    world.now = end;
    assert_eq!(world.refused(cost(1)).code, KeyExpired);
}

#[test]
fn a_model_without_price_is_refused_unless_the_caller_gives_the_cost() {
    let mut world = World::new();
    world.wallet(100);
    let unpriced = |id, usage| Reserve { model: model("unheard-of"), ..ask(id, usage) };
    assert_eq!(world.try_reserve(&unpriced("a", tokens(0, 0))).unwrap_err().code, ModelUnpriced);
    assert_eq!(world.try_reserve(&unpriced("b", cost(7))).unwrap().held.usd, Nanos::new(7));
    let denied = world.try_charge(&crate::domain::operation::Charge {
        model: model("unheard-of"),
        already_used: true,
        ..charge("c", tokens(1, 1))
    });
    assert_eq!(denied.unwrap().unwrap_err().code, ModelUnpriced);
}

#[test]
fn an_unpriced_refusal_still_names_quotas_that_fail() {
    let mut world = World::new();
    world.limits(vec![usd("b", 0), rpm("r", 0)]);
    let denial = world.try_reserve(&Reserve { model: model("unheard-of"), ..ask("u", tokens(1, 1)) }).unwrap_err();
    assert_eq!(named(&denial), ["key", "r"], "what it would cost nobody knows");
}
