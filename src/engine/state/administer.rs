//! Puts the control plane's events into effect: entities, policies, rules, allocations. Part of [`super::apply`], with its rules.

use std::{collections::BTreeMap, sync::Arc};

use smallvec::SmallVec;

use super::{OrganizationState, Taken, staff::Duties};
use crate::{
    domain::{
        access::{Invitation, InvitationState},
        allocation::{Allocation, CreditRequest, CreditRequestState, Drawn},
        entity::{Key, Member, Membership},
        event::{Event, LimitNo, NumberedLimit},
        fold,
        money::Nanos,
        period::{Period, Window},
        policy::{AllocationPlace, Budget, Limit, Place},
        rule::Rule,
        time::Timestamp,
    },
    engine::{
        limit::{Counter, LimitEntry},
        table::KeyRow,
        windows::Windows,
    },
};

impl OrganizationState {
    pub(super) fn administer(&mut self, event: &Event, now: Timestamp) {
        match event {
            Event::OrganizationSet(organization) => {
                self.organization = (**organization).clone();
                let default = organization.default_rule.as_ref();
                self.rules.default = default.and_then(|rule| self.rules.rules.place(rule));
            }
            Event::TeamSet(team) => {
                self.teams.set((**team).clone());
            }
            Event::MemberSet(member) => self.apply_member(member),
            Event::MembershipSet(membership) => self.apply_membership(membership),
            Event::KeySet(key) => self.apply_key(key),
            Event::PolicySet { place, limits, retired } => self.apply_policy(place, limits, retired),
            Event::RuleSet(rule) => self.apply_rule(rule),
            Event::CounterOpened { place, limit } => self.open_counter(place, limit),
            Event::AllocationSettingsSet(settings) => {
                self.allocations.settings = *settings;
                self.set_cap(self.allocations.total_counter(), settings.credits_per_cycle, None);
            }
            Event::CycleStarted { cycle, .. } => self.start_cycle(*cycle),
            Event::AllocationSet { place, allocation, drawn } => self.apply_allocation(place, *allocation, *drawn, now),
            Event::AutoApproveSet { team, reserve } => {
                if let Some(place) = self.teams.place(team) {
                    self.allocations.team_mut(place).reserve = *reserve;
                }
            }
            Event::CreditRequestSet(request) => self.apply_credit_request(request),
            Event::InvitationSet(invitation) => self.apply_invitation(invitation),
            Event::PaymentMethodSet(method) => self.payments.set_method((**method).clone()),
            Event::OrderSet(order) => {
                let taken = || Taken::Order(order.id.clone());
                self.requests.entry(order.request.clone()).or_insert_with(taken);
                self.payments.set_order((**order).clone());
            }
            Event::AutoTopUpSet(auto) => self.payments.set_auto(auto),
            Event::AlertSettingsSet(settings) => self.alerts.settings.clone_from(settings),
            Event::AlertSet(alert) => self.alerts.set((**alert).clone()),
            Event::AlertCaused { cause, until } => self.alerts.tell(cause.clone(), *until, now),
            // The data plane's, or the system stream's.
            _ => {}
        }
    }

    fn apply_member(&mut self, member: &Member) {
        let email = |member: &Member| fold::address(&member.email);
        let before = self.members.find_live(&member.id).map(|row| &row.entity);
        let was = before.map(Duties::of).unwrap_or_default();
        if let Some(before) = before {
            self.emails.remove(&email(before));
        }
        let place = self.members.set(member.clone());
        self.staff.follow(place, was, Duties::of(member));
        if !member.deleted && !member.email.is_empty() {
            self.emails.insert(email(member), place);
        }
    }

    fn apply_membership(&mut self, membership: &Membership) {
        let id = (membership.team.clone(), membership.member.clone());
        let was_in = self.memberships.find_live(&id).is_some();
        self.memberships.set(membership.clone());
        if let Some(team) = self.teams.place(&membership.team) {
            let members = &mut self.allocations.team_mut(team).members;
            *members = *members + u32::from(!membership.deleted) - u32::from(was_in);
        }
    }

