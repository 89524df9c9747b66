//! Lists of what is searched for: the books say which rows have it, and how many; memory says how those are.

use parking_lot::MutexGuard;

use super::{AT_ONCE, Found, MOST_WEIGHT, Page, Search};
use crate::{
    engine::{directory::Cell, state::OrganizationState},
    service::{Caller, Error, Service},
    store::{SearchQuery, Searched},
};

/// The numbers and ids of rows that have what is searched for, one more than a page has items at most.
#[derive(Debug)]
pub(in crate::service) struct Matches {
    rows: Vec<(u64, String)>,
    limit: usize,
    total: u32,
}

impl Matches {
    pub(in crate::service) fn ids(&self) -> impl Iterator<Item = &str> {
        self.rows.iter().map(|(_, id)| id.as_str())
    }

    /// A page of what `pick` makes of the rows as they are now. It leaves out those that are gone meanwhile.
    pub(in crate::service) fn page<T>(
        self,
        cell: &Cell,
        mut pick: impl FnMut(&OrganizationState, &str) -> Option<T>,
        weigh: impl Fn(&T) -> usize,
    ) -> Found<T> {
        let Self { rows, limit, total } = self;
        let (mut items, mut weight) = (Vec::new(), 0);
        for (no, chunk) in rows.chunks(AT_ONCE).enumerate() {
            let inner = cell.lock();
            for (at, (key, id)) in (no * AT_ONCE..).zip(chunk) {
                if at == limit {
                    return Found { items, next: Some(*key), total };
                }
                let Some(item) = pick(&inner.state, id) else { continue };
                weight += weigh(&item);
                if weight > MOST_WEIGHT && !items.is_empty() {
                    return Found { items, next: Some(*key), total };
                }
                items.push(item);
            }
            MutexGuard::unlock_fair(inner);
        }
        Found { items, next: None, total }
    }
}

impl Service {
    /// Asks the books for rows whose texts hold what is searched for. They have everything that was acknowledged before the call.
    ///
    /// # Errors
    /// [`Error::StoreUnavailable`], [`Error::Exhausted`] when it takes longer than a read may, or too many read them.
    pub(in crate::service) async fn search(
        &self,
        caller: &Caller,
        cell: &Cell,
        (among, search): (Searched, &Search),
        Page { from, limit }: Page,
    ) -> Result<Matches, Error> {
        let query = SearchQuery { organization: cell.id.clone(), among, text: search.text().to_owned() };
        let _reading = self.enter_books(caller, &cell.id).await?;
        self.books_reach(&cell.id).await?;
        self.in_time(async {
            let rows = self.store.search(&query, from.unwrap_or(0), limit.saturating_add(1)).await?;
            let total = u32::try_from(self.store.count_found(&query).await?).unwrap_or(u32::MAX);
            Ok(Matches { rows, limit, total })
        })
        .await
    }
}
