//! How a webhook leaves: to addresses within its reach, or by a proxy.
//!
//! Addresses are judged after the name was resolved, by the connector that then connects to them and to no others: a name that
//! resolves to something else a moment later leads nowhere.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use data_encoding::BASE64;
use futures::future::BoxFuture;
use http::{HeaderValue, Uri, uri::Scheme};
use hyper_util::{
    client::legacy::connect::{
        Connected, Connection, HttpConnector,
        dns::{GaiResolver, Name},
    },
    rt::TokioIo,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::{TcpStream, lookup_host},
};
use tower::Service;

use super::Reach;
use crate::domain::error::Invalid;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Longest answer of a proxy to CONNECT.
const MAX_ANSWER: usize = 8 << 10;

/// A proxy for HTTP, by CONNECT where what is sent is encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Without a login.
    uri: Uri,
    /// Never shown: marked as sensitive.
    authorization: Option<HeaderValue>,
}

impl Proxy {
    /// Reads `http://HOST:PORT`, with `USER:PASSWORD@` before the host where the proxy wants it.
    ///
    /// # Errors
    /// [`Invalid`] for `field`, which repeats nothing of the URL.
    pub fn parse(field: &str, url: &str) -> Result<Self, Invalid> {
        let wrong = || {
            Invalid::new(
                field,
                "isn't the address of a proxy; give one such as http://proxy.example.org:3128, and a user name and \
                 password before the host with an '@' behind them, their special characters written %40",
            )
        };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|_| uri.scheme() == Some(&Scheme::HTTP)).ok_or_else(wrong)?;
        let (login, host) =
            authority.as_str().rsplit_once('@').map_or((None, authority.as_str()), |(login, host)| (Some(login), host));
        let port = host.strip_prefix(authority.host()).unwrap_or_default();
        let is_sound =
            !authority.host().is_empty() && (port.is_empty() || authority.port_u16().is_some_and(|port| port > 0));
        if !is_sound || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(wrong());
        }
        let authorization = match login {
            None => None,
            Some(login) => {
                let login = unescaped(login).ok_or_else(wrong)?;
                let mut basic =
                    HeaderValue::from_str(&format!("Basic {}", BASE64.encode(&login))).map_err(|_| wrong())?;
                basic.set_sensitive(true);
                Some(basic)
            }
        };
        Ok(Self { uri: format!("http://{host}/").parse().map_err(|_| wrong())?, authorization })
    }

    pub(super) fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }
}

/// With its `%40` and the like as the bytes that they stand for.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    Some(bytes)
}

/// Why nothing was connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
enum EgressError {
    #[error("it leads to {0}, which is no public address; name its network in webhook_allow where that is meant")]
    Refused(IpAddr),
    #[error("its host is an address in disguise; webhook_allow doesn't hold for it")]
    Disguised,
    #[error("its name has no address")]
    NoAddress,
    #[error("the proxy doesn't connect to it")]
    ProxyRefused,
    #[error("it names no host")]
    NoHost,
}

/// Resolves names to addresses within reach.
#[derive(Clone)]
pub(super) struct Resolver(Reach);

impl Service<Name> for Resolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let reach = self.0.clone();
        Box::pin(async move {
            let found: Vec<_> = lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().map(SocketAddr::ip).ok_or(EgressError::NoAddress)?;
            let within: Vec<_> = found.into_iter().filter(|address| reach.allows(address.ip())).collect();
            if within.is_empty() { Err(EgressError::Refused(first).into()) } else { Ok(within.into_iter()) }
        })
    }
}

/// Connects for webhooks.
#[derive(Clone)]
pub(super) struct Egress {
    reach: Reach,
    direct: HttpConnector<Resolver>,
    /// The proxy's own address is the operator's word.
    proxied: Option<(Proxy, HttpConnector<GaiResolver>)>,
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Egress").field("reach", &self.reach).finish_non_exhaustive()
    }
}

