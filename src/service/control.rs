//! The control plane: what administrators create, read, change and end. Every change is acknowledged when on disk.

use std::sync::Arc;

use super::{Caller, Error, Service, turn::Done};
use crate::{
    domain::{
        decision::LimitState,
        entity::{Key, Membership},
        event::LimitNo,
        id::{OrganizationId, RequestId},
        policy::Limit,
        time::Timestamp,
    },
    engine::{
        directory::Cell,
        state::OrganizationState,
        table::{Entity, Row, Table},
        turn::{Outcome, Turn},
    },
};

mod key;
mod member;
mod organization;
mod team;

pub use key::{KeyFilter, NewKey};
pub use member::NewMember;
pub use organization::NewOrganization;
pub use team::{MembershipFilter, NewTeam};

/// An entity with its policy and how the policy's limits stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<E> {
    pub entity: E,
    pub policy: Vec<Limit>,
    /// Empty in lists.
    pub limits: Vec<LimitState>,
}

pub type MembershipView = View<Membership>;
pub type KeyView = View<Key>;

/// A page, and where the next one begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<E> {
    pub views: Vec<View<E>>,
    pub next: Option<u32>,
}

/// A creation's request id with the hash of its content.
#[derive(Debug, Clone, Copy, Default)]
pub struct Repeatable<'a> {
    pub request: Option<&'a RequestId>,
    pub fingerprint: u64,
}

fn view<E>(state: &OrganizationState, entity: E, limits: &[LimitNo], now: Option<Timestamp>) -> View<E> {
    let policy = limits.iter().filter_map(|no| state.limit(*no)).map(|entry| entry.limit.clone()).collect();
    let limits = match now {
        Some(now) => state.limit_states(limits.iter().copied(), None, now).collect(),
        None => Vec::new(),
    };
    View { entity, policy, limits }
}

/// One live entity of a table.
fn get<R: Entity, E>(
    state: &OrganizationState,
    table: &Table<R>,
    (id, name): (&R::Id, &str),
    entity: impl Fn(&R) -> E,
    now: Timestamp,
) -> Result<View<E>, Error> {
    let row = table.find_live(id).ok_or_else(|| Error::NotFound { kind: R::KIND, id: name.to_owned() })?;
    Ok(view(state, entity(&row.entity), &row.limits, Some(now)))
}

/// A page of the live entities of a table, in the order they were made, from place `from` on.
fn list<R: Entity, E>(
    state: &OrganizationState,
    table: &Table<R>,
    entity: impl Fn(&R) -> Option<E>,
    from: u32,
    limit: usize,
) -> Listed<E> {
    let start = usize::try_from(from).unwrap_or(usize::MAX);
    let live = table.all().skip(start).filter(|(_, row)| !row.entity.is_deleted());
    let mut page: Vec<(u32, View<E>)> = live
        .filter_map(|(place, Row { entity: e, limits })| Some((place, view(state, entity(e)?, limits, None))))
        .take(limit.saturating_add(1))
        .collect();
    let next = if page.len() > limit { page.pop().map(|(place, _)| place) } else { None };
    Listed { views: page.into_iter().map(|(_, view)| view).collect(), next }
}

impl Service {
    pub(super) fn organization_cell(&self, id: &OrganizationId) -> Result<Arc<Cell>, Error> {
        let missing = || Error::NotFound { kind: "organization", id: id.to_string() };
        let cell = self.directory.find(id).ok_or_else(missing)?;
        if cell.lock().state.organization.deleted { Err(missing()) } else { Ok(cell) }
    }

    /// One change of one organization, acknowledged when on disk.
    async fn change<T>(
        &self,
        caller: &Caller,
        id: &OrganizationId,
        change: impl FnOnce(&mut Turn<'_>) -> Outcome<T>,
    ) -> Result<T, Error> {
        let cell = self.organization_cell(id)?;
        self.wait_for_room().await?;
        let Done { answer, position } = self.turn(&cell, &caller.actor, change);
        let answer = answer?;
        self.writer.wait_durable(position).await?;
        Ok(answer)
    }

    /// A creation that a repeat under the same request id doesn't make twice. Answers the id of what was made.
    async fn create<I>(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        repeatable: Repeatable<'_>,
        id: I,
        parse: impl FnOnce(&str) -> I,
        make: impl FnOnce(&mut Turn<'_>, &I) -> Outcome<()>,
    ) -> Result<I, Error>
    where
        I: std::fmt::Display,
    {
        let Repeatable { request, fingerprint } = repeatable;
        self.change(caller, organization, |turn| {
            if let Some(before) = turn.created_before(request, fingerprint)? {
                return Ok(parse(&before));
            }
            make(turn, &id)?;
            turn.take_request(request, fingerprint, &id.to_string());
            Ok(id)
        })
        .await
    }
}
