//! A batch as rows of the tables, without SQL.

use std::collections::BTreeSet;

mod finance;
mod ledger;

use super::{
    StoreError,
    batch::{Batch, LimitRow, Made},
    change::ChangeRow,
    query::search::search_text,
    tables,
    value::{How, Rows, Value},
};
use crate::domain::{
    access::{Bearer, Invitation, InvitationState},
    entity::{AccountKind, ExpiryPolicy, WalletMode},
    id::{OrganizationId, RuleId},
    model::ModelPattern,
    money::Nanos,
    period::{Period, Zone},
    policy::{AllocationPlace, Limit, Models, Place, Scope},
    time::Timestamp,
};

pub(super) use ledger::{Heads, heads, money_ids};

/// Entries that are made into rows at a time: few enough that no database waits for them, and that not all of a batch is in
/// memory as rows.
const STEP: usize = 500;

/// New entries of the ledger, by steps. Fails as [`StoreError::Damaged`] when an event can't be encoded.
pub(super) fn entries<'b>(batch: &'b Batch<'_>) -> impl Iterator<Item = Result<Rows<'b>, StoreError>> + Send {
    batch.entries.chunks(STEP).map(ledger::entries)
}

/// Everything of a batch but the ledger, in the order that foreign keys want. Fails like [`entries`].
pub(super) fn states<'b>(batch: &'b Batch<'_>) -> Result<Vec<Rows<'b>>, StoreError> {
    let mut all = vec![organizations(batch), teams(batch), members(batch), memberships(batch)];
    all.extend([invitations(batch), keys(batch)]);
    all.extend(key_models(batch));
    all.push(audit_log(batch));
    all.extend(system(batch));
    all.extend(finance::of(batch));
    all.push(finance::ended(batch)?);
    all.extend(ledger::of(batch)?);
    Ok(all)
}

/// Of a list, each once: what is stored from before names were normal may hold two spellings of one.
fn distinct(models: &Models) -> BTreeSet<&str> {
    models.patterns().iter().map(ModelPattern::as_str).collect()
}

fn organizations<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::ORGANIZATIONS, How::Merge);
    for (id, organization) in &batch.organizations {
        rows.push([
            Value::text(id.as_str()),
            Value::text(&organization.name),
            Value::text(match organization.kind {
                AccountKind::Team => "team",
                AccountKind::Personal => "personal",
            }),
            Value::opt_text(organization.default_rule.as_ref().map(RuleId::as_str)),
            Value::Nanos(organization.credit_factor.value()),
            Value::text(match organization.wallet_mode {
                WalletMode::Enforced => "enforced",
                WalletMode::Off => "off",
            }),
            Value::text(match organization.expiry_policy {
                ExpiryPolicy::Release => "release",
                ExpiryPolicy::ChargeHeld => "charge_held",
            }),
            Value::Bool(organization.disabled),
            Value::Bool(organization.suspended),
            Value::Bool(organization.deleted),
            Value::Time(organization.create_time),
            Value::Time(organization.update_time),
        ]);
    }
    rows
}

fn teams<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::TEAMS, How::Merge);
    for ((organization, id), Made { sequence, entity: team }) in &batch.teams {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(&team.name),
            Value::Bool(team.disabled),
            Value::Bool(team.deleted),
            Value::Time(team.create_time),
            Value::Time(team.update_time),
            Value::count(*sequence),
            Value::owned(search_text(&[&team.name, id.as_str()])),
        ]);
    }
    rows
}

fn members<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::MEMBERS, How::Merge);
    for ((organization, id), Made { sequence, entity: member }) in &batch.members {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(&member.name),
            Value::text(&member.email),
            Value::text(member.role.name()),
            Value::Bool(member.disabled),
            Value::Bool(member.deleted),
            Value::Time(member.create_time),
            Value::Time(member.update_time),
            Value::count(*sequence),
            Value::owned(search_text(&[&member.name, &member.email, id.as_str()])),
        ]);
    }
    rows
}

fn invitations<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::INVITATIONS, How::Merge);
    for ((organization, id), Made { sequence, entity: invitation }) in &batch.invitations {
        let Invitation { name, email, state, create_time, update_time, .. } = invitation;
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(name),
            Value::text(email),
            Value::text(match state {
                InvitationState::Pending => "pending",
                InvitationState::Accepted(_) => "accepted",
                InvitationState::Revoked => "revoked",
            }),
            Value::Time(*create_time),
            Value::Time(*update_time),
            Value::count(*sequence),
            Value::owned(search_text(&[name, email, id.as_str()])),
        ]);
    }
    rows
}

