//! What the books answer.

use std::{collections::BTreeSet, sync::Arc};

use quotad::{
    domain::{
        alert::{AlertSettings, Webhook},
        contact::WebhookSecret,
        ended::{Ended, EndedName},
        event::{EntryKind, Event, Extended, Reserved},
        id::{Actor, AlertId, KeyId, MemberId, MethodId, Model, OrderId, OrganizationId, RequestId, TeamId},
        money::Nanos,
        payment::{OrderSource, OrderState, PaymentMethod, TopUpOrder},
        reservation_id::ReservationNo,
        time::Span,
        usage::{Amounts, Usage},
        zone::Zone,
    },
    store::{
        ChangeQuery, EndedKey, Entry, EntryDetail, EntryQuery, Grouping, ReservationKey, SearchQuery, Searched, Store,
        StoredEnd, TimeBasis, Totals,
    },
};

use crate::{
    place::{Books, LEASE},
    script::{START, Script, acme, reserved, settled, team},
};

pub(crate) fn everything() -> EntryQuery {
    EntryQuery {
        organization: acme(),
        key: None,
        member: None,
        team: None,
        model: None,
        kinds: BTreeSet::new(),
        basis: TimeBasis::Booked,
        start: None,
        end: None,
        after: 0,
        as_of: u64::MAX,
        late_only: false,
    }
}

pub(crate) async fn entries_are_listed_newest_first_filtered_and_paged(books: &Books) {
    let store = &books.store;
    store.project(LEASE, &Script::busy().records).await.unwrap();
    let numbers = |entries: Vec<Entry>| entries.iter().map(Entry::number).collect::<Vec<_>>();
    assert_eq!(numbers(store.list_entries(&everything(), 3).await.unwrap()), [7, 6, 5]);
    assert_eq!(
        numbers(store.list_entries(&EntryQuery { after: 1, as_of: 4, ..everything() }, 10).await.unwrap()),
        [4, 3, 2]
    );
    let charges = EntryQuery { kinds: BTreeSet::from([EntryKind::Charge, EntryKind::TopUp]), ..everything() };
    assert_eq!(numbers(store.list_entries(&charges, 10).await.unwrap()), [7, 1]);
    let key = EntryQuery { key: Some(KeyId::trusted("key-1")), as_of: 3, ..everything() };
    assert_eq!(numbers(store.list_entries(&key, 10).await.unwrap()), [3, 2]);
    let span = EntryQuery { start: Some(START), end: Some(START + Span::SECOND), ..everything() };
    assert_eq!(store.total(&span).await.unwrap().entries, 7);
    let later = EntryQuery { start: Some(START + Span::SECOND), ..everything() };
    assert_eq!(store.total(&later).await.unwrap(), Totals::default());
    let other = EntryQuery { model: Some(Model::trusted("other")), ..everything() };
    assert_eq!(store.total(&other).await.unwrap(), Totals::default());
    let found = store.find_entry(&acme(), &RequestId::trusted("t1")).await.unwrap().unwrap();
    assert!(matches!(found.detail, EntryDetail::ToppedUp(top_up) if top_up.reason.ends_with("größer")));
    assert_eq!(store.find_entry(&acme(), &RequestId::trusted("r1")).await.unwrap(), None, "no money moved by hand");
}

