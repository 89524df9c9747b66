//! Who may call what: the one place where it is decided. The default is refusal.
//!
//! A call is judged by its method when it comes in, by what its message is about once that is read, and where it changes anything
//! once more under the lock of what it changes: a role, a member or a token may have gone since.

use std::sync::Arc;

use dashmap::DashMap;
use foldhash::fast::RandomState;
use smallvec::SmallVec;
use smol_str::SmolStr;

use super::{
    Error, Service,
    calls::{Kind, Tenant},
    token::Standing,
};
use crate::{
    domain::{
        access::{AccessToken, Bearer, Role, Scopes, Verb},
        id::{Actor, CreditRequestId, InvitationId, KeyId, MemberId, OrganizationId, SecretHash, TokenId},
        time::Timestamp,
    },
    engine::{directory::Cell, state::OrganizationState, system::Tokens},
};

mod needs;

use needs::{Needs, Whose, needs};

/// Who calls, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Of a member only once its organization is known.
    pub actor: Actor,
    /// The member that it is in the organization that the call is about.
    pub member: Option<MemberId>,
    /// Sees and changes only what is this member's.
    pub only: Option<MemberId>,
    principal: Principal,
    method: Method,
    /// Of the token that was shown; `None` for quotad itself.
    secret: Option<SecretHash>,
    /// What a member was permitted to do, to be asked again.
    permitted: Option<Arc<Permitted>>,
}

/// All that was asked of a member's role, and of whose what the message is about is.
#[derive(Debug, PartialEq, Eq)]
struct Permitted {
    organization: OrganizationId,
    demands: SmallVec<[Whose; 2]>,
    subject: Named,
}

/// A [`Subject`] of its own.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    Any,
    Member(SmolStr),
    Key(SmolStr),
    CreditRequest(SmolStr),
}

impl Named {
    fn of(subject: Subject<'_>) -> Self {
        match subject {
            Subject::Any
            | Subject::Alert(_)
            | Subject::Order(_)
            | Subject::Invitation(_)
            | Subject::PaymentMethod(_)
            | Subject::Rule(_) => Self::Any,
            Subject::Member(id) => Self::Member(id.into()),
            Subject::Key(id) => Self::Key(id.into()),
            Subject::CreditRequest(id) => Self::CreditRequest(id.into()),
        }
    }

    fn subject(&self) -> Subject<'_> {
        match self {
            Self::Any => Subject::Any,
            Self::Member(id) => Subject::Member(id),
            Self::Key(id) => Subject::Key(id),
            Self::CreditRequest(id) => Subject::CreditRequest(id),
        }
    }
}

/// The gRPC service and method, without package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method {
    pub service: &'static str,
    pub name: &'static str,
}

impl Method {
    /// Returns true where it changes nothing.
    fn only_reads(self) -> bool {
        ["Get", "List", "Preview", "Summarize", "Verify", "WhoAmI"].iter().any(|verb| self.name.starts_with(verb))
    }

