//! Tells what would otherwise go on for ever that the server is stopping.

use tokio::sync::watch;

/// Stops when told so, or when nobody is left who could tell.
#[derive(Debug, Clone)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// With the end to say so from: send `true`.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    pub async fn wait(mut self) {
        // An error means that the server is gone.
        let _ = self.0.wait_for(|stopped| *stopped).await;
    }
}