fn memberships<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::MEMBERSHIPS, How::Merge);
    for ((organization, (team, member)), membership) in &batch.memberships {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(team.as_str()),
            Value::text(member.as_str()),
            Value::Bool(membership.deleted),
            Value::Time(membership.create_time),
            Value::Time(membership.update_time),
        ]);
    }
    rows
}

fn keys<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::KEYS, How::Merge);
    for ((organization, id), key) in &batch.keys {
        rows.push([
            Value::text(organization.as_str()),
            Value::text(id.as_str()),
            Value::text(key.member.as_str()),
            Value::text(key.team.as_str()),
            Value::text(&key.name),
            Value::text(&key.secret_prefix),
            Value::Bool(key.disabled),
            Value::Bool(key.deleted),
            Value::opt(key.expire_time, Value::Time),
            Value::opt_text(key.rule.as_ref().map(RuleId::as_str)),
            Value::Time(key.create_time),
            Value::Time(key.update_time),
        ]);
    }
    rows
}

fn audit_log<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::AUDIT_LOG, How::Insert);
    for ChangeRow { record, organization, kind, id, after } in &batch.changes {
        rows.push([
            Value::count(record.position),
            Value::text(organization.as_str()),
            Value::count(record.sequence),
            Value::Time(record.time),
            Value::text(record.actor.as_str()),
            Value::text(kind),
            Value::text(id),
            Value::json(after.to_string()),
        ]);
    }
    rows
}

fn system<'b>(batch: &'b Batch<'_>) -> [Rows<'b>; 5] {
    let mut directory = Rows::new(&tables::KEY_DIRECTORY, How::Merge);
    for (key, (organization, hash)) in &batch.directory {
        let hash = Value::Bytes(hash.as_bytes().as_slice().into());
        directory.push([Value::text(key.as_str()), Value::text(organization.as_str()), hash]);
    }
    let mut prices = Rows::new(&tables::PRICES, How::Merge);
    let mut unpriced = Rows::new(&tables::PRICES, How::Delete);
    for (model, entry) in &batch.prices {
        match entry {
            None => unpriced.push([Value::text(model.as_str())]),
            Some(entry) => prices.push([
                Value::text(model.as_str()),
                Value::Nanos(entry.price.input),
                Value::opt(entry.price.cached_input, Value::Nanos),
                Value::opt(entry.price.cache_write, Value::Nanos),
                Value::Nanos(entry.price.output),
                Value::Nanos(entry.price.per_request),
                Value::Bool(entry.price.cache_outside_input),
                Value::Time(entry.update_time),
            ]),
        }
    }
    let [tokens, revoked] = access_tokens(batch);
    [directory, prices, unpriced, tokens, revoked]
}

fn access_tokens<'b>(batch: &'b Batch<'_>) -> [Rows<'b>; 2] {
    let mut tokens = Rows::new(&tables::ACCESS_TOKENS, How::Merge);
    let mut revoked = Rows::new(&tables::ACCESS_TOKENS, How::Delete);
    for (id, token) in &batch.tokens {
        let Some(token) = token else {
            revoked.push([Value::text(id.as_str())]);
            continue;
        };
        let (kind, organization, member) = match &token.bearer {
            Bearer::Service(_) => ("service", None, None),
            Bearer::Member(grants) => {
                let (organization, member) = grants.first().map(|(o, m)| (o.as_str(), m.as_str())).unzip();
                ("member", organization, member)
            }
            Bearer::Invitee(organization, _) => ("invitation", Some(organization.as_str()), None),
        };
        tokens.push([
            Value::text(id.as_str()),
            Value::text(&token.name),
            Value::text(kind),
            Value::opt_text(organization),
            Value::opt_text(member),
            Value::Bytes(token.hash.as_bytes().as_slice().into()),
            Value::Time(token.create_time),
            Value::opt(token.expire_time, Value::Time),
        ]);
    }
    [tokens, revoked]
}

/// Where a limit stands: its scope and the ids of key, team and member.
fn place_columns(place: &Place) -> (Scope, Option<&str>, Option<&str>, Option<&str>) {
    match place {
        Place::Key(key) => (Scope::Key, Some(key.as_str()), None, None),
        Place::Membership(team, member) => (Scope::Membership, None, Some(team.as_str()), Some(member.as_str())),
        Place::Member(member) => (Scope::Member, None, None, Some(member.as_str())),
        Place::Team(team) => (Scope::Team, None, Some(team.as_str()), None),
        Place::Organization => (Scope::Organization, None, None, None),
        Place::Ceiling => (Scope::Ceiling, None, None, None),
        Place::Rule(_, key) => (Scope::Rule, Some(key.as_str()), None, None),
        Place::Allocation(AllocationPlace::Organization) => (Scope::Allocation, None, None, None),
        Place::Allocation(AllocationPlace::Pool(team)) => (Scope::Allocation, None, Some(team.as_str()), None),
        Place::Allocation(AllocationPlace::Member(team, member)) => {
            (Scope::Allocation, None, Some(team.as_str()), Some(member.as_str()))
        }
    }
}

