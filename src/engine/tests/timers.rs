//! What the expiry timer is asked to look at.

use smallvec::SmallVec;

use super::fixture::*;
use crate::{domain::operation::MAX_TTL, engine::directory::Inner};

#[test]
fn short_reservations_beside_a_long_one_leave_no_timers_behind() {
    let mut world = World::new();
    let mut long = ask("long", cost(1));
    long.ttl = MAX_TTL;
    world.try_reserve(&long).unwrap();
    let mut inner = Inner { state: world.state.clone(), position: 0, timers: SmallVec::new(), saved: 0, stored: 0 };
    assert!(inner.timer_to_set().is_some());
    for i in 0..100 {
        world.reserve(&format!("short-{i}"), cost(1));
        inner.state = world.state.clone();
        let due = inner.timer_to_set().unwrap();
        world.advance(due - world.now);
        world.expire_due();
        inner.state = world.state.clone();
        inner.timer_looked(world.now);
        assert_eq!(inner.timer_to_set(), None, "the long one's timer is set already");
        assert_eq!(inner.timers.len(), 1);
    }
}
