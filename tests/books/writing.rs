//! Projecting, fencing, and what a lost server is rebuilt from.

use quotad::{
    domain::{
        event::{EntryKind, Event, LimitNo, NumberedLimit, Stream},
        id::{KeyId, RuleId},
        lease::Lease,
        model::{ModelPattern, Models},
        money::Nanos,
        period::{Period, Zone},
        policy::Place,
        rule::{Cap, CapPeriod},
        snapshot::Snapshot,
    },
    store::{LEASE_SECONDS, StoreError, Totals},
};

use crate::{
    place::{Books, LEASE},
    queries::everything,
    script::{Script, acme, narrowed, rule},
};

async fn totals(books: &Books) -> Totals {
    books.store.total(&everything()).await.unwrap()
}

pub(crate) async fn records_are_written_exactly_once_however_often_they_come(books: &Books) {
    let script = Script::busy();
    for cut in [9, 4, script.records.len(), script.records.len()] {
        let reached = books.store.project(LEASE, &script.records[..cut]).await.unwrap();
        assert_eq!(reached, cut.max(9) as u64);
    }
    assert_eq!(books.again().await.status().await.unwrap().position, script.last());
    assert_eq!((totals(books).await.entries, totals(books).await.cost), (7, Nanos::new(67).to_decimal()));
    let audit = books.store.audit(&acme()).await.unwrap();
    assert_eq!((audit.entries, audit.gap, audit.wrong_balance, audit.wrong_charge), (7, None, None, None));
    assert_eq!(audit.balance, Nanos::new(933));
    let [window] = &audit.windows[..] else { panic!("{:?}", audit.windows) };
    assert_eq!((window.from_entries, window.from_row), (Nanos::new(67), Nanos::new(67)));
}

pub(crate) async fn a_hold_that_was_committed_leaves_no_row_in_one_batch_or_two(books: &Books) {
    let mut script = Script::new();
    for request in ["at once", "later"] {
        let no = script.reserve(&acme(), request);
        let cut = if request == "later" { script.last() } else { 0 };
        script.settle(&acme(), EntryKind::Commit, Some(no), request, 40);
        for reached in [cut, script.last()] {
            books.store.project(LEASE, &script.records[..usize::try_from(reached).unwrap()]).await.unwrap();
            let rows = books.run("UPDATE reservations SET state = state").await.unwrap();
            assert_eq!(rows, u64::from(reached == cut && cut > 0), "{request}");
        }
    }
    assert_eq!(totals(books).await.entries, 2);
}

pub(crate) async fn a_gap_in_the_journal_is_refused(books: &Books) {
    let script = Script::busy();
    books.store.project(LEASE, &script.records[..3]).await.unwrap();
    let refused = books.store.project(LEASE, &script.records[4..]).await;
    assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    assert_eq!(books.store.status().await.unwrap().position, 3);
}

/// Records that the books must refuse, whatever is right about the others of their batch.
async fn assert_refused(books: &Books, spoil: impl FnOnce(&mut Script)) {
    let mut script = Script::busy();
    books.store.project(LEASE, &script.records).await.unwrap();
    let (position, before) = (script.last(), totals(books).await);
    script.reserve(&acme(), "good");
    script.settle(&acme(), EntryKind::Charge, None, "fine", 1);
    spoil(&mut script);
    for _ in 0..2 {
        let refused = books.store.project(LEASE, &script.records).await;
        assert!(matches!(refused, Err(StoreError::Damaged(_))), "{refused:?}");
    }
    assert_eq!(books.store.status().await.unwrap().position, position);
    assert_eq!(totals(books).await, before);
    // What is right goes on, on connections that are in order.
    let good = usize::try_from(position).unwrap() + 2;
    books.store.project(LEASE, &script.records[..good]).await.unwrap();
    assert_eq!(totals(books).await.entries, before.entries + 1);
}

pub(crate) async fn an_entry_that_does_not_follow_changes_nothing(books: &Books) {
    assert_refused(books, |script| {
        script.settle(&acme(), EntryKind::Charge, None, "left out", 1);
        script.records.pop();
        script.settle(&acme(), EntryKind::Charge, None, "late", 1);
    })
    .await;
}

pub(crate) async fn a_balance_that_does_not_add_up_changes_nothing(books: &Books) {
    assert_refused(books, |script| {
        script.settle(&acme(), EntryKind::Charge, None, "odd", 1);
        let Event::Settled(settled) = &mut script.records.last_mut().unwrap().event else { panic!("no settlement") };
        std::sync::Arc::make_mut(settled).balance += Nanos::new(1);
    })
    .await;
}

pub(crate) async fn money_is_never_booked_twice_under_one_request_id(books: &Books) {
    assert_refused(books, |script| script.settle(&acme(), EntryKind::Charge, None, "c1", 7)).await;
}

