//! Bytes and calls that connections hold: each has an account, and all accounts share a total.
//!
//! A byte is counted from the moment the server has it until it has been handed on: unfinished requests until they are whole,
//! answers until the socket took them. An account draws from the total in large steps, so that connections don't contend for
//! one counter at each answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed},
};

use parking_lot::Mutex;

use crate::{
    config::Connections,
    domain::{error::Exhausted, time::Span},
};

/// Drawn from the total at a time.
const STEP: usize = 256 << 10;
/// Drawn by every connection: HTTP/2 lets a peer send so much unasked, and a connection costs about as much by itself.
const BASE: usize = 64 << 10;
/// A connection that holds less than this may use the total to its end, others three quarters of it: who takes much leaves room for
/// those who take little. One that holds less than [`BASE`] is always served, out of what it has drawn already.
const SHARE: usize = 1 << 20;
/// Answers no larger than this are always given: what was changed is told to whoever changed it.
const SMALL_ANSWER: usize = 64 << 10;
/// Health checks that may be open on one connection, and on all: they need no token.
const MAX_HEALTH: usize = 16;
const MAX_HEALTH_IN_ALL: usize = 4096;
/// There is room as soon as answers are read, or given up.
const RETRY: Span = Span::SECOND;

/// What all connections together hold.
#[derive(Debug)]
pub(super) struct Total {
    used: AtomicUsize,
    max: usize,
    max_each: usize,
    health: AtomicUsize,
    #[cfg(test)]
    held: AtomicUsize,
}

impl Total {
    pub(super) fn new(bounds: &Connections) -> Arc<Self> {
        Arc::new(Self {
            used: AtomicUsize::new(0),
            max: bounds.bytes,
            max_each: bounds.bytes_each,
            health: AtomicUsize::new(0),
            #[cfg(test)]
            held: AtomicUsize::new(0),
        })
    }

    /// Bytes of requests and answers, exactly.
    #[cfg(test)]
    pub(super) fn held_by_all(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// Returns true where a connection may hold so much, as far as the others leave room for it.
    fn has_room(&self, held: usize) -> bool {
        let reach = if held < SHARE { self.max } else { self.max / 4 * 3 };
        held < BASE || self.used.load(Relaxed) < reach
    }

    /// Sets bytes aside for the receive window of a connection, as long as windows and all else leave half of the total.
    pub(super) fn window(self: &Arc<Self>, bytes: u32) -> Option<Window> {
        let bytes = usize::try_from(bytes).ok()?;
        let before = self.used.fetch_add(bytes, Relaxed);
        let window = Window { total: Arc::clone(self), bytes };
        // Dropped, it gives back what it took.
        (before + bytes <= self.max / 2).then_some(window)
    }
}

/// Bytes that a peer may send before anybody reads them.
#[derive(Debug)]
pub(super) struct Window {
    total: Arc<Total>,
    bytes: usize,
}

impl Drop for Window {
    fn drop(&mut self) {
        self.total.used.fetch_sub(self.bytes, Relaxed);
    }
}

/// What one connection holds.
#[derive(Debug)]
pub(super) struct Account {
    total: Arc<Total>,
    held: AtomicUsize,
    /// Drawn from the total.
    drawn: AtomicUsize,
    drawing: Mutex<()>,
    /// Calls so far, those refused for want of room aside.
    pub(super) begun: AtomicUsize,
    open: AtomicUsize,
    open_health: AtomicUsize,
    /// Pieces of answers since the connection's reader of frames last asked.
    answered: AtomicU32,
    /// A call was let in: the peer isn't a stranger.
    pub(super) known: AtomicBool,
    /// Since it was last asked.
    pub(super) has_read: AtomicBool,
    pub(super) has_written: AtomicBool,
    /// The peer takes nothing more for now.
    pub(super) is_full: AtomicBool,
}

impl Account {
    pub(super) fn open(total: &Arc<Total>) -> Arc<Self> {
        total.used.fetch_add(BASE, Relaxed);
        Arc::new(Self {
            total: Arc::clone(total),
            held: AtomicUsize::new(0),
            drawn: AtomicUsize::new(BASE),
            drawing: Mutex::new(()),
            begun: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            open_health: AtomicUsize::new(0),
            answered: AtomicU32::new(0),
            known: AtomicBool::new(false),
            has_read: AtomicBool::new(false),
            has_written: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        })
    }

