//! What may happen, at random, sized so that limits bind often.

use proptest::{prelude::*, sample::select};

use super::super::{
    fixture::*,
    naive::{NaiveRule, Spot},
};
use crate::domain::{
    money::Nanos,
    operation::{Charge, Commit, Reserve},
    period::{Period, Zone},
    policy::{BudgetUnit, Limit},
    time::Span,
    usage::Usage,
};

/// The last one has no price.
pub(super) const MODELS: [&str; 3] = ["a-1", "b-1", "c-2"];
/// What limits and keys are narrowed to.
pub(super) const PATTERNS: [&str; 6] = ["a-1", "b-1", "c-2", "*", "*-1", "a*"];

#[derive(Debug, Clone)]
pub(super) enum Operation {
    Wait(i64),
    Reserve {
        key: usize,
        ask: Reserve,
    },
    Again {
        which: usize,
        altered: bool,
    },
    Commit {
        which: usize,
        commit: Commit,
        repeat: bool,
    },
    Release {
        which: usize,
        reason: bool,
    },
    Extend {
        which: usize,
        ttl: Span,
        so_far: Option<Usage>,
        more: Option<(u64, u64)>,
    },
    Charge {
        key: usize,
        charge: Charge,
        back: Option<i64>,
    },
    TopUp(i64),
    Correct {
        which: usize,
        amount: i64,
        by_operator: bool,
    },
    Policy(Spot, Vec<Limit>, bool),
    Switch(Spot, bool),
    DeleteKey(usize),
    KeyEnd(usize, Option<i64>),
    KeyModels(usize, Vec<usize>),
    Factor(i64),
    Wallet(bool),
    ChargeHeld(bool),
    Price(usize, i64, i64),
    Rule(usize, NaiveRule, bool),
    Bind(usize, Option<usize>),
    DefaultRule(Option<usize>),
    Total(Option<i64>),
    /// Monthly and extra credits of a key's member.
    #[allow(clippy::option_option, reason = "as the engine's own changes")]
    Own(usize, Option<Option<i64>>, Option<i64>),
    Team(usize, Option<i64>),
    Leave(usize),
    Crash(usize),
    Snapshot,
    /// Days go by, and what ended leaves memory.
    Forget,
}

impl Operation {
    /// Returns whether it sets rules or allocations.
    pub(super) fn hands_out(&self) -> bool {
        matches!(
            self,
            Self::Rule(..)
                | Self::Bind(..)
                | Self::DefaultRule(_)
                | Self::Total(_)
                | Self::Own(..)
                | Self::Team(..)
                | Self::Leave(_)
        )
    }

    /// Whether its caller waits for the disk.
    pub(super) fn is_durable(&self) -> bool {
        let forgettable = match self {
            Self::Wait(_) | Self::Forget | Self::Reserve { .. } | Self::Again { .. } => true,
            Self::Extend { so_far, .. } => so_far.is_none(),
            _ => false,
        };
        !forgettable
    }
}

fn any_usage() -> impl Strategy<Value = Usage> {
    let counts = (0..25u64, 0..4u64, 0..3u64, 0..25u64, prop_oneof![9 => Just(1u64), 1 => 2..4u64]);
    let said = prop_oneof![6 => Just(None), 1 => Just(Some(true)), 1 => Just(Some(false))];
    (counts, prop::option::weighted(0.25, 0..60i64), said).prop_map(
        |((input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, requests), cost, said)| Usage {
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            output_tokens,
            requests,
            cost: cost.map(Nanos::new),
            cache_outside_input: said,
        },
    )
}

fn any_ttl() -> impl Strategy<Value = Span> {
    prop_oneof![3 => 1..1200i64, 1 => 1..86_400i64].prop_map(Span::seconds)
}