pub(crate) async fn a_query_is_narrowed_to_the_numbers_of_its_times(books: &Books) {
    let mut script = Script::new();
    // Three entries a minute, in five minutes.
    for no in 0..15 {
        if no > 0 && no % 3 == 0 {
            script.wait(Span::seconds(60));
        }
        script.settle(&acme(), EntryKind::Charge, None, &format!("c{no}"), 1);
    }
    books.store.project(LEASE, &script.records).await.unwrap();
    let minute = |no: i64| START + Span::seconds(60 * no);
    let narrow = async |query: EntryQuery| {
        let narrowed = books.store.narrow(&query).await.unwrap();
        let found = books.store.list_entries(&query, 100).await.unwrap();
        let narrowly = books.store.list_entries(&narrowed, 100).await.unwrap();
        assert_eq!(found, narrowly);
        (narrowed.after, narrowed.as_of)
    };
    let of = |start: Option<i64>, end: Option<i64>| EntryQuery {
        start: start.map(minute),
        end: end.map(minute),
        as_of: 15,
        ..everything()
    };
    assert_eq!(narrow(of(None, None)).await, (0, 15));
    assert_eq!(narrow(of(Some(1), Some(3))).await, (3, 9));
    assert_eq!(narrow(of(Some(0), None)).await, (0, 15));
    assert_eq!(narrow(of(Some(4), None)).await, (12, 15));
    assert_eq!(narrow(of(Some(5), None)).await, (15, 15));
    assert_eq!(narrow(of(None, Some(0))).await, (0, 0));
    assert_eq!(narrow(EntryQuery { as_of: 7, ..of(Some(2), Some(4)) }).await, (6, 7));
    let nobody = EntryQuery { organization: OrganizationId::trusted("nobody"), as_of: 0, ..everything() };
    assert_eq!(narrow(nobody).await, (0, 0));
}

/// Case M15.
pub(crate) async fn what_was_used_is_found_whenever_it_was_booked(books: &Books) {
    let mut script = Script::new();
    let hour = |no: i64| START + Span::seconds(3600 * no);
    // Booked at hours 0, 24, 25, 26 and 100; of what was used at hours 0, 0, 24, 0, and 1.
    for (no, (booked, used)) in [(0, 0), (24, 0), (25, 24), (26, 0), (100, 1)].into_iter().enumerate() {
        script.wait(hour(booked) - script.now());
        script.settle_of(&acme(), EntryKind::Charge, None, &format!("u{no}"), (1, hour(used)));
    }
    books.store.project(LEASE, &script.records).await.unwrap();
    let used = async |start: Option<i64>, end: Option<i64>| {
        let (start, end) = (start.map(hour), end.map(hour));
        let query = EntryQuery { basis: TimeBasis::Used, start, end, as_of: 5, ..everything() };
        let narrowed = books.store.narrow(&query).await.unwrap();
        let late = query.late_part(&narrowed);
        let mut found = Vec::new();
        for part in late.iter().chain([&narrowed]) {
            let entries = books.store.list_entries(part, 100).await.unwrap();
            assert_eq!(books.store.total(part).await.unwrap().entries, entries.len() as u64);
            let days = books.store.usage(part, Grouping::Day(Zone::UTC)).await.unwrap();
            assert_eq!(days.iter().map(|(_, totals)| totals.entries).sum::<u64>(), entries.len() as u64);
            found.extend(entries.iter().map(Entry::number));
        }
        let all = books.store.list_entries(&query, 100).await.unwrap();
        assert_eq!(found, all.iter().map(Entry::number).collect::<Vec<_>>(), "nothing twice, nothing left out");
        (found, narrowed.as_of, late.is_some())
    };
    assert_eq!(used(None, None).await, (vec![5, 4, 3, 2, 1], 5, false));
    assert_eq!(used(Some(0), Some(1)).await, (vec![4, 2, 1], 3, true), "the fourth is late");
    assert_eq!(used(Some(1), Some(2)).await, (vec![5], 4, true));
    assert_eq!(used(Some(24), None).await, (vec![3], 5, false));
    assert_eq!(used(Some(24), Some(25)).await, (vec![3], 4, true));
    assert_eq!(used(None, Some(0)).await, (vec![], 2, true));
    let booked = EntryQuery { start: Some(hour(0)), end: Some(hour(24)), ..everything() };
    let booked = books.store.list_entries(&booked, 100).await.unwrap();
    assert_eq!(booked.iter().map(Entry::number).collect::<Vec<_>>(), [1]);
}

