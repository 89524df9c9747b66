//! Whose turn it is to verify: one verification runs at a time, and each organization may have so many in an hour.

use std::collections::HashMap;

use parking_lot::Mutex as Lock;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    domain::{
        error::Exhausted,
        id::OrganizationId,
        time::{Span, Timestamp},
    },
    service::pace::{Pace, Taken},
};

/// When to ask again while another verification runs: most take less.
const ANOTHER_RUNS: Span = Span::seconds(10);

#[derive(Debug)]
pub(in crate::service) struct Verifier {
    alone: Mutex<()>,
    /// `None` sets no bound.
    pace: Option<Pace>,
    /// Of organizations that verified within the hour.
    taken: Lock<HashMap<OrganizationId, Taken>>,
}

impl Verifier {
    /// 0 sets no bound.
    pub(in crate::service) fn new(per_hour: u32) -> Self {
        Self { alone: Mutex::default(), pace: Pace::new(per_hour, Span::HOUR), taken: Lock::default() }
    }

    /// For those who may at any time: waits until no other runs.
    pub(super) async fn wait(&self) -> MutexGuard<'_, ()> {
        self.alone.lock().await
    }

    /// Counts a verification that begins now and holds others off until the answer is dropped.
    pub(super) fn admit(&self, organization: &OrganizationId, now: Timestamp) -> Result<MutexGuard<'_, ()>, Exhausted> {
        let busy = Exhausted { what: "verifications at a time", max: 1, retry_after: ANOTHER_RUNS };
        // First, so that one that doesn't begin isn't counted.
        let alone = self.alone.try_lock().map_err(|_| busy)?;
        let Some(pace) = self.pace else { return Ok(alone) };
        let mut taken = self.taken.lock();
        taken.retain(|_, taken| !pace.is_over(*taken, now));
        let of = taken.entry(organization.clone()).or_default();
        pace.take(of, now).map_err(|retry_after| Exhausted {
            what: "verifications of an organization in an hour",
            max: u64::from(pace.count()),
            retry_after,
        })?;
        Ok(alone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(seconds)
    }

    #[test]
    fn each_organization_verifies_once_an_hour_and_only_while_no_other_does() {
        let (acme, other) = (OrganizationId::trusted("acme"), OrganizationId::trusted("other"));
        let verifier = Verifier::new(1);
        let running = verifier.admit(&acme, at(0)).unwrap();
        let refused = verifier.admit(&other, at(0)).unwrap_err();
        assert_eq!((refused.what, refused.retry_after), ("verifications at a time", ANOTHER_RUNS));
        drop(running);
        drop(verifier.admit(&other, at(1)).expect("what didn't begin wasn't counted"));
        let refused = verifier.admit(&acme, at(1)).unwrap_err();
        assert_eq!((refused.max, refused.retry_after), (1, Span::seconds(3599)));
        drop(verifier.admit(&acme, at(3600)).expect("the hour is over"));
        assert_eq!(verifier.taken.lock().len(), 2, "those of the last hour");
        drop(verifier.admit(&acme, at(9000)).unwrap());
        assert_eq!(verifier.taken.lock().len(), 1);
        assert!(Verifier::new(0).admit(&acme, at(0)).and_then(|_| verifier.admit(&other, at(9000))).is_ok());
    }

    #[tokio::test]
    async fn the_operator_waits_until_no_other_runs() {
        let verifier = Verifier::new(1);
        let running = verifier.wait().await;
        assert!(verifier.admit(&OrganizationId::trusted("acme"), at(0)).is_err());
        let waiting = verifier.wait();
        tokio::pin!(waiting);
        assert!(futures::future::poll_immediate(&mut waiting).await.is_none());
        drop(running);
        assert!(futures::future::poll_immediate(&mut waiting).await.is_some());
    }
}
