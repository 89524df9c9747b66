//! Waits where a team's pool refuses: what it is asked for changes as the asker's own holds run out.

use super::{super::pools::pooled, *};

impl World {
    /// Of bob, who draws on the pool alone.
    fn drawn_by_bob(&mut self, id: &str, seconds: i64, usage: Usage) {
        let request = Reserve { ttl: Span::seconds(seconds), ..ask(id, usage) };
        self.reserve_as("bobs", &request).unwrap().unwrap();
    }
}

#[test]
fn a_hold_on_the_askers_own_extra_is_waited_for_where_the_pool_is_used_up() {
    let mut world = pooled(30, 10);
    world.used_by_bob("bob", 20);
    world.hold("own", 4, cost(8));
    assert_eq!(world.retry(cost(5)), by_holds(4), "its own extra covers it by then");
    assert_eq!(world.retry(cost(11)), exactly(3600), "more than its extra, so not before the next cycle");
    assert_eq!(world.retry(cost(31)), None, "more than the pool ever has");
    world.advance(Span::micros(3_999_000));
    assert_eq!(world.refused(cost(5)).retry_after(), Some(MILLISECOND));
    world.advance(MILLISECOND);
    world.reserve("asked", cost(5));
}

#[test]
fn what_the_pool_lacks_is_waited_for_as_its_own_holds_and_others_run_out() {
    let mut world = pooled(30, 10);
    world.hold("own", 4, cost(10));
    world.drawn_by_bob("bobs", 8, cost(15));
    assert_eq!(world.retry(cost(15)), by_holds(4), "10 of its own and 5 of the pool");
    assert_eq!(world.retry(cost(16)), by_holds(8));
    assert_eq!(world.retry(cost(20)), by_holds(8));
    assert_eq!(world.retry(cost(30)), by_holds(8), "10 of its own and all of the pool");
    assert_eq!(world.retry(cost(31)), None);
}

#[test]
fn a_hold_whose_progress_is_charged_frees_only_the_rest_of_its_extra() {
    let mut world = pooled(30, 10);
    world.used_by_bob("bob", 20);
    let no = world.hold("own", 4, cost(8));
    world.report(no, 4, cost(3));
    assert_eq!(world.retry(cost(7)), by_holds(4));
    assert_eq!(world.retry(cost(8)), Some(Retry { after: Span::HOUR, may_be_sooner: true, at_least: false }));
    world.advance(Span::seconds(4));
    world.reserve("asked", cost(7));
}

#[test]
fn an_extension_waits_for_its_own_extra_but_not_for_another_cycle() {
    let mut world = pooled(30, 10);
    world.used_by_bob("bob", 20);
    world.hold("short", 4, cost(6));
    let no = world.hold("long", 7200, cost(4));
    let more = |nanos| Extend { estimate: Some(cost(nanos)), ..renew() };
    assert_eq!(world.extend(no, &more(7)).unwrap().unwrap_err().retry, by_holds(4));
    assert_eq!(world.extend(no, &more(10)).unwrap().unwrap_err().retry, by_holds(4));
    assert_eq!(world.extend(no, &more(11)).unwrap().unwrap_err().retry, None, "its cycle's pool gives no more");
    world.advance(Span::seconds(4));
    world.extend(no, &more(10)).unwrap().unwrap();
}

#[test]
fn the_next_cycle_gives_back_what_extra_credits_took_of_the_pool() {
    let mut world = pooled(30, 10);
    world.give("bob", 15);
    world.drawn_by_bob("bobs", 600, cost(19));
    assert_eq!(world.retry(cost(12)), by_holds(600), "the pool has 5, and bob draws 4 of them");
    assert_eq!(world.retry(cost(16)), exactly(3600), "ann has no extra then, but the pool has all of its 30");
    assert_eq!(world.retry(cost(30)), exactly(3600));
    assert_eq!(world.retry(cost(31)), None);
    world.advance(Span::HOUR);
    world.reserve("asked", cost(30));
}

#[test]
fn what_costs_nothing_waits_for_the_pool_once_its_own_is_used_up() {
    let mut world = pooled(30, 10);
    world.used_by_bob("bob", 20);
    world.reserve("free", cost(0));
    world.charge("own", cost(10));
    assert_eq!(world.retry(cost(0)), exactly(3600));
}

#[test]
fn holds_beyond_those_looked_at_leave_the_pool_a_guess() {
    let mut world = pooled(130, 30);
    for i in 0..100 {
        world.drawn_by_bob(&i.to_string(), 100 + i, cost(1));
    }
    assert_eq!(world.retry(cost(94)), by_holds(163), "30 of its own, and the pool has 64 by then");
    assert_eq!(world.retry(cost(95)), a_guess(Span::seconds(164)));
}
