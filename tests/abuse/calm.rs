//! A thread with the priority that the tests began with. Attackers stand back for good, and with them would stand whatever they start:
//! the neighbor, and the servers of the tests after them on the same thread.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        LazyLock,
        mpsc::{Sender, channel},
    },
    thread,
};

type Job = Box<dyn FnOnce() + Send>;

/// Begins with the first server, before any attacker stands back.
static CALM: LazyLock<Sender<Job>> = LazyLock::new(|| {
    let (jobs, given) = channel::<Job>();
    thread::spawn(move || given.into_iter().for_each(|job| job()));
    jobs
});

/// Returns what `job` answers on that thread. What it starts has the tests' first priority too.
pub(crate) fn calmly<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let (answer, answered) = channel();
    let job = move || {
        // Whoever asked is there until it is answered.
        let _ = answer.send(catch_unwind(AssertUnwindSafe(job)));
    };
    CALM.send(Box::new(job)).expect("the thread waits for jobs");
    answered.recv().expect("each job is answered").unwrap_or_else(|panic| resume_unwind(panic))
}
