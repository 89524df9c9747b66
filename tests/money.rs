//! Money and the messages about it, over real gRPC: the organization's balance, orders and their payment, automatic top-up,
//! corrections, alerts by mail and webhook. Mail servers, receivers and payment providers are real ones on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::unnecessary_wraps, reason = "fields that are messages are optional")]

#[path = "grpc/messages.rs"]
#[allow(dead_code, reason = "made for other tests, of which these use a part")]
mod messages;
#[path = "process/server.rs"]
#[allow(dead_code, reason = "made for other tests, of which these use a part")]
mod server;
#[path = "grpc/world.rs"]
#[allow(dead_code, reason = "made for other tests, of which these use a part")]
mod world;

#[path = "money/alerts.rs"]
mod alerts;
#[path = "money/notify.rs"]
mod notify;
#[path = "money/payments.rs"]
mod payments;
#[path = "money/people.rs"]
mod people;
#[path = "money/receiver.rs"]
mod receiver;

#[path = "money/auto_top_up.rs"]
mod auto_top_up;
#[path = "money/balances.rs"]
mod balances;
#[path = "money/causes.rs"]
mod causes;
#[path = "money/consent.rs"]
mod consent;
#[path = "money/corrected.rs"]
mod corrected;
#[path = "money/corrections.rs"]
mod corrections;
#[path = "money/crash.rs"]
mod crash;
#[path = "money/ended.rs"]
mod ended;
#[path = "money/forgotten.rs"]
mod forgotten;
#[path = "money/leaving.rs"]
mod leaving;
#[path = "money/mails.rs"]
mod mails;
#[path = "money/orders.rs"]
mod orders;
#[path = "money/privacy.rs"]
mod privacy;
#[path = "money/provider.rs"]
mod provider;
#[path = "money/reports.rs"]
mod reports;
#[path = "money/sums.rs"]
mod sums;
#[path = "money/usage.rs"]
mod usage;
#[path = "money/webhooks.rs"]
mod webhooks;
#[path = "money/word.rs"]
mod word;
