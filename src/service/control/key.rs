//! Keys and their secrets.

use std::sync::Arc;

use super::{KeyView, Repeatable, Shared, check_etag, get};
use crate::{
    domain::{
        ended::EndedName,
        entity::{Key, Managed},
        event::Event,
        id::{KeyId, MemberId, OrganizationId, RuleId, SecretHash, TeamId},
        policy::{Models, Policy},
        time::{Span, Timestamp},
    },
    engine::{
        directory::Route,
        state::OrganizationState,
        table::{KeyRow, Ordered as _, Row},
        turn::{KeyChange, Outcome},
    },
    service::{
        Caller, Error, Service,
        listing::{Found, Page, keyed, page, place_from},
        secret,
        turn::Done,
    },
};

/// How much of a secret is kept to recognise it by.
const PREFIX: usize = 10;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewKey {
    /// Minted if `None`.
    pub id: Option<KeyId>,
    /// `None` means the caller.
    pub member: Option<MemberId>,
    pub team: TeamId,
    pub name: String,
    pub disabled: bool,
    pub expire_time: Option<Timestamp>,
    pub models: Models,
    pub rule: Option<RuleId>,
    pub policy: Policy,
}

/// Which keys; unset fields match all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFilter {
    pub team: Option<TeamId>,
    pub member: Option<MemberId>,
    pub rule: Option<RuleId>,
}

fn effective_rule(state: &OrganizationState, id: &KeyId) -> Option<RuleId> {
    let own = state.keys.find(id)?.entity.rule;
    Some(state.rules.effective(own)?.rule.id.clone())
}

fn shown(state: &OrganizationState, id: &KeyId, now: Timestamp) -> Outcome<KeyView> {
    let mut view = get(state, &state.keys, (id, id.as_str()), |row: &KeyRow| row.key.clone(), now)?;
    view.limits.extend(state.keys.place(id).and_then(|place| state.cap_state(place, now)));
    Ok(KeyView { view, effective_rule: effective_rule(state, id) })
}

impl Service {
    /// Answers the key's secret too, this once; `None` on a repeat.
    ///
    /// # Errors
    /// [`Error`] when the id is or was in use anywhere, the member isn't in the team, or the policy doesn't fit.
    pub async fn create_key(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewKey,
        repeatable: Repeatable<'_>,
    ) -> Result<(KeyView, Option<String>), Error> {
        let cell = self.organization_cell(organization)?;
        self.wait_for_room().await?;
        let Repeatable { request, fingerprint } = repeatable;
        let secret = secret::new_secret("qk")?;
        let NewKey { id, member, team, name, disabled, expire_time, models, rule, policy } = new;
        let member = Self::whose(caller, member)?;
        self.recall_rule(organization, rule.as_ref()).await?;
        let (id, is_given) = match id {
            Some(id) => (id, true),
            None => (KeyId::trusted(secret::new_id("key")?), false),
        };
        let now = self.clock.now();
        let key = Key {
            id: id.clone(),
            member,
            team,
            name,
            secret_prefix: secret[..PREFIX].to_owned(),
            disabled,
            deleted: false,
            expire_time,
            models,
            rule,
            previous_until: None,
            managed: Managed::default(),
            create_time: now,
            update_time: now,
        };
        let hash = SecretHash::of(&secret);
        let mut forgotten = None;
        let done = loop {
            if is_given {
                forgotten = Some(self.recall_key_id(organization, &id).await?);
            }
            let done = self.joint_turn_of(&cell, caller, |turn, system| {
                if let Some(before) = turn.created_before(request, fingerprint)? {
                    return Ok(Some((shown(turn.state, &KeyId::trusted(before), turn.now())?, None)));
                }
                turn.check_key(&key, &policy)?;
                // Ids of keys are unique over all organizations.
                if system.state.keys.contains_key(&id) {
                    return Err(Error::Exists { kind: "key", id: id.to_string() });
                }
                // The books may have to be asked once more.
                if forgotten.is_some_and(|forgotten| forgotten != system.state.forgotten_keys) {
                    return Ok(None);
                }
                turn.create_key(key.clone(), &policy)?;
                turn.take_request(request, fingerprint, id.as_str());
                let (key, organization) = (id.clone(), organization.clone());
                system.emit(&caller.actor, Event::KeyRegistered { key, organization, hash, previous: None });
                // Under the lock, so that a rotation right behind finds the secret that it replaces.
                if let Some(key) = turn.state.keys.place(&id) {
                    self.directory.add_key(id.clone(), hash, Route { cell: Arc::clone(&cell), key });
                }
                Ok(Some((shown(turn.state, &id, turn.now())?, Some(secret.clone()))))
            })?;
            if let Done { answer: Some(answer), position } = done {
                break Done { answer, position };
            }
        };
        self.acknowledge(done).await
    }

