//! Members.

use super::{Repeatable, View, check_etag, get, list, total};
use crate::{
    domain::{
        access::Role,
        entity::Member,
        id::{DEFAULT_TEAM, MemberId, OrganizationId, TeamId},
        policy::Policy,
        time::Timestamp,
    },
    engine::{
        state::OrganizationState,
        turn::{MemberChange, Outcome, Turn},
    },
    service::{
        Caller, Error, Service,
        listing::{Found, Page, Search},
        secret,
    },
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMember {
    /// Minted if `None`.
    pub id: Option<MemberId>,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub disabled: bool,
    pub policy: Policy,
    /// Empty means the default team.
    pub teams: Vec<TeamId>,
}

pub(super) fn member_shown(state: &OrganizationState, id: &MemberId, now: Timestamp) -> Outcome<View<Member>> {
    get(state, &state.members, (id, id.as_str()), Member::clone, now)
}

impl Service {
    /// # Errors
    /// [`Error`] when the id is or was in use, a team is missing, or the policy doesn't fit.
    pub async fn create_member(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewMember,
        repeatable: Repeatable<'_>,
    ) -> Result<View<Member>, Error> {
        let id = match new.id {
            Some(id) => id,
            None => MemberId::trusted(secret::new_id("member")?),
        };
        let NewMember { name, email, role, disabled, policy, mut teams, .. } = new;
        if teams.is_empty() {
            teams.push(TeamId::trusted(DEFAULT_TEAM));
        }
        let make = |turn: &mut Turn<'_>, id: &MemberId| {
            let (create_time, update_time) = (turn.now(), turn.now());
            let id = id.clone();
            let member = Member { id, name, email, role, disabled, deleted: false, create_time, update_time };
            turn.create_member(member, &teams, &policy)
        };
        let parse = |made: &str| MemberId::trusted(made);
        self.create(caller, organization, repeatable, (id, parse), make, member_shown).await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such member.
    pub fn member(&self, organization: &OrganizationId, id: &MemberId) -> Result<View<Member>, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(member_shown(&inner.state, id, self.clock.now())?)
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_members(
        &self,
        organization: &OrganizationId,
        search: &str,
        at: Page,
    ) -> Result<Found<View<Member>>, Error> {
        let cell = self.organization_cell(organization)?;
        let search = Search::new(search);
        let matches = |member: &Member| search.is_in(&[&member.name, &member.email, member.id.as_str()]);
        let found = list(&cell, at, |state| &state.members, matches, Member::clone);
        Ok(found.of(total(&cell, &search, |state| &state.members, matches)))
    }

    /// # Errors
    /// [`Error`] when there is no such member or the policy doesn't fit.
    pub async fn update_member(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &MemberId,
        change: MemberChange,
        etag: Option<&str>,
    ) -> Result<View<Member>, Error> {
        self.change(caller, organization, |turn| {
            check_etag(turn.state, turn.state.members.find_live(id), etag)?;
            turn.update_member(id, change)?;
            member_shown(turn.state, id, turn.now())
        })
        .await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such member.
    pub async fn delete_member(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &MemberId,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        self.change(caller, organization, |turn| {
            check_etag(turn.state, turn.state.members.find_live(id), etag)?;
            turn.delete_member(id)
        })
        .await
    }
}
