//! The entities of one kind: dense rows that keep their place for ever, found by id.

use std::hash::{BuildHasher as _, Hash};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use smallvec::SmallVec;

use crate::domain::{
    access::Invitation,
    allocation::CreditRequest,
    entity::{Key, Member, Membership, Team},
    event::LimitNo,
    id::{CreditRequestId, InvitationId, KeyId, MemberId, MethodId, OrderId, RuleId, TeamId},
    payment::{PaymentMethod, TopUpOrder},
    rule::Rule,
};

mod groups;
mod kept;
mod shelf;

pub use groups::Grouped;
use groups::{Groups, short_hash};
pub use shelf::Shelf;

/// A full table gets room for this part of its rows more. There are very many of one row, and some of a million.
const GROWTH: usize = 4;

/// What can stand in a [`Table`].
pub trait Entity: 'static {
    /// As in errors.
    const KIND: &'static str;
    type Id: Clone + Eq + Hash + Serialize + DeserializeOwned;
    fn id(&self) -> Self::Id;
    fn is_deleted(&self) -> bool;
    /// Returns what it is found by besides its id.
    fn groups(&self, _hasher: &RandomState) -> [Option<u32>; 2] {
        [None; 2]
    }
}

/// Where entities are found by their ids.
pub trait Find<E: Entity> {
    /// Deleted ones included.
    fn find(&self, id: &E::Id) -> Option<&Row<E>>;

    fn find_live(&self, id: &E::Id) -> Option<&Row<E>> {
        self.find(id).filter(|row| !row.entity.is_deleted())
    }
}

/// Rows in the order in which they came, by their places, which they keep for ever.
pub trait Ordered<E: Entity>: 'static {
    /// From a place on.
    fn oldest_first(&self, from: u32) -> impl Iterator<Item = (u32, &Row<E>)>;

    /// From a place down.
    fn newest_first(&self, from: u32) -> impl Iterator<Item = (u32, &Row<E>)>;
}

impl<E: Entity> Ordered<E> for Table<E> {
    fn oldest_first(&self, from: u32) -> impl Iterator<Item = (u32, &Row<E>)> {
        (from..).zip(self.rows.get(from as usize..).unwrap_or_default())
    }

    fn newest_first(&self, from: u32) -> impl Iterator<Item = (u32, &Row<E>)> {
        let until = self.rows.len().min((from as usize).saturating_add(1));
        let last = u32::try_from(until).unwrap_or(u32::MAX);
        (0..last).rev().zip(self.rows[..until].iter().rev())
    }
}

impl<E: Entity> Find<E> for Table<E> {
    fn find(&self, id: &E::Id) -> Option<&Row<E>> {
        self.row(self.place(id)?)
    }
}

/// An entity and the limits of its policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<E> {
    pub entity: E,
    pub limits: Box<[LimitNo]>,
}

/// Rows are never removed: late settlements still name the deleted.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "E: DeserializeOwned", from = "kept::KeptTable<E>")]
pub struct Table<E: Entity> {
    rows: Vec<Row<E>>,
    /// Places, by the ids that stand there: a row has its id already, and there are millions of them.
    index: HashTable<u32>,
    hasher: RandomState,
    /// How many aren't deleted.
    live: u32,
    /// Those that aren't deleted, by what they belong to. A small table has none, because there may be a million of them.
    groups: Option<Box<Groups>>,
}

impl<E: Entity> Default for Table<E> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: HashTable::new(), hasher: RandomState::default(), live: 0, groups: None }
    }
}

impl<E: Entity + PartialEq> PartialEq for Table<E> {
    fn eq(&self, other: &Self) -> bool {
        self.rows == other.rows && self.live == other.live
    }
}

impl<E: Entity + Eq> Eq for Table<E> {}

impl<E: Entity> Table<E> {
    /// Puts an entity in its place, new or not, and answers the place.
    pub fn set(&mut self, entity: E) -> u32 {
        let id = entity.id();
        let at = self.place(&id).unwrap_or_else(|| self.new_place(&id));
        let was_live = self.row(at).is_some_and(|row| !row.entity.is_deleted());
        self.live = self.live + u32::from(!entity.is_deleted()) - u32::from(was_live);
        let after = self.groups_of(&entity);
        let before = self.rows.get(at as usize).map_or([None; 2], |row| self.groups_of(&row.entity));
        if let Some(groups) = &mut self.groups {
            groups.follow(at, before, after);
        }
        if let Some(row) = self.rows.get_mut(at as usize) {
            row.entity = entity;
        } else {
            if self.rows.len() == self.rows.capacity() {
                self.rows.reserve_exact(1 + self.rows.len() / GROWTH);
            }
            self.rows.push(Row { entity, limits: Box::default() });
            self.group_when_large();
        }
        at
    }

