//! Every change, as it is journalled. Applying events is the only way that state changes, live and in replay.
//!
//! An event carries all that applying it needs: its time, the resulting amounts, the price applied and the windows touched.
//! Nothing here may depend on settings, zone data or a clock at the time of replay. The variants' order is part of the
//! journal's format: append, never reorder or remove.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::{
    access::{AccessToken, Invitation},
    alert::{Alert, AlertSettings},
    allocation::{Allocation, AllocationSettings, CreditRequest, CycleCause, Drawn},
    decision::RevocationCause,
    entity::{Key, Member, Membership, Organization, PriceEntry, Team},
    id::{Actor, Holder, KeyId, MemberId, Model, OrderId, OrganizationId, RequestId, SecretHash, TeamId, TokenId},
    money::{Factor, Nanos},
    payment::{AutoTopUp, Correction, PaymentMethod, TopUpOrder},
    period::Window,
    policy::{AllocationPlace, Limit, Place, Unit},
    price::Price,
    reservation_id::{ReservationNo, SealKey},
    rule::Rule,
    time::Timestamp,
    usage::{Amounts, Usage},
};

/// Whose history an event belongs to. Each stream counts its own `sequence`, from 1, without gaps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Price book, tokens, key directory.
    System,
    Organization(OrganizationId),
}

impl Stream {
    /// Its name where streams are kept by name: the organization's id, which is never empty; empty for the system's.
    pub fn key(&self) -> &str {
        match self {
            Self::System => "",
            Self::Organization(id) => id.as_str(),
        }
    }

    /// What [`Self::key`] was made from.
    pub fn from_key(key: &str) -> Self {
        if key.is_empty() { Self::System } else { Self::Organization(OrganizationId::trusted(key)) }
    }
}

/// An event with what orders and attributes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Place in the whole journal, from 1, without gaps.
    pub position: u64,
    pub stream: Stream,
    pub sequence: u64,
    /// Which start of the server made it, from 1.
    pub epoch: u32,
    pub time: Timestamp,
    pub actor: Actor,
    pub event: Event,
}

/// A million of them may wait for the books: what is large and rare in an event stands in a box.
const _: () = assert!(size_of::<Record>() <= 176, "a record has grown");

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    OrganizationSet(Box<Organization>),
    TeamSet(Box<Team>),
    MemberSet(Box<Member>),
    MembershipSet(Box<Membership>),
    KeySet(Box<Key>),
    /// Replaces the limits of a place. A limit that keeps its number keeps its usage.
    PolicySet {
        place: Place,
        limits: Vec<NumberedLimit>,
        /// Limits that the place had, whose counters are kept: the one that was removed first at the front.
        retired: Box<Vec<LimitNo>>,
    },
    /// A control-plane creation took this request id.
    RequestTaken {
        request: RequestId,
        fingerprint: u64,
        created: SmolStr,
    },
    Reserved(Arc<Reserved>),
    Extended(Box<Extended>),
    Released {
        reservation: ReservationNo,
        reason: SmolStr,
        /// Change of what its team's pool holds.
        drawn: Nanos,
    },
    Settled(Arc<Settled>),
    /// The hold ran out and nothing was owed. What is owed comes as [`Event::Settled`] instead.
    Expired {
        reservation: ReservationNo,
        /// Change of what its team's pool holds.
        drawn: Nanos,
    },
    Revoked {
        reservation: ReservationNo,
        cause: Box<RevocationCause>,
    },
    ToppedUp(Box<TopUp>),

    /// First event of the system stream.
    Initialized {
        seal: SealKey,
    },
    PriceSet(Box<PriceEntry>),
    PriceDeleted(Model),
    TokenSet(Box<AccessToken>),
    TokenDeleted(TokenId),
    /// The key directory: which organization a key belongs to.
    KeyRegistered {
        key: KeyId,
        organization: OrganizationId,
        hash: SecretHash,
        /// The secret before it, and until when it is taken too.
        previous: Option<Box<(SecretHash, Timestamp)>>,
    },
    /// A hold that a crash forgot was named by its caller: it stands again, holding nothing, so that it can be settled.
    Restored {
        reservation: ReservationNo,
        admit_time: Timestamp,
        reserved: Arc<Reserved>,
    },
    /// The server started: its epoch is durable before anything is granted in it.
    Started,

    RuleSet(Box<Rule>),
    /// A counter that exists only once something may be counted in it: of a key under a rule, of an allocation.
    CounterOpened {
        place: Place,
        limit: Box<NumberedLimit>,
    },
    AllocationSettingsSet(AllocationSettings),
    /// What was used is zero again, extra credits are gone.
    CycleStarted {
        cycle: Window,
        cause: CycleCause,
    },
    /// What a team or a member has of its own.
    AllocationSet {
        /// Not the organization's: that is a setting.
        place: AllocationPlace,
        allocation: Allocation,
        /// Change of what the team's pool bears for the member.
        drawn: Drawn,
    },
    AutoApproveSet {
        team: TeamId,
        reserve: Nanos,
    },
    CreditRequestSet(Box<CreditRequest>),
    InvitationSet(Box<Invitation>),
    PaymentMethodSet(Box<PaymentMethod>),
    OrderSet(Box<TopUpOrder>),
    AutoTopUpSet(Box<AutoTopUp>),
    Corrected(Box<Correction>),
    AlertSettingsSet(Box<AlertSettings>),
    AlertSet(Box<Alert>),
    /// A cause that won't be told again before this instant; what was told of it stands in an [`Event::AlertSet`].
    AlertCaused {
        cause: SmolStr,
        until: Timestamp,
    },
    /// An access token doesn't stand for one of its memberships any more. It ends with the last.
    GrantRemoved {
        organization: OrganizationId,
        member: MemberId,
        left: Box<AccessToken>,
    },
}

