//! Connections as they come in: how many there may be, and how the server goes on where the system gives no descriptors.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv6Addr},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinSet,
    time::timeout,
};

use crate::{api::Stop, clock::Stopwatch, config::Connections};

/// How long the server leaves new connections alone where it can't take them.
const BACK_OFF: Duration = Duration::from_millis(100);
/// At most one line of a kind in the log for so long.
const LOG_INTERVAL: Duration = Duration::from_mins(1);
/// The last of so many parts of all places is for peers that have few connections: some peers that take all they may leave room for
/// others.
const PARTS: usize = 10;
const FEW: usize = 16;

/// Whose connections count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    Address(IpAddr),
    /// At the Unix socket; `None` where the system doesn't say.
    User(Option<u32>),
}

impl Peer {
    /// Whoever has one address of an IPv6 network of 64 bits has them all.
    pub(super) fn at(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            address @ IpAddr::V4(_) => address,
        })
    }
}

/// Where connections come from.
pub(super) trait Listener: Send {
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&self) -> impl Future<Output = io::Result<(Self::Connection, Peer)>> + Send;
}

/// A TCP port, and whether small answers wait there for more.
pub(super) struct Port {
    pub(super) listener: TcpListener,
    pub(super) delay: bool,
}

impl Listener for Port {
    type Connection = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (connection, address) = self.listener.accept().await?;
        // Fails only where the peer is gone already, which reading will tell.
        let _ = connection.set_nodelay(!self.delay);
        Ok((connection, Peer::at(address.ip())))
    }
}

impl Listener for UnixListener {
    type Connection = UnixStream;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (connection, _) = UnixListener::accept(self).await?;
        let user = connection.peer_cred().ok().map(|peer| peer.uid());
        Ok((connection, Peer::User(user)))
    }
}

/// The places that connections take.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    max_per_peer: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by: HashMap<Peer, usize>,
}

/// Why a connection isn't taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Peer,
}

impl Places {
    /// As many as are set, or as the descriptors allow if that is less.
    pub(super) fn new(bounds: &Connections, room: Option<usize>) -> Arc<Self> {
        let unbounded = |max: usize| if max == 0 { usize::MAX } else { max };
        let set = unbounded(bounds.max);
        let max = room.map_or(set, |room| room.min(set));
        if bounds.max > max {
            tracing::warn!(
                max_connections = bounds.max,
                possible = max,
                "the limit of open files allows fewer connections than are set; raise it, or set fewer"
            );
        }
        let max_per_peer = unbounded(bounds.max_per_peer);
        Arc::new(Self { max, max_per_peer, taken: Mutex::default() })
    }

    pub(super) fn take(self: &Arc<Self>, peer: Peer) -> Result<Place, Full> {
        let mut taken = self.taken.lock();
        if taken.all >= self.max {
            return Err(Full::All);
        }
        let is_filling = taken.all >= self.max - self.max / PARTS;
        let by = taken.by.entry(peer).or_default();
        // Where peers aren't bounded they are proxies, for many callers each.
        let most =
            if is_filling && self.max_per_peer < usize::MAX { self.max_per_peer.min(FEW) } else { self.max_per_peer };
        if *by >= most {
            return Err(Full::Peer);
        }
        *by += 1;
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), peer })
    }
}

/// A connection's place, given back when it ends.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    peer: Peer,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock();
        taken.all -= 1;
        if let Some(by) = taken.by.get_mut(&self.peer) {
            *by -= 1;
            if *by == 0 {
                taken.by.remove(&self.peer);
            }
        }
    }
}

/// Says something at most once a minute.
#[derive(Debug, Default)]
struct Seldom(Option<Stopwatch>);

impl Seldom {
    fn is_due(&mut self) -> bool {
        let is_due = self.0.as_ref().is_none_or(|since| since.elapsed() >= LOG_INTERVAL);
        if is_due {
            self.0 = Some(Stopwatch::start());
        }
        is_due
    }
}

/// Takes connections and serves each, until the server stops and all have ended.
pub(super) async fn accept_all<L, F>(listener: L, places: Arc<Places>, stop: Stop, serve: impl Fn(L::Connection) -> F)
where
    L: Listener,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let (mut refusals, mut failures) = (Seldom::default(), Seldom::default());
    let mut stopped = pin!(stop.wait());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((connection, peer)) => match places.take(peer) {
                Ok(place) => {
                    let served = serve(connection);
                    connections.spawn(async move {
                        served.await;
                        drop(place);
                    });
                }
                Err(full) if refusals.is_due() => {
                    tracing::warn!(?peer, ?full, "connections are closed as they come: there are as many as may be");
                }
                Err(_) => {}
            },
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if failures.is_due() {
                    tracing::error!(%error, "no connection can be taken; those that are open are served");
                }
                // Whoever wants to connect waits in the system's queue meanwhile.
                let _ = timeout(BACK_OFF, &mut stopped).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// The next one may be sound.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(max: usize, max_per_peer: usize, room: Option<usize>) -> Arc<Places> {
        Places::new(&Connections { max, max_per_peer, ..Connections::default() }, room)
    }

    fn peer(address: &str) -> Peer {
        Peer::at(address.parse().unwrap())
    }

    #[test]
    fn places_are_bounded_for_all_and_for_each_peer_and_are_given_back() {
        let places = places(3, 2, None);
        let (a, b) = (peer("192.0.2.1"), peer("192.0.2.2"));
        let first = places.take(a).unwrap();
        let _second = places.take(a).unwrap();
        assert_eq!(places.take(a).unwrap_err(), Full::Peer);
        let _third = places.take(b).unwrap();
        assert_eq!(places.take(b).unwrap_err(), Full::All);
        drop(first);
        let _fourth = places.take(b).unwrap();
        assert_eq!(places.take(Peer::User(None)).unwrap_err(), Full::All);
    }

    #[test]
    fn peers_that_take_all_they_may_leave_a_tenth_to_those_with_few() {
        let take = |places: &Arc<Places>, address: &str, count: usize| -> Vec<Place> {
            (0..count).map_while(|_| places.take(peer(address)).ok()).collect()
        };
        let bounded = places(1000, 500, None);
        let (first, second) = (take(&bounded, "192.0.2.1", 501), take(&bounded, "192.0.2.2", 501));
        assert_eq!((first.len(), second.len()), (500, 400));
        let third = take(&bounded, "192.0.2.3", 20);
        assert_eq!(third.len(), FEW);
        let proxies = places(1000, 0, None);
        assert_eq!(take(&proxies, "192.0.2.1", 1001).len(), 1000);
    }

    #[test]
    fn nothing_is_remembered_of_peers_that_went() {
        let places = places(10, 0, None);
        drop([places.take(peer("192.0.2.1")).unwrap(), places.take(Peer::User(Some(7))).unwrap()]);
        assert!(places.taken.lock().by.is_empty());
    }

    #[test]
    fn none_set_means_as_many_as_there_are_descriptors_for() {
        let places = places(0, 0, Some(2));
        let taken: Vec<_> = (0..3).map_while(|_| places.take(peer("192.0.2.1")).ok()).collect();
        assert_eq!(taken.len(), 2);
    }

    #[test]
    fn addresses_of_one_network_or_written_otherwise_are_one_peer() {
        assert_eq!(peer("2001:db8:1:2::7"), peer("2001:db8:1:2:ffff::1"));
        assert_ne!(peer("2001:db8:1:2::7"), peer("2001:db8:1:3::7"));
        assert_eq!(peer("::ffff:192.0.2.1"), peer("192.0.2.1"));
    }
}
