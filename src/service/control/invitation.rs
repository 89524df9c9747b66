//! Invitations, and how they become members.

use std::collections::{BTreeSet, HashMap};

use super::{
    Repeatable,
    member::{MemberView, member_shown},
};
use crate::{
    domain::{
        access::{AccessToken, Bearer, Invitation, InvitationState, Role},
        ended::{Ended, EndedName},
        event::Event,
        fold,
        id::{Actor, InvitationId, MemberId, OrganizationId, SecretHash, TeamId, TokenId},
        policy::Policy,
        time::{Span, Timestamp},
    },
    engine::{
        conflict::Conflict, directory::Cell, state::OrganizationState, system::SystemState, table::Row, turn::Outcome,
    },
    service::{
        Caller, Error, Service,
        listing::{Found, Order, Page, Search, page_of},
        secret,
        system::SystemTurn,
        token::NewToken,
    },
    store::{EndedKey, Searched},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewInvitation {
    /// Minted if `None`.
    pub id: Option<InvitationId>,
    pub email: String,
    pub name: String,
    pub role: Role,
    /// Empty means the default team.
    pub teams: Vec<TeamId>,
    pub policy: Policy,
    pub ttl: Span,
}

/// An invitation, and whether its time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationView {
    pub invitation: Invitation,
    pub expired: bool,
}

/// Which invitations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InvitationFilter {
    /// Empty matches all.
    pub states: BTreeSet<&'static str>,
    pub search: String,
}

/// Who joined.
#[derive(Debug)]
pub struct Accepted {
    pub organization: OrganizationId,
    pub member: MemberView,
    /// Of a new access token; `None` where the caller's own stands for the membership now.
    pub secret: Option<String>,
}

/// What a personal account doesn't have.
const AN_INVITATION: &str = "an invitation";

impl Service {
    /// Invites somebody, by mail where a mail server is configured. Answers the token too, this once; `None` on a repeat.
    ///
    /// # Errors
    /// [`Error`] when the address is a member's or was invited already, a team is missing, or the policy doesn't fit.
    pub async fn create_invitation(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewInvitation,
        repeatable: Repeatable<'_>,
    ) -> Result<(InvitationView, Option<String>), Error> {
        let NewInvitation { id, email, name, role, teams, policy, ttl } = new;
        let id = match id {
            Some(id) => id,
            None => InvitationId::trusted(secret::new_id("invitation")?),
        };
        let NewToken { token, secret } = self.invitation_token(organization, &id)?;
        let Repeatable { request, fingerprint } = repeatable;
        self.joint_change(caller, organization, |turn, system| {
            // A repeat finds the first one's.
            if let Some(before) = turn.created_before(request, fingerprint)? {
                return Ok((invitation_shown(turn.state, &InvitationId::trusted(before), turn.now())?, None));
            }
            let now = turn.now();
            let expire_time = now + ttl;
            turn.invite(Invitation {
                id: id.clone(),
                email,
                name,
                role,
                teams,
                policy,
                invited_by: caller.actor.clone(),
                state: InvitationState::Pending,
                expire_time,
                create_time: now,
                update_time: now,
            })?;
            turn.take_request(request, fingerprint, id.as_str());
            turn.announce(&id);
            let token = AccessToken { expire_time: Some(expire_time), ..token };
            system.emit(&caller.actor, Event::TokenSet(Box::new(token)));
            Ok((invitation_shown(turn.state, &id, now)?, Some(secret)))
        })
        .await
    }

    /// # Errors
    /// [`Error`] for a personal account, or when there is no such invitation.
    pub fn invitation(&self, organization: &OrganizationId, id: &InvitationId) -> Result<InvitationView, Error> {
        let cell = self.team_account(organization, AN_INVITATION)?;
        let inner = cell.lock();
        Ok(invitation_shown(&inner.state, id, self.clock.now())?)
    }

