//! Entities, policies, prices and tokens: rows that say how things are now.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{StoreError, project::ROWS};
use crate::{
    domain::{
        access::Bearer,
        entity::{AccountKind, ExpiryPolicy, WalletMode},
        event::NumberedLimit,
        id::OrganizationId,
        period::Period,
        policy::{AllocationPlace, Limit, Models, Place, Scope},
    },
    store::batch::Batch,
};

/// JSON array of the models' names.
fn models_json(models: &Models) -> String {
    let names: Vec<&str> = models.names().iter().map(crate::domain::id::Model::as_str).collect();
    serde_json::json!(names).to_string()
}

/// Inserts rows, replacing columns of those that are there.
macro_rules! upsert {
    ($connection:expr, $rows:expr, $into:literal, $update:literal, |$row:ident, $pattern:pat_param| $push:block) => {
        let rows: Vec<_> = $rows.iter().collect();
        for chunk in rows.chunks(ROWS) {
            let mut query = QueryBuilder::<Sqlite>::new(concat!("INSERT INTO ", $into, " "));
            query.push_values(chunk, |mut $row, &$pattern| $push);
            query.push($update);
            query.build().execute(&mut *$connection).await?;
        }
    };
}

pub(super) async fn entities(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    upsert!(
        connection,
        batch.organizations,
        "organizations (organization_id, name, kind, default_rule_id, credit_factor, wallet_mode, expiry_policy, disabled, deleted, create_time, update_time)",
        " ON CONFLICT DO UPDATE SET name = excluded.name, kind = excluded.kind, default_rule_id = excluded.default_rule_id,
          credit_factor = excluded.credit_factor,
          wallet_mode = excluded.wallet_mode, expiry_policy = excluded.expiry_policy, disabled = excluded.disabled,
          deleted = excluded.deleted, update_time = excluded.update_time",
        |row, (id, organization)| {
            row.push_bind(id.as_str()).push_bind(&organization.name);
            row.push_bind(match organization.kind {
                AccountKind::Team => "team",
                AccountKind::Personal => "personal",
            });
            row.push_bind(organization.default_rule.as_ref().map(crate::domain::id::RuleId::as_str));
            row.push_bind(organization.credit_factor.value().get());
            row.push_bind(match organization.wallet_mode {
                WalletMode::Enforced => "enforced",
                WalletMode::Off => "off",
            });
            row.push_bind(match organization.expiry_policy {
                ExpiryPolicy::Release => "release",
                ExpiryPolicy::ChargeHeld => "charge_held",
            });
            row.push_bind(organization.disabled).push_bind(organization.deleted);
            row.push_bind(organization.create_time.micros()).push_bind(organization.update_time.micros());
        }
    );
    upsert!(
        connection,
        batch.teams,
        "teams (organization_id, team_id, name, disabled, deleted, create_time, update_time)",
        " ON CONFLICT DO UPDATE SET name = excluded.name, disabled = excluded.disabled, deleted = excluded.deleted,
          update_time = excluded.update_time",
        |row, ((organization, id), team)| {
            row.push_bind(organization.as_str()).push_bind(id.as_str()).push_bind(&team.name);
            row.push_bind(team.disabled).push_bind(team.deleted);
            row.push_bind(team.create_time.micros()).push_bind(team.update_time.micros());
        }
    );
    upsert!(
        connection,
        batch.members,
        "members (organization_id, member_id, name, email, role, disabled, deleted, create_time, update_time)",
        " ON CONFLICT DO UPDATE SET name = excluded.name, email = excluded.email, role = excluded.role, disabled = excluded.disabled,
          deleted = excluded.deleted, update_time = excluded.update_time",
        |row, ((organization, id), member)| {
            row.push_bind(organization.as_str()).push_bind(id.as_str());
            row.push_bind(&member.name).push_bind(&member.email).push_bind(member.role.name());
            row.push_bind(member.disabled).push_bind(member.deleted);
            row.push_bind(member.create_time.micros()).push_bind(member.update_time.micros());
        }
    );
    memberships_and_keys(connection, batch).await
}

async fn memberships_and_keys(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    upsert!(
        connection,
        batch.memberships,
        "memberships (organization_id, team_id, member_id, deleted, create_time, update_time)",
        " ON CONFLICT DO UPDATE SET deleted = excluded.deleted, update_time = excluded.update_time",
        |row, ((organization, (team, member)), membership)| {
            row.push_bind(organization.as_str()).push_bind(team.as_str()).push_bind(member.as_str());
            row.push_bind(membership.deleted);
            row.push_bind(membership.create_time.micros()).push_bind(membership.update_time.micros());
        }
    );
    upsert!(
        connection,
        batch.keys,
        "keys (organization_id, key_id, member_id, team_id, name, secret_prefix, disabled, deleted, expire_time, models, rule_id, create_time, update_time)",
        " ON CONFLICT DO UPDATE SET name = excluded.name, secret_prefix = excluded.secret_prefix, disabled = excluded.disabled,
          deleted = excluded.deleted, expire_time = excluded.expire_time, models = excluded.models,
          rule_id = excluded.rule_id, update_time = excluded.update_time",
        |row, ((organization, id), key)| {
            row.push_bind(organization.as_str()).push_bind(id.as_str());
            row.push_bind(key.member.as_str()).push_bind(key.team.as_str());
            row.push_bind(&key.name).push_bind(&key.secret_prefix).push_bind(key.disabled).push_bind(key.deleted);
            row.push_bind(key.expire_time.map(crate::domain::time::Timestamp::micros));
            row.push_bind(models_json(&key.models)).push_bind(key.rule.as_ref().map(crate::domain::id::RuleId::as_str));
            row.push_bind(key.create_time.micros()).push_bind(key.update_time.micros());
        }
    );
    Ok(())
}

