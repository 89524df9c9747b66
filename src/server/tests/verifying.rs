//! Memory, journal and books that don't tell the same.

use super::{staged::Stage, *};
use crate::{
    domain::event::{Event, Record, Stream},
    journal::Journal as _,
    service::{Difference, Verification},
};

/// With 3 USD charged to `k1`'s budget, and 2 held.
async fn stage() -> Stage {
    let stage = Stage::new().await;
    let mut quota = connect(&stage.running, &stage.token).await.quota();
    let charge = proto::ChargeRequest {
        payer: reserve("", "0").payer,
        request_id: "c1".into(),
        model: "m".into(),
        usage: Some(costing("3")),
        ..proto::ChargeRequest::default()
    };
    quota.charge(charge).await.unwrap();
    quota.reserve(reserve("r1", "2")).await.unwrap();
    stage
}

async fn verify(stage: &Stage) -> Verification {
    stage.running.service.verify(None).await.unwrap()
}

#[track_caller]
fn assert_named(differences: &[Difference], what: &str, expected: &str, found: &str) {
    let named = differences.iter().any(|difference| {
        difference.what.contains(what) && difference.expected.contains(expected) && difference.found.contains(found)
    });
    assert!(named, "{what}: {expected} against {found} isn't in {differences:#?}");
}

#[tokio::test]
async fn memory_is_what_the_journal_leads_to_with_and_without_a_snapshot() {
    let stage = stage().await;
    let verified = verify(&stage).await;
    assert_eq!(verified.differences, []);
    assert!(verified.replayed > 5 && verified.entries == 1, "{verified:?}");
    stage.running.service.save_snapshots().await.unwrap();
    let verified = verify(&stage).await;
    assert_eq!((verified.differences, verified.replayed), (vec![], 0), "all is in the snapshot");
}

#[tokio::test]
async fn a_journal_that_tells_of_another_charge_than_memory_is_named_by_the_budget_and_the_amounts() {
    let stage = stage().await;
    let forge = |record: &mut Record| {
        if let Event::Settled(settled) = &mut record.event {
            Arc::make_mut(settled).booked.cost += Nanos::units(1);
        }
    };
    *stage.journal.forge.lock() = Some(forge);
    assert_named(&verify(&stage).await.differences, "budget key/k1/b1 from", "4", "3");
}

#[tokio::test]
async fn a_gap_in_the_journal_is_named_by_its_place() {
    let stage = stage().await;
    let forge = |record: &mut Record| {
        if let Event::Settled(_) = &record.event {
            record.sequence += 1;
        }
    };
    *stage.journal.forge.lock() = Some(forge);
    let differences = verify(&stage).await.differences;
    assert_named(&differences, "journal and snapshots", "acknowledged", "was expected");
    assert_named(&differences, "journal and snapshots", "acknowledged", "the journal at position");
}

#[tokio::test]
async fn the_journal_isnt_trimmed_while_it_is_compared() {
    let stage = stage().await;
    // Until the books have all of it too.
    verify(&stage).await;
    let (journal, service) = (&stage.journal, &stage.running.service);
    let before = journal.extent().await.unwrap().trimmed;
    let held = journal.read_gate.lock().await;
    let verifying = tokio::spawn({
        let service = Arc::clone(service);
        async move { service.verify(None).await }
    });
    while !journal.reading.load(SeqCst) {
        tokio::task::yield_now().await;
    }
    let saving = tokio::spawn({
        let service = Arc::clone(service);
        async move { service.save_snapshots().await }
    });
    // The system's is the last of a round.
    while !stage.backends.snapshots.list(None, 10).await.unwrap().iter().any(|mark| mark.stream == Stream::System) {}
    // Were it trimmed now, it would be long before so much is asked.
    for _ in 0..100 {
        stage.backends.snapshots.list(None, 10).await.unwrap();
    }
    drop(held);
    assert_eq!(verifying.await.unwrap().unwrap().differences, []);
    saving.await.unwrap().unwrap();
    assert!(journal.extent().await.unwrap().trimmed > before, "it is trimmed afterwards");
}
