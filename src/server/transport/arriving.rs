//! A request's body as it arrives. A message is handed on whole: whoever decodes it makes room for as much as its prefix
//! claims, so that by then so much must have come. What came of a message is kept in a buffer that grows with it.

use std::{
    future::Future as _,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};
use tonic::Status;

use super::account::{Account, Charge};
use crate::api::refusal;

/// A message's flag and length.
const PREFIX: usize = 5;

/// The body of one call.
pub(super) struct Arriving {
    stream: RecvStream,
    account: Arc<Account>,
    /// Bytes of the largest message that its method takes.
    max_message: usize,
    /// The whole request must come in time; else each message that has begun.
    is_unary: bool,
    within: Duration,
    late: Option<Pin<Box<Sleep>>>,
    /// Of a message that isn't whole yet.
    held: BytesMut,
    charge: Option<Charge>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Messages,
    /// The decoder is about to refuse what it was given, and needs no more.
    Refused,
    Trailers,
    Ended,
}

/// How a call's body is taken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) max_message: usize,
    pub(super) is_unary: bool,
    pub(super) within: Duration,
}

impl Arriving {
    pub(super) fn new(stream: RecvStream, account: &Arc<Account>, terms: Terms) -> Self {
        let Terms { max_message, is_unary, within } = terms;
        Self {
            stream,
            account: Arc::clone(account),
            max_message,
            is_unary,
            within,
            late: None,
            held: BytesMut::new(),
            charge: None,
            stage: Stage::Messages,
        }
    }

    /// Answers what may be handed on after `bytes` came.
    fn take(&mut self, mut bytes: Bytes) -> Result<Bytes, Status> {
        if self.held.is_empty() {
            let ready = self.ready_of(&bytes);
            if ready == bytes.len() {
                return Ok(bytes);
            }
            let rest = bytes.split_off(ready);
            self.hold(&rest)?;
            return Ok(bytes);
        }
        self.hold(&bytes)?;
        let held = std::mem::take(&mut self.held);
        let ready = self.ready_of(&held);
        self.held = held;
        if ready == 0 {
            return Ok(Bytes::new());
        }
        let rest = BytesMut::from(&self.held[ready..]);
        let mut whole = std::mem::take(&mut self.held);
        whole.truncate(ready);
        self.charge = None;
        self.late = None;
        self.hold(&rest)?;
        Ok(whole.freeze())
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<(), Status> {
        if bytes.is_empty() {
            return Ok(());
        }
        if !self.account.fits(self.held.len() + bytes.len()) {
            return Err(refusal::exhausted(self.account.bound()));
        }
        self.held.extend_from_slice(bytes);
        match &mut self.charge {
            Some(charge) => charge.grow(bytes.len()),
            none => *none = Some(Charge::new(&self.account, bytes.len())),
        }
        Ok(())
    }

    /// How many of these bytes make whole messages. All, where one of them will be refused for its prefix.
    fn ready_of(&mut self, bytes: &[u8]) -> usize {
        let mut ready = 0;
        loop {
            let Some((prefix, rest)) = bytes[ready..].split_first_chunk::<PREFIX>() else { return ready };
            let [flag, length @ ..] = *prefix;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if flag != 0 || length > self.max_message {
                self.stage = Stage::Refused;
                return bytes.len();
            }
            if rest.len() < length {
                return ready;
            }
            ready += PREFIX + length;
        }
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.is_unary && self.held.is_empty() {
            return Poll::Pending;
        }
        let within = self.within;
        ready!(self.late.get_or_insert_with(|| Box::pin(sleep(within))).as_mut().poll(cx));
        self.stage = Stage::Ended;
        Poll::Ready(Some(Err(refusal::incomplete(within).into())))
    }
}

type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A peer that needs no answer any more, or has said all that it will, isn't an error.
fn is_end(error: &h2::Error) -> bool {
    matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL))
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let body = &mut *self;
        loop {
            match body.stage {
                Stage::Messages | Stage::Refused => match body.stream.poll_data(cx) {
                    Poll::Pending => return body.poll_late(cx),
                    Poll::Ready(Some(Ok(bytes))) => {
                        // Fails only for more than came.
                        let _ = body.stream.flow_control().release_capacity(bytes.len());
                        let bytes = if body.stage == Stage::Refused { bytes } else { body.take(bytes)? };
                        if !bytes.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(bytes))));
                        }
                    }
                    Poll::Ready(Some(Err(error))) => {
                        body.stage = Stage::Ended;
                        return Poll::Ready((!is_end(&error)).then_some(Err(error.into())));
                    }
                    Poll::Ready(None) => {
                        body.stage = Stage::Trailers;
                        let rest = std::mem::take(&mut body.held);
                        body.charge = None;
                        if !rest.is_empty() {
                            return Poll::Ready(Some(Ok(Frame::data(rest.freeze()))));
                        }
                    }
                },
                Stage::Trailers => {
                    let trailers = match body.stream.poll_trailers(cx) {
                        Poll::Pending => return body.poll_late(cx),
                        Poll::Ready(trailers) => trailers,
                    };
                    body.stage = Stage::Ended;
                    return Poll::Ready(match trailers {
                        Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                        Err(error) if is_end(&error) => None,
                        Err(error) => Some(Err(error.into())),
                    });
                }
                Stage::Ended => return Poll::Ready(None),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stage == Stage::Ended || (self.held.is_empty() && self.stream.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}
