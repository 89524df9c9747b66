//! What changes an organization and the system's own state is on disk as a whole, or not at all.

use std::{future::Future, pin::pin};

use futures::poll;

use super::{staged::Stage, *};
use crate::domain::time::Span;

/// Records that the writer puts into one batch at most, unless a push alone has more.
const BATCH: usize = 4096;

impl Stage {
    /// Runs an operation when the batch that is being filled has room for its first `fits` records only, and tells whether all
    /// of it was written at once.
    async fn is_whole<T>(&self, fits: usize, operation: impl Future<Output = Result<T, service::Error>>) -> bool {
        let writer = &self.running.writer;
        let gate = self.journal.gate.lock().await;
        self.fill(1);
        let mut first = pin!(writer.wait_durable(writer.assigned_position()));
        assert!(poll!(&mut first).is_pending());
        while !self.journal.waiting.load(SeqCst) {
            tokio::task::yield_now().await;
        }
        self.fill(BATCH - fits);
        let before = writer.assigned_position();
        let mut operation = pin!(operation);
        assert!(poll!(&mut operation).is_pending(), "acknowledged before it was on disk");
        let after = writer.assigned_position();
        assert!(after > before + 1, "there is more than one record");
        drop(gate);
        assert!(operation.await.is_ok());
        let batches = self.journal.batches.lock();
        batches.iter().any(|batch| (before + 1..=after).all(|position| batch.contains(&position)))
    }
}

#[tokio::test]
async fn a_rotated_key_and_its_new_secret_are_on_disk_together() {
    let stage = Stage::new().await;
    let (service, caller) = (&stage.running.service, operator(&stage.running));
    let (acme, key) = (OrganizationId::trusted("acme"), KeyId::trusted("k1"));
    assert!(stage.is_whole(1, service.rotate_key(&caller, &acme, &key, Span::seconds(0))).await);
}

#[tokio::test]
async fn a_new_key_and_its_secret_are_on_disk_together() {
    let stage = Stage::new().await;
    let (service, caller) = (&stage.running.service, operator(&stage.running));
    let key = NewKey {
        rule: None,
        id: Some(KeyId::trusted("k2")),
        member: Some(MemberId::trusted("ada")),
        team: TeamId::trusted(DEFAULT_TEAM),
        name: String::new(),
        disabled: false,
        expire_time: None,
        models: Models::default(),
        policy: Policy::default(),
    };
    let acme = OrganizationId::trusted("acme");
    assert!(stage.is_whole(1, service.create_key(&caller, &acme, key, Repeatable::default())).await);
}

#[tokio::test]
async fn an_invitation_and_its_tokens_change_on_disk_together() {
    let stage = Stage::new().await;
    let (service, caller) = (&stage.running.service, operator(&stage.running));
    let acme = OrganizationId::trusted("acme");
    let (id, _) = stage.invite(&acme, "first@example.com").await;
    assert!(stage.is_whole(1, service.resend_invitation(&caller, &acme, &id, Span::HOUR)).await, "resent");
    assert!(stage.is_whole(1, service.revoke_invitation(&caller, &acme, &id)).await, "revoked");
    let (_, token) = stage.invite(&acme, "second@example.com").await;
    let invitee = service.authorize(Some(&token), "/quotad.v1.MemberService/AcceptInvitation").unwrap();
    assert!(stage.is_whole(2, service.accept_invitation(&invitee, None, None, None)).await, "accepted");
}
