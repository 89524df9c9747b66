//! How snapshots hold a table: its rows, and which places have none any more.

use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};

use super::{Entity, Row, Table};

#[derive(Deserialize)]
#[serde(bound = "E: DeserializeOwned")]
pub(super) struct KeptTable<E: Entity> {
    rows: Vec<Row<E>>,
    gaps: Vec<Gap>,
    live: u32,
}

/// Places without rows: how many rows come before them in the table, and how many places they are.
type Gap = (u32, u32);

/// The same, borrowed: a table may be large.
#[derive(Serialize)]
#[serde(bound = "E: Serialize")]
struct KeptTableRef<'a, E: Entity> {
    rows: KeptRows<'a, E>,
    gaps: Vec<Gap>,
    live: u32,
}

struct KeptRows<'a, E: Entity>(&'a Table<E>);

impl<E: Entity + Serialize> Serialize for KeptRows<'_, E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Of a known length.
        let rows: Vec<_> = self.0.all().map(|(_, row)| row).collect();
        rows.serialize(serializer)
    }
}

fn gaps_of<E: Entity>(table: &Table<E>) -> Vec<Gap> {
    let (mut gaps, mut rows, mut next) = (Vec::new(), 0, 0);
    for place in table.all().map(|(place, _)| place).chain([table.rows.next()]) {
        if place > next {
            gaps.push((rows, place - next));
        }
        rows += 1;
        next = place + 1;
    }
    gaps
}

impl<E: Entity + Serialize> Serialize for Table<E> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        KeptTableRef { rows: KeptRows(self), gaps: gaps_of(self), live: self.live }.serialize(serializer)
    }
}

impl<E: Entity> From<KeptTable<E>> for Table<E> {
    fn from(kept: KeptTable<E>) -> Self {
        let KeptTable { rows, gaps, live } = kept;
        let mut table = Self { live, ..Self::default() };
        let mut gaps = gaps.into_iter().peekable();
        for (row, before) in rows.into_iter().zip(0u32..) {
            table.skip(gaps.next_if(|(rows, _)| *rows == before));
            table.add(&row.entity.id(), row);
        }
        table.skip(gaps.next());
        table.group_when_large();
        table
    }
}

impl<E: Entity> Table<E> {
    fn skip(&mut self, gap: Option<Gap>) {
        if let Some((_, places)) = gap {
            self.rows.skip_to(self.rows.next().saturating_add(places));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{entity::Team, id::TeamId, policy::Policy, time::Timestamp};

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

    fn read_again(table: &Table<Team>) -> Table<Team> {
        let read = postcard::from_bytes(&postcard::to_stdvec(table).unwrap()).unwrap();
        assert_eq!(&read, table);
        read
    }

    #[test]
    fn a_table_is_read_again_as_it_was_with_its_empty_places() {
        let mut table = Table::default();
        for no in 0..500 {
            assert_eq!(table.set(team(no)), no);
        }
        for no in (0..500u32).filter(|no| no.is_multiple_of(7)) {
            assert!(table.remove(&team(no).id).is_some());
        }
        let mut read = read_again(&table);
        assert_eq!((read.row_count(), read.live_count()), (428, 428));
        for no in 0..500 {
            assert_eq!(read.place(&team(no).id), (!no.is_multiple_of(7)).then_some(no));
        }
        assert_eq!(read.set(team(501)), 500);
        // All of it, the last place too.
        for no in 0..502 {
            read.remove(&team(no).id);
        }
        let mut read = read_again(&read);
        assert_eq!((read.row_count(), read.set(team(0))), (0, 501), "no place is given twice");
    }

    #[test]
    fn what_is_taken_back_is_found_and_stands_in_no_list() {
        let mut table = Table::default();
        for no in 0..10 {
            table.set(team(no));
        }
        let gone = table.remove(&team(7).id).unwrap();
        table.recall(gone.clone());
        let place = table.place(&gone.id).unwrap();
        assert_eq!(table.row(place).map(|row| &row.entity), Some(&gone));
        assert!(table.find(&gone.id).is_some() && table.find_live(&gone.id).is_none());
        assert_eq!((table.row_count(), table.all().count()), (9, 9));
        assert!(read_again(&table).find(&gone.id).is_none());
        table.end_recall(&gone.id);
        assert!(table.find(&gone.id).is_none() && table.row(place).is_none());
        table.recall(gone.clone());
        assert_ne!(table.place(&gone.id), Some(place), "whoever kept the place finds nothing there");
    }

    #[test]
    fn an_index_gives_back_the_room_of_what_went() {
        let mut table = Table::default();
        for no in 0..10_000 {
            table.set(team(no));
        }
        for no in 0..9_990 {
            table.remove(&team(no).id);
        }
        assert!(table.index.capacity() < 200, "{}", table.index.capacity());
        for no in 9_990..10_000 {
            assert_eq!(table.place(&team(no).id), Some(no));
        }
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
}
