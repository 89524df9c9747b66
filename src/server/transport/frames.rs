//! The frames that a peer sends, counted as they come in. Frames that carry neither a call nor a part of one cost the peer
//! nothing: beyond a rate that no sound client reaches, the connection ends.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::account::Account;
use crate::clock::Stopwatch;

/// Frames without content that may come at once.
const BURST: u32 = 10_000;
/// The same in a millisecond, for as long as it lasts.
const PER_MILLISECOND: u32 = 2;
/// The same for each piece of an answer: a client may widen its windows, of the call and of the connection, after each.
const PER_ANSWER: u32 = 2;

/// The client's first bytes on a connection, before its frames.
const PREFACE: usize = 24;
const HEADER: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// Reads the headers of frames out of a stream of bytes.
#[derive(Debug)]
struct Frames {
    /// Bytes to pass over: of the preface, or of a frame.
    skip: usize,
    header: [u8; HEADER],
    /// Bytes of the header that have come.
    came: usize,
    /// Frames without content that may still come.
    left: u32,
    since: Stopwatch,
}

impl Frames {
    fn new() -> Self {
        Self { skip: PREFACE, header: [0; HEADER], came: 0, left: BURST, since: Stopwatch::start() }
    }

    /// Whether the peer keeps to the rate. `answered` is asked for pieces of answers where it would not.
    fn take(&mut self, mut bytes: &[u8], answered: impl Fn() -> u32) -> bool {
        loop {
            let skip = self.skip.min(bytes.len());
            self.skip -= skip;
            bytes = &bytes[skip..];
            if bytes.is_empty() {
                return true;
            }
            let part = (HEADER - self.came).min(bytes.len());
            self.header[self.came..self.came + part].copy_from_slice(&bytes[..part]);
            self.came += part;
            bytes = &bytes[part..];
            if self.came < HEADER {
                return true;
            }
            self.came = 0;
            let [a, b, c, kind, flags, ..] = self.header;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            let carries = match kind {
                DATA => self.skip > 0 || flags & END_STREAM != 0,
                kind => kind == HEADERS,
            };
            if !carries && !self.admit(&answered) {
                return false;
            }
        }
    }

    fn admit(&mut self, answered: impl Fn() -> u32) -> bool {
        if self.left == 0 {
            let millis = u32::try_from(self.since.elapsed().as_millis()).unwrap_or(u32::MAX);
            let earned = millis.saturating_mul(PER_MILLISECOND).saturating_add(answered().saturating_mul(PER_ANSWER));
            self.left = earned.min(BURST);
            self.since = Stopwatch::start();
        }
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None => return false,
        };
        true
    }
}

/// A connection whose frames are counted, and whose account hears whether bytes come and go.
#[derive(Debug)]
pub(super) struct Counted<C> {
    connection: C,
    frames: Frames,
    account: Arc<Account>,
}

impl<C> Counted<C> {
    pub(super) fn new(connection: C, account: Arc<Account>) -> Self {
        Self { connection, frames: Frames::new(), account }
    }

    fn note<T>(&self, written: &Poll<io::Result<T>>) {
        match written {
            Poll::Ready(_) => {
                self.account.has_written.store(true, Relaxed);
                self.account.is_full.store(false, Relaxed);
            }
            Poll::Pending => self.account.is_full.store(true, Relaxed),
        }
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Counted<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.connection).poll_read(cx, buffer))?;
        let Self { frames, account, .. } = &mut *self;
        account.has_read.store(true, Relaxed);
        if frames.take(&buffer.filled()[before..], || account.take_answered()) {
            return Poll::Ready(Ok(()));
        }
        tracing::debug!("a connection ends: its peer floods it with frames that carry nothing");
        Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, "too many frames without content")))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Counted<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write(cx, bytes);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.connection).poll_write_vectored(cx, slices);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn begun() -> Frames {
        let mut frames = Frames::new();
        assert!(frames.take(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", || 0));
        frames
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_may_burst_then_keep_to_the_rate_and_no_more() {
        let mut frames = begun();
        for _ in 0..BURST {
            assert!(frames.take(&PING, || 0));
        }
        tokio::time::advance(Duration::from_millis(10)).await;
        for _ in 0..10 * PER_MILLISECOND {
            assert!(frames.take(&PING, || 0));
        }
        assert!(!frames.take(&PING, || 0));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_let_a_peer_widen_its_windows() {
        let (mut frames, answered) = (begun(), Cell::new(0));
        for _ in 0..BURST {
            assert!(frames.take(&PING, || 0));
        }
        answered.set(7);
        for _ in 0..7 * PER_ANSWER {
            assert!(frames.take(&PING, || answered.take()));
        }
        assert!(!frames.take(&PING, || answered.take()));
    }

    #[tokio::test(start_paused = true)]
    async fn calls_and_their_parts_are_not_counted_and_frames_may_come_in_pieces() {
        let mut frames = begun();
        let call = [0, 0, 1, HEADERS, 4, 0, 0, 0, 1, 0x82, 0, 0, 2, DATA, 0, 0, 0, 0, 1, 5, 6];
        let end = [0, 0, 0, DATA, END_STREAM, 0, 0, 0, 1];
        for byte in call.iter().chain(&end) {
            assert!(frames.take(&[*byte], || 0));
        }
        assert_eq!(frames.left, BURST);
        for kind in (2..=12).filter(|kind| *kind != HEADERS) {
            assert!(frames.take(&[0, 0, 1, kind, 0, 0, 0, 0, 1, 0], || 0));
        }
        let empty = [0, 0, 0, DATA, 0, 0, 0, 0, 1];
        assert!(frames.take(&[empty, empty].concat(), || 0));
        assert_eq!(frames.left, BURST - 13);
    }
}