    fn new_place(&mut self, id: &E::Id) -> u32 {
        let (rows, hasher) = (&self.rows, &self.hasher);
        let next = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let hash = |at: &u32| rows.get(*at as usize).map_or(0, |row| hasher.hash_one(row.entity.id()));
        self.index.insert_unique(hasher.hash_one(id), next, hash);
        next
    }

    pub fn row(&self, at: u32) -> Option<&Row<E>> {
        self.rows.get(at as usize)
    }

    pub fn row_mut(&mut self, at: u32) -> Option<&mut Row<E>> {
        self.rows.get_mut(at as usize)
    }

    pub fn place(&self, id: &E::Id) -> Option<u32> {
        let is_here = |at: &u32| self.row(*at).is_some_and(|row| row.entity.id() == *id);
        self.index.find(self.hasher.hash_one(id), is_here).copied()
    }

    /// Deleted ones included.
    pub fn find(&self, id: &E::Id) -> Option<&Row<E>> {
        self.row(self.place(id)?)
    }

    pub fn find_live(&self, id: &E::Id) -> Option<&Row<E>> {
        self.find(id).filter(|row| !row.entity.is_deleted())
    }

    /// How many there are, deleted ones included.
    pub fn row_count(&self) -> usize {
        self.rows.len()
    }

    pub fn live_count(&self) -> u32 {
        self.live
    }

    pub fn live(&self) -> impl Iterator<Item = &Row<E>> {
        self.rows.iter().filter(|row| !row.entity.is_deleted())
    }

    /// With their places, deleted ones included.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Row<E>)> {
        (0..).zip(&self.rows)
    }
}

impl Entity for Membership {
    const KIND: &'static str = "membership";
    type Id = (TeamId, MemberId);
    fn id(&self) -> Self::Id {
        (self.team.clone(), self.member.clone())
    }
    fn is_deleted(&self) -> bool {
        self.deleted
    }
    /// By its member and by its team; others may rarely have the same hash.
    fn groups(&self, hasher: &RandomState) -> [Option<u32>; 2] {
        [Some(short_hash(hasher, &self.member)), Some(short_hash(hasher, &self.team))]
    }
}

/// A key with the places of what it belongs to, which never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    pub key: Key,
    pub member: u32,
    pub team: u32,
    pub membership: u32,
    /// The rule that it is bound to.
    pub rule: Option<u32>,
    /// What it used under each rule that it ever was under: the rule's place, and the counter.
    pub counters: SmallVec<[(u32, LimitNo); 1]>,
}

impl KeyRow {
    pub fn counter(&self, rule: u32) -> Option<LimitNo> {
        self.counters.iter().find(|(place, _)| *place == rule).map(|(_, no)| *no)
    }
}

impl Entity for KeyRow {
    const KIND: &'static str = "key";
    type Id = KeyId;
    fn id(&self) -> KeyId {
        self.key.id.clone()
    }
    fn is_deleted(&self) -> bool {
        self.key.deleted
    }
    /// By the places of its member and of its membership.
    fn groups(&self, _hasher: &RandomState) -> [Option<u32>; 2] {
        [Some(self.member), Some(self.membership)]
    }
}

macro_rules! entities {
    ($($entity:ident($id:ident) $kind:literal, deleted: $deleted:expr;)*) => {$(
        impl Entity for $entity {
            const KIND: &'static str = $kind;
            type Id = $id;
            fn id(&self) -> $id {
                self.id.clone()
            }
            fn is_deleted(&self) -> bool {
                let deleted: fn(&Self) -> bool = $deleted;
                deleted(self)
            }
        }
    )*};
}

entities! {
    Team(TeamId) "team", deleted: |team| team.deleted;
    Member(MemberId) "member", deleted: |member| member.deleted;
    Rule(RuleId) "rule", deleted: |rule| rule.deleted;
    CreditRequest(CreditRequestId) "credit request", deleted: |_| false;
    Invitation(InvitationId) "invitation", deleted: |_| false;
    PaymentMethod(MethodId) "payment method", deleted: |method| method.deleted;
    TopUpOrder(OrderId) "top-up order", deleted: |_| false;
}
