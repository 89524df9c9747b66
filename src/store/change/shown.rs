//! Entities as the audit log has them: with the field names and values of the API. Each takes its entity apart, so that a new
//! field doesn't compile until it is said here whether the log has it. Times of creation and change are the events' own.

use serde_json::{Value, json};

use crate::domain::{
    access::{Invitation, InvitationState},
    alert::{AlertSettings, BudgetAlerts, Webhook},
    allocation::{Allocation, AllocationSettings, Cadence, CreditRequest, CycleCause},
    entity::{AccountKind, ExpiryPolicy, Key, Member, Membership, Organization, Team, WalletMode},
    id::Actor,
    payment::{AutoTopUp, Correction, PaymentMethod, TopUpOrder},
    period::Period,
    policy::{Budget, Limit, Models, Quota, Unit},
    rule::{Cap, CapPeriod, Hours, Rule},
    time::Timestamp,
    zone::Zone,
};

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];

/// Text as it is shown; null for none.
fn text(value: Option<impl ToString>) -> Value {
    value.map_or(Value::Null, |value| value.to_string().into())
}

fn texts(values: impl IntoIterator<Item = impl ToString>) -> Value {
    values.into_iter().map(|value| Value::from(value.to_string())).collect()
}

pub(super) fn organization(organization: &Organization) -> Value {
    let Organization {
        id: _,
        name,
        kind,
        default_rule,
        credit_factor,
        wallet_mode,
        expiry_policy,
        disabled,
        suspended,
        deleted,
        create_time: _,
        update_time: _,
        bounds,
    } = organization;
    let bounds = bounds.iter().flat_map(|own| own.set());
    let bounds: serde_json::Map<_, _> = bounds.map(|(name, bound)| (name.to_owned(), Value::from(bound))).collect();
    json!({
        "name": name,
        "kind": match kind {
            AccountKind::Team => "team",
            AccountKind::Personal => "personal",
        },
        "default_rule_id": text(default_rule.as_ref()),
        "credit_factor": credit_factor.value().to_string(),
        "wallet_mode": match wallet_mode {
            WalletMode::Enforced => "enforced",
            WalletMode::Off => "off",
        },
        "expiry_policy": match expiry_policy {
            ExpiryPolicy::Release => "release",
            ExpiryPolicy::ChargeHeld => "charge_held",
        },
        "disabled": disabled,
        "suspended": suspended,
        "deleted": deleted,
        "bounds": bounds,
    })
}

pub(super) fn team(team: &Team) -> Value {
    let Team { id: _, name, member_policy, disabled, deleted, create_time: _, update_time: _ } = team;
    let member_policy = policy(&member_policy.limits);
    json!({ "name": name, "member_policy": member_policy, "disabled": disabled, "deleted": deleted })
}

pub(super) fn member(member: &Member) -> Value {
    let Member { id: _, name, email, role, disabled, deleted, create_time: _, update_time: _ } = member;
    json!({ "name": name, "email": email, "role": role.name(), "disabled": disabled, "deleted": deleted })
}

pub(super) fn membership(membership: &Membership) -> Value {
    let Membership { team, member, overrides, deleted, create_time: _, update_time: _ } = membership;
    json!({ "team_id": team.as_str(), "member_id": member.as_str(), "overrides": overrides, "deleted": deleted })
}

pub(super) fn key(key: &Key) -> Value {
    let Key {
        id: _,
        member,
        team,
        name,
        secret_prefix,
        disabled,
        deleted,
        expire_time,
        models,
        rule,
        managed,
        previous_until,
        create_time: _,
        update_time: _,
    } = key;
    json!({
        "member_id": member.as_str(),
        "team_id": team.as_str(),
        "name": name,
        "secret_prefix": secret_prefix,
        "disabled": disabled,
        "deleted": deleted,
        "expire_time": time(*expire_time),
        "models": names(models),
        "rule_id": text(rule.as_ref()),
        "managed_fields": texts(managed.names()),
        "previous_secret_until": time(*previous_until),
    })
}

fn time(time: Option<Timestamp>) -> Value {
    text(time)
}

fn names(models: &Models) -> Value {
    texts(models.patterns())
}

