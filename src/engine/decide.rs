//! May this request run, and who pays? A pure function of the state, the request, the prices and the time.
//!
//! Decides only: what it finds becomes an event in a turn.

use smallvec::SmallVec;

use super::{
    limit::{LimitEntry, Standing, amount_in},
    state::{OrganizationState, Path},
};
use crate::domain::{
    decision::{Denial, DenialCode, Violated, Violation},
    error::{Invalid, SumTooLarge},
    event::{LimitNo, Reserved, Touch},
    id::Model,
    money::{Factor, Nanos},
    policy::{Scope, Unit},
    price::{Price, PriceBook},
    time::Timestamp,
    usage::{Amounts, Usage},
};

mod refuse;
mod wait;

pub(super) use wait::until_extended;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// Place of the key in the organization's table.
    pub key: u32,
    pub model: &'a Model,
    pub usage: &'a Usage,
    /// With it, an estimate that doesn't fit is granted in part.
    pub min_output_tokens: Option<u64>,
}

/// Bounds on open reservations: the server's own limit, whatever policies say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenBounds {
    pub key: u32,
    pub organization: u32,
}

impl OpenBounds {
    /// For what is never open.
    pub const NONE: Self = Self { key: u32::MAX, organization: u32::MAX };
}

/// What a grant holds, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The estimate as granted.
    pub usage: Usage,
    pub held: Amounts,
    /// `None` where the caller gave the cost.
    pub price: Option<Price>,
    pub factor: Factor,
    pub wallet: bool,
    /// What the team's pool of credits holds of it.
    pub drawn: Nanos,
    pub touches: Touches,
    /// Limits of the path that are narrowed to other models.
    pub narrowed: Narrowed,
    /// Budgets whose soft cap is reached.
    pub soft: SmallVec<[LimitNo; 2]>,
}

pub type Touches = SmallVec<[Touch; 12]>;
pub type Narrowed = SmallVec<[LimitNo; 4]>;

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    Denied(Box<Denial>),
    Invalid(Invalid),
    /// A limit without a cap can't count what is asked for.
    TooLarge(SumTooLarge),
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

/// Returns what `usage` costs: as the caller said, else by `price`; `None` without either.
///
/// # Errors
/// [`Invalid`], as absurd, when it costs more than one usage may, in USD or in credits.
pub fn cost_of(usage: &Usage, price: Option<&Price>, factor: Factor) -> Result<Option<Nanos>, Invalid> {
    let cost = match (usage.cost, price) {
        (None, None) => return Ok(None),
        (Some(cost), _) => Some(cost),
        (None, Some(price)) => price.cost(usage),
    };
    let cost = cost.filter(|cost| cost.times(factor) <= Nanos::MAX_COST);
    let absurd = || {
        let problem = format!("costs more than one usage may, {} USD or credits", Nanos::MAX_COST);
        Invalid::absurd("usage", problem)
    };
    cost.map(Some).ok_or_else(absurd)
}

/// # Errors
/// [`Refusal`]: a denial that lists everything that fails, or a usage whose cost is absurd.
pub fn decide(
    state: &OrganizationState,
    ask: &Ask<'_>,
    open: OpenBounds,
    prices: &PriceBook,
    now: Timestamp,
) -> Result<Plan, Refusal> {
    let path = state
        .path(ask.key)
        .filter(|path| !path.key.entity.key.deleted)
        .ok_or_else(|| Refusal::Denied(Box::new(Denial::state(DenialCode::KeyUnknown, Scope::Key, ""))))?;
    let price = prices.price(ask.model);
    let usage = ask.usage.read(false, price.as_ref());
    let ask = &Ask { usage: &usage, ..*ask };
    let price = price.filter(|_| usage.cost.is_none());
    let factor = state.organization.credit_factor;
    let cost = cost_of(&usage, price.as_ref(), factor)?;
    if let Some(cost) = cost
        && is_active(state, &path, ask.model, now)
        && path.is_open(now)
        && refuse::full(state, ask.key, open).next().is_none()
    {
        let plan = plan(state, &path, ask, Amounts::new(ask.usage, cost, factor), now);
        if let Some(Fits { drawn, touches, narrowed, soft }) = plan {
            let held = Amounts::new(ask.usage, cost, factor);
            let wallet = state.wallet_binds();
            return Ok(Plan { usage: *ask.usage, held, price, factor, wallet, drawn, touches, narrowed, soft });
        }
        if let Some(smaller) = refuse::largest_that_fits(state, &path, ask, price.as_ref(), now) {
            let whole = Ask { usage: &smaller, min_output_tokens: None, ..*ask };
            return decide(state, &whole, open, prices, now);
        }
    }
    Err(refuse::refusal(state, &path, ask, (open, price.as_ref()), now))
}

/// Every check before the limits, in one go: nearly always nothing fails, and then nothing needs to be listed.
fn is_active(state: &OrganizationState, path: &Path<'_>, model: &Model, now: Timestamp) -> bool {
    refuse::failing_state(state, path, model, now).next().is_none()
}

struct Fits {
    drawn: Nanos,
    touches: Touches,
    narrowed: Narrowed,
    soft: SmallVec<[LimitNo; 2]>,
}

/// A limit that a request meets, how it stands, and what is asked of it.
struct Met<'a> {
    entry: &'a LimitEntry,
    standing: Standing,
    asked: i64,
}

