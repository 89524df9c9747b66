use super::*;
use crate::{domain::lease::StoreId, store::LeaseStatus};

const OWN: JournalId = JournalId::new([1; 16]);
const OTHER: JournalId = JournalId::new([2; 16]);
const HERE: &str = "here";

fn books(position: u64, lease: Option<(JournalId, u32, &str, bool)>) -> StoreStatus {
    let lease = lease.map(|(journal, epoch, holder, free)| LeaseStatus {
        lease: Lease { journal, epoch },
        holder: holder.to_owned(),
        free,
    });
    StoreStatus { id: StoreId::new([9; 16]), position, lease }
}

fn claimant(trimmed: u64, last: u64, epoch: u32) -> Claimant<'static> {
    Claimant { journal: OWN, extent: Extent { trimmed, last, epoch }, holder: HERE, accept_loss: false }
}

#[test]
fn a_journal_goes_on_with_its_own_books_in_a_later_epoch_than_either_knows() {
    assert_eq!(admit(&claimant(0, 0, 0), &books(0, None)), Ok(Admission::Continue { epoch: 1 }));
    let status = books(70, Some((OWN, 5, HERE, true)));
    assert_eq!(admit(&claimant(50, 100, 3), &status), Ok(Admission::Continue { epoch: 6 }));
    assert_eq!(admit(&claimant(70, 70, 8), &status), Ok(Admission::Continue { epoch: 9 }));
}

#[test]
fn a_lease_that_runs_is_waited_for_unless_its_holder_had_this_very_directory() {
    let elsewhere = books(70, Some((OWN, 5, "there", false)));
    assert_eq!(admit(&claimant(0, 100, 5), &elsewhere), Ok(Admission::Wait));
    let here = books(70, Some((OWN, 5, HERE, false)));
    assert_eq!(admit(&claimant(0, 100, 5), &here), Ok(Admission::Continue { epoch: 6 }));
}

#[test]
fn books_ahead_of_the_journal_are_refused_unless_the_loss_is_accepted() {
    let status = books(101, Some((OWN, 5, "there", true)));
    let (old, refusal) = (claimant(0, 100, 5), Refusal::Ahead { books: 101, journal: 100, holder: "there".into() });
    assert_eq!(admit(&old, &status), Err(refusal));
    let accepted = Claimant { accept_loss: true, ..old };
    assert_eq!(admit(&accepted, &status), Ok(Admission::Rebuild { epoch: 65_536 }));
    let running = books(101, Some((OWN, 5, "there", false)));
    assert_eq!(admit(&accepted, &running), Err(Refusal::Held { holder: "there".into() }));
}

#[test]
fn books_of_another_journal_are_refused_unless_the_loss_is_accepted_and_nobody_writes_them() {
    let status = books(7, Some((OTHER, 65_540, HERE, true)));
    let own = claimant(0, 100, 5);
    assert_eq!(admit(&own, &status), Err(Refusal::Foreign { books: 7, holder: HERE.into() }));
    let accepted = Claimant { accept_loss: true, ..own };
    assert_eq!(admit(&accepted, &status), Ok(Admission::Rebuild { epoch: 131_072 }));
    let running = books(7, Some((OTHER, 65_540, HERE, false)));
    assert_eq!(admit(&accepted, &running), Err(Refusal::Held { holder: HERE.into() }));
}

#[test]
fn books_that_were_moved_name_the_place_whatever_is_accepted() {
    let moved = |to: &str| format!("the books that these were moved to, at {to}");
    for (to, told) in [("postgres://quotad@db/quotad", "--database-url"), ("/srv/quotad", "--data-dir /srv/quotad")] {
        let status = books(7, Some((OTHER, 2, &moved(to), true)));
        let refusal = Refusal::Moved { to: to.into() };
        assert!(refusal.to_string().contains(told), "{refusal}");
        assert_eq!(admit(&claimant(0, 100, 5), &status), Err(refusal.clone()));
        assert_eq!(admit(&Claimant { accept_loss: true, ..claimant(0, 100, 5) }, &status), Err(refusal));
    }
}

#[test]
fn books_that_a_trimmed_journal_cannot_continue_are_refused_whatever_is_accepted() {
    let refusal = Err(Refusal::Behind { books: 0, trimmed: 50 });
    let trimmed = claimant(50, 100, 5);
    assert_eq!(admit(&trimmed, &books(0, None)), refusal);
    assert_eq!(admit(&Claimant { accept_loss: true, ..trimmed }, &books(0, None)), refusal);
}
