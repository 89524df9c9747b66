//! How limits stand, refusals and revocations, out.

use super::{
    time::{span_out, timestamp_out},
    usage::nanos_out,
};
use crate::{
    api::proto,
    domain::{
        decision::{
            Denial, DenialCode, LimitState, ReservationState, Revocation, RevocationCause, Violated, Violation,
        },
        id::{LimitId, RequestId},
        money::Nanos,
        period::Period,
        policy::{Scope, Unit},
        time::{Span, Timestamp},
    },
    service::WatchedRevocation,
};

#[cfg(test)]
mod tests;

pub(in crate::api) fn limit_states(states: &[LimitState]) -> Vec<proto::LimitState> {
    states.iter().map(limit_state).collect()
}

pub(in crate::api) fn limit_state(state: &LimitState) -> proto::LimitState {
    let LimitState { scope, scope_id, limit, unit, period, max, soft, spent, held, reset_time, binding } = state;
    let optional = |amount: Option<i64>| amount.map_or_else(String::new, |amount| amount_out(*unit, amount));
    proto::LimitState {
        scope: scope_out(*scope).into(),
        scope_id: scope_id.to_string(),
        limit_id: limit.as_ref().map_or_else(String::new, LimitId::to_string),
        unit: unit_out(*unit).into(),
        period: period.as_ref().map(period_out),
        max: optional(*max),
        soft: optional(*soft),
        spent: amount_out(*unit, *spent),
        held: amount_out(*unit, *held),
        remaining: optional(state.remaining()),
        reset_time: reset_time.filter(|at| !at.is_never()).map(timestamp_out),
        binding: *binding,
    }
}

/// Budgets count nano-units, quotas whole requests, tokens and slots.
fn amount_out(unit: Unit, amount: i64) -> String {
    if unit.is_budget() { nanos_out(Nanos::new(amount)) } else { amount.to_string() }
}

pub(in crate::api) fn scope_out(scope: Scope) -> proto::Scope {
    match scope {
        Scope::Key => proto::Scope::Key,
        Scope::Membership => proto::Scope::Membership,
        Scope::Member => proto::Scope::Member,
        Scope::Team => proto::Scope::Team,
        Scope::Organization => proto::Scope::Organization,
        Scope::Wallet => proto::Scope::Wallet,
        Scope::Rule => proto::Scope::Rule,
        Scope::Allocation => proto::Scope::Allocation,
        Scope::Ceiling => proto::Scope::Ceiling,
    }
}

pub(in crate::api) fn unit_out(unit: Unit) -> proto::Unit {
    match unit {
        Unit::Usd => proto::Unit::Usd,
        Unit::Credits => proto::Unit::Credits,
        Unit::RequestsPerMinute => proto::Unit::RequestsPerMinute,
        Unit::TokensPerMinute => proto::Unit::TokensPerMinute,
        Unit::InFlight => proto::Unit::InFlight,
    }
}

pub(in crate::api) fn period_out(period: &Period) -> proto::Period {
    use proto::{DayOfWeek, PeriodKind};
    let calendar = |kind: PeriodKind, zone: crate::domain::period::Zone| proto::Period {
        kind: kind.into(),
        time_zone: zone.to_string(),
        ..proto::Period::default()
    };
    match *period {
        Period::OneTime => proto::Period { kind: PeriodKind::OneTime.into(), ..proto::Period::default() },
        Period::Daily { zone } => calendar(PeriodKind::Daily, zone),
        Period::Weekly { zone, start } => {
            // The domain counts days from Monday, 0; the API from 1.
            let day = DayOfWeek::try_from(i32::from(start) + 1).unwrap_or(DayOfWeek::Monday);
            proto::Period { week_start: day.into(), ..calendar(PeriodKind::Weekly, zone) }
        }
        Period::Monthly { zone } => calendar(PeriodKind::Monthly, zone),
        Period::Every { seconds, anchor } => proto::Period {
            kind: PeriodKind::Every.into(),
            interval: Some(span_out(Span::seconds(i64::from(seconds)))),
            anchor: Some(timestamp_out(Timestamp::from_seconds(anchor))),
            ..proto::Period::default()
        },
        Period::Cycle(_) => proto::Period { kind: PeriodKind::Cycle.into(), ..proto::Period::default() },
    }
}

