//! Lets the control plane's calls be read, answered and encoded on threads of their own, so that those that serve decisions never wait
//! for one.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures::future::Either;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use tokio::{runtime::Handle, task::JoinHandle};
use tonic::body::Body;
use tower::{Layer, Service};

use super::{
    proto::quota_service_server::SERVICE_NAME as DATA_PLANE,
    status::{status, stopping},
};
use crate::service::Error;

/// Answered where they are read: they take no time.
const HEALTH: &str = "grpc.health.v1.Health";
/// The one service of the control plane that answers by streams, which are encoded as they are read.
const REFLECTION: &str = "grpc.reflection.";

/// Around the services, within what authenticates.
#[derive(Clone)]
pub struct Apart {
    control: Handle,
}

impl Apart {
    /// `control` is the runtime of the control plane.
    pub fn new(control: Handle) -> Self {
        Self { control }
    }
}

impl<S> Layer<S> for Apart {
    type Service = Divided<S>;

    fn layer(&self, inner: S) -> Divided<S> {
        Divided { inner, control: self.control.clone() }
    }
}

#[derive(Clone)]
pub struct Divided<S> {
    inner: S,
    control: Handle,
}

/// The name of a path's service, `/package.Service/Method`.
fn service_of(path: &str) -> &str {
    path.strip_prefix('/').and_then(|path| path.split_once('/')).map_or("", |(service, _)| service)
}

impl<S> Service<Request<Body>> for Divided<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<S::Future, Elsewhere<S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = service_of(request.uri().path());
        if service == DATA_PLANE || service == HEALTH {
            return Either::Left(self.inner.call(request));
        }
        let streams = service.starts_with(REFLECTION);
        let answer = self.inner.call(request);
        let answer = async move {
            let response = answer.await?;
            Ok(if streams { response } else { encoded(response).await })
        };
        Either::Right(Elsewhere(self.control.spawn(answer)))
    }
}

/// The same response, of which nothing is left to compute.
async fn encoded(response: Response<Body>) -> Response<Body> {
    let (head, body) = response.into_parts();
    match body.collect().await {
        Ok(body) => Response::from_parts(head, Body::new(body)),
        Err(status) => status.into_http(),
    }
}

/// A call that is answered on another runtime. Dropped, it ends there too, as it would here.
pub struct Elsewhere<E>(JoinHandle<Result<Response<Body>, E>>);

impl<E> Future for Elsewhere<E> {
    type Output = Result<Response<Body>, E>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answered = ready!(Pin::new(&mut self.0).poll(cx));
        Poll::Ready(answered.unwrap_or_else(|error| {
            let panicked = || status(Error::Internal(String::from("a call panicked")));
            let status = if error.is_panic() { panicked() } else { stopping() };
            Ok(status.into_http())
        }))
    }
}

impl<E> Drop for Elsewhere<E> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, sync::Arc, thread, time::Duration};

    use futures::{FutureExt as _, future::BoxFuture};
    use parking_lot::Mutex;
    use tokio::runtime::{Builder, Runtime};
    use tonic::{Code, Status};
    use tower::service_fn;

    use super::*;

    fn control() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).thread_name("control").build().unwrap()
    }

    fn request(path: &str) -> Request<Body> {
        Request::builder().uri(path).body(Body::empty()).unwrap()
    }

    /// Answers in a header which thread it runs on.
    fn where_it_runs(_: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
        async {
            let thread = thread::current().name().unwrap_or_default().to_owned();
            Ok(Response::builder().header("thread", thread).body(Body::empty()).unwrap())
        }
        .boxed()
    }

    #[test]
    fn only_the_control_plane_runs_on_threads_of_its_own() {
        let (here, control) = (Builder::new_current_thread().build().unwrap(), control());
        let mut divided = Apart::new(control.handle().clone()).layer(service_fn(where_it_runs));
        let mut is_apart = |path: &str| {
            let response = here.block_on(divided.call(request(path))).unwrap();
            response.headers()["thread"] == "control"
        };
        for path in ["/quotad.v1.QuotaService/Reserve", "/grpc.health.v1.Health/Check"] {
            assert!(!is_apart(path), "{path}");
        }
        for path in [
            "/quotad.v1.LedgerService/ListTransactions",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/quotad.v1.QuotaServiceOfNobody/X",
            "/",
        ] {
            assert!(is_apart(path), "{path}");
        }
    }

    #[test]
    fn a_call_that_panics_or_outlives_its_threads_is_answered_all_the_same() {
        let (here, control) = (Builder::new_current_thread().build().unwrap(), control());
        let panics = |_: Request<Body>| -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
            async { panic!("as this test wants it") }.boxed()
        };
        let mut divided = Apart::new(control.handle().clone()).layer(service_fn(panics));
        let code = |response: Result<Response<Body>, Infallible>| {
            Status::from_header_map(response.unwrap().headers()).unwrap().code()
        };
        assert_eq!(code(here.block_on(divided.call(request("/quotad.v1.TeamService/X")))), Code::Internal);
        control.shutdown_timeout(Duration::from_mins(1));
        assert_eq!(code(here.block_on(divided.call(request("/quotad.v1.TeamService/X")))), Code::Unavailable);
    }

    #[test]
    fn a_call_that_nobody_waits_for_ends() {
        struct Told(Option<tokio::sync::oneshot::Sender<()>>);
        impl Drop for Told {
            fn drop(&mut self) {
                let _ = self.0.take().map(|tell| tell.send(()));
            }
        }
        let (here, control) = (Builder::new_current_thread().build().unwrap(), control());
        let (tell, told) = tokio::sync::oneshot::channel();
        let told_by = Arc::new(Mutex::new(Some(Told(Some(tell)))));
        let waits = move |_: Request<Body>| -> BoxFuture<'static, Result<Response<Body>, Infallible>> {
            let told = told_by.lock().take();
            async move {
                let _told = told;
                std::future::pending().await
            }
            .boxed()
        };
        let mut divided = Apart::new(control.handle().clone()).layer(service_fn(waits));
        let call = divided.call(request("/quotad.v1.TeamService/X"));
        drop(call);
        here.block_on(told).unwrap();
    }
}