impl Event {
    /// Whether it is a new hold, or a Charge, which ends as it begins.
    pub fn is_beginning(&self) -> bool {
        match self {
            Self::Reserved(_) => true,
            Self::Settled(settled) => settled.kind == EntryKind::Charge,
            _ => false,
        }
    }

    /// Whether something is over that is remembered by its request id.
    pub fn is_ending(&self) -> bool {
        matches!(self, Self::Settled(_) | Self::Released { .. } | Self::Expired { .. })
    }
}

/// Numbers a limit within its organization; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LimitNo(pub u32);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberedLimit {
    pub no: LimitNo,
    pub limit: Limit,
}

/// One limit that a request counts on, and the window it counts in. The amount follows from the unit and the event's
/// [`Amounts`]. A team's pool is no such limit: it counts what an event says is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touch {
    pub limit: LimitNo,
    pub unit: Unit,
    /// Start of a budget's window; the instant of admission for quotas.
    pub window: Timestamp,
}

/// Free key–value pairs of the caller, sorted by key.
pub type Labels = Option<Arc<[(SmolStr, SmolStr)]>>;

/// A hold was granted. Its number is the record's epoch and sequence, its admission the record's time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reserved {
    /// `None` where a crash forgot it.
    pub request: Option<RequestId>,
    /// Hash of the request's content, to tell a repeat from a conflict.
    pub fingerprint: u64,
    pub key: KeyId,
    pub model: Model,
    /// `None` where the caller gave the cost.
    pub price: Option<Price>,
    pub factor: Factor,
    /// The estimate as granted.
    pub usage: Usage,
    pub held: Amounts,
    /// Whether the hold stands on the wallet too.
    pub wallet: bool,
    /// What the team's pool of credits holds of it.
    pub drawn: Nanos,
    pub touches: Arc<[Touch]>,
    /// Limits that it met and that were narrowed to other models: they count what ran where that was one of theirs.
    pub narrowed: Box<[LimitNo]>,
    pub expire_time: Timestamp,
    pub holder: Option<Holder>,
    pub labels: Labels,
}

/// A hold was renewed. Values are absolute, so that nothing is held twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extended {
    pub reservation: ReservationNo,
    pub expire_time: Timestamp,
    pub usage: Usage,
    pub held: Amounts,
    /// Change of what its team's pool holds.
    pub drawn: Nanos,
    /// What was used so far, and what it comes to.
    pub progress: Option<(Usage, Amounts)>,
}

/// Usage was charged, by Commit, Charge, Release or expiry, or what expiry charged is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// Number of the ledger entry; `None` where a late commit changed nothing.
    pub entry: Option<u64>,
    pub kind: EntryKind,
    /// The reservation that this closes; `None` for a Charge.
    pub reservation: Option<ReservationNo>,
    pub request: Option<RequestId>,
    pub fingerprint: u64,
    /// True where a late Commit of another model takes back what expiry charged on the reserved one; what it charges follows.
    pub takes_back: bool,
    /// When the usage was admitted: its windows are charged.
    pub occurred_at: Timestamp,
    pub key: KeyId,
    pub member: MemberId,
    pub team: TeamId,
    pub model: Model,
    /// The model of the reservation, where another ran.
    pub reserved_model: Option<Model>,
    pub price: Option<Price>,
    /// What was used in all, as the caller said (or the hold, where expiry charges it).
    pub usage: Usage,
    /// What was used in all, in every unit.
    pub total: Amounts,
    /// What this entry books: the total, or for a late commit the difference to what expiry charged.
    pub booked: Booked,
    /// What of it was not held and put a limit above its cap.
    pub overage: Amounts,
    pub wallet: Nanos,
    /// Of the wallet, after this entry.
    pub balance: Nanos,
    /// Change of what the team's pool of credits bears. Nothing where it was admitted in a cycle that has ended.
    pub drawn: Drawn,
    /// The limits that bind the model that ran: they count what is booked. What was held goes from those of the reservation.
    pub touches: Arc<[Touch]>,
    pub labels: Labels,
    /// Why the hold was given back, of a Release.
    pub reason: Option<SmolStr>,
}