    /// Whether a call may begin.
    pub(super) fn may_begin(&self) -> bool {
        let held = self.held.load(Relaxed);
        held < self.total.max_each && self.total.has_room(held)
    }

    /// Whether an answer, or what has come of a request, may be held.
    pub(super) fn fits(&self, bytes: usize) -> bool {
        let held = self.held.load(Relaxed).saturating_add(bytes);
        bytes <= SMALL_ANSWER || (held <= self.total.max_each && self.total.has_room(held))
    }

    /// The bound on what a connection holds, as callers are told of it.
    pub(super) fn bound(&self) -> Exhausted {
        let max = self.total.max_each.try_into().unwrap_or(u64::MAX);
        Exhausted { what: "bytes of requests and unread answers on a connection", max, retry_after: RETRY }
    }

    /// Calls that are open, health checks aside.
    pub(super) fn open_calls(&self) -> usize {
        self.open.load(Relaxed).saturating_sub(self.open_health.load(Relaxed))
    }

    pub(super) fn is_idle(&self) -> bool {
        self.open.load(Relaxed) == 0
    }

    pub(super) fn piece_answered(&self) {
        self.answered.fetch_add(1, Relaxed);
    }

    pub(super) fn take_answered(&self) -> u32 {
        self.answered.swap(0, Relaxed)
    }

    fn add(&self, bytes: usize) {
        #[cfg(test)]
        self.total.held.fetch_add(bytes, Relaxed);
        let held = self.held.fetch_add(bytes, Relaxed) + bytes;
        if held > self.drawn.load(Relaxed) {
            self.draw();
        }
    }

    fn subtract(&self, bytes: usize) {
        #[cfg(test)]
        self.total.held.fetch_sub(bytes, Relaxed);
        let held = self.held.fetch_sub(bytes, Relaxed) - bytes;
        if self.drawn.load(Relaxed) > held + 4 * STEP {
            self.draw();
        }
    }

    /// Draws as much as is held, rounded up, or gives back.
    #[cold]
    fn draw(&self) {
        let _drawing = self.drawing.lock();
        let wanted = BASE.max(self.held.load(Relaxed).next_multiple_of(STEP));
        let drawn = self.drawn.swap(wanted, Relaxed);
        if wanted > drawn {
            self.total.used.fetch_add(wanted - drawn, Relaxed);
        } else {
            self.total.used.fetch_sub(drawn - wanted, Relaxed);
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.total.used.fetch_sub(self.drawn.load(Relaxed), Relaxed);
    }
}

/// Bytes that are held, for as long as this lives.
#[derive(Debug)]
pub(super) struct Charge {
    account: Arc<Account>,
    bytes: usize,
}

impl Charge {
    pub(super) fn new(account: &Arc<Account>, bytes: usize) -> Self {
        account.add(bytes);
        Self { account: Arc::clone(account), bytes }
    }

    pub(super) fn grow(&mut self, bytes: usize) {
        self.account.add(bytes);
        self.bytes += bytes;
    }

