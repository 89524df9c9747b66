use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};

use super::{super::verify, *};

mod tls;

const TIMEOUT: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);
const TIME: i64 = 1_700_000_000;
const BODY: &[u8] = "{\"what\": \"Überschritten\"}".as_bytes();

fn secret() -> WebhookSecret {
    WebhookSecret::from_random([7; 24])
}

/// A server that answers each connection with the next of `answers` and tells what it received; `None` never answers.
struct Receiver {
    url: String,
    requests: mpsc::UnboundedReceiver<Received>,
}

#[derive(Debug)]
struct Received {
    head: String,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value);
        let value = values.next().unwrap_or_else(|| panic!("no {name} in {}", self.head));
        assert_eq!(values.next(), None, "{name} twice");
        value
    }
}

impl Receiver {
    async fn start(answers: Vec<Option<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?token=hidden", listener.local_addr().unwrap());
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut open = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                sender.send(read_request(&mut stream).await).unwrap();
                if let Some(answer) = answer {
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
                open.push(stream);
            }
            // Whoever connects beyond hears nothing, and what was opened stays so.
            std::future::pending::<()>().await;
        });
        Self { url, requests }
    }

    async fn answering(status: &str) -> Self {
        Self::start(vec![Some(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n"))]).await
    }
}

async fn read_request(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Received {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let mut received = Received { head: String::from_utf8(bytes[..end].to_vec()).unwrap(), body: Vec::new() };
        received.body = bytes[end + 4..].to_vec();
        let length = received.header("content-length").parse().unwrap();
        while received.body.len() < length {
            stream.read_buf(&mut received.body).await.unwrap();
        }
        return received;
    }
}

/// Reaches this machine, where the receivers are.
fn local(timeout: Duration) -> Webhooks {
    let networks = Network::parse_list("webhook_allow", "127.0.0.0/8,::1").unwrap();
    Webhooks::new(timeout, Reach::public_and(&networks), None).unwrap()
}

async fn post(timeout: Duration, url: &str) -> Result<(), DeliveryError> {
    local(timeout).post(url, &secret(), "alert-1", TIME, BODY).await
}

async fn outcome(status: &str) -> Result<(), DeliveryError> {
    post(TIMEOUT, &Receiver::answering(status).await.url).await
}

#[track_caller]
fn assert_retriable(result: Result<(), DeliveryError>, because: &str) {
    let Err(DeliveryError::Retriable(problem)) = result else { panic!("{result:?}") };
    assert!(problem.contains(because) && !problem.contains("hidden"), "{problem}");
}

#[track_caller]
fn assert_permanent(result: Result<(), DeliveryError>, because: &str) {
    let Err(DeliveryError::Permanent(problem)) = result else { panic!("{result:?}") };
    assert!(problem.contains(because) && !problem.contains("hidden"), "{problem}");
}

#[tokio::test]
async fn the_body_arrives_as_it_is_with_headers_that_verify() {
    let mut receiver = Receiver::answering("204 No Content").await;
    assert_eq!(post(TIMEOUT, &receiver.url).await, Ok(()));
    let request = receiver.requests.recv().await.unwrap();
    assert!(request.head.starts_with("POST /hook?token=hidden HTTP/1.1\r\n"), "{}", request.head);
    assert_eq!(request.header("host"), receiver.url.split('/').nth(2).unwrap());
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("user-agent"), USER_AGENT);
    assert_eq!(request.body, BODY);
    let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp").parse().unwrap());
    assert_eq!((id, timestamp), ("alert-1", TIME));
    let signature = request.header("webhook-signature");
    assert_eq!(verify(&secret(), id, timestamp, &request.body, signature, TIME, 0), Ok(()));
}

#[tokio::test]
async fn every_2xx_is_delivered() {
    for status in ["200 OK", "201 Created", "202 Accepted", "299 Whatever"] {
        assert_eq!(outcome(status).await, Ok(()), "{status}");
    }
}

#[tokio::test]
async fn a_refusal_is_for_good() {
    for status in ["400 Bad Request", "401 Unauthorized", "404 Not Found", "410 Gone"] {
        assert_permanent(outcome(status).await, &format!("answered {status}"));
    }
}

#[tokio::test]
async fn a_passing_trouble_is_worth_another_try() {
    let passing = ["408 Request Timeout", "425 Too Early", "429 Too Many Requests"];
    for status in passing.into_iter().chain(["500 Internal Server Error", "503 Service Unavailable"]) {
        assert_retriable(outcome(status).await, &format!("answered {status}"));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut target = Receiver::answering("200 OK").await;
    for status in ["301 Moved Permanently", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"] {
        let answer = format!("HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", target.url);
        let receiver = Receiver::start(vec![Some(answer)]).await;
        assert_retriable(post(TIMEOUT, &receiver.url).await, "redirects aren't followed");
    }
    // Were one followed, its request would be the first here.
    local(TIMEOUT).post(&target.url, &secret(), "direct", TIME, BODY).await.unwrap();
    assert_eq!(target.requests.recv().await.unwrap().header("webhook-id"), "direct");
}

#[tokio::test]
async fn an_endless_answer_is_not_read() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\nand so on".to_owned();
    assert_eq!(post(TIMEOUT, &Receiver::start(vec![Some(head)]).await.url).await, Ok(()));
}

#[tokio::test]
async fn a_receiver_that_never_answers_is_given_up_in_time() {
    let mut receiver = Receiver::start(vec![None]).await;
    assert_retriable(post(SHORT, &receiver.url).await, "didn't answer within 200ms");
    assert_eq!(receiver.requests.recv().await.unwrap().body, BODY);
}

#[tokio::test]
async fn a_receiver_that_talks_nonsense_is_worth_another_try() {
    let receiver = Receiver::start(vec![Some("220 mail.example.com ESMTP\r\n".to_owned())]).await;
    assert_retriable(post(TIMEOUT, &receiver.url).await, "127.0.0.1");
}

#[tokio::test]
async fn a_refused_connection_is_worth_another_try() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let url = format!("http://{address}/hidden");
    assert_retriable(post(TIMEOUT, &url).await, &format!("{address}: "));
}

#[tokio::test]
async fn each_attempt_has_a_connection_of_its_own() {
    let answer = Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned());
    let receiver = Receiver::start(vec![answer.clone(), answer]).await;
    let webhooks = local(TIMEOUT);
    for id in ["a", "b"] {
        assert_eq!(webhooks.post(&receiver.url, &secret(), id, TIME, BODY).await, Ok(()));
    }
}

#[tokio::test]
async fn what_can_not_be_sent_is_refused_unsent() {
    let webhooks = local(TIMEOUT);
    let url = "http://127.0.0.1:1/";
    let injected = webhooks.post(url, &secret(), "a\r\nx: y", TIME, BODY).await;
    assert_permanent(injected, "can't be sent this");
    assert_permanent(post(TIMEOUT, "ftp://127.0.0.1/hidden").await, "http:// or https://");
}

#[test]
fn a_timeout_of_nothing_is_refused() {
    assert_eq!(Webhooks::new(Duration::ZERO, Reach::anywhere(), None).unwrap_err().field, "timeout");
}
