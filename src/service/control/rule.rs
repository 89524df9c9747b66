//! Access rules.

use super::{Repeatable, etag_of, live, same_etag};
use crate::{
    domain::{
        id::{OrganizationId, RuleId},
        rule::{Cap, Hours, Rule},
        time::Timestamp,
        zone::Zone,
    },
    engine::{
        state::{OrganizationState, References},
        table::Row,
        turn::{Outcome, RuleChange, Turn},
    },
    service::{
        Caller, Error, Service,
        listing::{Found, Order, Page, page_of},
        secret,
    },
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// Minted if `None`.
    pub id: Option<RuleId>,
    pub name: String,
    pub description: String,
    pub enabled: bool,
    pub zone: Zone,
    pub cap: Option<Cap>,
    pub hours: Option<Hours>,
}

impl NewRule {
    pub fn into_rule(self, id: RuleId, now: Timestamp) -> Rule {
        let Self { id: _, name, description, enabled, zone, cap, hours } = self;
        Rule { id, name, description, enabled, zone, cap, hours, deleted: false, create_time: now, update_time: now }
    }
}

/// A rule with how many keys use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleView {
    pub rule: Rule,
    pub references: References,
    /// Whether the organization tracks credits: otherwise no cap binds.
    pub credits_tracked: bool,
    pub etag: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RuleStatus {
    #[default]
    Any,
    Enabled,
    Disabled,
}

fn shown(state: &OrganizationState, rule: &Rule) -> RuleView {
    let references = state.rules.references(&rule.id, state.keys.live_count());
    let credits_tracked = state.organization.credit_factor.is_on();
    RuleView { rule: rule.clone(), references, credits_tracked, etag: etag_of(rule, &[]) }
}

fn rule_shown(state: &OrganizationState, id: &RuleId, _: Timestamp) -> Outcome<RuleView> {
    Ok(shown(state, &live(&state.rules.rules, id, id.as_str())?.entity))
}

impl Service {
    /// # Errors
    /// [`Error`] when the id is or was in use, or credits aren't tracked.
    pub async fn create_rule(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        new: NewRule,
        repeatable: Repeatable<'_>,
    ) -> Result<RuleView, Error> {
        let id = match &new.id {
            Some(id) => id.clone(),
            None => RuleId::trusted(secret::new_id("rule")?),
        };
        let make = |turn: &mut Turn<'_>, id: &RuleId| turn.create_rule(new.into_rule(id.clone(), turn.now()));
        let parse = |made: &str| RuleId::trusted(made);
        self.create(caller, organization, repeatable, (id, parse), make, rule_shown).await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such rule.
    pub fn rule(&self, organization: &OrganizationId, id: &RuleId) -> Result<RuleView, Error> {
        let cell = self.organization_cell(organization)?;
        let inner = cell.lock();
        Ok(rule_shown(&inner.state, id, self.clock.now())?)
    }

    /// Returns whether an organization tracks credits: otherwise nothing that caps them binds.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn tracks_credits(&self, organization: &OrganizationId) -> Result<bool, Error> {
        Ok(self.organization_cell(organization)?.lock().state.organization.credit_factor.is_on())
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn list_rules(
        &self,
        organization: &OrganizationId,
        status: RuleStatus,
        at: Page,
    ) -> Result<Found<RuleView>, Error> {
        let cell = self.organization_cell(organization)?;
        let matches = |row: &Row<Rule>| match status {
            _ if row.entity.deleted => false,
            RuleStatus::Any => true,
            RuleStatus::Enabled => row.entity.enabled,
            RuleStatus::Disabled => !row.entity.enabled,
        };
        let pick = |state: &OrganizationState, _, row: &Row<Rule>| matches(row).then(|| shown(state, &row.entity));
        let found = page_of(&cell, (at, Order::OldestFirst), |state| &state.rules.rules, pick, |_| 1);
        let rules = &cell.lock().state.rules;
        let (all, enabled) = (rules.rules.live_count(), rules.enabled_count());
        Ok(found.of(match status {
            RuleStatus::Any => all,
            RuleStatus::Enabled => enabled,
            RuleStatus::Disabled => all - enabled,
        }))
    }

    /// # Errors
    /// [`Error`] when there is no such rule, or credits aren't tracked.
    pub async fn update_rule(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
        id: &RuleId,
        change: RuleChange,
        etag: Option<&str>,
    ) -> Result<RuleView, Error> {
        self.change(caller, organization, |turn| {
            if let (Some(given), Some(row)) = (etag, turn.state.rules.rules.find_live(id)) {
                same_etag(given, etag_of(&row.entity, &[]))?;
            }
            turn.update_rule(id, change)?;
            rule_shown(turn.state, id, turn.now())
        })
        .await
    }

    /// # Errors
    /// [`Error`] when there is no such rule, or it is in use.
    pub async fn delete_rule(&self, caller: &Caller, organization: &OrganizationId, id: &RuleId) -> Result<(), Error> {
        self.change(caller, organization, |turn| turn.delete_rule(id)).await
    }
}
