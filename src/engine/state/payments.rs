//! How the wallet is filled: payment methods, orders, automatic top-up, and what was corrected.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        id::{Actor, MemberId, MethodId, OrderId},
        money::Nanos,
        payment::{
            AutoTopUp, Correction, METHOD_DELETED, ORGANIZATION_DELETED, OWNER_DEMOTED, OWNER_INACTIVE, OrderSource,
            OrderState, PaymentMethod, TopUpOrder,
        },
        time::Timestamp,
    },
    engine::{
        state::{OrganizationState, Tally, ordered::OrderedByDay},
        table::Shelf,
    },
};

/// What is over leaves memory after a while; corrections stay.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payments {
    pub methods: Shelf<PaymentMethod>,
    /// The methods that aren't deleted.
    pub methods_of: Tally,
    /// The same, with whose they are.
    owned: BTreeSet<(MemberId, MethodId)>,
    pub orders: Shelf<TopUpOrder>,
    pub auto: Option<Box<AutoTopUp>>,
    /// The automatic order that is pending: there is one at most.
    pub pending_auto: Option<OrderId>,
    /// When the running shortfall was answered by an automatic order: one is enough, until what is free has reached the threshold.
    pub answered: Option<Timestamp>,
    /// Sums that a month's cap is held against.
    pub ordered: OrderedByDay,
    /// Places of the orders that are pending: few, of what may be many.
    pending: BTreeSet<u32>,
    /// By entry, what its corrections come to.
    corrected: BTreeMap<u64, Corrected>,
}

/// What corrections of an entry gave back in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Corrected {
    pub all: Nanos,
    /// What of that the operator's ceiling follows.
    pub of_ceiling: Nanos,
}

impl Payments {
    pub fn order(&self, id: &OrderId) -> Option<&TopUpOrder> {
        self.orders.find(id).map(|row| &row.entity)
    }

    pub fn corrected(&self, entry: u64) -> Corrected {
        self.corrected.get(&entry).copied().unwrap_or_default()
    }

    pub fn pending(&self) -> impl Iterator<Item = &TopUpOrder> {
        self.pending.iter().filter_map(|place| self.orders.row(*place)).map(|row| &row.entity)
    }

    /// How many a member has that are pending.
    pub fn pending_of(&self, member: &MemberId) -> usize {
        let actor = Actor::member(member);
        self.pending().filter(|order| order.actor == actor).count()
    }

    /// Whether a member pays for an order: by its payment method, or by what it ordered itself without one.
    pub fn is_paid_by(&self, order: &TopUpOrder, member: &MemberId) -> bool {
        match &order.method {
            Some(method) => self.owner_of(method) == Some(member),
            None => order.actor == Actor::member(member),
        }
    }

    /// Whose a payment method is or was.
    pub fn owner_of(&self, method: &MethodId) -> Option<&MemberId> {
        self.methods.find(method).map(|row| &row.entity.member)
    }

    /// The methods of a member that aren't deleted, or with `None` everybody's.
    pub fn methods_owned(&self, by: Option<&MemberId>) -> impl Iterator<Item = &PaymentMethod> {
        let first = by.map(|by| (by.clone(), MethodId::trusted("")));
        let from = first.map_or(Bound::Unbounded, Bound::Included);
        let owned = self.owned.range((from, Bound::Unbounded)).take_while(move |(of, _)| by.is_none_or(|by| of == by));
        owned.filter_map(|(_, id)| Some(&self.methods.find_live(id)?.entity))
    }

    pub(super) fn set_method(&mut self, method: PaymentMethod) {
        let known = self.methods.find(&method.id).is_some_and(|row| !row.entity.deleted);
        self.methods_of.follow(&method.member, known, !method.deleted);
        let owned = (method.member.clone(), method.id.clone());
        if method.deleted {
            self.owned.remove(&owned);
        } else {
            self.owned.insert(owned);
        }
        self.methods.set(method);
    }

    pub(super) fn set_order(&mut self, order: TopUpOrder) {
        self.ordered.follow(self.orders.find(&order.id).map(|row| &row.entity), &order);
        let is_pending = order.state == OrderState::Pending;
        if order.source == OrderSource::Automatic {
            if is_pending {
                self.pending_auto = Some(order.id.clone());
                self.answered = Some(order.create_time);
            } else if self.pending_auto.as_ref() == Some(&order.id) {
                self.pending_auto = None;
                // Nothing came of it, which is no answer.
                self.answered = self.answered.filter(|_| order.state != OrderState::Failed);
            }
        }
        let place = self.orders.set(order);
        if is_pending {
            self.pending.insert(place);
        } else {
            self.pending.remove(&place);
        }
    }

    /// Sets automatic top-up. Who may charge more by it is answered anew.
    pub(super) fn set_auto(&mut self, auto: &AutoTopUp) {
        if self.auto.as_deref().is_some_and(|before| auto.enlarges(before).is_some()) {
            self.answered = None;
        }
        self.auto = Some(Box::new(auto.clone()));
    }

    /// Notes what is free of the balance: a shortfall is over once that has reached the threshold.
    pub(super) fn note_free(&mut self, free: Nanos) {
        if self.answered.is_some() && self.auto.as_deref().is_none_or(|auto| free >= auto.threshold) {
            self.answered = None;
        }
    }

    /// Whether both agree on what neither may have forgotten.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        let whole = |it: &Self| {
            (it.auto.clone(), it.pending_auto.clone(), it.answered, it.methods_of.clone(), it.corrected.clone())
        };
        whole(self) == whole(other) && self.ordered == other.ordered
    }

    pub(super) fn correct(&mut self, correction: &Correction) {
        let corrected = self.corrected.entry(correction.corrects).or_default();
        corrected.all += correction.amount;
        corrected.of_ceiling += correction.of_ceiling;
    }
}

impl OrganizationState {
    /// The orders that the payment provider is to hear of: none while the organization is suspended.
    pub fn orders_to_place(&self) -> impl Iterator<Item = &TopUpOrder> {
        let pending = (!self.organization.suspended).then(|| self.payments.pending());
        pending.into_iter().flatten().filter(|order| !order.placed)
    }

    /// The provider's own name for how something is paid, empty where the operator sees to it.
    ///
    /// # Errors
    /// Why nobody is to be charged by it any more.
    pub fn paid_by(&self, method: Option<&MethodId>, source: OrderSource) -> Result<&str, &'static str> {
        if self.organization.deleted {
            return Err(ORGANIZATION_DELETED);
        }
        let Some(id) = method else { return Ok("") };
        let method = self.payments.methods.find(id).map(|row| &row.entity).ok_or(METHOD_DELETED)?;
        let owner = self.members.find_live(&method.member).map(|row| &row.entity).filter(|owner| !owner.disabled);
        let owner = owner.ok_or(OWNER_INACTIVE)?;
        // Who may not set it any more isn't charged for what it set once.
        if source == OrderSource::Automatic && !owner.role.manages() {
            return Err(OWNER_DEMOTED);
        }
        if method.deleted { Err(METHOD_DELETED) } else { Ok(&method.token) }
    }
}
