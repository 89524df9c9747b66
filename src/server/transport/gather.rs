//! Answers that are ready at the same time go out together.
//!
//! Each call is a task of its own, and the first that has its answer wakes its connection, which would send that one answer by
//! itself: a system call, a packet and a wake-up of the caller for each. A connection over which several calls came since it
//! last wrote therefore lets the tasks that are ready go first, once; what they answer goes out in the same write. Nothing waits
//! for time to pass, and what came alone is answered at once.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More bytes than one call takes, or two: giving way costs a call that is alone some microseconds.
const SEVERAL_CALLS: usize = 512;

/// A connection that gathers what it writes.
#[derive(Debug)]
pub(super) struct Gather<C> {
    connection: C,
    gathers: bool,
    /// Bytes since the last write.
    read: usize,
    /// It has let the others go first since its last write.
    gave_way: bool,
}

impl<C: Unpin> Gather<C> {
    pub(super) fn new(connection: C, gathers: bool) -> Self {
        Self { connection, gathers, read: 0, gave_way: false }
    }

    fn poll_write_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut C>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if self.gathers && self.read > SEVERAL_CALLS && !self.gave_way {
            self.gave_way = true;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let written = write(Pin::new(&mut self.connection), cx);
        if written.is_ready() {
            (self.read, self.gave_way) = (0, false);
        }
        written
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Gather<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.connection).poll_read(cx, buffer);
        self.read = self.read.saturating_add(buffer.filled().len() - before);
        read
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Gather<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |connection, cx| connection.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(cx, |connection, cx| connection.poll_write_vectored(cx, slices))
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
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        task::{Wake, Waker},
    };

    use futures::FutureExt as _;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
        sync::mpsc,
    };

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    fn write(gather: &mut Gather<DuplexStream>, cx: &mut Context<'_>, bytes: &[u8]) -> Option<usize> {
        match Pin::new(gather).poll_write(cx, bytes) {
            Poll::Ready(written) => Some(written.unwrap()),
            Poll::Pending => None,
        }
    }

    /// So many bytes come in.
    fn receive(gather: &mut Gather<DuplexStream>, peer: &mut DuplexStream, bytes: usize) {
        peer.write_all(&vec![0; bytes]).now_or_never().unwrap().unwrap();
        gather.read_exact(&mut vec![0; bytes]).now_or_never().unwrap().unwrap();
    }

    #[test]
    fn where_several_calls_came_a_write_gives_way_once_and_asks_to_be_called_again() {
        let (ours, mut theirs) = duplex(2 * SEVERAL_CALLS);
        let (woken, mut gather) = (Arc::new(Woken::default()), Gather::new(ours, true));
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        for round in 1..=3 {
            receive(&mut gather, &mut theirs, SEVERAL_CALLS / 2 + 1);
            receive(&mut gather, &mut theirs, SEVERAL_CALLS / 2 + 1);
            assert_eq!(write(&mut gather, cx, b"abc"), None);
            assert_eq!(woken.0.load(SeqCst), round);
            assert_eq!(write(&mut gather, cx, b"abcdef"), Some(6));
            assert_eq!(write(&mut gather, cx, b"abc"), Some(3), "nothing came since");
        }
        let (ours, mut theirs) = duplex(2 * SEVERAL_CALLS);
        let mut alone = Gather::new(ours, false);
        receive(&mut alone, &mut theirs, SEVERAL_CALLS + 1);
        assert_eq!(write(&mut alone, cx, b"abc"), Some(3));
    }

    #[test]
    fn what_came_alone_is_answered_at_once() {
        let (ours, mut theirs) = duplex(2 * SEVERAL_CALLS);
        let mut gather = Gather::new(ours, true);
        let cx = &mut Context::from_waker(Waker::noop());
        for _ in 0..10 {
            receive(&mut gather, &mut theirs, SEVERAL_CALLS / 2);
            assert_eq!(write(&mut gather, cx, b"abc"), Some(3));
        }
    }

    #[test]
    fn a_connection_that_is_full_is_waited_for_without_giving_way_again() {
        let (ours, mut theirs) = duplex(SEVERAL_CALLS + 1);
        let (woken, mut gather) = (Arc::new(Woken::default()), Gather::new(ours, true));
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let full = [0; SEVERAL_CALLS + 1];
        assert_eq!(write(&mut gather, cx, &full), Some(full.len()));
        receive(&mut gather, &mut theirs, full.len());
        assert_eq!(write(&mut gather, cx, b"abc"), None, "it gives way");
        assert_eq!(write(&mut gather, cx, b"abc"), None, "it is full");
        assert_eq!(woken.0.load(SeqCst), 1);
        theirs.read_exact(&mut [0; 100]).now_or_never().unwrap().unwrap();
        assert_eq!(woken.0.load(SeqCst), 2, "by whoever made room");
        assert_eq!(write(&mut gather, cx, b"abc"), Some(3));
    }

    /// As a connection does it: what its calls answer is written as it comes.
    #[tokio::test]
    async fn what_is_ready_at_the_same_time_is_written_at_once() {
        let (ours, mut theirs) = duplex(2 * SEVERAL_CALLS);
        let mut gather = Gather::new(ours, true);
        receive(&mut gather, &mut theirs, SEVERAL_CALLS + 1);
        let (answer, mut answers) = mpsc::unbounded_channel::<u8>();
        let writer = tokio::spawn(async move {
            let (mut ready, mut writes) = (Vec::new(), Vec::new());
            while let Some(first) = answers.recv().await {
                ready.push(first);
                let written = poll_fn(|cx| {
                    while let Ok(next) = answers.try_recv() {
                        ready.push(next);
                    }
                    Pin::new(&mut gather).poll_write(cx, &ready)
                });
                writes.push(written.await.unwrap());
                ready.clear();
            }
            gather.shutdown().await.unwrap();
            writes
        });
        // It is woken by the first, and the others are ready behind it.
        tokio::task::yield_now().await;
        answer.send(0).unwrap();
        for call in 1..50 {
            let answer = answer.clone();
            tokio::spawn(async move { answer.send(call) });
        }
        drop(answer);
        assert_eq!(writer.await.unwrap(), [50]);
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, (0..50).collect::<Vec<_>>());
    }
}
