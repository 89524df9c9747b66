//! What callers of the data plane ask for, checked and free of protobuf.

use super::{
    error::Invalid,
    event::Labels,
    fingerprint::Fingerprint,
    id::{Holder, KeyId, Model, RequestId, SecretHash},
    time::{Span, Timestamp},
    usage::Usage,
};

/// Shortest, longest and usual life of a reservation; with all its extensions it lives at most the longest.
pub const MIN_TTL: Span = Span::SECOND;
pub const MAX_TTL: Span = Span::DAY;
pub const DEFAULT_TTL: Span = Span::seconds(600);
/// How long after its admission a reservation can still be settled, and how far back a Charge may lie.
pub const MAX_AGE: Span = Span::DAY;

/// Who pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payer {
    /// The hash of the secret that the user sent.
    Secret(SecretHash),
    Key(KeyId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reserve {
    pub request: RequestId,
    pub model: Model,
    pub usage: Usage,
    pub min_output_tokens: Option<u64>,
    pub ttl: Span,
    pub holder: Option<Holder>,
    pub labels: Labels,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub usage: Usage,
    /// The model that ran, where it is another than the reserved one.
    pub model: Option<Model>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extend {
    pub ttl: Span,
    pub usage_so_far: Option<Usage>,
    pub estimate: Option<Usage>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    pub request: RequestId,
    pub model: Model,
    pub usage: Usage,
    /// The work has been done: charged even beyond limits.
    pub already_used: bool,
    /// With `already_used`: when, if not now.
    pub occurred_at: Option<Timestamp>,
    pub labels: Labels,
}

/// # Errors
/// [`Invalid`] for `ttl` outside of [`MIN_TTL`] to [`MAX_TTL`].
pub fn check_ttl(ttl: Span) -> Result<Span, Invalid> {
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        return Ok(ttl);
    }
    let seconds = ttl.as_micros() / 1_000_000;
    Err(Invalid::new("ttl", format!("{seconds} s is not from 1 s to 24 h")))
}

impl Reserve {
    /// Of the content, for the key at this place of its organization, which never changes.
    pub fn fingerprint(&self, key: u32) -> u64 {
        let mut print = Fingerprint::new("reserve");
        print.number(u64::from(key)).text(self.model.as_str()).usage(&self.usage);
        print.optional(self.min_output_tokens).number(self.ttl.as_micros().unsigned_abs());
        print.text(self.holder.as_ref().map_or("", Holder::as_str)).labels(&self.labels);
        print.finish()
    }
}

impl Commit {
    pub fn fingerprint(&self) -> u64 {
        let mut print = Fingerprint::new("commit");
        print.text(self.model.as_ref().map_or("", Model::as_str)).usage(&self.usage);
        print.finish()
    }
}

impl Charge {
    /// Returns the fingerprint of the content. It is known for ever, and a key's place isn't: so it is for the key by its id.
    pub fn fingerprint(&self, key: &KeyId) -> u64 {
        let mut print = Fingerprint::new("charge");
        print.text(key.as_str()).text(self.model.as_str()).usage(&self.usage);
        print.number(u64::from(self.already_used)).optional(self.occurred_at.map(|at| at.micros().unsigned_abs()));
        print.labels(&self.labels);
        print.finish()
    }
}
