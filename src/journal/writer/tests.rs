use std::{collections::VecDeque, future::Future, task::Poll};

use async_trait::async_trait;

use super::*;
use crate::{
    domain::{
        event::{Event, Stream},
        id::Actor,
        lease::{JournalId, StoreId},
        time::Timestamp,
    },
    journal::{Extent, JournalError},
};

/// Does what it is told, batch by batch; says `Ok` when nothing is scripted.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Result<(), AppendError>>>,
    batches: Mutex<Vec<Vec<u64>>>,
    /// While it is held, appends wait.
    gate: tokio::sync::Mutex<()>,
    /// As `script`, of the checkpoints.
    checkpoints: Mutex<VecDeque<Result<(), AppendError>>>,
    /// While it is held, checkpoints wait.
    checkpoint_gate: tokio::sync::Mutex<()>,
}

#[async_trait]
impl Journal for Scripted {
    async fn append(&self, batch: &[Record]) -> Result<(), AppendError> {
        let _open = self.gate.lock().await;
        let answer = self.script.lock().pop_front().unwrap_or(Ok(()));
        if answer.is_ok() {
            self.batches.lock().push(batch.iter().map(|record| record.position).collect());
        }
        answer
    }

    async fn checkpoint(&self) -> Result<(), AppendError> {
        let _open = self.checkpoint_gate.lock().await;
        self.checkpoints.lock().pop_front().unwrap_or(Ok(()))
    }

    async fn read(&self, _: u64, _: usize) -> Result<Vec<Record>, JournalError> {
        Ok(Vec::new())
    }

    async fn trim(&self, _: u64) -> Result<(), JournalError> {
        Ok(())
    }

    async fn size(&self) -> Result<u64, JournalError> {
        Ok(0)
    }

    fn id(&self) -> JournalId {
        JournalId::new([0; 16])
    }

    async fn books(&self) -> Result<Option<StoreId>, JournalError> {
        Ok(None)
    }

    async fn set_books(&self, _: Option<StoreId>) -> Result<(), JournalError> {
        Ok(())
    }

    async fn begin_after(&self, _: u64) -> Result<(), JournalError> {
        Ok(())
    }

    async fn extent(&self) -> Result<Extent, JournalError> {
        Ok(Extent::default())
    }
}

fn records(count: usize) -> Vec<Record> {
    let record = Record {
        position: 0,
        stream: Stream::System,
        sequence: 1,
        epoch: 1,
        time: Timestamp::EPOCH,
        actor: Actor::SYSTEM,
        event: Event::Started,
    };
    vec![record; count]
}

fn start(journal: &Arc<Scripted>, capacity: usize) -> Writer {
    let window = Duration::from_hours(1);
    let journal: Arc<dyn Journal> = journal.clone();
    Writer::start(journal, 0, Collecting { window, capacity }, Arc::default())
}

