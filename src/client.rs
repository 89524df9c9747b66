//! The caller's side of the API: one connection, a bearer token on every call, errors in words. What `quotactl` and the
//! demo are built on.
//!
//! Knows the server by its protobuf only, never by its insides.

use std::{error::Error, time::Duration};

use http::{HeaderValue, Uri};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::api::proto;

mod explain;

pub use explain::{code_name, explain, is_transient, reason};

/// Where a server listens unless told otherwise.
pub const DEFAULT_ENDPOINT: &str = "http://127.0.0.1:50051";

/// A page of 1,000 ledger entries with full labels passes tonic's default of 4 MiB.
const MAX_ANSWER: usize = 64 << 20;
/// h2 closes a connection whose peer leaves many small frames unread; the adaptive window would shrink this again.
pub const WINDOW: u32 = 16 << 20;

/// A connection to one server, made again by itself when it breaks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connection {
    endpoint: Endpoint,
    channel: Channel,
    bearer: Bearer,
}

/// What every client of a [`Connection`] sends through.
pub type Authenticated = InterceptedService<Channel, Bearer>;

/// Adds `authorization: Bearer …` to each call.
#[derive(Debug, Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Bearer {
    fn new(token: &str) -> Result<Self, ConnectError> {
        let mut value: MetadataValue<Ascii> =
            format!("Bearer {}", token.trim()).parse().map_err(|_| ConnectError::Token)?;
        value.set_sensitive(true);
        Ok(Self(value))
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("endpoint: {endpoint:?} is no address of a server ({cause}); give one such as \"{DEFAULT_ENDPOINT}\"")]
    Endpoint { endpoint: String, cause: String },
    #[error("token: holds characters that can't be sent; give the token as it was made, on one line")]
    Token,
    #[error("no quotad answers at {endpoint}: {cause}")]
    Unreachable { endpoint: String, cause: String },
}

impl Connection {
    /// Connects to `endpoint`, such as `http://127.0.0.1:50051`, within 5 seconds.
    ///
    /// # Errors
    /// [`ConnectError`] when the endpoint or the token can't be used, or nothing listens there.
    pub async fn open(endpoint: &str, token: &str) -> Result<Self, ConnectError> {
        let bearer = Bearer::new(token)?;
        Self::connect(transport(endpoint)?, bearer).await
    }

    async fn connect(endpoint: Endpoint, bearer: Bearer) -> Result<Self, ConnectError> {
        let channel = endpoint.connect().await.map_err(|error| ConnectError::Unreachable {
            endpoint: endpoint.uri().to_string().trim_end_matches('/').to_owned(),
            cause: innermost(&error).to_string(),
        })?;
        Ok(Self { endpoint, channel, bearer })
    }

    /// A further connection to the same server, with the same token: one connection's calls share one stream of bytes.
    ///
    /// # Errors
    /// [`ConnectError::Unreachable`] when nothing listens there any more.
    pub async fn another(&self) -> Result<Self, ConnectError> {
        Self::connect(self.endpoint.clone(), self.bearer.clone()).await
    }

    /// Where the server is.
    pub fn uri(&self) -> &Uri {
        self.endpoint.uri()
    }

    /// The header that every call carries.
    pub fn authorization(&self) -> HeaderValue {
        let mut value =
            HeaderValue::from_bytes(self.bearer.0.as_bytes()).unwrap_or_else(|_| HeaderValue::from_static(""));
        value.set_sensitive(true);
        value
    }

    /// The same connection under another token.
    ///
    /// # Errors
    /// [`ConnectError::Token`] when the token can't be sent.
    pub fn with_token(&self, token: &str) -> Result<Self, ConnectError> {
        Ok(Self { bearer: Bearer::new(token)?, ..self.clone() })
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

fn transport(endpoint: &str) -> Result<Endpoint, ConnectError> {
    let wrong = |cause: String| ConnectError::Endpoint { endpoint: endpoint.to_owned(), cause };
    let transport = Endpoint::from_shared(endpoint.to_owned()).map_err(|error| wrong(innermost(&error).to_string()))?;
    match transport.uri().scheme_str() {
        Some("http") => {}
        Some("https") => return Err(wrong("TLS is not spoken here; put a proxy in front".to_owned())),
        _ => return Err(wrong("it doesn't begin with http://".to_owned())),
    }
    Ok(transport
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10)))
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

    #[test]
    fn endpoints_that_no_server_can_have_are_named() {
        for bad in ["127.0.0.1:50051", "https://example.org", "http://", "ftp://x", ""] {
            let error = transport(bad).unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        assert!(transport(DEFAULT_ENDPOINT).is_ok());
    }

    #[tokio::test]
    async fn nobody_listening_is_an_error_that_names_the_endpoint() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Connection::open(&format!("http://{free}"), "t").await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }));
        assert!(error.to_string().contains(&free.to_string()), "{error}");
    }
}
