//! Rules, limits, allocations, requests for credits, orders and alerts, as they are now.

use super::{limits, period_json};
use crate::{
    domain::{
        ended::ended_in,
        event::Event,
        id::{Actor, MemberId, MethodId},
        money::Nanos,
    },
    store::{
        StoreError,
        batch::Batch,
        detail::encode,
        tables,
        value::{How, Rows, Value},
    },
};

pub(super) fn of<'b>(batch: &'b Batch<'_>) -> [Rows<'b>; 6] {
    [rules(batch), limits(batch), allocations(batch), credit_requests(batch), orders(batch), alerts(batch)]
}

fn rules<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::RULES, How::Merge);
    for ((organization, id), rule) in &batch.rules {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(&rule.name),
            Value::text(&rule.description),
            Value::Bool(rule.enabled),
            Value::owned(rule.zone.to_string()),
            Value::Bool(rule.caps()),
            Value::opt(rule.cap.map(|cap| cap.max), Value::Nanos),
            rule.limit().map_or(Value::Null, |limit| period_json(&limit)),
            Value::Bool(rule.restricting().is_some()),
            Value::opt(rule.hours.map(|hours| hours.weekdays.to_string()), Value::owned),
            Value::opt(rule.hours.map(|hours| hours.daily.to_string()), Value::owned),
            Value::Bool(rule.deleted),
            Value::Time(rule.create_time),
            Value::Time(rule.update_time),
        ]);
    }
    rows
}

fn allocations<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::ALLOCATIONS, How::Merge);
    for ((organization, (team, member)), allocation) in &batch.allocations {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(team.as_str()),
            Value::text(member.as_ref().map_or("", MemberId::as_str)),
            Value::opt::<Nanos>(allocation.monthly, Value::Nanos),
            Value::opt(allocation.extra, Value::Nanos),
        ]);
    }
    rows
}

fn credit_requests<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::CREDIT_REQUESTS, How::Merge);
    for ((organization, id), request) in &batch.credit_requests {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(request.member.as_str()),
            Value::text(request.team.as_str()),
            Value::Nanos(request.amount),
            Value::Nanos(request.approved),
            Value::text(request.state.name()),
            Value::text(&request.reason),
            Value::text(&request.note),
            Value::opt_text(request.decided_by.as_ref().map(Actor::as_str)),
            Value::Time(request.create_time),
            Value::opt(request.decide_time, Value::Time),
        ]);
    }
    rows
}

fn orders<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::TOP_UP_ORDERS, How::Merge);
    for ((organization, id), order) in &batch.orders {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(order.request.as_str()),
            Value::Nanos(order.amount),
            Value::text(order.state.name()),
            Value::text(order.actor.as_str()),
            Value::opt_text(order.method.as_ref().map(MethodId::as_str)),
            Value::text(&order.reason),
            Value::text(&order.reference),
            Value::text(&order.failure),
            Value::opt(order.entry, Value::count),
            Value::Time(order.create_time),
            Value::Time(order.update_time),
        ]);
    }
    rows
}

fn alerts<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::ALERTS, How::Merge);
    for ((organization, id), alert) in &batch.alerts {
        let facts: serde_json::Map<_, _> =
            alert.facts.iter().map(|(label, value)| (label.to_string(), value.as_str().into())).collect();
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(alert.kind.name()),
            Value::text(alert.state().name()),
            Value::text(&alert.subject),
            Value::json(serde_json::Value::from(facts).to_string()),
            Value::json(serde_json::json!(alert.recipients).to_string()),
            Value::Time(alert.create_time),
            Value::opt_text(alert.acknowledged.as_ref().map(|(actor, _)| actor.as_str())),
            Value::opt(alert.acknowledged.as_ref().map(|(_, time)| *time), Value::Time),
        ]);
    }
    rows
}

/// Fails as [`StoreError::Damaged`] when one can't be encoded.
pub(super) fn ended<'b>(batch: &'b Batch<'_>) -> Result<Rows<'b>, StoreError> {
    let mut rows = Rows::new(&tables::ENDED_ENTITIES, How::Merge);
    for ((organization, name), event) in &batch.ended {
        let request = if let Event::OrderSet(order) = event { Some(order.request.as_str()) } else { None };
        rows.push([
            Value::text(organization.as_str()),
            Value::text(name.kind()),
            Value::text(name.id()),
            Value::opt_text(request),
            Value::bytes(encode(&ended_in(event))?),
        ]);
    }
    Ok(rows)
}
