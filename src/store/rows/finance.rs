//! Rules, limits, allocations, requests for credits, orders and alerts, as they are now.

use std::collections::BTreeSet;

use super::{limit_models, limits, period_name};
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

pub(super) fn of<'b>(batch: &'b Batch<'_>) -> impl Iterator<Item = Rows<'b>> {
    let rows = [rules(batch), limits(batch), allocations(batch), credit_requests(batch), orders(batch), alerts(batch)];
    rows.into_iter().chain(limit_models(batch)).chain(alert_parts(batch))
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
            Value::opt_text(rule.limit().and_then(|limit| limit.period()).map(period_name)),
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
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(alert.kind.name()),
            Value::text(alert.state().name()),
            Value::text(&alert.subject),
            Value::Time(alert.create_time),
            Value::opt_text(alert.acknowledged.as_ref().map(|(actor, _)| actor.as_str())),
            Value::opt(alert.acknowledged.as_ref().map(|(_, time)| *time), Value::Time),
        ]);
    }
    rows
}

/// Returns what alerts say and whom they are for, in place of what stood there before.
fn alert_parts<'b>(batch: &'b Batch<'_>) -> [Rows<'b>; 4] {
    let mut facts_before = Rows::new(&tables::FACTS_OF_ALERT, How::Delete);
    let mut recipients_before = Rows::new(&tables::RECIPIENTS_OF_ALERT, How::Delete);
    let mut facts = Rows::new(&tables::ALERT_FACTS, How::Insert);
    let mut recipients = Rows::new(&tables::ALERT_RECIPIENTS, How::Insert);
    for ((organization, id), alert) in &batch.alerts {
        let of = || [Value::text(organization.as_str()), Value::text(id.as_str())];
        facts_before.push(of());
        recipients_before.push(of());
        for (position, (label, value)) in (1..).zip(&alert.facts) {
            let [organization, id] = of();
            facts.push([organization, id, Value::Int(position), Value::text(label), Value::text(value)]);
        }
        for email in alert.recipients.iter().collect::<BTreeSet<_>>() {
            let [organization, id] = of();
            recipients.push([organization, id, Value::text(email)]);
        }
    }
    [facts_before, recipients_before, facts, recipients]
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
