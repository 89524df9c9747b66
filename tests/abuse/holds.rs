//! Open reservations are bounded, whatever the policies say, and so are their labels.

use futures::future::join_all;
use quotad::api::proto::{
    DenialCode, Payer, ReserveRequest, ReserveResponse, Scope, Usage, payer::Payer as By, reserve_response::Decision,
};
use tonic::{Code, Status};

use crate::{
    neighbour::beside,
    rpc::is_broken,
    server::{KEY, MODEL},
    world::World,
};

/// As large as they may be, and held as long.
fn large(labels: usize) -> ReserveRequest {
    let label = |no| (format!("{no:0>16}"), "x".repeat(240));
    ReserveRequest {
        payer: Some(Payer { payer: Some(By::KeyId(KEY.into())) }),
        request_id: format!("{:x}", rand::random::<u128>()),
        model: MODEL.into(),
        usage: Some(Usage { input_tokens: 1, ..Usage::default() }),
        ttl: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        labels: (0..labels).map(label).collect(),
        ..ReserveRequest::default()
    }
}

/// `None` where the machine is too busy to answer.
fn denied(answer: Result<ReserveResponse, Status>) -> Option<bool> {
    let answer = match answer {
        // The server ends a connection whose caller gives up many calls, as the end of a slice does.
        Err(status) if status.code() == Code::Unavailable || is_broken(&status) => {
            return None;
        }
        answer => answer.unwrap(),
    };
    Some(match answer.decision {
        Some(Decision::Granted(_)) => false,
        Some(Decision::Denied(denial)) => {
            let violation = denial.violations[0].limit.clone().unwrap();
            assert_eq!(denial.code(), DenialCode::ConcurrencyExceeded, "{denial:?}");
            assert_eq!((violation.scope(), violation.limit_id.as_str()), (Scope::Key, "server"));
            true
        }
        None => panic!("no decision"),
    })
}

#[tokio::test]
async fn open_reservations_of_a_key_end_at_their_bound_and_take_bounded_memory() {
    const BOUND: usize = 2000;
    let world = World::start(&["--max-open-per-key", "2000"]).await;
    let before = world.memory();
    let counts = std::sync::Mutex::new((0, 0));
    let measured = beside(&world, async || {
        loop {
            let asked = join_all((0..16).map(|_| {
                let mut quota = world.gateway.quota();
                async move { quota.reserve(large(15)).await.map(tonic::Response::into_inner) }
            }));
            for answer in asked.await {
                let mut counts = counts.lock().unwrap();
                match denied(answer) {
                    Some(true) => counts.1 += 1,
                    Some(false) => counts.0 += 1,
                    None => {}
                }
            }
        }
    })
    .await;
    // A slow machine may not have come so far.
    loop {
        match denied(world.gateway.quota().reserve(large(15)).await.map(tonic::Response::into_inner)) {
            Some(true) => break,
            Some(false) => counts.lock().unwrap().0 += 1,
            None => {}
        }
    }
    measured.assert_undisturbed("reservations that stay open");
    let (granted, refused) = counts.into_inner().unwrap();
    let grown = world.memory().saturating_sub(before);
    println!("open reservations: {granted} granted, {refused} refused, memory grew by {} MB", grown >> 20);
    // What a slice left unread may have been granted besides.
    assert!((BOUND - 200..=BOUND).contains(&granted), "{granted}");
    // Most of it is what the journal and the books have yet to write.
    assert!(grown < 160 << 20, "{grown}");
}

#[tokio::test]
async fn labels_beyond_their_bound_are_refused() {
    let world = World::start(&[]).await;
    world.gateway.quota().reserve(large(16)).await.unwrap();
    let mut larger = large(16);
    larger.labels.insert(format!("{:0>17}", 0), "x".repeat(240));
    larger.labels.remove(&format!("{:0>16}", 0));
    let refused = world.gateway.quota().reserve(larger).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("labels") && refused.message().contains("4096"), "{refused:?}");
}