    /// # Errors
    /// [`Error`] for a personal account, when there is no such organization, or when the books can't be searched.
    pub async fn list_invitations(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        filter: &InvitationFilter,
        at: Page,
    ) -> Result<Found<InvitationView>, Error> {
        let cell = self.team_account(organization, AN_INVITATION)?;
        let (now, search) = (self.clock.now(), Search::new(&filter.search));
        let pick = |invitation: &Invitation| {
            let wanted = filter.states.is_empty() || filter.states.contains(state_name(invitation, now));
            wanted.then(|| shown(invitation.clone(), now))
        };
        let weigh = |view: &InvitationView| 1 + view.invitation.policy.weight();
        if search.is_for_all() {
            let pick = |_: &OrganizationState, _, row: &Row<Invitation>| pick(&row.entity);
            return Ok(page_of(&cell, (at, Order::OldestFirst), |state| &state.invitations, pick, weigh));
        }
        let matches = self.search(caller, &cell, (Searched::Invitations, &search), at).await?;
        let over = self.invitations_over(&cell, matches.ids()).await?;
        let pick = |state: &OrganizationState, id: &str| {
            let id = InvitationId::trusted(id);
            let known = state.invitations.find(&id).map(|row| &row.entity);
            pick(known.or_else(|| over.get(&id))?)
        };
        Ok(matches.page(&cell, pick, weigh))
    }

    /// Returns those of the invitations that memory has given up.
    async fn invitations_over(
        &self,
        cell: &Cell,
        ids: impl Iterator<Item = &str> + Send,
    ) -> Result<HashMap<InvitationId, Invitation>, Error> {
        let unknown: Vec<_> = {
            let inner = cell.lock();
            let ids = ids.map(InvitationId::trusted);
            ids.filter(|id| inner.state.invitations.find(id).is_none()).collect()
        };
        let mut over = HashMap::new();
        for id in unknown {
            let name = EndedName::Invitation(id.clone());
            if let Some(Ended::Invitation(found)) = self.store.find_ended(&cell.id, EndedKey::Name(&name)).await? {
                over.insert(id, *found);
            }
        }
        Ok(over)
    }

    /// The limits that the member will have.
    ///
    /// # Errors
    /// [`Error`] when it isn't open or the policy doesn't fit.
    pub async fn set_invitation_policy(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &InvitationId,
        policy: Policy,
    ) -> Result<InvitationView, Error> {
        self.change(caller, organization, |turn| {
            turn.set_invitation_policy(id, policy)?;
            invitation_shown(turn.state, id, turn.now())
        })
        .await
    }

    /// Renews it with another token, which it answers this once, and mails it again.
    ///
    /// # Errors
    /// [`Error`] when it isn't open.
    pub async fn resend_invitation(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &InvitationId,
        ttl: Span,
    ) -> Result<(InvitationView, String), Error> {
        let NewToken { token, secret } = self.invitation_token(organization, id)?;
        self.joint_change(caller, organization, |turn, system| {
            let expire_time = turn.now() + ttl;
            turn.renew_invitation(id, expire_time)?;
            end_tokens(system, &caller.actor, organization, id);
            let token = AccessToken { expire_time: Some(expire_time), ..token };
            system.emit(&caller.actor, Event::TokenSet(Box::new(token)));
            turn.announce(id);
            Ok((invitation_shown(turn.state, id, turn.now())?, secret))
        })
        .await
    }

    /// One that ends with the invitation, once it is told when.
    fn invitation_token(&self, organization: &OrganizationId, id: &InvitationId) -> Result<NewToken, Error> {
        let bearer = Bearer::Invitee(organization.clone(), id.clone());
        self.mint(TokenId::trusted(secret::new_id("token")?), String::new(), bearer, None)
    }

    /// # Errors
    /// [`Error`] when it isn't open.
    pub async fn revoke_invitation(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &InvitationId,
    ) -> Result<InvitationView, Error> {
        self.joint_change(caller, organization, |turn, system| {
            turn.revoke_invitation(id)?;
            end_tokens(system, &caller.actor, organization, id);
            Ok(invitation_shown(turn.state, id, turn.now())?)
        })
        .await
    }

    /// Makes the caller a member: by the invitation's token, shown or given besides an access token of its own.
    ///
    /// # Errors
    /// [`Error`] when the token is none, the invitation isn't open, or it is for another address.
    pub async fn accept_invitation(
        &self,
        caller: &Caller,
        token: Option<&str>,
        member: Option<MemberId>,
        name: Option<String>,
    ) -> Result<Accepted, Error> {
        let shown = match (caller.invitation(), token) {
            (Some(_), _) => caller.secret(),
            (None, Some(token)) => Some(SecretHash::of(token)),
            (None, None) => {
                let problem = "is missing; give the token of the invitation that is to be accepted";
                return Err(crate::domain::error::Invalid::new("invitation_token", problem).into());
            }
        };
        let (organization, id) = self.invitation_of(shown)?;
        let cell = self.organization_cell(&organization)?;
        let email = self.invitation(&organization, &id)?.invitation.email;
        let own = self.own_token(caller, &email)?;
        let member = match member {
            Some(member) => member,
            None => MemberId::trusted(secret::new_id("member")?),
        };
        let granted = (organization.clone(), member.clone());
        let bearer = Bearer::Member(vec![granted.clone()]);
        let new = self.mint(TokenId::trusted(secret::new_id("token")?), String::from("first"), bearer, None)?;
        self.wait_for_room().await?;
        let actor = Actor::member(&member);
        let done = self.joint_turn(&cell, &actor, |turn, system| {
            turn.check_organization()?;
            // Sent again or revoked since, the token is none any more.
            self.invitation_of(shown)?;
            let (token, secret) = match &own {
                Some(own) => (own.also_for(granted, system.state)?, None),
                None => (new.token, Some(new.secret)),
            };
            turn.accept_invitation(&id, member.clone(), name)?;
            end_tokens(system, &actor, &organization, &id);
            system.emit(&actor, Event::TokenSet(Box::new(token)));
            let member = member_shown(turn.state, &member, turn.now())?;
            Ok::<_, Error>(Accepted { organization, member, secret })
        });
        self.acknowledge(done.transposed()?).await
    }

