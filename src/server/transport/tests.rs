//! Connections in memory, on a clock that stands still but for what waits for it.

use std::{future::pending, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use h2::{
    RecvStream, SendStream,
    client::{self, SendRequest},
};
use http::HeaderMap;
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};
use tonic::{Code, Status};
use tower::service_fn;

use super::*;
use crate::clock::Stopwatch;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const MAX_MESSAGE: usize = 100_000;
const BIG: usize = 1 << 20;
const HEALTH: &str = "/grpc.health.v1.Health/Watch";
const SESSION: &str = "/quotad.v1.QuotaService/Session";

type Answer = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// `/take` answers when it has the whole body, with its bytes; `/big` answers much; anything else never answers.
fn answer(request: Request<Body>) -> Answer {
    Box::pin(async move {
        let (head, body) = request.into_parts();
        match head.uri.path() {
            "/take" | SESSION => {
                let body = match body.collect().await {
                    Ok(body) => body.to_bytes(),
                    Err(failed) => return Ok(failed.into_http()),
                };
                Ok(Response::new(Body::new(http_body_util::Full::new(body).map_err(|never| match never {}))))
            }
            "/big" => {
                let body = http_body_util::Full::new(Bytes::from(vec![7; BIG]));
                Ok(Response::new(Body::new(body.map_err(|never| match never {}))))
            }
            _ => pending().await,
        }
    })
}

struct World {
    total: Arc<Total>,
    stopper: watch::Sender<bool>,
    serving: Box<dyn Fn(DuplexStream) -> JoinHandle<()>>,
}

impl World {
    fn new(bounds: Connections) -> Self {
        let (stopper, stop) = Stop::new();
        let total = Total::new(&bounds);
        let settings = Settings { max_message: MAX_MESSAGE, ..Settings::default() };
        let deadlines = Deadlines::default();
        let serving = Serving { service: service_fn(answer), settings, deadlines, total: Arc::clone(&total), stop };
        let serving = move |connection| tokio::spawn(connection::serve(connection, serving.clone()));
        Self { total, stopper, serving: Box::new(serving) }
    }

    fn connect(&self) -> (DuplexStream, JoinHandle<()>) {
        let (ours, theirs) = duplex(1 << 16);
        (ours, (self.serving)(theirs))
    }

    async fn greet(&self, client: &client::Builder) -> (SendRequest<Bytes>, JoinHandle<()>) {
        let (ours, served) = self.connect();
        let (requests, connection) = client.handshake(ours).await.unwrap();
        tokio::spawn(connection);
        (requests.ready().await.unwrap(), served)
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new(Connections::default())
    }
}

fn call(requests: &mut SendRequest<Bytes>, path: &str) -> (client::ResponseFuture, SendStream<Bytes>) {
    let request = Request::post(format!("http://quotad{path}")).body(()).unwrap();
    requests.send_request(request, false).unwrap()
}

fn message(length: usize) -> Bytes {
    let mut message = vec![0];
    message.extend(u32::try_from(length).unwrap().to_be_bytes());
    message.resize(5 + length, 7);
    message.into()
}

async fn status(response: client::ResponseFuture) -> Option<Status> {
    Status::from_header_map(response.await.unwrap().headers())
}

async fn read_all(mut body: RecvStream) -> (usize, Option<HeaderMap>) {
    let mut length = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        length += data.len();
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    (length, body.trailers().await.unwrap())
}

