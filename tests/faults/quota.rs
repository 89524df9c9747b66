//! The data plane's part of the load.

use quotad::{
    api::proto::{
        ChargeRequest, CommitRequest, CommitResponse, DenialCode, ExtendRequest, Payer, PayerRequest, ReleaseRequest,
        ReservationRef, ReserveRequest, TransactionKind, Usage, charge_response, extend_response, payer,
        reservation_ref::Reservation, reserve_response,
    },
    domain::money::Nanos,
};
use tonic::Code;

use crate::{
    acknowledged::{Booked, Repeat},
    caller::Caller,
    seed::{MODEL, TIGHT, key},
};

/// Long enough for a slow machine.
const TTL: prost_types::Duration = prost_types::Duration { seconds: 3600, nanos: 0 };

/// One piece of work.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) number: u64,
    pub(crate) organization: &'static str,
    pub(crate) key: usize,
}

fn usage(number: u64) -> Usage {
    Usage { input_tokens: 100 + number % 900, output_tokens: number % 300, ..Usage::default() }
}

/// By the price that was seeded: 1 and 2 USD a million tokens.
fn cost(usage: &Usage) -> Nanos {
    Nanos::new(i64::try_from(usage.input_tokens + 2 * usage.output_tokens).unwrap() * 1000)
}

pub(crate) fn payer(key_id: &str) -> Option<Payer> {
    Some(Payer { payer: Some(payer::Payer::KeyId(key_id.to_owned())) })
}

pub(crate) fn by_id(reservation: &str) -> Option<ReservationRef> {
    Some(ReservationRef { reservation: Some(Reservation::ReservationId(reservation.to_owned())) })
}

fn by_request(key_id: &str, request_id: &str) -> Option<ReservationRef> {
    let request = PayerRequest { payer: payer(key_id), request_id: request_id.to_owned() };
    Some(ReservationRef { reservation: Some(Reservation::PayerRequest(request)) })
}

impl Work {
    pub(crate) fn key(&self) -> String {
        key(self.organization, self.key)
    }

    pub(crate) fn request_id(&self) -> String {
        format!("work-{}", self.number)
    }

    pub(crate) fn reserve_request(&self) -> ReserveRequest {
        ReserveRequest {
            payer: payer(&self.key()),
            request_id: self.request_id(),
            model: MODEL.into(),
            usage: Some(usage(self.number)),
            ttl: Some(TTL),
            ..ReserveRequest::default()
        }
    }

    pub(crate) fn charge_request(&self, key_id: &str) -> ChargeRequest {
        ChargeRequest {
            payer: payer(key_id),
            request_id: self.request_id(),
            model: MODEL.into(),
            usage: Some(usage(self.number)),
            ..ChargeRequest::default()
        }
    }

    /// What was charged must be what it costs, whatever happened before it was answered.
    fn settled(&self, kind: TransactionKind, id: &str, usage: &Usage, answer: &CommitResponse) -> (u64, Booked) {
        let amount = Nanos::parse("charged", &answer.charged.as_ref().unwrap().usd).unwrap();
        assert_eq!(amount, cost(usage), "{self:?}, {kind:?} of {id}: {answer:?}");
        (answer.entry, Booked { kind, id: id.to_owned(), amount })
    }
}

impl Caller {
    /// Charges a key; answers the entry, or `None` where it was refused or the answer was lost and isn't asked for again.
    pub(crate) async fn charge(&self, work: Work, request: ChargeRequest, gives_up: bool) -> Option<u64> {
        let id = request.request_id.clone();
        let call = || async { self.gateway.quota().charge(request.clone()).await };
        let answer = if gives_up {
            self.ask_once("Charge", call()).await
        } else {
            Some(self.ask("Charge", call).await.unwrap())
        };
        let Some(answer) = answer else {
            self.note(|known| known.doubt(id));
            return None;
        };
        match answer.decision.unwrap() {
            charge_response::Decision::Charged(charged) => {
                let (entry, booked) =
                    work.settled(TransactionKind::Charge, &id, request.usage.as_ref().unwrap(), &charged);
                let place = (work.organization.to_owned(), entry);
                self.note(|known| {
                    known.booked(&place, &booked);
                    known.repeat(place, Repeat::Charge(request));
                });
                Some(entry)
            }
            charge_response::Decision::Denied(denial) => {
                let tight = request.payer == payer(&key(work.organization, TIGHT));
                assert!(tight && denial.code() == DenialCode::BudgetExceeded, "{work:?}: {denial:?}");
                self.note(|known| known.exclude(id));
                None
            }
        }
    }

