//! Limits that are changed while a reservation is open, of which another model ran in the end (case M1): those that it met at its
//! admission count it, if they bind that model by then.

use super::{fixture::*, rules::rule};
use crate::{
    domain::{
        id::KeyId,
        money::Nanos,
        operation::{Charge, Commit, Extend, Reserve},
        period::Period,
        policy::{BudgetUnit, Limit, Place},
        price::Price,
        reservation_id::ReservationNo,
        rule::{Cap, CapPeriod},
        time::Span,
    },
    engine::turn::Forgotten,
};

const BIG: &str = "big";
const TTL: Span = Span::seconds(30);

fn big_only() -> Limit {
    only(BIG, usd("b", 100))
}

fn elsewhere() -> Limit {
    only("small", usd("b", 100))
}

fn everywhere() -> Limit {
    usd("b", 100)
}

fn world(limits: Vec<Limit>) -> World {
    let mut world = World::new();
    world.set_price(BIG, Price { input: Nanos::units(7), ..Price::default() });
    world.limits(limits);
    world
}

impl World {
    fn reserve_free(&mut self) -> ReservationNo {
        let ask = Reserve { model: model(FREE), ttl: TTL, ..ask("free", cost(2)) };
        self.try_reserve(&ask).unwrap().reservation
    }

    fn ran_big(&mut self, no: ReservationNo) {
        self.try_commit(no, &Commit { usage: cost(5), model: Some(model(BIG)) }).unwrap();
    }

    fn used_big(&mut self, id: &str) {
        let charge = Charge { model: model(BIG), already_used: true, ..charge(id, cost(1)) };
        self.try_charge(&charge).unwrap().unwrap();
    }

    /// Spent and held of `b`, which may be narrowed.
    fn of_b(&self) -> (i64, i64) {
        let numbers = self.state.limits_of(&Place::Key(KeyId::trusted(KEY))).iter().copied();
        let state = self.state.limit_states(numbers, None, self.now).next().unwrap();
        (state.spent, state.held)
    }
}

#[test]
fn a_limit_that_was_widened_to_the_model_that_ran_counts_it() {
    for (before, after) in [(elsewhere(), everywhere()), (elsewhere(), big_only()), (big_only(), everywhere())] {
        let mut world = world(vec![before]);
        let no = world.reserve_free();
        world.limits(vec![after]);
        world.ran_big(no);
        assert_eq!(world.of_b(), (5, 0));
    }
    let mut world = world(vec![only("small", tpm("t", 100)), only("small", rpm("r", 9)), only("small", slots("s", 1))]);
    let no = world.reserve_free();
    world.limits(vec![tpm("t", 100), rpm("r", 9), slots("s", 1)]);
    world.try_commit(no, &Commit { usage: tokens(40, 2), model: Some(model(BIG)) }).unwrap();
    assert_eq!(["t", "r", "s"].map(|id| world.counted(id)), [(42, 0), (1, 0), (0, 0)]);
}

#[test]
fn a_limit_that_was_narrowed_counts_what_ran_only_if_it_binds_that_still() {
    for (after, spent) in [(elsewhere(), 0), (only(FREE, usd("b", 100)), 0), (big_only(), 5), (everywhere(), 5)] {
        let mut world = world(vec![everywhere()]);
        let no = world.reserve_free();
        assert_eq!(world.of_b(), (0, 2));
        world.limits(vec![after]);
        world.ran_big(no);
        assert_eq!(world.of_b(), (spent, 0));
    }
    let mut world = world(vec![big_only()]);
    let no = world.reserve_free();
    world.limits(vec![elsewhere()]);
    world.ran_big(no);
    assert_eq!(world.of_b(), (0, 0), "it bound that model at the admission, but not by the time it ran");
}

#[test]
fn a_limit_that_was_added_after_the_admission_does_not_count_it() {
    for added in [big_only(), everywhere(), only(FREE, usd("b", 100))] {
        let mut world = world(vec![]);
        let no = world.reserve_free();
        world.limits(vec![added]);
        world.ran_big(no);
        assert_eq!(world.of_b(), (0, 0));
    }
}

#[test]
fn a_rule_that_was_bound_after_the_admission_does_not_count_it_whenever_its_counter_was_opened() {
    for was_bound_before in [false, true] {
        let mut world = world(vec![]);
        world.create_rule(rule("r", Some(Cap { enabled: true, max: Nanos::new(100), period: CapPeriod::Daily }), None));
        if was_bound_before {
            world.bind(KEY, Some("r"));
            world.used_big("before");
            world.bind(KEY, None);
        }
        let no = world.reserve_free();
        world.bind(KEY, Some("r"));
        world.open_counters(KEY);
        world.ran_big(no);
        let key = world.state.keys.place(&KeyId::trusted(KEY)).unwrap();
        let cap = world.state.cap_state(key, world.now).unwrap();
        assert_eq!(cap.spent, i64::from(was_bound_before));
    }
}

#[test]
fn a_limit_that_was_removed_counts_what_ran_under_it_if_it_comes_back() {
    let mut world = world(vec![big_only()]);
    world.used_big("before");
    let no = world.reserve_free();
    world.limits(vec![]);
    world.ran_big(no);
    world.limits(vec![big_only()]);
    assert_eq!(world.of_b(), (6, 0), "it counts what was admitted under it");
}

#[test]
fn a_limit_that_was_removed_counts_no_other_model_than_it_bound() {
    let of_free = || only(FREE, usd("b", 100));
    let mut world = world(vec![of_free()]);
    let no = world.reserve_free();
    let other = world.reserve_as(KEY, &Reserve { model: model(FREE), ..ask("other", cost(3)) }).unwrap().unwrap();
    world.limits(vec![]);
    world.ran_big(no);
    world.limits(vec![of_free()]);
    assert_eq!(world.of_b(), (0, 3), "it still counts what the other holds");
    world.release(other.reservation).unwrap();
}

