//! Copies of a data directory whose server goes on, and what a server that starts from one knows.

use super::*;
use crate::server::backup::{BackupError, back_up, restore};

fn charge(request: &str) -> proto::ChargeRequest {
    let proto::ReserveRequest { payer, model, usage, .. } = reserve(request, "0.01");
    proto::ChargeRequest { payer, model, usage, request_id: request.to_owned(), ..proto::ChargeRequest::default() }
}

type Quota = proto::quota_service_client::QuotaServiceClient<crate::client::Authenticated>;

async fn charged(quota: &mut Quota, request: &str) -> proto::CommitResponse {
    match quota.charge(charge(request)).await.unwrap().into_inner().decision {
        Some(proto::charge_response::Decision::Charged(charged)) => charged,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_copy_made_under_load_has_all_that_was_acknowledged_before() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let mut quota = connect(&running, &token).await.quota();
    let data = home.settings().data_dir;
    let copies = TempDir::new().unwrap();
    for round in 0..5 {
        charged(&mut quota, &format!("before-{round}")).await;
        let (to, service) = (copies.path().join(format!("copy-{round}")), Arc::clone(&running.service));
        let load = async {
            for no in 0..40 {
                charged(&mut quota, &format!("during-{round}-{no}")).await;
                if no % 10 == 0 {
                    // Trims the journal.
                    service.save_snapshots().await.unwrap();
                }
            }
        };
        let (made, ()) = tokio::join!(back_up(&data, &to), load);
        assert!(made.unwrap().position > 0);
        let restored_to = copies.path().join(format!("restored-{round}"));
        let restored = restore(&to, &restored_to).await.unwrap();
        let least = 41 * round + 1;
        assert!((least..=least + 40).contains(&restored.entries), "{restored:?}");
        let settings = Settings { data_dir: restored_to, ..home.settings() };
        let restored = serve(&settings, Arc::default(), stopped_clock).await.unwrap();
        let mut anew = connect(&restored, &token).await.quota();
        assert!(charged(&mut anew, &format!("before-{round}")).await.replayed);
        assert_eq!(restored.service.verify(None).await.unwrap().differences, []);
        restored.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn reservations_after_a_restore_are_never_taken_for_those_of_the_original() {
    let home = Home::new();
    let running = home.start().await;
    let token = seed(&running).await;
    let copies = TempDir::new().unwrap();
    let (copy, data) = (copies.path().join("copy"), copies.path().join("restored"));
    back_up(&home.settings().data_dir, &copy).await.unwrap();
    // The original starts again, as often as it likes, and grants.
    running.shutdown().await.unwrap();
    let running = home.start().await;
    let lost = granted(connect(&running, &token).await.quota().reserve(reserve("r1", "1")).await.unwrap().into_inner());
    restore(&copy, &data).await.unwrap();
    let settings = Settings { data_dir: data, ..home.settings() };
    let restored = serve(&settings, Arc::default(), stopped_clock).await.unwrap();
    let mut quota = connect(&restored, &token).await.quota();
    let granted = granted(quota.reserve(reserve("r2", "1")).await.unwrap().into_inner());
    assert_ne!(lost.reservation_id, granted.reservation_id);
    // Its seal proves that it was granted: what it used is charged, and nobody else's hold is taken for it.
    let first = quota.commit(commit(&lost.reservation_id, "1")).await.unwrap().into_inner();
    let second = quota.commit(commit(&granted.reservation_id, "2")).await.unwrap().into_inner();
    assert_eq!((first.entry, second.entry, first.replayed || second.replayed), (1, 2, false));
    assert_eq!(restored.service.verify(None).await.unwrap().differences, []);
}

#[tokio::test]
async fn what_is_no_data_directory_or_is_there_already_is_refused_by_name() {
    let home = Home::new();
    let running = home.start().await;
    let data = home.settings().data_dir;
    let copies = TempDir::new().unwrap();
    let (copy, nothing) = (copies.path().join("copy"), copies.path().join("nothing"));
    assert!(matches!(back_up(&nothing, &copy).await, Err(BackupError::NoData(path)) if path == nothing));
    back_up(&data, &copy).await.unwrap();
    assert!(matches!(back_up(&data, &copy).await, Err(BackupError::Exists(path)) if path == copy));
    assert!(matches!(restore(&copy, &data).await, Err(BackupError::DataDir(DataDirError::Locked { .. }))));
    running.shutdown().await.unwrap();
    assert!(matches!(restore(&copy, &data).await, Err(BackupError::Exists(path)) if path == data.join("books.db")));
    std::fs::remove_file(copy.join("books.db")).unwrap();
    let elsewhere = copies.path().join("elsewhere");
    assert!(matches!(restore(&copy, &elsewhere).await, Err(BackupError::OtherBooks(path)) if path == copy));
}
