//! How a client reaches a server: addresses, and the settings of the connection, each with its reason.

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::{ConnectError, innermost};

/// h2 closes a connection whose peer leaves many small frames unread (`ENHANCE_YOUR_CALM`), and a full window stalls all calls
/// of a connection. Answers are small, so this costs nothing until something piles up. The adaptive window would shrink it.
pub const WINDOW: u32 = 16 << 20;
/// A server that is up accepts in milliseconds; one that is gone may not even refuse.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds a peer that vanished without a word, and keeps what stands between (NAT, load balancers) from forgetting the connection.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server is, and how to get there.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    /// As it was given, for messages: a Unix socket's URI says nothing.
    name: String,
    endpoint: Endpoint,
}

impl Dial {
    /// `http://HOST:PORT` or `unix:/PATH`.
    pub(super) fn new(endpoint: &str) -> Result<Self, ConnectError> {
        let wrong = |cause: String| ConnectError::Endpoint { endpoint: endpoint.to_owned(), cause };
        match endpoint.split_once(':') {
            Some(("unix", path)) if path.trim_start_matches('/').is_empty() || !path.starts_with('/') => {
                return Err(wrong("a Unix socket is named by its whole path".to_owned()));
            }
            Some(("http" | "unix", _)) => {}
            Some(("https", _)) => return Err(wrong("TLS is not spoken here; put a proxy in front".to_owned())),
            _ => return Err(wrong("it doesn't begin with http:// or unix:/".to_owned())),
        }
        let transport = Endpoint::from_shared(endpoint.to_owned());
        let transport = transport.map_err(|error| wrong(innermost(&error).to_string()))?;
        Ok(Self { name: endpoint.trim_end_matches('/').to_owned(), endpoint: settled(transport) })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) async fn connect(&self) -> Result<Channel, ConnectError> {
        self.endpoint.connect().await.map_err(|error| ConnectError::Unreachable {
            endpoint: self.name.clone(),
            cause: innermost(&error).to_string(),
        })
    }

    pub(super) fn connect_lazy(&self) -> Channel {
        self.endpoint.connect_lazy()
    }
}

fn settled(endpoint: Endpoint) -> Endpoint {
    endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        // A request is one small write; waiting for more to send with it would cost up to 40 ms.
        .tcp_nodelay(true)
        .initial_connection_window_size(WINDOW)
        .initial_stream_window_size(WINDOW)
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        // Otherwise an idle pool finds out with the next request, and that request pays for it.
        .keep_alive_while_idle(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::DEFAULT_ENDPOINT;

    #[test]
    fn endpoints_that_no_server_can_have_are_named() {
        let bad =
            ["127.0.0.1:50051", "https://example.org", "http://", "ftp://x", "", "unix:", "unix:/", "unix:a.sock"];
        for bad in bad {
            let error = Dial::new(bad).unwrap_err();
            assert!(error.to_string().contains(&format!("{bad:?}")), "{error}");
        }
        for good in [DEFAULT_ENDPOINT, "unix:/run/quotad.sock", "unix:///run/quotad.sock"] {
            assert!(Dial::new(good).is_ok(), "{good}");
        }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_on_is_named_by_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let endpoint = format!("unix:{}", folder.path().join("none.sock").display());
        let error = Dial::new(&endpoint).unwrap().connect().await.unwrap_err();
        assert!(matches!(error, ConnectError::Unreachable { .. }));
        assert!(error.to_string().contains(&endpoint), "{error}");
    }
}
