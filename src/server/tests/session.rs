//! When a session answers what waits for the disk.

use super::{staged::Stage, *};

fn check() -> Op {
    let proto::ReserveRequest { payer, model, usage, .. } = reserve("", "0.001");
    Op::Check(proto::CheckRequest { payer, model, usage, min_output_tokens: None })
}

async fn hold(talk: &mut Talk, no: u64) -> String {
    talk.ask(1, Op::Reserve(reserve(&format!("r{no}"), "0.001"))).await;
    let (1, Answer::Reserve(response)) = talk.next().await else { panic!("no reservation") };
    granted(response).reservation_id
}

#[tokio::test]
async fn a_commit_is_answered_once_it_is_on_disk_and_holds_up_nothing_that_neednt_wait() {
    let stage = Stage::new().await;
    let connection = connect(&stage.running, &stage.token).await;
    let mut talk = Talk::open(&connection).await;
    // Several times, because what the first one waited with must not let the next one through.
    for no in 0..5 {
        let id = hold(&mut talk, no).await;
        let gate = stage.journal.gate.lock().await;
        talk.ask(2, Op::Commit(commit(&id, "0.001"))).await;
        talk.ask(3, check()).await;
        let (first, _) = talk.next().await;
        assert_eq!(first, 3, "a commit was acknowledged that isn't on disk");
        drop(gate);
        let (2, Answer::Commit(charged)) = talk.next().await else { panic!("not committed") };
        assert_eq!(charged.entry, no + 1);
    }
}

#[tokio::test]
async fn all_that_a_session_waits_for_is_answered_as_unavailable_when_the_journal_is_lost() {
    let stage = Stage::new().await;
    let connection = connect(&stage.running, &stage.token).await;
    let mut talk = Talk::open(&connection).await;
    let ids = [hold(&mut talk, 0).await, hold(&mut talk, 1).await];
    stage.journal.failing.store(true, SeqCst);
    for (no, id) in (10..).zip(&ids) {
        talk.ask(no, Op::Commit(commit(id, "0.001"))).await;
    }
    for expected in [10, 11] {
        let (no, Answer::Error(error)) = talk.next().await else { panic!("acknowledged without a journal") };
        assert_eq!((no, error.code), (expected, i32::from(Code::Unavailable)));
    }
    talk.ask(12, Op::Reserve(reserve("r2", "0.001"))).await;
    let (12, Answer::Error(error)) = talk.next().await else { panic!("decided without a journal") };
    assert_eq!(error.code, i32::from(Code::Unavailable));
}
