//! Requests that claim much and send little, and answers that nobody reads.

use bytes::Bytes;
use futures::future::join_all;
use h2::client;
use prost::Message as _;
use quotad::api::proto::Role;
use tonic::{Code, Status};

use crate::{
    neighbour::beside,
    server::ORGANIZATION,
    wire::{HEALTH_CHECK, Wire, claiming, framed},
    world::World,
};

const CONNECTIONS: usize = 6;
const STREAMS: usize = 512;
/// As large as a message may be.
const CLAIMED: usize = 1 << 20;
const RESERVE: &str = "/quotad.v1.QuotaService/Reserve";
const SESSION: &str = "/quotad.v1.QuotaService/Session";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const MIB: u64 = 1 << 20;

/// What calls and connections cost by themselves, on a build without optimizations.
const SLACK: u64 = 48 * MIB;

/// Opens as many calls as connections take, which claim to be as long as a message may be, and keeps them open.
async fn claim(world: &World, path: &str, token: Option<&str>) {
    let connection = async || {
        let mut wire = Wire::open(&world.server.endpoint, token).await;
        let mut calls = Vec::new();
        for _ in 0..STREAMS {
            let Some((response, mut body)) = wire.call(path).await else { break };
            // Refused ones take nothing more.
            let _ = body.send_data(claiming(CLAIMED), false);
            calls.push((response, body));
        }
        (wire, calls)
    };
    let _open = join_all((0..CONNECTIONS).map(|_| connection())).await;
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_claimed_length_takes_no_memory_with_or_without_a_token() {
    let world = World::start(&[]).await;
    let service = world.service_token.clone();
    let member = world.member_token(ORGANIZATION, "basic", Role::Basic).await;
    let before = world.memory();
    for (path, token) in [
        (HEALTH_CHECK, None),
        (RESERVE, None),
        (RESERVE, Some(service.as_str())),
        (SESSION, Some(&service)),
        ("/quotad.v1.LedgerService/ListTransactions", Some(&member)),
    ] {
        let measured = beside(&world, || claim(&world, path, token)).await;
        measured.assert_undisturbed(&format!("claims of {path}, {}", token.map_or("no token", |_| "with a token")));
    }
    let grown = world.peak_memory() - before;
    println!("claims: {} MiB more at the peak", grown / MIB);
    assert!(grown < 4 * SLACK, "{grown} bytes for {} that came", CONNECTIONS * STREAMS * 5);
    world.falls_to(before + SLACK).await;
}

#[tokio::test]
async fn a_health_check_of_more_than_a_name_is_refused() {
    let world = World::start(&[]).await;
    let mut wire = Wire::open(&world.server.endpoint, None).await;
    let (response, mut body) = wire.call(HEALTH_CHECK).await.unwrap();
    body.send_data(claiming(1025), false).unwrap();
    let refused = response.await.unwrap();
    assert_eq!(Status::from_header_map(refused.headers()).unwrap().code(), Code::OutOfRange);
    let (response, mut body) = wire.call(HEALTH_CHECK).await.unwrap();
    body.send_data(framed(&[]), true).unwrap();
    assert!(Status::from_header_map(response.await.unwrap().headers()).is_none());
}

/// The descriptors of the whole API: the largest answer there is on an empty server.
async fn ask_for_descriptors(wire: &mut Wire) -> Option<(client::ResponseFuture, h2::SendStream<Bytes>)> {
    use tonic_reflection::pb::v1::{ServerReflectionRequest, server_reflection_request::MessageRequest};
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::FileContainingSymbol(String::from("quotad.v1.QuotaService"))),
    };
    let (response, mut body) = wire.call(REFLECTION).await?;
    body.send_data(framed(&request.encode_to_vec()), false).ok()?;
    Some((response, body))
}

#[tokio::test]
async fn answers_that_nobody_reads_are_bounded_for_a_connection_and_in_all() {
    let world = World::start(&["--connection-max-bytes=4194304", "--connections-max-bytes=33554432"]).await;
    let token = world.member_token(ORGANIZATION, "basic", Role::Basic).await;
    let before = world.memory();
    let measured = beside(&world, async || {
        let mut unread = client::Builder::new();
        unread.initial_window_size(0);
        let mut open = Vec::new();
        for _ in 0..12 {
            let mut wire = Wire::open_as(&unread, &world.server.endpoint, Some(&token)).await;
            let mut calls = Vec::new();
            for _ in 0..100 {
                calls.push(ask_for_descriptors(&mut wire).await.unwrap());
            }
            let mut refused = 0;
            let mut answers = Vec::new();
            for (response, body) in calls {
                let response = response.await.unwrap();
                refused += usize::from(Status::from_header_map(response.headers()).is_some());
                answers.push((response, body));
            }
            println!("{refused} of 100 calls were refused at once");
            open.push((wire, answers));
        }
        std::future::pending::<()>().await;
    })
    .await;
    measured.assert_undisturbed("answers that nobody reads");
    let grown = world.peak_memory() - before;
    println!("unread answers: {} MiB more at the peak", grown / MIB);
    assert!(grown < 33_554_432 + SLACK, "{grown}");
    world.falls_to(before + SLACK).await;
}