fn any_limit() -> impl Strategy<Value = Limit> {
    let zone = |name: &str| Zone::parse("zone", name).unwrap();
    let day = move |name: &str| Period::Daily { zone: zone(name) };
    let every = |seconds| Period::Every { seconds, anchor: 17 };
    let budget_of = move |kind: usize, max: i64| match kind {
        0 => usd("a", max),
        1 => budget("a", BudgetUnit::Usd, max, every(7200)),
        2 => budget("b", BudgetUnit::Usd, max, day("UTC")),
        3 => budget("b", BudgetUnit::Usd, max, day("Asia/Tokyo")),
        4 => budget("c", BudgetUnit::Credits, max, every(3600)),
        5 => budget("d", BudgetUnit::Usd, max, Period::Weekly { zone: Zone::UTC, start: 6 }),
        6 => budget("d", BudgetUnit::Credits, max, Period::Weekly { zone: Zone::UTC, start: 0 }),
        _ => credits("h", max),
    };
    let limit = prop_oneof![
        4 => (0..8usize, prop_oneof![1 => Just(0), 15 => 20..500i64]).prop_map(move |(kind, max)| budget_of(kind, max)),
        1 => (1..9u64).prop_map(|max| rpm("e", max)),
        1 => (20..250u64).prop_map(|max| tpm("f", max)),
        1 => (1..6u64).prop_map(|max| slots("g", max)),
    ];
    (limit, prop::option::weighted(0.2, select(&PATTERNS[..])))
        .prop_map(|(limit, model)| if let Some(model) = model { only(model, limit) } else { limit })
}

pub(super) fn any_limits() -> impl Strategy<Value = Vec<Limit>> {
    prop::collection::vec(any_limit(), 0..4).prop_map(|mut limits| {
        limits.sort_by(|a, b| a.id().cmp(b.id()));
        limits.dedup_by(|a, b| a.id() == b.id());
        limits
    })
}

fn any_reserve() -> impl Strategy<Value = Operation> {
    let least = prop::option::weighted(0.3, 0..26u64);
    let models = prop_oneof![20 => Just(0usize), 3 => Just(1), 2 => Just(2)];
    (0..3usize, models, any_usage(), least, any_ttl()).prop_map(|(key, at, usage, least, ttl)| {
        let min_output_tokens = least.filter(|least| *least <= usage.output_tokens || *least == 25);
        Operation::Reserve { key, ask: Reserve { model: model(MODELS[at]), min_output_tokens, ttl, ..ask("", usage) } }
    })
}

fn any_settlement() -> impl Strategy<Value = Operation> {
    let which = || prop_oneof![4 => 0..5usize, 1 => 0..60usize];
    let commit = (which(), any_usage(), prop::option::weighted(0.1, 0..3usize), any::<bool>());
    let commit = commit.prop_map(|(which, usage, other, repeat)| {
        let model = other.map(|at| model(MODELS[at]));
        Operation::Commit { which, commit: Commit { usage, model }, repeat }
    });
    let more = prop::option::of((0..9u64, 0..9u64));
    let extend = (which(), any_ttl(), prop::option::weighted(0.4, any_usage()), more);
    prop_oneof![
        5 => commit,
        1 => (which(), prop::bool::weighted(0.2)).prop_map(|(which, reason)| Operation::Release { which, reason }),
        4 => extend.prop_map(|(which, ttl, so_far, more)| Operation::Extend { which, ttl, so_far, more }),
        1 => (which(), prop::bool::weighted(0.2)).prop_map(|(which, altered)| Operation::Again { which, altered }),
    ]
}

fn any_charge() -> impl Strategy<Value = Operation> {
    let back = prop_oneof![Just(100_000_000i64), Just(90_000_000_000i64)].prop_flat_map(|most| -1..most);
    (0..3usize, 0..3usize, any_usage(), any::<bool>(), prop::option::weighted(0.4, back)).prop_map(
        |(key, at, usage, already_used, back)| {
            let back = back.filter(|back| already_used || *back % 20 == 0);
            Operation::Charge {
                key,
                charge: Charge { model: model(MODELS[at]), already_used, ..charge("", usage) },
                back,
            }
        },
    )
}