pub(super) fn policy<'a>(limits: impl IntoIterator<Item = &'a Limit>) -> Value {
    let (mut budgets, mut quotas) = (Vec::new(), Vec::new());
    for limit in limits {
        match limit {
            Limit::Budget(limit) => budgets.push(budget(limit)),
            Limit::Quota(limit) => quotas.push(quota(limit)),
        }
    }
    json!({ "budgets": budgets, "quotas": quotas })
}

fn budget(budget: &Budget) -> Value {
    let Budget { id, unit, max, soft, period, models, alerts } = budget;
    let alerts = alerts.as_deref().map(
        |BudgetAlerts { thresholds, recipients }| json!({ "thresholds": texts(thresholds), "recipients": recipients }),
    );
    json!({
        "id": id.as_str(),
        "unit": Unit::from(*unit).name(),
        "max": text(*max),
        "soft": text(*soft),
        "period": self::period(*period),
        "models": names(models),
        "alerts": alerts,
    })
}

fn quota(quota: &Quota) -> Value {
    let Quota { id, unit, max, models } = quota;
    json!({ "id": id.as_str(), "unit": Unit::from(*unit).name(), "max": max, "models": names(models) })
}

fn period(period: Period) -> Value {
    let zoned = |kind: &str, zone: Zone| json!({ "kind": kind, "time_zone": zone.to_string() });
    match period {
        Period::OneTime => json!({ "kind": "one_time" }),
        Period::Daily { zone } => zoned("daily", zone),
        Period::Weekly { zone, start } => {
            let mut period = zoned("weekly", zone);
            period["week_start"] = text(DAYS.get(usize::from(start)));
            period
        }
        Period::Monthly { zone } => zoned("monthly", zone),
        Period::Every { seconds, anchor } => {
            let anchor = Timestamp::from_seconds(anchor).to_string();
            json!({ "kind": "every", "interval": format!("{seconds}s"), "anchor": anchor })
        }
        Period::Cycle(_) => json!({ "kind": "cycle" }),
    }
}

pub(super) fn rule(rule: &Rule) -> Value {
    let Rule { id: _, name, description, enabled, zone, cap, hours, deleted, create_time: _, update_time: _ } = rule;
    let cap = cap.map(|Cap { enabled, max, period }| {
        let period = match period {
            CapPeriod::Daily => "daily",
            CapPeriod::Weekly => "weekly",
            CapPeriod::Monthly => "monthly",
        };
        json!({ "enabled": enabled, "max_credits": max.to_string(), "period": period })
    });
    let hours = hours.map(|Hours { enabled, weekdays, daily }| {
        let weekdays: Vec<_> = weekdays.days().filter_map(|day| DAYS.get(usize::from(day))).collect();
        json!({ "enabled": enabled, "weekdays": weekdays, "hours": daily.to_string() })
    });
    json!({
        "name": name,
        "description": description,
        "enabled": enabled,
        "time_zone": zone.to_string(),
        "cap": cap,
        "hours": hours,
        "deleted": deleted,
    })
}

pub(super) fn allocation_settings(settings: &AllocationSettings) -> Value {
    let AllocationSettings { credits_per_cycle, cadence, zone, signup_credits } = settings;
    json!({
        "credits_per_cycle": text(*credits_per_cycle),
        "cadence": match cadence {
            Cadence::CalendarMonth => "calendar_month",
            Cadence::Days15 => "fifteen_days",
            Cadence::Week => "week",
            Cadence::Day => "day",
            Cadence::Hours12 => "twelve_hours",
            Cadence::Hours6 => "six_hours",
            Cadence::Hour => "hour",
        },
        "time_zone": zone.to_string(),
        "signup_credits": signup_credits.to_string(),
    })
}

pub(super) fn cause(cause: CycleCause) -> &'static str {
    match cause {
        CycleCause::Elapsed => "elapsed",
        CycleCause::Reset => "reset",
        CycleCause::Changed => "changed",
    }
}

pub(super) fn allocation(allocation: &Allocation) -> Value {
    let Allocation { monthly, extra } = allocation;
    json!({ "monthly": text(*monthly), "extra": text(*extra) })
}

pub(super) fn credit_request(request: &CreditRequest) -> Value {
    let CreditRequest {
        id: _,
        member,
        team,
        amount,
        reason,
        state,
        approved,
        note,
        decided_by,
        create_time: _,
        decide_time: _,
    } = request;
    json!({
        "member_id": member.as_str(),
        "team_id": team.as_str(),
        "amount": amount.to_string(),
        "reason": reason,
        "state": state.name(),
        "approved": approved.to_string(),
        "note": note,
        "decided_by": text(decided_by.as_ref().map(Actor::as_str)),
    })
}

