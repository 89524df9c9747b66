//! Quotas slide: at most N in any 60 seconds.

use super::fixture::*;
use crate::domain::{decision::DenialCode::*, operation::Extend, policy::Place, time::Span, usage::Usage};

fn requests(requests: u64) -> Usage {
    Usage { requests, ..cost(0) }
}

#[test]
fn a_request_counts_from_admission_and_slides_out_though_it_is_open() {
    let mut world = World::new();
    world.limits(vec![rpm("r", 2)]);
    world.reserve("a", cost(0));
    world.advance(Span::seconds(30));
    world.reserve("b", cost(0));
    assert_eq!(world.refused(cost(0)).retry_after(), Some(Span::seconds(31)), "one second of rounding");
    world.advance(Span::seconds(31));
    world.reserve("c", cost(0));
    assert_eq!(world.refused(cost(0)).code, RateLimitExceeded, "not 2N across a minute's edge");
    assert_eq!(world.state.open_count(), 3);
}

#[test]
fn a_reservation_of_many_requests_takes_one_slot_and_all_of_the_rate() {
    let mut world = World::new();
    world.limits(vec![rpm("r", 10), slots("s", 2)]);
    world.reserve("a", requests(8));
    assert_eq!((world.counted("r"), world.counted("s")), ((8, 0), (0, 1)));
    assert_eq!(named(&world.refused(requests(3))), ["r"]);
}

/// Case M9.
#[test]
fn a_quota_that_is_used_up_or_zero_admits_nothing_in_any_unit_not_even_what_uses_nothing() {
    let nothing = || Usage { requests: 0, ..tokens(0, 0) };
    for (limit, is_quota) in [(tpm("l", 0), true), (rpm("l", 0), true), (slots("l", 0), true), (usd("l", 0), false)] {
        let mut world = World::new();
        world.limits(vec![limit]);
        let denial = world.refused(tokens(0, 0));
        assert_eq!((named(&denial), denial.retry_after()), (vec!["l".to_owned()], None));
        assert_eq!(denial.code == BudgetExceeded, !is_quota);
    }
    let mut world = World::new();
    world.limits(vec![tpm("t", 100)]);
    world.reserve("a", tokens(100, 0));
    let denial = world.refused(tokens(0, 0));
    assert_eq!((named(&denial), denial.retry_after()), (vec!["t".to_owned()], Some(Span::seconds(61))));
    world.advance(Span::seconds(61));
    world.reserve("b", nothing());
}

#[test]
fn a_commit_corrects_the_second_of_its_admission() {
    let mut world = World::new();
    world.limits(vec![tpm("t", 100)]);
    let no = world.reserve("a", tokens(10, 80));
    world.advance(Span::seconds(50));
    world.commit(no, tokens(10, 20));
    assert_eq!(world.counted("t"), (30, 0));
    world.reserve("b", tokens(70, 0));
    world.advance(Span::seconds(11));
    assert_eq!(world.counted("t"), (70, 0), "and slides out with it");
}

#[test]
fn a_surplus_beyond_the_span_counts_at_commit_and_nothing_is_given_back() {
    let mut world = World::new();
    world.limits(vec![tpm("t", 100)]);
    let (over, under) = (world.reserve("a", tokens(10, 10)), world.reserve("b", tokens(10, 10)));
    world.advance(Span::seconds(61));
    world.reserve("c", tokens(50, 0));
    world.commit(under, tokens(1, 0));
    assert_eq!(world.counted("t"), (50, 0));
    world.commit(over, tokens(10, 40));
    assert_eq!(world.counted("t"), (80, 0));
}

#[test]
fn an_extension_counts_what_it_adds() {
    let mut world = World::new();
    world.limits(vec![tpm("t", 100)]);
    let no = world.reserve("a", tokens(10, 10));
    let more = |output| Extend { estimate: Some(tokens(10, output)), ..renew() };
    world.extend(no, &more(50)).unwrap().unwrap();
    world.extend(no, &more(50)).unwrap().unwrap();
    assert_eq!(world.counted("t"), (60, 0));
    let denial = world.extend(no, &more(91)).unwrap().unwrap_err();
    assert_eq!((denial.code, named(&denial)), (RateLimitExceeded, vec![String::from("t")]));
    assert_eq!(world.counted("t"), (60, 0));
}

#[test]
fn concurrent_requests_never_pass_a_token_quota_together() {
    let mut world = World::new();
    world.set_policy(&Place::Organization, vec![tpm("t", 100)]).unwrap();
    let granted = (0..5).filter(|i| world.try_reserve(&ask(&i.to_string(), tokens(20, 10))).is_ok()).count();
    assert_eq!(granted, 3);
}