/// Organization, scope, key, team and member of a place with a new policy; empty where it has none.
pub(super) fn place_key<'b>(organization: &'b OrganizationId, place: &'b Place) -> [Value<'b>; 5] {
    let (scope, key, team, member) = place_columns(place);
    let ids = [key, team, member].map(|id| Value::text(id.unwrap_or_default()));
    let [key, team, member] = ids;
    [Value::text(organization.as_str()), Value::text(scope.name()), key, team, member]
}

fn limits<'b>(batch: &'b Batch<'_>) -> Rows<'b> {
    let mut rows = Rows::new(&tables::LIMITS, How::Merge);
    for ((organization, no), LimitRow { place, limit, active }) in &batch.limits {
        let (scope, key, team, member) = place_columns(place);
        let rule = match place {
            Place::Rule(rule, _) => Some(rule.as_str()),
            _ => None,
        };
        // An allocation's cap stands with the allocation: it follows from others.
        let max = limit.max().filter(|_| scope != Scope::Allocation);
        let nanos = |amount| Value::Nanos(Nanos::new(amount));
        let (max, count) = match limit {
            Limit::Budget(_) => (Value::opt(max, nanos), Value::Null),
            Limit::Quota(_) => (Value::Null, Value::opt(max, Value::Int)),
        };
        let [period, zone, week_start, seconds, anchor] = period_columns(limit.period());
        rows.push([
            Value::text(organization.as_str()),
            Value::Int(i64::from(no.0)),
            Value::text(scope.name()),
            Value::opt_text(key),
            Value::opt_text(team),
            Value::opt_text(member),
            Value::opt_text(rule),
            Value::text(limit.id().as_str()),
            Value::text(limit.unit().name()),
            period,
            zone,
            week_start,
            seconds,
            anchor,
            max,
            Value::opt(limit.soft(), nanos),
            count,
            Value::Bool(*active),
        ]);
    }
    rows
}

/// Returns what the limits are narrowed to, in place of what they were narrowed to before.
fn limit_models<'b>(batch: &'b Batch<'_>) -> [Rows<'b>; 2] {
    let mut before = Rows::new(&tables::MODELS_OF_LIMIT, How::Delete);
    let mut rows = Rows::new(&tables::LIMIT_MODELS, How::Insert);
    for ((organization, no), LimitRow { limit, .. }) in &batch.limits {
        let limit_of = || [Value::text(organization.as_str()), Value::Int(i64::from(no.0))];
        before.push(limit_of());
        for model in distinct(limit.models()) {
            let [organization, no] = limit_of();
            rows.push([organization, no, Value::text(model)]);
        }
    }
    [before, rows]
}

fn key_models<'b>(batch: &'b Batch<'_>) -> [Rows<'b>; 2] {
    let mut before = Rows::new(&tables::MODELS_OF_KEY, How::Delete);
    let mut rows = Rows::new(&tables::KEY_MODELS, How::Insert);
    for ((organization, id), key) in &batch.keys {
        before.push([Value::text(organization.as_str()), Value::text(id.as_str())]);
        for model in distinct(&key.models) {
            rows.push([Value::text(organization.as_str()), Value::text(id.as_str()), Value::text(model)]);
        }
    }
    [before, rows]
}

/// A period's kind as the API names it, its zone, the day on which its weeks begin, its length in seconds, and its anchor.
fn period_columns(period: Option<Period>) -> [Value<'static>; 5] {
    const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let Some(period) = period else { return [const { Value::Null }; 5] };
    let zoned = |zone: Zone| Value::owned(zone.to_string());
    let [mut zone, mut week_start, mut seconds, mut anchor] = [const { Value::Null }; 4];
    match period {
        Period::OneTime | Period::Cycle(_) => {}
        Period::Daily { zone: of } | Period::Monthly { zone: of } => zone = zoned(of),
        Period::Weekly { zone: of, start } => {
            zone = zoned(of);
            week_start = Value::opt_text(DAYS.get(usize::from(start)).copied());
        }
        Period::Every { seconds: length, anchor: from } => {
            seconds = Value::Int(i64::from(length));
            anchor = Value::Time(Timestamp::from_seconds(from));
        }
    }
    [Value::text(period_name(period)), zone, week_start, seconds, anchor]
}

fn period_name(period: Period) -> &'static str {
    match period {
        Period::OneTime => "one_time",
        Period::Daily { .. } => "daily",
        Period::Weekly { .. } => "weekly",
        Period::Monthly { .. } => "monthly",
        Period::Every { .. } => "every",
        Period::Cycle(_) => "cycle",
    }
}
