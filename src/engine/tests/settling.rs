//! Commit, Release and Charge: what was held becomes what was used.

use super::fixture::*;
use crate::domain::{
    event::{EntryKind, Event, Settled},
    money::Nanos,
    operation::{Charge, Commit, Extend, Reserve},
    price::Price,
    time::Span,
    usage::{Amounts, Usage},
};
use crate::engine::conflict::Conflict;

fn last_entry(world: &World) -> &Settled {
    let settled = world.records.iter().rev().find_map(|record| match &record.event {
        Event::Settled(settled) => Some(&**settled),
        _ => None,
    });
    settled.unwrap()
}

#[test]
fn a_commit_replaces_the_hold_by_what_was_used_smaller_or_larger() {
    for used in [0, 10, 40, 41, 100, 120] {
        let mut world = World::new();
        world.limits(vec![usd("b", 100)]);
        world.wallet(1000);
        let no = world.reserve("r", cost(40));
        assert_eq!(world.state.wallet.held, Nanos::new(40));
        let charged = world.commit(no, cost(used));
        assert_eq!(world.counted("b"), (used, 0));
        assert_eq!((charged.charged.usd, charged.balance), (Nanos::new(used), Nanos::new(1000 - used)));
        assert_eq!(charged.overage.usd, Nanos::new((used - 100).max(0)));
        assert_eq!((world.state.wallet.held, world.state.wallet.balance), (Nanos::ZERO, Nanos::new(1000 - used)));
        assert_eq!(world.state.open_count(), 0);
    }
}

#[test]
fn an_overage_is_charged_shown_and_leaves_the_limit_above_its_cap() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100), tpm("t", 1000), rpm("r", 3)]);
    let (first, second) = (world.reserve("a", cost(50)), world.reserve("b", cost(50)));
    let over = Usage { input_tokens: 1200, requests: 4, ..cost(70) };
    let charged = world.commit(first, over);
    let expected = Amounts { usd: Nanos::new(20), credits: Nanos::ZERO, tokens: 200, requests: 2 };
    assert_eq!(charged.overage, expected, "beside what the other still holds");
    assert_eq!(world.commit(second, cost(50)).overage, Amounts::ZERO, "what was held is no overage");
    assert_eq!(world.counted("b"), (120, 0));
    assert_eq!(named(&world.refused(cost(0))), ["t", "r", "b"]);
}

#[test]
fn an_overage_of_the_wallet_is_charged_too() {
    let mut world = World::new();
    world.wallet(100);
    let no = world.reserve("r", cost(60));
    let charged = world.commit(no, cost(130));
    assert_eq!((charged.overage.usd, charged.balance), (Nanos::new(30), Nanos::new(-30)));
    assert_eq!(named(&world.refused(cost(0))), ["wallet"]);
}

#[test]
fn usage_without_tokens_counts_its_requests() {
    let mut world = World::new();
    world.limits(vec![rpm("r", 2), usd("b", 10)]);
    let no = world.reserve("a", tokens(0, 0));
    world.commit(no, tokens(0, 0));
    world.charge("b", tokens(0, 0));
    assert_eq!(world.counted("r"), (2, 0));
    assert_eq!(named(&world.refused(tokens(0, 0))), ["r"]);
    assert_eq!(world.state.entry, 2, "each has its entry in the books");
}

#[test]
fn a_release_gives_everything_back() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100), rpm("r", 1), tpm("t", 1), slots("s", 1)]);
    world.wallet(100);
    let entry = world.state.entry;
    for i in 0..5 {
        let no = world.reserve(&i.to_string(), Usage { input_tokens: 1, ..cost(100) });
        assert!(!world.release(no).unwrap());
    }
    for id in ["b", "r", "t", "s"] {
        assert_eq!(world.counted(id), (0, 0), "{id}");
    }
    assert_eq!((world.state.wallet.held, world.state.entry), (Nanos::ZERO, entry));
}

