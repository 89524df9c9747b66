//! One thing of a journal, done again over the API.

use quotad::{
    api::proto::{
        ChargeRequest, CommitRequest, DecideTopUpOrderRequest, GetTopUpOrderRequest, Payer, PaymentOutcome,
        ReservationRef, TopUpRequest, TopUpState, Usage, charge_response::Decision, payer,
        reservation_ref::Reservation,
    },
    client::{Connection, explain},
    domain::{
        event::{Settled, TopUp},
        money::Nanos,
        time::Timestamp,
        usage,
    },
    server::salvage::Salvaged,
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::failure::Failure;

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Brought {
    Booked,
    /// The server had it.
    Known,
    /// Neither; a person has to look at it.
    Left {
        what: String,
        why: String,
    },
}

/// The server, by a token for the control plane and by one for the data plane.
pub(super) struct Target<'a> {
    pub(super) control: &'a Connection,
    pub(super) data: &'a Connection,
}

/// # Errors
/// [`Failure`] when the server can't be asked: what came before is booked, and repeating does no harm.
pub(super) async fn bring(target: &Target<'_>, salvaged: Salvaged) -> Result<Brought, Failure> {
    match salvaged {
        Salvaged::Committed { organization, reservation_id, commit, settled } => {
            let request = CommitRequest {
                reservation: Some(ReservationRef { reservation: Some(Reservation::ReservationId(reservation_id)) }),
                usage: Some(usage_out(&commit.usage)),
                model: commit.model.map_or_else(String::new, |model| model.to_string()),
                include_limits: false,
            };
            let what = format!("commit{}", described(&settled, organization.as_str()));
            match target.data.quota().commit(request).await {
                Ok(answer) => {
                    let answer = answer.into_inner();
                    let charged = answer.charged.unwrap_or_default().usd;
                    Ok(compared(what, settled.total.usd, &charged, answer.replayed))
                }
                Err(status) => known_or_left(status, "SETTLED_OTHERWISE", what),
            }
        }
        Salvaged::Charged { organization, settled } => {
            let what = format!("charge{}", described(&settled, organization.as_str()));
            charge(target, &settled, what).await
        }
        Salvaged::Expired { organization, settled } => Ok(Brought::Left {
            what: format!("expiry{}", described(&settled, organization.as_str())),
            why: String::from(
                "charged by expiry: compare it with the ledger; an unknown reservation can be charged by hand",
            ),
        }),
        Salvaged::Released { organization, settled } => Ok(Brought::Left {
            what: format!("release{}", described(&settled, organization.as_str())),
            why: String::from(
                "charged by a release: compare it with the ledger; what is missing can be charged by hand",
            ),
        }),
        Salvaged::ToppedUp { organization, top_up } => {
            let what = format!("top-up of {} USD for {organization}", top_up.amount.shown());
            top_up_again(target, organization.to_string(), &top_up, what).await
        }
        Salvaged::Changed { organization, time, actor, kind, id } => {
            let of = organization.map_or_else(String::new, |organization| format!(" of {organization}"));
            let what = format!("{kind} {id}{of}");
            Ok(Brought::Left {
                what,
                why: format!("changed by {} at {time}: make it again if it still makes sense", actor.as_str()),
            })
        }
    }
}

fn usage_out(usage: &usage::Usage) -> Usage {
    Usage {
        input_tokens: usage.input_tokens,
        cached_input_tokens: usage.cached_input_tokens,
        cache_write_tokens: usage.cache_write_tokens,
        output_tokens: usage.output_tokens,
        requests: usage.requests,
        cost_usd: usage.cost.map_or_else(String::new, |cost| cost.to_string()),
        cache_outside_input: usage.cache_outside_input,
    }
}

fn timestamp_out(at: Timestamp) -> prost_types::Timestamp {
    let (seconds, micros) = (at.micros().div_euclid(1_000_000), at.micros().rem_euclid(1_000_000));
    prost_types::Timestamp { seconds, nanos: i32::try_from(micros * 1000).unwrap_or_default() }
}

fn described(settled: &Settled, organization: &str) -> String {
    let Settled { key, model, total, .. } = settled;
    format!(" of {} USD by key {key} for {model}, of {organization}", total.usd.shown())
}

