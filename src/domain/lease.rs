//! Which journal the books are written from, and by which start of a server: what fences a second writer off.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name([u8; 16]);

        impl $name {
            pub const fn new(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// `None` unless there are 16 bytes.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

random_id! {
    /// One journal from its first record on: random, made with the journal. A copy of a data directory has the same.
    JournalId
}

random_id! {
    /// One set of books: random, made with the tables.
    StoreId
}

/// The right to write the books: of one journal, by one start of a server. Epochs only rise; a lower one than the books know
/// is fenced off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub journal: JournalId,
    pub epoch: u32,
}

/// Starts that one journal can count before its epochs reach those of the next one.
const EPOCHS_OF_A_JOURNAL: u32 = 1 << 16;

/// The first epoch of a journal that takes over from one that may have started again unseen, so that no two reservations
/// have the same number. `None` after 65,535 such changes.
pub fn first_epoch_after(epoch: u32) -> Option<u32> {
    (epoch / EPOCHS_OF_A_JOURNAL + 1).checked_mul(EPOCHS_OF_A_JOURNAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_journal_begins_beyond_every_start_that_the_old_one_may_have_seen() {
        assert_eq!(first_epoch_after(0), Some(65_536));
        assert_eq!(first_epoch_after(65_535), Some(65_536));
        assert_eq!(first_epoch_after(65_536), Some(131_072));
        assert_eq!(first_epoch_after(u32::MAX), None);
    }
}