#[test]
fn a_release_charges_what_was_reported_as_used_and_a_repeat_says_so() {
    let mut world = World::new();
    world.limits(vec![usd("b", 100)]);
    world.wallet(100);
    let no = world.reserve("r", cost(50));
    world.extend(no, &Extend { usage_so_far: Some(cost(8)), ..renew() }).unwrap().unwrap();
    let mut release = || world.turn(|turn| turn.release(no, &"".into())).unwrap();
    let (first, again) = (release(), release());
    let charged = (first.charged.usd.get(), first.released.usd.get(), first.balance.get());
    assert_eq!((charged, first.entry, first.replayed), ((8, 42, 92), 2, false));
    assert_eq!((again.charged, again.released, again.entry, again.replayed), (first.charged, first.released, 2, true));
    assert_eq!((world.counted("b"), world.state.wallet.balance), ((8, 0), Nanos::new(92)));
}

#[test]
fn slots_never_leak_however_a_reservation_ends() {
    let mut world = World::new();
    world.limits(vec![slots("s", 2)]);
    for i in 0..20 {
        let ttl = Span::seconds(30);
        let granted = world.try_reserve(&Reserve { ttl, ..ask(&i.to_string(), tokens(1, 1)) }).unwrap();
        match i % 4 {
            0 => drop(world.commit(granted.reservation, tokens(1, 5))),
            1 => drop(world.release(granted.reservation)),
            2 => {
                world.advance(ttl);
                world.expire_due();
                world.commit(granted.reservation, tokens(9, 9));
                assert_eq!(world.counted("s"), (0, 0), "a late commit gives back no second slot");
            }
            _ => {
                world.extend(granted.reservation, &renew()).unwrap().unwrap();
                world.release(granted.reservation).unwrap();
            }
        }
        assert_eq!(world.counted("s"), (0, 0));
    }
    let no = world.reserve("open", tokens(1, 1));
    assert_eq!(world.counted("s"), (0, 1));
    world.charge("charge", tokens(1, 1));
    assert_eq!(world.counted("s"), (0, 1), "a Charge is over at once");
    world.limits(vec![]);
    world.limits(vec![slots("s", 1)]);
    world.release(no).unwrap();
    assert_eq!(world.counted("s"), (0, 0), "a limit set anew doesn't count what was open before");
}

#[test]
fn the_price_taken_at_reserve_is_kept_unless_another_model_ran() {
    let mut world = World::new();
    let (first, second) = (world.reserve("a", tokens(10, 0)), world.reserve("b", tokens(10, 0)));
    world.set_price(MODEL, Price { input: Nanos::units(50), ..Price::default() });
    world.set_price("big", Price { input: Nanos::units(7), per_request: Nanos::new(5), ..Price::default() });
    assert_eq!(world.commit(first, tokens(10, 0)).charged.usd, Nanos::new(10_000));
    let other = Commit { usage: tokens(10, 0), model: Some(model("big")) };
    assert_eq!(world.try_commit(second, &other).unwrap().charged.usd, Nanos::new(70_005));
    let entry = last_entry(&world);
    assert_eq!((&entry.model, entry.reserved_model.as_ref()), (&model("big"), Some(&model(MODEL))));
}

#[test]
fn a_commit_is_never_refused_for_its_price() {
    let mut world = World::new();
    let (first, second) = (world.reserve("a", tokens(10, 0)), world.reserve("b", cost(77)));
    world.prices.remove(&model(MODEL));
    let other = Commit { usage: tokens(20, 0), model: Some(model("unheard-of")) };
    assert_eq!(world.try_commit(first, &other).unwrap().charged.usd, Nanos::new(20_000), "the reserved price");
    assert_eq!(world.commit(second, tokens(1, 1)).charged.usd, Nanos::new(77), "what was held, without any price");
}

#[test]
fn a_settlement_reads_its_cache_as_the_price_says() {
    let mut world = World::new();
    let beside = Price { input: Nanos::units(1), cache_outside_input: true, ..Price::default() };
    world.set_price(MODEL, beside);
    let no = world.reserve("a", tokens(10, 0));
    let usage = Usage { cached_input_tokens: 4, ..tokens(10, 0) };
    assert_eq!(world.commit(no, usage).charged.tokens, 14);
}

#[test]
fn a_cost_that_the_caller_gives_goes_before_the_price_book() {
    let mut world = World::new();
    let no = world.reserve("a", tokens(10, 0));
    let usage = Usage { cost: Some(Nanos::new(3)), ..tokens(10, 0) };
    assert_eq!(world.commit(no, usage).charged.usd, Nanos::new(3));
    assert_eq!(last_entry(&world).price, None);
}