pub(super) fn invitation(invitation: &Invitation) -> Value {
    let Invitation {
        id: _,
        email,
        name,
        role,
        teams,
        policy,
        invited_by,
        state,
        expire_time,
        create_time: _,
        update_time: _,
    } = invitation;
    let (state, member) = match state {
        InvitationState::Pending => ("pending", None),
        InvitationState::Accepted(member) => ("accepted", Some(member)),
        InvitationState::Revoked => ("revoked", None),
    };
    json!({
        "email": email,
        "name": name,
        "role": role.name(),
        "team_ids": texts(teams),
        "policy": self::policy(&policy.limits),
        "invited_by": invited_by.as_str(),
        "state": state,
        "member_id": text(member),
        "expire_time": expire_time.to_string(),
    })
}

/// Its owner reads the label with `ListPaymentMethods`; others learn that there is one.
pub(super) fn payment_method(method: &PaymentMethod) -> Value {
    let PaymentMethod { id: _, member, label: _, token: _, deleted, create_time: _ } = method;
    json!({ "member_id": member.as_str(), "deleted": deleted })
}

pub(super) fn order(order: &TopUpOrder) -> Value {
    let TopUpOrder {
        id: _,
        request,
        fingerprint: _,
        amount,
        source: _,
        method,
        actor,
        reason,
        state,
        reference,
        failure: _,
        placed: _,
        entry,
        create_time: _,
        update_time: _,
    } = order;
    json!({
        "request_id": request.as_str(),
        "amount_usd": amount.to_string(),
        "payment_method_id": text(method.as_ref()),
        "actor": actor.as_str(),
        "reason": reason,
        "state": state.name(),
        "provider_reference": reference,
        "failure": order.told_failure(),
        "entry": entry,
    })
}

pub(super) fn auto_top_up(auto: &AutoTopUp) -> Value {
    let AutoTopUp {
        enabled,
        threshold,
        amount,
        target,
        method,
        monthly_cap,
        declines: _,
        pause_until,
        disabled_reason: _,
        update_time: _,
    } = auto;
    json!({
        "enabled": enabled,
        "threshold_usd": threshold.to_string(),
        "amount_usd": amount.to_string(),
        "target_usd": text(*target),
        "payment_method_id": text(method.as_ref()),
        "monthly_cap_usd": text(*monthly_cap),
        "pause_until": time(*pause_until),
        "disabled_reason": auto.told_reason(),
    })
}

pub(super) fn correction(correction: &Correction) -> Value {
    let Correction { kind, request, amount, wallet, balance, corrects, reason, .. } = correction;
    json!({
        "kind": kind.name(),
        "request_id": request.as_str(),
        "amount_usd": amount.to_string(),
        "wallet_usd": wallet.to_string(),
        "balance_usd": balance.to_string(),
        "corrects_entry": corrects,
        "reason": reason,
    })
}

pub(super) fn alert_settings(settings: &AlertSettings) -> Value {
    let AlertSettings { recipients, webhook, low_balance } = settings;
    let url = webhook.as_ref().map(|Webhook { url, secret: _ }| url);
    json!({ "recipients": recipients, "webhook_url": text(url), "low_balance_usd": text(*low_balance) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{id::LimitId, money::Nanos, policy::BudgetUnit};

    #[test]
    fn a_policy_has_the_names_of_the_api() {
        let limit = Limit::Budget(Budget {
            id: LimitId::trusted("week"),
            unit: BudgetUnit::Usd,
            max: Some(Nanos::units(10)),
            soft: None,
            period: Period::Weekly { zone: Zone::UTC, start: 6 },
            models: Models::default(),
            alerts: None,
        });
        let shown = policy([&limit]);
        let budget = &shown["budgets"][0];
        assert_eq!((&budget["id"], &budget["unit"], &budget["max"]), (&"week".into(), &"usd".into(), &"10".into()));
        let period = json!({ "kind": "weekly", "time_zone": "UTC", "week_start": "sunday" });
        assert_eq!((&budget["period"], &budget["soft"]), (&period, &Value::Null));
    }
}