pub(crate) async fn every_end_of_a_reservation_is_found_as_it_was_journalled(books: &Books) {
    let (mut script, acme) = (Script::new(), acme());
    let [open, released, freed, paid, late] =
        ["open", "released", "freed", "paid", "late"].map(|request| script.reserve(&acme, request));
    // What comes later changes rows that are there.
    books.store.project(LEASE, &script.records).await.unwrap();
    let raised = script.reserve(&acme, "raised");
    for reservation in [released, raised] {
        let (expire_time, usage) = (START + Span::DAY, Usage::default());
        let held = Amounts { usd: Nanos::new(77), ..Amounts::ZERO };
        script.of(
            &acme,
            Event::Extended(Box::new(Extended {
                reservation,
                expire_time,
                usage,
                held,
                drawn: Nanos::ZERO,
                progress: None,
            })),
        );
    }
    script.of(&acme, Event::Released { reservation: raised, reason: "unused".into(), drawn: Nanos::ZERO });
    script.of(&acme, Event::Released { reservation: released, reason: "unused".into(), drawn: Nanos::ZERO });
    script.of(&acme, Event::Expired { reservation: freed, drawn: Nanos::ZERO });
    script.settle(&acme, EntryKind::Expiry, Some(paid), "paid", 5);
    script.settle(&acme, EntryKind::Expiry, Some(late), "late", 5);
    // A late commit of just what expiry charged books nothing.
    let nothing = settled(EntryKind::LateCommit, Some(late), "late", 0, START);
    script.of(&acme, Event::Settled(Arc::new(nothing.clone())));
    let committed = script.reserve(&acme, "done");
    script.settle(&acme, EntryKind::Commit, Some(committed), "done", 8);
    books.store.project(LEASE, &script.records).await.unwrap();
    let find = async |by: ReservationKey<'_>| books.store.find_reservation(&acme, by).await.unwrap();
    let end = async |no: ReservationNo| find(ReservationKey::No(no)).await.map(|found| found.end);
    assert_eq!(end(open).await, Some(StoredEnd::Open));
    for (no, request) in [(released, "released"), (raised, "raised")] {
        let held = Amounts { usd: Nanos::new(77), ..Amounts::ZERO };
        let reserved = Arc::new(Reserved { held, ..reserved(request, START) });
        assert_eq!(
            end(no).await,
            Some(StoredEnd::Released { reserved, reason: String::from("unused"), charged: None })
        );
    }
    let freed_end = StoredEnd::Expired { reserved: Arc::new(reserved("freed", START)), charged: None };
    assert_eq!(end(freed).await, Some(freed_end));
    assert!(matches!(end(paid).await, Some(StoredEnd::Expired { charged: Some(_), .. })));
    assert_eq!(end(late).await, Some(StoredEnd::Committed(Arc::new(nothing))));
    assert!(matches!(end(committed).await, Some(StoredEnd::Committed(_))));
    assert_eq!(end(ReservationNo { epoch: 9, sequence: 1 }).await, None);
    let (key, request) = (KeyId::trusted("key-1"), RequestId::trusted("done"));
    let by_request = find(ReservationKey::Request(&key, &request)).await;
    assert_eq!(by_request.map(|found| found.no), Some(committed));
    assert_eq!(find(ReservationKey::Request(&KeyId::trusted("key-2"), &request)).await, None);
}

