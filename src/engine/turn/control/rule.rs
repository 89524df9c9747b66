//! Access rules.

use crate::{
    domain::{
        event::Event,
        id::RuleId,
        rule::{Cap, Hours, Rule},
        zone::Zone,
    },
    engine::{
        conflict::Conflict,
        state::References,
        turn::{
            Outcome, Turn,
            control::{free, live},
        },
    },
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleChange {
    pub name: Option<String>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    pub zone: Option<Zone>,
    pub cap: Option<Option<Cap>>,
    pub hours: Option<Option<Hours>>,
    /// Lets the cap begin to count anew.
    pub restart_spending: bool,
}

impl RuleChange {
    /// The rule with the changes made.
    pub fn of(self, rule: Rule) -> Rule {
        let Self { name, description, enabled, zone, cap, hours, restart_spending: _ } = self;
        Rule {
            name: name.unwrap_or(rule.name),
            description: description.unwrap_or(rule.description),
            enabled: enabled.unwrap_or(rule.enabled),
            zone: zone.unwrap_or(rule.zone),
            cap: cap.unwrap_or(rule.cap),
            hours: hours.unwrap_or(rule.hours),
            ..rule
        }
    }
}

impl Turn<'_> {
    /// # Errors
    /// [`Conflict`] when the id is or was in use, there are too many, or credits aren't tracked.
    pub fn create_rule(&mut self, rule: Rule) -> Outcome<()> {
        self.check_organization()?;
        free(&self.state.rules.rules, &rule.id, rule.id.as_str())?;
        Self::check_count("rules", self.state.rules.rules.live_count(), self.bounds().rules)?;
        self.check_cap(&rule, None)?;
        self.emit(Event::RuleSet(Box::new(rule)));
        Ok(())
    }

    /// Changes a rule for every key under it at once.
    ///
    /// # Errors
    /// [`Conflict`] when there is no such rule or credits aren't tracked.
    pub fn update_rule(&mut self, id: &RuleId, change: RuleChange) -> Outcome<()> {
        self.check_organization()?;
        let before = live(&self.state.rules.rules, id, id.as_str())?.clone();
        let restart = change.restart_spending;
        let rule = Rule { update_time: self.now, ..change.of(before.clone()) };
        self.check_cap(&rule, Some(&before))?;
        let place = self.state.rules.rules.place(id).unwrap_or(u32::MAX);
        if !restart {
            self.check_cap_goes_on(place, &rule)?;
        }
        self.emit(Event::RuleSet(Box::new(rule)));
        let counters: Vec<_> = self.state.rules.counters(place).collect();
        self.revoke_above_caps(&counters);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when there is no such rule, or keys or the organization use it.
    pub fn delete_rule(&mut self, id: &RuleId) -> Outcome<()> {
        let rule = live(&self.state.rules.rules, id, id.as_str())?.clone();
        let References { bound, inherited } = self.state.rules.references(id, self.state.keys.live_count());
        let is_default = self.state.organization.default_rule.as_ref() == Some(id);
        if is_default || bound > 0 {
            return Err(Conflict::RuleInUse { id: id.clone(), keys: bound + inherited, is_default });
        }
        self.emit(Event::RuleSet(Box::new(Rule { deleted: true, cap: None, update_time: self.now, ..rule })));
        Ok(())
    }

    /// # Errors
    /// [`Conflict::WouldRestartSpending`] when a key's use of the cap would be forgotten.
    fn check_cap_goes_on(&self, place: u32, rule: &Rule) -> Outcome<()> {
        let Some(limit) = rule.limit() else { return Ok(()) };
        let counters = self.state.rules.counters(place).filter_map(|no| self.state.limit(no));
        let mut forgets = counters.filter(|entry| !entry.limit.is_continued_by(&limit) && self.counts(entry));
        forgets.next().map_or(Ok(()), |entry| Err(self.would_restart(entry).into()))
    }

    /// While credits aren't tracked a cap can't be set; one that was set before stays and doesn't bind.
    fn check_cap(&self, rule: &Rule, before: Option<&Rule>) -> Outcome<()> {
        let is_new = rule.caps() && before.is_none_or(|before| before.cap != rule.cap);
        if is_new && !self.state.organization.credit_factor.is_on() {
            let problem = "the rule caps credits, which aren't tracked while the organization's credit_factor is 0; \
                           set one first";
            return Err(Conflict::Precondition(problem.to_owned()));
        }
        Ok(())
    }
}
