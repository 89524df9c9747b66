//! The entities of one kind: dense rows that keep their place for ever, found by id.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{BuildHasher as _, Hash},
};

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
mod rows;
mod shelf;

pub use groups::Grouped;
use groups::{Groups, short_hash};
use rows::Rows;
pub use shelf::Shelf;

/// The places of what was taken back from the books begin here: no row ever has one so high.
const RECALLED_FROM: u32 = 1 << 31;
/// An index gives room back once it is used to less than this part.
const SPARSE: usize = 8;

/// What can stand in a [`Table`].
pub trait Entity: 'static {
    /// As in errors.
    const KIND: &'static str;
    type Id: Clone + Eq + Hash + fmt::Debug + Serialize + DeserializeOwned;
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
        self.rows.from(from)
    }

    fn newest_first(&self, from: u32) -> impl Iterator<Item = (u32, &Row<E>)> {
        self.rows.down_from(from)
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

/// Late settlements still name the deleted: those are taken away only once nothing can name them any more.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "E: DeserializeOwned", from = "kept::KeptTable<E>")]
pub struct Table<E: Entity> {
    rows: Rows<Row<E>>,
    /// Places, by the ids that stand there: a row has its id already, and there are millions of them.
    index: HashTable<u32>,
    hasher: RandomState,
    /// How many aren't deleted.
    live: u32,
    /// Places of rows that aren't deleted, by what they belong to. A small table has none, because there may be a million of them.
    groups: Option<Box<Groups>>,
    /// Taken away, and taken back from the books for a while: in no list, and no part of the history.
    recalled: Option<Box<Recalled<E>>>,
}

#[derive(Debug, Clone)]
struct Recalled<E: Entity> {
    rows: BTreeMap<u32, Row<E>>,
    index: HashMap<E::Id, u32, RandomState>,
    next: u32,
}

impl<E: Entity> Default for Recalled<E> {
    fn default() -> Self {
        Self { rows: BTreeMap::new(), index: HashMap::default(), next: RECALLED_FROM }
    }
}

impl<E: Entity> Default for Table<E> {
    fn default() -> Self {
        Self {
            rows: Rows::default(),
            index: HashTable::new(),
            hasher: RandomState::default(),
            live: 0,
            groups: None,
            recalled: None,
        }
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
        let known = self.index_of(&id);
        let was_live = known.and_then(|at| self.rows.get(at)).is_some_and(|row| !row.entity.is_deleted());
        self.live = self.live + u32::from(!entity.is_deleted()) - u32::from(was_live);
        let after = self.groups_of(&entity);
        let before = known.and_then(|at| self.rows.get(at)).map_or([None; 2], |row| self.groups_of(&row.entity));
        if let Some(groups) = &mut self.groups {
            groups.follow(known.unwrap_or(self.rows.next()), before, after);
        }
        if let Some((at, row)) = known.and_then(|at| Some((at, self.rows.get_mut(at)?))) {
            row.entity = entity;
            return at;
        }
        self.end_recall(&id);
        let at = self.add(&id, Row { entity, limits: Box::default() });
        self.group_when_large();
        at
    }

    fn add(&mut self, id: &E::Id, row: Row<E>) -> u32 {
        let (rows, hasher) = (&self.rows, &self.hasher);
        let next = rows.next();
        let hash = |at: &u32| rows.get(*at).map_or(0, |row| hasher.hash_one(row.entity.id()));
        self.index.insert_unique(hasher.hash_one(id), next, hash);
        self.rows.push(row);
        next
    }

    fn index_of(&self, id: &E::Id) -> Option<u32> {
        let is_here = |at: &u32| self.rows.get(*at).is_some_and(|row| row.entity.id() == *id);
        self.index.find(self.hasher.hash_one(id), is_here).copied()
    }

    /// Takes an entity away. Its place stays empty for ever.
    pub fn remove(&mut self, id: &E::Id) -> Option<E> {
        let rows = &self.rows;
        let is_here = |at: &u32| rows.get(*at).is_some_and(|row| row.entity.id() == *id);
        let (at, _) = self.index.find_entry(self.hasher.hash_one(id), is_here).ok()?.remove();
        let Row { entity, .. } = self.rows.remove(at)?;
        self.live -= u32::from(!entity.is_deleted());
        let before = self.groups_of(&entity);
        if let Some(groups) = &mut self.groups {
            groups.follow(at, before, [None; 2]);
        }
        if self.index.len() < self.index.capacity() / SPARSE {
            let (rows, hasher) = (&self.rows, &self.hasher);
            let hash = |at: &u32| rows.get(*at).map_or(0, |row| hasher.hash_one(row.entity.id()));
            self.index.shrink_to(self.index.len() * 2, hash);
        }
        Some(entity)
    }

    /// Lets an entity that was taken away be found again, in a place that it has for as long.
    pub fn recall(&mut self, entity: E) {
        let id = entity.id();
        if self.place(&id).is_some() {
            return;
        }
        let recalled = self.recalled.get_or_insert_default();
        let at = recalled.next;
        recalled.next = at.checked_add(1).unwrap_or(RECALLED_FROM);
        recalled.index.insert(id, at);
        recalled.rows.insert(at, Row { entity, limits: Box::default() });
    }

    pub fn end_recall(&mut self, id: &E::Id) {
        let Some(recalled) = &mut self.recalled else { return };
        if let Some(at) = recalled.index.remove(id) {
            recalled.rows.remove(&at);
        }
        if recalled.rows.is_empty() && recalled.index.capacity() > 0 {
            // The next place stays.
            (recalled.rows, recalled.index) = Default::default();
        }
    }

    pub fn row(&self, at: u32) -> Option<&Row<E>> {
        match self.rows.get(at) {
            Some(row) => Some(row),
            None => self.recalled_row(at),
        }
    }

    #[cold]
    fn recalled_row(&self, at: u32) -> Option<&Row<E>> {
        self.recalled.as_ref()?.rows.get(&at)
    }

    pub fn row_mut(&mut self, at: u32) -> Option<&mut Row<E>> {
        self.rows.get_mut(at)
    }

    pub fn place(&self, id: &E::Id) -> Option<u32> {
        self.index_of(id).or_else(|| self.recalled.as_ref()?.index.get(id).copied())
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
        self.rows.count() as usize
    }

    pub fn live_count(&self) -> u32 {
        self.live
    }

    pub fn live(&self) -> impl Iterator<Item = &Row<E>> {
        self.rows.from(0).map(|(_, row)| row).filter(|row| !row.entity.is_deleted())
    }

    /// With their places, deleted ones included.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Row<E>)> {
        self.rows.from(0)
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
    /// Returns its member and its team as hashes; others may rarely have the same hash.
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
    /// Open reservations.
    pub open: u32,
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
    /// Returns the places of its member and of its membership.
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
