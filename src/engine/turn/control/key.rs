//! Keys.

use crate::{
    domain::{
        decision::DenialCode,
        entity::{Key, Managed},
        event::Event,
        id::{Actor, KeyId, RuleId},
        policy::{Models, Place, Policy},
        time::Timestamp,
    },
    engine::{
        conflict::Conflict,
        state::Counted,
        turn::{
            Outcome, Turn,
            control::{free, live, policy::NewPolicy},
        },
    },
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChange {
    pub name: Option<String>,
    pub disabled: Option<bool>,
    pub expire_time: Option<Option<Timestamp>>,
    pub models: Option<Models>,
    /// An inner `None` inherits the organization's default.
    pub rule: Option<Option<RuleId>>,
    pub policy: Option<Policy>,
    /// Lets limits of the policy begin to count anew.
    pub restart_spending: bool,
}

/// The hand that changes a key, as far as its restrictions go.
#[derive(Debug, Clone, Copy)]
struct Hand {
    is_owner: bool,
    is_manager: bool,
}

impl Hand {
    /// Gives a field its new value, unless somebody else than the owner restricted the key by it and no manager asks. Lifting a
    /// restriction gives the field back to the owner.
    fn set<T: PartialEq>(
        self,
        what: &'static str,
        (value, managed): (&mut T, &mut bool),
        new: Option<T>,
        restricts: impl Fn(&T) -> bool,
    ) -> Outcome<()> {
        let Some(new) = new else { return Ok(()) };
        if !self.is_manager && new == *value {
            return Ok(());
        }
        if !self.is_manager && *managed {
            return Err(Conflict::ManagersOnly { what });
        }
        *managed = !self.is_owner && restricts(&new);
        *value = new;
        Ok(())
    }
}

impl Turn<'_> {
    /// Whether [`Self::create_key`] would make this key.
    ///
    /// # Errors
    /// [`Conflict`] when the id is or was in use, the member isn't in the team, or the policy doesn't fit.
    pub fn check_key(&self, key: &Key, policy: &Policy) -> Outcome<()> {
        self.check_organization()?;
        free(&self.state.keys, &key.id, key.id.as_str())?;
        live(&self.state.members, &key.member, key.member.as_str())?;
        live(&self.state.teams, &key.team, key.team.as_str())?;
        let membership = (key.team.clone(), key.member.clone());
        if self.state.memberships.find_live(&membership).is_none() {
            let problem =
                format!("member {} isn't in team {}; add it with CreateMembership first", key.member, key.team);
            return Err(Conflict::Precondition(problem));
        }
        if let Some(rule) = &key.rule {
            live(&self.state.rules.rules, rule, rule.as_str())?;
        }
        Self::check_count("keys", self.state.keys.live_count(), self.bounds().keys)?;
        self.check_new_secret()?;
        self.check_policy(&Place::Key(key.id.clone()), policy, self.state.organization.credit_factor)
    }

    /// # Errors
    /// [`Conflict::Exhausted`] when who acts has created or rotated too many keys of late.
    fn check_new_secret(&self) -> Outcome<()> {
        let (counted, max) = (Counted::Keys(self.context.actor.clone()), self.bounds().keys_per_hour);
        self.check_frequency(&counted, "keys that one member creates or rotates in an hour", 1, max)
    }

    /// # Errors
    /// As [`Self::check_key`].
    pub fn create_key(&mut self, key: Key, policy: &Policy) -> Outcome<()> {
        self.check_key(&key, policy)?;
        let place = Place::Key(key.id.clone());
        let managed = if self.is_by(&key) { Managed::default() } else { Managed::restrictions(&key) };
        let key = Key { managed, ..key };
        self.emit(Event::KeySet(Box::new(key)));
        self.set_policy(place, NewPolicy { policy, restart: false });
        Ok(())
    }

    /// Whether a key's own member is who acts.
    fn is_by(&self, key: &Key) -> bool {
        *self.context.actor == Actor::member(&key.member)
    }

    /// # Errors
    /// [`Conflict`] when there is no such key, the policy doesn't fit, or a restriction isn't the caller's to change.
    pub fn update_key(&mut self, id: &KeyId, change: KeyChange, is_manager: bool) -> Outcome<()> {
        let mut next = live(&self.state.keys, id, id.as_str())?.key.clone();
        let place = Place::Key(id.clone());
        let KeyChange { name, disabled, expire_time, models, rule, policy, restart_spending: restart } = change;
        let policy = policy.as_ref().map(|policy| NewPolicy { policy, restart });
        if let Some(Some(rule)) = &rule {
            live(&self.state.rules.rules, rule, rule.as_str())?;
        }
        self.check_change(&place, policy)?;
        let stops = disabled == Some(true) && !next.disabled;
        let hand = Hand { is_owner: self.is_by(&next), is_manager };
        let managed = &mut next.managed;
        hand.set("disabled", (&mut next.disabled, &mut managed.disabled), disabled, |disabled| *disabled)?;
        let expire = (&mut next.expire_time, &mut managed.expire_time);
        hand.set("expire_time", expire, expire_time, Option::is_some)?;
        let narrowed = |models: &Models| !models.patterns().is_empty();
        hand.set("models", (&mut next.models, &mut managed.models), models, narrowed)?;
        next.name = name.unwrap_or(next.name);
        next.rule = rule.unwrap_or(next.rule);
        next.update_time = self.now;
        self.emit(Event::KeySet(Box::new(next)));
        self.finish_change(place, policy, stops.then_some(DenialCode::KeyDisabled));
        Ok(())
    }

    /// Gives the key another secret, known by this prefix; the one before is taken until `previous_until`.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such key, or there were too many rotations of late.
    pub fn rotate_key(&mut self, id: &KeyId, prefix: String, previous_until: Timestamp) -> Outcome<()> {
        self.check_organization()?;
        let key = live(&self.state.keys, id, id.as_str())?.key.clone();
        self.check_new_secret()?;
        let previous_until = (previous_until > self.now).then_some(previous_until);
        self.emit(Event::KeySet(Box::new(Key { secret_prefix: prefix, previous_until, update_time: self.now, ..key })));
        Ok(())
    }

    /// Ends a key for good.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such key.
    pub fn delete_key(&mut self, id: &KeyId) -> Outcome<()> {
        let key = live(&self.state.keys, id, id.as_str())?.key.clone();
        self.end_key(key);
        Ok(())
    }

    pub(super) fn end_key(&mut self, key: Key) {
        let id = key.id.clone();
        self.emit(Event::KeySet(Box::new(Key { deleted: true, update_time: self.now, ..key })));
        self.emit(Event::PolicySet { place: Place::Key(id.clone()), limits: Vec::new(), retired: Box::default() });
        self.revoke_under(&Place::Key(id), DenialCode::KeyUnknown);
    }
}
