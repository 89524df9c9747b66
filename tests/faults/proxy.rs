//! Stands between the server and Postgres, and can lose what Postgres acknowledges.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// The message that says that a transaction was committed.
const COMMITTED: &[u8] = b"C\0\0\0\x0bCOMMIT\0";

pub(crate) struct Proxy {
    pub(crate) port: u16,
    control: Arc<Control>,
}

#[derive(Default)]
struct Control {
    loses_next: AtomicBool,
    /// Of the transaction whose acknowledgement is to be lost; empty: of any.
    statement: Mutex<&'static str>,
    lost: AtomicU64,
    refuses: AtomicBool,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let control = Arc::new(Control::default());
        let accepting = Arc::clone(&control);
        tokio::spawn(async move {
            loop {
                let (server, _) = listener.accept().await.unwrap();
                if accepting.refuses.load(SeqCst) {
                    continue;
                }
                let Ok(database) = TcpStream::connect(("127.0.0.1", to)).await else { continue };
                tokio::spawn(join(server, database, Arc::clone(&accepting)));
            }
        });
        Self { port, control }
    }

    /// The next acknowledgement of a commit is kept from the server, and its connection is cut: of a transaction with this
    /// statement in it.
    pub(crate) fn lose_next(&self, statement: &'static str) {
        *self.control.statement.lock() = statement;
        self.control.loses_next.store(true, SeqCst);
    }

    pub(crate) fn lose_no_more(&self) {
        self.control.loses_next.store(false, SeqCst);
    }

    pub(crate) fn lost(&self) -> u64 {
        self.control.lost.load(SeqCst)
    }

    /// Whether new connections are cut at once.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.control.refuses.store(refuses, SeqCst);
    }
}

async fn join(server: TcpStream, database: TcpStream, control: Arc<Control>) {
    let ((asks, mut answers), (replies, mut requests)) = (server.into_split(), database.into_split());
    let seen = AtomicBool::new(false);
    let look = |said: &[u8]| {
        let statement = control.statement.lock().as_bytes();
        if statement.is_empty() || contains(said, statement) {
            seen.store(true, SeqCst);
        }
        false
    };
    let lose = |said: &[u8]| {
        let loses = contains(said, COMMITTED) && seen.swap(false, SeqCst) && control.loses_next.swap(false, SeqCst);
        control.lost.fetch_add(loses.into(), SeqCst);
        loses
    };
    // Whichever ends takes the other direction with it: both ends hear of it.
    tokio::select! {
        () = pass(asks, &mut requests, look) => {}
        () = pass(replies, &mut answers, lose) => {}
    }
}

fn contains(said: &[u8], what: &[u8]) -> bool {
    said.windows(what.len()).any(|window| window == what)
}

/// Until either end is gone, or `cut` says so of what would be passed on.
async fn pass(mut from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin), cut: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        if cut(&buffer[..length]) || to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
