use super::*;
use crate::{
    domain::{
        access::Role,
        entity::{ExpiryPolicy, Member, Organization, WalletMode},
        event::{Event, Record, Stream},
        id::{Actor, MemberId, OrganizationId},
        money::Factor,
        time::Timestamp,
    },
    engine::state::OrganizationState,
};

/// An organization with so many members, every second one of them disabled.
fn cell(members: usize) -> Cell {
    let organization = Organization {
        id: OrganizationId::trusted("acme"),
        name: String::new(),
        kind: crate::domain::entity::AccountKind::Team,
        default_rule: None,
        bounds: None,
        credit_factor: Factor::ONE,
        wallet_mode: WalletMode::Off,
        expiry_policy: ExpiryPolicy::Release,
        disabled: false,
        suspended: false,
        deleted: false,
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    };
    let cell = Cell::new(OrganizationState::new(organization), 0);
    (0..members).for_each(|_| add(&cell));
    cell
}

fn add(cell: &Cell) {
    let mut inner = cell.lock();
    let no = inner.state.members.row_count();
    let event = Event::MemberSet(Box::new(Member {
        id: MemberId::trusted(format!("m{no}")),
        name: String::new(),
        email: String::new(),
        role: Role::Basic,
        disabled: no % 2 == 1,
        deleted: false,
        create_time: Timestamp::EPOCH,
        update_time: Timestamp::EPOCH,
    }));
    let record = Record {
        position: 0,
        stream: Stream::Organization(OrganizationId::trusted("acme")),
        sequence: inner.state.sequence + 1,
        epoch: 1,
        time: Timestamp::EPOCH,
        actor: Actor::SYSTEM,
        event,
    };
    inner.state.apply(&record).unwrap();
}

fn disable(cell: &Cell, id: &str) {
    let mut inner = cell.lock();
    let before = inner.state.members.find(&MemberId::trusted(id)).unwrap().entity.clone();
    inner.state.members.set(Member { disabled: true, ..before });
}

/// A page of the members that aren't disabled, the newest first: their ids.
fn active(cell: &Cell, from: Option<u64>, limit: usize) -> Found<String> {
    let pick = |_: &OrganizationState, _, row: &Row<Member>| (!row.entity.disabled).then(|| row.entity.id.to_string());
    page_of(cell, (Page { from, limit }, Order::NewestFirst), |state| &state.members, pick, |_| 1)
}

fn numbers(found: &Found<String>) -> Vec<u64> {
    found.items.iter().map(|id| id[1..].parse().unwrap()).collect()
}

#[test]
fn pages_go_on_where_they_ended_whatever_is_added_or_changed_between_them() {
    let cell = cell(600);
    let (mut from, mut seen) = (None, Vec::new());
    loop {
        let found = active(&cell, from, 7);
        seen.extend(numbers(&found));
        for id in &found.items {
            disable(&cell, id);
        }
        (0..5).for_each(|_| add(&cell));
        from = found.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(
        seen,
        (0..600).rev().filter(|no| no % 2 == 0).collect::<Vec<_>>(),
        "each once, and none that came later"
    );
}

#[test]
fn the_last_page_has_no_next_one_even_if_it_is_full() {
    let cell = cell(20);
    assert_eq!(active(&cell, None, 10).next, None);
    let first = active(&cell, None, 9);
    assert_eq!((numbers(&first).last(), first.next), (Some(&2), Some(0)));
    assert_eq!(numbers(&active(&cell, first.next, 9)), [0]);
    assert_eq!(active(&cell, None, 100).items.len(), 10);
    assert_eq!(active(&cell, Some(10_000_000_000), 100).items.len(), 10, "a key beyond all");
}

#[test]
fn a_page_gives_up_after_so_many_rows_and_says_where_the_next_one_goes_on() {
    let cell = cell(MOST_ROWS + 100);
    let nobody = |from| {
        let at = (Page { from, limit: 10 }, Order::OldestFirst);
        page_of(&cell, at, |state| &state.members, |_, _, _| None::<()>, |()| 1)
    };
    let first = nobody(None);
    assert_eq!((first.items.len(), first.next), (0, Some(MOST_ROWS as u64)));
    assert_eq!(nobody(first.next).next, None);
}

#[test]
fn what_a_page_holds_together_is_bounded_and_one_item_always_fits() {
    let cell = cell(10);
    let heavy = |weight: usize| {
        let all = (Page { from: None, limit: 10 }, Order::OldestFirst);
        let found = page_of(&cell, all, |state| &state.members, |_, place, _| Some(place), |_| weight);
        (found.items.len(), found.next)
    };
    assert_eq!(heavy(MOST_WEIGHT / 4), (4, Some(4)));
    assert_eq!(heavy(MOST_WEIGHT * 2), (1, Some(1)));
    assert_eq!(heavy(1), (10, None));
}

#[test]
fn spaces_alone_search_for_nothing() {
    assert!(Search::new("").is_for_all() && Search::new(" \u{a0}").is_for_all());
    assert!(!Search::new(" a").is_for_all());
}