pub(crate) async fn entries_can_neither_be_changed_nor_deleted(books: &Books) {
    books.store.project(LEASE, &Script::busy().records).await.unwrap();
    let mut statements = vec!["UPDATE ledger_entries SET cost = 0", "DELETE FROM ledger_entries WHERE entry = 1"];
    if !books.is_file() {
        statements.extend([
            "TRUNCATE ledger_entries",
            "TRUNCATE ledger_entries_2023_11",
            "DELETE FROM ledger_entries_2023_11",
            "UPDATE ledger_entries_2023_11 SET wallet = 0",
        ]);
    }
    for statement in statements {
        let error = books.run(statement).await.expect_err(statement).to_string();
        assert!(error.contains("never"), "{statement}: {error}");
    }
    assert_eq!(totals(books).await.entries, 7);
}

pub(crate) async fn only_the_lease_that_the_books_know_may_write_them(books: &Books) {
    let (script, store) = (Script::busy(), &books.store);
    store.project(LEASE, &script.records[..9]).await.unwrap();
    let later = Lease { epoch: 2, ..LEASE };
    store.take_lease(later, "there", Some(LEASE)).await.unwrap();
    let fenced = |error: StoreError| matches!(error, StoreError::Fenced { holder, epoch: 2 } if holder == "there");
    assert!(fenced(store.project(LEASE, &script.records).await.unwrap_err()));
    assert!(fenced(store.save_states(LEASE, &[]).await.unwrap_err()));
    assert!(fenced(store.trim_events(LEASE, 1).await.unwrap_err()));
    assert!(fenced(store.renew_lease(LEASE).await.unwrap_err()));
    assert!(fenced(store.release_lease(LEASE).await.unwrap_err()));
    assert!(fenced(store.take_lease(LEASE, "here", Some(LEASE)).await.unwrap_err()));
    assert_eq!(store.status().await.unwrap().position, 9);
    store.renew_lease(later).await.unwrap();
    store.project(later, &script.records).await.unwrap();
    assert!(!store.status().await.unwrap().lease.unwrap().free);
    store.release_lease(later).await.unwrap();
    let lease = store.status().await.unwrap().lease.unwrap();
    assert_eq!((lease.lease, lease.holder.as_str(), lease.free), (later, "there", true));
}

pub(crate) async fn a_lease_that_is_not_renewed_runs_out_by_the_databases_clock(books: &Books) {
    let free = async || books.store.status().await.unwrap().lease.unwrap().free;
    let ago = |seconds: u32| {
        if books.is_file() {
            format!("UPDATE writer_lease SET renewed_at = unixepoch() - {seconds}")
        } else {
            format!("UPDATE writer_lease SET renewed_at = now() - interval '{seconds} seconds'")
        }
    };
    books.run(&ago(LEASE_SECONDS - 5)).await.unwrap();
    assert!(!free().await);
    books.run(&ago(LEASE_SECONDS + 1)).await.unwrap();
    assert!(free().await);
    books.store.renew_lease(LEASE).await.unwrap();
    assert!(!free().await);
}

pub(crate) async fn of_two_that_take_a_lease_at_once_one_gets_it(books: &Books) {
    let other = books.again().await;
    for epoch in 2..12 {
        let former = books.store.status().await.unwrap().lease.map(|former| former.lease);
        let lease = |no: u8| Lease { journal: quotad::domain::lease::JournalId::new([no; 16]), epoch };
        let (one, two) =
            tokio::join!(books.store.take_lease(lease(1), "one", former), other.take_lease(lease(2), "two", former));
        let holder = books.store.status().await.unwrap().lease.unwrap().holder;
        match (one, two) {
            (Ok(()), Err(StoreError::Fenced { .. })) => assert_eq!(holder, "one"),
            (Err(StoreError::Fenced { .. }), Ok(())) => assert_eq!(holder, "two"),
            both => panic!("{both:?}"),
        }
    }
}

