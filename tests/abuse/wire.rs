//! Connections below gRPC: HTTP/2 as a hostile caller speaks it.

use bytes::Bytes;
use h2::{
    SendStream,
    client::{self, ResponseFuture, SendRequest},
};
use http::Request;
use tokio::net::TcpStream;

pub(crate) const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";
pub(crate) const HEALTH_WATCH: &str = "/grpc.health.v1.Health/Watch";

pub(crate) async fn dial(endpoint: &str) -> TcpStream {
    TcpStream::connect(endpoint.strip_prefix("http://").unwrap()).await.unwrap()
}

/// An HTTP/2 connection, greeted.
pub(crate) struct Wire {
    requests: SendRequest<Bytes>,
    token: Option<String>,
}

impl Wire {
    pub(crate) async fn open(endpoint: &str, token: Option<&str>) -> Self {
        Self::open_as(&client::Builder::new(), endpoint, token).await
    }

    pub(crate) async fn open_as(client: &client::Builder, endpoint: &str, token: Option<&str>) -> Self {
        let (requests, connection) = client.handshake(dial(endpoint).await).await.unwrap();
        tokio::spawn(connection);
        Self { requests, token: token.map(str::to_owned) }
    }

    /// Begins a call; `None` when the connection is gone.
    pub(crate) async fn call(&mut self, path: &str) -> Option<(ResponseFuture, SendStream<Bytes>)> {
        let mut request = Request::post(format!("http://quotad{path}")).header("content-type", "application/grpc");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        self.requests = self.requests.clone().ready().await.ok()?;
        self.requests.send_request(request.body(()).unwrap(), false).ok()
    }
}

/// A message as gRPC frames it.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    let mut framed = claiming(message.len()).to_vec();
    framed.extend(message);
    framed.into()
}

/// The beginning of a message that claims to be so long.
pub(crate) fn claiming(length: usize) -> Bytes {
    let mut prefix = vec![0];
    prefix.extend(u32::try_from(length).unwrap().to_be_bytes());
    prefix.into()
}
