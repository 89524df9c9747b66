//! Bounds on things that cost their maker nothing, in number and in a time: so that nobody fills memory, disk or other people's
//! mailboxes.
//!
//! The operator's own calls are exempt from what is counted over time and for each member.

use serde::{Deserialize, Serialize};

use super::error::Invalid;

/// The largest value of any bound.
pub const MAX_BOUND: u32 = 10_000_000;

macro_rules! bounds {
    ($($(#[$doc:meta])* $name:ident = $default:literal;)*) => {
        /// Bounds in force for an organization.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub struct Bounds {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl Default for Bounds {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        /// An organization's own, as the operator set them; `None` is the server's.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        pub struct OwnBounds {
            $(pub $name: Option<u32>,)*
        }

        impl OwnBounds {
            /// The bounds in force where the server's are `server`.
            pub fn over(&self, server: &Bounds) -> Bounds {
                Bounds { $($name: self.$name.unwrap_or(server.$name),)* }
            }

            /// Returns those that are set, by their names in the API.
            pub fn set(&self) -> impl Iterator<Item = (&'static str, u32)> {
                let all = [$((stringify!($name), self.$name)),*];
                all.into_iter().filter_map(|(name, bound)| Some((name, bound?)))
            }

            /// # Errors
            /// [`Invalid`] for the first that isn't from 1 to [`MAX_BOUND`].
            pub fn check(&self) -> Result<(), Invalid> {
                $(check_bound(stringify!($name), self.$name)?;)*
                Ok(())
            }
        }
    };
}

bounds! {
    /// Keys that aren't deleted.
    keys = 2_000_000;
    /// Members, open invitations included.
    members = 1_000_000;
    teams = 100_000;
    rules = 10_000;
    /// Places that carry limits.
    policies = 4_000_000;
    /// Requests for credits of one member that await a decision.
    credit_requests = 20;
    /// Requests for credits that one member submits in a day.
    credit_requests_per_day = 100;
    /// Payment methods of one member.
    payment_methods = 20;
    /// Keys that one member creates or rotates in an hour.
    keys_per_hour = 100;
    /// Invitations that are created or sent again in an hour.
    invitations_per_hour = 100;
    /// Resends of an invitation to one address in a day.
    resends_per_day = 3;
    /// Mails in an hour. Those beyond it wait and are gathered.
    mails_per_hour = 200;
    /// Mails to one address in an hour.
    mails_per_address = 20;
    /// Open reservations of one key.
    open_per_key = 10_000;
    /// Open reservations of the organization.
    open = 250_000;
    /// Bytes of all labels of one reservation or Charge, keys and values together.
    label_bytes = 4096;
}

/// What one organization's callers, the operator aside, may ask for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBounds {
    /// Verifications in an hour; 0 sets no bound.
    pub verifications_per_hour: u32,
    /// How long a read of the ledger or the audit log may take, in seconds.
    pub ledger_read_seconds: u32,
    /// Reads of the books under way at a time; some more wait.
    pub ledger_reads_at_once: u32,
    /// Other calls of the control plane under way at a time; some more wait.
    pub control_calls_at_once: u32,
    /// Calls of the control plane a second, on average over ten; 0 sets no bound.
    pub control_calls_per_second: u32,
}

impl Default for CallBounds {
    fn default() -> Self {
        Self {
            verifications_per_hour: 1,
            ledger_read_seconds: 30,
            ledger_reads_at_once: 2,
            control_calls_at_once: 8,
            control_calls_per_second: 500,
        }
    }
}

/// Bounds on watchers of revocations, and on how far they may fall behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchBounds {
    /// Revocations that a watcher leaves unread; beyond, it is told to ask anew.
    pub unread: u32,
    /// Watchers of one token at a time.
    pub per_token: u32,
    pub in_all: u32,
}

impl Default for WatchBounds {
    fn default() -> Self {
        Self { unread: 1024, per_token: 256, in_all: 4096 }
    }
}

fn check_bound(name: &str, given: Option<u32>) -> Result<(), Invalid> {
    match given {
        Some(bound) if !(1..=MAX_BOUND).contains(&bound) => {
            Err(Invalid::new(name, format!("{bound} is out of range: give 1 to {MAX_BOUND}, or leave it out")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_operator_set_goes_before_the_servers_bounds() {
        let own = OwnBounds { open: Some(7), ..OwnBounds::default() };
        let server = Bounds { open: 5, keys: 6, ..Bounds::default() };
        assert_eq!(own.over(&server), Bounds { open: 7, ..server });
        assert_eq!(own.set().collect::<Vec<_>>(), [("open", 7)]);
    }

    #[test]
    fn a_bound_that_would_let_nothing_or_anything_in_is_refused() {
        for bad in [0, MAX_BOUND + 1] {
            let own = OwnBounds { label_bytes: Some(bad), ..OwnBounds::default() };
            assert_eq!(own.check().unwrap_err().field, "label_bytes");
        }
        let own = OwnBounds { keys: Some(1), open: Some(MAX_BOUND), ..OwnBounds::default() };
        assert_eq!(own.check(), Ok(()));
    }
}
