//! The entities of one kind that leave memory once they are over: found by id, in the order in which they came.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Entity, Find, Ordered, Row};

/// As a [`super::Table`], but rows can be taken away: no other row names one of these by its place.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(bound(serialize = "E: Serialize", deserialize = "E: DeserializeOwned"))]
pub struct Shelf<E: Entity> {
    rows: BTreeMap<u32, Row<E>>,
    index: HashMap<E::Id, u32, RandomState>,
    /// The first place that no row ever had.
    next: u32,
    /// How many aren't deleted.
    live: u32,
    /// Taken away, and taken back from the books for a while: found by id alone, and in no place.
    #[serde(skip)]
    recalled: HashMap<E::Id, Row<E>, RandomState>,
}

impl<E: Entity> Default for Shelf<E> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), index: HashMap::default(), next: 0, live: 0, recalled: HashMap::default() }
    }
}

impl<E: Entity + PartialEq> PartialEq for Shelf<E> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && self.next == other.next
    }
}

impl<E: Entity + Eq> Eq for Shelf<E> {}

impl<E: Entity> Find<E> for Shelf<E> {
    fn find(&self, id: &E::Id) -> Option<&Row<E>> {
        match self.place(id) {
            Some(at) => self.row(at),
            None => self.recalled.get(id),
        }
    }
}

impl<E: Entity> Ordered<E> for Shelf<E> {
    fn oldest_first(&self, from: u32) -> impl Iterator<Item = (u32, &Row<E>)> {
        self.rows.range(from..).map(|(at, row)| (*at, row))
    }

    fn newest_first(&self, from: u32) -> impl Iterator<Item = (u32, &Row<E>)> {
        self.rows.range(..=from).rev().map(|(at, row)| (*at, row))
    }
}

impl<E: Entity> Shelf<E> {
    /// Puts an entity in its place, new or not, and answers the place.
    pub fn set(&mut self, entity: E) -> u32 {
        let id = entity.id();
        let at = self.place(&id).unwrap_or(self.next);
        self.live += u32::from(!entity.is_deleted());
        if let Some(before) = self.rows.insert(at, Row { entity, limits: Box::default() }) {
            self.live -= u32::from(!before.entity.is_deleted());
        } else {
            self.recalled.remove(&id);
            self.index.insert(id, at);
            self.next += 1;
        }
        at
    }

    /// Takes an entity away. Its place stays empty.
    pub fn remove(&mut self, id: &E::Id) -> Option<E> {
        let at = self.index.remove(id)?;
        let Row { entity, .. } = self.rows.remove(&at)?;
        self.live -= u32::from(!entity.is_deleted());
        Some(entity)
    }

    /// Lets an entity that was taken away be found again by its id.
    pub fn recall(&mut self, entity: E) {
        let id = entity.id();
        if self.place(&id).is_none() {
            self.recalled.insert(id, Row { entity, limits: Box::default() });
        }
    }

    pub fn end_recall(&mut self, id: &E::Id) {
        self.recalled.remove(id);
    }

    pub fn row(&self, at: u32) -> Option<&Row<E>> {
        self.rows.get(&at)
    }

    pub fn place(&self, id: &E::Id) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// Deleted ones included.
    pub fn find(&self, id: &E::Id) -> Option<&Row<E>> {
        Find::find(self, id)
    }

    pub fn find_live(&self, id: &E::Id) -> Option<&Row<E>> {
        Find::find_live(self, id)
    }

    /// Returns the number of rows, deleted ones included.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    pub fn live_count(&self) -> u32 {
        self.live
    }

    pub fn live(&self) -> impl DoubleEndedIterator<Item = &Row<E>> {
        self.rows.values().filter(|row| !row.entity.is_deleted())
    }

    /// With their places, deleted ones included.
    pub fn all(&self) -> impl DoubleEndedIterator<Item = (u32, &Row<E>)> {
        self.rows.iter().map(|(place, row)| (*place, row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        id::{MemberId, MethodId},
        payment::PaymentMethod,
        time::Timestamp,
    };

    fn method(id: &str, deleted: bool) -> PaymentMethod {
        PaymentMethod {
            id: MethodId::trusted(id),
            member: MemberId::trusted("ann"),
            label: String::new(),
            token: String::new(),
            deleted,
            create_time: Timestamp::EPOCH,
        }
    }

    #[test]
    fn others_keep_their_places_when_one_is_taken_away_and_no_place_is_used_twice() {
        let mut shelf = Shelf::default();
        assert_eq!(["a", "b", "c"].map(|id| shelf.set(method(id, false))), [0, 1, 2]);
        assert_eq!(shelf.set(method("b", true)), 1);
        assert_eq!(shelf.live_count(), 2);
        assert!(shelf.remove(&MethodId::trusted("b")).is_some_and(|gone| gone.deleted));
        assert_eq!(shelf.remove(&MethodId::trusted("b")), None);
        assert_eq!(shelf.set(method("d", false)), 3);
        assert_eq!(shelf.place(&MethodId::trusted("c")), Some(2));
        shelf.recall(method("b", true));
        assert!(shelf.find(&MethodId::trusted("b")).is_some() && shelf.all().count() == 3, "found, and in no place");
        shelf.end_recall(&MethodId::trusted("b"));
        assert!(shelf.find(&MethodId::trusted("b")).is_none());
        shelf.recall(method("b", true));
        assert_eq!(shelf.set(method("b", true)), 4, "what is changed then comes last");
        let read: Shelf<PaymentMethod> = postcard::from_bytes(&postcard::to_stdvec(&shelf).unwrap()).unwrap();
        assert_eq!((&read, read.live_count(), read.place(&MethodId::trusted("d"))), (&shelf, 3, Some(3)));
        let order: Vec<_> = read.all().map(|(place, row)| (place, row.entity.id.to_string())).collect();
        assert_eq!(order, [(0, "a".into()), (2, "c".into()), (3, "d".into()), (4, "b".into())]);
    }
}
