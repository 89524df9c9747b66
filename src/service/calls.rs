//! How many calls of the control plane each organization may have under way, and how often it may call, so that one that asks for all
//! it can leaves the others' alone. The operator may always.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use dashmap::DashMap;
use foldhash::fast::RandomState;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    CallBounds, Caller, Error, Scope, Service,
    pace::{Pace, Taken},
};
use crate::domain::{
    error::Exhausted,
    id::{Actor, OrganizationId},
    time::{Span, Timestamp},
};

/// What isn't called in these seconds can be called at once after them.
const SAVED_SECONDS: u32 = 10;
/// Calls that may wait for each that may be under way.
const QUEUE: usize = 8;
/// How long they wait.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// When to come back with what found the queue full.
const COME_BACK: Span = Span::SECOND;
/// Callers that are remembered before those that have been quiet are forgotten.
const REMEMBERED: usize = 1024;

/// Who is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Tenant {
    Organization(OrganizationId),
    /// Of a service token: the operator makes these.
    Service(Actor),
}

/// The kinds of calls that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reads the books, which may take long.
    Books,
    Other,
}

/// Calls of one kind.
#[derive(Debug)]
struct Under {
    way: Arc<Semaphore>,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Calls {
    taken: Mutex<Taken>,
    books: Under,
    other: Under,
}

/// A call under way, until it is dropped.
#[derive(Debug)]
pub struct UnderWay {
    _permit: OwnedSemaphorePermit,
    /// Keeps it from being forgotten meanwhile.
    _calls: Arc<Calls>,
}

/// One of those who wait, however it ends.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl Under {
    fn new(most: usize) -> Self {
        Self { way: Arc::new(Semaphore::new(most)), waiting: AtomicUsize::new(0) }
    }

    /// Waits for one of `most` places.
    async fn enter(&self, what: &'static str, most: usize) -> Result<OwnedSemaphorePermit, Exhausted> {
        if let Ok(permit) = Arc::clone(&self.way).try_acquire_owned() {
            return Ok(permit);
        }
        let full = Exhausted { what, max: most as u64, retry_after: COME_BACK };
        let waiting = self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(&self.waiting);
        if waiting >= most * QUEUE {
            return Err(full);
        }
        match timeout(LONGEST_WAIT, Arc::clone(&self.way).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Nobody closes it.
            Ok(Err(_)) | Err(_) => Err(full),
        }
    }
}

#[derive(Debug)]
pub(super) struct Tenants {
    calls: DashMap<Tenant, Arc<Calls>, RandomState>,
    /// How many there are before the quiet ones are forgotten.
    sweep_at: AtomicUsize,
    pace: Option<Pace>,
    books: usize,
    other: usize,
}

impl Tenants {
    pub(super) fn new(bounds: CallBounds) -> Self {
        let CallBounds { control_calls_per_second, control_calls_at_once, ledger_reads_at_once, .. } = bounds;
        Self {
            calls: DashMap::default(),
            sweep_at: AtomicUsize::new(REMEMBERED),
            pace: Pace::new(
                control_calls_per_second.saturating_mul(SAVED_SECONDS),
                Span::seconds(i64::from(SAVED_SECONDS)),
            ),
            books: ledger_reads_at_once as usize,
            other: control_calls_at_once as usize,
        }
    }

    /// Counts a call, and waits until it may be under way.
    pub(super) async fn enter(&self, tenant: Tenant, kind: Kind, now: Timestamp) -> Result<UnderWay, Exhausted> {
        let calls = self.calls_of(tenant, now);
        if let Some(pace) = self.pace {
            let too_often = |retry_after| Exhausted {
                what: "calls of an organization in 10 seconds",
                max: u64::from(pace.count()),
                retry_after,
            };
            pace.take(&mut calls.taken.lock(), now).map_err(too_often)?;
        }
        let permit = match kind {
            Kind::Books => self.enter_books(&calls).await?,
            Kind::Other => calls.other.enter("calls of an organization at a time", self.other).await?,
        };
        Ok(UnderWay { _permit: permit, _calls: calls })
    }

    /// Waits until a call that is counted already may read the books too.
    async fn read_books(&self, tenant: Tenant, now: Timestamp) -> Result<UnderWay, Exhausted> {
        let calls = self.calls_of(tenant, now);
        let permit = self.enter_books(&calls).await?;
        Ok(UnderWay { _permit: permit, _calls: calls })
    }

    async fn enter_books(&self, calls: &Calls) -> Result<OwnedSemaphorePermit, Exhausted> {
        calls.books.enter("reads of an organization's books at a time", self.books).await
    }

    fn calls_of(&self, tenant: Tenant, now: Timestamp) -> Arc<Calls> {
        if let Some(calls) = self.calls.get(&tenant) {
            return Arc::clone(&calls);
        }
        let remembered = self.calls.len();
        if remembered >= self.sweep_at.load(Relaxed) {
            self.forget_quiet(now);
            self.sweep_at.store(REMEMBERED.max(2 * self.calls.len()), Relaxed);
        }
        let new = || {
            let taken = Mutex::default();
            Arc::new(Calls { taken, books: Under::new(self.books), other: Under::new(self.other) })
        };
        Arc::clone(&self.calls.entry(tenant).or_insert_with(new))
    }

