//! The slow half of a decision: granting in part, and saying everything that fails.

use smol_str::SmolStr;

use super::{
    Ask, Met, OpenBounds, OrganizationState, Path, Refusal, binding, cost_of, depends_on_output, met, met_pool, wait,
    wallet_admits, wallet_violation,
};
use crate::domain::{
    decision::{Denial, DenialCode, LimitState, Violated, Violation},
    error::{Invalid, SumTooLarge},
    id::{LimitId, Model},
    money::Nanos,
    policy::{Scope, Unit},
    price::Price,
    time::Timestamp,
    usage::{Amounts, Usage},
};

/// The checks of who asks and for what, in their order.
pub(super) fn failing_state<'a>(
    state: &'a OrganizationState,
    path: &'a Path<'_>,
    model: &'a Model,
    now: Timestamp,
) -> impl Iterator<Item = (DenialCode, Scope)> + 'a {
    let key = &path.key.entity.key;
    let gone = |disabled: bool, deleted: bool| disabled || deleted;
    let checks = [
        (key.disabled, DenialCode::KeyDisabled, Scope::Key),
        (key.expire_time.is_some_and(|end| now >= end), DenialCode::KeyExpired, Scope::Key),
        (gone(path.member.entity.disabled, path.member.entity.deleted), DenialCode::MemberInactive, Scope::Member),
        (gone(path.team.entity.disabled, path.team.entity.deleted), DenialCode::TeamInactive, Scope::Team),
        (state.organization.is_inactive(), DenialCode::OrganizationInactive, Scope::Organization),
        (!key.models.include(model), DenialCode::ModelNotAllowed, Scope::Key),
    ];
    checks.into_iter().filter(|(fails, ..)| *fails).map(|(_, code, scope)| (code, scope))
}

fn state_violation(state: &OrganizationState, path: &Path<'_>, (code, scope): (DenialCode, Scope)) -> Violation {
    let id: SmolStr = match scope {
        Scope::Member => path.member.entity.id.as_str().into(),
        Scope::Team => path.team.entity.id.as_str().into(),
        Scope::Organization => state.organization.id.as_str().into(),
        Scope::Key | Scope::Membership | Scope::Wallet | Scope::Rule | Scope::Allocation | Scope::Ceiling => {
            path.key.entity.key.id.as_str().into()
        }
    };
    Violation { code, at: Violated::State(scope, id) }
}

/// The server's own limit of this name refuses what would be open beyond its bounds.
const SERVER: &str = "server";

/// Returns each scope with as many open reservations as it may have, and that bound.
pub(super) fn full(state: &OrganizationState, key: u32, bounds: OpenBounds) -> impl Iterator<Item = (Scope, u32)> {
    let of_key = (state.open_count_of(key) >= bounds.key).then_some((Scope::Key, bounds.key));
    let is_full = state.open_count() >= bounds.organization as usize;
    of_key.into_iter().chain(is_full.then_some((Scope::Organization, bounds.organization)))
}

fn full_violation(state: &OrganizationState, path: &Path<'_>, key: u32, (scope, bound): (Scope, u32)) -> Violation {
    let (scope_id, open) = match scope {
        Scope::Key => (path.key.entity.key.id.as_str(), i64::from(state.open_count_of(key))),
        _ => (state.organization.id.as_str(), i64::try_from(state.open_count()).unwrap_or(i64::MAX)),
    };
    let full = LimitState {
        scope,
        scope_id: scope_id.into(),
        limit: Some(LimitId::trusted(SERVER)),
        unit: Unit::InFlight,
        period: None,
        max: Some(i64::from(bound)),
        soft: None,
        spent: 0,
        held: open,
        reset_time: None,
        binding: true,
    };
    let at = Violated::Limit { state: full, asked: 1 };
    Violation { code: DenialCode::ConcurrencyExceeded, at }
}

/// Why nothing is granted: everything that fails, in the order of the checks. Only where nothing else does, a sum that can't be
/// kept.
pub(super) fn refusal(
    state: &OrganizationState,
    path: &Path<'_>,
    ask: &Ask<'_>,
    (open, price): (OpenBounds, Option<&Price>),
    now: Timestamp,
) -> Refusal {
    match denial(state, path, ask, (open, price), now) {
        Err(invalid) => Refusal::Invalid(invalid),
        Ok((denial, Some(too_large))) if denial.violations.is_empty() => Refusal::TooLarge(too_large),
        Ok((denial, _)) => Refusal::Denied(Box::new(denial)),
    }
}

type Denied = (Denial, Option<SumTooLarge>);

