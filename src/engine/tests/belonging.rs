//! Keys and memberships are found by what they belong to, whoever else is there.

use super::fixture::*;
use crate::{
    domain::{
        id::{DEFAULT_TEAM, KeyId, MemberId, TeamId},
        policy::Policy,
    },
    engine::state::OrganizationState,
};

const MEMBERS: usize = 30;

fn member(no: usize) -> String {
    format!("m{no}")
}

/// Members with three keys each, in two teams.
fn crowd() -> World {
    let mut world = World::new();
    world.add_team("red");
    for no in 0..MEMBERS {
        world.add_member(&member(no), &[DEFAULT_TEAM, "red"]);
    }
    for key in 0..3 * MEMBERS {
        let team = if key < MEMBERS { "red" } else { DEFAULT_TEAM };
        world.add_key(&format!("of-{}-{}", key % MEMBERS, key / MEMBERS), &member(key % MEMBERS), team);
    }
    world
}

fn keys_of(state: &OrganizationState, member: &str, from: u32) -> Vec<(u32, String)> {
    let keys = state.keys_of(&MemberId::trusted(member), from);
    keys.map(|(place, row)| (place, row.entity.key.id.to_string())).collect()
}

/// What walking everybody's finds.
fn walked(state: &OrganizationState, member: &str) -> Vec<(u32, String)> {
    let all = state.keys.all().filter(|(_, row)| !row.entity.key.deleted && row.entity.key.member.as_str() == member);
    all.map(|(place, row)| (place, row.entity.key.id.to_string())).collect()
}

fn teams_of(state: &OrganizationState, member: &str) -> Vec<String> {
    let memberships = state.memberships.of_member(&MemberId::trusted(member), 0);
    memberships.map(|(_, row)| row.entity.team.to_string()).collect()
}

fn members_of(state: &OrganizationState, team: &str) -> usize {
    state.memberships.of_team(&TeamId::trusted(team), 0).count()
}

#[test]
fn a_members_keys_are_found_in_the_order_in_which_they_were_made() {
    let mut world = crowd();
    for no in 0..MEMBERS {
        assert_eq!(keys_of(&world.state, &member(no), 0), walked(&world.state, &member(no)));
    }
    let keys = keys_of(&world.state, "m7", 0);
    assert_eq!(keys.len(), 3);
    assert_eq!(keys_of(&world.state, "m7", keys[1].0), keys[1..], "a page begins at a place");
    world.turn(|turn| turn.delete_key(&KeyId::trusted("of-7-1"))).unwrap();
    assert_eq!(keys_of(&world.state, "m7", 0), [keys[0].clone(), keys[2].clone()]);
    assert_eq!(keys_of(&world.state, "nobody", 0), []);
}

#[test]
fn memberships_are_found_by_member_and_by_team_also_after_leaving_and_joining_again() {
    let mut world = crowd();
    let (red, seven) = (TeamId::trusted("red"), MemberId::trusted("m7"));
    assert_eq!((teams_of(&world.state, "m7").len(), members_of(&world.state, "red")), (2, MEMBERS));
    let refused = world.turn(|turn| turn.delete_membership(&red, &seven));
    assert!(refused.is_err_and(|error| error.to_string().contains("of-7-0")), "its keys are found");
    world.turn(|turn| turn.delete_key(&KeyId::trusted("of-7-0"))).unwrap();
    world.turn(|turn| turn.delete_membership(&red, &seven)).unwrap();
    assert_eq!((teams_of(&world.state, "m7"), members_of(&world.state, "red")), (vec!["default".into()], MEMBERS - 1));
    world.turn(|turn| turn.create_membership(&red, &seven, &Policy::default(), false)).unwrap();
    assert_eq!((teams_of(&world.state, "m7").len(), members_of(&world.state, "red")), (2, MEMBERS));
}

#[test]
fn what_belongs_to_a_deleted_member_or_team_goes_with_it_and_nothing_else() {
    let mut world = crowd();
    let live = world.state.keys.live_count();
    world.turn(|turn| turn.delete_member(&MemberId::trusted("m7"))).unwrap();
    assert_eq!((keys_of(&world.state, "m7", 0), teams_of(&world.state, "m7")), (vec![], vec![]));
    assert_eq!(world.state.keys.live_count(), live - 3);
    world.turn(|turn| turn.delete_team(&TeamId::trusted("red"))).unwrap();
    let keys = u32::try_from(MEMBERS - 1).unwrap();
    assert_eq!((world.state.keys.live_count(), members_of(&world.state, "red")), (live - 3 - keys, 0));
    assert_eq!(keys_of(&world.state, "m8", 0), walked(&world.state, "m8"));
}

#[test]
fn a_snapshot_finds_what_memory_found() {
    let mut world = crowd();
    world.turn(|turn| turn.delete_key(&KeyId::trusted("of-7-1"))).unwrap();
    let bytes = postcard::to_stdvec(&world.state).unwrap();
    let read: OrganizationState = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(read.inconsistencies(), []);
    assert_eq!(keys_of(&read, "m7", 0), keys_of(&world.state, "m7", 0));
    assert_eq!(teams_of(&read, "m7"), teams_of(&world.state, "m7"));
}