    pub(crate) async fn charge_own(&self, work: Work) {
        let request = work.charge_request(&work.key());
        self.charge(work, request, work.number.is_multiple_of(37)).await;
    }

    pub(crate) async fn charge_tight(&self, work: Work) {
        let request = work.charge_request(&key(work.organization, TIGHT));
        self.charge(work, request, false).await;
    }

    pub(crate) async fn reserve(&self, work: Work, gives_up: bool) -> Option<String> {
        let request = work.reserve_request();
        let call = || async { self.gateway.quota().reserve(request.clone()).await };
        let answer = if gives_up {
            self.ask_once("Reserve", call()).await
        } else {
            Some(self.ask("Reserve", call).await.unwrap())
        };
        match answer.map(|answer| answer.decision.unwrap()) {
            Some(reserve_response::Decision::Granted(grant)) => Some(grant.reservation_id),
            Some(reserve_response::Decision::Denied(denial)) => panic!("{work:?}: {denial:?}"),
            None => {
                self.note(|known| known.open.push((work.key(), request.request_id.clone())));
                None
            }
        }
    }

    pub(crate) async fn reserve_and_commit(&self, work: Work, extends: bool) {
        let Some(reservation) = self.reserve(work, work.number.is_multiple_of(41)).await else { return };
        if extends {
            self.extend(work, &reservation).await;
        }
        self.commit(work, &reservation).await;
    }

    pub(crate) async fn commit(&self, work: Work, reservation: &str) {
        let usage = usage(work.number + 7);
        let request =
            CommitRequest { reservation: by_id(reservation), usage: Some(usage.clone()), ..CommitRequest::default() };
        let call = || async { self.gateway.quota().commit(request.clone()).await };
        let answer = self.ask("Commit", call).await.unwrap();
        let (entry, booked) = work.settled(TransactionKind::Commit, reservation, &usage, &answer);
        let place = (work.organization.to_owned(), entry);
        self.note(|known| {
            known.booked(&place, &booked);
            known.repeat(place, Repeat::Commit(request));
        });
    }

    async fn extend(&self, work: Work, reservation: &str) {
        let so_far = Usage { input_tokens: 50, ..Usage::default() };
        let request = ExtendRequest {
            reservation: by_id(reservation),
            ttl: Some(TTL),
            usage_so_far: Some(so_far),
            estimate: Some(usage(work.number + 100)),
        };
        let call = || async { self.gateway.quota().extend(request.clone()).await };
        let answer = self.ask("Extend", call).await;
        // An estimate below what is held for is refused; the hold stays.
        match answer.map(|answer| answer.decision.unwrap()) {
            Ok(extend_response::Decision::Granted(_)) => {}
            Ok(extend_response::Decision::Denied(denial)) => panic!("{work:?}: {denial:?}"),
            Err(status) => assert_eq!(status.code(), Code::InvalidArgument, "{work:?}: {status:?}"),
        }
    }

    pub(crate) async fn reserve_and_release(&self, work: Work) {
        let Some(reservation) = self.reserve(work, work.number.is_multiple_of(41)).await else { return };
        let request = ReleaseRequest { reservation: by_id(&reservation), reason: "not needed".into() };
        let call = || async { self.gateway.quota().release(request.clone()).await };
        self.ask("Release", call).await.unwrap();
        self.note(|known| known.exclude(reservation));
    }

    /// Gives back what may still be held by requests whose answer was lost.
    pub(crate) async fn close(&self, key_id: &str, request_id: &str) {
        let request = ReleaseRequest { reservation: by_request(key_id, request_id), reason: String::new() };
        let call = || async { self.gateway.quota().release(request.clone()).await };
        match self.ask("Release", call).await {
            Ok(_) => {}
            Err(status) => assert_eq!(status.code(), Code::NotFound, "{request_id}: {status:?}"),
        }
    }
}
