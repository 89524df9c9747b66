//! Members.

use super::{Repeatable, Shared, View, check_etag, get};
use crate::{
    domain::{
        access::Role,
        decision::LimitState,
        entity::{Member, Membership},
        id::{DEFAULT_TEAM, KeyId, MemberId, OrganizationId, TeamId},
        money::Nanos,
        policy::{Limit, Policy},
        time::Timestamp,
    },
    engine::{
        directory::Cell,
        state::OrganizationState,
        table::{KeyRow, Row},
        turn::{MemberChange, Outcome, Turn},
    },
    service::{
        Caller, Error, Service,
        allocation::{MemberCredits, member_credits},
        listing::{Found, Order, Page, Search, all, keyed, page_of, place_from},
        secret,
    },
    store::Searched,
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

/// A member, and what it used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberView {
    pub view: View<Member>,
    /// Credits, in the running cycle.
    pub used: Nanos,
}

/// What binds a member, as it may see that itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberBudgets {
    pub member: MemberId,
    pub policy: Vec<Limit>,
    /// Every limit that binds it or one of its keys alone, with the key of a rule's cap.
    pub limits: Vec<(LimitState, Option<KeyId>)>,
    pub allocations: Vec<MemberCredits>,
    pub credits_tracked: bool,
}

/// Most limits that are answered for one member.
const MOST_LIMITS: usize = 256;

fn used_by(state: &OrganizationState, id: &MemberId, now: Timestamp) -> Nanos {
    let place = state.members.place(id).filter(|_| state.allocations.cycle.contains(now));
    place.map_or(Nanos::ZERO, |place| state.allocations.used_by(place))
}

pub(super) fn member_shown(state: &OrganizationState, id: &MemberId, now: Timestamp) -> Outcome<MemberView> {
    let view = get(state, &state.members, (id, id.as_str()), Member::clone, now)?;
    Ok(MemberView { view, used: used_by(state, id, now) })
}

/// The limits of a member in its teams, and what it has of credits there.
fn of_memberships(cell: &Cell, member: &MemberId, now: Timestamp) -> (Vec<LimitState>, Vec<MemberCredits>) {
    let pick = |state: &OrganizationState, key, row: &Row<Membership>| {
        let limits: Vec<_> = state.limit_states(row.limits.iter().copied(), None, now).collect();
        let credits = member_credits(state, place_from(Some(key)));
        Some((limits, credits.filter(|credits| credits.remaining.is_some())))
    };
    let (limits, credits): (Vec<_>, Vec<_>) =
        all(cell, usize::MAX, |state, from| keyed(state.memberships.of_member(member, place_from(from))), pick)
            .into_iter()
            .unzip();
    (limits.into_iter().flatten().collect(), credits.into_iter().flatten().collect())
}

/// The caps of access rules on a member's keys.
fn of_keys(cell: &Cell, member: &MemberId, now: Timestamp) -> Vec<(LimitState, Option<KeyId>)> {
    let pick = |state: &OrganizationState, key, row: &Row<KeyRow>| {
        let cap = state.cap_state(place_from(Some(key)), now);
        cap.map(|cap| (cap, Some(row.entity.key.id.clone())))
    };
    if cell.lock().state.rules.rules.live_count() == 0 {
        return Vec::new();
    }
    all(cell, MOST_LIMITS, |state, from| keyed(state.keys_of(member, place_from(from))), pick)
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
    ) -> Result<MemberView, Error> {
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
    pub fn member(&self, organization: &OrganizationId, id: &MemberId) -> Result<MemberView, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(member_shown(&inner.state, id, self.clock.now())?)
    }

    /// Returns what binds a member, in the cycle that runs now.
    ///
    /// # Errors
    /// [`Error`] for a personal account, or when there is no such member.
    pub async fn member_budgets(&self, organization: &OrganizationId, id: &MemberId) -> Result<MemberBudgets, Error> {
        let cell = self.in_cycle(organization, "a budget of a member").await?;
        let now = self.clock.now();
        let (View { policy, limits, .. }, credits_tracked) = {
            let state = &cell.lock().state;
            (member_shown(state, id, now)?.view, state.organization.credit_factor.is_on())
        };
        let (in_teams, allocations) = of_memberships(&cell, id, now);
        let mut limits: Vec<_> = limits.into_iter().chain(in_teams).map(|limit| (limit, None)).collect();
        limits.extend(of_keys(&cell, id, now));
        limits.truncate(MOST_LIMITS);
        Ok(MemberBudgets { member: id.clone(), policy, limits, allocations, credits_tracked })
    }

    /// # Errors
    /// [`Error`] when there is no such organization, or the books can't be searched.
    pub async fn list_members(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        search: &str,
        at: Page,
    ) -> Result<Found<MemberView>, Error> {
        let cell = self.organization_cell(organization)?;
        let (search, now) = (Search::new(search), self.clock.now());
        let pick = |state: &OrganizationState, row: &Row<Member>| {
            let shown = || (Shared::standing(state, row, now), used_by(state, &row.entity.id, now));
            (!row.entity.deleted).then(shown)
        };
        let weigh = |(shared, _): &(Shared<Member>, Nanos)| shared.weight();
        let found = if search.is_for_all() {
            let pick = |state: &OrganizationState, _, row: &Row<Member>| pick(state, row);
            let found = page_of(&cell, (at, Order::OldestFirst), |state| &state.members, pick, weigh);
            found.of(cell.lock().state.members.live_count())
        } else {
            let matches = self.search(caller, &cell, (Searched::Members, &search), at).await?;
            let pick = |state: &OrganizationState, id: &str| pick(state, state.members.find(&MemberId::trusted(id))?);
            matches.page(&cell, pick, weigh)
        };
        Ok(found.map(|(shared, used)| MemberView { view: shared.view(Member::clone), used }))
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
    ) -> Result<MemberView, Error> {
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
