//! What the callers were told, and must find in the books whatever happens.

use std::collections::{BTreeMap, HashMap, HashSet};

use quotad::{
    api::proto::{ChargeRequest, CommitRequest, TransactionKind},
    domain::money::Nanos,
};

/// An entry of an organization's ledger, by its number.
pub(crate) type EntryNo = (String, u64);

/// What an acknowledgement says of the entry that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Booked {
    pub(crate) kind: TransactionKind,
    /// Of a commit the reservation's, else the request's.
    pub(crate) id: String,
    /// What was charged, or of a top-up or correction what it did to the wallet.
    pub(crate) amount: Nanos,
}

/// Something that must be answered alike when it is asked again.
#[derive(Debug, Clone)]
pub(crate) enum Repeat {
    Charge(ChargeRequest),
    Commit(CommitRequest),
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Acknowledged {
    pub(crate) entries: HashMap<EntryNo, Booked>,
    /// Reservations that were given back, and requests that were refused: nothing may be booked for them.
    pub(crate) unbooked: HashSet<String>,
    /// Requests whose answer never came and that weren't repeated: booked once or not at all.
    pub(crate) in_doubt: HashSet<String>,
    /// Reservations, by key and request id, that may or may not hold something.
    pub(crate) open: Vec<(String, String)>,
    /// The last value that each setting was given.
    pub(crate) settings: BTreeMap<Setting, u64>,
    pub(crate) repeats: Vec<(EntryNo, Repeat)>,
    pub(crate) operations: u64,
    /// Pieces of work begun; their numbers make the request ids.
    pub(crate) begun: u64,
    /// Reserves that were put off because their turn came too late.
    pub(crate) late: u64,
    /// Other calls that failed, by method and reason.
    pub(crate) failures: BTreeMap<(&'static str, String), u64>,
}

/// What one caller alone changes, so that the last acknowledged value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Setting {
    /// The maximum of the budget of a key.
    KeyBudget { organization: String, key: String },
    /// The name of a rule.
    RuleName { organization: String, rule: String },
    /// The extra credits of a member in its team.
    Extra { organization: String, member: String },
    /// The name of a key that was made meanwhile.
    KeyMade { organization: String, key: String },
}

/// Enough repeats to find one that is answered otherwise, few enough to ask all.
const REPEATS: usize = 200;

impl Acknowledged {
    /// # Panics
    /// If the entry was acknowledged for something else.
    pub(crate) fn booked(&mut self, entry: &EntryNo, booked: &Booked) {
        assert_ne!(entry.1, 0, "{booked:?} has no entry");
        if let Some(before) = self.entries.insert(entry.clone(), booked.clone()) {
            panic!("{entry:?} was acknowledged for {before:?} and for {booked:?}");
        }
    }

    /// Whether this was booked is unknown.
    pub(crate) fn doubt(&mut self, id: String) {
        self.in_doubt.insert(id);
    }

    /// Nothing may be booked for this.
    pub(crate) fn exclude(&mut self, id: String) {
        self.unbooked.insert(id);
    }

    pub(crate) fn set(&mut self, setting: Setting, value: u64) {
        self.settings.insert(setting, value);
    }

    /// Keeps the latest: they are the ones that a crash could have forgotten.
    pub(crate) fn repeat(&mut self, entry: EntryNo, request: Repeat) {
        if self.repeats.len() == REPEATS {
            let oldest = usize::try_from(self.operations).unwrap_or(0) % REPEATS;
            self.repeats[oldest] = (entry, request);
        } else {
            self.repeats.push((entry, request));
        }
    }

    /// Failed calls of these methods, whatever the reason.
    pub(crate) fn failed(&self, methods: &[&str]) -> u64 {
        self.failures.iter().filter(|((method, _), _)| methods.contains(method)).map(|(_, count)| count).sum()
    }
}
