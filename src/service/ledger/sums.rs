//! Sums of the ledger as they were asked for, so that asking again reads only what was added since.

use indexmap::IndexMap;
use parking_lot::Mutex;

use crate::store::{EntryQuery, Totals};

/// Most queries whose sums are kept, some hundred bytes each.
const KEPT: usize = 1000;

/// Entries never change, so that a sum up to one of them stays right; unless a month of them is dropped from the books, which moves the
/// ledger's beginning.
#[derive(Debug, Default)]
pub(in crate::service) struct Sums(Mutex<IndexMap<EntryQuery, Sum>>);

#[derive(Debug, Clone, Copy)]
struct Sum {
    /// Number of the entry before the first that can match.
    after: u64,
    reached: u64,
    totals: Totals,
}

/// The query without where it ends.
fn key(query: &EntryQuery) -> EntryQuery {
    EntryQuery { after: 0, as_of: 0, ..query.clone() }
}

impl Sums {
    /// Up to which entry the sum is known, and what it is.
    pub(super) fn find(&self, query: &EntryQuery, narrowed: &EntryQuery) -> (u64, Totals) {
        let found = self.0.lock().get(&key(query)).copied();
        let fits = |sum: &Sum| sum.after == narrowed.after && sum.reached <= narrowed.as_of;
        found.filter(fits).map_or((narrowed.after, Totals::default()), |sum| (sum.reached, sum.totals))
    }

    /// Keeps a sum, in place of one that reaches less far.
    pub(super) fn keep(&self, query: &EntryQuery, after: u64, reached: u64, totals: Totals) {
        let (mut sums, key) = (self.0.lock(), key(query));
        match sums.get_mut(&key) {
            Some(sum) if sum.after == after && sum.reached >= reached => {}
            Some(sum) => *sum = Sum { after, reached, totals },
            None => {
                if sums.len() >= KEPT {
                    sums.swap_remove_index(0);
                }
                sums.insert(key, Sum { after, reached, totals });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{id::OrganizationId, time::Timestamp},
        store::TimeBasis,
    };

    fn query(organization: &str, after: u64, as_of: u64) -> EntryQuery {
        EntryQuery {
            organization: OrganizationId::trusted(organization),
            key: None,
            member: None,
            team: None,
            model: None,
            kinds: std::collections::BTreeSet::new(),
            basis: TimeBasis::Booked,
            start: None,
            end: None,
            after,
            as_of,
            late_only: false,
        }
    }

    fn entries(entries: u64) -> Totals {
        Totals { entries, ..Totals::default() }
    }

    #[test]
    fn a_sum_goes_on_where_it_ended_as_long_as_the_ledger_begins_where_it_did() {
        let sums = Sums::default();
        let acme = query("acme", 0, 100);
        assert_eq!(sums.find(&acme, &acme), (0, entries(0)));
        sums.keep(&acme, 0, 60, entries(60));
        sums.keep(&acme, 0, 40, entries(40));
        assert_eq!(sums.find(&acme, &acme), (60, entries(60)), "the one that reaches furthest");
        assert_eq!(sums.find(&query("acme", 0, 900), &query("acme", 0, 900)).0, 60);
        assert_eq!(sums.find(&query("acme", 0, 59), &query("acme", 0, 59)).0, 0, "it knows more than it may tell");
        assert_eq!(sums.find(&acme, &query("acme", 10, 100)), (10, entries(0)), "a month was dropped");
        let late = EntryQuery { start: Some(Timestamp::EPOCH), ..acme.clone() };
        assert_eq!(sums.find(&late, &late).0, 0, "another question");
    }

    #[test]
    fn so_many_sums_are_kept_and_no_more() {
        let sums = Sums::default();
        for no in 0..KEPT + 10 {
            sums.keep(&query(&no.to_string(), 0, 1), 0, 1, entries(1));
        }
        assert_eq!(sums.0.lock().len(), KEPT);
    }
}
