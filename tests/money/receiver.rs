//! An HTTP server that webhooks are posted to, and Standard Webhooks signatures by an implementation of its own.

use std::time::Duration;

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use quotad::clock::Stopwatch;
use serde_json::Value;
use sha2::Sha256;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
};

/// `whsec_` and the Base64 of 24 bytes.
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct Receiver {
    pub(crate) url: String,
    status: watch::Sender<Option<&'static str>>,
    posts: mpsc::UnboundedReceiver<Post>,
}

/// A webhook as it came.
#[derive(Debug, Clone)]
pub(crate) struct Post {
    pub(crate) id: String,
    pub(crate) timestamp: i64,
    signature: String,
    body: Vec<u8>,
}

impl Receiver {
    /// Answers with `status` once there is one.
    pub(crate) async fn start(status: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (sender, posts) = mpsc::unbounded_channel();
        let (status, answers) = watch::channel(status);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, sender.clone(), answers.clone()));
            }
        });
        Self { url, status, posts }
    }

    /// To what is waiting, and from now on.
    pub(crate) fn answers(&self, status: Option<&'static str>) {
        self.status.send_replace(status);
    }

    /// The next, once it is there.
    pub(crate) async fn post(&mut self) -> Post {
        let next = tokio::time::timeout(Duration::from_secs(40), self.posts.recv());
        next.await.expect("nothing was posted").unwrap()
    }

    /// The next, which needs the time to pass: when the last attempt is over is not to be seen from outside.
    pub(crate) async fn post_after(&mut self, pass: impl Fn()) -> Post {
        let waited = Stopwatch::start();
        loop {
            pass();
            if let Some(post) = self.post_soon().await {
                return post;
            }
            assert!(waited.elapsed() < Duration::from_secs(40), "nothing was posted");
        }
    }

    /// What came and wasn't looked at yet.
    /// The next, if it comes within a moment.
    pub(crate) async fn post_soon(&mut self) -> Option<Post> {
        let next = tokio::time::timeout(Duration::from_millis(100), self.posts.recv()).await;
        next.ok().map(Option::unwrap)
    }

    pub(crate) fn posts(&mut self) -> Vec<Post> {
        std::iter::from_fn(|| self.posts.try_recv().ok()).collect()
    }
}

impl Post {
    /// The body, after the signature was found to hold.
    pub(crate) fn verified(&self, secret: &str) -> Value {
        assert_eq!(self.signature, sign(secret, &self.id, self.timestamp, &self.body), "{self:?}");
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// As <https://www.standardwebhooks.com> has it, with other libraries than the server's.
pub(crate) fn sign(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> String {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap().as_bytes()).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(body);
    format!("v1,{}", BASE64.encode(&mac.finalize().into_bytes()))
}

async fn serve(mut stream: TcpStream, sender: mpsc::UnboundedSender<Post>, mut answers: watch::Receiver<Option<&str>>) {
    // Whoever was killed while it spoke has said nothing.
    let Some(post) = read(&mut stream).await else { return };
    // Nobody looks any more where a test has what it wanted.
    let _ = sender.send(post);
    let Ok(status) = answers.wait_for(Option::is_some).await.map(|status| status.unwrap()) else { return };
    let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn read(stream: &mut TcpStream) -> Option<Post> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).unwrap().1.to_owned()
            };
            let length: usize = header("content-length").parse().unwrap();
            if bytes.len() >= end + 4 + length {
                return Some(Post {
                    id: header("webhook-id"),
                    timestamp: header("webhook-timestamp").parse().unwrap(),
                    signature: header("webhook-signature"),
                    body: bytes[end + 4..].to_vec(),
                });
            }
        }
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
}
