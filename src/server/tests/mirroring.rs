//! What the books keep of every organization, to build a server from.

use super::{staged::Stage, *};
use crate::journal::Journal as _;

#[tokio::test]
async fn a_journal_that_cannot_be_trimmed_keeps_no_state_from_the_books() {
    let stage = Stage::new().await;
    stage.journal.trims_fail.store(true, SeqCst);
    let store = &stage.backends.store;
    let last = stage.journal.extent().await.unwrap().last;
    while store.status().await.unwrap().position < last {}
    stage.running.service.save_snapshots().await.unwrap();
    assert_eq!(store.list_states(None, 10).await.unwrap().len(), 2, "the first organization's and the system's");
    assert_eq!(stage.journal.extent().await.unwrap().trimmed, 0);
    stage.journal.trims_fail.store(false, SeqCst);
    stage.running.service.save_snapshots().await.unwrap();
    assert!(stage.journal.extent().await.unwrap().trimmed > 0, "it is trimmed the next time");
}

#[tokio::test]
async fn the_books_get_the_state_of_every_organization_however_many_there_are() {
    // More than are listed at a time, and so than are read or saved.
    const MANY: usize = 1100;
    let stage = Stage::new().await;
    for no in 0..MANY {
        found(&stage.running, &format!("many-{no}")).await;
    }
    let Backends { snapshots, store, .. } = &stage.backends;
    let last = stage.journal.extent().await.unwrap().last;
    while store.status().await.unwrap().position < last {}
    stage.running.service.save_snapshots().await.unwrap();
    let saved = snapshots.list(None, 2 * MANY).await.unwrap();
    assert_eq!(saved.len(), MANY + 2, "with the first one's and the system's");
    let kept = store.list_states(None, 2 * MANY).await.unwrap();
    assert!(kept == saved, "the books have {} states, or others, of {}", kept.len(), saved.len());
}
