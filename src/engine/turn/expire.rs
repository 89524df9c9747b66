//! Holds that ran out.

use super::{Turn, settle::Bill};
use crate::domain::{
    event::{EntryKind, Event},
    reservation_id::ReservationNo,
};

/// Most that one operation expires, so that nobody waits long behind a heap of them.
const AT_ONCE: usize = 64;

impl Turn<'_> {
    /// Expires what is due, the earliest first, and `target` in any case if it is. Answers whether more is due.
    pub fn expire_due(&mut self, target: Option<ReservationNo>) -> bool {
        self.tick();
        for _ in 0..AT_ONCE {
            let due = self.state.expiries.first().filter(|(time, _)| *time <= self.now).map(|(_, no)| *no);
            let Some(no) = due else { return false };
            self.expire(no);
        }
        let target = target.and_then(|no| self.state.hold(no));
        if let Some(hold) = target.filter(|hold| hold.is_open() && hold.expire_time() <= self.now) {
            self.expire(hold.no);
        }
        self.state.next_expiry().is_some_and(|time| time <= self.now)
    }

    /// Charges what the organization's policy says, frees the rest.
    fn expire(&mut self, no: ReservationNo) {
        let Some(hold) = self.state.hold(no) else { return };
        let Some((usage, total)) = hold.owed_at_expiry(self.state.organization.expiry_policy) else {
            let drawn = self.freed(hold);
            self.emit(Event::Expired { reservation: no, drawn });
            return;
        };
        let bill = Bill::of(hold, EntryKind::Expiry, usage, total);
        // Running out moves what is held to what is spent, at most; their sum was checked when it was held. It can't be refused.
        let overage = self.overage(&bill, None);
        debug_assert!(overage.is_ok(), "{overage:?}");
        self.book(bill, overage.unwrap_or_default());
    }
}