    /// Whether it reads the books, which may take long, and not only memory.
    fn reads_books(self) -> bool {
        matches!(
            (self.service, self.name),
            ("LedgerService", "ListTransactions" | "SummarizeUsage" | "Verify")
                | ("OrganizationService", "ListAuditEvents")
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Principal {
    Operator,
    /// `None` where its scopes are everything: then nothing is asked.
    Service(Option<Arc<Scopes>>),
    Member {
        token: TokenId,
        grants: Arc<[(OrganizationId, MemberId)]>,
    },
    Invitee(OrganizationId, InvitationId),
}

/// What a message is about, as far as permission goes. Ids are the caller's own words, not checked yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Scope<'a> {
    /// `None` where the method is about no organization.
    pub organization: Option<&'a str>,
    pub subject: Subject<'a>,
    /// The fields that an Update names.
    pub fields: &'a [String],
    /// A creation that sets budgets, quotas or rules.
    pub sets_limits: bool,
}

/// Whose something is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Subject<'a> {
    #[default]
    Any,
    /// Empty means the caller.
    Member(&'a str),
    Key(&'a str),
    CreditRequest(&'a str),
    /// Nobody's in particular, as those after it.
    Alert(&'a str),
    Order(&'a str),
    Invitation(&'a str),
    /// One that is to be made.
    PaymentMethod(&'a str),
    /// Also one that a key or an organization is to be bound to.
    Rule(&'a str),
}

/// A token with what is told of its bearer: made once, because each call asks.
#[derive(Debug)]
pub(super) struct KnownToken {
    pub expire_time: Option<Timestamp>,
    /// The life of a service token: others open no streams.
    pub standing: Option<Standing>,
    pub bearer: Bearer,
    actor: Actor,
    principal: Principal,
}

impl From<&AccessToken> for KnownToken {
    fn from(token: &AccessToken) -> Self {
        let AccessToken { id, bearer, expire_time, .. } = token;
        let (actor, principal) = match bearer {
            Bearer::Service(scopes) => {
                let narrowed = (!scopes.is_everything()).then(|| Arc::new(scopes.clone()));
                (Actor::service(id), Principal::Service(narrowed))
            }
            Bearer::Member(grants) => {
                let principal = Principal::Member { token: id.clone(), grants: grants.as_slice().into() };
                // Which member it is follows from the organization.
                (Actor::SYSTEM, principal)
            }
            Bearer::Invitee(organization, invitation) => {
                (Actor::SYSTEM, Principal::Invitee(organization.clone(), invitation.clone()))
            }
        };
        let standing = matches!(bearer, Bearer::Service(_)).then(Standing::begin);
        Self { expire_time: *expire_time, standing, bearer: bearer.clone(), actor, principal }
    }
}

/// Tokens by the hash of their secret, as each call looks them up: changed one by one under the system's lock, and so in
/// the journal's order.
#[derive(Debug)]
pub(super) struct KnownTokens(DashMap<SecretHash, Box<KnownToken>, RandomState>);

impl KnownTokens {
    pub(super) fn of(tokens: &Tokens) -> Self {
        Self(tokens.all().map(|token| (token.hash, Box::new(KnownToken::from(token)))).collect())
    }

    /// Reads one that hasn't expired.
    pub(super) fn find<T>(
        &self,
        secret: &SecretHash,
        now: Timestamp,
        read: impl FnOnce(&KnownToken) -> T,
    ) -> Option<T> {
        let known = self.0.get(secret)?;
        known.expire_time.is_none_or(|end| now < end).then(|| read(&known))
    }

    /// Lets a token be found as it is now, and no longer by the hash that it had before; `None` ends it.
    pub(super) fn follow(&self, former: Option<SecretHash>, token: Option<&AccessToken>) {
        // Never absent in between: a call that comes meanwhile finds one or the other.
        if let Some(token) = token {
            self.0.insert(token.hash, Box::new(KnownToken::from(token)));
        }
        if let Some(former) = former.filter(|former| token.is_none_or(|token| token.hash != *former)) {
            self.0.remove(&former);
        }
    }
}

impl Caller {
    /// quotad itself.
    pub(super) fn system() -> Self {
        Self::new((Actor::SYSTEM, Principal::Operator), Method { service: "", name: "" }, None)
    }

    fn new((actor, principal): (Actor, Principal), method: Method, secret: Option<SecretHash>) -> Self {
        Self { actor, member: None, only: None, principal, method, secret, permitted: None }
    }

    /// Of the token that was shown.
    pub(super) fn secret(&self) -> Option<SecretHash> {
        self.secret
    }

    /// The invitation whose token was shown.
    pub(super) fn invitation(&self) -> Option<(&OrganizationId, &InvitationId)> {
        match &self.principal {
            Principal::Invitee(organization, invitation) => Some((organization, invitation)),
            _ => None,
        }
    }

    /// The access token that was shown, and the memberships that it stands for.
    pub(super) fn access(&self) -> Option<(&TokenId, &[(OrganizationId, MemberId)])> {
        match &self.principal {
            Principal::Member { token, grants } => Some((token, grants)),
            _ => None,
        }
    }

    /// The scopes of the caller's token; `None` where it is for everything.
    pub(super) fn scopes(&self) -> Option<&Arc<Scopes>> {
        match &self.principal {
            Principal::Service(scopes) => scopes.as_ref(),
            _ => None,
        }
    }

    /// Whether an organization is within the scopes of the caller's token.
    pub(super) fn reaches(&self, organization: &OrganizationId) -> bool {
        self.scopes().is_none_or(|scopes| scopes.covers(organization))
    }

    /// Whether an operation is within the scopes of the caller's token.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`].
    pub fn check_verb(&self, verb: Verb) -> Result<(), Error> {
        match self.scopes() {
            Some(scopes) if !scopes.allows(verb) => Err(denied(format!("this token's scopes don't include {verb}"))),
            _ => Ok(()),
        }
    }

    /// Returns the tenant whose calls this one is counted with; `None` for the operator.
    pub(super) fn tenant(&self, organization: Option<&str>) -> Option<Tenant> {
        match &self.principal {
            Principal::Operator => None,
            Principal::Service(_) => Some(Tenant::Service(self.actor.clone())),
            Principal::Invitee(organization, _) => Some(Tenant::Organization(organization.clone())),
            Principal::Member { grants, .. } => {
                let meant = grants.iter().find(|(of, _)| organization == Some(of.as_str()));
                // One that is about no organization counts with the first that the caller belongs to.
                meant.or_else(|| grants.first()).map(|(of, _)| Tenant::Organization(of.clone()))
            }
        }
    }

    pub(super) fn kind(&self) -> Kind {
        if self.method.reads_books() { Kind::Books } else { Kind::Other }
    }

    pub fn is_operator(&self) -> bool {
        self.principal == Principal::Operator
    }
}

fn denied(what: impl Into<String>) -> Error {
    Error::PermissionDenied(what.into())
}

impl Service {
    /// Tells who calls by the bearer token, and whether anybody like that may call `path` at all.
    ///
    /// # Errors
    /// [`Error::TokenMissing`], [`Error::TokenUnknown`] or [`Error::PermissionDenied`].
    pub fn authorize(&self, token: Option<&str>, path: &str) -> Result<Caller, Error> {
        let secret = SecretHash::of(token.ok_or(Error::TokenMissing)?);
        let known = self.identify(secret)?;
        let Some((method, needs)) = needs(path) else { return Err(denied("nobody may call this method")) };
        let caller = Caller::new(known, method, Some(secret));
        match &caller.principal {
            Principal::Member { grants, .. } => self.check_belongs(grants, needs)?,
            Principal::Service(Some(_)) => Verb::of(method.name).map_or(Ok(()), |verb| caller.check_verb(verb))?,
            _ => {}
        }
        match (needs, &caller.principal) {
            (Needs::Known, Principal::Service(_) | Principal::Operator | Principal::Member { .. })
            | (Needs::Service, Principal::Service(_))
            | (Needs::Confirm, Principal::Service(_) | Principal::Operator)
            | (Needs::Invited, Principal::Invitee(..) | Principal::Member { .. })
            | (Needs::Operator, Principal::Operator)
            | (Needs::Roles(_), Principal::Operator | Principal::Member { .. })
            | (Needs::Personal, Principal::Member { .. }) => Ok(caller),
            (Needs::Service, Principal::Operator) => Err(denied(
                "the data plane takes a service token, not the operator's; create one with TokenService.CreateServiceToken",
            )),
            (Needs::Personal, Principal::Operator) => {
                Err(denied("payment methods are each member's own; the operator has none and sees none"))
            }
            (_, Principal::Service(_)) => Err(denied(
                "a service token may call QuotaService only; this takes a member's access token or the operator's",
            )),
            (_, Principal::Invitee(..)) => {
                Err(denied("an invitation's token is good for MemberService.AcceptInvitation only"))
            }
            (_, Principal::Member { .. }) => Err(denied(format!("{} is not for members", method.name))),
            (Needs::Invited, Principal::Operator) => {
                Err(denied("an invitation is accepted with its own token, or with a member's access token"))
            }
        }
    }

    /// Refuses an access token whose memberships have all ended: it stands for nobody any more. While all that are left are
    /// disabled, it opens nothing that is about no organization; what is about one, [`Self::permit`] judges.
    fn check_belongs(&self, grants: &[(OrganizationId, MemberId)], needs: Needs) -> Result<(), Error> {
        let mut disabled = None;
        for (organization, member) in grants {
            let Some(cell) = self.directory.find(organization) else { continue };
            let inner = cell.lock();
            match inner.state.members.find_live(member) {
                Some(_) if inner.state.organization.deleted => {}
                Some(row) if row.entity.disabled => disabled = Some(member),
                Some(_) => return Ok(()),
                None => {}
            }
        }
        match disabled {
            None => Err(Error::TokenUnknown),
            Some(member) if needs == Needs::Known => Err(denied(format!("member {member} is disabled"))),
            Some(_) => Ok(()),
        }
    }

    fn identify(&self, secret: SecretHash) -> Result<(Actor, Principal), Error> {
        if secret == self.operator {
            return Ok((Actor::OPERATOR, Principal::Operator));
        }
        let now: Timestamp = self.clock.now();
        self.tokens
            .find(&secret, now, |known| (known.actor.clone(), known.principal.clone()))
            .ok_or(Error::TokenUnknown)
    }

    /// Whether the caller may do so to what its message is about. Answers it as who it is there.
    ///
    /// # Errors
    /// [`Error::NotFound`] for everything of another organization, else [`Error::PermissionDenied`].
    pub fn permit(&self, caller: &Caller, scope: &Scope<'_>) -> Result<Caller, Error> {
        let Principal::Member { grants, .. } = &caller.principal else { return Ok(caller.clone()) };
        let Some(organization) = scope.organization else { return Ok(caller.clone()) };
        let missing = || Error::NotFound { kind: "organization", id: organization.chars().take(64).collect() };
        let (id, member) = grants.iter().find(|(id, _)| id.as_str() == organization).ok_or_else(missing)?;
        let cell: Arc<Cell> = self.directory.find(id).ok_or_else(missing)?;
        let demands = needs::demands(caller.method, scope).collect();
        let permitted = Permitted { organization: id.clone(), demands, subject: Named::of(scope.subject) };
        let only = check_member(&cell.lock().state, member, &permitted, caller.method)?;
        Ok(Caller {
            actor: Actor::member(member),
            member: Some(member.clone()),
            only,
            permitted: Some(Arc::new(permitted)),
            ..caller.clone()
        })
    }

    /// Refuses the answer to a read whose caller may no longer have it: a read may have waited for its turn and for the books. A change
    /// was judged under the lock of what it changed, and its answer is its caller's whatever happened since.
    ///
    /// # Errors
    /// As [`Self::permit`], and [`Error::TokenUnknown`] when its token has ended.
    pub fn permit_answer(&self, caller: &Caller) -> Result<(), Error> {
        let Some(permitted) = caller.permitted.as_ref().filter(|_| caller.method.only_reads()) else { return Ok(()) };
        let organization = &permitted.organization;
        let missing = || Error::NotFound { kind: "organization", id: organization.to_string() };
        let cell = self.directory.find(organization).ok_or_else(missing)?;
        self.permit_still(caller, &cell.lock().state)
    }

    /// Whether the caller may still do what it was permitted to do, as the organization is now: for under its lock.
    ///
    /// # Errors
    /// As [`Self::permit`], and [`Error::TokenUnknown`] when its token has ended.
    pub(super) fn permit_still(&self, caller: &Caller, state: &OrganizationState) -> Result<(), Error> {
        let (Some(permitted), Some(member)) = (&caller.permitted, &caller.member) else { return Ok(()) };
        let (_, principal) = self.identify(caller.secret.ok_or(Error::TokenMissing)?)?;
        let organization = &state.organization.id;
        let stands_for = |grant: &(OrganizationId, MemberId)| (&grant.0, &grant.1) == (organization, member);
        match &principal {
            Principal::Member { grants, .. } if grants.iter().any(stands_for) => {}
            _ => return Err(Error::NotFound { kind: "organization", id: organization.to_string() }),
        }
        let only = check_member(state, member, permitted, caller.method)?;
        // What was asked of everybody's isn't done by who may do so to its own alone.
        if only.is_some() && caller.only.is_none() {
            return Err(denied(format!("the role of member {member} was changed meanwhile")));
        }
        Ok(())
    }
}

/// Whether a member may do so; and where it may to its own only, which member that is.
fn check_member(
    state: &OrganizationState,
    member: &MemberId,
    Permitted { demands, subject, .. }: &Permitted,
    method: Method,
) -> Result<Option<MemberId>, Error> {
    let missing = || Error::NotFound { kind: "organization", id: state.organization.id.to_string() };
    let active = state.members.find_live(member).map(|row| &row.entity).filter(|_| !state.organization.deleted);
    let active = active.ok_or_else(missing)?;
    if active.disabled && !needs::is_open_to_deactivated(method) {
        return Err(denied(format!("member {member} is disabled")));
    }
    let mut only = None;
    for whose in demands {
        only = only.or(check_role(state, active.role, member, *whose, &subject.subject(), method)?);
    }
    Ok(only)
}

/// Whether a role suffices, and if only for what is the member's own, whether it is.
fn check_role(
    state: &OrganizationState,
    role: Role,
    member: &MemberId,
    Whose { any, own }: Whose,
    subject: &Subject<'_>,
    method: Method,
) -> Result<Option<MemberId>, Error> {
    if any.contains(&role) {
        return Ok(None);
    }
    if !own.contains(&role) {
        return Err(denied(format!("the role {role} may not call {}.{} so", method.service, method.name)));
    }
    let not_found = |kind, id: &str| Error::NotFound { kind, id: id.chars().take(64).collect() };
    let owner = match *subject {
        Subject::Any
        | Subject::Member("")
        | Subject::Alert(_)
        | Subject::Order(_)
        | Subject::Invitation(_)
        | Subject::PaymentMethod(_)
        | Subject::Rule(_) => return Ok(Some(member.clone())),
        Subject::Member(other) if other == member.as_str() => return Ok(Some(member.clone())),
        Subject::Member(_) => {
            return Err(denied(format!("the role {role} may do so for itself only, member {member}")));
        }
        Subject::Key(id) => state.keys.find_live(&KeyId::trusted(id)).map(|row| &row.entity.key.member),
        Subject::CreditRequest(id) => {
            state.credit_requests.find(&CreditRequestId::trusted(id)).map(|row| &row.entity.member)
        }
    };
    match (owner, *subject) {
        (Some(owner), _) if owner == member => Ok(Some(member.clone())),
        // What is somebody else's is no different from what isn't there.
        (_, Subject::Key(id)) => Err(not_found("key", id)),
        (_, Subject::CreditRequest(id)) => Err(not_found("credit request", id)),
        _ => Ok(Some(member.clone())),
    }
}
