//! Several connections to one server, taken in turns.
//!
//! An HTTP/2 connection is one stream of bytes with one task on each side: calls over it wait for each other, and use one core
//! at most. Two to four connections are enough for one process; more only cost the server memory.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use super::{Authenticated, ConnectError, Connection};
use crate::api::proto::quota_service_client::QuotaServiceClient;

/// Cheap to clone; clones share the connections and the turns.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Never empty.
    connections: Arc<[Connection]>,
    turn: Arc<AtomicUsize>,
}

impl Pool {
    /// Opens `size` connections, at least one. Those that break later are made again by themselves.
    ///
    /// # Errors
    /// [`ConnectError`] when the endpoint or the token can't be used, or nothing listens there.
    pub async fn open(endpoint: &str, token: &str, size: usize) -> Result<Self, ConnectError> {
        let first = Connection::open(endpoint, token).await?;
        let mut connections = vec![first];
        while connections.len() < size {
            connections.push(connections[0].another().await?);
        }
        Ok(Self::from_iter(connections))
    }

    /// Like [`Self::open`], but each connection is made with its first call: for a process that may start before quotad.
    /// Needs a runtime.
    ///
    /// # Errors
    /// [`ConnectError`] when the endpoint or the token can't be used.
    pub fn lazy(endpoint: &str, token: &str, size: usize) -> Result<Self, ConnectError> {
        let connections: Result<Vec<_>, _> = (0..size.max(1)).map(|_| Connection::lazy(endpoint, token)).collect();
        Ok(Self::from_iter(connections?))
    }

    fn from_iter(connections: Vec<Connection>) -> Self {
        Self { connections: connections.into(), turn: Arc::default() }
    }

    /// The next in turn.
    pub fn connection(&self) -> &Connection {
        let turn = self.turn.fetch_add(1, Relaxed);
        &self.connections[turn % self.connections.len()]
    }

    /// The data plane over the next connection in turn: ask for it anew with every call.
    pub fn quota(&self) -> QuotaServiceClient<Authenticated> {
        self.connection().quota()
    }
}

impl From<Connection> for Pool {
    fn from(connection: Connection) -> Self {
        Self::from_iter(vec![connection])
    }
}