    /// Forgets those of whom nothing is under way and of whose calls nothing is left to count.
    fn forget_quiet(&self, now: Timestamp) {
        let is_over = |calls: &Calls| self.pace.is_none_or(|pace| pace.is_over(*calls.taken.lock(), now));
        // No one else can get at it while it is looked at.
        self.calls.retain(|_, calls| Arc::strong_count(calls) > 1 || !is_over(calls));
    }
}

impl Service {
    /// Lets a call of the control plane begin when its organization hasn't too many. It is under way until the answer is dropped.
    ///
    /// # Errors
    /// [`Error::Exhausted`].
    pub async fn enter(&self, caller: &Caller, scope: &Scope<'_>) -> Result<Option<UnderWay>, Error> {
        let Some(tenant) = caller.tenant(scope.organization) else { return Ok(None) };
        Ok(Some(self.tenants.enter(tenant, caller.kind(), self.clock.now()).await?))
    }
}

impl Service {
    /// Lets a list go on in the books, when its organization hasn't too many reads of them under way.
    ///
    /// # Errors
    /// [`Error::Exhausted`].
    pub(super) async fn enter_books(
        &self,
        caller: &Caller,
        organization: &OrganizationId,
    ) -> Result<Option<UnderWay>, Error> {
        let Some(tenant) = caller.tenant(Some(organization.as_str())) else { return Ok(None) };
        Ok(Some(self.tenants.read_books(tenant, self.clock.now()).await?))
    }
}

#[cfg(test)]
mod tests {
    use futures::future::poll_immediate;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    fn of(organization: &str) -> Tenant {
        Tenant::Organization(OrganizationId::trusted(organization))
    }

    fn tenants(control_calls_per_second: u32) -> Tenants {
        let bounds = CallBounds {
            control_calls_per_second,
            control_calls_at_once: 2,
            ledger_reads_at_once: 1,
            ..CallBounds::default()
        };
        Tenants::new(bounds)
    }

    #[tokio::test]
    async fn so_many_are_under_way_of_each_kind_some_wait_and_the_rest_is_refused() {
        let tenants = tenants(0);
        let first = tenants.enter(of("acme"), Kind::Other, at(0)).await.unwrap();
        let _second = tenants.enter(of("acme"), Kind::Other, at(0)).await.unwrap();
        let _read = tenants.enter(of("acme"), Kind::Books, at(0)).await.unwrap();
        let mut waiting: Vec<_> =
            (0..2 * QUEUE).map(|_| Box::pin(tenants.enter(of("acme"), Kind::Other, at(0)))).collect();
        for one in &mut waiting {
            assert!(poll_immediate(one).await.is_none(), "it waits");
        }
        let refused = tenants.enter(of("acme"), Kind::Other, at(0)).await.unwrap_err();
        assert_eq!((refused.max, refused.retry_after), (2, COME_BACK));
        drop(tenants.enter(of("other"), Kind::Other, at(0)).await.expect("others are counted apart"));
        waiting.pop();
        let mut next = Box::pin(tenants.enter(of("acme"), Kind::Other, at(0)));
        assert!(poll_immediate(&mut next).await.is_none(), "one that gave up leaves its place in the queue");
        drop(first);
        assert!(poll_immediate(&mut waiting[0]).await.is_some_and(|entered| entered.is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_refused() {
        let tenants = tenants(0);
        let _read = tenants.enter(of("acme"), Kind::Books, at(0)).await.unwrap();
        assert_eq!(tenants.enter(of("acme"), Kind::Books, at(0)).await.unwrap_err().max, 1);
    }

    #[tokio::test]
    async fn calls_come_back_by_themselves() {
        let tenants = tenants(3);
        for _ in 0..3 * SAVED_SECONDS {
            drop(tenants.enter(of("acme"), Kind::Other, at(0)).await.unwrap());
        }
        let refused = tenants.enter(of("acme"), Kind::Books, at(0)).await.unwrap_err();
        assert_eq!(refused.max, u64::from(3 * SAVED_SECONDS));
        assert!(refused.retry_after <= Span::SECOND, "{refused}");
        drop(tenants.enter(of("acme"), Kind::Books, at(1)).await.expect("a second later some are back"));
    }

    #[tokio::test]
    async fn whoever_has_been_quiet_is_forgotten_and_nobody_else() {
        let tenants = tenants(1);
        let busy = tenants.enter(of("busy"), Kind::Other, at(0)).await.unwrap();
        for no in 0..3 * REMEMBERED {
            let now = at(i64::try_from(no).unwrap());
            drop(tenants.enter(of(&no.to_string()), Kind::Other, now).await.unwrap());
        }
        assert!(tenants.calls.len() <= REMEMBERED + 1, "{}", tenants.calls.len());
        assert!(tenants.calls.contains_key(&of("busy")));
        drop(busy);
        tenants.forget_quiet(at(1_000_000));
        assert!(tenants.calls.is_empty());
    }
}
