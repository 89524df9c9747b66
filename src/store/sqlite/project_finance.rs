//! Rules, allocations, requests for credits, orders and alerts, as they are now.

use sqlx::SqliteConnection;

use super::{StoreError, project_state};
use crate::{
    domain::{
        id::{MemberId, MethodId},
        policy::Limit,
        time::Timestamp,
    },
    store::batch::Batch,
};

pub(super) async fn write(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    // Before the rules: one that is changed later in the batch changes its counters too.
    for (organization, place, limit) in &batch.counters {
        project_state::set_limit(connection, organization, place, limit).await?;
    }
    rules(connection, batch).await?;
    allocations(connection, batch).await?;
    orders(connection, batch).await?;
    alerts(connection, batch).await
}

async fn rules(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    for ((organization, id), rule) in &batch.rules {
        sqlx::query("INSERT OR REPLACE INTO rules VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(organization.as_str())
            .bind(id.as_str())
            .bind(&rule.name)
            .bind(&rule.description)
            .bind(rule.enabled)
            .bind(rule.zone.to_string())
            .bind(rule.caps())
            .bind(rule.cap.map(|cap| cap.max.get()))
            .bind(rule.limit().map(|limit| project_state::period_json(&limit)))
            .bind(rule.restricting().is_some())
            .bind(rule.hours.map(|hours| hours.weekdays.to_string()))
            .bind(rule.hours.map(|hours| hours.daily.to_string()))
            .bind(rule.deleted)
            .bind(rule.create_time.micros())
            .bind(rule.update_time.micros())
            .execute(&mut *connection)
            .await?;
        let limit = rule.limit();
        sqlx::query(
            "UPDATE limits SET max = ?, active = (period IS ?) WHERE organization_id = ? AND rule_id = ? AND active = 1",
        )
        .bind(limit.as_ref().and_then(Limit::max))
        .bind(limit.as_ref().and_then(project_state::period_json))
        .bind(organization.as_str())
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn allocations(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    for ((organization, (team, member)), allocation) in &batch.allocations {
        sqlx::query("INSERT OR REPLACE INTO allocations VALUES (?, ?, ?, ?, ?)")
            .bind(organization.as_str())
            .bind(team.as_str())
            .bind(member.as_ref().map_or("", MemberId::as_str))
            .bind(allocation.monthly.map(crate::domain::money::Nanos::get))
            .bind(allocation.extra.map(crate::domain::money::Nanos::get))
            .execute(&mut *connection)
            .await?;
    }
    for ((organization, id), request) in &batch.credit_requests {
        sqlx::query("INSERT OR REPLACE INTO credit_requests VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(organization.as_str())
            .bind(id.as_str())
            .bind(request.member.as_str())
            .bind(request.team.as_str())
            .bind(request.amount.get())
            .bind(request.approved.get())
            .bind(request.state.name())
            .bind(&request.reason)
            .bind(&request.note)
            .bind(request.decided_by.as_ref().map(crate::domain::id::Actor::as_str))
            .bind(request.create_time.micros())
            .bind(request.decide_time.map(Timestamp::micros))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn orders(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    for ((organization, id), order) in &batch.orders {
        sqlx::query("INSERT OR REPLACE INTO top_up_orders VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(organization.as_str())
            .bind(id.as_str())
            .bind(order.request.as_str())
            .bind(order.amount.get())
            .bind(order.state.name())
            .bind(order.actor.as_str())
            .bind(order.method.as_ref().map(MethodId::as_str))
            .bind(&order.reason)
            .bind(&order.reference)
            .bind(&order.failure)
            .bind(order.entry.map(u64::cast_signed))
            .bind(order.create_time.micros())
            .bind(order.update_time.micros())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn alerts(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    for ((organization, id), alert) in &batch.alerts {
        let facts: serde_json::Map<_, _> =
            alert.facts.iter().map(|(label, value)| (label.to_string(), value.as_str().into())).collect();
        sqlx::query("INSERT OR REPLACE INTO alerts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(organization.as_str())
            .bind(id.as_str())
            .bind(alert.kind.name())
            .bind(alert.state().name())
            .bind(&alert.subject)
            .bind(serde_json::Value::from(facts).to_string())
            .bind(serde_json::json!(alert.recipients).to_string())
            .bind(alert.create_time.micros())
            .bind(alert.acknowledged.as_ref().map(|(actor, _)| actor.as_str()))
            .bind(alert.acknowledged.as_ref().map(|(_, time)| time.micros()))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
