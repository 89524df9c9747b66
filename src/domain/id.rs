//! Names of things. Each kind is a type of its own, checked once, where it enters.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{
    error::Invalid,
    text::{check_line, shown},
};

pub use super::model::Model;

/// Longest id of an organization, team, member, key, limit or token, in bytes.
pub const MAX_ID: usize = 64;
/// Longest request id or holder, in characters, and longest model, in bytes.
pub const MAX_NAME: usize = 128;
/// The team that every organization has.
pub const DEFAULT_TEAM: &str = "default";

fn check_id(field: &str, value: &str) -> Result<SmolStr, Invalid> {
    if value.is_empty() {
        return Err(Invalid::new(field, "is empty; give 1 to 64 characters"));
    }
    if value.len() > MAX_ID {
        let problem = format!("{} is {} bytes long; at most {MAX_ID} are allowed", shown(value), value.len());
        return Err(Invalid::new(field, problem));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    match value.chars().find(|c| !allowed(*c)) {
        Some(c) => Err(Invalid::new(
            field,
            format!("{} holds {c:?}; use letters, digits, '-', '_', '.', ':' and '@'", shown(value)),
        )),
        None => Ok(SmolStr::new(value)),
    }
}

fn check_name(field: &str, value: &str) -> Result<SmolStr, Invalid> {
    if value.is_empty() {
        return Err(Invalid::new(field, format!("is empty; give 1 to {MAX_NAME} characters")));
    }
    check_line(field, value, MAX_NAME)?;
    Ok(SmolStr::new(value))
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident by $check:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(SmolStr);

        impl $name {
            /// Checks and takes over a value that a caller gave in `field`.
            ///
            /// # Errors
            /// [`Invalid`] when it is empty, too long or holds characters that aren't allowed.
            pub fn parse(field: &str, value: &str) -> Result<Self, Invalid> {
                $check(field, value).map(Self)
            }

            /// A value made by quotad itself or read back from its own books.
            pub fn trusted(value: impl Into<SmolStr>) -> Self {
                Self(value.into())
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )*};
}

names! {
    OrganizationId by check_id;
    TeamId by check_id;
    MemberId by check_id;
    /// Unique over all organizations, because a payer may be named by it alone.
    KeyId by check_id;
    /// Names a budget or quota within its policy.
    LimitId by check_id;
    /// Names a token of a service or a member.
    TokenId by check_id;
    RuleId by check_id;
    CreditRequestId by check_id;
    InvitationId by check_id;
    OrderId by check_id;
    /// Names a payment method.
    MethodId by check_id;
    AlertId by check_id;
    /// The caller's id of one request, unique in its organization.
    RequestId by check_name;
    /// A name that a caller chose for itself to hear of revocations.
    Holder by check_name;
}

/// Who made a change: `operator`, `service:ID`, `member:ID` or `system`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor(SmolStr);

impl Actor {
    pub const OPERATOR: Self = Self(SmolStr::new_static("operator"));
    /// quotad itself: expiry, first start.
    pub const SYSTEM: Self = Self(SmolStr::new_static("system"));

    pub fn service(token: &TokenId) -> Self {
        Self(smol_str::format_smolstr!("service:{token}"))
    }

    pub fn member(member: &MemberId) -> Self {
        Self(smol_str::format_smolstr!("member:{member}"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Only hashes of secrets are ever kept: BLAKE3 of the whole secret.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
pub struct SecretHash([u8; 32]);

/// Takes as long wherever they differ: its time tells nothing.
impl PartialEq for SecretHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq::constant_time_eq_32(&self.0, &other.0)
    }
}

impl Hash for SecretHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl SecretHash {
    pub fn of(secret: &str) -> Self {
        Self(*blake3::hash(secret.as_bytes()).as_bytes())
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_are_empty_too_long_or_with_control_characters_are_refused() {
        for bad in ["", "a b", "a\u{0}", "ä", "a/b", &"x".repeat(65)] {
            assert!(TeamId::parse("team_id", bad).is_err(), "{bad:?}");
        }
        for good in ["a", "team-1", "user@example.org", &"x".repeat(64)] {
            assert_eq!(TeamId::parse("team_id", good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn names_take_any_printable_text_up_to_their_length() {
        for bad in ["", "a\nb", "a\u{202e}b", "a\u{200b}", &"x".repeat(129)] {
            assert!(RequestId::parse("request_id", bad).is_err(), "{bad:?}");
            assert!(Holder::parse("holder", bad).is_err(), "{bad:?}");
        }
        let longest = "字".repeat(128);
        assert!(RequestId::parse("request_id", &longest).is_ok() && Holder::parse("holder", &longest).is_ok());
    }
}