#[test]
fn a_limit_that_was_made_again_counts_what_ran_only_if_it_was_there_at_the_admission() {
    let mut there = world(vec![big_only()]);
    there.used_big("before");
    let no = there.reserve_free();
    there.limits(vec![]);
    there.limits(vec![big_only()]);
    there.ran_big(no);
    assert_eq!(there.of_b(), (6, 0));

    let mut away = world(vec![big_only()]);
    away.used_big("before");
    away.limits(vec![]);
    let no = away.reserve_free();
    away.limits(vec![big_only()]);
    away.ran_big(no);
    assert_eq!(away.of_b(), (1, 0));

    let mut restarted = world(vec![big_only()]);
    restarted.used_big("before");
    let no = restarted.reserve_free();
    let every = Period::Every { seconds: 3600, anchor: 0 };
    restarted.restart_limits(vec![only(BIG, budget("b", BudgetUnit::Usd, 100, every))]);
    restarted.ran_big(no);
    assert_eq!(restarted.of_b(), (0, 0), "another period is another counter");
}

#[test]
fn a_hold_that_a_crash_forgot_counts_on_the_limits_that_bind_what_ran() {
    let mut world = world(vec![elsewhere()]);
    let no = world.reserve_free();
    let kept = world.records.len() - 1;
    world.crash(kept);
    let forgotten = Forgotten { no, key: KeyId::trusted(KEY), model: model(FREE), admit_time: world.now };
    world.turn(|turn| turn.restore(&forgotten)).unwrap();
    world.limits(vec![everywhere()]);
    world.ran_big(no);
    assert_eq!(world.of_b(), (5, 0));
}

#[test]
fn a_model_without_a_price_counts_on_the_limits_of_both() {
    let mut world = world(vec![only("dated", usd("b", 100)), only(FREE, usd("f", 100))]);
    let no = world.reserve_free();
    world.try_commit(no, &Commit { usage: cost(5), model: Some(model("dated")) }).unwrap();
    let numbers = world.state.limits_of(&Place::Key(KeyId::trusted(KEY))).iter().copied();
    let counted: Vec<_> =
        world.state.limit_states(numbers, None, world.now).map(|state| (state.spent, state.held)).collect();
    assert_eq!(counted, [(5, 0), (5, 0)]);
}

#[test]
fn what_was_held_on_other_limits_makes_an_overage_no_smaller() {
    let mut world = world(vec![only(BIG, usd("b", 3)), only(FREE, usd("f", 100))]);
    let ask = Reserve { model: model(FREE), ..ask("free", cost(5)) };
    let no = world.try_reserve(&ask).unwrap().reservation;
    let charged = world.try_commit(no, &Commit { usage: cost(5), model: Some(model(BIG)) }).unwrap();
    assert_eq!((charged.overage.usd, world.of_b()), (Nanos::new(2), (5, 0)));
}

#[test]
fn what_ends_as_it_was_reserved_counts_on_no_limit_that_was_widened_since() {
    let progress = Extend { ttl: TTL, usage_so_far: Some(cost(1)), estimate: None };
    for end in ["commit", "release", "expiry", "late"] {
        let mut world = world(vec![elsewhere()]);
        let no = world.reserve_free();
        world.extend(no, &progress).unwrap().unwrap();
        world.limits(vec![everywhere()]);
        match end {
            "commit" => drop(world.commit(no, cost(5))),
            "release" => drop(world.release(no).unwrap()),
            _ => {
                world.advance(TTL);
                world.expire_due();
            }
        }
        if end == "late" {
            world.commit(no, cost(5));
        }
        assert_eq!(world.of_b(), (0, 0), "{end}");
    }
}

#[test]
fn a_late_commit_of_another_model_counts_on_what_was_widened_meanwhile() {
    let mut world = world(vec![elsewhere(), only(FREE, usd("f", 100))]);
    let no = world.reserve_free();
    world.extend(no, &Extend { ttl: TTL, usage_so_far: Some(cost(1)), estimate: None }).unwrap().unwrap();
    world.advance(TTL);
    world.expire_due();
    world.limits(vec![everywhere(), only(FREE, usd("f", 100))]);
    world.ran_big(no);
    let numbers = world.state.limits_of(&Place::Key(KeyId::trusted(KEY))).iter().copied();
    let spent: Vec<_> = world.state.limit_states(numbers, None, world.now).map(|state| state.spent).collect();
    assert_eq!(spent, [5, 0], "what expiry charged is taken back where it was");
}

#[test]
fn a_late_commit_of_another_model_is_no_overage_where_what_it_replaces_made_room() {
    let mut world = world(vec![usd("b", 10)]);
    let no = world.reserve_free();
    world.extend(no, &Extend { ttl: TTL, usage_so_far: Some(cost(8)), estimate: None }).unwrap().unwrap();
    world.advance(TTL);
    world.expire_due();
    let charged = world.try_commit(no, &Commit { usage: cost(12), model: Some(model(BIG)) }).unwrap();
    assert_eq!((charged.overage.usd, world.of_b()), (Nanos::new(2), (12, 0)));
}

#[test]
fn what_was_widened_counts_what_ran_in_the_window_of_the_admission() {
    let mut world = world(vec![only("small", daily("b", 100))]);
    let no = world.reserve_free();
    let day = Extend { ttl: Span::DAY, usage_so_far: None, estimate: None };
    world.extend(no, &day).unwrap().unwrap();
    world.advance(Span::seconds(12 * 3600));
    world.limits(vec![daily("b", 100)]);
    world.ran_big(no);
    assert_eq!(world.of_b(), (0, 0), "the day of the admission is over");
}
