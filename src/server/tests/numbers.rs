//! An id from a time that was lost, whose number another reservation has now.

use super::{staged::Stage, *};
use crate::{
    domain::{
        event::Event,
        reservation_id::{ReservationId, SealKey},
        time::Span,
    },
    journal::Journal as _,
};

async fn seal(stage: &Stage) -> SealKey {
    let records = stage.journal.read(1, 1).await.unwrap();
    let seal = records.iter().find_map(|record| match &record.event {
        Event::Initialized { seal } => Some(*seal),
        _ => None,
    });
    seal.unwrap()
}

#[tokio::test]
async fn an_id_settles_only_the_reservation_that_it_was_made_for() {
    let stage = Stage::new().await;
    let mut quota = connect(&stage.running, &stage.token).await.quota();
    let granted = granted(quota.reserve(reserve("r1", "2")).await.unwrap().into_inner());
    let seal = seal(&stage).await;
    let own = ReservationId::decode(&granted.reservation_id, &seal).unwrap();
    let earlier = ReservationId { admit_time: own.admit_time - Span::SECOND, ..own.clone() };
    let of_another_key = ReservationId { key: KeyId::trusted("k2"), ..own.clone() };
    for other in [earlier, of_another_key] {
        let refused = quota.commit(commit(&other.encode(&seal), "1")).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::NotFound, "RESERVATION_NOT_FOUND".to_owned()), "{other:?}");
    }
    quota.commit(commit(&granted.reservation_id, "1")).await.unwrap();
    let again = ReservationId { admit_time: own.admit_time - Span::SECOND, ..own };
    let refused = quota.commit(commit(&again.encode(&seal), "1")).await.unwrap_err();
    assert_eq!(reason(&refused).0, Code::NotFound, "nor is its answer told");
}