    fn apply_key(&mut self, key: &Key) {
        let Some(row) = self.row_of(key) else { return };
        let known = self.keys.find(&key.id).map(|row| &row.entity);
        let was_bound = known.filter(|row| !row.key.deleted).and_then(|row| row.rule);
        let (open, counters) = known.map(|row| (row.open, row.counters.clone())).unwrap_or_default();
        self.rules.rebind(was_bound, row.rule.filter(|_| !key.deleted));
        self.keys.set(KeyRow { open, counters, ..row });
    }

    /// Makes the row of a key that nothing was counted of.
    pub(super) fn row_of(&self, key: &Key) -> Option<KeyRow> {
        Some(KeyRow {
            member: self.members.place(&key.member)?,
            team: self.teams.place(&key.team)?,
            membership: self.memberships.place(&(key.team.clone(), key.member.clone()))?,
            rule: key.rule.as_ref().and_then(|rule| self.rules.rules.place(rule)),
            key: key.clone(),
            open: 0,
            counters: SmallVec::new(),
        })
    }

    fn apply_policy(&mut self, place: &Place, limits: &[NumberedLimit], retired: &[LimitNo]) {
        let old = self.limits_of(place).to_vec();
        // The operator's takes no room from the organization.
        if *place != Place::Ceiling {
            self.policies = self.policies + u32::from(!limits.is_empty()) - u32::from(!old.is_empty());
        }
        let gone = old.into_iter().filter(|no| !limits.iter().any(|limit| limit.no == *no));
        let removed = gone.filter_map(|no| Some((no, self.entries.get_mut(no.0 as usize)?.take()?))).collect();
        let shared = Arc::new(place.clone());
        for limit in limits {
            let before = self.retired.take(limit.no);
            self.set_entry(limit, &shared, before);
        }
        self.retired.keep(place, retired, removed);
        self.set_limits_of(place, limits.iter().map(|limit| limit.no).collect());
    }

    /// Sets a limit, which goes on counting what it had counted `before` it was removed.
    fn set_entry(
        &mut self,
        NumberedLimit { no, limit }: &NumberedLimit,
        place: &Arc<Place>,
        before: Option<Box<LimitEntry>>,
    ) {
        let limit = self.settings.share(limit);
        let at = no.0 as usize;
        if self.entries.len() <= at {
            self.entries.resize_with(at + 1, || None);
        }
        match &mut self.entries[at] {
            Some(entry) => entry.limit = limit,
            free => {
                *free = Some(match before {
                    Some(entry) => Box::new(LimitEntry { limit, ..*entry }),
                    None => Box::new(LimitEntry::new(Arc::clone(place), limit)),
                });
            }
        }
    }

    pub(super) fn drop_entry(&mut self, no: LimitNo) {
        if let Some(entry) = self.entries.get_mut(no.0 as usize) {
            *entry = None;
        }
    }

    /// A cap that goes on counting the same keeps its counters, also when it is taken off and set again. With another period or
    /// zone they begin anew.
    fn apply_rule(&mut self, rule: &Rule) {
        let limit = rule.limit().map(|limit| self.settings.share(&limit));
        let place = self.rules.set(rule.clone());
        let Some(used) = self.rules.used(place) else { return };
        let mut kept = BTreeMap::new();
        for (key, no) in std::mem::take(&mut used.counters) {
            let Some(Some(entry)) = self.entries.get_mut(no.0 as usize) else { continue };
            let next = match (&limit, &*entry.limit) {
                // A rule that is deleted has no cap to come back to.
                _ if rule.deleted => None,
                (Some(limit), before) => before.is_continued_by(limit).then(|| Arc::clone(limit)),
                (None, Limit::Budget(before)) => {
                    Some(self.settings.share(&Limit::Budget(Budget { max: None, ..before.clone() })))
                }
                (None, Limit::Quota(_)) => None,
            };
            if let Some(limit) = next {
                entry.limit = limit;
                kept.insert(key, no);
                continue;
            }
            self.drop_entry(no);
            if let Some(row) = self.keys.row_mut(key) {
                row.entity.counters.retain(|(of, _)| *of != place);
            }
        }
        if let Some(used) = self.rules.used(place) {
            used.counters = kept;
        }
    }

