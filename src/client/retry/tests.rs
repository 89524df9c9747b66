use std::{cell::RefCell, future::pending};

use super::*;

const RETRY: Retry = Retry {
    attempt: Duration::from_secs(1),
    overall: Duration::from_secs(10),
    first_pause: Duration::from_millis(100),
    longest_pause: Duration::from_secs(1),
};

/// When each call was made, if all are answered by `answer`, and what came of it.
async fn moments(retry: Retry, seed: u64, answer: impl Fn(usize) -> Status) -> (Vec<Duration>, Status) {
    let (begun, made) = (Stopwatch::start(), RefCell::new(Vec::new()));
    let error = retry
        .run(seed, || {
            made.borrow_mut().push(begun.elapsed());
            let status = answer(made.borrow().len());
            async move { Err::<(), _>(status) }
        })
        .await
        .unwrap_err();
    (made.into_inner(), error)
}

#[tokio::test(start_paused = true)]
async fn pauses_double_up_to_the_longest_and_lie_in_the_upper_half() {
    let (made, error) = moments(RETRY, 7, |_| Status::unavailable("down")).await;
    let pauses: Vec<_> = made.windows(2).map(|two| two[1].saturating_sub(two[0])).collect();
    assert!(pauses.len() > 8, "{pauses:?}");
    for (no, pause) in pauses.iter().enumerate() {
        let due = Duration::from_millis(100 << no.min(20)).min(Duration::from_secs(1));
        let timer = Duration::from_millis(2);
        assert!(*pause >= due / 2 && *pause <= due + timer, "{no}: {pause:?} of {due:?}");
    }
    assert!(*made.last().unwrap() < RETRY.overall);
    assert_eq!(error.message(), "down");
}

#[tokio::test(start_paused = true)]
async fn callers_with_different_seeds_come_back_at_different_times() {
    let (one, _) = moments(RETRY, 1, |_| Status::unavailable("down")).await;
    let (same, _) = moments(RETRY, 1, |_| Status::unavailable("down")).await;
    let (other, _) = moments(RETRY, 2, |_| Status::unavailable("down")).await;
    assert_eq!(one, same);
    assert_ne!(one[1], other[1]);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_lasts_is_not_asked_about_again() {
    let (made, error) = moments(RETRY, 7, |_| Status::invalid_argument("usage: is missing")).await;
    assert_eq!((made.len(), error.code()), (1, tonic::Code::InvalidArgument));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_given_up_and_made_again() {
    let calls = RefCell::new(0);
    let begun = Stopwatch::start();
    let answer = RETRY.run(7, || {
        *calls.borrow_mut() += 1;
        let no = *calls.borrow();
        async move { if no == 1 { pending().await } else { Ok(no) } }
    });
    assert_eq!(answer.await.unwrap(), 2);
    assert!(begun.elapsed() >= RETRY.attempt && begun.elapsed() < RETRY.attempt * 2);
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_beyond_the_overall_deadline() {
    let begun = Stopwatch::start();
    let error = RETRY.run(7, pending::<Result<(), Status>>).await.unwrap_err();
    assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
    assert!(begun.elapsed() <= RETRY.overall + Duration::from_millis(2), "{:?}", begun.elapsed());
}
