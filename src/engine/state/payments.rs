//! How the wallet is filled: payment methods, orders, automatic top-up, and what was corrected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        id::{MethodId, OrderId},
        money::Nanos,
        payment::{AutoTopUp, Correction, OrderSource, OrderState, PaymentMethod, TopUpOrder},
    },
    engine::{state::OrganizationState, table::Table},
};

/// All of it stays: money is remembered for ever, and there is little of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payments {
    pub methods: Table<PaymentMethod>,
    pub orders: Table<TopUpOrder>,
    pub auto: Option<Box<AutoTopUp>>,
    /// The automatic order that is pending: there is one at most.
    pub pending_auto: Option<OrderId>,
    /// By entry, what its corrections come to.
    corrected: BTreeMap<u64, Nanos>,
}

impl Payments {
    pub fn order(&self, id: &OrderId) -> Option<&TopUpOrder> {
        self.orders.find(id).map(|row| &row.entity)
    }

    pub fn corrected(&self, entry: u64) -> Nanos {
        self.corrected.get(&entry).copied().unwrap_or_default()
    }

    pub fn pending(&self) -> impl Iterator<Item = &TopUpOrder> {
        self.orders.live().map(|row| &row.entity).filter(|order| order.state == OrderState::Pending)
    }

    pub(super) fn set_order(&mut self, order: TopUpOrder) {
        if order.source == OrderSource::Automatic {
            let is_pending = order.state == OrderState::Pending;
            if is_pending {
                self.pending_auto = Some(order.id.clone());
            } else if self.pending_auto.as_ref() == Some(&order.id) {
                self.pending_auto = None;
            }
        }
        self.orders.set(order);
    }

    pub(super) fn correct(&mut self, correction: &Correction) {
        *self.corrected.entry(correction.corrects).or_default() += correction.amount;
    }
}

impl OrganizationState {
    /// The provider's own name for how something is paid, empty where that is left to the provider.
    ///
    /// # Errors
    /// Why nobody is to be charged by it any more.
    pub fn paid_by(&self, method: Option<&MethodId>) -> Result<&str, &'static str> {
        if self.organization.deleted {
            return Err("the organization was deleted");
        }
        let Some(id) = method else { return Ok("") };
        let gone = "the payment method was deleted";
        let method = self.payments.methods.find(id).map(|row| &row.entity).ok_or(gone)?;
        let owner = self.members.find_live(&method.member).map(|row| &row.entity);
        if owner.is_none_or(|owner| owner.disabled) {
            return Err("the payment method's owner is no active member any more");
        }
        if method.deleted { Err(gone) } else { Ok(&method.token) }
    }
}