    fn open_counter(&mut self, place: &Place, limit: &NumberedLimit) {
        self.set_entry(limit, &Arc::new(place.clone()), None);
        let no = &limit.no;
        match place {
            Place::Rule(rule, key) => {
                let (Some(rule), Some(key)) = (self.rules.rules.place(rule), self.keys.place(key)) else { return };
                if let (Some(used), Some(row)) = (self.rules.used(rule), self.keys.row_mut(key)) {
                    used.counters.insert(key, *no);
                    row.entity.counters.push((rule, *no));
                }
            }
            Place::Allocation(AllocationPlace::Organization) => self.allocations.total = Some(*no),
            Place::Allocation(AllocationPlace::Pool(team)) => {
                if let Some(team) = self.teams.place(team) {
                    self.allocations.team_mut(team).pool = Some(*no);
                }
            }
            Place::Allocation(AllocationPlace::Member(team, member)) => {
                if let Some(membership) = self.memberships.place(&(team.clone(), member.clone())) {
                    self.allocations.set_counter(membership, *no);
                }
            }
            // Those have no lazily opened counters.
            Place::Key(_)
            | Place::Membership(..)
            | Place::Member(_)
            | Place::Team(_)
            | Place::Organization
            | Place::Ceiling => {}
        }
    }

    fn start_cycle(&mut self, cycle: Window) {
        self.allocations.begin(cycle);
        // What was drawn in the cycle that ended binds nobody any more.
        for no in self.allocations.pools().collect::<Vec<_>>() {
            if let Some(Some(entry)) = self.entries.get_mut(no.0 as usize) {
                entry.counter = Counter::Budget(Windows::default());
            }
        }
        // The caps follow from what was set, and their period is the cycle.
        for (no, cap) in self.allocations.caps().collect::<Vec<_>>() {
            self.set_cap(Some(no), cap, Some(Period::Cycle(cycle)));
        }
    }

    fn set_cap(&mut self, no: Option<LimitNo>, cap: Option<Nanos>, new: Option<Period>) {
        let Some(entry) = no.and_then(|no| self.entries.get_mut(no.0 as usize)?.as_mut()) else { return };
        let Limit::Budget(budget) = &*entry.limit else { return };
        let period = new.unwrap_or(budget.period);
        if (budget.max, budget.period) != (cap, period) {
            let changed = Limit::Budget(Budget { max: cap, period, ..budget.clone() });
            entry.limit = self.settings.share(&changed);
        }
    }

    fn apply_allocation(&mut self, place: &AllocationPlace, allocation: Allocation, drawn: Drawn, now: Timestamp) {
        let team = match place {
            // A setting, never set here.
            AllocationPlace::Organization => return,
            AllocationPlace::Pool(team) | AllocationPlace::Member(team, _) => self.teams.place(team),
        };
        let Some(team) = team else { return };
        match place {
            AllocationPlace::Member(of, member) => {
                let Some(membership) = self.memberships.place(&(of.clone(), member.clone())) else { return };
                let before = self.allocations.set_member(membership, allocation);
                let cycle = Period::Cycle(self.allocations.cycle);
                self.set_cap(self.allocations.counter(membership), allocation.cap(), Some(cycle));
                let monthly = |allocation: Allocation| allocation.monthly.unwrap_or_default();
                self.change_team(team, |team| {
                    team.distributed += allocation.given() - before.given();
                    team.lasting += monthly(allocation) - monthly(before);
                });
                self.draw_on(team, drawn, now);
            }
            _ => self.change_team(team, |team| team.allocation = allocation),
        }
        let allocated = self.allocations.team(team);
        self.set_cap(allocated.pool, allocated.shared(), None);
    }

    fn apply_invitation(&mut self, invitation: &Invitation) {
        let email = fold::address(&invitation.email);
        if invitation.state == InvitationState::Pending {
            self.invited.insert(email, invitation.id.clone());
        } else if self.invited.get(&email) == Some(&invitation.id) {
            self.invited.remove(&email);
        }
        self.invitations.set(invitation.clone());
    }

    fn apply_credit_request(&mut self, request: &CreditRequest) {
        let known = self.credit_requests.find(&request.id).map(|row| row.entity.state);
        let is_undecided = |state| state == CreditRequestState::Pending;
        self.undecided.follow(&request.member, known.is_some_and(is_undecided), is_undecided(request.state));
        self.request_counts.follow(known, request);
        if known.is_none()
            && request.state == CreditRequestState::AutoApproved
            && let Some(team) = self.teams.place(&request.team)
        {
            self.allocations.team_mut(team).approved += request.approved;
        }
        self.credit_requests.set(request.clone());
    }
}
