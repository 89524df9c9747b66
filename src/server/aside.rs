//! Threads beside those that serve decisions. On those, calls would wait for tens of milliseconds behind whatever computes for long at
//! a time.

use std::{io, thread::available_parallelism};

use tokio::runtime::{Builder, Handle, Runtime};

/// Three things compute at a time: what is projected, what is read ahead of it, and a state that is saved. Who waits for a database whose
/// connection was opened here needs one that is free now and then.
const BOOKS_THREADS: usize = 4;
/// Calls of the control plane that compute at a time, at least and at most.
const CONTROL_THREADS: (usize, usize) = (2, 8);
/// How far the control plane stands back where processors are short: it has about a tenth of what a thread has that serves decisions.
#[cfg(target_os = "linux")]
const CONTROL_NICENESS: i32 = 10;

/// Must outlive whatever was begun there: connections of the books' database live on its threads too.
pub(super) struct Aside {
    /// Until it is dropped.
    runtime: Option<Runtime>,
    pub(super) handle: Handle,
}

impl Aside {
    /// For the books' rows, and for whole states to save.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(super) fn books() -> io::Result<Self> {
        Self::start(Builder::new_multi_thread().worker_threads(BOOKS_THREADS).thread_name("books"))
    }

    /// For the control plane.
    ///
    /// # Errors
    /// When the system gives no threads.
    pub(super) fn control() -> io::Result<Self> {
        let (least, most) = CONTROL_THREADS;
        let threads = available_parallelism().map_or(least, |cores| (cores.get() / 2).clamp(least, most));
        let mut builder = Builder::new_multi_thread();
        Self::start(builder.worker_threads(threads).thread_name("control").on_thread_start(stand_back))
    }

    fn start(builder: &mut Builder) -> io::Result<Self> {
        let runtime = builder.enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

/// Lowers the priority of the calling thread, and of those that it starts: SQLite's, where it opens a connection.
fn stand_back() {
    // Where the system refuses, threads of their own must do.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::nice(CONTROL_NICENESS);
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its end isn't allowed where others run too.
            runtime.shutdown_background();
        }
    }
}