pub(crate) async fn usage_is_summed_by_group_and_money_in_is_none(books: &Books) {
    let mut script = Script::busy();
    script.wait(Span::DAY);
    script.settle(&acme(), EntryKind::Charge, None, "c2", 3);
    books.store.project(LEASE, &script.records).await.unwrap();
    for by in [Grouping::Member, Grouping::Key, Grouping::Team, Grouping::Model] {
        let groups = books.store.usage(&everything(), by).await.unwrap();
        assert_eq!(groups.len(), 1, "{by:?}");
        let (entries, cost, requests) = (groups[0].1.entries, groups[0].1.cost, groups[0].1.requests);
        assert_eq!((entries, cost, requests), (7, Nanos::new(70).to_decimal(), 7), "{by:?}");
    }
    // It begins at 22:13:20 UTC.
    for (zone, first, second) in [
        ("UTC", "2023-11-14", "2023-11-15"),
        ("Europe/Berlin", "2023-11-14", "2023-11-15"),
        ("UTC+01:46", "2023-11-14", "2023-11-15"),
        ("UTC+01:47", "2023-11-15", "2023-11-16"),
        ("Asia/Kolkata", "2023-11-15", "2023-11-16"),
    ] {
        let zone = Zone::parse("zone", zone).unwrap();
        let mut days = books.store.usage(&everything(), Grouping::Day(zone)).await.unwrap();
        days.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        let days: Vec<_> = days.iter().map(|(day, totals)| (day.as_str(), totals.cost)).collect();
        assert_eq!(days, [(second, Nanos::new(3).to_decimal()), (first, Nanos::new(67).to_decimal())], "{zone}");
    }
    assert_eq!(books.store.get_entry(&acme(), 1).await.unwrap().unwrap().number(), 1);
    assert_eq!(books.store.get_entry(&acme(), 99).await.unwrap(), None);
}

pub(crate) async fn sums_beyond_the_integers_saturate_and_stop_nothing(books: &Books) {
    let mut script = Script::new();
    for request in ["a", "b", "c"] {
        script.settle(&acme(), EntryKind::Charge, None, request, i64::MAX / 2);
    }
    let first = script.records.len() - 2;
    for cut in first..=script.records.len() {
        books.store.project(LEASE, &script.records[..cut]).await.unwrap();
    }
    let each = Nanos::new(i64::MAX / 2).to_decimal();
    assert_eq!(books.store.total(&everything()).await.unwrap().cost, each + each + each, "totals hold more");
    let audit = books.store.audit(&acme()).await.unwrap();
    assert_eq!((audit.windows[0].from_entries, audit.windows[0].from_row), (Nanos::MAX, Nanos::MAX));
}

pub(crate) fn changes(kind: &str) -> ChangeQuery {
    let (kind, id, actor) = (Some(kind.to_owned()), None, None);
    ChangeQuery { organization: acme(), kind, id, actor, start: None, end: None }
}

pub(crate) async fn a_change_is_listed_with_what_was_before(books: &Books) {
    let (mut script, store) = (Script::new(), &books.store);
    script.of(&acme(), team("default", "Second", START));
    script.of(&acme(), team("default", "Third", START));
    store.project(LEASE, &script.records).await.unwrap();
    let listed = store.list_changes(&changes("team"), None, 10).await.unwrap();
    let name =
        |json: &str| serde_json::from_str::<serde_json::Value>(json).unwrap()["name"].as_str().unwrap().to_owned();
    let names: Vec<_> = listed.iter().map(|change| (change.before.as_deref().map(name), name(&change.after))).collect();
    let text = |name: &str| Some(name.to_owned());
    assert_eq!(names, [(text("Second"), "Third".into()), (text(""), "Second".into()), (None, String::new())]);
    let page = store.list_changes(&changes("team"), Some(listed[0].position), 1).await.unwrap();
    assert_eq!(page, listed[1..2]);
    assert_eq!(store.list_changes(&changes("rule"), None, 10).await.unwrap(), []);
    let late = ChangeQuery { end: Some(listed[0].time), ..changes("team") };
    assert_eq!(store.list_changes(&late, None, 10).await.unwrap(), [], "all at the same instant");
}

pub(crate) async fn a_long_audit_log_is_read_whole_however_little_of_it_matches(books: &Books) {
    let (mut script, store) = (Script::new(), &books.store);
    // More than one look reads.
    for _ in 0..10_010 {
        script.of(&acme(), team("default", "Second", START));
    }
    for records in script.records.chunks(2000) {
        store.project(LEASE, records).await.unwrap();
    }
    let listed = store.list_changes(&changes("organization"), None, 10).await.unwrap();
    assert_eq!(listed.len(), 1, "the first change of all");
    let listed = store.list_changes(&changes("team"), None, 10_005).await.unwrap();
    assert_eq!(listed.len(), 10_005);
    assert!(listed.windows(2).all(|pair| pair[0].position == pair[1].position + 1), "none is left out or comes twice");
    let nobody = ChangeQuery { kind: None, actor: Some(String::from("nobody")), ..changes("team") };
    assert_eq!(store.list_changes(&nobody, None, 10).await.unwrap(), []);
}