/// How long it took, in seconds.
async fn ended(served: JoinHandle<()>) -> u64 {
    let since = Stopwatch::start();
    timeout(Duration::from_hours(1), served).await.expect("an end").unwrap();
    since.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_or_half_a_preface_has_ten_seconds() {
    let world = World::default();
    let (_silent, served) = world.connect();
    assert_eq!(ended(served).await, 10);
    let (mut half, served) = world.connect();
    half.write_all(&PREFACE[..13]).await.unwrap();
    assert_eq!(ended(served).await, 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_calls_nothing_has_thirty_seconds_and_later_five_minutes() {
    let world = World::default();
    let (_requests, served) = world.greet(&client::Builder::new()).await;
    assert_eq!(ended(served).await, 30);
    let (mut requests, served) = world.greet(&client::Builder::new()).await;
    let (response, mut body) = call(&mut requests, "/take");
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    let after = ended(served).await;
    assert!((300..=330).contains(&after), "{after}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_an_open_call_stays_as_long_as_its_peer_answers_pings() {
    let world = World::default();
    let (mut requests, served) = world.greet(&client::Builder::new()).await;
    let (response, body) = call(&mut requests, "/never");
    assert!(timeout(Duration::from_hours(2), response).await.is_err());
    assert!(!served.is_finished());
    drop((body, requests));
    assert!(ended(served).await <= 330);

    let (mut mute, served) = world.connect();
    mute.write_all(PREFACE).await.unwrap();
    // HEADERS that end the stream: POST, http, /, so that a call is open.
    mute.write_all(&[0, 0, 3, 1, 5, 0, 0, 0, 1, 0x83, 0x86, 0x84]).await.unwrap();
    // Looked at every 30 s: the second time nothing has come, and its ping is unanswered 20 s later.
    assert_eq!(ended(served).await, 80);
}

#[tokio::test(start_paused = true)]
async fn at_the_stop_only_open_calls_are_waited_for() {
    let world = World::default();
    let (_silent, unseen) = world.connect();
    let (_requests, idle) = world.greet(&client::Builder::new()).await;
    let (mut requests, busy) = world.greet(&client::Builder::new()).await;
    let (response, mut body) = call(&mut requests, "/take");
    let (mut watching, watched) = world.greet(&client::Builder::new()).await;
    let (_health, _body) = call(&mut watching, HEALTH);
    tokio::time::sleep(Duration::from_millis(10)).await;
    world.stopper.send(true).unwrap();
    for served in [unseen, idle, watched] {
        assert_eq!(ended(served).await, 0);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!busy.is_finished());
    body.send_data(message(3), true).unwrap();
    assert_eq!(read_all(response.await.unwrap().into_body()).await.0, 8);
    assert_eq!(ended(busy).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_is_handed_on_whole_however_it_comes() {
    let world = World::default();
    let (mut requests, _served) = world.greet(&client::Builder::new()).await;
    for (lengths, piece) in [(vec![0], 1), (vec![10, 0, 20], 1), (vec![MAX_MESSAGE], 999), (vec![5, 50_000, 3], 16_000)]
    {
        let (response, mut body) = call(&mut requests, "/take");
        let sent: Vec<u8> = lengths.iter().flat_map(|length| message(*length)).collect();
        for piece in sent.chunks(piece) {
            body.send_data(Bytes::copy_from_slice(piece), false).unwrap();
            tokio::task::yield_now().await;
        }
        body.send_data(Bytes::new(), true).unwrap();
        assert_eq!(read_all(response.await.unwrap().into_body()).await.0, sent.len());
    }
    assert_eq!(world.total.held_by_all(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_prefix_costs_nothing_and_an_unfinished_request_thirty_seconds() {
    let world = World::default();
    let (mut requests, _served) = world.greet(&client::Builder::new()).await;
    let (response, mut body) = call(&mut requests, "/take");
    body.send_data(message(MAX_MESSAGE).slice(..5), false).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let since = Stopwatch::start();
    let late = status(response).await.unwrap();
    assert_eq!((late.code(), since.elapsed().as_secs()), (Code::DeadlineExceeded, 29));
    // A message that has begun must come, an idle session need not.
    let (response, mut body) = call(&mut requests, SESSION);
    body.send_data(message(3), false).unwrap();
    tokio::time::sleep(Duration::from_hours(1)).await;
    body.send_data(message(3).slice(..7), false).unwrap();
    let since = Stopwatch::start();
    assert_eq!(status(response).await.unwrap().code(), Code::DeadlineExceeded);
    assert_eq!(since.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn of_a_message_that_is_too_large_nothing_is_held() {
    let world = World::default();
    let (mut requests, _served) = world.greet(&client::Builder::new()).await;
    let (response, mut body) = call(&mut requests, "/take");
    let prefix = [0, 0xff, 0xff, 0xff, 0xff];
    body.send_data(Bytes::copy_from_slice(&prefix), false).unwrap();
    body.send_data(Bytes::from(vec![7; 10]), true).unwrap();
    // The decoder behind would have refused it at its prefix.
    assert_eq!(read_all(response.await.unwrap().into_body()).await.0, 15);
}

/// The peer takes nothing: its window is empty.
fn unreading() -> client::Builder {
    let mut client = client::Builder::new();
    client.initial_window_size(0);
    client
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_counted_and_given_up_after_thirty_seconds() {
    let world = World::default();
    let (mut requests, _served) = world.greet(&unreading()).await;
    let (response, mut body) = call(&mut requests, "/big");
    body.send_data(Bytes::new(), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(world.total.held_by_all() >= BIG, "{}", world.total.held_by_all());
    let since = Stopwatch::start();
    assert!(answer.data().await.unwrap().is_err());
    assert_eq!(since.elapsed().as_secs(), 29);
    assert_eq!(world.total.held_by_all(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_full_of_unread_answers_is_refused_more_and_others_are_not() {
    let bounds = Connections { bytes_each: 5 * BIG / 2, ..Connections::default() };
    let world = World::new(bounds);
    let (mut requests, _served) = world.greet(&unreading()).await;
    let mut answers = Vec::new();
    for _ in 0..3 {
        let (response, mut body) = call(&mut requests, "/big");
        body.send_data(Bytes::new(), true).unwrap();
        answers.push(response.await.unwrap().into_body());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // The third had no room: its caller is told so.
    assert!(answers[2].data().await.is_none());
    let trailers = answers[2].trailers().await.unwrap().unwrap();
    assert_eq!(Status::from_header_map(&trailers).unwrap().code(), Code::ResourceExhausted);
    // With the first two, another that is small enough fills it.
    assert!(world.total.held_by_all() <= 5 * BIG / 2);

    let (mut other, _served) = world.greet(&client::Builder::new()).await;
    let (response, mut body) = call(&mut other, "/big");
    body.send_data(Bytes::new(), true).unwrap();
    assert_eq!(read_all(response.await.unwrap().into_body()).await.0, BIG);
}

#[tokio::test(start_paused = true)]
async fn a_large_answer_reaches_a_peer_that_reads_it_slowly() {
    let world = World::default();
    let (mut requests, _served) = world.greet(&client::Builder::new()).await;
    let (response, mut body) = call(&mut requests, "/big");
    body.send_data(Bytes::new(), true).unwrap();
    let mut answer = response.await.unwrap().into_body();
    let mut length = 0;
    while let Some(data) = answer.data().await {
        let data = data.unwrap();
        length += data.len();
        tokio::time::sleep(Duration::from_secs(2)).await;
        answer.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!((length, world.total.held_by_all()), (BIG, 0));
}

#[tokio::test(start_paused = true)]
async fn health_checks_are_few_on_a_connection() {
    let world = World::default();
    let (mut requests, _served) = world.greet(&client::Builder::new()).await;
    let mut open: Vec<_> = (0..16).map(|_| call(&mut requests, HEALTH)).collect();
    let (response, _body) = call(&mut requests, HEALTH);
    assert_eq!(status(response).await.unwrap().code(), Code::ResourceExhausted);
    open.pop();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let (response, _body) = call(&mut requests, HEALTH);
    assert!(timeout(Duration::from_secs(1), response).await.is_err(), "there is room for it");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_frames_without_content_ends_its_connection() {
    const PRIORITY: [u8; 14] = [0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 1, 7];
    const WINDOW_UPDATE: [u8; 13] = [0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const PING: [u8; 17] = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    let world = World::default();
    for frame in [&PRIORITY[..], &WINDOW_UPDATE, &SETTINGS, &PING] {
        let (mut flood, served) = world.connect();
        flood.write_all(PREFACE).await.unwrap();
        let (mut answers, mut flood) = tokio::io::split(flood);
        tokio::spawn(async move { answers.read_to_end(&mut Vec::new()).await });
        let mut sent = 0;
        while flood.write_all(frame).await.is_ok() {
            sent += 1;
            assert!(sent < 100_000, "{frame:?}");
        }
        assert_eq!(ended(served).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stranger_gets_a_small_window_and_whoever_was_let_in_a_large_one() {
    let world = World::default();
    let before = world.total.held_by_all();
    let (mut requests, _served) = world.greet(&client::Builder::new()).await;
    let (response, mut body) = call(&mut requests, SESSION);
    body.reserve_capacity(1 << 20);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(body.capacity(), 65_535);
    drop((response, body));
    let (response, mut body) = call(&mut requests, "/take");
    body.send_data(Bytes::new(), true).unwrap();
    response.await.unwrap();
    let (_response, mut body) = call(&mut requests, SESSION);
    body.reserve_capacity(1 << 20);
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(body.capacity(), 256 << 10);
    assert_eq!(before, 0);
}
