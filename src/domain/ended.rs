//! What of the control plane is over: memory gives it up after a while, the books keep it.

use serde::{Deserialize, Serialize};

use super::{
    access::Invitation,
    alert::Alert,
    allocation::{CreditRequest, CreditRequestState},
    entity::Key,
    event::Event,
    id::{AlertId, CreditRequestId, InvitationId, KeyId, MethodId, OrderId, RequestId, RuleId},
    payment::{OrderState, PaymentMethod, TopUpOrder},
    rule::Rule,
};

/// Something that is over, by its name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndedName {
    CreditRequest(CreditRequestId),
    Order(OrderId),
    Alert(AlertId),
    Invitation(InvitationId),
    PaymentMethod(MethodId),
    Key(KeyId),
    Rule(RuleId),
}

impl EndedName {
    /// As in SQL.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreditRequest(_) => "credit_request",
            Self::Order(_) => "top_up_order",
            Self::Alert(_) => "alert",
            Self::Invitation(_) => "invitation",
            Self::PaymentMethod(_) => "payment_method",
            Self::Key(_) => "key",
            Self::Rule(_) => "rule",
        }
    }

    pub fn id(&self) -> &str {
        match self {
            Self::CreditRequest(id) => id.as_str(),
            Self::Order(id) => id.as_str(),
            Self::Alert(id) => id.as_str(),
            Self::Invitation(id) => id.as_str(),
            Self::PaymentMethod(id) => id.as_str(),
            Self::Key(id) => id.as_str(),
            Self::Rule(id) => id.as_str(),
        }
    }
}

/// The thing itself. The variants' order is part of the books' format: append, never reorder or remove.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    CreditRequest(Box<CreditRequest>),
    Order(Box<TopUpOrder>),
    Alert(Box<Alert>),
    Invitation(Box<Invitation>),
    PaymentMethod(Box<PaymentMethod>),
    Key(Box<Key>),
    Rule(Box<Rule>),
}

impl Ended {
    pub fn name(&self) -> EndedName {
        match self {
            Self::CreditRequest(request) => EndedName::CreditRequest(request.id.clone()),
            Self::Order(order) => EndedName::Order(order.id.clone()),
            Self::Alert(alert) => EndedName::Alert(alert.id.clone()),
            Self::Invitation(invitation) => EndedName::Invitation(invitation.id.clone()),
            Self::PaymentMethod(method) => EndedName::PaymentMethod(method.id.clone()),
            Self::Key(key) => EndedName::Key(key.id.clone()),
            Self::Rule(rule) => EndedName::Rule(rule.id.clone()),
        }
    }

    /// The request id that nothing else can have.
    pub fn request(&self) -> Option<&RequestId> {
        match self {
            Self::Order(order) => Some(&order.request),
            Self::CreditRequest(_)
            | Self::Alert(_)
            | Self::Invitation(_)
            | Self::PaymentMethod(_)
            | Self::Key(_)
            | Self::Rule(_) => None,
        }
    }
}

/// What an event ends, or will have ended without another one, or changes after its end.
pub fn ended_by(event: &Event) -> Option<EndedName> {
    match event {
        Event::CreditRequestSet(request) if request.state != CreditRequestState::Pending => {
            Some(EndedName::CreditRequest(request.id.clone()))
        }
        Event::OrderSet(order) if order.state != OrderState::Pending => Some(EndedName::Order(order.id.clone())),
        Event::AlertSet(alert) if alert.next_attempt().is_none() => Some(EndedName::Alert(alert.id.clone())),
        // One that is pending ends by time.
        Event::InvitationSet(invitation) => Some(EndedName::Invitation(invitation.id.clone())),
        Event::PaymentMethodSet(method) if method.deleted => Some(EndedName::PaymentMethod(method.id.clone())),
        Event::KeySet(key) if key.deleted => Some(EndedName::Key(key.id.clone())),
        Event::RuleSet(rule) if rule.deleted => Some(EndedName::Rule(rule.id.clone())),
        _ => None,
    }
}

/// The same as it is after that event.
pub fn ended_in(event: &Event) -> Option<Ended> {
    ended_by(event)?;
    match event {
        Event::CreditRequestSet(request) => Some(Ended::CreditRequest(request.clone())),
        Event::OrderSet(order) => Some(Ended::Order(order.clone())),
        Event::AlertSet(alert) => Some(Ended::Alert(alert.clone())),
        Event::InvitationSet(invitation) => Some(Ended::Invitation(invitation.clone())),
        Event::PaymentMethodSet(method) => Some(Ended::PaymentMethod(method.clone())),
        Event::KeySet(key) => Some(Ended::Key(key.clone())),
        Event::RuleSet(rule) => Some(Ended::Rule(rule.clone())),
        _ => None,
    }
}
