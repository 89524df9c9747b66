//! The control plane: what administrators create, read, change and end. Every change is acknowledged when on disk.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use serde::Serialize;

use super::{Caller, Error, Service, system::SystemTurn};
use crate::{
    domain::{
        decision::LimitState,
        entity::{AccountKind, Key, Membership},
        event::LimitNo,
        id::{OrganizationId, RequestId, RuleId},
        policy::Limit,
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        directory::Cell,
        state::OrganizationState,
        table::{Entity, Row, Table},
        turn::{Outcome, Turn},
    },
};

mod invitation;
mod key;
mod member;
mod organization;
mod rule;
mod team;

pub use invitation::{Accepted, InvitationFilter, InvitationView, NewInvitation};
pub use key::{KeyFilter, NewKey};
pub use member::{MemberBudgets, MemberView, NewMember};
pub use organization::{NewOrganization, OrganizationView};
pub use rule::{NewRule, RuleStatus, RuleView};
pub use team::{MembershipFilter, NewTeam};

/// An entity with its policy and how the policy's limits stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View<E> {
    pub entity: E,
    pub policy: Vec<Limit>,
    /// Empty in lists of keys and teams.
    pub limits: Vec<LimitState>,
    /// Changes with the entity and its policy.
    pub etag: String,
}

pub type MembershipView = View<Membership>;

/// A key, and the rule in force for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyView {
    pub view: View<Key>,
    pub effective_rule: Option<RuleId>,
}

/// A creation's request id with the hash of its content.
#[derive(Debug, Clone, Copy, Default)]
pub struct Repeatable<'a> {
    pub request: Option<&'a RequestId>,
    pub fingerprint: u64,
}

/// Tells one content from another; of an entity and the policy beside it.
fn etag_of(entity: &impl Serialize, policy: &[Limit]) -> String {
    let content = postcard::to_stdvec(&(entity, policy)).unwrap_or_default();
    HEXLOWER.encode(&blake3::hash(&content).as_bytes()[..8])
}

/// Refuses a change of something that was read before another change.
fn check_etag<R: Entity + Serialize>(
    state: &OrganizationState,
    row: Option<&Row<R>>,
    given: Option<&str>,
) -> Outcome<()> {
    let (Some(row), Some(given)) = (row, given) else { return Ok(()) };
    same_etag(given, etag_of(&row.entity, &state.settings_of(&row.limits)))
}

fn same_etag(given: &str, current: String) -> Outcome<()> {
    if given == current { Ok(()) } else { Err(Conflict::StaleEtag { given: given.to_owned(), current }) }
}

fn view<R: Serialize, E>(
    state: &OrganizationState,
    (source, entity): (&R, E),
    limits: &[LimitNo],
    now: Option<Timestamp>,
) -> View<E> {
    let policy = state.settings_of(limits);
    let limits = match now {
        Some(now) => state.limit_states(limits.iter().copied(), None, now).collect(),
        None => Vec::new(),
    };
    let etag = etag_of(source, &policy);
    View { entity, policy, limits, etag }
}

/// The row of an entity, if it is there and not deleted.
fn live<'a, R: Entity>(table: &'a Table<R>, id: &R::Id, name: &str) -> Outcome<&'a Row<R>> {
    match table.find(id) {
        Some(row) if row.entity.is_deleted() => Err(Conflict::Gone { kind: R::KIND, id: name.to_owned() }),
        Some(row) => Ok(row),
        None => Err(Conflict::NotFound { kind: R::KIND, id: name.to_owned() }),
    }
}

/// One live entity of a table.
fn get<R: Entity + Serialize, E>(
    state: &OrganizationState,
    table: &Table<R>,
    (id, name): (&R::Id, &str),
    entity: impl Fn(&R) -> E,
    now: Timestamp,
) -> Outcome<View<E>> {
    let row = live(table, id, name)?;
    Ok(view(state, (&row.entity, entity(&row.entity)), &row.limits, Some(now)))
}

/// An entity as lists show it, with the limits that its policy shares.
struct Shared<R> {
    source: R,
    limits: Vec<Arc<Limit>>,
    states: Vec<LimitState>,
}

