//! What automatic top-up ordered of late: what a month's cap is held against, without a walk over all orders.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::domain::{
    money::Nanos,
    payment::{OrderSource, OrderState, TopUpOrder},
    time::{Span, Timestamp},
};

/// More than a month has. An order is in memory longer, so that what it was before is known.
const KEPT_DAYS: i64 = 32;

/// Sums of the automatic orders that didn't fail, by the day (UTC) on which they were made: months begin with a day.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OrderedByDay(BTreeMap<i64, Nanos>);

fn day_of(at: Timestamp) -> i64 {
    at.micros().div_euclid(Span::DAY.as_micros())
}

fn counted(order: &TopUpOrder) -> Nanos {
    let counts = order.source == OrderSource::Automatic && order.state != OrderState::Failed;
    if counts { order.amount } else { Nanos::ZERO }
}

impl OrderedByDay {
    /// Follows an order that is made or decided.
    pub(super) fn follow(&mut self, before: Option<&TopUpOrder>, order: &TopUpOrder) {
        let (made, oldest) = (day_of(order.create_time), day_of(order.update_time) - KEPT_DAYS);
        self.0.retain(|day, _| *day > oldest);
        let change = counted(order) - before.map_or(Nanos::ZERO, counted);
        if made > oldest && change != Nanos::ZERO {
            *self.0.entry(made).or_default() += change;
        }
    }

    /// Returns what was ordered since the start of a day of the last month.
    pub fn since(&self, start: Timestamp) -> Nanos {
        self.0.range(day_of(start)..).map(|(_, amount)| *amount).sum()
    }
}
