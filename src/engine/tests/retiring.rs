//! Counters outlive the limits that they are of, in bounded number.

use super::fixture::*;
use crate::{
    domain::{
        id::{MemberId, TeamId},
        policy::{Limit, Place, Policy},
        time::Span,
    },
    engine::state::MAX_RETIRED,
};

fn all(from: usize, count: usize) -> Vec<Limit> {
    (from..from + count).map(|no| usd(&format!("b{no}"), 1000)).collect()
}

// M10
#[test]
fn a_place_keeps_so_many_counters_and_drops_the_oldest_first() {
    let mut world = World::new();
    for round in 0..3 {
        world.limits(all(30 * round, 30));
        world.charge(&format!("c{round}"), cost(1));
    }
    world.limits(Vec::new());
    assert_eq!(world.state.retired.count(), MAX_RETIRED);
    world.limits(all(20, 10));
    assert_eq!((world.counted("b25"), world.counted("b26")), ((0, 0), (1, 0)), "26 of 90 were dropped");
}

// M10
#[test]
fn a_counter_is_dropped_when_its_window_is_over() {
    let mut world = World::new();
    world.limits(vec![daily("day", 10), slots("slots", 5), rpm("rpm", 5)]);
    let no = world.reserve("r", cost(1));
    world.limits(Vec::new());
    assert_eq!(world.state.retired.count(), 3);
    world.commit(no, cost(1));
    world.advance(Span::DAY);
    world.limits(vec![usd("other", 10)]);
    assert_eq!(world.state.retired.count(), 0);
}

// M10
#[test]
fn what_cannot_come_back_is_not_remembered() {
    let mut world = World::new();
    world.add_team("red");
    let (red, ann) = (TeamId::trusted("red"), MemberId::trusted("ann"));
    world.turn(|turn| turn.create_membership(&red, &ann, &Policy::default(), false)).unwrap();
    world.add_key("k2", "ann", "red");
    let joint = Place::Membership(red.clone(), ann.clone());
    world.set_policy(&joint, vec![usd("joint", 10)]).unwrap();
    world.set_policy(&Place::Team(red.clone()), vec![usd("team", 10)]).unwrap();
    world.reserve_as("k2", &ask("r", cost(1))).unwrap().unwrap();
    world.set_policy(&Place::Team(red.clone()), Vec::new()).unwrap();
    world.turn(|turn| turn.delete_key(&crate::domain::id::KeyId::trusted("k2"))).unwrap();
    world.turn(|turn| turn.delete_membership(&red, &ann)).unwrap();
    assert_eq!(world.state.retired.count(), 2, "the member may join again");
    world.turn(|turn| turn.delete_team(&red)).unwrap();
    assert_eq!(world.state.retired.count(), 0);
}
