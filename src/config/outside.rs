//! Settings of what lies outside: the mail server and the payment provider.

use std::{path::PathBuf, time::Duration};

use super::{ConfigError, Given, Secret, invalid, within};
use crate::{
    domain::{
        contact::{WebhookSecret, check_email, check_webhook_url},
        money::Nanos,
        payment::OrderTerms,
    },
    notify::{Network, Proxy, SmtpSettings, SmtpTls},
};

/// How long a mail server or a webhook may take to answer.
pub const TIMEOUT: Duration = Duration::from_secs(15);

/// Where orders to top up are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentSettings {
    pub url: Secret,
    /// Signs what is sent, and what comes back.
    pub secret: WebhookSecret,
}

/// How mail is encrypted on its way to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MailTls {
    Starttls,
    Tls,
    Plain,
}

impl MailTls {
    fn port(self) -> u16 {
        match self {
            Self::Starttls => 587,
            Self::Tls => 465,
            Self::Plain => 25,
        }
    }
}

/// `None` without a host: mail can't be delivered then.
pub(super) fn smtp(given: &Given) -> Result<Option<SmtpSettings>, ConfigError> {
    let Some(host) = given.smtp_host.clone().filter(|host| !host.is_empty()) else {
        let others = [
            ("smtp_from", given.smtp_from.is_some()),
            ("smtp_user", given.smtp_user.is_some()),
            ("smtp_password", given.smtp_password.is_some()),
        ];
        return match others.into_iter().find(|(_, is_set)| *is_set) {
            Some((setting, _)) => Err(invalid(setting, "is set without smtp_host, which it belongs to".to_owned())),
            None => Ok(None),
        };
    };
    let from = given.smtp_from.clone().unwrap_or_default();
    check_email("smtp_from", &from).map_err(|error| invalid("smtp_from", error.problem))?;
    if given.smtp_user.is_some() != given.smtp_password.is_some() {
        return Err(invalid("smtp_password", "belongs to smtp_user: set both or neither".to_owned()));
    }
    let tls = given.smtp_tls.unwrap_or(MailTls::Starttls);
    Ok(Some(SmtpSettings {
        host,
        port: given.smtp_port.unwrap_or(tls.port()),
        tls: match tls {
            MailTls::Starttls => SmtpTls::StartTls,
            MailTls::Tls => SmtpTls::Tls,
            MailTls::Plain => SmtpTls::Plain,
        },
        ca_file: given.smtp_ca_file.clone().filter(|path: &PathBuf| !path.as_os_str().is_empty()),
        user: given.smtp_user.clone(),
        password: given.smtp_password.as_ref().map(|password| password.reveal().to_owned()),
        from,
        timeout: TIMEOUT,
    }))
}

/// What members may order, and whether a provider charges it.
pub(super) fn orders(given: &Given) -> Result<OrderTerms, ConfigError> {
    let default = OrderTerms::default();
    let amount = within("max_order_usd", given.max_order_usd, 1..=1_000_000_000, "USD")?;
    let pending = within("max_pending_orders", given.max_pending_orders, 1..=10_000, "orders")?;
    Ok(OrderTerms {
        by_provider: given.payment_url.as_ref().is_some_and(|url| !url.reveal().is_empty()),
        amount: amount.map_or(default.amount, |usd| Nanos::units(usd.into())),
        pending: pending.unwrap_or(default.pending),
    })
}

/// Networks that webhooks may reach besides public addresses, and the proxy that they go through.
pub(super) fn webhooks(given: &Given) -> Result<(Vec<Network>, Option<Proxy>), ConfigError> {
    let allow = Network::parse_list("webhook_allow", given.webhook_allow.as_deref().unwrap_or_default());
    let proxy = given.webhook_proxy.as_ref().map(Secret::reveal).filter(|url| !url.is_empty());
    let proxy = proxy.map(|url| Proxy::parse("webhook_proxy", url)).transpose();
    Ok((
        allow.map_err(|error| invalid("webhook_allow", error.problem))?,
        proxy.map_err(|error| invalid("webhook_proxy", error.problem))?,
    ))
}

/// `None` without a URL: an operator decides each order.
pub(super) fn payments(given: &Given) -> Result<Option<PaymentSettings>, ConfigError> {
    match (given.payment_url.clone().filter(|url| !url.reveal().is_empty()), &given.payment_secret) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(invalid("payment_secret", "is set without payment_url, which it belongs to".to_owned())),
        (Some(_), None) => {
            Err(invalid("payment_secret", "is missing: orders are signed with it; give one as whsec_…".to_owned()))
        }
        (Some(url), Some(secret)) => {
            check_webhook_url("payment_url", url.reveal()).map_err(|error| invalid("payment_url", error.problem))?;
            let secret = WebhookSecret::parse("payment_secret", secret.reveal())
                .map_err(|error| invalid("payment_secret", error.problem))?;
            Ok(Some(PaymentSettings { url, secret }))
        }
    }
}