pub(in crate::api) fn denial_code_out(code: DenialCode) -> proto::DenialCode {
    match code {
        DenialCode::KeyUnknown => proto::DenialCode::KeyUnknown,
        DenialCode::KeyDisabled => proto::DenialCode::KeyDisabled,
        DenialCode::KeyExpired => proto::DenialCode::KeyExpired,
        DenialCode::MemberInactive => proto::DenialCode::MemberInactive,
        DenialCode::TeamInactive => proto::DenialCode::TeamInactive,
        DenialCode::OrganizationInactive => proto::DenialCode::OrganizationInactive,
        DenialCode::ModelNotAllowed => proto::DenialCode::ModelNotAllowed,
        DenialCode::ModelUnpriced => proto::DenialCode::ModelUnpriced,
        DenialCode::OutsideTimeWindow => proto::DenialCode::OutsideTimeWindow,
        DenialCode::ConcurrencyExceeded => proto::DenialCode::ConcurrencyExceeded,
        DenialCode::RateLimitExceeded => proto::DenialCode::RateLimitExceeded,
        DenialCode::BudgetExceeded => proto::DenialCode::BudgetExceeded,
        DenialCode::WalletInsufficient => proto::DenialCode::WalletInsufficient,
        DenialCode::Revoked => proto::DenialCode::Revoked,
        DenialCode::ReservationExpired => proto::DenialCode::ReservationExpired,
    }
}

pub(in crate::api) fn denial_out(denial: Denial) -> proto::Denial {
    let Denial { code, message, retry, violations } = denial;
    proto::Denial {
        code: denial_code_out(code).into(),
        http_status: u32::from(code.http_status()),
        message,
        retry_after: retry.map(|retry| span_out(retry.after)),
        may_be_sooner: retry.is_some_and(|retry| retry.may_be_sooner),
        at_least: retry.is_some_and(|retry| retry.at_least),
        violations: violations.iter().map(violation_out).collect(),
    }
}

fn violation_out(violation: &Violation) -> proto::Violation {
    let Violation { code, at } = violation;
    let (limit, asked, message) = match at {
        Violated::State(scope, id) => {
            let limit = proto::LimitState {
                scope: scope_out(*scope).into(),
                scope_id: id.to_string(),
                ..proto::LimitState::default()
            };
            let message = match id.as_str() {
                "" => code.message().to_owned(),
                id => format!("{}: {} {id}", code.message(), scope.name()),
            };
            (limit, String::new(), message)
        }
        Violated::Limit { state, asked } => {
            let (limit, asked) = (limit_state(state), amount_out(state.unit, *asked));
            let message = explain(*code, state, &limit, &asked);
            (limit, asked, message)
        }
    };
    proto::Violation { code: denial_code_out(*code).into(), limit: Some(limit), asked, message }
}

/// For people: which limit, where, and how far it is.
fn explain(code: DenialCode, state: &LimitState, shown: &proto::LimitState, asked: &str) -> String {
    let proto::LimitState { scope_id, limit_id, max, spent, held, .. } = shown;
    let (what, place, unit) = (code.message(), state.scope.name(), state.unit.name());
    let name = if limit_id.is_empty() { String::new() } else { format!(", limit {limit_id}") };
    let max = if max.is_empty() { "none" } else { max };
    format!("{what}: {place} {scope_id}{name} ({unit}): max {max}, spent {spent}, held {held}, asked {asked}")
}

pub(in crate::api) fn reservation_state_out(state: ReservationState) -> proto::ReservationState {
    match state {
        ReservationState::Open => proto::ReservationState::Open,
        ReservationState::Revoked => proto::ReservationState::Revoked,
        ReservationState::Committed => proto::ReservationState::Committed,
        ReservationState::Released => proto::ReservationState::Released,
        ReservationState::Expired => proto::ReservationState::Expired,
    }
}

pub(in crate::api) fn revocation_out(watched: &WatchedRevocation) -> proto::Revocation {
    let WatchedRevocation { reservation_id, revocation } = watched;
    // The rest is in the reservation's id, or is the receiver itself.
    let Revocation { reservation: _, request, key, model: _, admit_time: _, holder: _, cause, time } = revocation;
    let RevocationCause { code, scope, scope_id, limit } = cause;
    proto::Revocation {
        reservation_id: reservation_id.clone(),
        request_id: request.as_ref().map_or_else(String::new, RequestId::to_string),
        key_id: key.to_string(),
        cause: Some(proto::RevocationCause {
            code: denial_code_out(*code).into(),
            scope: scope_out(*scope).into(),
            scope_id: scope_id.to_string(),
            limit_id: limit.as_ref().map_or_else(String::new, LimitId::to_string),
        }),
        revoke_time: Some(timestamp_out(*time)),
    }
}