pub(crate) async fn nothing_secret_stands_in_the_audit_log(books: &Books) {
    let (mut script, secret) = (Script::new(), WebhookSecret::from_random([5; 24]));
    let settings = AlertSettings {
        webhook: Some(Webhook { url: String::from("https://hooks.example.org"), secret: secret.clone() }),
        ..AlertSettings::default()
    };
    script.of(&acme(), Event::AlertSettingsSet(Box::new(settings)));
    let method = PaymentMethod {
        id: MethodId::trusted("m"),
        member: MemberId::trusted("ann"),
        label: String::from("card"),
        token: String::from("pm_secret"),
        deleted: false,
        create_time: START,
    };
    script.of(&acme(), Event::PaymentMethodSet(Box::new(method)));
    books.store.project(LEASE, &script.records).await.unwrap();
    for (kind, shown) in [("alert_settings", "hooks.example.org"), ("payment_method", "ann")] {
        let after = books.store.list_changes(&changes(kind), None, 1).await.unwrap().remove(0).after;
        assert!(after.contains(shown), "{after}");
        assert!(!after.contains(&secret.reveal()) && !after.contains("pm_secret"), "{after}");
    }
}

pub(crate) async fn what_is_over_is_found_whole_as_it_is_in_the_end(books: &Books) {
    let mut script = Script::new();
    let method = |id: &str, deleted| {
        let (label, token) = (format!("{id} {deleted}"), String::new());
        let (id, member) = (MethodId::trusted(id), MemberId::trusted("ann"));
        PaymentMethod { id, member, label, token, deleted, create_time: START }
    };
    for (id, deleted) in [("kept", false), ("gone", false), ("gone", true)] {
        script.of(&acme(), Event::PaymentMethodSet(Box::new(method(id, deleted))));
    }
    let order = |state| TopUpOrder {
        id: OrderId::trusted("order-1"),
        request: RequestId::trusted("paid"),
        fingerprint: 7,
        amount: Nanos::units(5),
        source: OrderSource::Operator,
        method: None,
        actor: Actor::OPERATOR,
        reason: String::from("größer"),
        state,
        reference: String::new(),
        failure: String::new(),
        placed: true,
        entry: None,
        create_time: START,
        update_time: START,
    };
    for state in [OrderState::Pending, OrderState::Failed, OrderState::Reversed] {
        script.of(&acme(), Event::OrderSet(Box::new(order(state))));
    }
    books.store.project(LEASE, &script.records).await.unwrap();
    let found = async |by: EndedKey<'_>| books.store.find_ended(&acme(), by).await.unwrap();
    let method_of = |id: &str| EndedName::PaymentMethod(MethodId::trusted(id));
    assert_eq!(found(EndedKey::Name(&method_of("kept"))).await, None, "it isn't over");
    let gone = Ended::PaymentMethod(Box::new(method("gone", true)));
    assert_eq!(found(EndedKey::Name(&method_of("gone"))).await, Some(gone));
    let reversed = Some(Ended::Order(Box::new(order(OrderState::Reversed))));
    assert_eq!(found(EndedKey::Name(&EndedName::Order(OrderId::trusted("order-1")))).await, reversed);
    assert_eq!(found(EndedKey::Request(&RequestId::trusted("paid"))).await, reversed);
    assert_eq!(found(EndedKey::Request(&RequestId::trusted("other"))).await, None);
    assert_eq!(found(EndedKey::Name(&EndedName::Alert(AlertId::trusted("order-1")))).await, None, "of another kind");
}

