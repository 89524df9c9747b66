//! Where notices go: e-mail addresses, webhook URLs, and the secrets that webhooks are signed with.
//!
//! What is accepted here can be sent to: `notify` has no stricter rules of its own. Nothing is resolved or connected to.

use std::fmt;

use data_encoding::BASE64;
use email_address::EmailAddress;
use http::Uri;
use serde::{Deserialize, Serialize};

use super::{
    error::Invalid,
    fold,
    text::{is_hidden, shown},
};

#[cfg(test)]
mod tests;

/// Longest e-mail address, in bytes: the path of RFC 5321 (4.5.3.1.3) without its angle brackets.
pub const MAX_EMAIL: usize = 254;
/// Longest webhook URL, in bytes.
pub const MAX_URL: usize = 2048;

/// Checks one bare e-mail address (no display name, no list, no IP address for a domain).
///
/// # Errors
/// [`Invalid`] for `field`, which shows the value.
pub fn check_email(field: &str, value: &str) -> Result<(), Invalid> {
    let problem = |what: &str| {
        Err(Invalid::new(field, format!("{} {what}; give one address, such as ops@example.com", shown(value))))
    };
    if value.len() > MAX_EMAIL {
        return problem(&format!("is {} bytes long, at most {MAX_EMAIL} are allowed", value.len()));
    }
    // Some of these may stand between quotes; what breaks a header or a log line is not worth that courtesy.
    if value.chars().any(|c| c.is_whitespace() || is_hidden(c)) {
        return problem("holds spaces or control characters");
    }
    let Some((user, domain)) = value.rsplit_once('@') else { return problem("has no '@'") };
    if !EmailAddress::is_valid_local_part(user) {
        return problem("isn't an e-mail address before the '@'");
    }
    // No top-level domain is a number, but the end of an IP address is.
    let number = domain.rsplit('.').next().is_some_and(|label| label.chars().all(|c| c.is_ascii_digit()));
    if number || domain.starts_with('[') || !EmailAddress::is_valid_domain(domain) {
        return problem("has no domain name after the '@'");
    }
    Ok(())
}

/// An address as it was given, compared whatever the case of its letters: no mail server that anybody uses tells them apart.
#[derive(Debug, Clone)]
pub struct Email(pub String);

impl Email {
    /// # Errors
    /// As [`check_email`].
    pub fn parse(field: &str, value: &str) -> Result<Self, Invalid> {
        check_email(field, value).map(|()| Self(value.to_owned()))
    }
}

impl PartialEq for Email {
    fn eq(&self, other: &Self) -> bool {
        fold::address(&self.0) == fold::address(&other.0)
    }
}

impl Eq for Email {}

/// Checks the absolute `http` or `https` URL that notices are posted to.
///
/// # Errors
/// [`Invalid`] for `field`. The value is never shown: it may hold a password.
pub fn check_webhook_url(field: &str, value: &str) -> Result<(), Invalid> {
    let problem = |what: &str| Err(Invalid::new(field, format!("{what}; give one such as https://example.com/hook")));
    if value.len() > MAX_URL {
        return problem(&format!("is {} bytes long, at most {MAX_URL} are allowed", value.len()));
    }
    let Ok(uri) = value.parse::<Uri>() else {
        return problem("isn't a URL of plain ASCII (an international host name is written xn--…)");
    };
    let Some(authority) = uri.authority().filter(|_| matches!(uri.scheme_str(), Some("http" | "https"))) else {
        return problem("isn't an http:// or https:// URL");
    };
    if authority.as_str().contains('@') {
        return problem("holds a user name or password, which would be seen by all who see the URL");
    }
    if authority.host().is_empty() {
        return problem("names no host");
    }
    // `Uri` takes any digits for a port, and a client would go on with the scheme's own.
    let port = authority.as_str().strip_prefix(authority.host()).unwrap_or_default();
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return problem("has something else than a port from 1 to 65535 behind the host's ':'");
    }
    if value.contains('#') {
        return problem("has a part after '#', which is never sent");
    }
    Ok(())
}

/// The key that both ends of a webhook know, as Standard Webhooks writes it: `whsec_` and base64 of 24 to 64 bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    const PREFIX: &str = "whsec_";

    /// A new secret from 24 bytes that nobody can guess.
    pub fn from_random(key: [u8; 24]) -> Self {
        Self(key.to_vec())
    }

    /// # Errors
    /// [`Invalid`] for `field`, which never shows the value.
    pub fn parse(field: &str, value: &str) -> Result<Self, Invalid> {
        let form = "give whsec_ followed by base64 of 24 to 64 bytes";
        let Some(encoded) = value.strip_prefix(Self::PREFIX) else {
            return Err(Invalid::new(field, format!("doesn't begin with whsec_; {form}")));
        };
        let Ok(key) = BASE64.decode(encoded.as_bytes()) else {
            return Err(Invalid::new(field, format!("isn't base64 with its padding after whsec_; {form}")));
        };
        if !(24..=64).contains(&key.len()) {
            return Err(Invalid::new(field, format!("holds {} bytes; {form}", key.len())));
        }
        Ok(Self(key))
    }

    /// What signatures are made with.
    pub fn key(&self) -> &[u8] {
        &self.0
    }

    /// The whole secret in its written form, for whoever may see it.
    pub fn reveal(&self) -> String {
        format!("{}{}", Self::PREFIX, BASE64.encode(&self.0))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl From<WebhookSecret> for String {
    fn from(secret: WebhookSecret) -> Self {
        secret.reveal()
    }
}

impl TryFrom<String> for WebhookSecret {
    type Error = Invalid;

    fn try_from(value: String) -> Result<Self, Invalid> {
        Self::parse("webhook_secret", &value)
    }
}