    /// Lets the next turn tell a rule that was deleted from one that never was.
    async fn recall_rule(&self, organization: &OrganizationId, rule: Option<&RuleId>) -> Result<(), Error> {
        match rule {
            Some(rule) => self.recall_ended(organization, EndedName::Rule(rule.clone())).await,
            None => Ok(()),
        }
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such key.
    pub fn key(&self, organization: &OrganizationId, id: &KeyId) -> Result<KeyView, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(shown(&inner.state, id, self.clock.now())?)
    }

    /// With the rule in force for each.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_keys(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        filter: &KeyFilter,
        at: Page,
    ) -> Result<Found<KeyView>, Error> {
        let cell = self.organization_cell(organization)?;
        let member = caller.only.as_ref().or(filter.member.as_ref());
        let matches = |row: &KeyRow| {
            filter.team.as_ref().is_none_or(|team| *team == row.key.team)
                && member.is_none_or(|member| *member == row.key.member)
                && filter.rule.as_ref().is_none_or(|rule| row.key.rule.as_ref() == Some(rule))
        };
        let pick = |state: &OrganizationState, _: u64, row: &Row<KeyRow>| {
            let effective = || state.rules.effective(row.entity.rule).map(|effective| effective.rule.id.clone());
            (!row.entity.key.deleted && matches(&row.entity)).then(|| (Shared::of(state, row), effective()))
        };
        let weigh = |(shared, _): &(Shared<KeyRow>, _)| shared.weight();
        let found = match member {
            Some(member) => page(&cell, at, |state, from| keyed(state.keys_of(member, place_from(from))), pick, weigh),
            None => page(&cell, at, |state, from| keyed(state.keys.oldest_first(place_from(from))), pick, weigh),
        };
        Ok(found.map(|(shared, effective_rule)| KeyView { view: shared.view(|row| row.key.clone()), effective_rule }))
    }

    /// # Errors
    /// [`Error`] when there is no such key, the policy doesn't fit, or a restriction isn't the caller's to change.
    pub async fn update_key(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &KeyId,
        change: KeyChange,
        etag: Option<&str>,
    ) -> Result<KeyView, Error> {
        self.recall_rule(organization, change.rule.as_ref().and_then(Option::as_ref)).await?;
        self.change(caller, organization, |turn| {
            check_etag(turn.state, turn.state.keys.find_live(id), etag)?;
            // Who may do so to its own keys only is no manager.
            turn.update_key(id, change, caller.only.is_none())?;
            shown(turn.state, id, turn.now())
        })
        .await
    }

    /// Gives a key another secret, which it answers this once; the one before is taken for `grace` too. One before that ends at
    /// once, whatever grace it was given.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such key.
    pub async fn rotate_key(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &KeyId,
        grace: Span,
    ) -> Result<(KeyView, String), Error> {
        let cell = self.organization_cell(organization)?;
        self.wait_for_room().await?;
        let secret = secret::new_secret("qk")?;
        let hash = SecretHash::of(&secret);
        let done = self.joint_turn_of(&cell, caller, |turn, system| {
            let until = turn.now() + grace;
            turn.rotate_key(id, secret[..PREFIX].to_owned(), until)?;
            let before =
                system.state.keys.get(id).map(|registered| (registered.hash, registered.previous.as_deref().copied()));
            let (key, organization) = (id.clone(), organization.clone());
            let previous = before.map(|(hash, _)| Box::new((hash, until)));
            system.emit(&caller.actor, Event::KeyRegistered { key, organization, hash, previous });
            // Under the lock, so that of two rotations the later one's secret is what stays.
            if let Some(key) = turn.state.keys.place(id) {
                let route = Route { cell: Arc::clone(&cell), key };
                self.directory.add_key(id.clone(), hash, route.clone());
                if let Some((replaced, older)) = before {
                    if let Some((older, _)) = older {
                        self.directory.end_secret(&older);
                    }
                    self.directory.retire_secret(replaced, route, until, self.clock.now());
                }
            }
            Ok((shown(turn.state, id, turn.now())?, secret))
        })?;
        self.acknowledge(done).await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such key.
    pub async fn delete_key(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &KeyId,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        self.change(caller, organization, |turn| {
            check_etag(turn.state, turn.state.keys.find_live(id), etag)?;
            turn.delete_key(id)
        })
        .await
    }
}
