//! How gRPC is spoken: where connections come in, how many, what each may hold and how long it may take, and the settings of
//! HTTP/2 and TCP, each as it was measured (docs/internals/decisions/0039-http2-settings.md).

use std::{
    convert::Infallible,
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use futures::future::join;
use http::{Request, Response};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tonic::body::Body;
use tower::Service;

use super::private::socket_permissions;
use crate::{api::Stop, config::Connections};
use accepting::{Listener, Places, Port, accept_all};
use account::Total;
use connection::{Deadlines, Serving};

mod accepting;
mod account;
mod answering;
mod arriving;
mod connection;
mod descriptors;
mod frames;
mod gather;

#[cfg(test)]
mod tests;

/// What `benches/transport.py` compares with others.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes that a connection may have unread once a call on it was let in, as long as all windows together leave half of what
    /// connections may hold; before, 64 KiB. No small one: a window that is full stalls every call of its connection.
    pub connection_window: u32,
    /// The same of one call, or of one session.
    pub stream_window: u32,
    /// Calls that one connection may have open. What is more waits at the caller's, where it costs the server nothing.
    pub max_streams: u32,
    /// Bytes of a call's headers.
    pub max_header_list: u32,
    /// Bytes of a request's message.
    pub max_message: usize,
    /// Whether a small answer waits until more comes together.
    pub delay: bool,
    /// Whether answers that are ready at the same time go out together.
    pub gather: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connection_window: 1 << 20,
            stream_window: 256 << 10,
            max_streams: 512,
            max_header_list: 16 << 10,
            max_message: 1 << 20,
            delay: false,
            gather: true,
        }
    }
}

/// Where a server is listening.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) address: SocketAddr,
    tcp: TcpListener,
    socket: Option<(UnixListener, SocketFile)>,
}

/// The place that can't be listened on, and why not.
#[derive(Debug)]
pub(super) struct Taken(pub(super) String, pub(super) io::Error);

impl Listeners {
    pub(super) async fn bind(listen: SocketAddr, socket: Option<&Path>) -> Result<Self, Taken> {
        let failed = |source| Taken(listen.to_string(), source);
        let tcp = TcpListener::bind(listen).await.map_err(failed)?;
        let address = tcp.local_addr().map_err(failed)?;
        let socket = match socket {
            None => None,
            Some(path) => Some(bind_socket(path).await.map_err(|source| Taken(path.display().to_string(), source))?),
        };
        Ok(Self { address, tcp, socket })
    }

    /// Until `stop` is set, and what is in flight has ended.
    pub(super) async fn serve<S>(self, service: S, settings: Settings, bounds: Connections, stop: Stop)
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send,
    {
        let Self { tcp, socket, .. } = self;
        let places = Places::new(&bounds, descriptors::room_for_connections());
        let total = Total::new(&bounds);
        let serving = Serving { service, settings, deadlines: Deadlines::default(), total, stop };
        let over_tcp = serve_on(Port { listener: tcp, delay: settings.delay }, Arc::clone(&places), serving.clone());
        let Some((listener, file)) = socket else { return over_tcp.await };
        let stop = serving.stop.clone();
        let stopped = async {
            stop.wait().await;
            // Nobody listens from here on, though calls in flight are answered still.
            drop(file);
        };
        // Neither cuts the other's calls off.
        join(over_tcp, join(serve_on(listener, places, serving), stopped)).await;
    }
}

async fn serve_on<L, S>(listener: L, places: Arc<Places>, serving: Serving<S>)
where
    L: Listener,
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let stop = serving.stop.clone();
    accept_all(listener, places, stop, |connection| connection::serve(connection, serving.clone())).await;
}

/// Serves `service` on one port, as a server does.
pub async fn serve<S>(listener: TcpListener, service: S, settings: Settings, stop: Stop)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let bounds = Connections::default();
    let (places, total) = (Places::new(&bounds, descriptors::room_for_connections()), Total::new(&bounds));
    let serving = Serving { service, settings, deadlines: Deadlines::default(), total, stop };
    serve_on(Port { listener, delay: settings.delay }, places, serving).await;
}

/// Removed with its server: a socket outlives whoever listens on it. Not if another has taken its place meanwhile.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    made: (u64, u64),
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.made) {
            // Who can't remove it leaves it to the next server, which replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Takes the place of a socket that a server left behind when it was killed, never that of a running one or of another file.
async fn bind_socket(path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    if let Some(permissions) = socket_permissions() {
        fs::set_permissions(path, permissions)?;
    }
    Ok((listener, SocketFile { path: path.to_owned(), made: identity(path)? }))
}