/// At another price than then it is booked, but not the same.
fn compared(what: String, then: Nanos, now: &str, replayed: bool) -> Brought {
    let same = Nanos::parse("charged", now).is_ok_and(|now| now == then);
    match (replayed, same) {
        (true, _) => Brought::Known,
        (false, true) => Brought::Booked,
        (false, false) => Brought::Left {
            what,
            why: format!("booked, at {now} USD: prices changed; `quotactl ledger correct` books the difference"),
        },
    }
}

/// The cost is given, so that it is the same whatever models cost now.
async fn charge(target: &Target<'_>, settled: &Settled, what: String) -> Result<Brought, Failure> {
    let Some(request_id) = &settled.request else {
        return Ok(Brought::Left { what, why: String::from("it has no request id") });
    };
    let cost = Some(settled.total.usd);
    let request = ChargeRequest {
        payer: Some(Payer { payer: Some(payer::Payer::KeyId(settled.key.to_string())) }),
        request_id: request_id.to_string(),
        model: settled.model.to_string(),
        usage: Some(usage_out(&usage::Usage { cost, ..settled.usage })),
        already_used: true,
        occurred_at: Some(timestamp_out(settled.occurred_at)),
        labels: settled
            .labels
            .iter()
            .flat_map(|labels| labels.iter())
            .map(|(k, v)| (k.to_string(), v.to_string()))
            .collect(),
    };
    let answer = match target.data.quota().charge(request.clone()).await {
        // Longer ago than can be charged back to: it counts in the windows of now.
        Err(status) if status.code() == Code::InvalidArgument && status.message().contains("occurred_at") => {
            target.data.quota().charge(ChargeRequest { occurred_at: None, ..request }).await
        }
        answer => answer,
    };
    match answer {
        Ok(answer) => Ok(match answer.into_inner().decision {
            Some(Decision::Charged(charged)) if charged.replayed => Brought::Known,
            Some(Decision::Charged(_)) => Brought::Booked,
            Some(Decision::Denied(denial)) => Brought::Left { what, why: denial.message },
            None => return Err(Failure::Incomplete("decision")),
        }),
        Err(status) => known_or_left(status, "REQUEST_ID_REUSED", what),
    }
}

/// Settles the order that the server knows, or orders and settles anew by the same request id.
async fn top_up_again(
    target: &Target<'_>,
    organization: String,
    top_up: &TopUp,
    what: String,
) -> Result<Brought, Failure> {
    let named = GetTopUpOrderRequest { organization_id: organization.clone(), order_id: top_up.order.to_string() };
    match target
        .control
        .wallets()
        .get_top_up_order(named)
        .await
        .map(|answer| answer.into_inner().order.unwrap_or_default())
    {
        Ok(order) if order.state() == TopUpState::Settled => Ok(Brought::Known),
        Ok(order) => {
            let settled = DecideTopUpOrderRequest {
                organization_id: organization,
                order_id: order.id,
                outcome: PaymentOutcome::Settled.into(),
                provider_reference: order.provider_reference,
                reason: top_up.reason.clone(),
            };
            match target.control.wallets().decide_top_up_order(settled).await {
                Ok(_) => Ok(Brought::Booked),
                Err(status) => left(status, what),
            }
        }
        Err(status) if status.code() == Code::NotFound => {
            let request = TopUpRequest {
                organization_id: organization,
                amount_usd: top_up.amount.to_string(),
                request_id: top_up.request.to_string(),
                reason: top_up.reason.clone(),
                ..TopUpRequest::default()
            };
            match target.control.wallets().top_up(request).await {
                Ok(answer) if answer.get_ref().replayed => Ok(Brought::Known),
                Ok(_) => Ok(Brought::Booked),
                Err(status) => known_or_left(status, "REQUEST_ID_REUSED", what),
            }
        }
        Err(status) => left(status, what),
    }
}

/// `known`: the reason of the error where the server has it, told in other words.
fn known_or_left(status: Status, known: &str, what: String) -> Result<Brought, Failure> {
    let details = status.get_error_details();
    if details.error_info().is_some_and(|info| info.reason == known) {
        return Ok(Brought::Known);
    }
    left(status, what)
}

/// A refusal is of this one; a server that can't answer is an end to all.
fn left(status: Status, what: String) -> Result<Brought, Failure> {
    match status.code() {
        Code::Unavailable | Code::Unauthenticated | Code::PermissionDenied | Code::Internal | Code::Unknown => {
            Err(Failure::from(status))
        }
        _ => Ok(Brought::Left { what, why: explain(&status) }),
    }
}
