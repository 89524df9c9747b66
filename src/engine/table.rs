//! The entities of one kind: dense rows that keep their place for ever, found by id.

use std::{collections::HashMap, hash::Hash};

use foldhash::fast::RandomState;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::domain::{
    entity::{Key, Member, Membership, Team},
    event::LimitNo,
    id::{KeyId, MemberId, TeamId},
};

/// What can stand in a [`Table`].
pub trait Entity {
    /// As in errors.
    const KIND: &'static str;
    type Id: Clone + Eq + Hash + Serialize + DeserializeOwned;
    fn id(&self) -> Self::Id;
    fn is_deleted(&self) -> bool;
}

/// An entity and the limits of its policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row<E> {
    pub entity: E,
    pub limits: Box<[LimitNo]>,
}

/// Rows are never removed: late settlements still name the deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "E: Serialize + DeserializeOwned")]
pub struct Table<E: Entity> {
    rows: Vec<Row<E>>,
    index: HashMap<E::Id, u32, RandomState>,
}

impl<E: Entity> Default for Table<E> {
    fn default() -> Self {
        Self { rows: Vec::new(), index: HashMap::default() }
    }
}

impl<E: Entity> Table<E> {
    /// Puts an entity in its place, new or not, and answers the place.
    pub fn set(&mut self, entity: E) -> u32 {
        let next = u32::try_from(self.rows.len()).unwrap_or(u32::MAX);
        let at = *self.index.entry(entity.id()).or_insert(next);
        match self.rows.get_mut(at as usize) {
            Some(row) => row.entity = entity,
            None => self.rows.push(Row { entity, limits: Box::default() }),
        }
        at
    }

    pub fn row(&self, at: u32) -> Option<&Row<E>> {
        self.rows.get(at as usize)
    }

    pub fn row_mut(&mut self, at: u32) -> Option<&mut Row<E>> {
        self.rows.get_mut(at as usize)
    }

    pub fn place(&self, id: &E::Id) -> Option<u32> {
        self.index.get(id).copied()
    }

    /// Deleted ones included.
    pub fn find(&self, id: &E::Id) -> Option<&Row<E>> {
        self.row(self.place(id)?)
    }

    pub fn find_live(&self, id: &E::Id) -> Option<&Row<E>> {
        self.find(id).filter(|row| !row.entity.is_deleted())
    }

    pub fn live(&self) -> impl Iterator<Item = &Row<E>> {
        self.rows.iter().filter(|row| !row.entity.is_deleted())
    }

    /// With their places, deleted ones included.
    pub fn all(&self) -> impl Iterator<Item = (u32, &Row<E>)> {
        (0..).zip(&self.rows)
    }
}

impl Entity for Team {
    const KIND: &'static str = "team";
    type Id = TeamId;
    fn id(&self) -> TeamId {
        self.id.clone()
    }
    fn is_deleted(&self) -> bool {
        self.deleted
    }
}

impl Entity for Member {
    const KIND: &'static str = "member";
    type Id = MemberId;
    fn id(&self) -> MemberId {
        self.id.clone()
    }
    fn is_deleted(&self) -> bool {
        self.deleted
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
}

/// A key with the places of what it belongs to, which never change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    pub key: Key,
    pub member: u32,
    pub team: u32,
    pub membership: u32,
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
}
