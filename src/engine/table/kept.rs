//! How snapshots hold a table: with an index of its own, as memory once did. Nothing reads that.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};

use super::{Entity, Row, Table};

#[derive(Deserialize)]
#[serde(bound = "E: DeserializeOwned")]
pub(super) struct KeptTable<E: Entity> {
    rows: Vec<Row<E>>,
    #[serde(rename = "index")]
    _index: Unread<E::Id>,
    live: u32,
}

/// An index that is passed over: a million tables, or a million rows, would each be put into a map that nobody asks.
struct Unread<Id>(PhantomData<Id>);

impl<'de, Id: Deserialize<'de>> Deserialize<'de> for Unread<Id> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Self(PhantomData))
    }
}

impl<'de, Id: Deserialize<'de>> Visitor<'de> for Unread<Id> {
    type Value = Self;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the places of rows by their ids")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        while map.next_entry::<Id, u32>()?.is_some() {}
        Ok(self)
    }
}

/// The same, borrowed: a table may be large.
#[derive(Serialize)]
#[serde(bound = "E: Serialize")]
struct KeptTableRef<'a, E: Entity> {
    rows: &'a [Row<E>],
    index: Places<'a, E>,
    live: u32,
}

struct Places<'a, E>(&'a [Row<E>]);

impl<E: Entity> Serialize for Places<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|row| row.entity.id()).zip(0u32..))
    }
}

impl<E: Entity + Serialize> Serialize for Table<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        KeptTableRef { rows: &self.rows, index: Places(&self.rows), live: self.live }.serialize(serializer)
    }
}

impl<E: Entity> From<KeptTable<E>> for Table<E> {
    fn from(kept: KeptTable<E>) -> Self {
        let KeptTable { rows, _index: _, live } = kept;
        let mut table = Self { rows: Vec::with_capacity(rows.len()), live, ..Self::default() };
        for row in rows {
            table.new_place(&row.entity.id());
            table.rows.push(row);
        }
        table.group_when_large();
        table
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use foldhash::fast::RandomState;

    use super::*;
    use crate::domain::{entity::Team, id::TeamId, policy::Policy, time::Timestamp};

    /// As it was kept in memory, and derived, before.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Whole {
        rows: Vec<Row<Team>>,
        index: HashMap<TeamId, u32, RandomState>,
        live: u32,
    }

    fn team(no: u32) -> Team {
        Team {
            id: TeamId::trusted(format!("team-{no}")),
            name: String::from("Team"),
            member_policy: Policy::default(),
            disabled: false,
            deleted: no.is_multiple_of(7),
            create_time: Timestamp::EPOCH,
            update_time: Timestamp::EPOCH,
        }
    }

    #[test]
    fn tables_and_the_whole_ones_of_before_read_each_other() {
        let mut table = Table::default();
        for no in 0..500 {
            assert_eq!(table.set(team(no)), no);
        }
        let whole: Whole = postcard::from_bytes(&postcard::to_stdvec(&table).unwrap()).unwrap();
        assert_eq!((whole.rows.len(), whole.index.len(), whole.live), (500, 500, 428));
        let read: Table<Team> = postcard::from_bytes(&postcard::to_stdvec(&whole).unwrap()).unwrap();
        assert_eq!((&read, read.live_count()), (&table, 428));
        for no in 0..500 {
            assert_eq!((whole.index.get(&team(no).id), read.place(&team(no).id)), (Some(&no), Some(no)));
        }
        assert_eq!(read.place(&TeamId::trusted("team-500")), None);
    }

    #[test]
    fn what_is_set_again_keeps_its_place_and_counts_once() {
        let mut table = Table::default();
        for no in [1, 2, 1, 3, 2] {
            table.set(team(no));
        }
        assert_eq!([1, 2, 3].map(|no| table.place(&team(no).id)), [Some(0), Some(1), Some(2)]);
        assert_eq!((table.live_count(), table.all().count()), (3, 3));
        table.set(Team { deleted: true, ..team(2) });
        assert_eq!((table.live_count(), table.place(&team(2).id)), (2, Some(1)));
    }

    #[test]
    fn a_table_has_room_for_a_quarter_more_than_it_holds_at_most() {
        let mut table = Table::default();
        for no in 0..1000 {
            table.set(team(no));
            let (held, room) = (table.rows.len(), table.rows.capacity());
            assert!(room <= held + held / 4, "room for {room} where {held} are");
        }
    }
}