/// The limits that `need` is held on, if it fits on all of them.
fn plan(state: &OrganizationState, path: &Path<'_>, ask: &Ask<'_>, need: Amounts, now: Timestamp) -> Option<Fits> {
    let (mut touches, mut narrowed, mut soft) = (Touches::new(), Narrowed::new(), SmallVec::new());
    for (no, entry) in in_force(state, path) {
        if !entry.limit.models().include(ask.model) {
            narrowed.push(no);
            continue;
        }
        let Met { standing, asked, .. } = meet(state, entry, need, now);
        if !entry.admits(&standing, asked) {
            return None;
        }
        if entry.limit.soft().is_some_and(|soft| standing.spent + standing.held + asked >= soft) {
            soft.push(no);
        }
        touches.push(Touch { limit: no, unit: entry.limit.unit(), window: standing.window });
    }
    let mut drawn = Nanos::ZERO;
    if let Some(Met { entry, standing, asked, .. }) = met_pool(state, path, need, now) {
        if !entry.admits(&standing, asked) {
            return None;
        }
        drawn = Nanos::new(asked);
    }
    (!state.wallet_binds() || wallet_admits(state, need.usd)).then_some(Fits { drawn, touches, narrowed, soft })
}

/// The limits of the path that count all of `need`.
fn met<'a>(
    state: &'a OrganizationState,
    path: &'a Path<'_>,
    model: &'a Model,
    need: Amounts,
    now: Timestamp,
) -> impl Iterator<Item = Met<'a>> {
    binding(state, path, model).map(move |(_, entry)| meet(state, entry, need, now))
}

fn meet<'a>(state: &OrganizationState, entry: &'a LimitEntry, need: Amounts, now: Timestamp) -> Met<'a> {
    let asked = amount_in(entry.limit.unit(), need);
    Met { entry, standing: state.standing(entry, now), asked }
}

/// The team's pool, if it is asked for a part: whose own is capped gets nothing beyond it.
fn met_pool<'a>(state: &'a OrganizationState, path: &Path<'_>, need: Amounts, now: Timestamp) -> Option<Met<'a>> {
    if path.own.cap().is_some() || !state.binds(Unit::Credits) {
        return None;
    }
    let entry = path.pool.and_then(|no| state.limit(no))?;
    let draw = state.draw(path.key.entity.membership, path.own, need.credits);
    draw.asks.then(|| Met { entry, standing: entry.standing(now), asked: draw.need.get() })
}

/// The limits of the path that count this model now.
fn binding<'a>(
    state: &'a OrganizationState,
    path: &'a Path<'_>,
    model: &'a Model,
) -> impl Iterator<Item = (LimitNo, &'a LimitEntry)> {
    in_force(state, path).filter(|(_, entry)| entry.limit.models().include(model))
}

/// The limits of the path, whichever models they count.
fn in_force<'a>(state: &'a OrganizationState, path: &'a Path<'_>) -> impl Iterator<Item = (LimitNo, &'a LimitEntry)> {
    path.limits().filter_map(move |no| {
        let entry = state.limit(no)?;
        state.binds(entry.limit.unit()).then_some((no, entry))
    })
}

/// Used up means refused, even for a free request.
pub(super) fn wallet_admits(state: &OrganizationState, need: Nanos) -> bool {
    let wallet = &state.wallet;
    wallet.balance.is_positive() && wallet.held + need <= wallet.balance
}

/// Returns the limits that count a hold's usage where `other` ran in place of the reserved model, in the windows of its admission.
///
/// Those that it was held on, without those that don't bind `other` where that `replaces` the reserved model; and of those that it
/// met, but that were narrowed to other models, those that bind `other` by now. A limit that was set later doesn't count it.
pub(super) fn touches_of_ran(
    state: &OrganizationState,
    reserved: &Reserved,
    admit_time: Timestamp,
    (other, replaces): (&Model, bool),
) -> Touches {
    let includes = |entry: &LimitEntry| entry.limit.models().include(other);
    let held = reserved.touches.iter().copied();
    let mut touches: Touches =
        held.filter(|touch| !replaces || state.counter(touch.limit).is_none_or(includes)).collect();
    for no in &reserved.narrowed {
        let Some(entry) = state.counter(*no).filter(|entry| includes(entry)) else { continue };
        if state.binds(entry.limit.unit()) {
            touches.push(touch_at(state, (*no, entry), admit_time));
        }
    }
    touches
}

/// The limits that usage counts on whatever they say: for work that has been done already, at `at`.
pub(super) fn touches_at(state: &OrganizationState, key: u32, model: &Model, at: Timestamp) -> Touches {
    let Some(path) = state.path(key) else { return Touches::new() };
    binding(state, &path, model).map(|limit| touch_at(state, limit, at)).collect()
}

fn touch_at(state: &OrganizationState, (no, entry): (LimitNo, &LimitEntry), at: Timestamp) -> Touch {
    Touch { limit: no, unit: entry.limit.unit(), window: state.standing(entry, at).window }
}

/// The limits of a key's path that are narrowed to other models.
pub(super) fn narrowed(state: &OrganizationState, key: u32, model: &Model) -> Narrowed {
    let Some(path) = state.path(key) else { return Narrowed::new() };
    let others = in_force(state, &path).filter(|(_, entry)| !entry.limit.models().include(model));
    others.map(|(no, _)| no).collect()
}

/// The wallet as a limit that refuses.
pub(super) fn wallet_violation(state: &OrganizationState, need: Nanos) -> Violation {
    let at = Violated::Limit { state: state.wallet_state(), asked: need.get() };
    Violation { code: DenialCode::WalletInsufficient, at }
}

/// Whether the unit's need grows with the output.
fn depends_on_output(unit: Unit) -> bool {
    matches!(unit, Unit::Usd | Unit::Credits | Unit::TokensPerMinute)
}