impl<R: Clone + Serialize> Shared<R> {
    fn of(state: &OrganizationState, row: &Row<R>) -> Self {
        Self { source: row.entity.clone(), limits: state.shared_settings_of(&row.limits), states: Vec::new() }
    }

    /// The same, with how the limits stand.
    fn standing(state: &OrganizationState, row: &Row<R>, now: Timestamp) -> Self {
        let states = state.limit_states(row.limits.iter().copied(), None, now).collect();
        Self { states, ..Self::of(state, row) }
    }

    fn weight(&self) -> usize {
        1 + self.limits.iter().map(|limit| limit.weight()).sum::<usize>()
    }

    /// Copies the limits and hashes it all, which takes longer than the lock should be held.
    fn view<E>(self, entity: impl Fn(&R) -> E) -> View<E> {
        let Self { source, limits, states } = self;
        let policy: Vec<_> = limits.iter().map(|limit| Limit::clone(limit)).collect();
        let etag = etag_of(&source, &policy);
        View { entity: entity(&source), policy, limits: states, etag }
    }
}

impl Service {
    pub(super) fn organization_cell(&self, id: &OrganizationId) -> Result<Arc<Cell>, Error> {
        let (kind, name) = ("organization", || id.to_string());
        let cell = self.directory.find(id).ok_or_else(|| Error::NotFound { kind, id: name() })?;
        if cell.lock().state.organization.deleted { Err(Error::Gone { kind, id: name() }) } else { Ok(cell) }
    }

    /// Returns the same for what only a team account has.
    ///
    /// # Errors
    /// [`Error`] for a personal account, or when there is no such organization.
    pub(super) fn team_account(&self, id: &OrganizationId, what: &'static str) -> Result<Arc<Cell>, Error> {
        let cell = self.organization_cell(id)?;
        if cell.lock().state.organization.kind == AccountKind::Personal {
            return Err(Conflict::TeamAccountRequired { what }.into());
        }
        Ok(cell)
    }

    /// One change of one organization, acknowledged when on disk. The answer is what the change left, not what others make of it
    /// while the disk is waited for.
    pub(super) async fn change<T>(
        &self,
        caller: &Caller,
        id: &OrganizationId,
        change: impl FnOnce(&mut Turn<'_>) -> Outcome<T>,
    ) -> Result<T, Error> {
        let cell = self.organization_cell(id)?;
        self.wait_for_room().await?;
        let done = self.turn_of(&cell, caller, |turn| {
            turn.check_organization()?;
            Ok(change(turn)?)
        })?;
        self.acknowledge(done).await
    }

    /// A change of one organization and of the system's state beside it, acknowledged when both are on disk.
    pub(super) async fn joint_change<T>(
        &self,
        caller: &Caller,
        id: &OrganizationId,
        change: impl FnOnce(&mut Turn<'_>, &mut SystemTurn<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let cell = self.organization_cell(id)?;
        self.wait_for_room().await?;
        let done = self.joint_turn_of(&cell, caller, |turn, system| {
            turn.check_organization()?;
            change(turn, system)
        })?;
        self.acknowledge(done).await
    }

    /// A creation that a repeat under the same request id doesn't make twice. Answers what was made, as `show` reads it.
    pub(super) async fn create<I, V>(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        repeatable: Repeatable<'_>,
        (id, parse): (I, impl FnOnce(&str) -> I),
        make: impl FnOnce(&mut Turn<'_>, &I) -> Outcome<()>,
        show: impl FnOnce(&OrganizationState, &I, Timestamp) -> Outcome<V>,
    ) -> Result<V, Error>
    where
        I: std::fmt::Display,
    {
        let Repeatable { request, fingerprint } = repeatable;
        self.change(caller, organization, |turn| {
            if let Some(before) = turn.created_before(request, fingerprint)? {
                return show(turn.state, &parse(&before), turn.now());
            }
            make(turn, &id)?;
            turn.take_request(request, fingerprint, &id.to_string());
            show(turn.state, &id, turn.now())
        })
        .await
    }
}
