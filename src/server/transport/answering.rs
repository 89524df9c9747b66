//! One call, from its headers to the last byte of its answer. Answers are sent in pieces as the peer takes them, so that what
//! nobody takes is seen, counted, and given up in time.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::atomic::Ordering::Relaxed,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use h2::{Reason, SendStream, server::SendResponse};
use http::{HeaderMap, Request, Response};
use http_body::Body as _;
use tokio::time::{sleep, timeout};
use tonic::{Status, body::Body};
use tower::Service;

use super::account::{Charge, OpenCall};
use crate::api::refusal;

/// Answers above this are handed to HTTP/2 as it can send them, those up to it whole.
const WHOLE: usize = 16 << 10;
/// Handed to HTTP/2 at a time.
const PIECE: usize = 64 << 10;

/// A piece of an answer, counted until it has been written.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    _charge: Option<Charge>,
}

impl Piece {
    fn none() -> Self {
        Self { bytes: Bytes::new(), _charge: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// A peer that neither takes nor needs the rest of an answer.
#[derive(Debug)]
struct Gone;

impl From<h2::Error> for Gone {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

/// Carries out a call and sends its answer. A large one that isn't taken for as long as `stall` is given up.
pub(super) async fn answer<S>(
    mut service: S,
    request: Request<Body>,
    mut reply: SendResponse<Piece>,
    call: OpenCall,
    stall: Duration,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let patience = patience(request.headers());
    let response = {
        let Ok(()) = poll_fn(|cx| service.poll_ready(cx)).await;
        let mut response = pin!(service.call(request));
        let mut late = pin!(patience.map(sleep));
        poll_fn(|cx| {
            if let Poll::Ready(Ok(response)) = response.as_mut().poll(cx) {
                return Poll::Ready(Some(response));
            }
            if reply.poll_reset(cx).is_ready() {
                return Poll::Ready(None);
            }
            match late.as_mut().as_pin_mut() {
                Some(late) => late.poll(cx).map(|()| Some(Status::cancelled("Timeout expired").into_http())),
                None => Poll::Pending,
            }
        })
        .await
    };
    let Some(response) = response else { return };
    let (head, body) = response.into_parts();
    let head = Response::from_parts(head, ());
    let was_let_in = !call.is_health && Status::from_header_map(head.headers()).is_none();
    if was_let_in && !call.account.known.load(Relaxed) {
        call.account.known.store(true, Relaxed);
    }
    let ends = body.is_end_stream();
    let Ok(mut sending) = reply.send_response(head, ends) else { return };
    if !ends {
        // What fails is the peer's affair: it went, or takes nothing.
        let _: Result<(), Gone> = send_all(&mut sending, body, &call, stall).await;
    }
}

/// Refuses a call unread.
pub(super) fn refuse(mut reply: SendResponse<Piece>, why: Status) {
    let (head, ()) = why.into_http::<()>().into_parts();
    // The peer may be gone.
    let _ = reply.send_response(Response::from_parts(head, ()), true);
}

async fn send_all(
    sending: &mut SendStream<Piece>,
    mut body: Body,
    call: &OpenCall,
    stall: Duration,
) -> Result<(), Gone> {
    loop {
        let frame = poll_fn(|cx| {
            if sending.poll_reset(cx).is_ready() {
                return Poll::Ready(Err(Gone));
            }
            Pin::new(&mut body).poll_frame(cx).map(Ok)
        })
        .await?;
        let frame = match frame {
            None => return Ok(sending.send_data(Piece::none(), true)?),
            Some(Ok(frame)) => frame,
            Some(Err(_)) => {
                sending.send_reset(Reason::INTERNAL_ERROR);
                return Err(Gone);
            }
        };
        match frame.into_data() {
            Ok(bytes) => {
                if !call.account.fits(bytes.len()) {
                    drop((bytes, body));
                    return Ok(sending.send_trailers(trailers_of(&refusal::exhausted(call.account.bound())))?);
                }
                send(sending, bytes, call, stall).await?;
            }
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    // Capacity that isn't needed any more.
                    sending.reserve_capacity(0);
                    return Ok(sending.send_trailers(trailers)?);
                }
            }
        }
    }
}

fn trailers_of(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // Fails only for bytes that no header may have, and then says so in it.
    let _ = status.add_header(&mut trailers);
    trailers
}

async fn send(sending: &mut SendStream<Piece>, mut bytes: Bytes, call: &OpenCall, stall: Duration) -> Result<(), Gone> {
    let mut charge = Charge::new(&call.account, bytes.len());
    let is_large = bytes.len() > WHOLE;
    while !bytes.is_empty() {
        // As little as will do, where the rest follows anyway: what is reserved is taken from the connection's other answers.
        sending.reserve_capacity(if is_large { bytes.len().min(PIECE) } else { 1 });
        if sending.capacity() == 0 {
            let capacity = poll_fn(|cx| poll_capacity(sending, cx));
            if is_large || call.is_health {
                timeout(stall, capacity).await.unwrap_or(Err(Gone))
            } else {
                capacity.await
            }
            .inspect_err(|Gone| sending.send_reset(Reason::CANCEL))?;
        }
        let length = if is_large { bytes.len().min(sending.capacity()) } else { bytes.len() };
        let piece = Piece { bytes: bytes.split_to(length), _charge: Some(charge.split(length)) };
        sending.send_data(piece, false)?;
        call.account.piece_answered();
    }
    Ok(())
}

fn poll_capacity(sending: &mut SendStream<Piece>, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
    if sending.poll_reset(cx).is_ready() {
        return Poll::Ready(Err(Gone));
    }
    while sending.capacity() == 0 {
        match sending.poll_capacity(cx) {
            Poll::Ready(Some(Ok(_))) => {}
            Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(Err(Gone)),
            Poll::Pending => return Poll::Pending,
        }
    }
    Poll::Ready(Ok(()))
}

/// How long the caller waits for its answer, where it says so in a way that gRPC knows.
fn patience(headers: &HeaderMap) -> Option<Duration> {
    let given = headers.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = given.split_at_checked(given.len().checked_sub(1)?)?;
    // gRPC's own bound, so that nothing overflows.
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_callers_patience_is_read_as_grpc_writes_it() {
        let read = |given| {
            patience(&HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-timeout"),
                HeaderValue::from_str(given).unwrap(),
            )]))
        };
        assert_eq!(read("3H"), Some(Duration::from_hours(3)));
        assert_eq!(read("2M"), Some(Duration::from_mins(2)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("5u"), Some(Duration::from_micros(5)));
        assert_eq!(read("7n"), Some(Duration::from_nanos(7)));
        for bad in ["", "S", "1", "1s", "-1S", "+1S", "100000000S", "1 S"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
        assert_eq!(patience(&HeaderMap::new()), None);
    }
}