pub(crate) async fn an_audit_finds_what_was_tampered_with(books: &Books) {
    books.store.project(LEASE, &Script::busy().records).await.unwrap();
    let off = if books.is_file() {
        "DROP TRIGGER ledger_entries_are_never_changed; DROP TRIGGER ledger_entries_are_never_deleted;"
    } else {
        "DROP TRIGGER ledger_entries_are_never_changed ON ledger_entries;"
    };
    books.run(off).await.unwrap();
    books.run("UPDATE ledger_entries SET wallet = wallet + 1 WHERE entry = 3").await.unwrap();
    books.run("UPDATE ledger_entries SET cost = cost + 1 WHERE entry = 4").await.unwrap();
    books.run("DELETE FROM ledger_entries WHERE entry = 6").await.unwrap();
    books.run("UPDATE budget_windows SET spent = spent + 1").await.unwrap();
    let audit = books.store.audit(&acme()).await.unwrap();
    assert_eq!((audit.entries, audit.gap, audit.wrong_charge), (6, Some(6), Some(4)));
    assert_eq!(audit.wrong_balance.map(|(entry, ..)| entry), Some(3));
    assert_ne!(audit.windows[0].from_entries, audit.windows[0].from_row);
}

/// Ids of the teams of `acme` whose texts hold what is folded already.
async fn teams_with(store: &dyn Store, text: &str) -> Vec<String> {
    let query = SearchQuery { organization: acme(), among: Searched::Teams, text: text.to_owned() };
    let found = store.search(&query, 0, 100).await.unwrap();
    assert_eq!(found.len() as u64, store.count_found(&query).await.unwrap());
    found.into_iter().map(|(_, id)| id).collect()
}

pub(crate) async fn a_search_finds_folded_texts_in_the_order_of_creation(books: &Books) {
    let mut script = Script::new();
    for (id, name) in [("z", "Hauptstraße"), ("b", "STRASSE"), ("a", "Allee")] {
        script.of(&acme(), team(id, name, START));
    }
    books.store.project(LEASE, &script.records).await.unwrap();
    assert_eq!(teams_with(&*books.store, "strasse").await, ["z", "b"]);
    assert_eq!(teams_with(&*books.store, "").await, ["default", "z", "b", "a"]);
    // Renamed in a later batch, and removed.
    script.of(&acme(), team("a", "Alte Straße", START));
    books.store.project(LEASE, &script.records).await.unwrap();
    assert_eq!(teams_with(&*books.store, "strasse").await, ["z", "b", "a"]);
    let query = SearchQuery { organization: acme(), among: Searched::Teams, text: String::from("strasse") };
    let first = books.store.search(&query, 0, 1).await.unwrap();
    let rest = books.store.search(&query, first[0].0 + 1, 10).await.unwrap();
    assert_eq!(rest.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), ["b", "a"]);
    let of_members = |among| SearchQuery { organization: acme(), among, text: String::from("ann") };
    for (among, count) in [
        (Searched::Members, 1),
        (Searched::MembersOf(TeamId::trusted("default")), 1),
        (Searched::MembersOf(TeamId::trusted("z")), 0),
        (Searched::Invitations, 0),
    ] {
        assert_eq!(books.store.count_found(&of_members(among.clone())).await.unwrap(), count, "{among:?}");
    }
}

pub(crate) async fn rows_of_an_older_server_are_folded_when_the_books_are_opened(books: &Books) {
    let mut script = Script::new();
    for no in 0..1100 {
        script.of(&acme(), team(&format!("t{no}"), "Straße", START));
    }
    books.store.project(LEASE, &script.records).await.unwrap();
    for table in ["teams", "members"] {
        books.run(&format!("UPDATE {table} SET search_text = NULL")).await.unwrap();
    }
    assert!(teams_with(&*books.store, "strasse").await.is_empty());
    let opened = books.again().await;
    let query = SearchQuery { organization: acme(), among: Searched::Teams, text: String::from("strasse") };
    assert_eq!(opened.count_found(&query).await.unwrap(), 1100);
    let query = SearchQuery { among: Searched::Members, text: String::from("ann"), ..query };
    assert_eq!(opened.count_found(&query).await.unwrap(), 1);
}