/// Polls once: `None` while it isn't ready.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| match std::pin::Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Whether it isn't ready, whatever others had to do.
async fn keeps_waiting<F: Future + Unpin>(future: &mut F) -> bool {
    for _ in 0..10 {
        if poll_once(future).await.is_some() {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}

#[tokio::test]
async fn who_waits_cuts_the_window_short() {
    let journal = Arc::new(Scripted::default());
    let writer = start(&journal, 100);
    writer.push(records(2));
    let position = writer.push(records(1));
    assert_eq!(position, 3);
    assert!(journal.batches.lock().is_empty(), "nobody waits, so the window of an hour is still open");
    assert_eq!(writer.wait_durable(position).await, Ok(()));
    assert_eq!(*journal.batches.lock(), [[1, 2, 3]]);
    assert_eq!(writer.durable_position(), 3);
}

#[tokio::test]
async fn one_operation_is_never_split_and_batches_are_bounded() {
    let journal = Arc::new(Scripted::default());
    let writer = start(&journal, 100_000);
    writer.push(records(4000));
    writer.push(records(200));
    let last = writer.push(records(5000));
    writer.wait_durable(last).await.unwrap();
    let lengths: Vec<_> = journal.batches.lock().iter().map(Vec::len).collect();
    assert_eq!(lengths, [4000, 200, 5000]);
    let positions: Vec<u64> = journal.batches.lock().concat();
    assert_eq!(positions, (1..=9200).collect::<Vec<_>>(), "positions have no gaps");
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_on_disk() {
    let journal = Arc::new(Scripted::default());
    let gate = journal.gate.lock().await;
    let writer = start(&journal, 100);
    let position = writer.push(records(1));
    let mut waiting = Box::pin(writer.wait_durable(position));
    assert!(keeps_waiting(&mut waiting).await);
    drop(gate);
    assert_eq!(waiting.await, Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_fails_who_waits_keeps_the_batch_and_recovers() {
    let journal = Arc::new(Scripted::default());
    journal.script.lock().push_back(Err(AppendError::Retry(String::from("disk full"))));
    journal.script.lock().push_back(Err(AppendError::Retry(String::from("disk full"))));
    let writer = start(&journal, 100);
    let position = writer.push(records(1));
    assert_eq!(writer.wait_durable(position).await, Err(JournalFailed));
    assert!(writer.is_failed());
    assert_eq!(writer.wait_durable(position).await, Err(JournalFailed), "refused at once while it fails");
    writer.wait_beyond(0).await;
    assert!(!writer.is_failed());
    assert_eq!(writer.wait_durable(position).await, Ok(()));
    assert_eq!(*journal.batches.lock(), [[1]], "the batch was kept and written once");
}

#[tokio::test]
async fn an_unknown_outcome_stops_acknowledging_for_good() {
    let journal = Arc::new(Scripted::default());
    journal.script.lock().push_back(Err(AppendError::Fatal(String::from("fsync failed"))));
    let writer = start(&journal, 100);
    let position = writer.push(records(1));
    assert_eq!(writer.wait_durable(position).await, Err(JournalFailed));
    assert_eq!(writer.failed_for_good().await, "fsync failed");
    let position = writer.push(records(1));
    assert_eq!(writer.wait_durable(position).await, Err(JournalFailed));
    assert!(journal.batches.lock().is_empty());
}

#[tokio::test]
async fn who_waits_for_the_disk_does_not_wait_for_the_checkpoint_behind_it() {
    let journal = Arc::new(Scripted::default());
    let checkpoint = journal.checkpoint_gate.lock().await;
    let writer = start(&journal, 100);
    let first = writer.push(records(1));
    assert_eq!(writer.wait_durable(first).await, Ok(()));
    let second = writer.push(records(1));
    let mut waiting = Box::pin(writer.wait_durable(second));
    assert!(keeps_waiting(&mut waiting).await, "a batch and a checkpoint take turns");
    drop(checkpoint);
    assert_eq!(waiting.await, Ok(()));
}

#[tokio::test]
async fn a_checkpoint_that_can_be_made_later_holds_up_nothing() {
    let journal = Arc::new(Scripted::default());
    journal.checkpoints.lock().push_back(Err(AppendError::Retry(String::from("disk full"))));
    let writer = start(&journal, 100);
    for batch in 1..=2 {
        let position = writer.push(records(1));
        assert_eq!(writer.wait_durable(position).await, Ok(()));
        assert_eq!(position, batch);
    }
    assert!(!writer.is_failed() && journal.checkpoints.lock().is_empty());
}

#[tokio::test]
async fn a_checkpoint_whose_sync_failed_stops_acknowledging_for_good() {
    let journal = Arc::new(Scripted::default());
    journal.checkpoints.lock().push_back(Err(AppendError::Fatal(String::from("fsync failed"))));
    let writer = start(&journal, 100);
    let first = writer.push(records(1));
    assert_eq!(writer.wait_durable(first).await, Ok(()), "it was on disk");
    assert_eq!(writer.failed_for_good().await, "fsync failed");
    let second = writer.push(records(1));
    assert_eq!(writer.wait_durable(second).await, Err(JournalFailed));
    assert_eq!(*journal.batches.lock(), [[1]]);
}

#[tokio::test]
async fn a_full_queue_has_no_room_until_it_is_written() {
    let journal = Arc::new(Scripted::default());
    let gate = journal.gate.lock().await;
    let writer = start(&journal, 3);
    let position = writer.push(records(3));
    assert!(!writer.has_room());
    let mut room = Box::pin(writer.wait_for_room());
    assert_eq!(poll_once(&mut room).await, None);
    drop(gate);
    writer.wait_durable(position).await.unwrap();
    room.await;
    assert!(writer.has_room());
}