#[test]
fn a_settlement_never_ends_a_reservation_twice() {
    let mut world = World::new();
    let (first, second) = (world.reserve("a", cost(1)), world.reserve("b", cost(1)));
    let commit = Commit { usage: cost(2), model: None };
    let charged = world.try_commit(first, &commit).unwrap();
    let again = world.try_commit(first, &commit).unwrap();
    assert!(again.replayed && !charged.replayed);
    assert_eq!((again.entry, again.charged, again.balance), (charged.entry, charged.charged, charged.balance));
    let other = Commit { usage: cost(3), model: None };
    assert_eq!(world.try_commit(first, &other).unwrap_err(), Conflict::SettledOtherwise);
    assert_eq!(world.release(first).unwrap_err(), Conflict::ReservationCommitted);

    assert!(!world.release(second).unwrap());
    assert!(world.release(second).unwrap(), "a repeat is answered again");
    assert_eq!(world.turn(|turn| turn.release(second, &"other".into())).unwrap_err(), Conflict::SettledOtherwise);
    assert_eq!(world.try_commit(second, &commit).unwrap_err(), Conflict::ReservationReleased);
    assert!(matches!(world.extend(second, &renew()).unwrap_err(), Conflict::ReservationReleased));
    assert!(matches!(world.extend(first, &renew()).unwrap_err(), Conflict::ReservationCommitted));
    assert_eq!(world.state.entry, 1);
}

#[test]
fn a_reservation_older_than_a_day_is_too_old() {
    let mut world = World::new();
    let no = world.reserve("a", cost(1));
    world.advance(Span::DAY);
    assert!(world.commit(no, cost(1)).late, "exactly 24 h is not older");
    world.advance(Span::micros(1));
    let commit = Commit { usage: cost(1), model: None };
    assert_eq!(world.try_commit(no, &commit).unwrap_err(), Conflict::ReservationTooOld);
    assert_eq!(world.release(no).unwrap_err(), Conflict::ReservationTooOld);
}

#[test]
fn a_charge_is_decided_like_a_reservation() {
    let mut world = World::new();
    world.limits(vec![usd("b", 10), slots("s", 1)]);
    let denial = world.try_charge(&charge("a", cost(11))).unwrap().unwrap_err();
    assert_eq!(named(&denial), ["b"]);
    assert_eq!(world.charge("a", cost(10)).overage, Amounts::ZERO);
    assert_eq!(world.counted("b"), (10, 0));
}

#[test]
fn usage_that_happened_already_is_charged_beyond_every_limit() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10), rpm("r", 0), slots("s", 0), tpm("t", 5)]);
    world.wallet(5);
    let used = Charge { already_used: true, ..charge("a", Usage { input_tokens: 8, ..cost(12) }) };
    let charged = world.try_charge(&used).unwrap().unwrap();
    let expected = Amounts { usd: Nanos::new(7), credits: Nanos::ZERO, tokens: 3, requests: 1 };
    assert_eq!((charged.overage, charged.balance), (expected, Nanos::new(-7)), "the worst limit of each unit");
    assert_eq!(world.counted("b"), (12, 0));
    assert_eq!(world.counted("s"), (0, 0));
}

#[test]
fn a_charge_counts_when_it_happened() {
    let mut world = World::new();
    world.limits(vec![daily("b", 10)]);
    world.charge("today", cost(4));
    let back = |id, hours: i64| Charge {
        already_used: true,
        occurred_at: Some(NOON - Span::seconds(hours * 3600)),
        ..charge(id, cost(9))
    };
    assert_eq!(world.try_charge(&back("a", 13)).unwrap().unwrap().overage, Amounts::ZERO);
    assert_eq!(world.counted("b"), (4, 0), "yesterday's window");
    let again = world.try_charge(&back("b", 14)).unwrap().unwrap();
    assert_eq!(again.overage.usd, Nanos::new(8), "yesterday stands at 18 of 10");
    assert_eq!(last_entry(&world).kind, EntryKind::Charge);
    assert!(is_invalid(&world.try_charge(&back("c", 25)), "occurred_at"));
    assert!(is_invalid(&world.try_charge(&back("d", -1)), "occurred_at"));
    let undecided = Charge { already_used: false, ..back("e", 1) };
    assert!(is_invalid(&world.try_charge(&undecided), "occurred_at"));
}