pub(super) async fn system(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    upsert!(
        connection,
        batch.directory,
        "key_directory (key_id, organization_id, hash)",
        " ON CONFLICT DO UPDATE SET hash = excluded.hash",
        |row, (key, (organization, hash))| {
            row.push_bind(key.as_str()).push_bind(organization.as_str()).push_bind(&hash.as_bytes()[..]);
        }
    );
    for (model, entry) in &batch.prices {
        let Some(entry) = entry else {
            sqlx::query("DELETE FROM prices WHERE model = ?").bind(model.as_str()).execute(&mut *connection).await?;
            continue;
        };
        sqlx::query("INSERT OR REPLACE INTO prices VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(model.as_str())
            .bind(entry.price.input.get())
            .bind(entry.price.cached_input.get())
            .bind(entry.price.cache_write.get())
            .bind(entry.price.output.get())
            .bind(entry.price.per_request.get())
            .bind(entry.update_time.micros())
            .execute(&mut *connection)
            .await?;
    }
    for (id, token) in &batch.tokens {
        let Some(token) = token else {
            sqlx::query("DELETE FROM access_tokens WHERE token_id = ?")
                .bind(id.as_str())
                .execute(&mut *connection)
                .await?;
            continue;
        };
        let (kind, organization, member) = match &token.bearer {
            Bearer::Service => ("service", None, None),
            Bearer::Member(grants) => {
                let (organization, member) = grants.first().map(|(o, m)| (o.as_str(), m.as_str())).unzip();
                ("member", organization, member)
            }
            Bearer::Invitee(organization, _) => ("invitation", Some(organization.as_str()), None),
        };
        sqlx::query("INSERT OR REPLACE INTO access_tokens VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
            .bind(id.as_str())
            .bind(&token.name)
            .bind(kind)
            .bind(organization)
            .bind(member)
            .bind(&token.hash.as_bytes()[..])
            .bind(token.create_time.micros())
            .bind(token.expire_time.map(crate::domain::time::Timestamp::micros))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

pub(super) async fn policies(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<(), StoreError> {
    for (organization, place, limits) in &batch.policies {
        let (scope, key, team, member) = columns(place);
        sqlx::query(
            "UPDATE limits SET active = 0 WHERE organization_id = ? AND scope = ? AND key_id IS ? AND team_id IS ? AND member_id IS ?",
        )
        .bind(organization.as_str())
        .bind(scope.name())
        .bind(key)
        .bind(team)
        .bind(member)
        .execute(&mut *connection)
        .await?;
        for limit in *limits {
            set_limit(connection, organization, place, limit).await?;
        }
    }
    Ok(())
}

/// Where a policy stands: its scope and the ids of key, team and member.
fn columns(place: &Place) -> (Scope, Option<&str>, Option<&str>, Option<&str>) {
    match place {
        Place::Key(key) => (Scope::Key, Some(key.as_str()), None, None),
        Place::Membership(team, member) => (Scope::Membership, None, Some(team.as_str()), Some(member.as_str())),
        Place::Member(member) => (Scope::Member, None, None, Some(member.as_str())),
        Place::Team(team) => (Scope::Team, None, Some(team.as_str()), None),
        Place::Organization => (Scope::Organization, None, None, None),
        Place::Rule(_, key) => (Scope::Rule, Some(key.as_str()), None, None),
        Place::Allocation(AllocationPlace::Organization) => (Scope::Allocation, None, None, None),
        Place::Allocation(AllocationPlace::Pool(team)) => (Scope::Allocation, None, Some(team.as_str()), None),
        Place::Allocation(AllocationPlace::Member(team, member)) => {
            (Scope::Allocation, None, Some(team.as_str()), Some(member.as_str()))
        }
    }
}

pub(super) async fn set_limit(
    connection: &mut SqliteConnection,
    organization: &OrganizationId,
    place: &Place,
    NumberedLimit { no, limit }: &NumberedLimit,
) -> Result<(), StoreError> {
    let (scope, key, team, member) = columns(place);
    let rule = match place {
        Place::Rule(rule, _) => Some(rule.as_str()),
        _ => None,
    };
    // An allocation's cap stands with the allocation: it follows from others.
    let max = limit.max().filter(|_| scope != Scope::Allocation);
    sqlx::query(
        "INSERT INTO limits (organization_id, limit_no, scope, key_id, team_id, member_id, limit_id, unit, period, max, soft, models, rule_id, active)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1)
         ON CONFLICT DO UPDATE SET max = excluded.max, soft = excluded.soft, models = excluded.models, active = 1",
    )
    .bind(organization.as_str())
    .bind(i64::from(no.0))
    .bind(scope.name())
    .bind(key)
    .bind(team)
    .bind(member)
    .bind(limit.id().as_str())
    .bind(limit.unit().name())
    .bind(period_json(limit))
    .bind(max)
    .bind(limit.soft())
    .bind(models_json(limit.models()))
    .bind(rule)
    .execute(connection)
    .await?;
    Ok(())
}

/// JSON; every cycle is the same here.
pub(super) fn period_json(limit: &Limit) -> Option<String> {
    limit.period().map(|period| match period {
        Period::Cycle(_) => String::from("\"Cycle\""),
        period => serde_json::to_string(&period).unwrap_or_default(),
    })
}
