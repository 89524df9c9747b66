//! Access tokens, found by their id and by whom they stand for.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize, Serializer};

use crate::domain::{
    access::{AccessToken, Bearer},
    id::{InvitationId, MemberId, OrganizationId, TokenId},
    time::Timestamp,
};

/// All tokens, with an index that follows from them and is written nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(from = "BTreeMap<TokenId, AccessToken>")]
pub struct Tokens {
    rows: BTreeMap<TokenId, AccessToken>,
    by_holder: BTreeSet<(Holder, TokenId)>,
    /// Tokens that expire.
    by_expiry: BTreeSet<(Timestamp, TokenId)>,
}

/// Whom a token stands for. One of a member stands for each of its memberships.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Service,
    Member(OrganizationId, MemberId),
    Invitee(OrganizationId, InvitationId),
}

impl Holder {
    fn all_of(token: &AccessToken) -> Vec<Self> {
        match &token.bearer {
            Bearer::Service(_) => vec![Self::Service],
            Bearer::Member(grants) => {
                let holder = |(organization, member): &(OrganizationId, MemberId)| {
                    Self::Member(organization.clone(), member.clone())
                };
                grants.iter().map(holder).collect()
            }
            Bearer::Invitee(organization, invitation) => {
                vec![Self::Invitee(organization.clone(), invitation.clone())]
            }
        }
    }
}

impl Tokens {
    pub fn get(&self, id: &TokenId) -> Option<&AccessToken> {
        self.rows.get(id)
    }

    /// In the order of their ids.
    pub fn all(&self) -> impl Iterator<Item = &AccessToken> {
        self.rows.values()
    }

    /// Adds a token, or puts it in place of the one with its id.
    pub fn insert(&mut self, token: AccessToken) {
        self.remove(&token.id);
        self.by_holder.extend(Holder::all_of(&token).into_iter().map(|holder| (holder, token.id.clone())));
        self.by_expiry.extend(token.expire_time.map(|end| (end, token.id.clone())));
        self.rows.insert(token.id.clone(), token);
    }

    pub fn remove(&mut self, id: &TokenId) {
        let Some(token) = self.rows.remove(id) else { return };
        for holder in Holder::all_of(&token) {
            self.by_holder.remove(&(holder, token.id.clone()));
        }
        if let Some(end) = token.expire_time {
            self.by_expiry.remove(&(end, token.id));
        }
    }

    /// Returns the tokens that expired by then, the earliest first.
    pub fn expired_by(&self, time: Timestamp) -> impl Iterator<Item = &TokenId> {
        self.by_expiry.iter().take_while(move |(end, _)| *end <= time).map(|(_, id)| id)
    }

    /// Tokens of services, in the order of their ids: those after `after`.
    pub fn services<'a>(&'a self, after: Option<&'a TokenId>) -> impl Iterator<Item = &'a AccessToken> {
        let from = after.cloned().unwrap_or_else(|| TokenId::trusted(""));
        self.held_from(Holder::Service, from, |holder| *holder == Holder::Service)
            .filter(move |token| after.is_none_or(|after| token.id > *after))
    }

    /// Tokens that stand for a member, in the order of their ids.
    pub fn of_member(&self, organization: &OrganizationId, member: &MemberId) -> impl Iterator<Item = &AccessToken> {
        let holder = Holder::Member(organization.clone(), member.clone());
        self.of(holder)
    }

    /// Tokens that stand for any member of an organization, in the order of their ids.
    pub fn of_organization(&self, organization: &OrganizationId) -> Vec<&AccessToken> {
        // No id is empty, so that this is before all of them.
        let first = Holder::Member(organization.clone(), MemberId::trusted(""));
        let organization = organization.clone();
        let is_of = move |holder: &Holder| matches!(holder, Holder::Member(of, _) if *of == organization);
        let mut tokens: Vec<_> = self.held_from(first, TokenId::trusted(""), is_of).collect();
        tokens.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        tokens.dedup_by(|a, b| a.id == b.id);
        tokens
    }

    /// Tokens by which an invitation can be accepted, in the order of their ids.
    pub fn of_invitation(
        &self,
        organization: &OrganizationId,
        invitation: &InvitationId,
    ) -> impl Iterator<Item = &AccessToken> {
        self.of(Holder::Invitee(organization.clone(), invitation.clone()))
    }

    fn of(&self, holder: Holder) -> impl Iterator<Item = &AccessToken> {
        let same = holder.clone();
        self.held_from(holder, TokenId::trusted(""), move |other| *other == same)
    }

    /// From a place of the index on, as long as the holders are wanted.
    fn held_from<'a>(
        &'a self,
        holder: Holder,
        from: TokenId,
        wanted: impl Fn(&Holder) -> bool + 'a,
    ) -> impl Iterator<Item = &'a AccessToken> {
        let held = self.by_holder.range((holder, from)..).take_while(move |(holder, _)| wanted(holder));
        held.filter_map(|(_, id)| self.rows.get(id))
    }
}