pub(crate) async fn states_and_events_are_read_back_as_they_were_kept(books: &Books) {
    let (script, store) = (Script::busy(), &books.store);
    store.project(LEASE, &script.records).await.unwrap();
    let state = |key, sequence, length: u32| Snapshot {
        stream: Stream::from_key(key),
        sequence,
        position: sequence,
        state: (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect(),
    };
    // More than one row holds.
    let large = state("b", 4, (8 << 20) + 1);
    store.save_states(LEASE, &[state("", 1, 0), state("b", 2, 9), state("a", 3, 5), state("B", 1, 2)]).await.unwrap();
    store.save_states(LEASE, std::slice::from_ref(&large)).await.unwrap();
    // In the order of their bytes.
    let kept = [state("", 1, 0), state("B", 1, 2), state("a", 3, 5)];
    assert_eq!(store.load_states(None, 3).await.unwrap(), kept);
    assert_eq!(store.load_states(Some(&Stream::from_key("a")), 2).await.unwrap(), [large]);
    let marks = store.list_states(Some(&Stream::System), 9).await.unwrap();
    let marks: Vec<_> = marks.iter().map(|mark| (mark.stream.key(), mark.sequence, mark.position)).collect();
    assert_eq!(marks, [("B", 1, 1), ("a", 3, 3), ("b", 4, 4)]);
    assert_eq!(store.read_events(1, 1000).await.unwrap(), script.records);
    assert_eq!(store.read_events(6, 1).await.unwrap(), script.records[5..]);
    store.trim_events(LEASE, script.last()).await.unwrap();
    assert_eq!(store.read_events(1, 1000).await.unwrap(), []);
}

pub(crate) async fn books_of_a_later_version_are_refused(books: &Books) {
    let values = if books.is_file() { "x''" } else { "''" };
    let migration = format!(
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9999, 'later', TRUE, {values}, 0)"
    );
    books.run(&migration).await.unwrap();
    let opened = books.try_again().await;
    let Err(StoreError::Unfit(why)) = opened else { panic!("opened") };
    assert!(why.contains("version 9999") && why.contains("run the version that made them"), "{why}");
}

/// Case P17: what is said by columns and by rows of another table follows the limit.
pub(crate) async fn periods_and_models_are_said_in_words_and_follow_their_limit(books: &Books) {
    let mut script = Script::new();
    let period = Period::Weekly { zone: Zone::parse("zone", "Europe/Berlin").unwrap(), start: 6 };
    let count = async |table: &str, condition: &str| {
        let touched = format!("UPDATE {table} SET limit_no = limit_no WHERE limit_no = 40 AND {condition}");
        books.run(&touched).await.unwrap()
    };
    for models in [&["a", "b-*"][..], &["b-*", "c", "d"], &[]] {
        let patterns = models.iter().map(|text| ModelPattern::parse("models", text).unwrap()).collect();
        let models = Models::checked("models", patterns).unwrap();
        let set = narrowed(Place::Organization, 40, "weekly", Some(5), (period, models.clone()));
        script.of(&acme(), set);
        books.store.project(LEASE, &script.records).await.unwrap();
        let words = "period = 'weekly' AND period_time_zone = 'Europe/Berlin' AND period_week_start = 'sunday'";
        assert_eq!(count("limits", words).await, 1);
        assert_eq!(count("limit_models", "model <> ''").await, models.patterns().len() as u64);
        for pattern in models.patterns() {
            assert_eq!(count("limit_models", &format!("model = '{pattern}'")).await, 1, "{pattern}");
        }
    }
}

// P17, M10
pub(crate) async fn a_rules_counters_are_in_force_while_its_cap_counts_as_they_do(books: &Books) {
    let mut script = Script::new();
    let in_force = async || {
        // Postgres has a view of them.
        let counters = if books.is_file() { "limits WHERE active AND" } else { "budget_status WHERE" };
        let counters = format!("SELECT limit_no FROM {counters} rule_id = 'office'");
        books.run(&format!("UPDATE limits SET limit_no = limit_no WHERE limit_no IN ({counters})")).await.unwrap()
    };
    let berlin = Zone::parse("zone", "Europe/Berlin").unwrap();
    let daily = |max, enabled| Some(Cap { enabled, max: Nanos::units(max), period: CapPeriod::Daily });
    let weekly = Some(Cap { enabled: true, max: Nanos::units(5), period: CapPeriod::Weekly });
    let steps = [
        (Zone::UTC, daily(5, true), 1),
        // What goes on counting stays, with another cap, without one, and with one that is off.
        (Zone::UTC, daily(6, true), 1),
        (Zone::UTC, None, 1),
        (Zone::UTC, daily(6, false), 1),
        // The days of another zone begin anew, as other periods do.
        (berlin, daily(6, true), 0),
        (berlin, weekly, 0),
    ];
    for (no, (zone, cap, expected)) in (50..).zip(steps) {
        let rule = rule("office", zone, cap, script.now());
        let limit = rule.limit();
        script.of(&acme(), Event::RuleSet(Box::new(rule)));
        books.store.project(LEASE, &script.records).await.unwrap();
        let is_first = no == 50;
        if let Some(limit) = limit.filter(|_| is_first || expected == 0) {
            assert_eq!(in_force().await, 0, "{zone} {cap:?}: the one before");
            let place = Place::Rule(RuleId::trusted("office"), KeyId::trusted("k1"));
            let limit = Box::new(NumberedLimit { no: LimitNo(no), limit });
            script.of(&acme(), Event::CounterOpened { place, limit });
            books.store.project(LEASE, &script.records).await.unwrap();
        }
        assert_eq!(in_force().await, 1, "{zone} {cap:?}");
    }
}
