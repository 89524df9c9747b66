//! What the data plane answers, out.

use crate::{
    api::{
        convert::{
            limits::{denial_out, limit_states, reservation_state_out},
            time::timestamp_out,
            usage::{amounts_out, nanos_out},
        },
        proto,
    },
    domain::decision::{Charged, Denial, Granted, LimitState, Released},
    service::{Grant, Reply},
};

pub(super) fn reserve(reply: Reply<Result<Grant, Denial>>) -> proto::ReserveResponse {
    use proto::reserve_response::Decision;
    let Reply { answer, limits } = reply;
    let decision = match answer {
        Ok(grant) => Decision::Granted(granted(grant, &limits)),
        Err(denial) => Decision::Denied(denial_out(denial)),
    };
    proto::ReserveResponse { decision: Some(decision) }
}

pub(super) fn commit(reply: Reply<Charged>) -> proto::CommitResponse {
    let Reply { answer, limits } = reply;
    charged(&answer, &limits)
}

pub(super) fn release(released: &Released) -> proto::ReleaseResponse {
    let Released { released, charged, entry, balance, replayed } = released;
    proto::ReleaseResponse {
        released: Some(amounts_out(released)),
        replayed: *replayed,
        charged: Some(amounts_out(charged)),
        entry: *entry,
        balance_usd: nanos_out(*balance),
    }
}

pub(super) fn extend(answer: Result<Grant, Denial>) -> proto::ExtendResponse {
    use proto::extend_response::Decision;
    let decision = match answer {
        Ok(grant) => Decision::Granted(granted(grant, &[])),
        Err(denial) => Decision::Denied(denial_out(denial)),
    };
    proto::ExtendResponse { decision: Some(decision) }
}

pub(super) fn charge(answer: Result<Charged, Denial>) -> proto::ChargeResponse {
    use proto::charge_response::Decision;
    let decision = match answer {
        Ok(answer) => Decision::Charged(charged(&answer, &[])),
        Err(denial) => Decision::Denied(denial_out(denial)),
    };
    proto::ChargeResponse { decision: Some(decision) }
}

/// The limits stand beside the decision here, whatever it is.
pub(super) fn check(reply: Reply<Result<Grant, Denial>>) -> proto::CheckResponse {
    use proto::check_response::Decision;
    let Reply { answer, limits } = reply;
    let decision = match answer {
        Ok(grant) => {
            // Nothing is held, so nothing expires and nothing has a state.
            let held_only = granted(grant, &[]);
            let state = proto::ReservationState::Unspecified.into();
            Decision::Granted(proto::Grant { expire_time: None, state, ..held_only })
        }
        Err(denial) => Decision::Denied(denial_out(denial)),
    };
    proto::CheckResponse { decision: Some(decision), limits: limit_states(&limits) }
}

fn granted(grant: Grant, limits: &[LimitState]) -> proto::Grant {
    let Grant { reservation_id, granted } = grant;
    // Number, key, model and admission are what the reservation's id is made of.
    let Granted {
        reservation: _,
        key: _,
        model: _,
        admit_time: _,
        expire_time,
        output_tokens,
        held,
        replayed,
        state,
        warnings,
    } = granted;
    proto::Grant {
        reservation_id,
        expire_time: Some(timestamp_out(expire_time)),
        output_tokens,
        held: Some(amounts_out(&held)),
        warnings: limit_states(&warnings),
        replayed,
        state: reservation_state_out(state).into(),
        limits: limit_states(limits),
    }
}

fn charged(answer: &Charged, limits: &[LimitState]) -> proto::CommitResponse {
    let Charged { charged, overage, late, replayed, entry, balance } = answer;
    proto::CommitResponse {
        charged: Some(amounts_out(charged)),
        overage: Some(amounts_out(overage)),
        late: *late,
        replayed: *replayed,
        entry: *entry,
        balance_usd: nanos_out(*balance),
        limits: limit_states(limits),
    }
}
