//! The caller's side of the API: connections with a bearer token on every call, errors in words, and what an inference
//! server needs around a request, done right. What `quotactl`, the demo and the tests are built on.
//!
//! * [`Connection`]: one channel. [`Pool`]: several, taken in turns.
//! * [`Session`]: one stream with many operations under way.
//! * [`Gate`]: Reserve before the work, Commit after it, over either: deadlines, retries, and what happens while quotad is
//!   out of reach.
//!
//! Knows the server by its protobuf only, never by its insides.

use std::{error::Error, time::Duration};

use http::HeaderValue;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use tonic_health::pb::health_client::HealthClient;

use self::{places::SettlesFirst, transport::Dial};
use crate::api::proto;

mod explain;
mod gate;
mod places;
mod pool;
mod retry;
mod session;
mod transport;

pub use explain::{code_name, explain, is_transient, reason, when_to_retry};
pub use gate::{Debts, Gate, GateError, GateOptions, Line, Settled, Ticket, WhenUnreachable};
pub use places::Places;
pub use pool::Pool;
pub use retry::Retry;
pub use session::{Revocations, Session, StreamBroken};
pub use transport::WINDOW;

/// Where a server listens unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// A page of 1,000 ledger entries with full labels passes tonic's default of 4 MiB.
const MAX_ANSWER: usize = 64 << 20;

/// A connection to one server, made again by itself when it breaks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection {
    /// `None` for a channel that was made elsewhere.
    dial: Option<Dial>,
    channel: SettlesFirst,
    bearer: Bearer,
}

/// What every client of a [`Connection`] sends through.
pub type Authenticated = InterceptedService<SettlesFirst, Bearer>;

/// Adds `authorization: Bearer …` to each call, and how long its answer may take.
#[derive(Debug, Clone)]
pub struct Bearer {
    authorization: MetadataValue<Ascii>,
    timeout: Option<Duration>,
}

impl Bearer {
    fn new(token: &str) -> Result<Self, ConnectError> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", token.trim()).parse().map_err(|_| ConnectError::Token)?;
        value.set_sensitive(true);
        Ok(Self { authorization: value, timeout: None })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.authorization.clone());
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        Ok(request)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error(
        "endpoint: {endpoint:?} is no address of a server ({cause}); give one such as \"{DEFAULT_ENDPOINT}\" or \
         \"unix:/run/quotad.sock\""
    )]
    Endpoint { endpoint: String, cause: String },
    #[error("token: holds characters that can't be sent; give the token as it was made, on one line")]
    Token,
    #[error("no quotad answers at {endpoint}: {cause}")]
    Unreachable { endpoint: String, cause: String },
}

impl Connection {
    /// Connects to `endpoint`, such as `http://127.0.0.1:50051` or `unix:/run/quotad.sock`, within 5 seconds.
    ///
    /// # Errors
    /// [`ConnectError`] when the endpoint or the token can't be used, or nothing listens there.
    pub async fn open(endpoint: &str, token: &str) -> Result<Self, ConnectError> {
        let bearer = Bearer::new(token)?;
        let dial = Dial::new(endpoint)?;
        Ok(Self { channel: SettlesFirst::new(dial.connect().await?), dial: Some(dial), bearer })
    }

    /// Like [`Self::open`], but connects with the first call, which is what fails if nothing listens. Needs a runtime.
    ///
    /// # Errors
    /// [`ConnectError`] when the endpoint or the token can't be used.
    pub fn lazy(endpoint: &str, token: &str) -> Result<Self, ConnectError> {
        let bearer = Bearer::new(token)?;
        let dial = Dial::new(endpoint)?;
        Ok(Self { channel: SettlesFirst::new(dial.connect_lazy()), dial: Some(dial), bearer })
    }

    /// Over a channel that was made elsewhere: through TLS, a proxy, or in memory.
    ///
    /// # Errors
    /// [`ConnectError::Token`] when the token can't be sent.
    pub fn over(channel: Channel, token: &str) -> Result<Self, ConnectError> {
        Ok(Self { dial: None, channel: SettlesFirst::new(channel), bearer: Bearer::new(token)? })
    }

    /// A further connection to the same server, with the same token: one connection's calls share one stream of bytes. Of a
    /// channel that was made elsewhere it is that channel again.
    ///
    /// # Errors
    /// [`ConnectError::Unreachable`] when nothing listens there any more.
    pub async fn another(&self) -> Result<Self, ConnectError> {
        let Some(dial) = &self.dial else { return Ok(self.clone()) };
        Ok(Self { channel: SettlesFirst::new(dial.connect().await?), ..self.clone() })
    }

    /// Where the server is, as it was given; `None` for a channel that was made elsewhere.
    pub fn address(&self) -> Option<&str> {
        self.dial.as_ref().map(Dial::name)
    }

    /// The `authorization` that every call carries.
    pub fn authorization(&self) -> HeaderValue {
        let mut value = HeaderValue::from_bytes(self.bearer.authorization.as_bytes())
            .unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// The same connection under another token.
    ///
    /// # Errors
    /// [`ConnectError::Token`] when the token can't be sent.
    pub fn with_token(&self, token: &str) -> Result<Self, ConnectError> {
        let bearer = Bearer { timeout: self.bearer.timeout, ..Bearer::new(token)? };
        Ok(Self { bearer, ..self.clone() })
    }

    /// The same connection, on which each call's answer, or the beginning of its stream, comes within `timeout` or not at all.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        let bearer = Bearer { timeout: Some(timeout), ..self.bearer.clone() };
        Self { bearer, ..self.clone() }
    }

    /// The standard health service (`grpc.health.v1`).
    pub fn health(&self) -> HealthClient<Authenticated> {
        HealthClient::with_interceptor(self.channel.clone(), self.bearer.clone())
    }
}

macro_rules! services {
    ($($method:ident => $module:ident::$client:ident;)*) => {
        impl Connection {$(
            pub fn $method(&self) -> proto::$module::$client<Authenticated> {
                proto::$module::$client::with_interceptor(self.channel.clone(), self.bearer.clone())
                    .max_decoding_message_size(MAX_ANSWER)
            }
        )*}
    };
}

services! {
    quota => quota_service_client::QuotaServiceClient;
    organizations => organization_service_client::OrganizationServiceClient;
    teams => team_service_client::TeamServiceClient;
    members => member_service_client::MemberServiceClient;
    keys => key_service_client::KeyServiceClient;
    rules => rule_service_client::RuleServiceClient;
    allocations => allocation_service_client::AllocationServiceClient;
    credit_requests => credit_request_service_client::CreditRequestServiceClient;
    alerts => alert_service_client::AlertServiceClient;
    prices => price_service_client::PriceServiceClient;
    wallets => wallet_service_client::WalletServiceClient;
    ledger => ledger_service_client::LedgerServiceClient;
    tokens => token_service_client::TokenServiceClient;
}

/// The last in a chain of causes: where transport errors keep what happened.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_as_bearer_without_the_line_break_of_its_file() {
        let mut bearer = Bearer::new("secret\n").unwrap();
        let request = bearer.call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer secret");
        assert!(!format!("{bearer:?}").contains("secret"));
        assert!(matches!(Bearer::new("two\nlines"), Err(ConnectError::Token)));
    }

    #[tokio::test]
    async fn nobody_listening_is_an_error_that_names_the_endpoint() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Connection::open(&format!("http://{free}"), "t").await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }));
        assert!(error.to_string().contains(&free.to_string()), "{error}");
    }
}
