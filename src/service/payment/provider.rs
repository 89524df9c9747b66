//! Who takes the money: a provider is told of an order and says, at some time, what became of it.

use async_trait::async_trait;
use serde::Deserialize;
use serde_json::json;

use crate::{
    domain::{
        contact::WebhookSecret,
        error::Invalid,
        id::{OrderId, OrganizationId},
        payment::{PaymentOutcome, TopUpOrder},
        text::{check_line, check_text},
        time::Timestamp,
    },
    engine::conflict::Conflict,
    notify::{DeliveryError, Webhooks, verify},
    service::Error,
};

/// How far a confirmation's own time may be from ours, in seconds.
const TOLERANCE: i64 = 300;
const MAX_TEXT: usize = 1024;

/// What became of telling a provider of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placed {
    /// It will say what became of it.
    Taken,
    /// Not now.
    Failed(String),
    /// Never.
    Refused(String),
}

/// What a provider says of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    pub organization: OrganizationId,
    pub order: OrderId,
    pub outcome: PaymentOutcome,
    pub reference: String,
    pub reason: String,
}

#[async_trait]
pub trait PaymentProvider: Send + Sync + 'static {
    /// Tells of an order, as often as it takes: repeats are told by the organization's and the order's id. `method` is the
    /// provider's own name for how it is paid; empty leaves that to it.
    async fn place(&self, organization: &OrganizationId, order: &TopUpOrder, method: &str, now: Timestamp) -> Placed;

    /// Reads what the provider says, with the id, time and signature that came with it.
    ///
    /// # Errors
    /// [`Error`] when it isn't the provider's, or says nothing that can be understood.
    fn read(&self, payload: &[u8], signed: (&str, &str, &str), now: Timestamp) -> Result<Confirmation, Error>;
}

/// An operator settles or fails each order by hand, with `DecideTopUpOrder`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ManualProvider;

#[async_trait]
impl PaymentProvider for ManualProvider {
    async fn place(&self, _: &OrganizationId, _: &TopUpOrder, _: &str, _: Timestamp) -> Placed {
        Placed::Taken
    }

    fn read(&self, _: &[u8], _: (&str, &str, &str), _: Timestamp) -> Result<Confirmation, Error> {
        let why = "no payment provider is configured that could sign this; the operator decides with DecideTopUpOrder";
        Err(Conflict::Precondition(why.to_owned()).into())
    }
}

/// Orders are posted, signed; confirmations come back signed with the same secret.
pub struct WebhookProvider {
    pub url: String,
    pub secret: WebhookSecret,
    pub webhooks: Webhooks,
}

#[async_trait]
impl PaymentProvider for WebhookProvider {
    async fn place(&self, organization: &OrganizationId, order: &TopUpOrder, method: &str, now: Timestamp) -> Placed {
        let id = format!("{organization}.{}", order.id);
        let body = json!({
            "type": "top_up.ordered",
            "timestamp": now.to_string(),
            "data": {
                "idempotency_key": id,
                "organization_id": organization.as_str(),
                "order_id": order.id.as_str(),
                "amount": order.amount.to_string(),
                "currency": "USD",
                "payment_method": method,
                "ordered_by": order.actor.as_str(),
            },
        });
        let posted = self.webhooks.post(&self.url, &self.secret, &id, now.seconds(), body.to_string().as_bytes()).await;
        let Err(error) = posted else { return Placed::Taken };
        // Tenants read what is answered; where the provider is, and what it says of us, is the operator's to know.
        tracing::warn!(%organization, order = %order.id, %error, "the payment provider didn't take an order");
        match error {
            DeliveryError::Retriable(_) => Placed::Failed(String::from("the payment provider doesn't answer")),
            DeliveryError::Permanent(_) => Placed::Refused(String::from("the payment provider refused the order")),
        }
    }

    fn read(&self, payload: &[u8], signed: (&str, &str, &str), now: Timestamp) -> Result<Confirmation, Error> {
        let (id, timestamp, signature) = signed;
        let not_a_time = || Invalid::new("webhook_timestamp", "isn't a number of seconds since the Unix epoch");
        let at: i64 = timestamp.parse().map_err(|_| not_a_time())?;
        verify(&self.secret, id, at, payload, signature, now.seconds(), TOLERANCE).map_err(|error| {
            Error::PermissionDenied(format!("the confirmation isn't the payment provider's: {error}"))
        })?;
        let said: Said = serde_json::from_slice(payload)
            .map_err(|error| Invalid::new("payload", format!("isn't a confirmation: {error}")))?;
        said.checked().map_err(Error::from)
    }
}

#[derive(Debug, Deserialize)]
struct Said {
    organization_id: String,
    order_id: String,
    outcome: String,
    #[serde(default)]
    reference: String,
    #[serde(default)]
    reason: String,
}

impl Said {
    fn checked(self) -> Result<Confirmation, Invalid> {
        let Self { organization_id, order_id, outcome, reference, reason } = self;
        let outcome = match outcome.as_str() {
            "settled" => PaymentOutcome::Settled,
            "soft_declined" => PaymentOutcome::SoftDeclined,
            "hard_declined" => PaymentOutcome::HardDeclined,
            "reversed" => PaymentOutcome::Reversed,
            other => {
                let shown: String = other.chars().take(40).collect();
                let problem = format!("{shown:?} is none of settled, soft_declined, hard_declined, reversed");
                return Err(Invalid::new("payload.outcome", problem));
            }
        };
        check_line("payload.reference", &reference, MAX_TEXT)?;
        check_text("payload.reason", &reason, MAX_TEXT)?;
        Ok(Confirmation {
            organization: OrganizationId::parse("payload.organization_id", &organization_id)?,
            order: OrderId::parse("payload.order_id", &order_id)?,
            outcome,
            reference,
            reason,
        })
    }
}