fn denial(
    state: &OrganizationState,
    path: &Path<'_>,
    ask: &Ask<'_>,
    (open, price): (OpenBounds, Option<&Price>),
    now: Timestamp,
) -> Result<Denied, Invalid> {
    let least = Usage { output_tokens: ask.min_output_tokens.unwrap_or(ask.usage.output_tokens), ..*ask.usage };
    let usage = if price.is_some() { &least } else { ask.usage };
    let cost = cost_of(usage, price, state.organization.credit_factor)?;
    let need = Amounts::new(usage, cost.unwrap_or_default(), state.organization.credit_factor);
    let mut violations: Vec<_> =
        failing_state(state, path, ask.model, now).map(|failing| state_violation(state, path, failing)).collect();
    let is_lasting = !violations.is_empty() || cost.is_none();
    if cost.is_none() {
        violations.push(Violation {
            code: DenialCode::ModelUnpriced,
            at: Violated::State(Scope::Key, path.key.entity.key.id.as_str().into()),
        });
    }
    if let Some((rule, _)) = path.closing_hours(now) {
        violations.push(Violation {
            code: DenialCode::OutsideTimeWindow,
            at: Violated::State(Scope::Rule, rule.id.as_str().into()),
        });
    }
    let checks = violations.len();
    let mut too_large = None;
    let limits = met(state, path, ask.model, need, now).chain(met_pool(state, path, need, now));
    for Met { entry, standing, asked, .. } in limits {
        if (cost.is_none() && entry.limit.unit().is_budget()) || entry.admits(&standing, asked) {
            continue;
        }
        if entry.limit.max().is_none() {
            too_large = Some(entry.too_large());
        } else {
            violations.push(entry.violation(&standing, asked, now, state.organization.id.as_str()));
        }
    }
    violations.extend(full(state, ask.key, open).map(|full| full_violation(state, path, ask.key, full)));
    // Stable: within a code the path's order stays.
    violations[checks..].sort_by_key(|violation| violation.code);
    if cost.is_some() && state.wallet_binds() && !wallet_admits(state, need.usd) {
        violations.push(wallet_violation(state, need.usd));
    }
    let mut denial = Denial::of(violations);
    if !is_lasting && too_large.is_none() {
        denial.retry = wait::until_granted(state, path, ask, need, open, now);
    }
    Ok((denial, too_large))
}

/// The usage with the largest output that fits on every limit, if it is at least what is asked for and less than the whole.
pub(super) fn largest_that_fits(
    state: &OrganizationState,
    path: &Path<'_>,
    ask: &Ask<'_>,
    price: Option<&Price>,
    now: Timestamp,
) -> Option<Usage> {
    let (least, price) = (ask.min_output_tokens?, price?);
    let mut output = ask.usage.output_tokens;
    for (_, entry) in binding(state, path, ask.model) {
        let unit = entry.limit.unit();
        let Some(room) = entry.room(&state.standing(entry, now)).filter(|_| depends_on_output(unit)) else { continue };
        output = output.min(output_within(state, ask.usage, price, unit, room)?);
    }
    if let Some(room) = room_in_pool(state, path, now) {
        output = output.min(output_within(state, ask.usage, price, Unit::Credits, room)?);
    }
    if state.wallet_binds() {
        let room = state.wallet.balance - state.wallet.held;
        output = output.min(price.output_within(ask.usage, room)?);
    }
    let smaller = least <= output && output < ask.usage.output_tokens;
    smaller.then_some(Usage { output_tokens: output, ..*ask.usage })
}

/// Returns what a member without a cap of its own can still hold: what is left of its own, and of its team's pool.
fn room_in_pool(state: &OrganizationState, path: &Path<'_>, now: Timestamp) -> Option<i64> {
    if path.own.cap().is_some() || !state.binds(Unit::Credits) {
        return None;
    }
    let entry = path.pool.and_then(|no| state.limit(no))?;
    let room = entry.room(&entry.standing(now))?;
    let own = state.draw(path.key.entity.membership, path.own, Nanos::ZERO).own;
    Some(if own.is_positive() { room.max(0).saturating_add(own.get()) } else { room })
}

/// The most output tokens that `room` in `unit` leaves; `None` if not even 0 do.
fn output_within(state: &OrganizationState, usage: &Usage, price: &Price, unit: Unit, room: i64) -> Option<u64> {
    match unit {
        Unit::Usd => price.output_within(usage, Nanos::new(room)),
        Unit::Credits => {
            if room < 0 {
                return None;
            }
            let usd = state.organization.credit_factor.usd_within(Nanos::new(room));
            price.output_within(usage, usd)
        }
        Unit::TokensPerMinute => u64::try_from(room).ok()?.checked_sub(usage.input()),
        Unit::RequestsPerMinute | Unit::InFlight => Some(u64::MAX),
    }
}
