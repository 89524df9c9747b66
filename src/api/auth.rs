//! Around every call: lets nobody in without a token, tells the methods behind it who calls, and puts right whose mistake an
//! undecodable request is.

use std::{
    future::Ready,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{
    TryFutureExt as _,
    future::{Either, MapOk},
};
use http::{HeaderMap, Request, Response, header::AUTHORIZATION};
use tonic::{Code, Status};
use tower::{Layer, Service as TowerService};

use super::{
    patience::waited_too_long,
    status::{blame_caller, status},
};
use crate::{
    clock::Stopwatch,
    service::{Caller, Error, Service},
    telemetry::Overload,
};

/// Needs no token: whoever asks learns whether the server runs, nothing else.
const OPEN: &str = "/grpc.health.v1.Health/";

/// Whether a path is of a method that anybody may call.
pub fn is_health(path: &str) -> bool {
    path.starts_with(OPEN)
}

/// Around everything that a server offers.
#[derive(Clone)]
pub struct Auth {
    service: Arc<Service>,
    longest_wait: Duration,
}

impl Auth {
    /// New work that waits longer than `longest_wait` for its turn is refused.
    pub fn new(service: Arc<Service>, longest_wait: Duration) -> Self {
        Self { service, longest_wait }
    }
}

impl<S> Layer<S> for Auth {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Authenticated<S> {
        let Self { service, longest_wait } = self.clone();
        Authenticated { service, longest_wait, inner, read: Stopwatch::start() }
    }
}

pub struct Authenticated<S> {
    service: Arc<Service>,
    longest_wait: Duration,
    inner: S,
    read: Stopwatch,
}

/// The transport clones its service for each request as it reads it, and calls the clone when the request's turn has come: what lies between
/// is how long it waited.
impl<S: Clone> Clone for Authenticated<S> {
    fn clone(&self) -> Self {
        let (service, inner) = (Arc::clone(&self.service), self.inner.clone());
        Self { service, longest_wait: self.longest_wait, inner, read: Stopwatch::start() }
    }
}

type Answered<F, Out> = MapOk<F, fn(Response<Out>) -> Response<Out>>;

/// A call that failed before its method began says so in its headers.
fn put_right<Out: Default>(response: Response<Out>) -> Response<Out> {
    match Status::from_header_map(response.headers()) {
        Some(failed) if failed.code() == Code::Internal => blame_caller(failed).into_http(),
        _ => response,
    }
}

impl<S, In, Out> TowerService<Request<In>> for Authenticated<S>
where
    S: TowerService<Request<In>, Response = Response<Out>>,
    S::Future: Future<Output = Result<Response<Out>, S::Error>>,
    Out: Default,
{
    type Response = Response<Out>;
    type Error = S::Error;
    type Future = Either<Answered<S::Future, Out>, Ready<Result<Response<Out>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<In>) -> Self::Future {
        let path = request.uri().path();
        if is_health(path) {
            return Either::Left(self.inner.call(request).map_ok(put_right as fn(_) -> _));
        }
        if waited_too_long(path, self.read.elapsed(), self.longest_wait) {
            let late = self.service.overloaded(Overload::Turn);
            return Either::Right(std::future::ready(Ok(status(late).into_http())));
        }
        let caller = bearer(request.headers()).and_then(|token| self.service.authorize(token, path));
        match caller {
            Ok(caller) => {
                request.extensions_mut().insert(caller);
                Either::Left(self.inner.call(request).map_ok(put_right as fn(_) -> _))
            }
            Err(error) => Either::Right(std::future::ready(Ok(status(error).into_http()))),
        }
    }
}

/// `None` without the header; one that holds no bearer token is no better than an unknown one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let Some(value) = headers.get(AUTHORIZATION) else { return Ok(None) };
    let value = value.to_str().map_err(|_| Error::TokenUnknown)?;
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Error::TokenUnknown),
    }
}

/// Who was let in.
///
/// # Errors
/// [`Error::TokenMissing`] where the layer isn't in place: the default is refusal.
pub(super) fn caller(extensions: &http::Extensions) -> Result<&Caller, Error> {
    extensions.get::<Caller>().ok_or(Error::TokenMissing)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(value: &str) -> Result<Option<String>, Error> {
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_str(value).unwrap())]);
        bearer(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn only_a_bearer_token_is_read() {
        assert_eq!(read("Bearer qt_1").unwrap().as_deref(), Some("qt_1"));
        assert_eq!(read("bearer  qt_1 ").unwrap().as_deref(), Some("qt_1"));
        for bad in ["", "qt_1", "Basic qt_1", "Bearer"] {
            assert!(matches!(read(bad), Err(Error::TokenUnknown)), "{bad:?}");
        }
        assert!(matches!(bearer(&HeaderMap::new()), Ok(None)));
    }

    #[test]
    fn a_method_behind_no_layer_lets_nobody_in() {
        assert!(matches!(caller(&http::Extensions::new()), Err(Error::TokenMissing)));
    }
}
