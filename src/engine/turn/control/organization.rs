//! The organization itself.

use crate::{
    domain::{
        access::Role,
        bounds::OwnBounds,
        decision::DenialCode,
        entity::{AccountKind, ExpiryPolicy, Member, Organization, Team, WalletMode},
        event::Event,
        id::{DEFAULT_TEAM, RuleId, TeamId},
        money::Factor,
        policy::{Place, Policy},
    },
    engine::{
        conflict::Conflict,
        turn::{
            Outcome, Turn,
            control::{live, policy::NewPolicy},
        },
    },
};

/// Fields to change; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OrganizationChange {
    pub name: Option<String>,
    pub credit_factor: Option<Factor>,
    pub wallet_mode: Option<WalletMode>,
    pub expiry_policy: Option<ExpiryPolicy>,
    pub default_rule: Option<Option<RuleId>>,
    pub disabled: Option<bool>,
    pub suspended: Option<bool>,
    pub policy: Option<Policy>,
    pub ceiling: Option<Policy>,
    /// An inner `None` leaves all to the server's.
    pub bounds: Option<Option<OwnBounds>>,
    /// Lets limits of the policy and the ceiling begin to count anew.
    pub restart_spending: bool,
}

impl Turn<'_> {
    /// The first events of an organization.
    ///
    /// # Errors
    /// [`Conflict`] when the policy doesn't fit.
    pub fn found_organization(&mut self, organization: Organization, policy: &Policy, ceiling: &Policy) -> Outcome<()> {
        self.check_credits(&Place::Organization, policy, organization.credit_factor)?;
        self.emit(Event::OrganizationSet(Box::new(organization)));
        self.emit(Event::TeamSet(Box::new(Team {
            id: TeamId::trusted(DEFAULT_TEAM),
            name: String::from("Default"),
            member_policy: Policy::default(),
            disabled: false,
            deleted: false,
            create_time: self.now,
            update_time: self.now,
        })));
        for (place, policy) in [(Place::Organization, policy), (Place::Ceiling, ceiling)] {
            self.set_policy(place, NewPolicy { policy, restart: false });
        }
        self.tick();
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when the organization is deleted, the rule is missing or the policy doesn't fit.
    pub fn update_organization(&mut self, change: OrganizationChange) -> Outcome<()> {
        self.check_organization()?;
        // Credits that are tracked again bind in the cycle that runs.
        self.tick();
        let mut next = self.state.organization.clone();
        let OrganizationChange {
            name,
            credit_factor,
            wallet_mode,
            expiry_policy,
            default_rule,
            disabled,
            suspended,
            policy,
            ceiling,
            bounds,
            restart_spending: restart,
        } = change;
        if let Some(Some(rule)) = &default_rule {
            live(&self.state.rules.rules, rule, rule.as_str())?;
        }
        next.name = name.unwrap_or(next.name);
        next.credit_factor = credit_factor.unwrap_or(next.credit_factor);
        next.wallet_mode = wallet_mode.unwrap_or(next.wallet_mode);
        next.expiry_policy = expiry_policy.unwrap_or(next.expiry_policy);
        next.default_rule = default_rule.unwrap_or(next.default_rule);
        next.disabled = disabled.unwrap_or(next.disabled);
        next.bounds = bounds.map_or(next.bounds, |bounds| bounds.map(Box::new));
        next.suspended = suspended.unwrap_or(next.suspended);
        next.update_time = self.now;
        let stops = next.is_inactive() && !self.state.organization.is_inactive();
        let (had_wallet, had_credits) = (self.state.wallet_binds(), self.state.organization.credit_factor.is_on());
        if let Some(policy) = &policy {
            self.check_policy(&Place::Organization, policy, next.credit_factor)?;
        }
        let new = [(Place::Organization, &policy), (Place::Ceiling, &ceiling)];
        let new = new.map(|(place, policy)| (place, policy.as_ref().map(|policy| NewPolicy { policy, restart })));
        for (place, policy) in &new {
            policy.map_or(Ok(()), |policy| self.check_restart(place, policy))?;
        }
        self.emit(Event::OrganizationSet(Box::new(next)));
        for (place, policy) in new {
            self.finish_change(place, policy, None);
        }
        if stops {
            self.revoke_under(&Place::Organization, DenialCode::OrganizationInactive);
        }
        let (wallet, credits) = (self.state.wallet_binds(), self.state.organization.credit_factor.is_on());
        self.revoke_newly_bound(wallet && !had_wallet, credits && !had_credits);
        if wallet && !had_wallet {
            self.check_low_balance();
            self.check_auto_top_up();
        }
        Ok(())
    }

    /// Makes a personal account a team account, with all that it has. Answers whether it was personal.
    ///
    /// # Errors
    /// [`Conflict`] when the organization is deleted.
    pub fn convert_to_team_account(&mut self) -> Outcome<bool> {
        self.check_organization()?;
        if self.state.organization.kind == AccountKind::Team {
            return Ok(false);
        }
        let kind = AccountKind::Team;
        let organization = Organization { kind, update_time: self.now, ..self.state.organization.clone() };
        self.emit(Event::OrganizationSet(Box::new(organization)));
        Ok(true)
    }

    /// # Errors
    /// [`Conflict`] when it is deleted already.
    pub fn delete_organization(&mut self) -> Outcome<()> {
        self.check_organization()?;
        let organization = Organization { deleted: true, update_time: self.now, ..self.state.organization.clone() };
        self.emit(Event::OrganizationSet(Box::new(organization)));
        self.revoke_under(&Place::Organization, DenialCode::OrganizationInactive);
        self.end_methods(None);
        Ok(())
    }

    /// # Errors
    /// [`Conflict`] when the organization is deleted.
    pub fn check_organization(&self) -> Outcome<()> {
        let organization = &self.state.organization;
        let gone = || Conflict::Gone { kind: "organization", id: organization.id.to_string() };
        if organization.deleted { Err(gone()) } else { Ok(()) }
    }

    /// # Errors
    /// [`Conflict::TeamAccountRequired`] for a personal account.
    pub fn check_team_account(&self, what: &'static str) -> Outcome<()> {
        match self.state.organization.kind {
            AccountKind::Team => Ok(()),
            AccountKind::Personal => Err(Conflict::TeamAccountRequired { what }),
        }
    }

    /// # Errors
    /// [`Conflict::Suspended`].
    pub(in crate::engine::turn) fn check_not_suspended(&self) -> Outcome<()> {
        if self.state.organization.suspended { Err(Conflict::Suspended) } else { Ok(()) }
    }

    /// Refuses to leave an organization that has owners without an active one.
    ///
    /// # Errors
    /// [`Conflict::LastOwner`].
    pub(super) fn check_owner_left(&self, without: &Member) -> Outcome<()> {
        let is_owner = |member: &Member| member.role == Role::Owner && !member.disabled;
        if !is_owner(without) {
            return Ok(());
        }
        if self.state.staff.owner_count() > 1 { Ok(()) } else { Err(Conflict::LastOwner(without.id.clone())) }
    }
}
