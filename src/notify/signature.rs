//! The signature of Standard Webhooks (<https://www.standardwebhooks.com>), by which a receiver knows who posted what and when.

use data_encoding::BASE64;
use ring::hmac;

use crate::domain::contact::WebhookSecret;

#[cfg(test)]
mod tests;

/// The symmetric scheme, HMAC-SHA256. Others in the same header are for other receivers.
const VERSION: &str = "v1,";

/// Why a signature doesn't hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the timestamp is {seconds} seconds old; this may be a replay")]
    TooOld { seconds: i64 },
    #[error("the timestamp is {seconds} seconds ahead; one of the two clocks is wrong")]
    TooNew { seconds: i64 },
    #[error("no signature of the scheme v1 was given")]
    Missing,
    #[error("no signature fits: another secret, or the id, timestamp or body was changed")]
    Mismatch,
}

/// The value of `webhook-signature` for what is sent under the same `webhook-id` and `webhook-timestamp` (Unix seconds).
pub fn sign(secret: &WebhookSecret, id: &str, timestamp_seconds: i64, body: &[u8]) -> String {
    let tag = hmac::sign(&key(secret), &signed(id, timestamp_seconds, body));
    format!("{VERSION}{}", BASE64.encode(tag.as_ref()))
}

/// Checks the three headers and the body as they were received. While a secret is being replaced the header holds one
/// signature for each; one that fits is enough.
///
/// # Errors
/// [`SignatureError`] when the timestamp is more than the tolerance away from now, or no signature fits.
pub fn verify(
    secret: &WebhookSecret,
    id: &str,
    timestamp_seconds: i64,
    body: &[u8],
    signature_header: &str,
    now_seconds: i64,
    tolerance_seconds: i64,
) -> Result<(), SignatureError> {
    let age = now_seconds.saturating_sub(timestamp_seconds);
    if age > tolerance_seconds {
        return Err(SignatureError::TooOld { seconds: age });
    }
    if age < tolerance_seconds.saturating_neg() {
        return Err(SignatureError::TooNew { seconds: age.saturating_neg() });
    }
    let (key, signed) = (key(secret), signed(id, timestamp_seconds, body));
    let mut given = signature_header.split_whitespace().filter_map(|one| one.strip_prefix(VERSION)).peekable();
    if given.peek().is_none() {
        return Err(SignatureError::Missing);
    }
    // `hmac::verify` takes as long for a signature that is nearly right: its time tells nothing.
    let fits =
        |encoded: &str| BASE64.decode(encoded.as_bytes()).is_ok_and(|tag| hmac::verify(&key, &signed, &tag).is_ok());
    if given.any(fits) { Ok(()) } else { Err(SignatureError::Mismatch) }
}

fn key(secret: &WebhookSecret) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.key())
}

fn signed(id: &str, timestamp_seconds: i64, body: &[u8]) -> Vec<u8> {
    [format!("{id}.{timestamp_seconds}.").as_bytes(), body].concat()
}
