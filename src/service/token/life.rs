//! How long a service token stands, told to the streams that it opened: a call is judged as it comes in, a stream goes on.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use crate::{
    domain::time::Timestamp,
    service::{Caller, Error, Service},
};

/// The clock that tokens expire by isn't the one that timers go by, and may be put forward.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(1);

/// Ends when it is dropped, which deleting the token does.
#[derive(Debug)]
pub(in crate::service) struct Standing(watch::Sender<()>);

impl Standing {
    pub(in crate::service) fn begin() -> Self {
        Self(watch::channel(()).0)
    }
}

/// The life of a token as a stream knows it that the token opened.
pub struct TokenLife {
    service: Arc<Service>,
    standing: watch::Receiver<()>,
    expire_time: Option<Timestamp>,
}

impl Service {
    /// Returns the life of the service token that was shown.
    ///
    /// # Errors
    /// [`Error::TokenUnknown`] where it is over already.
    pub fn token_life(self: &Arc<Self>, caller: &Caller) -> Result<TokenLife, Error> {
        let secret = caller.secret().ok_or(Error::TokenMissing)?;
        let found = self.tokens.find(&secret, self.clock.now(), |known| {
            let standing = known.standing.as_ref()?;
            Some(TokenLife {
                service: Arc::clone(self),
                standing: standing.0.subscribe(),
                expire_time: known.expire_time,
            })
        });
        found.flatten().ok_or(Error::TokenUnknown)
    }
}

impl TokenLife {
    /// Returns true once the token was deleted or has expired.
    pub fn is_over(&self) -> bool {
        self.standing.has_changed().is_err() || self.expire_time.is_some_and(|end| self.service.clock.now() >= end)
    }

    /// Waits for the end. It is seen up to a second after the token has expired, and at once where it is deleted.
    pub fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let (service, mut standing, expire_time) = (Arc::clone(&self.service), self.standing.clone(), self.expire_time);
        async move {
            loop {
                // Nothing is ever sent: an answer says that nobody can any more.
                let is_deleted = match expire_time {
                    Some(_) => timeout(LOOK_AT_CLOCK, standing.changed()).await.is_ok(),
                    None => standing.changed().await.is_err(),
                };
                if is_deleted || expire_time.is_some_and(|end| service.clock.now() >= end) {
                    return;
                }
            }
        }
    }
}