fn any_control() -> impl Strategy<Value = Operation> {
    let spot = select(&super::SPOTS[..]);
    let switchable: Vec<Spot> = super::SPOTS.into_iter().filter(|(kind, _)| *kind != 1).collect();
    let models = prop_oneof![3 => Just(vec![]), 1 => Just(vec![0]), 1 => Just(vec![0, 1]), 1 => Just(vec![4])];
    prop_oneof![
        4 => (spot, any_limits(), any::<bool>())
            .prop_map(|(spot, limits, restart)| Operation::Policy(spot, limits, restart)),
        3 => (select(switchable), prop::bool::weighted(0.3)).prop_map(|(spot, off)| Operation::Switch(spot, off)),
        1 => (0..3usize, prop::option::of(0..9_000_000_000i64)).prop_map(|(key, end)| Operation::KeyEnd(key, end)),
        1 => (0..3usize, prop::bool::weighted(0.3)).prop_map(|(key, really)| {
            if really { Operation::DeleteKey(key) } else { Operation::KeyEnd(key, None) }
        }),
        1 => (0..3usize, models).prop_map(|(key, models)| Operation::KeyModels(key, models)),
        1 => select(vec![0, 1_000_000_000, 333_333_333, 2_500_000_000]).prop_map(Operation::Factor),
        1 => prop::bool::weighted(0.6).prop_map(Operation::Wallet),
        1 => any::<bool>().prop_map(Operation::ChargeHeld),
        1 => (0..2usize, 0..900_000i64, 0..2_000_000i64).prop_map(|(at, i, o)| Operation::Price(at, i, o)),
        3 => (1..400i64).prop_map(Operation::TopUp),
        6 => any_handing(),
    ]
}

fn any_rule() -> impl Strategy<Value = NaiveRule> {
    let cap = prop::option::weighted(0.8, (10..300i64, any::<bool>()));
    let weighted = |chance| prop::bool::weighted(chance);
    (weighted(0.8), cap, weighted(0.8), weighted(0.2)).prop_map(|(enabled, cap, cap_on, hours)| NaiveRule {
        enabled,
        cap,
        cap_on,
        hours,
    })
}

fn any_handing() -> impl Strategy<Value = Operation> {
    let which = || prop::option::weighted(0.7, 0..2usize);
    prop_oneof![
        3 => (0..2usize, any_rule(), any::<bool>()).prop_map(|(which, rule, restart)| Operation::Rule(which, rule, restart)),
        2 => (0..3usize, which()).prop_map(|(key, rule)| Operation::Bind(key, rule)),
        1 => which().prop_map(Operation::DefaultRule),
        1 => prop::option::weighted(0.7, 50..900i64).prop_map(Operation::Total),
        2 => (0..3usize, prop::option::weighted(0.6, 0..200i64))
            .prop_map(|(key, own)| Operation::Own(key, Some(own), None)),
        2 => (0..3usize, 0..120i64).prop_map(|(key, extra)| Operation::Own(key, None, Some(extra))),
        3 => (0..2usize, prop::option::weighted(0.8, 100..500i64))
            .prop_map(|(team, monthly)| Operation::Team(team, monthly)),
        1 => (0..3usize).prop_map(Operation::Leave),
    ]
}

fn any_correction() -> impl Strategy<Value = Operation> {
    (0..20usize, prop_oneof![3 => 1..30i64, 1 => -20..0i64], any::<bool>())
        .prop_map(|(which, amount, by_operator)| Operation::Correct { which, amount, by_operator })
}

fn any_wait() -> impl Strategy<Value = Operation> {
    let most = prop_oneof![4 => Just(2), 4 => Just(90), 2 => Just(2400), 1 => Just(50_000i64)];
    most.prop_flat_map(|seconds| 0..seconds * 1_000_000).prop_map(Operation::Wait)
}

pub(super) fn any_operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        10 => any_reserve(),
        9 => any_settlement(),
        3 => any_charge(),
        2 => any_correction(),
        3 => any_control(),
        6 => any_wait(),
        2 => prop_oneof![1 => Just(0usize), 3 => 1..6usize].prop_map(Operation::Crash),
        1 => prop_oneof![Just(Operation::Snapshot), Just(Operation::Forget)],
    ]
}
