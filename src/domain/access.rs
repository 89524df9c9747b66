//! Who may come in: roles, invitations, and the tokens that callers show.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    id::{Actor, InvitationId, MemberId, OrganizationId, SecretHash, TeamId, TokenId},
    policy::Policy,
    time::Timestamp,
};

/// Most teams that a member can join at its creation; it can join others afterwards.
pub const MAX_FIRST_TEAMS: usize = 100;

/// What a member may do in its organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum Role {
    Owner,
    Admin,
    FinanceAdmin,
    Developer,
    #[default]
    Basic,
}

impl Role {
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::FinanceAdmin, Self::Developer, Self::Basic];

    /// Whether it manages the organization: its settings, its people, and how its wallet fills itself.
    pub fn manages(self) -> bool {
        matches!(self, Self::Owner | Self::Admin)
    }

    /// As in SQL and in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::FinanceAdmin => "finance_admin",
            Self::Developer => "developer",
            Self::Basic => "basic",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody is asked to join. Its token stands with the other tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    pub id: InvitationId,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub teams: Vec<TeamId>,
    /// The member's own limits from the start.
    pub policy: Policy,
    pub invited_by: Actor,
    pub state: InvitationState,
    /// Can't be accepted from this instant on, unless it is sent again.
    pub expire_time: Timestamp,
    pub create_time: Timestamp,
    pub update_time: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum InvitationState {
    Pending,
    Accepted(MemberId),
    Revoked,
}

/// What a caller authenticates with: the hash of a secret, and whom it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    pub id: TokenId,
    pub name: String,
    pub hash: SecretHash,
    pub bearer: Bearer,
    pub create_time: Timestamp,
    /// Refused from this instant on.
    pub expire_time: Option<Timestamp>,
}

impl AccessToken {
    /// False once no membership is left that it stands for.
    pub fn is_for_anything(&self) -> bool {
        !matches!(&self.bearer, Bearer::Member(grants) if grants.is_empty())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bearer {
    /// An inference server or gateway: the data plane, within its scopes.
    Service(Scopes),
    /// A person, as the member that it is in each of its organizations.
    Member(Vec<(OrganizationId, MemberId)>),
    /// Who was invited: may accept, nothing else.
    Invitee(OrganizationId, InvitationId),
}

/// Most organizations that one service token may name.
pub const MAX_SCOPED: usize = 1000;

/// The organizations and operations that a service token is for; the default is everything.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scopes {
    /// Sorted; empty means all.
    organizations: Box<[OrganizationId]>,
    /// Sorted; empty means all.
    verbs: Box<[Verb]>,
}

impl Scopes {
    /// Takes each organization and verb once, however often it is named.
    pub fn new(mut organizations: Vec<OrganizationId>, mut verbs: Vec<Verb>) -> Self {
        organizations.sort();
        organizations.dedup();
        verbs.sort();
        verbs.dedup();
        Self { organizations: organizations.into(), verbs: verbs.into() }
    }

    pub fn is_everything(&self) -> bool {
        self.organizations.is_empty() && self.verbs.is_empty()
    }

    pub fn covers(&self, organization: &OrganizationId) -> bool {
        self.organizations.is_empty() || self.organizations.binary_search(organization).is_ok()
    }

    pub fn allows(&self, verb: Verb) -> bool {
        self.verbs.is_empty() || self.verbs.contains(&verb)
    }

    /// Empty means all.
    pub fn organizations(&self) -> &[OrganizationId] {
        &self.organizations
    }

    /// Empty means all.
    pub fn verbs(&self) -> &[Verb] {
        &self.verbs
    }
}

macro_rules! verbs {
    ($($verb:ident),* $(,)?) => {
        /// An operation that a service token may be narrowed to: a method by its name, over calls and sessions alike.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Verb {
            $($verb),*
        }

        impl Verb {
            /// Every verb, in the order of the API.
            pub const ALL: &[Self] = &[$(Self::$verb),*];

            /// As the method is called.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$verb => stringify!($verb)),*
                }
            }
        }
    };
}

verbs! { Reserve, Commit, Release, Extend, Charge, Check, Session, WatchRevocations, ConfirmPayment }

impl Verb {
    /// The verb of a method; `None` for what isn't narrowed, such as the price book.
    pub fn of(method: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|verb| verb.name() == method)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn organizations(count: usize) -> Vec<OrganizationId> {
        (0..count).map(|no| OrganizationId::trusted(format!("o{no}"))).collect()
    }

    #[test]
    fn empty_scopes_are_everything_and_named_ones_nothing_else() {
        let all = Scopes::default();
        assert!(all.is_everything() && all.covers(&OrganizationId::trusted("o1")) && all.allows(Verb::Charge));
        let some = Scopes::new(organizations(2), vec![Verb::Check, Verb::Reserve]);
        let covered = organizations(4).iter().map(|id| some.covers(id)).collect::<Vec<_>>();
        assert_eq!(covered, [true, true, false, false]);
        let allowed: Vec<_> = Verb::ALL.iter().copied().filter(|verb| some.allows(*verb)).collect();
        assert_eq!(allowed, [Verb::Reserve, Verb::Check]);
    }

    #[test]
    fn what_is_named_twice_counts_once() {
        let twice = [organizations(3), organizations(3)].concat();
        let scopes = Scopes::new(twice, vec![Verb::Check; 5]);
        assert_eq!((scopes.organizations(), scopes.verbs()), (&*organizations(3), &[Verb::Check][..]));
    }

    #[test]
    fn every_verb_is_found_by_its_methods_name() {
        for verb in Verb::ALL {
            assert_eq!(Verb::of(verb.name()), Some(*verb));
        }
        assert_eq!(Verb::of("GetPrice"), None);
    }
}
