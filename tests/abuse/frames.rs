//! Floods of HTTP/2 frames that carry nothing, and of calls that need no token.

use std::time::Duration;

use futures::future::join_all;
use h2::client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, split};

use crate::{
    neighbour::beside,
    wire::{HEALTH_WATCH, Wire, dial, framed},
    world::World,
};

const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const MIB: u64 = 1 << 20;
/// More than a connection may send of them.
const MANY: usize = 100_000;

fn frames(one: &[u8], count: usize) -> Vec<u8> {
    one.repeat(count)
}

/// HEADERS of an empty call and its reset, with rising stream ids.
fn resets(count: usize) -> Vec<u8> {
    let mut sent = Vec::new();
    for id in (1..).step_by(2).take(count) {
        let id = u32::to_be_bytes(id);
        sent.extend([0, 0, 3, 1, 4].iter().chain(&id).chain(&[0x83, 0x86, 0x84]));
        sent.extend([0, 0, 4, 3, 0].iter().chain(&id).chain(&[0, 0, 0, 8]));
    }
    sent
}

/// Answers how many bytes the server took before it ended the connection.
async fn flood(world: &World, sent: &[u8]) -> usize {
    let (mut answers, mut requests) = split(dial(&world.server.endpoint).await);
    let answered = tokio::spawn(async move { answers.read_to_end(&mut Vec::new()).await });
    let mut taken = 0;
    let all = [GREETING, sent].concat();
    for part in all.chunks(16 << 10) {
        if requests.write_all(part).await.is_err() {
            break;
        }
        taken += part.len();
    }
    // Ended by the server: the client keeps its side open.
    let _ = answered.await.unwrap();
    taken
}

#[tokio::test]
async fn floods_of_frames_without_content_end_their_connections() {
    let world = World::start(&[]).await;
    let before = world.memory();
    let floods = [
        ("PRIORITY", frames(&[0, 0, 5, 2, 0, 0, 0, 0, 3, 0, 0, 0, 1, 7], MANY)),
        ("WINDOW_UPDATE", frames(&[0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1], MANY)),
        ("SETTINGS", frames(&[0, 0, 0, 4, 0, 0, 0, 0, 0], MANY)),
        ("PING", frames(&[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], MANY)),
        ("unknown", frames(&[0, 0, 0, 0xaa, 0, 0, 0, 0, 0], MANY)),
        ("RST_STREAM", resets(MANY)),
    ];
    for (name, sent) in &floods {
        let spent = world.processor_time();
        flood(&world, sent).await;
        println!("{name}: {:?} of processor time", world.processor_time().saturating_sub(spent));
    }
    let measured = beside(&world, async || {
        loop {
            join_all(floods.iter().map(|(_, sent)| flood(&world, sent))).await;
        }
    })
    .await;
    measured.assert_undisturbed("floods of frames");
    let grown = world.peak_memory() - before;
    println!("frames: {} MiB more at the peak", grown / MIB);
    assert!(grown < 64 * MIB, "{grown}");
}

#[tokio::test]
async fn watches_of_health_are_few_on_a_connection() {
    let world = World::start(&[]).await;
    let before = world.memory();
    let watch = async || {
        let mut wire = Wire::open(&world.server.endpoint, None).await;
        let mut watches = Vec::new();
        for _ in 0..512 {
            let Some((response, mut body)) = wire.call(HEALTH_WATCH).await else { break };
            let _ = body.send_data(framed(&[]), true);
            watches.push((response, body));
        }
        let mut open = 0;
        let mut answers = Vec::new();
        for (response, _) in watches {
            let response = response.await.unwrap();
            open += usize::from(tonic::Status::from_header_map(response.headers()).is_none());
            answers.push(response);
        }
        assert_eq!(open, 16);
        (wire, answers)
    };
    let measured = beside(&world, async || {
        let _open = join_all((0..24).map(|_| watch())).await;
        std::future::pending::<()>().await;
    })
    .await;
    measured.assert_undisturbed("watches of health");
    let grown = world.peak_memory() - before;
    println!("watches: {} MiB more at the peak", grown / MIB);
    assert!(grown < 64 * MIB, "{grown}");
}

#[tokio::test]
async fn headers_of_more_than_sixteen_kibibytes_are_refused() {
    let world = World::start(&[]).await;
    let (requests, connection) = client::handshake(dial(&world.server.endpoint).await).await.unwrap();
    tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let request = http::Request::post("http://quotad/quotad.v1.QuotaService/Reserve").header("x", "y".repeat(17 << 10));
    let (response, _) = requests.send_request(request.body(()).unwrap(), true).unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(30), response).await.unwrap();
    assert!(answered.is_err() || answered.unwrap().status() == 431);
}
