//! Pages of what an organization has in memory. A page looks at a few rows under the lock at a time, and at so many in all that
//! nothing else waits long: one that finds too little tells where the next one goes on.
//!
//! Pages go by a row's key, never by how many came before it: nothing comes twice and nothing is left out while rows are added or
//! changed between them.

use parking_lot::MutexGuard;

use crate::{
    domain::fold::for_search,
    engine::{
        directory::Cell,
        state::OrganizationState,
        table::{Entity, Ordered, Row},
    },
};

/// Rows looked at under one lock.
const AT_ONCE: usize = 64;
/// Rows looked at for one page.
pub(super) const MOST_ROWS: usize = 10_000;
/// What the items of a page may weigh together; a page holds one item at least.
pub(super) const MOST_WEIGHT: usize = 16_384;

/// Where a page begins, and how many items it has at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// The key that the page before answered; `None` for the first page.
    pub from: Option<u64>,
    pub limit: usize,
}

/// A page of what was found, where the next one begins, and how many there are on all pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found<T> {
    pub items: Vec<T>,
    pub next: Option<u64>,
    /// 0 in lists that don't tell it.
    pub total: u32,
}

impl<T> Found<T> {
    pub(super) fn map<U>(self, to: impl FnMut(T) -> U) -> Found<U> {
        let Self { items, next, total } = self;
        Found { items: items.into_iter().map(to).collect(), next, total }
    }

    pub(super) fn of(self, total: u32) -> Self {
        Self { total, ..self }
    }
}

/// Rows with their keys, in the order of a list.
pub(super) type Rows<'a, R> = Box<dyn Iterator<Item = (u64, &'a R)> + 'a>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    OldestFirst,
    NewestFirst,
}

/// The rows of a table from a key on, which is a place.
fn rows_of<E: Entity>(table: &impl Ordered<E>, order: Order, from: Option<u64>) -> Rows<'_, Row<E>> {
    let from = from.map(|from| u32::try_from(from).unwrap_or(u32::MAX));
    let keyed = |(place, row): (u32, _)| (u64::from(place), row);
    match order {
        Order::OldestFirst => Box::new(table.oldest_first(from.unwrap_or(0)).map(keyed)),
        Order::NewestFirst => Box::new(table.newest_first(from.unwrap_or(u32::MAX)).map(keyed)),
    }
}

/// A page of what `pick` makes of the rows that it wants.
pub(super) fn page<R, T>(
    cell: &Cell,
    Page { mut from, limit }: Page,
    rows: impl for<'a> Fn(&'a OrganizationState, Option<u64>) -> Rows<'a, R>,
    mut pick: impl FnMut(&OrganizationState, u64, &R) -> Option<T>,
    weigh: impl Fn(&T) -> usize,
) -> Found<T> {
    let (mut items, mut weight, mut seen) = (Vec::new(), 0, 0);
    let found = |items, next| Found { items, next, total: 0 };
    loop {
        let inner = cell.lock();
        let mut left = rows(&inner.state, from);
        for _ in 0..AT_ONCE {
            let Some((key, row)) = left.next() else { return found(items, None) };
            from = Some(key);
            if seen == MOST_ROWS {
                return found(items, from);
            }
            seen += 1;
            let Some(item) = pick(&inner.state, key, row) else { continue };
            weight += weigh(&item);
            if items.len() == limit || (weight > MOST_WEIGHT && !items.is_empty()) {
                return found(items, from);
            }
            items.push(item);
        }
        from = left.next().map(|(key, _)| key);
        drop(left);
        // Who waits for the organization meanwhile comes first.
        MutexGuard::unlock_fair(inner);
        if from.is_none() {
            return found(items, None);
        }
    }
}

/// The same of a table's rows.
pub(super) fn page_of<E: Entity, O: Ordered<E>, T>(
    cell: &Cell,
    (at, order): (Page, Order),
    table: impl Fn(&OrganizationState) -> &O,
    mut pick: impl FnMut(&OrganizationState, u32, &Row<E>) -> Option<T>,
    weigh: impl Fn(&T) -> usize,
) -> Found<T> {
    let place = |key| u32::try_from(key).unwrap_or(u32::MAX);
    page(
        cell,
        at,
        |state, from| rows_of(table(state), order, from),
        |state, key, row| pick(state, place(key), row),
        weigh,
    )
}

/// Rows of a group as [`Rows`].
pub(super) fn keyed<'a, E: Entity>(rows: impl Iterator<Item = (u32, &'a Row<E>)> + 'a) -> Rows<'a, Row<E>> {
    Box::new(rows.map(|(place, row)| (u64::from(place), row)))
}

/// The place that a key of a list stands for.
pub(super) fn place_from(key: Option<u64>) -> u32 {
    key.map_or(0, |key| u32::try_from(key).unwrap_or(u32::MAX))
}

/// Returns what `pick` makes of all rows that it wants, `most` at most: there are no pages.
pub(super) fn all<R, T>(
    cell: &Cell,
    most: usize,
    rows: impl for<'a> Fn(&'a OrganizationState, Option<u64>) -> Rows<'a, R>,
    mut pick: impl FnMut(&OrganizationState, u64, &R) -> Option<T>,
) -> Vec<T> {
    let (mut all, mut from) = (Vec::new(), None);
    loop {
        let at = Page { from, limit: most - all.len() };
        let found = page(cell, at, &rows, &mut pick, |_| 0);
        all.extend(found.items);
        from = found.next;
        if from.is_none() || all.len() == most {
            return all;
        }
    }
}

/// What is searched for, as [`for_search`] folds it.
#[derive(Debug)]
pub(super) struct Search(String);

impl Search {
    pub(super) fn new(text: &str) -> Self {
        Self(for_search(text).into_owned())
    }

    /// Returns the folded text that is searched for in the books.
    fn text(&self) -> &str {
        &self.0
    }

    /// Whether everything is wanted.
    pub(super) fn is_for_all(&self) -> bool {
        self.0.is_empty()
    }
}

mod searching;

#[cfg(test)]
mod tests;
