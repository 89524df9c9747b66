//! What a gate's operations are sent over.

use tonic::{Response, Status};

use crate::{
    api::proto::{
        ChargeRequest, ChargeResponse, CommitRequest, CommitResponse, ExtendRequest, ExtendResponse, ReleaseRequest,
        ReleaseResponse, ReserveRequest, ReserveResponse,
    },
    client::{Connection, Pool, Session},
};

/// Single calls are simplest to watch and to balance. A session carries many times as many operations a second; its stream
/// stays on one server.
#[derive(Debug, Clone)]
pub enum Line {
    Calls(Pool),
    Session(Session),
}

impl From<Pool> for Line {
    fn from(pool: Pool) -> Self {
        Self::Calls(pool)
    }
}

impl From<Connection> for Line {
    fn from(connection: Connection) -> Self {
        Self::Calls(connection.into())
    }
}

impl From<Session> for Line {
    fn from(session: Session) -> Self {
        Self::Session(session)
    }
}

macro_rules! operations {
    ($($method:ident($request:ty) -> $response:ty;)*) => {
        impl Line {$(
            pub(super) async fn $method(&self, request: $request) -> Result<$response, Status> {
                match self {
                    Self::Calls(pool) => pool.quota().$method(request).await.map(Response::into_inner),
                    Self::Session(session) => session.$method(request).await,
                }
            }
        )*}
    };
}

operations! {
    reserve(ReserveRequest) -> ReserveResponse;
    commit(CommitRequest) -> CommitResponse;
    release(ReleaseRequest) -> ReleaseResponse;
    extend(ExtendRequest) -> ExtendResponse;
    charge(ChargeRequest) -> ChargeResponse;
}