    /// Takes a part of it, at most the whole.
    pub(super) fn split(&mut self, bytes: usize) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Self { account: Arc::clone(&self.account), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.account.subtract(self.bytes);
        }
    }
}

/// A call that is open.
#[derive(Debug)]
pub(super) struct OpenCall {
    pub(super) account: Arc<Account>,
    pub(super) is_health: bool,
}

impl OpenCall {
    /// # Errors
    /// The bound that leaves no room for it.
    pub(super) fn begin(account: &Arc<Account>, is_health: bool) -> Result<Self, Exhausted> {
        if !account.may_begin() {
            return Err(account.bound());
        }
        account.begun.fetch_add(1, Relaxed);
        account.open.fetch_add(1, Relaxed);
        let call = Self { account: Arc::clone(account), is_health };
        if is_health {
            let here = account.open_health.fetch_add(1, Relaxed);
            let in_all = account.total.health.fetch_add(1, Relaxed);
            let full =
                |what, max: usize| Exhausted { what, max: max.try_into().unwrap_or(u64::MAX), retry_after: RETRY };
            if here >= MAX_HEALTH {
                return Err(full("health checks open on a connection", MAX_HEALTH));
            }
            if in_all >= MAX_HEALTH_IN_ALL {
                return Err(full("health checks open", MAX_HEALTH_IN_ALL));
            }
        }
        Ok(call)
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.is_health {
            self.account.open_health.fetch_sub(1, Relaxed);
            self.account.total.health.fetch_sub(1, Relaxed);
        }
        self.account.open.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn total(bytes_each: usize, bytes: usize) -> Arc<Total> {
        Total::new(&Connections { bytes_each, bytes, ..Connections::default() })
    }

    #[test]
    fn what_was_held_is_given_back_to_the_last_byte() {
        let total = total(8 << 20, 16 << 20);
        let account = Account::open(&total);
        assert_eq!(total.used.load(Relaxed), BASE);
        let mut charge = Charge::new(&account, 100);
        charge.grow(3 << 20);
        let part = charge.split(1 << 20);
        assert!(total.used.load(Relaxed) >= (3 << 20) + 100);
        drop(charge);
        assert_eq!(account.held.load(Relaxed), 1 << 20);
        drop(part);
        assert_eq!(account.held.load(Relaxed), 0);
        drop(account);
        assert_eq!(total.used.load(Relaxed), 0);
    }

    #[test]
    fn a_connection_that_holds_its_most_begins_nothing_and_others_do() {
        let total = total(2 << 20, 64 << 20);
        let (full, other) = (Account::open(&total), Account::open(&total));
        let held = Charge::new(&full, 2 << 20);
        assert!(OpenCall::begin(&full, false).is_err());
        assert!(!full.fits(SMALL_ANSWER + 1) && full.fits(SMALL_ANSWER));
        assert!(OpenCall::begin(&other, false).is_ok());
        drop(held);
        assert!(OpenCall::begin(&full, false).is_ok());
    }

    #[test]
    fn who_takes_much_leaves_a_quarter_of_the_total_to_who_takes_little() {
        let total = total(16 << 20, 16 << 20);
        let (greedy, modest) = (Account::open(&total), Account::open(&total));
        let _held = Charge::new(&greedy, 12 << 20);
        assert!(OpenCall::begin(&greedy, false).is_err());
        assert!(OpenCall::begin(&modest, false).is_ok());
        assert!(modest.fits(SHARE / 2) && !modest.fits(SHARE + 1));
    }

    #[test]
    fn many_who_take_little_stay_within_the_total_and_who_takes_hardly_anything_is_always_served() {
        let total = total(16 << 20, 16 << 20);
        let accounts: Vec<_> = (0..100).map(|_| Account::open(&total)).collect();
        let mut held = Vec::new();
        for account in &accounts {
            while account.held.load(Relaxed) < SHARE && account.fits(SMALL_ANSWER + 1) {
                held.push(Charge::new(account, SMALL_ANSWER + 1));
            }
        }
        let used = total.used.load(Relaxed);
        assert!((15 << 20..=(16 << 20) + STEP).contains(&used), "{used}");
        let last = Account::open(&total);
        assert!(OpenCall::begin(&last, false).is_ok() && last.fits(BASE - 1));
        let _little = Charge::new(&last, BASE);
        assert!(OpenCall::begin(&last, false).is_err());
    }

    #[test]
    fn windows_leave_half_of_the_total() {
        let total = total(16 << 20, 16 << 20);
        let windows: Vec<_> = (0..20).map_while(|_| total.window(1 << 20)).collect();
        assert_eq!(windows.len(), 8);
        drop(windows);
        assert_eq!(total.used.load(Relaxed), 0);
    }

    #[test]
    fn health_checks_are_few_on_a_connection_and_bounded_in_all() {
        let total = total(16 << 20, 1 << 30);
        let first = Account::open(&total);
        let open: Vec<_> = (0..=MAX_HEALTH).map_while(|_| OpenCall::begin(&first, true).ok()).collect();
        assert_eq!((open.len(), first.open_calls(), first.is_idle()), (MAX_HEALTH, 0, false));
        assert!(OpenCall::begin(&first, false).is_ok(), "calls are another matter");
        let others: Vec<_> = (1..=MAX_HEALTH_IN_ALL / MAX_HEALTH).map(|_| Account::open(&total)).collect();
        let begin = |account| (0..MAX_HEALTH).filter_map(|_| OpenCall::begin(account, true).ok()).collect::<Vec<_>>();
        let more: Vec<_> = others.iter().flat_map(begin).collect();
        assert_eq!(open.len() + more.len(), MAX_HEALTH_IN_ALL);
        drop((open, more));
        assert!(first.is_idle() && OpenCall::begin(&first, true).is_ok());
    }
}
