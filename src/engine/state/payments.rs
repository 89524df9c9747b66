//! How the wallet is filled: payment methods, orders, automatic top-up, and what was corrected.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    domain::{
        id::OrderId,
        money::Nanos,
        payment::{AutoTopUp, Correction, OrderSource, OrderState, PaymentMethod, TopUpOrder},
    },
    engine::table::Table,
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
