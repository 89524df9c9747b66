//! What callers authenticate with: tokens of services, members and invitations.

use super::{
    Caller, Error, Service,
    listing::{all, keyed, place_from},
    secret,
};
use crate::{
    domain::{
        access::{AccessToken, Bearer, Role, Scopes},
        error::Invalid,
        event::Event,
        id::{Actor, MemberId, OrganizationId, SecretHash, TeamId, TokenId},
        time::Timestamp,
    },
    engine::{conflict::Conflict, system::SystemState},
};

mod life;

pub(super) use life::Standing;
pub use life::TokenLife;

/// Most access tokens that one member may have.
const MAX_TOKENS: usize = 100;

/// Expired tokens that are ended at a time.
const AT_ONCE: usize = 256;

/// A token with its secret, which is told this once.
#[derive(Debug, Clone)]
pub struct NewToken {
    pub token: AccessToken,
    pub secret: String,
}

/// An access token to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemberToken {
    /// Minted if `None`.
    pub id: Option<TokenId>,
    /// `None` means the caller.
    pub member: Option<MemberId>,
    pub name: String,
    pub expire_time: Option<Timestamp>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhoAmI {
    pub actor: String,
    pub identities: Vec<Identity>,
    /// Of a service token.
    pub scopes: Scopes,
}

/// One of the memberships that an access token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub organization: OrganizationId,
    pub organization_name: String,
    pub member: MemberId,
    pub name: String,
    pub email: String,
    pub role: Role,
    pub teams: Vec<TeamId>,
}

fn stands_for(token: &AccessToken, organization: &OrganizationId, member: Option<&MemberId>) -> bool {
    let Bearer::Member(grants) = &token.bearer else { return false };
    grants.iter().any(|(of, who)| of == organization && member.is_none_or(|member| who == member))
}

/// # Errors
/// [`Error::Exists`] when the id is in use, [`Error::Invalid`] when it would be expired from the start.
fn check_new(system: &SystemState, token: &AccessToken, now: Timestamp) -> Result<(), Error> {
    let AccessToken { id, expire_time, .. } = token;
    if system.tokens.get(id).is_some() {
        return Err(Error::Exists { kind: "token", id: id.to_string() });
    }
    if expire_time.is_some_and(|end| end <= now) {
        let problem = "lies in the past; leave it unset for a token that doesn't expire";
        return Err(Invalid::new("token.expire_time", problem).into());
    }
    Ok(())
}

fn missing(id: &TokenId) -> Error {
    Error::NotFound { kind: "token", id: id.to_string() }
}

impl Service {
    /// # Errors
    /// [`Error::Exists`] when the id is in use, [`Error::Invalid`] when it would be expired from the start,
    /// [`Error::NotFound`] when its scopes name an organization that there isn't.
    pub async fn create_service_token(
        &self,
        caller: &Caller,
        id: Option<TokenId>,
        name: String,
        scopes: Scopes,
        expire_time: Option<Timestamp>,
    ) -> Result<NewToken, Error> {
        for organization in scopes.organizations() {
            self.organization_cell(organization)?;
        }
        self.create_token(&caller.actor, id, name, Bearer::Service(scopes), expire_time).await
    }

    async fn create_token(
        &self,
        actor: &Actor,
        id: Option<TokenId>,
        name: String,
        bearer: Bearer,
        expire_time: Option<Timestamp>,
    ) -> Result<NewToken, Error> {
        self.wait_for_room().await?;
        let id = match id {
            Some(id) => id,
            None => TokenId::trusted(secret::new_id("token")?),
        };
        let new = self.mint(id, name, bearer, expire_time)?;
        let position = self.system_turn(actor, |system, now| {
            check_new(system, &new.token, now)?;
            Ok(Event::TokenSet(Box::new(new.token.clone())))
        })?;
        self.writer.wait_durable(position).await?;
        Ok(new)
    }

