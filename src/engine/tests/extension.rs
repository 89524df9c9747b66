//! Extend: renews, reports, raises; a denial changes nothing.

use super::fixture::*;
use crate::domain::{decision::DenialCode::*, money::Nanos, operation::Extend, time::Span, usage::Usage};

fn estimate(usage: Usage) -> Extend {
    Extend { estimate: Some(usage), ..renew() }
}

fn so_far(usage: Usage) -> Extend {
    Extend { usage_so_far: Some(usage), ..renew() }
}

#[test]
fn extend_renews_the_life_of_a_hold() {
    let mut world = World::new();
    let no = world.reserve("r", cost(5));
    for _ in 0..5 {
        world.advance(Span::seconds(599));
        let granted = world.extend(no, &renew()).unwrap().unwrap();
        assert_eq!(granted.expire_time, world.now + Span::seconds(600));
        assert_eq!(granted.held.usd, Nanos::new(5));
    }
}

#[test]
fn an_estimate_is_the_new_total() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100_000), tpm("t", 50)]);
    world.wallet(100_000);
    let no = world.reserve("r", tokens(5, 5));
    let granted = world.extend(no, &estimate(tokens(5, 10))).unwrap().unwrap();
    assert_eq!((granted.held.usd, granted.output_tokens), (Nanos::new(25_000), 10));
    assert_eq!(world.counted("b"), (0, 25_000));
    assert_eq!(world.counted("t"), (15, 0));
    assert_eq!(world.state.wallet.held, Nanos::new(25_000));
    world.commit(no, tokens(5, 1));
    assert_eq!(world.counted("b"), (7_000, 0));
    assert_eq!(world.state.wallet.held, Nanos::ZERO);
}

#[test]
fn an_estimate_that_does_not_fit_is_denied_and_changes_nothing() {
    let mut world = World::new();
    world.limits(vec![usd("b", 20_000), tpm("t", 12)]);
    world.wallet(18_000);
    let no = world.reserve("r", tokens(5, 5));
    world.advance(Span::seconds(10));
    let before = world.state.clone();
    let denial = world.extend(no, &estimate(tokens(5, 8))).unwrap().unwrap_err();
    assert_eq!((denial.code, named(&denial)), (RateLimitExceeded, ["t", "b", "wallet"].map(String::from).to_vec()));
    assert_eq!(world.state, before);
}

#[test]
fn progress_and_estimate_never_shrink() {
    let mut world = World::new();
    let no = world.reserve("r", tokens(5, 50));
    assert!(is_invalid(&world.extend(no, &estimate(tokens(5, 49))), "estimate"));
    world.extend(no, &so_far(tokens(5, 20))).unwrap().unwrap();
    assert!(is_invalid(&world.extend(no, &so_far(tokens(5, 19))), "usage_so_far"));
    world.extend(no, &so_far(tokens(5, 20))).unwrap().unwrap();
    world.extend(no, &estimate(tokens(5, 60))).unwrap().unwrap();
    assert!(is_invalid(&world.extend(no, &estimate(tokens(5, 59))), "estimate"));
}

#[test]
fn progress_beyond_the_estimate_is_held() {
    let mut world = World::new();
    world.limits(vec![usd("b", 30)]);
    let no = world.reserve("r", cost(10));
    assert_eq!(world.extend(no, &so_far(cost(25))).unwrap().unwrap().held.usd, Nanos::new(25));
    assert_eq!(world.counted("b"), (0, 25));
    assert_eq!(named(&world.extend(no, &so_far(cost(31))).unwrap().unwrap_err()), ["b"]);
    assert_eq!(world.commit(no, cost(31)).overage.usd, Nanos::new(1));
}

#[test]
fn an_extension_holds_only_on_what_it_was_admitted_on() {
    let mut world = World::new();
    let no = world.reserve("r", cost(10));
    world.limits(vec![usd("later", 5)]);
    world.extend(no, &estimate(cost(50))).unwrap().unwrap();
    assert_eq!(world.counted("later"), (0, 0));
}

#[test]
fn extend_of_an_unknown_reservation_is_no_denial() {
    let mut world = World::new();
    let unknown = crate::domain::reservation_id::ReservationNo { epoch: 1, sequence: 999 };
    assert_eq!(world.extend(unknown, &renew()).unwrap_err(), crate::engine::conflict::Conflict::ReservationUnknown);
    let no = world.reserve("r", cost(10));
    world.key(crate::engine::turn::KeyChange { disabled: Some(true), ..Default::default() });
    assert_eq!(world.extend(no, &renew()).unwrap().unwrap_err().code, Revoked);
}

#[test]
fn waiting_helps_an_extension_only_where_a_quota_slides_before_the_hold_expires() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10), tpm("t", 10)]);
    let no = world.reserve("r", Usage { input_tokens: 5, ..cost(5) });
    let more = |tokens, nanos| estimate(Usage { input_tokens: tokens, ..cost(nanos) });
    let denial = world.extend(no, &more(5, 11)).unwrap().unwrap_err();
    assert_eq!(denial.retry_after(), None, "the day that it was admitted in never starts over for it");
    let denial = world.extend(no, &more(11, 5)).unwrap().unwrap_err();
    assert_eq!(denial.retry_after(), Some(Span::seconds(61)));
    world.advance(Span::seconds(550));
    world.charge("c", Usage { input_tokens: 10, ..cost(0) });
    let denial = world.extend(no, &more(6, 5)).unwrap().unwrap_err();
    assert_eq!(denial.retry_after(), None, "by then it has expired");
}

#[test]
fn what_is_held_covers_estimate_and_progress_together() {
    let mut world = World::new();
    let no = world.reserve("r", tokens(12, 0));
    let granted = world.extend(no, &so_far(tokens(0, 4))).unwrap().unwrap();
    assert_eq!((granted.held.tokens, granted.held.usd), (16, Nanos::new(20_000)));
    let cached =
        |cached_input_tokens, cache_write_tokens| Usage { cached_input_tokens, cache_write_tokens, ..tokens(1, 0) };
    let no = world.reserve("s", cached(1, 0));
    let granted = world.extend(no, &so_far(cached(0, 1))).unwrap().unwrap();
    assert_eq!(granted.held.tokens, 2, "an input has room for its cached parts");
}
