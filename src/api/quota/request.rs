//! What the data plane is asked, in: every field checked where it enters.

use crate::{
    api::{
        convert::{
            MAX_TEXT,
            time::{span_in, timestamp_in},
            usage::{labels_in, required_usage_in, usage_in},
        },
        proto,
    },
    domain::{
        error::Invalid,
        id::{Holder, KeyId, Model, RequestId, SecretHash},
        operation::{Charge, Commit, DEFAULT_TTL, Extend, Payer, Reserve, check_ttl},
        reservation_id,
        text::check_text,
        time::Span,
    },
    service::{Question, ReservationRef},
};

pub(in crate::api) const MAX_API_KEY: usize = 512;

/// A Reserve, and whether it wants to know the limits.
pub(super) fn reserve(request: proto::ReserveRequest) -> Result<(Payer, Reserve, bool), Invalid> {
    let proto::ReserveRequest {
        payer,
        request_id,
        model,
        usage,
        min_output_tokens,
        ttl,
        holder,
        labels,
        include_limits,
    } = request;
    let payer = required_payer("payer", payer)?;
    let reserve = Reserve {
        request: RequestId::parse("request_id", &request_id)?,
        model: Model::parse("model", &model)?,
        usage: required_usage_in("usage", usage.as_ref())?,
        min_output_tokens,
        ttl: ttl_or_default(ttl.as_ref())?,
        holder: if holder.is_empty() { None } else { Some(Holder::parse("holder", &holder)?) },
        labels: labels_in(labels)?,
    };
    Ok((payer, reserve, include_limits))
}

/// A Commit, and whether it wants to know the limits.
pub(super) fn commit(request: proto::CommitRequest) -> Result<(ReservationRef, Commit, bool), Invalid> {
    let proto::CommitRequest { reservation, usage, model, include_limits } = request;
    let reservation = required_reservation(reservation)?;
    let commit = Commit {
        usage: required_usage_in("usage", usage.as_ref())?,
        model: if model.trim_matches(' ').is_empty() { None } else { Some(Model::parse("model", &model)?) },
    };
    Ok((reservation, commit, include_limits))
}

pub(super) fn release(request: proto::ReleaseRequest) -> Result<(ReservationRef, String), Invalid> {
    let proto::ReleaseRequest { reservation, reason } = request;
    let reservation = required_reservation(reservation)?;
    check_text("reason", &reason, MAX_TEXT)?;
    Ok((reservation, reason))
}

pub(super) fn extend(request: proto::ExtendRequest) -> Result<(ReservationRef, Extend), Invalid> {
    let proto::ExtendRequest { reservation, ttl, usage_so_far, estimate } = request;
    let reservation = required_reservation(reservation)?;
    let extend = Extend {
        ttl: ttl_or_default(ttl.as_ref())?,
        usage_so_far: usage_so_far.map(|usage| usage_in("usage_so_far", &usage)).transpose()?,
        estimate: estimate.map(|usage| usage_in("estimate", &usage)).transpose()?,
    };
    Ok((reservation, extend))
}

pub(super) fn charge(request: proto::ChargeRequest) -> Result<(Payer, Charge), Invalid> {
    let proto::ChargeRequest { payer, request_id, model, usage, already_used, occurred_at, labels } = request;
    let payer = required_payer("payer", payer)?;
    let charge = Charge {
        request: RequestId::parse("request_id", &request_id)?,
        model: Model::parse("model", &model)?,
        usage: required_usage_in("usage", usage.as_ref())?,
        already_used,
        occurred_at: occurred_at.map(|at| timestamp_in("occurred_at", &at)).transpose()?,
        labels: labels_in(labels)?,
    };
    Ok((payer, charge))
}

pub(super) fn check(request: proto::CheckRequest) -> Result<(Payer, Question), Invalid> {
    let proto::CheckRequest { payer, model, usage, min_output_tokens } = request;
    let payer = required_payer("payer", payer)?;
    let question = Question {
        model: Model::parse("model", &model)?,
        usage: required_usage_in("usage", usage.as_ref())?,
        min_output_tokens,
    };
    Ok((payer, question))
}

pub(super) fn holder(request: proto::WatchRevocationsRequest) -> Result<Holder, Invalid> {
    let proto::WatchRevocationsRequest { holder } = request;
    Holder::parse("holder", &holder)
}

fn ttl_or_default(ttl: Option<&prost_types::Duration>) -> Result<Span, Invalid> {
    ttl.map_or(Ok(DEFAULT_TTL), |ttl| check_ttl(span_in("ttl", ttl)?))
}

fn required_payer(field: &str, payer: Option<proto::Payer>) -> Result<Payer, Invalid> {
    use proto::payer::Payer as Named;
    let Some(named) = payer.and_then(|proto::Payer { payer }| payer) else {
        return Err(Invalid::new(field, "is missing; give an api_key or a key_id"));
    };
    let payer = match named {
        Named::ApiKey(secret) => secret_in(&secret).map(Payer::Secret),
        Named::KeyId(id) => KeyId::parse("key_id", &id).map(Payer::Key),
    };
    payer.map_err(|invalid| invalid.within(field))
}

/// Never shows the secret.
fn secret_in(secret: &str) -> Result<SecretHash, Invalid> {
    if secret.is_empty() {
        return Err(Invalid::new("api_key", "is empty; give the secret that the user sent"));
    }
    if secret.len() > MAX_API_KEY {
        let problem = format!("is {} characters long; at most {MAX_API_KEY} are allowed", secret.len());
        return Err(Invalid::new("api_key", problem));
    }
    Ok(SecretHash::of(secret))
}

fn required_reservation(reservation: Option<proto::ReservationRef>) -> Result<ReservationRef, Invalid> {
    use proto::reservation_ref::Reservation as Named;
    let Some(named) = reservation.and_then(|proto::ReservationRef { reservation }| reservation) else {
        return Err(Invalid::new("reservation", "is missing; give a reservation_id or a payer_request"));
    };
    match named {
        Named::ReservationId(id) if id.is_empty() => {
            Err(Invalid::new("reservation.reservation_id", "is empty; give the id that Reserve answered"))
        }
        Named::ReservationId(id) if id.len() > reservation_id::MAX_LEN => {
            let problem = format!("is {} characters long; at most {} are allowed", id.len(), reservation_id::MAX_LEN);
            Err(Invalid::new("reservation.reservation_id", problem))
        }
        Named::ReservationId(id) => Ok(ReservationRef::Id(id)),
        Named::PayerRequest(proto::PayerRequest { payer, request_id }) => {
            const FIELD: &str = "reservation.payer_request";
            let within = |invalid: Invalid| invalid.within(FIELD);
            let payer = required_payer("payer", payer).map_err(within)?;
            let request = RequestId::parse("request_id", &request_id).map_err(within)?;
            Ok(ReservationRef::Request(payer, request))
        }
    }
}

#[cfg(test)]
mod tests;
