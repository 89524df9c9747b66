//! Organizations.

use std::sync::Arc;

use super::{Repeatable, View, etag_of, same_etag, view};
use crate::{
    domain::{
        bounds::OwnBounds,
        decision::LimitState,
        entity::{AccountKind, ExpiryPolicy, Organization, WalletMode},
        id::OrganizationId,
        money::Factor,
        policy::{Limit, Policy},
        time::Timestamp,
    },
    engine::{
        directory::Cell,
        state::OrganizationState,
        turn::{Context, OrganizationChange, Outcome, Turn},
    },
    service::{
        Caller, Error, Service,
        listing::{MOST_ROWS, MOST_WEIGHT},
        secret,
        turn::Done,
    },
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrganization {
    /// Minted if `None`.
    pub id: Option<OrganizationId>,
    pub name: String,
    pub kind: AccountKind,
    pub credit_factor: Factor,
    pub wallet_mode: WalletMode,
    pub expiry_policy: ExpiryPolicy,
    pub disabled: bool,
    pub suspended: bool,
    pub policy: Policy,
    pub ceiling: Policy,
    pub bounds: Option<OwnBounds>,
}

/// An organization with its policy, the operator's ceiling and how the limits of both stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationView {
    pub entity: Organization,
    pub policy: Vec<Limit>,
    pub ceiling: Vec<Limit>,
    /// Empty in lists.
    pub limits: Vec<LimitState>,
    /// Changes with the organization, its policy and its ceiling.
    pub etag: String,
}

impl OrganizationView {
    fn of(state: &OrganizationState, now: Option<Timestamp>) -> Self {
        let (organization, own) = (&state.organization, state.limits.policy().len());
        let View { entity, mut policy, limits, etag } =
            view(state, (organization, organization.clone()), state.limits.all(), now);
        let ceiling = policy.split_off(own);
        Self { entity, policy, ceiling, limits, etag }
    }

    fn weight(&self) -> usize {
        1 + self.policy.iter().chain(&self.ceiling).map(Limit::weight).sum::<usize>()
    }
}

impl Service {
    /// # Errors
    /// [`Error`] when the id is or was in use or the policy doesn't fit.
    pub async fn create_organization(
        &self,
        caller: &Caller,
        new: NewOrganization,
        repeatable: Repeatable<'_>,
    ) -> Result<OrganizationView, Error> {
        self.wait_for_room().await?;
        let now = self.clock.now();
        let id = match (new.id, repeatable.request) {
            (Some(id), _) => id,
            (None, Some(request)) => OrganizationId::trusted(secret::id_from_request("org", request.as_str())),
            (None, None) => OrganizationId::trusted(secret::new_id("org")?),
        };
        let organization = Organization {
            id: id.clone(),
            name: new.name,
            kind: new.kind,
            default_rule: None,
            credit_factor: new.credit_factor,
            wallet_mode: new.wallet_mode,
            expiry_policy: new.expiry_policy,
            disabled: new.disabled,
            suspended: new.suspended,
            deleted: false,
            create_time: now,
            update_time: now,
            bounds: new.bounds.map(Box::new),
        };
        let done = self.found(caller, organization, (&new.policy, &new.ceiling), repeatable)?;
        self.acknowledge(done).await
    }

    /// Makes the organization's state, then puts it where it is found; a repeat finds what was made.
    fn found(
        &self,
        caller: &Caller,
        organization: Organization,
        (policy, ceiling): (&Policy, &Policy),
        Repeatable { request, fingerprint }: Repeatable<'_>,
    ) -> Result<Done<OrganizationView>, Error> {
        let id = organization.id.clone();
        let mut state = OrganizationState::new(organization.clone());
        let prices = self.prices.load();
        let bounds = self.tuning.bounds;
        let context =
            Context { now: self.clock.now(), epoch: self.epoch, actor: &caller.actor, prices: &prices, bounds };
        let mut turn = Turn::new(&mut state, context);
        turn.found_organization(organization, policy, ceiling)?;
        turn.take_request(request, fingerprint, id.as_str());
        let records = turn.finish().records;
        let cell = Arc::new(Cell::new(state, 0));
        let mut inner = cell.lock();
        match self.directory.insert(Arc::clone(&cell)) {
            Ok(()) => {
                // Under the lock, so that nothing of the organization is enqueued before its first events.
                inner.position = self.writer.push(records);
                let answer = OrganizationView::of(&inner.state, Some(context.now));
                Ok(Done { answer, position: inner.position })
            }
            Err(taken) => {
                drop(inner);
                let mut inner = taken.lock();
                let position = inner.position;
                let turn = Turn::new(&mut inner.state, context);
                match turn.created_before(request, fingerprint)? {
                    Some(_) => {
                        turn.check_organization()?;
                        Ok(Done { answer: OrganizationView::of(turn.state, Some(context.now)), position })
                    }
                    None => Err(Error::Exists { kind: "organization", id: id.to_string() }),
                }
            }
        }
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub fn organization(&self, id: &OrganizationId) -> Result<OrganizationView, Error> {
        let cell = self.organization_cell(id)?;
        let inner = cell.lock();
        Ok(OrganizationView::of(&inner.state, Some(self.clock.now())))
    }

    /// A page in the order of their ids, of those after `after`, and the id after which the next one begins.
    pub fn list_organizations(
        &self,
        after: Option<&OrganizationId>,
        limit: usize,
    ) -> (Vec<OrganizationView>, Option<OrganizationId>) {
        let (mut views, mut weight, mut last) = (Vec::new(), 0, after.cloned());
        // Deleted ones are among them, but not in the page.
        for cell in self.directory.after(after, MOST_ROWS) {
            let shown = {
                let inner = cell.lock();
                (!inner.state.organization.deleted).then(|| OrganizationView::of(&inner.state, None))
            };
            if let Some(view) = shown {
                weight += view.weight();
                if views.len() == limit || (weight > MOST_WEIGHT && !views.is_empty()) {
                    return (views, last);
                }
                views.push(view);
            }
            last = Some(cell.id.clone());
        }
        let more = !self.directory.after(last.as_ref(), 1).is_empty();
        (views, last.filter(|_| more))
    }

    /// # Errors
    /// [`Error`] when there is no such organization or the policy doesn't fit.
    pub async fn update_organization(
        &self,
        caller: &Caller,
        id: &OrganizationId,
        change: OrganizationChange,
        etag: Option<&str>,
    ) -> Result<OrganizationView, Error> {
        self.change(caller, id, |turn| {
            check_own_etag(turn.state, etag)?;
            turn.update_organization(change)?;
            Ok(OrganizationView::of(turn.state, Some(turn.now())))
        })
        .await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub async fn convert_to_team_account(
        &self,
        caller: &Caller,
        id: &OrganizationId,
    ) -> Result<OrganizationView, Error> {
        self.change(caller, id, |turn| {
            turn.convert_to_team_account()?;
            Ok(OrganizationView::of(turn.state, Some(turn.now())))
        })
        .await
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such organization.
    pub async fn delete_organization(
        &self,
        caller: &Caller,
        id: &OrganizationId,
        etag: Option<&str>,
    ) -> Result<(), Error> {
        self.change(caller, id, |turn| {
            check_own_etag(turn.state, etag)?;
            turn.delete_organization()?;
            Ok(())
        })
        .await
    }
}

fn check_own_etag(state: &OrganizationState, given: Option<&str>) -> Outcome<()> {
    let Some(given) = given else { return Ok(()) };
    same_etag(given, etag_of(&state.organization, &state.settings_of(state.limits.all())))
}
