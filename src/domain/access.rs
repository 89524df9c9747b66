//! Who may come in: roles, invitations, and the tokens that callers show.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{
    id::{Actor, InvitationId, MemberId, OrganizationId, SecretHash, TeamId, TokenId},
    policy::Policy,
    time::Timestamp,
};

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
    /// An inference server: the data plane.
    Service,
    /// A person, as the member that it is in each of its organizations.
    Member(Vec<(OrganizationId, MemberId)>),
    /// Who was invited: may accept, nothing else.
    Invitee(OrganizationId, InvitationId),
}
