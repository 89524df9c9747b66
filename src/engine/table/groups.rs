//! Finds live rows by what they belong to, so that nobody walks everybody's rows to find a few.

use std::{
    collections::{BTreeSet, btree_set},
    hash::{BuildHasher as _, Hash},
};

use foldhash::fast::RandomState;

use super::{Entity, KeyRow, Row, Table};
use crate::domain::{
    entity::Membership,
    id::{MemberId, TeamId},
};

/// Rows up to which a table is walked instead.
const FEW: usize = 64;

/// Places of live rows, by the two groups that each may be in. Snapshots don't hold it: it follows from the rows.
///
/// An entry takes some 17 bytes, because places come in ascending order.
#[derive(Debug, Clone, Default)]
pub(super) struct Groups([BTreeSet<(u32, u32)>; 2]);

impl Groups {
    /// Follows a row from the groups that it was in to those that it is in.
    pub(super) fn follow(&mut self, place: u32, before: [Option<u32>; 2], after: [Option<u32>; 2]) {
        for (places, (before, after)) in self.0.iter_mut().zip(before.into_iter().zip(after)) {
            if before == after {
                continue;
            }
            if let Some(group) = before {
                places.remove(&(group, place));
            }
            if let Some(group) = after {
                places.insert((group, place));
            }
        }
    }
}

/// Returns a hash that takes little room.
pub(super) fn short_hash(hasher: &RandomState, id: &impl Hash) -> u32 {
    let [.., a, b, c, d] = hasher.hash_one(id).to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// The live rows of a group with their places, which ascend.
#[derive(Debug)]
pub struct Grouped<'a, E: Entity> {
    table: &'a Table<E>,
    /// Which of the two groups of a row it is.
    which: usize,
    group: u32,
    /// `None` goes through a small table.
    places: Option<btree_set::Range<'a, (u32, u32)>>,
    next: u32,
}

impl<'a, E: Entity> Iterator for Grouped<'a, E> {
    type Item = (u32, &'a Row<E>);

    fn next(&mut self) -> Option<Self::Item> {
        let table = self.table;
        if let Some(places) = &mut self.places {
            return places.find_map(|(_, place)| Some((*place, table.row(*place)?)));
        }
        let is_wanted = |row: &Row<E>| table.groups_of(&row.entity)[self.which] == Some(self.group);
        let found = table.rows.from(self.next).find(|(_, row)| is_wanted(row))?;
        self.next = found.0 + 1;
        Some(found)
    }
}

impl<E: Entity> Table<E> {
    /// Returns what a row is found by, which is nothing where it is deleted.
    pub(super) fn groups_of(&self, entity: &E) -> [Option<u32>; 2] {
        if entity.is_deleted() { [None; 2] } else { entity.groups(&self.hasher) }
    }

    /// Begins to keep groups where there are too many rows to walk.
    pub(super) fn group_when_large(&mut self) {
        if self.groups.is_some() || self.row_count() <= FEW {
            return;
        }
        let mut groups = Groups::default();
        for (place, row) in self.all() {
            groups.follow(place, [None; 2], self.groups_of(&row.entity));
        }
        self.groups = Some(Box::new(groups));
    }

    fn grouped(&self, which: usize, group: u32, from: u32) -> Grouped<'_, E> {
        let places = self.groups.as_deref().map(|groups| groups.0[which].range((group, from)..=(group, u32::MAX)));
        Grouped { table: self, which, group, places, next: from }
    }

    /// Returns whether groups hold each live row once, and nothing else.
    pub(in crate::engine) fn groups_agree(&self) -> bool {
        let Some(groups) = &self.groups else { return self.row_count() <= FEW };
        let mut whole = Groups::default();
        for (place, row) in self.all() {
            whole.follow(place, [None; 2], self.groups_of(&row.entity));
        }
        groups.0 == whole.0
    }
}

impl Table<KeyRow> {
    /// Returns the live keys of a member, from a place on, in the order in which they were made.
    pub fn of_member(&self, member: u32, from: u32) -> Grouped<'_, KeyRow> {
        self.grouped(0, member, from)
    }

    /// Returns the live keys of a membership.
    pub fn of_membership(&self, membership: u32) -> Grouped<'_, KeyRow> {
        self.grouped(1, membership, 0)
    }
}

impl Table<Membership> {
    /// Returns the live memberships of a member, from a place on, in the order in which they were first made.
    pub fn of_member<'a>(
        &'a self,
        member: &MemberId,
        from: u32,
    ) -> impl Iterator<Item = (u32, &'a Row<Membership>)> + use<'a> {
        let alike = self.grouped(0, short_hash(&self.hasher, member), from);
        let member = member.clone();
        alike.filter(move |(_, row)| row.entity.member == member)
    }

    /// Returns the live memberships of a team, as those of a member.
    pub fn of_team<'a>(
        &'a self,
        team: &TeamId,
        from: u32,
    ) -> impl Iterator<Item = (u32, &'a Row<Membership>)> + use<'a> {
        let alike = self.grouped(1, short_hash(&self.hasher, team), from);
        let team = team.clone();
        alike.filter(move |(_, row)| row.entity.team == team)
    }
}