impl Settled {
    /// Returns what it charges to each budget that it touches.
    pub fn charges(&self) -> impl Iterator<Item = (LimitNo, Unit, Timestamp, Nanos)> + '_ {
        let booked = self.booked;
        self.touches.iter().filter_map(move |touch| {
            let amount = match touch.unit {
                Unit::Usd => booked.cost,
                Unit::Credits => booked.credits,
                Unit::RequestsPerMinute | Unit::TokensPerMinute | Unit::InFlight => return None,
            };
            Some((touch.limit, touch.unit, touch.window, amount))
        })
    }

    /// Returns true where expiry charged it: a Commit may still come.
    pub fn is_expiry(&self) -> bool {
        self.kind == EntryKind::Expiry && !self.takes_back
    }
}

/// The signed amounts of a ledger entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Booked {
    pub cost: Nanos,
    pub credits: Nanos,
    pub input_tokens: i64,
    pub cached_input_tokens: i64,
    pub cache_write_tokens: i64,
    pub output_tokens: i64,
    pub requests: i64,
}

impl Booked {
    pub fn new(usage: &Usage, amounts: Amounts) -> Self {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        Self {
            cost: amounts.usd,
            credits: amounts.credits,
            input_tokens: signed(usage.input()),
            cached_input_tokens: signed(usage.cached_input_tokens),
            cache_write_tokens: signed(usage.cache_write_tokens),
            output_tokens: signed(usage.output_tokens),
            requests: signed(usage.requests),
        }
    }

    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            cost: self.cost - other.cost,
            credits: self.credits - other.credits,
            input_tokens: self.input_tokens - other.input_tokens,
            cached_input_tokens: self.cached_input_tokens - other.cached_input_tokens,
            cache_write_tokens: self.cache_write_tokens - other.cache_write_tokens,
            output_tokens: self.output_tokens - other.output_tokens,
            requests: self.requests - other.requests,
        }
    }

    /// In the units of limits.
    pub fn amounts(&self) -> Amounts {
        Amounts {
            usd: self.cost,
            credits: self.credits,
            tokens: self.input_tokens + self.output_tokens,
            requests: self.requests,
        }
    }

    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// What a ledger entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EntryKind {
    TopUp,
    Commit,
    Charge,
    Expiry,
    LateCommit,
    Refund,
    Adjustment,
    Reversal,
    /// What was reported as used of a hold that was given back.
    Release,
}

impl EntryKind {
    pub const ALL: [Self; 9] = [
        Self::TopUp,
        Self::Commit,
        Self::Charge,
        Self::Expiry,
        Self::LateCommit,
        Self::Refund,
        Self::Adjustment,
        Self::Reversal,
        Self::Release,
    ];

    /// Returns true for what books usage or corrects it, not money alone.
    pub fn is_usage(self) -> bool {
        match self {
            Self::Commit
            | Self::Charge
            | Self::Expiry
            | Self::LateCommit
            | Self::Release
            | Self::Refund
            | Self::Adjustment => true,
            Self::TopUp | Self::Reversal => false,
        }
    }

    /// As in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::TopUp => "top_up",
            Self::Commit => "commit",
            Self::Charge => "charge",
            Self::Expiry => "expiry",
            Self::LateCommit => "late_commit",
            Self::Refund => "refund",
            Self::Adjustment => "adjustment",
            Self::Reversal => "reversal",
            Self::Release => "release",
        }
    }
}

/// Money was added to the wallet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopUp {
    pub entry: u64,
    pub request: RequestId,
    pub fingerprint: u64,
    pub amount: Nanos,
    /// Of the wallet, after this entry.
    pub balance: Nanos,
    pub reason: String,
    pub order: OrderId,
    /// `None` for the operator's and the automatic ones.
    pub member: Option<MemberId>,
}
