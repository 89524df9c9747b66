//! What was acknowledged, and so must be in the history, once, as it was told; and must be told the same again.

use std::collections::BTreeMap;

use quotad::domain::{
    decision::Charged,
    id::{OrderId, OrganizationId, RequestId},
    money::Nanos,
    reservation_id::ReservationNo,
    usage::Amounts,
};

use crate::operation::{Answer, Change, Hold, Operation};

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Promise {
    Committed(OrganizationId, Named),
    Released(OrganizationId, Named),
    /// So many tokens were reported.
    Reported(OrganizationId, Named, u64),
    Charged(OrganizationId, RequestId),
    Ordered(OrganizationId, RequestId),
    Corrected(OrganizationId, RequestId),
    /// A change of the control plane, by what is found in it alone.
    Marked(String),
}

/// How a client names a reservation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Named {
    No(ReservationNo),
    Request(RequestId),
}

/// What was told, as far as it must be told the same again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Charged(Charged),
    Amounts(Amounts),
    Order(OrderId, Nanos),
    Entry(u64, Nanos),
    Done,
}

#[derive(Debug, Default)]
pub(crate) struct Promises {
    told: BTreeMap<Promise, Told>,
    violations: Vec<String>,
}

fn named(hold: &Hold) -> Named {
    hold.granted.as_ref().map_or_else(|| Named::Request(hold.request.clone()), |(no, _)| Named::No(*no))
}

/// The number of a change stands in a name, or in an amount.
fn mark(change: &Change) -> Option<String> {
    match change {
        Change::Team(mark)
        | Change::Member(mark)
        | Change::Key(_, mark, _)
        | Change::NewKey(mark)
        | Change::Budgets(mark)
        | Change::Rule(mark) => Some(format!("mark-{mark}")),
        Change::Allocation(mark) | Change::Price(_, mark) => Some(crate::place::marked(*mark).to_string()),
        Change::Rotate(_) | Change::DefaultRule(_) | Change::Cycle => None,
    }
}

fn promised(operation: &Operation, answer: &Answer) -> Option<(Promise, Told)> {
    Some(match (operation, answer) {
        (Operation::Commit(hold, _), Answer::Charged(charged)) => {
            (Promise::Committed(hold.place.organization.clone(), named(hold)), Told::Charged(charged.clone()))
        }
        (Operation::Release(hold), Answer::Released(amounts)) => {
            (Promise::Released(hold.place.organization.clone(), named(hold)), Told::Amounts(*amounts))
        }
        (Operation::Extend(hold, extend), Answer::Extended) => {
            let tokens = extend.usage_so_far?.input_tokens;
            (Promise::Reported(hold.place.organization.clone(), named(hold), tokens), Told::Done)
        }
        (Operation::Charge(place, charge), Answer::Charged(charged)) => {
            (Promise::Charged(place.organization.clone(), charge.request.clone()), Told::Charged(charged.clone()))
        }
        (Operation::TopUp(organization, new), Answer::Ordered(order, amount)) => {
            (Promise::Ordered(organization.clone(), new.request.clone()), Told::Order(order.clone(), *amount))
        }
        (Operation::Correct(organization, new), Answer::Corrected(entry, amount)) => {
            (Promise::Corrected(organization.clone(), new.request.clone()), Told::Entry(*entry, *amount))
        }
        (Operation::Change(_, change), Answer::Changed) => (Promise::Marked(mark(change)?), Told::Done),
        _ => return None,
    })
}

impl Promises {
    pub(crate) fn broken(&mut self, what: String) {
        self.violations.push(what);
    }

    pub(crate) fn violations(&self) -> &[String] {
        &self.violations
    }

    pub(crate) fn note(&mut self, operation: &Operation, answer: &Answer) {
        let Some((promise, mut told)) = promised(operation, answer) else { return };
        if let Told::Charged(charged) = &mut told {
            charged.replayed = false;
        }
        match self.told.get(&promise) {
            None => {
                self.told.insert(promise, told);
            }
            Some(before) if *before == told => {}
            Some(before) => self.violations.push(format!("{promise:?} was told {before:?}, then {told:?}")),
        }
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Promise, &Told)> {
        self.told.iter()
    }

    /// The operator gave up what isn't in the books: only what is can be asked for.
    pub(crate) fn retain(&mut self, kept: impl Fn(&Promise, &Told) -> bool) {
        self.told.retain(|promise, told| kept(promise, told));
    }
}
