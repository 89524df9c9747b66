//! The use cases: authorize → engine → journal → answer. The only place that knows all of them.
//!
//! A change is decided and put into effect under its organization's lock, its records are enqueued under the same lock, so
//! that the journal's order is the state's order, and the answer waits for the disk where it is a promise.

use std::sync::{Arc, atomic::AtomicU64};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, RwLock};

use authorize::KnownTokens;
use books::Books;
use stored::Stored;

use crate::{
    clock::Clock,
    domain::{
        bounds::WatchBounds,
        id::SecretHash,
        lease::Lease,
        payment::OrderTerms,
        price::PriceBook,
        reservation_id::SealKey,
        time::{Span, Timestamp},
    },
    engine::{directory::Directory, system::SystemState},
    journal::{Journal, Snapshots, writer::Writer},
    notify::{Mailer, Webhooks},
    store::Store,
    telemetry::{Metrics, Overload},
};

mod alert;
mod allocation;
mod authorize;
mod books;
mod calls;
mod control;
mod credit_request;
mod error;
mod expiry;
mod lag;
mod ledger;
mod listing;
mod lookup;
mod mirror;
mod outbox;
mod pace;
mod payment;
mod projector;
mod quota;
mod recover;
mod revocations;
pub mod secret;
mod snapshots;
mod stored;
mod system;
mod token;
mod turn;
mod verify;

pub use crate::{
    domain::bounds::CallBounds,
    engine::{
        conflict::{Conflict, WouldRestart},
        state::{AccountCredits, References, TeamAllocation, TeamCredits},
        turn::{
            AllocationChange, AutoTopUpChange, Bounds, KeyChange, MemberChange, MembershipChange, OrganizationChange,
            RuleChange, TeamChange,
        },
    },
    store::{AUDIT_KINDS, Change, ChangeQuery, Entry, EntryDetail, EntryQuery, Grouping, TimeBasis, Totals},
};
pub use alert::{AlertFilter, AlertSettingsChange, AlertSettingsView};
pub use allocation::{CreditOverview, MemberCredits, SettingsChange, TeamView};
pub use authorize::{Caller, Scope, Subject};
pub use books::{Admission, Claimant, Refusal, admit};
pub use control::{
    Accepted, InvitationFilter, InvitationView, KeyFilter, KeyView, MemberBudgets, MemberView, MembershipFilter,
    MembershipView, NewInvitation, NewKey, NewMember, NewOrganization, NewRule, NewTeam, OrganizationView, Repeatable,
    RuleStatus, RuleView, View,
};
pub use credit_request::{CreditRequestFilter, CreditRequestView};
pub use error::Error;
pub use ledger::{Balance, PageStart, Transactions, UsageSummary};
pub use listing::{Found, Page};
pub use mirror::rebuild;
pub use payment::{AutoTopUpView, ManualProvider, NewCorrection, NewTopUp, Ordered, PaymentProvider, WebhookProvider};
pub use projector::drain;
pub use quota::{Grant, Question, Reply, ReservationRef};
pub use revocations::{Lagged, Subscription, WatchPlace, WatchedRevocation};
pub use system::PriceChange;
pub use token::{Identity, NewMemberToken, NewToken, TokenLife, WhoAmI};
pub use turn::Done;
pub use verify::{Difference, Verification, verify_recovered};

/// What a running service may remember and how often it saves.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// How long ended reservations and request ids stay in memory.
    pub remember: Span,
    /// How long what of the control plane is over stays in memory.
    pub remember_ended: Span,
    /// How many of them an organization may have in memory.
    pub remember_at_most: usize,
    /// Between two rounds of snapshots.
    pub snapshot_every: std::time::Duration,
    /// Bytes of the journal at which nothing new is held any more.
    pub journal_max: u64,
    /// Endings that reachable books may lack before work begins no faster than they follow.
    pub longest_lag: u64,
    pub bounds: Bounds,
    pub calls: CallBounds,
    pub orders: OrderTerms,
    pub watching: WatchBounds,
}

/// What the service works with.
pub struct Parts {
    pub journal: Arc<dyn Journal>,
    pub snapshots: Arc<dyn Snapshots>,
    pub store: Arc<dyn Store>,
    pub writer: Writer,
    /// `None` where the store couldn't be reached.
    pub lease: Option<Lease>,
    /// Names this server to people who look at the lease.
    pub holder: String,
    pub clock: Arc<dyn Clock>,
    pub metrics: Arc<Metrics>,
    pub operator: SecretHash,
    /// `None` where no mail server is configured.
    pub mailer: Option<Mailer>,
    pub webhooks: Webhooks,
    pub payments: Box<dyn PaymentProvider>,
    pub tuning: Tuning,
}

pub use recover::{Recovered, recover};

pub struct Service {
    directory: Directory,
    system: Mutex<SystemState>,
    /// What decisions need of the system's state, without its lock.
    prices: ArcSwap<PriceBook>,
    tokens: KnownTokens,
    operator: SecretHash,
    seal: SealKey,
    epoch: u32,
    journal: Arc<dyn Journal>,
    snapshots: Arc<dyn Snapshots>,
    store: Arc<dyn Store>,
    books: Books,
    holder: String,
    writer: Writer,
    clock: Arc<dyn Clock>,
    timer: expiry::Timer,
    /// Organizations with alerts to deliver or orders to place.
    outbox: expiry::Timer,
    mailer: Option<Mailer>,
    webhooks: Webhooks,
    payments: Box<dyn PaymentProvider>,
    revocations: revocations::Hub,
    verifier: verify::Verifier,
    sums: ledger::Sums,
    tenants: calls::Tenants,
    /// Journal position up to which the books are written.
    stored: Stored,
    begin: lag::Begin,
    /// Journal position that every snapshot has seen.
    saved: AtomicU64,
    /// Held by who trims the journal, alone, or by those who need it as it is.
    trimming: RwLock<()>,
    /// Asks for a round of snapshots before the next is due.
    round: Notify,
    metrics: Arc<Metrics>,
    tuning: Tuning,
}

impl Service {
    /// Refuses what would only wait: for those who must be answered at once.
    fn check_room(&self) -> Result<(), Error> {
        if self.writer.is_failed() {
            return Err(Error::JournalFailed);
        }
        if !self.writer.has_room() {
            return Err(self.overloaded(Overload::Journal));
        }
        Ok(())
    }

    /// The same, for what begins anew. Running work is renewed and settled even when the journal is full: it ends sometime.
    fn check_room_for_more(&self) -> Result<(), Error> {
        if self.is_journal_full() {
            return Err(Error::JournalFull);
        }
        self.check_may_begin()?;
        self.check_room()
    }

    /// Why a call is put off; counted.
    pub fn overloaded(&self, overload: Overload) -> Error {
        self.metrics.put_off(overload).increment();
        Error::Overloaded(overload)
    }

    /// Waits while the queue is full: for those whose work is done already.
    async fn wait_for_room(&self) -> Result<(), Error> {
        if self.writer.is_failed() {
            return Err(Error::JournalFailed);
        }
        self.writer.wait_for_room().await;
        Ok(())
    }

    /// Leaves all files in order. Nothing may be asked of the service after that.
    pub async fn close(&self) {
        self.leave_books().await;
        self.store.close().await;
        self.snapshots.close().await;
        self.journal.close().await;
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Whether answers can be given: the journal takes writes.
    pub fn is_ready(&self) -> bool {
        !self.writer.is_failed()
    }
}
