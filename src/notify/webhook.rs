//! Posting a notice to a URL, signed. Redirects aren't followed, and answers aren't read beyond their status.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header, uri::Scheme};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use rustls::{ClientConfig, crypto::ring, pki_types::CertificateDer};

use super::{
    DeliveryError, describe,
    roots::{read_ca_file, system_roots},
    sign,
};
use crate::domain::{
    contact::{WebhookSecret, check_webhook_url},
    error::Invalid,
};

use egress::Egress;
pub use egress::Proxy;
pub use reach::{Network, Reach};

mod egress;
mod reach;
#[cfg(test)]
mod tests;

const USER_AGENT: &str = concat!("quotad/", env!("CARGO_PKG_VERSION"));

/// Posts webhooks over HTTP/1.1, each on a connection of its own: they are rare, and a connection kept would more often
/// be found closed than be of use.
#[derive(Debug, Clone)]
pub struct Webhooks {
    client: Client<HttpsConnector<Egress>, Full<Bytes>>,
    proxy: Option<Proxy>,
    timeout: Duration,
}

impl Webhooks {
    /// `timeout` is for a whole attempt, from resolving the name to the answer's status. Goes by the proxy, if there is one, and
    /// trusts the system's roots.
    ///
    /// # Errors
    /// [`Invalid`] for a `timeout` of zero.
    pub fn new(timeout: Duration, reach: Reach, proxy: Option<Proxy>) -> Result<Self, Invalid> {
        Self::trusting(timeout, reach, proxy, Vec::new())
    }

    /// Trusts the roots in a PEM file besides the system's.
    ///
    /// # Errors
    /// [`Invalid`] for a `timeout` of zero, or a `ca_file` that can't be read or holds no certificate.
    pub fn with_ca_file(
        timeout: Duration,
        reach: Reach,
        proxy: Option<Proxy>,
        ca_file: &Path,
    ) -> Result<Self, Invalid> {
        Self::trusting(timeout, reach, proxy, read_ca_file(ca_file)?)
    }

    fn trusting(
        timeout: Duration,
        reach: Reach,
        proxy: Option<Proxy>,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Self, Invalid> {
        if timeout.is_zero() {
            return Err(Invalid::new("timeout", "is 0, in which nothing can be delivered; give 10 seconds"));
        }
        let mut roots = system_roots();
        roots.add_parsable_certificates(certificates);
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Invalid::new("tls", error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let egress = Egress::new(reach, proxy.clone());
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(egress);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, proxy, timeout })
    }

    /// Posts a JSON body once. `id` is the same for every attempt, by which the receiver knows a repeat; `timestamp_seconds`
    /// (Unix) is that of this attempt, since receivers refuse old ones.
    ///
    /// # Errors
    /// [`DeliveryError::Permanent`] for a URL or id that can't be sent, and for answers of 4xx but 408, 425 and 429;
    /// [`DeliveryError::Retriable`] for whatever else isn't 2xx, and where there was no answer within the timeout.
    pub async fn post(
        &self,
        url: &str,
        secret: &WebhookSecret,
        id: &str,
        timestamp_seconds: i64,
        body: &[u8],
    ) -> Result<(), DeliveryError> {
        check_webhook_url("url", url).map_err(|error| DeliveryError::Permanent(error.to_string()))?;
        let uri: Uri = url.parse().map_err(|error| DeliveryError::Permanent(format!("url: {error}")))?;
        // Paths and queries hold tokens often enough: errors name the host only.
        let host = uri.authority().map(ToString::to_string).unwrap_or_default();
        let is_encrypted = uri.scheme() == Some(&Scheme::HTTPS);
        let mut request = request(uri, secret, id, timestamp_seconds, body)
            .map_err(|error| DeliveryError::Permanent(format!("{host} can't be sent this: {error}")))?;
        if let Some(authorization) = self.proxy.as_ref().and_then(Proxy::authorization).filter(|_| !is_encrypted) {
            request.headers_mut().insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        match tokio::time::timeout(self.timeout, self.client.request(request)).await {
            Ok(Ok(answer)) => judge(&host, answer.status()),
            Ok(Err(error)) => Err(DeliveryError::Retriable(format!("{host}: {}", describe(&error)))),
            Err(_) => Err(DeliveryError::Retriable(format!("{host} didn't answer within {:?}", self.timeout))),
        }
    }
}

fn request(
    uri: Uri,
    secret: &WebhookSecret,
    id: &str,
    timestamp_seconds: i64,
    body: &[u8],
) -> Result<Request<Full<Bytes>>, http::Error> {
    Request::builder()
        .method(Method::POST)
        .uri(uri)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .header("webhook-id", HeaderValue::from_str(id)?)
        .header("webhook-timestamp", timestamp_seconds)
        .header("webhook-signature", sign(secret, id, timestamp_seconds, body))
        .body(Full::from(Bytes::copy_from_slice(body)))
}

fn judge(host: &str, status: StatusCode) -> Result<(), DeliveryError> {
    let answered = format!("{host} answered {status}");
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(DeliveryError::Retriable(answered))
        }
        StatusCode::GONE => Err(DeliveryError::Permanent(format!("{answered}: it wants no more of these"))),
        status if status.is_client_error() => Err(DeliveryError::Permanent(answered)),
        // Followed, a redirect could lead the signed body, and the caller's network position, to where nobody agreed to.
        status if status.is_redirection() => {
            Err(DeliveryError::Retriable(format!("{answered}, and redirects aren't followed: give the final URL")))
        }
        _ => Err(DeliveryError::Retriable(answered)),
    }
}
