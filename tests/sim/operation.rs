//! What clients ask for, and how an answer is told from none.

use std::sync::Arc;

use quotad::{
    domain::{
        decision::Charged,
        event::EntryKind,
        id::{KeyId, Model, OrderId, OrganizationId, RequestId, RuleId, TeamId},
        money::Nanos,
        operation::{Charge, Commit, Extend, Payer, Reserve},
        reservation_id::ReservationNo,
        time::{Span, Timestamp},
        usage::{Amounts, Usage},
    },
    engine::conflict::Conflict,
    service::{
        AllocationChange, Caller, Done, Error, KeyChange, MemberChange, NewCorrection, NewTopUp, OrganizationChange,
        PriceChange, Question, Repeatable, ReservationRef, Service, TeamChange,
    },
};

use crate::place::{self, MODELS, Place};

/// A hold as its client knows it.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    pub(crate) place: Place,
    pub(crate) request: RequestId,
    /// `None` where Reserve's answer was lost for good.
    pub(crate) granted: Option<(ReservationNo, String)>,
    /// What was reported so far.
    pub(crate) used: u64,
}

impl Hold {
    fn named(&self) -> ReservationRef {
        match &self.granted {
            Some((_, id)) => ReservationRef::Id(id.clone()),
            None => ReservationRef::Request(Payer::Key(self.place.key.clone()), self.request.clone()),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Reserve(Place, Reserve),
    Commit(Hold, Commit),
    Release(Hold),
    Extend(Hold, Extend),
    Charge(Place, Charge),
    Check(Place, Question),
    TopUp(OrganizationId, NewTopUp),
    Correct(OrganizationId, NewCorrection),
    Change(OrganizationId, Change),
}

/// A change of the control plane; the number in it is nobody else's.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Team(u64),
    Member(u64),
    Key(KeyId, u64, bool),
    NewKey(u64),
    Rotate(KeyId),
    Budgets(u64),
    Rule(u64),
    DefaultRule(Option<u64>),
    Allocation(u64),
    Cycle,
    Price(Model, u64),
}

/// What a client hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Granted {
        no: ReservationNo,
        id: String,
        held: Amounts,
        expire_time: Timestamp,
        replayed: bool,
    },
    Extended,
    Charged(Charged),
    Released(Amounts),
    Ordered(OrderId, Nanos),
    Corrected(u64, Nanos),
    Changed,
    Denied,
    /// The answer is that it can't be done.
    Refused(Conflict),
    /// The same may be asked again: what became of it isn't known.
    Lost,
}

pub(crate) fn usage(tokens: u64) -> Usage {
    Usage { input_tokens: tokens, output_tokens: tokens / 2, requests: 1, ..Usage::default() }
}

async fn kept<T>(service: &Service, done: Result<Done<T>, Error>) -> Result<T, Error> {
    service.acknowledge(done?).await
}

/// Asks once.
pub(crate) async fn ask(service: &Arc<Service>, caller: &Caller, operation: &Operation) -> Answer {
    let answered = match operation {
        Operation::Reserve(place, reserve) => {
            let done = service.reserve(caller, &place.payer(), reserve.clone(), None, false);
            kept(service, done).await.map(|reply| reply.answer.map_or(Answer::Denied, granted))
        }
        Operation::Commit(hold, commit) => {
            let done = service.commit(caller, &hold.named(), commit, true).await;
            kept(service, done).await.map(|reply| Answer::Charged(reply.answer))
        }
        Operation::Release(hold) => {
            let done = service.release(caller, &hold.named(), "not needed").await;
            kept(service, done).await.map(|released| Answer::Released(released.released))
        }
        Operation::Extend(hold, extend) => {
            let done = service.extend(caller, &hold.named(), extend).await;
            kept(service, done).await.map(|answer| answer.map_or(Answer::Denied, |_| Answer::Extended))
        }
        Operation::Charge(place, charge) => {
            let done = service.charge(caller, &place.payer(), charge).await;
            kept(service, done).await.map(|answer| answer.map_or(Answer::Denied, Answer::Charged))
        }
        Operation::Check(place, question) => service.check(caller, &place.payer(), question).map(|_| Answer::Changed),
        Operation::TopUp(organization, new) => service
            .top_up(caller, organization, new.clone())
            .await
            .map(|ordered| Answer::Ordered(ordered.order.id, ordered.order.amount)),
        Operation::Correct(organization, new) => service
            .correct_entry(caller, organization, new.clone())
            .await
            .map(|(correction, _)| Answer::Corrected(correction.entry, correction.amount)),
        Operation::Change(organization, change) => {
            make(service, caller, organization, change).await.map(|()| Answer::Changed)
        }
    };
    answered.unwrap_or_else(|error| told(error, operation))
}

fn granted(grant: quotad::service::Grant) -> Answer {
    let (id, granted) = (grant.reservation_id, grant.granted);
    let (no, held, expire_time, replayed) = (granted.reservation, granted.held, granted.expire_time, granted.replayed);
    Answer::Granted { no, id, held, expire_time, replayed }
}