    /// A token that isn't known yet.
    pub(super) fn mint(
        &self,
        id: TokenId,
        name: String,
        bearer: Bearer,
        expire_time: Option<Timestamp>,
    ) -> Result<NewToken, Error> {
        let prefix = match bearer {
            Bearer::Service(_) => "qt",
            Bearer::Member(_) => "qm",
            Bearer::Invitee(..) => "qi",
        };
        let secret = secret::new_secret(prefix)?;
        let (hash, create_time) = (SecretHash::of(&secret), self.clock.now());
        Ok(NewToken { token: AccessToken { id, name, hash, bearer, create_time, expire_time }, secret })
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such token.
    pub async fn delete_service_token(&self, caller: &Caller, id: &TokenId) -> Result<(), Error> {
        self.delete_token(caller, id, |token| matches!(token.bearer, Bearer::Service(_))).await
    }

    async fn delete_token(
        &self,
        caller: &Caller,
        id: &TokenId,
        of: impl Fn(&AccessToken) -> bool,
    ) -> Result<(), Error> {
        self.wait_for_room().await?;
        let position = self.system_turn(&caller.actor, |system, _| match system.tokens.get(id) {
            Some(token) if of(token) => Ok(Event::TokenDeleted(id.clone())),
            _ => Err(missing(id)),
        })?;
        Ok(self.writer.wait_durable(position).await?)
    }

    /// Ends tokens that expired longer ago than ended things are remembered: nobody can show one.
    ///
    /// # Errors
    /// [`Error`] when the journal can't take more.
    pub(super) async fn end_expired_tokens(&self) -> Result<(), Error> {
        let by = self.clock.now() - self.tuning.remember_ended;
        while self.system.lock().tokens.expired_by(by).next().is_some() {
            self.wait_for_room().await?;
            self.system_events(&Actor::SYSTEM, |system, _| {
                Ok(system.tokens.expired_by(by).take(AT_ONCE).cloned().map(Event::TokenDeleted).collect())
            })?;
        }
        Ok(())
    }

    /// In the order of their ids, those after `after`.
    pub fn list_service_tokens(&self, after: Option<&TokenId>, limit: usize) -> Vec<AccessToken> {
        let system = self.system.lock();
        system.tokens.services(after).take(limit).cloned().collect()
    }

    /// # Errors
    /// [`Error`] when there is no such member, it has too many, or the id is in use.
    pub async fn create_member_token(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewMemberToken,
    ) -> Result<(NewToken, MemberId), Error> {
        let NewMemberToken { id, member, name, expire_time } = new;
        let member = Self::whose(caller, member)?;
        let id = match id {
            Some(id) => id,
            None => TokenId::trusted(secret::new_id("token")?),
        };
        let bearer = Bearer::Member(vec![(organization.clone(), member.clone())]);
        let new = self.mint(id, name, bearer, expire_time)?;
        self.joint_change(caller, organization, |turn, system| {
            let missing = || Error::NotFound { kind: "member", id: member.to_string() };
            turn.state.members.find_live(&member).ok_or_else(missing)?;
            if system.state.tokens.of_member(organization, &member).count() >= MAX_TOKENS {
                let problem =
                    format!("member {member} has {MAX_TOKENS} access tokens, as many as one may; delete some");
                return Err(Conflict::Precondition(problem).into());
            }
            check_new(system.state, &new.token, turn.now())?;
            system.emit(&caller.actor, Event::TokenSet(Box::new(new.token.clone())));
            Ok((new, member))
        })
        .await
    }

    /// The member that is meant: the caller where none is named.
    ///
    /// # Errors
    /// [`Invalid`] where the caller is none.
    pub(super) fn whose(caller: &Caller, member: Option<MemberId>) -> Result<MemberId, Invalid> {
        let nobody = || Invalid::new("member_id", "is missing; the operator is no member itself");
        member.or_else(|| caller.member.clone()).ok_or_else(nobody)
    }

    /// Those that stand for a member, or for any of the organization.
    pub fn list_member_tokens(&self, organization: &OrganizationId, member: Option<&MemberId>) -> Vec<AccessToken> {
        let system = self.system.lock();
        match member {
            Some(member) => system.tokens.of_member(organization, member).cloned().collect(),
            None => system.tokens.of_organization(organization).into_iter().cloned().collect(),
        }
    }

    /// Ends a token of the caller's own, or what somebody's token may do in this organization: what the same person is elsewhere
    /// is no business of others.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such token.
    pub async fn delete_member_token(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &TokenId,
    ) -> Result<(), Error> {
        let cell = self.directory.find(organization).ok_or_else(|| missing(id))?;
        self.wait_for_room().await?;
        let done = self.joint_turn_of(&cell, caller, |_, system| {
            let of = |token: &&AccessToken| stands_for(token, organization, caller.only.as_ref());
            let mut left = system.state.tokens.get(id).filter(of).cloned().ok_or_else(|| missing(id))?;
            let is_own = caller.member.as_ref().is_some_and(|member| stands_for(&left, organization, Some(member)));
            let Bearer::Member(grants) = left.bearer.clone() else { return Err(missing(id)) };
            for grant in grants.into_iter().filter(|(of, _)| is_own || of == organization) {
                if let Bearer::Member(others) = &mut left.bearer {
                    others.retain(|other| *other != grant);
                }
                let (organization, member) = grant;
                // Who ends its own does so as the member that it is in each organization.
                let actor = if is_own { Actor::member(&member) } else { caller.actor.clone() };
                let left = Box::new(left.clone());
                system.emit(&actor, Event::GrantRemoved { organization, member, left });
            }
            Ok(())
        })?;
        self.acknowledge(done).await
    }

    pub fn who_am_i(&self, caller: &Caller) -> WhoAmI {
        let Some((_, grants)) = caller.access() else {
            let scopes = caller.scopes().map(|scopes| Scopes::clone(scopes)).unwrap_or_default();
            return WhoAmI { actor: caller.actor.as_str().to_owned(), identities: Vec::new(), scopes };
        };
        let identities = grants.iter().filter_map(|(organization, member)| self.identity(organization, member));
        WhoAmI { actor: String::from("member"), identities: identities.collect(), scopes: Scopes::default() }
    }

    fn identity(&self, organization: &OrganizationId, member: &MemberId) -> Option<Identity> {
        let cell = self.directory.find(organization)?;
        let teams = all(
            &cell,
            usize::MAX,
            |state, from| keyed(state.memberships.of_member(member, place_from(from))),
            |_, _, row| Some(row.entity.team.clone()),
        );
        let inner = cell.lock();
        let state = &inner.state;
        let row = state.members.find_live(member).filter(|row| !row.entity.disabled && !state.organization.deleted)?;
        Some(Identity {
            organization: organization.clone(),
            organization_name: state.organization.name.clone(),
            member: member.clone(),
            name: row.entity.name.clone(),
            email: row.entity.email.clone(),
            role: row.entity.role,
            teams,
        })
    }
}
