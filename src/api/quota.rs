//! The data plane. What each operation does is written once, for calls of their own and for sessions.

use std::{pin::Pin, sync::Arc};

use futures::{FutureExt as _, Stream, StreamExt as _, future, stream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    auth::caller,
    convert::limits::revocation_out,
    proto::{self, quota_service_server::QuotaService},
    session::Session,
    status::{lagged, status, stopping},
    stop::Stop,
};
use crate::{
    domain::id::Holder,
    service::{Caller, Done, Error, Lagged, Service, Subscription, WatchPlace},
};

mod request;
mod response;

pub(super) use request::MAX_API_KEY;

pub(super) struct QuotaApi {
    service: Arc<Service>,
    stop: Stop,
}

impl QuotaApi {
    pub(super) fn new(service: Arc<Service>, stop: Stop) -> Self {
        Self { service, stop }
    }
}

/// Who asks, and over which session.
#[derive(Clone, Copy)]
pub(super) struct Asker<'a> {
    pub(super) service: &'a Service,
    pub(super) caller: &'a Caller,
    /// Holds what names no holder of its own.
    pub(super) session: Option<&'a Holder>,
}

impl Asker<'_> {
    pub(super) fn reserve(self, request: proto::ReserveRequest) -> Result<Done<proto::ReserveResponse>, Error> {
        let (payer, reserve, include_limits) = request::reserve(request)?;
        let done = self.service.reserve(self.caller, &payer, reserve, self.session, include_limits)?;
        Ok(done.map(response::reserve))
    }

    pub(super) async fn commit(self, request: proto::CommitRequest) -> Result<Done<proto::CommitResponse>, Error> {
        let (reservation, commit, include_limits) = request::commit(request)?;
        let done = self.service.commit(self.caller, &reservation, &commit, include_limits).await?;
        Ok(done.map(response::commit))
    }

    pub(super) async fn release(self, request: proto::ReleaseRequest) -> Result<Done<proto::ReleaseResponse>, Error> {
        let (reservation, reason) = request::release(request)?;
        let done = self.service.release(self.caller, &reservation, &reason).await?;
        Ok(done.map(|released| response::release(&released)))
    }

    pub(super) async fn extend(self, request: proto::ExtendRequest) -> Result<Done<proto::ExtendResponse>, Error> {
        let (reservation, extend) = request::extend(request)?;
        let done = self.service.extend(self.caller, &reservation, &extend).await?;
        Ok(done.map(response::extend))
    }

    pub(super) async fn charge(self, request: proto::ChargeRequest) -> Result<Done<proto::ChargeResponse>, Error> {
        let (payer, charge) = request::charge(request)?;
        let done = self.service.charge(self.caller, &payer, &charge).await?;
        Ok(done.map(response::charge))
    }

    pub(super) fn check(self, request: proto::CheckRequest) -> Result<Done<proto::CheckResponse>, Error> {
        let (payer, question) = request::check(request)?;
        Ok(Done::at_once(response::check(self.service.check(self.caller, &payer, &question)?)))
    }
}

/// One call of its own: who calls, what is asked, and the answer as the API gives it.
macro_rules! unary {
    ($self:ident, $request:ident, $operation:ident $(.$wait:ident)?) => {{
        let (_, extensions, message) = $request.into_parts();
        let caller = caller(&extensions).map_err(status)?;
        let asker = Asker { service: &$self.service, caller, session: None };
        let done = asker.$operation(message)$(.$wait)?.map_err(status)?;
        $self.service.acknowledge(done).await.map(Response::new).map_err(status)
    }};
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl QuotaService for QuotaApi {
    async fn reserve(&self, request: Request<proto::ReserveRequest>) -> Answer<proto::ReserveResponse> {
        unary!(self, request, reserve)
    }

    async fn commit(&self, request: Request<proto::CommitRequest>) -> Answer<proto::CommitResponse> {
        unary!(self, request, commit.await)
    }

    async fn release(&self, request: Request<proto::ReleaseRequest>) -> Answer<proto::ReleaseResponse> {
        unary!(self, request, release.await)
    }

    async fn extend(&self, request: Request<proto::ExtendRequest>) -> Answer<proto::ExtendResponse> {
        unary!(self, request, extend.await)
    }

    async fn charge(&self, request: Request<proto::ChargeRequest>) -> Answer<proto::ChargeResponse> {
        unary!(self, request, charge.await)
    }

    async fn check(&self, request: Request<proto::CheckRequest>) -> Answer<proto::CheckResponse> {
        unary!(self, request, check)
    }

    type SessionStream = Session<Streaming<proto::SessionRequest>>;

    async fn session(&self, request: Request<Streaming<proto::SessionRequest>>) -> Answer<Self::SessionStream> {
        let (_, extensions, requests) = request.into_parts();
        let caller = caller(&extensions).map_err(status)?.clone();
        let session = Session::new(Arc::clone(&self.service), caller, requests, self.stop.clone());
        Ok(Response::new(session.await.map_err(status)?))
    }

    type WatchRevocationsStream = Pin<Box<dyn Stream<Item = Result<proto::WatchRevocationsResponse, Status>> + Send>>;

    async fn watch_revocations(
        &self,
        request: Request<proto::WatchRevocationsRequest>,
    ) -> Answer<Self::WatchRevocationsStream> {
        let (_, extensions, message) = request.into_parts();
        let caller = caller(&extensions).map_err(status)?;
        let token = self.service.token_life(caller).map_err(status)?;
        let place = WatchPlace::take(&self.service, caller).map_err(status)?;
        let holder = request::holder(message).map_err(|invalid| status(invalid.into()))?;
        let mut subscription = Subscription::new(Arc::clone(&self.service), caller);
        subscription.add(&holder, true).await;
        let revocations = stream::unfold(Some((subscription, place)), |watching| async move {
            let (mut subscription, place) = watching?;
            match subscription.next().await? {
                Ok(watched) => {
                    let response = proto::WatchRevocationsResponse { revocation: Some(revocation_out(&watched)) };
                    Some((Ok(response), Some((subscription, place))))
                }
                Err(Lagged) => Some((Err(lagged()), None)),
            }
        });
        let stop = self.stop.clone();
        let ended = future::select(stop.clone().wait().boxed(), token.wait().boxed());
        let why = async move { Err(if stop.is_set() { stopping() } else { status(Error::TokenUnknown) }) };
        Ok(Response::new(Box::pin(revocations.take_until(ended).chain(stream::once(why)))))
    }
}
