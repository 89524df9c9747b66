//! The engine's answers in the shape in which both are compared.

use super::super::naive::{Answer, Failing};
use crate::{
    domain::decision::{Charged, Denial, DenialCode, Granted, Violated, Violation},
    engine::{
        conflict::Conflict,
        turn::{Decision, Outcome},
    },
};

pub(super) fn conflicted(conflict: &Conflict) -> Answer {
    Answer::Conflict(match conflict {
        Conflict::Invalid(_) => "invalid",
        Conflict::SumTooLarge(_) => "too large",
        Conflict::RequestReused(_) => "reused",
        Conflict::ReservationUnknown => "unknown",
        Conflict::SettledOtherwise => "otherwise",
        Conflict::ReservationCommitted => "committed",
        Conflict::ReservationReleased => "released",
        Conflict::ReservationExpired => "expired",
        Conflict::ReservationTooOld => "too old",
        Conflict::Exhausted(_) => "exhausted",
        Conflict::NotYours(_) => "not yours",
        Conflict::WouldRestartSpending(_) => "restart",
        Conflict::SettlementOpen { .. } => "open",
        Conflict::Precondition(_)
        | Conflict::TeamAccountRequired { .. }
        | Conflict::Suspended
        | Conflict::TooMany { .. } => "precondition",
        Conflict::Exists { .. }
        | Conflict::Deleted { .. }
        | Conflict::NotFound { .. }
        | Conflict::Gone { .. }
        | Conflict::LastOwner(_)
        | Conflict::RuleInUse { .. }
        | Conflict::EmailTaken { .. }
        | Conflict::ManagersOnly { .. }
        | Conflict::StaleEtag { .. } => "entity",
    })
}

fn failing(violation: &Violation) -> Failing {
    match &violation.at {
        Violated::State(scope, _) => (violation.code, scope.name().to_owned(), None),
        Violated::Limit { state, asked } => {
            let limit = state.limit.as_ref();
            let name = limit.map_or("wallet".into(), |limit| format!("{}/{limit}", state.scope.name()));
            let reset = state.reset_time.map(crate::domain::time::Timestamp::micros);
            (violation.code, name, Some((state.max.unwrap(), state.spent, state.held, *asked, reset)))
        }
    }
}

fn denied(denial: &Denial) -> Answer {
    let stops = matches!(denial.code, DenialCode::Revoked | DenialCode::ReservationExpired);
    let violations = denial.violations.iter().filter(|_| !stops).map(failing).collect();
    let wait = denial.retry.map(|retry| (retry.after.as_micros(), retry.at_least));
    Answer::Denied { code: denial.code, wait, violations }
}

pub(super) fn charged(charged: &Charged) -> Answer {
    Answer::Charged {
        charged: charged.charged,
        overage: charged.overage,
        late: charged.late,
        replayed: charged.replayed,
        entry: charged.entry,
        balance: charged.balance.get(),
    }
}

pub(super) fn answered(outcome: Outcome<Decision<Answer>>) -> Answer {
    match outcome {
        Ok(Ok(answer)) => answer,
        Ok(Err(denial)) => denied(&denial),
        Err(conflict) => conflicted(&conflict),
    }
}

pub(super) fn decided(outcome: Outcome<Decision<Granted>>) -> Answer {
    answered(outcome.map(|decision| {
        decision.map(|granted| Answer::Granted {
            held: granted.held,
            expire: granted.expire_time.micros(),
            output: granted.output_tokens,
            replayed: granted.replayed,
            state: granted.state,
        })
    }))
}
