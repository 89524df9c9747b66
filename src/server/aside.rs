//! Threads beside those that serve, for the tasks that compute for long at a time: the books' rows, whole states to save. On the
//! threads that serve, calls would wait behind them for tens of milliseconds.

use std::io;

use tokio::runtime::{Builder, Handle, Runtime};

/// Three things compute at a time: what is projected, what is read ahead of it, and a state that is saved. Who waits for a database whose
/// connection was opened here needs one that is free now and then.
const THREADS: usize = 4;

/// Must outlive whatever was begun there: connections of the books' database live on its threads too.
pub(super) struct Aside {
    /// Until it is dropped.
    runtime: Option<Runtime>,
    pub(super) handle: Handle,
}

impl Aside {
    /// # Errors
    /// When the system gives no threads.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(THREADS).thread_name("books").enable_all().build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its end isn't allowed where others run too.
            runtime.shutdown_background();
        }
    }
}
