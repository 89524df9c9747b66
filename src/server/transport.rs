//! How gRPC is spoken: where connections come in, and the settings of HTTP/2 and TCP, each as it was measured (BENCHMARKS.md).

use std::{
    fs, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use futures::{Stream, TryStreamExt as _, future::join};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    service::Routes,
    transport::{Error, Server, server::TcpIncoming},
};

use crate::api::{Apart, Auth, Stop};
use gather::Gather;

mod gather;

const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// What `benches/transport.py` compares with others.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Bytes that a connection may have unread. h2 closes one whose peer leaves many small frames unread: let it take them.
    pub connection_window: u32,
    /// The same of one call, or of one session.
    pub stream_window: u32,
    /// Calls that one connection may have open. What is more waits at the caller's, where it costs the server nothing.
    pub max_streams: u32,
    /// Whether a small answer waits until more comes together.
    pub delay: bool,
    /// Whether answers that are ready at the same time go out together.
    pub gather: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { connection_window: 16 << 20, stream_window: 4 << 20, max_streams: 512, delay: false, gather: true }
    }
}

/// Without services yet.
pub fn server(settings: Settings) -> Server {
    Server::builder()
        .initial_connection_window_size(settings.connection_window)
        .initial_stream_window_size(settings.stream_window)
        .max_concurrent_streams(settings.max_streams)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
}

/// The connections that come in.
pub fn incoming(
    listener: TcpListener,
    settings: Settings,
) -> impl Stream<Item = io::Result<Gather<TcpStream>>> + Unpin {
    let connections =
        TcpIncoming::from(listener).with_nodelay(Some(!settings.delay)).with_keepalive(Some(KEEPALIVE_INTERVAL));
    connections.map_ok(move |connection| Gather::new(connection, settings.gather))
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
    pub(super) async fn serve(self, layers: (Auth, Apart), routes: Routes, stop: Stop) -> Result<(), Error> {
        let Self { tcp, socket, .. } = self;
        let settings = Settings::default();
        let (auth, apart) = layers;
        let serving = || server(settings).layer(auth.clone()).layer(apart.clone()).add_routes(routes.clone());
        let over_tcp = serving().serve_with_incoming_shutdown(incoming(tcp, settings), stop.clone().wait());
        let Some((listener, file)) = socket else { return over_tcp.await };
        let stopped = async {
            stop.wait().await;
            // Nobody listens from here on, though calls in flight are answered still.
            drop(file);
        };
        let over_socket =
            UnixListenerStream::new(listener).map_ok(move |connection| Gather::new(connection, settings.gather));
        let over_socket = serving().serve_with_incoming_shutdown(over_socket, stopped);
        // Neither cuts the other's calls off.
        let (tcp, socket) = join(over_tcp, over_socket).await;
        tcp.and(socket)
    }
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
    Ok((listener, SocketFile { path: path.to_owned(), made: identity(path)? }))
}