    fn invitation_of(&self, shown: Option<SecretHash>) -> Result<(OrganizationId, InvitationId), Error> {
        let now = self.clock.now();
        let known = shown.and_then(|shown| self.tokens.find(&shown, now, |known| known.bearer.clone()));
        match known {
            Some(Bearer::Invitee(organization, id)) => Ok((organization, id)),
            _ => Err(crate::domain::error::Invalid::new("invitation_token", "is unknown or has expired").into()),
        }
    }

    /// The access token that was shown, if the person behind it is who was invited.
    fn own_token(&self, caller: &Caller, email: &str) -> Result<Option<OwnToken>, Error> {
        let Some((id, grants)) = caller.access() else { return Ok(None) };
        let address = fold::address(email);
        let is_invited = |(organization, member): &&Grant| {
            let view = self.member(organization, member);
            view.is_ok_and(|view| {
                let member = &view.view.entity;
                fold::address(&member.email) == address && !member.disabled
            })
        };
        let proofs: Vec<_> = grants.iter().filter(is_invited).cloned().collect();
        if proofs.is_empty() {
            let problem = format!("the invitation is for {email}, which is the address of none of your memberships");
            return Err(Conflict::Precondition(problem).into());
        }
        Ok(Some(OwnToken { id: id.clone(), proofs }))
    }
}

type Grant = (OrganizationId, MemberId);

/// An access token of somebody who accepts an invitation.
struct OwnToken {
    id: TokenId,
    /// The memberships whose address was invited.
    proofs: Vec<Grant>,
}

impl OwnToken {
    /// What it stands for now, and another membership: since it was shown it may have been ended, for one organization or all,
    /// or have accepted another invitation.
    fn also_for(&self, granted: Grant, system: &SystemState) -> Result<AccessToken, Error> {
        let mut token = system.tokens.get(&self.id).cloned().ok_or(Error::TokenUnknown)?;
        match &mut token.bearer {
            Bearer::Member(grants) if self.proofs.iter().any(|proof| grants.contains(proof)) => grants.push(granted),
            _ => return Err(Error::TokenUnknown),
        }
        Ok(token)
    }
}

/// Every token of an invitation.
fn end_tokens(system: &mut SystemTurn<'_>, actor: &Actor, organization: &OrganizationId, id: &InvitationId) {
    let ended: Vec<_> = system.state.tokens.of_invitation(organization, id).map(|token| token.id.clone()).collect();
    for token in ended {
        system.emit(actor, Event::TokenDeleted(token));
    }
}

fn invitation_shown(state: &OrganizationState, id: &InvitationId, now: Timestamp) -> Outcome<InvitationView> {
    let missing = || Conflict::NotFound { kind: "invitation", id: id.to_string() };
    Ok(shown(state.invitations.find(id).map(|row| row.entity.clone()).ok_or_else(missing)?, now))
}

fn has_expired(invitation: &Invitation, now: Timestamp) -> bool {
    invitation.state == InvitationState::Pending && now >= invitation.expire_time
}

/// As filters name it.
fn state_name(invitation: &Invitation, now: Timestamp) -> &'static str {
    match invitation.state {
        InvitationState::Pending if has_expired(invitation, now) => "expired",
        InvitationState::Pending => "pending",
        InvitationState::Accepted(_) => "accepted",
        InvitationState::Revoked => "revoked",
    }
}

fn shown(invitation: Invitation, now: Timestamp) -> InvitationView {
    InvitationView { expired: has_expired(&invitation, now), invitation }
}