impl Egress {
    pub(super) fn new(reach: Reach, proxy: Option<Proxy>) -> Self {
        let mut direct = HttpConnector::new_with_resolver(Resolver(reach.clone()));
        direct.enforce_http(false);
        Self { reach, direct, proxied: proxy.map(|proxy| (proxy, HttpConnector::new())) }
    }

    /// Refuses addresses that the URL itself names: no resolver sees those, nor the names that a proxy resolves.
    fn check_host(&self, uri: &Uri) -> Result<(), EgressError> {
        let host = uri.host().ok_or(EgressError::NoHost)?;
        match host.trim_start_matches('[').trim_end_matches(']').parse() {
            Ok(address) if self.reach.allows(address) => Ok(()),
            Ok(address) => Err(EgressError::Refused(address)),
            Err(_) if self.proxied.is_some() && !self.reach.is_anywhere() && is_disguised(host) => {
                Err(EgressError::Disguised)
            }
            Err(_) => Ok(()),
        }
    }
}

/// Whether resolvers take a host for an address of this machine or for a number: `localhost`, `2130706433`, `0x7f.1`, `127.1`.
fn is_disguised(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let last = host.rsplit('.').next().unwrap_or_default();
    last == "localhost"
        || last.starts_with("0x")
        || (!last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Service<Uri> for Egress {
    type Response = TokioIo<Outgoing>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // As the connectors inside, which are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if let Err(refused) = self.check_host(&uri) {
            return Box::pin(async move { Err(refused.into()) });
        }
        match &self.proxied {
            None => {
                let connecting = self.direct.call(uri);
                Box::pin(async move {
                    let stream = connecting.await?.into_inner();
                    Ok(TokioIo::new(Outgoing { stream, by_proxy: false }))
                })
            }
            Some((proxy, connector)) => {
                let (proxy, mut connector) = (proxy.clone(), connector.clone());
                Box::pin(async move {
                    let mut stream = connector.call(proxy.uri.clone()).await?.into_inner();
                    let is_tunnel = uri.scheme() == Some(&Scheme::HTTPS);
                    if is_tunnel {
                        tunnel(&mut stream, &uri, proxy.authorization()).await?;
                    }
                    Ok(TokioIo::new(Outgoing { stream, by_proxy: !is_tunnel }))
                })
            }
        }
    }
}

/// Has the proxy connect to the host of `uri`. Whatever is said then is between the two ends.
async fn tunnel(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    uri: &Uri,
    authorization: Option<&HeaderValue>,
) -> Result<(), BoxError> {
    let (host, port) = (uri.host().ok_or(EgressError::NoHost)?, uri.port_u16().unwrap_or(443));
    let mut asked = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    if let Some(authorization) = authorization {
        asked.extend_from_slice(b"Proxy-Authorization: ");
        asked.extend_from_slice(authorization.as_bytes());
        asked.extend_from_slice(b"\r\n");
    }
    asked.extend_from_slice(b"\r\n");
    stream.write_all(&asked).await?;
    let mut answer = Vec::new();
    // Byte by byte: what comes after the answer is the other end's.
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() == MAX_ANSWER {
            return Err(EgressError::ProxyRefused.into());
        }
        answer.push(stream.read_u8().await?);
    }
    let status = answer.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    let is_done = answer.starts_with(b"HTTP/1.") && status.len() == 3 && status.starts_with(b"2");
    if is_done { Ok(()) } else { Err(EgressError::ProxyRefused.into()) }
}

/// A connection to a receiver, or to the proxy that passes on what is posted.
pub(super) struct Outgoing {
    stream: TcpStream,
    by_proxy: bool,
}

impl Connection for Outgoing {
    fn connected(&self) -> Connected {
        // A proxy must be told the whole URL.
        Connected::new().proxy(self.by_proxy)
    }
}

impl AsyncRead for Outgoing {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Outgoing {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