fn told(error: Error, operation: &Operation) -> Answer {
    match error {
        Error::Conflict(conflict) => Answer::Refused(conflict),
        Error::Exists { kind, id } => Answer::Refused(Conflict::Exists { kind, id }),
        Error::Gone { kind, id } => Answer::Refused(Conflict::Gone { kind, id }),
        Error::NotFound { kind, id } => Answer::Refused(Conflict::NotFound { kind, id }),
        Error::JournalFailed | Error::JournalFull | Error::Overloaded(_) | Error::StoreUnavailable(_) => Answer::Lost,
        other => panic!("{operation:?} was told {other}"),
    }
}

async fn make(
    service: &Arc<Service>,
    caller: &Caller,
    organization: &OrganizationId,
    change: &Change,
) -> Result<(), Error> {
    match change {
        Change::Team(mark) => {
            let change = TeamChange { name: Some(format!("mark-{mark}")), ..TeamChange::default() };
            service.update_team(caller, organization, &TeamId::trusted("red"), change, None).await.map(drop)
        }
        Change::Member(mark) => {
            let change = MemberChange { name: Some(format!("mark-{mark}")), ..MemberChange::default() };
            service.update_member(caller, organization, &place::member(0), change, None).await.map(drop)
        }
        Change::Key(key, mark, disabled) => {
            let (name, disabled) = (Some(format!("mark-{mark}")), Some(*disabled));
            let change = KeyChange { name, disabled, ..KeyChange::default() };
            service.update_key(caller, organization, key, change, None).await.map(drop)
        }
        Change::NewKey(mark) => {
            let new = place::new_key(KeyId::trusted(format!("mark-{mark}")), 0, "red");
            let request = RequestId::trusted(format!("new-key-{mark}"));
            let repeatable = Repeatable { request: Some(&request), fingerprint: *mark };
            service.create_key(caller, organization, new, repeatable).await.map(drop)
        }
        Change::Rotate(key) => service.rotate_key(caller, organization, key, Span::seconds(60)).await.map(drop),
        Change::Budgets(mark) => {
            let (name, policy) = (Some(format!("mark-{mark}")), Some(place::policy(*mark)));
            let change = OrganizationChange { name, policy, ..OrganizationChange::default() };
            service.update_organization(caller, organization, change, None).await.map(drop)
        }
        Change::Rule(mark) => {
            let request = RequestId::trusted(format!("new-rule-{mark}"));
            let repeatable = Repeatable { request: Some(&request), fingerprint: *mark };
            service.create_rule(caller, organization, place::rule(*mark), repeatable).await.map(drop)
        }
        Change::DefaultRule(rule) => {
            let rule = rule.map(|mark| RuleId::trusted(format!("rule-{mark}")));
            let change = OrganizationChange { default_rule: Some(rule), ..OrganizationChange::default() };
            service.update_organization(caller, organization, change, None).await.map(drop)
        }
        Change::Allocation(mark) => {
            let monthly = Some(Some(place::marked(*mark)));
            let change = AllocationChange { monthly, extra: None };
            let team = TeamId::trusted("red");
            service.update_team_allocation(caller, organization, &team, change, None).await.map(drop)
        }
        Change::Cycle => service.reset_cycle(caller, organization, false).await.map(drop),
        Change::Price(model, mark) => {
            let change = PriceChange { per_request: Some(place::marked(*mark)), ..PriceChange::default() };
            service.update_price(caller, model, change).await.map(drop)
        }
    }
}

/// Numbers what is asked, so that no two clients ever ask for the same.
pub(crate) struct Numbers {
    pub(crate) client: u64,
    pub(crate) next: u64,
}

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.next += 1;
        self.client * 10_000 + self.next
    }

    pub(crate) fn request(&mut self) -> RequestId {
        RequestId::trusted(format!("request-{}", self.next()))
    }
}

impl Operation {
    pub(crate) fn reserve(numbers: &mut Numbers, place: Place, tokens: u64, seconds: u64) -> Self {
        let request = numbers.request();
        let ttl = Span::seconds(i64::try_from(seconds).unwrap());
        let model = Model::trusted(MODELS[usize::try_from(tokens % 2).unwrap()]);
        let (usage, min_output_tokens) = (usage(tokens), None);
        Self::Reserve(place, Reserve { request, model, usage, min_output_tokens, ttl, holder: None, labels: None })
    }

    pub(crate) fn charge(numbers: &mut Numbers, place: Place, tokens: u64, already_used: bool) -> Self {
        let (request, model) = (numbers.request(), Model::trusted(MODELS[0]));
        let usage = usage(tokens);
        Self::Charge(place, Charge { request, model, usage, already_used, occurred_at: None, labels: None })
    }

    pub(crate) fn top_up(numbers: &mut Numbers, organization: OrganizationId) -> Self {
        let (request, amount) = (numbers.request(), Nanos::units(2));
        Self::TopUp(organization, NewTopUp { request, amount, reason: String::from("paid"), method: None })
    }

    pub(crate) fn refund(numbers: &mut Numbers, organization: OrganizationId, entry: u64) -> Self {
        let (request, kind, amount) = (numbers.request(), EntryKind::Refund, Nanos::new(1000));
        Self::Correct(organization, NewCorrection { request, entry, kind, amount, reason: String::from("sorry") })
    }
}
