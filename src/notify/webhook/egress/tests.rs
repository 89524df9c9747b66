use std::time::Duration;

use tokio::{net::TcpListener, sync::mpsc};

use super::*;
use crate::{
    domain::contact::WebhookSecret,
    notify::{DeliveryError, Network, Webhooks, tests::authority::Authority},
};

const TIMEOUT: Duration = Duration::from_secs(20);

async fn post(webhooks: &Webhooks, url: &str) -> Result<(), DeliveryError> {
    webhooks.post(url, &WebhookSecret::from_random([7; 24]), "alert-1", 1_700_000_000, b"{}").await
}

fn public_only(proxy: Option<Proxy>) -> Webhooks {
    Webhooks::new(TIMEOUT, Reach::public_and(&[]), proxy).unwrap()
}

#[track_caller]
fn assert_refused(posted: Result<(), DeliveryError>, because: &str) {
    let Err(DeliveryError::Retriable(problem)) = posted else { panic!("{posted:?}") };
    assert!(problem.contains(because), "{problem}");
}

/// Whether anybody has connected so far.
async fn was_reached(listener: &TcpListener) -> bool {
    tokio::select! {
        biased;
        accepted = listener.accept() => accepted.is_ok(),
        () = tokio::task::yield_now() => false,
    }
}

#[tokio::test]
async fn nothing_is_connected_to_that_is_not_public_however_it_is_spelled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let webhooks = public_only(None);
    for host in [
        "127.0.0.1",
        "0.0.0.0",
        "2130706433",
        "0x7f.1",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0",
        "localhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00::1]",
    ] {
        assert_refused(post(&webhooks, &format!("http://{host}:{port}/")).await, "no public address");
        // Some of these aren't names that TLS takes.
        assert_refused(post(&webhooks, &format!("https://{host}:{port}/")).await, "");
    }
    assert!(!was_reached(&listener).await);
    let networks = Network::parse_list("webhook_allow", "127.0.0.1").unwrap();
    let allowed = Webhooks::new(Duration::from_millis(200), Reach::public_and(&networks), None).unwrap();
    assert_refused(post(&allowed, &format!("http://localhost:{port}/")).await, "didn't answer");
    assert!(was_reached(&listener).await);
}

/// A proxy that tells what it was asked, up to the empty line, and answers all with `answer`.
async fn proxy(login: &str, answer: &'static str) -> (Proxy, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::parse("webhook_proxy", &format!("http://{login}{}", listener.local_addr().unwrap())).unwrap();
    let (sender, heads) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            sender.send(head(&mut stream).await).unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (proxy, heads)
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn what_is_sent_in_the_clear_is_posted_to_the_proxy_with_its_whole_url() {
    let (proxy, mut heads) = proxy("ann:p%40ss@", "HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(post(&public_only(Some(proxy)), "http://receiver.example.org:8080/hook?a=b").await, Ok(()));
    let head = heads.recv().await.unwrap();
    assert!(head.starts_with("POST http://receiver.example.org:8080/hook?a=b HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("host: receiver.example.org:8080\r\n"), "{head}");
    // `ann:p@ss`
    assert!(head.contains("proxy-authorization: Basic YW5uOnBAc3M=\r\n"), "{head}");
}

#[tokio::test]
async fn what_is_encrypted_goes_through_a_tunnel_that_the_proxy_sees_nothing_of() {
    let authority = Authority::new();
    let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), authority.acceptor());
    let proxy = Proxy::parse("webhook_proxy", &format!("http://ann:pass@{}", listener.local_addr().unwrap())).unwrap();
    let (sender, mut asked) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        sender.send(head(&mut stream).await).unwrap();
        stream.write_all(b"HTTP/1.1 200 Connection established\r\nvia: x\r\n\r\n").await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"{}") {
            stream.read_buf(&mut request).await.unwrap();
        }
        sender.send(String::from_utf8(request).unwrap()).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    });
    let webhooks = Webhooks::with_ca_file(TIMEOUT, Reach::anywhere(), Some(proxy), authority.ca_file()).unwrap();
    assert_eq!(post(&webhooks, "https://localhost/hook").await, Ok(()));
    let connect = asked.recv().await.unwrap();
    assert!(connect.starts_with("CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n"), "{connect}");
    assert!(connect.contains("Proxy-Authorization: Basic YW5uOnBhc3M=\r\n"), "{connect}");
    let request = asked.recv().await.unwrap();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n") && !request.contains("roxy-"), "{request}");
}

#[tokio::test]
async fn a_proxy_that_does_not_connect_fails_the_attempt() {
    for answer in ["HTTP/1.1 403 Forbidden\r\n\r\n", "SSH-2.0-OpenSSH\r\n\r\n"] {
        let (proxy, mut heads) = proxy("", answer).await;
        assert_refused(post(&public_only(Some(proxy)), "https://receiver.example.org/").await, "doesn't connect");
        let head = heads.recv().await.unwrap();
        assert!(head.starts_with("CONNECT receiver.example.org:443 ") && !head.contains("uthorization"), "{head}");
    }
}

#[tokio::test]
async fn addresses_are_refused_before_the_proxy_hears_of_them() {
    let (proxy, mut heads) = proxy("", "HTTP/1.1 204 No Content\r\n\r\n").await;
    let webhooks = public_only(Some(proxy));
    for host in ["127.0.0.1", "[::1]", "[::ffff:10.0.0.1]"] {
        assert_refused(post(&webhooks, &format!("http://{host}/")).await, "no public address");
    }
    for host in ["localhost", "LOCALHOST.", "a.localhost", "2130706433", "0x7f.1", "127.1", "0177.1", "127.0.0.0x1"] {
        assert_refused(post(&webhooks, &format!("http://{host}/")).await, "in disguise");
    }
    assert!(heads.try_recv().is_err());
    assert_eq!(post(&webhooks, "http://8.8.8.8/").await, Ok(()));
}

#[test]
fn what_is_no_proxy_is_refused_and_no_password_is_shown() {
    for wrong in [
        "proxy:3128",
        "https://hunter2@proxy:3128",
        "http://u:hunter2@",
        "http://u:hunter2@proxy:0",
        "http://u:hunter2@proxy:port",
        "http://u:hunter2@proxy/path",
        "http://u:hunter2@proxy?q",
        "http://u:hunter2%4@proxy",
        "socks5://u:hunter2@proxy",
    ] {
        let error = Proxy::parse("webhook_proxy", wrong).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{wrong}: {error}");
    }
    let proxy = Proxy::parse("webhook_proxy", "http://u:hunter2@proxy:3128/").unwrap();
    let shown = format!("{proxy:?} {:?}", public_only(Some(proxy.clone())));
    assert!(shown.contains("proxy:3128") && !shown.contains("hunter2") && !shown.contains("dTpodW50ZXIy"), "{shown}");
}