impl From<BTreeMap<TokenId, AccessToken>> for Tokens {
    fn from(rows: BTreeMap<TokenId, AccessToken>) -> Self {
        let holders = |(id, token): (&TokenId, &AccessToken)| {
            let id = id.clone();
            Holder::all_of(token).into_iter().map(move |holder| (holder, id.clone()))
        };
        let by_holder = rows.iter().flat_map(holders).collect();
        let by_expiry = rows.values().filter_map(|token| Some((token.expire_time?, token.id.clone()))).collect();
        Self { rows, by_holder, by_expiry }
    }
}

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{access::Scopes, id::SecretHash};

    fn token(id: &str, bearer: Bearer) -> AccessToken {
        AccessToken {
            id: TokenId::trusted(id),
            name: String::new(),
            hash: SecretHash::of(id),
            bearer,
            create_time: Timestamp::from_micros(1),
            expire_time: None,
        }
    }

    fn member(grants: &[(&str, &str)]) -> Bearer {
        let grant = |(of, who): &(&str, &str)| (OrganizationId::trusted(*of), MemberId::trusted(*who));
        Bearer::Member(grants.iter().map(grant).collect())
    }

    fn ids<'a>(tokens: impl IntoIterator<Item = &'a AccessToken>) -> Vec<&'a str> {
        tokens.into_iter().map(|token| token.id.as_str()).collect()
    }

    #[test]
    fn tokens_that_have_expired_are_found_by_when() {
        let at = Timestamp::from_micros;
        let mut tokens = Tokens::default();
        for (id, end) in [("a", Some(30)), ("b", None), ("c", Some(10)), ("d", Some(20))] {
            let expire_time = end.map(at);
            tokens.insert(AccessToken { expire_time, ..token(id, Bearer::Service(Scopes::default())) });
        }
        let expired = |tokens: &Tokens, by| tokens.expired_by(at(by)).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(expired(&tokens, 20), ["c", "d"]);
        tokens.insert(AccessToken { expire_time: Some(at(40)), ..tokens.get(&TokenId::trusted("c")).unwrap().clone() });
        tokens.remove(&TokenId::trusted("d"));
        assert_eq!(expired(&tokens, 39), ["a"]);
        let read: Tokens = postcard::from_bytes(&postcard::to_stdvec(&tokens).unwrap()).unwrap();
        assert_eq!((expired(&read, 50), read == tokens), (vec![String::from("a"), String::from("c")], true));
    }

    #[test]
    fn tokens_are_found_by_whom_they_stand_for_and_no_longer_than_they_do() {
        let (acme, other) = (OrganizationId::trusted("acme"), OrganizationId::trusted("acme-2"));
        let (ann, invitation) = (MemberId::trusted("ann"), InvitationId::trusted("i"));
        let mut tokens = Tokens::default();
        for (id, bearer) in [
            ("t-9", Bearer::Service(Scopes::default())),
            ("t-1", Bearer::Service(Scopes::default())),
            ("t-7", member(&[("acme", "ann")])),
            ("t-2", member(&[("acme", "zoe"), ("acme-2", "ann")])),
            ("t-3", member(&[("acme", "ann"), ("acme", "bob")])),
            ("t-4", Bearer::Invitee(acme.clone(), invitation.clone())),
        ] {
            tokens.insert(token(id, bearer));
        }
        let all = |tokens: &Tokens| {
            assert_eq!(ids(tokens.services(None)), ["t-1", "t-9"]);
            assert_eq!(ids(tokens.services(Some(&TokenId::trusted("t-1")))), ["t-9"]);
            assert_eq!(ids(tokens.of_member(&acme, &ann)), ["t-3", "t-7"]);
            assert_eq!(ids(tokens.of_member(&other, &ann)), ["t-2"]);
            assert_eq!(ids(tokens.of_organization(&acme)), ["t-2", "t-3", "t-7"]);
            assert_eq!(ids(tokens.of_invitation(&acme, &invitation)), ["t-4"]);
        };
        all(&tokens);
        let written = postcard::to_stdvec(&tokens).unwrap();
        assert_eq!(written, postcard::to_stdvec(&tokens.rows).unwrap(), "the index is written nowhere");
        let read: Tokens = postcard::from_bytes(&written).unwrap();
        assert_eq!(read, tokens);
        all(&read);
        tokens.insert(token("t-2", member(&[("acme-2", "ann")])));
        tokens.insert(token("t-3", member(&[("acme", "bob")])));
        tokens.remove(&TokenId::trusted("t-4"));
        tokens.remove(&TokenId::trusted("t-4"));
        assert_eq!(ids(tokens.of_organization(&acme)), ["t-3", "t-7"]);
        assert_eq!(ids(tokens.of_member(&acme, &ann)), ["t-7"]);
        assert_eq!(ids(tokens.of_invitation(&acme, &invitation)), [""; 0]);
        for id in ["t-9", "t-1", "t-7", "t-2", "t-3"] {
            tokens.remove(&TokenId::trusted(id));
        }
        assert_eq!(tokens, Tokens::default(), "nothing of them is left");
    }
}
