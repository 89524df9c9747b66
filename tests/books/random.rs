//! Any history gives the same answers in every database.

use std::{collections::BTreeSet, sync::Arc};

use quotad::{
    domain::{
        access::Bearer,
        allocation::CreditRequestState,
        event::{EntryKind, Event, Extended, Stream},
        id::{KeyId, MemberId, Model, OrganizationId, RequestId, TeamId, TokenId},
        money::Nanos,
        policy::{AllocationPlace, Place},
        reservation_id::ReservationNo,
        snapshot::Snapshot,
        time::Span,
        usage::{Amounts, Usage},
        zone::Zone,
    },
    store::{ChangeQuery, EntryQuery, Grouping, ReservationKey, Store},
};

use crate::{
    place::{Books, LEASE},
    queries::everything,
    script::{START, Script, allocation, credit_request, organization, policy, price, team, token},
};

/// Of the same seed, the same numbers.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const ORGANIZATIONS: [&str; 3] = ["acme", "Beta", "zeta"];

#[derive(Default)]
pub(crate) struct History {
    pub(crate) script: Script,
    /// Open or expired, with the request id.
    held: Vec<(OrganizationId, ReservationNo, String)>,
    requests: u64,
}

impl History {
    pub(crate) fn of(seed: u64, steps: u64) -> Self {
        let mut history = Self::default();
        for id in ORGANIZATIONS {
            history.script.found(&OrganizationId::trusted(id));
        }
        let mut dice = Dice::new(seed);
        for _ in 0..steps {
            history.step(&mut dice);
        }
        history
    }

    fn step(&mut self, dice: &mut Dice) {
        self.requests += 1;
        let request = format!("request-{}", self.requests);
        let of = OrganizationId::trusted(ORGANIZATIONS[usize::try_from(dice.roll(3)).unwrap()]);
        let cost = i64::try_from(dice.roll(1_000_000_000_000)).unwrap();
        match dice.roll(13) {
            0..=4 => {
                let no = self.script.reserve(&of, &request);
                self.held.push((of, no, request));
            }
            5..=7 => self.close(dice, cost),
            8 => self.script.settle(&of, EntryKind::Charge, None, &request, cost),
            9 => self.script.top_up(&of, &request, cost),
            10 => self.manage(dice, &of),
            11 => self.script.correct(&of, &request, cost, 1),
            _ => self.script.wait(Span::seconds(i64::try_from(dice.roll(400_000)).unwrap())),
        }
    }

    fn close(&mut self, dice: &mut Dice, cost: i64) {
        if self.held.is_empty() {
            return;
        }
        let at = usize::try_from(dice.roll(self.held.len() as u64)).unwrap();
        let (of, no, request) = self.held.swap_remove(at);
        match dice.roll(5) {
            0 => {
                self.script.of(&of, Event::Released { reservation: no, reason: "unused".into(), drawn: Nanos::ZERO });
            }
            1 => {
                self.script.of(&of, Event::Expired { reservation: no, drawn: Nanos::ZERO });
                self.script.settle(&of, EntryKind::LateCommit, Some(no), &request, cost);
            }
            2 => {
                self.script.settle(&of, EntryKind::Expiry, Some(no), &request, cost);
                self.script.settle(&of, EntryKind::LateCommit, Some(no), &request, -cost / 2);
            }
            3 => {
                let held = Amounts { usd: Nanos::new(cost), tokens: 7, ..Amounts::ZERO };
                let expire_time = self.script.now() + Span::HOUR;
                let usage = Usage::default();
                let extended =
                    Extended { reservation: no, expire_time, usage, held, drawn: Nanos::ZERO, progress: None };
                self.script.of(&of, Event::Extended(Box::new(extended)));
                self.held.push((of, no, request));
            }
            _ => self.script.settle(&of, EntryKind::Commit, Some(no), &request, cost),
        }
    }

    /// What people do.
    fn manage(&mut self, dice: &mut Dice, of: &OrganizationId) {
        let (now, script, no) = (self.script.now(), &mut self.script, self.requests);
        let ann = MemberId::trusted("ann");
        let whole = if no.is_multiple_of(2) { Place::Organization } else { Place::Ceiling };
        match dice.roll(10) {
            0 => drop(script.of(of, organization(of, &format!("Name {no}"), now))),
            1 => drop(script.of(of, team(&format!("team-{}", dice.roll(3)), "Ünïcode \"quoted\"", now))),
            2 => drop(script.of(of, policy(whole, u32::try_from(no).unwrap(), "new", None))),
            3 => drop(
                script.of(of, policy(Place::Key(KeyId::trusted("key-1")), u32::try_from(no).unwrap(), "k", Some(9))),
            ),
            4 => drop(script.of(of, credit_request(dice.roll(4), CreditRequestState::Denied, now))),
            5 => drop(script.of(of, allocation(AllocationPlace::Member(TeamId::trusted("default"), ann), Some(5)))),
            6 => script.system(price(["a", "b"][usize::try_from(dice.roll(2)).unwrap()], 7, now)),
            7 => script.system(Event::PriceDeleted(Model::trusted("a"))),
            8 => script.system(Event::TokenSet(Box::new(token("t", Bearer::Member(vec![(of.clone(), ann)]), now)))),
            _ => script.system(Event::TokenDeleted(TokenId::trusted("t"))),
        }
    }
}

/// Everything that can be asked of them, as text.
pub(crate) async fn answers(store: &dyn Store, history: &History) -> Vec<String> {
    let mut all = vec![format!("{:?}", store.status().await.unwrap().position)];
    let zone = Zone::parse("zone", "Asia/Kathmandu").unwrap();
    for organization in ORGANIZATIONS.map(OrganizationId::trusted) {
        all.push(format!("{:?}", store.audit(&organization).await.unwrap()));
        let query = EntryQuery { organization: organization.clone(), ..everything() };
        let early =
            EntryQuery { end: Some(START + Span::DAY), kinds: BTreeSet::from([EntryKind::Commit]), ..query.clone() };
        for query in [&query, &early] {
            all.push(format!("{:?}", store.total(query).await.unwrap()));
            all.push(format!("{:?}", store.list_entries(query, 1000).await.unwrap()));
            for by in [Grouping::Member, Grouping::Key, Grouping::Team, Grouping::Model, Grouping::Day(zone)] {
                let mut groups = store.usage(query, by).await.unwrap();
                groups.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                all.push(format!("{groups:?}"));
            }
        }
        let (kind, id, actor, start, end) = (None, None, None, None, None);
        let changes = ChangeQuery { organization: organization.clone(), kind, id, actor, start, end };
        all.push(format!("{:?}", store.list_changes(&changes, None, 1000).await.unwrap()));
        for no in 1..=history.requests {
            let request = RequestId::trusted(format!("request-{no}"));
            all.push(format!("{:?}", store.find_entry(&organization, &request).await.unwrap()));
            let by = ReservationKey::Request(&KeyId::trusted("key-1"), &request);
            all.push(format!("{:?}", store.find_reservation(&organization, by).await.unwrap()));
        }
    }
    all.push(format!("{:?}", store.read_events(1, 1_000_000).await.unwrap()));
    all.push(format!("{:?}", store.load_states(None, 100).await.unwrap()));
    all
}

/// In batches of any size, some of which come twice.
pub(crate) async fn project_randomly(store: &dyn Store, history: &History, dice: &mut Dice) {
    let records = &history.script.records;
    let mut reached = 0;
    while reached < records.len() {
        let from = reached - usize::try_from(dice.roll(reached as u64 + 1)).unwrap().min(20);
        let to = (reached + 1 + usize::try_from(dice.roll(60)).unwrap()).min(records.len());
        assert_eq!(store.project(LEASE, &records[from..to]).await.unwrap(), to as u64);
        reached = to;
    }
    let position = records.len() as u64;
    let state = |key| Snapshot { stream: Stream::from_key(key), sequence: position, position, state: vec![7; 100] };
    store.save_states(LEASE, &[state(""), state("acme")]).await.unwrap();
}

#[tokio::test]
async fn any_history_gives_the_same_answers_in_every_database() {
    for seed in 1..=4 {
        let history = Arc::new(History::of(seed, 400));
        let (file, database) = (Books::in_a_file().await, Books::in_a_database().await);
        project_randomly(&*file.store, &history, &mut Dice::new(seed)).await;
        project_randomly(&*database.store, &history, &mut Dice::new(seed + 100)).await;
        let (expected, found) = (answers(&*file.store, &history).await, answers(&*database.store, &history).await);
        for (expected, found) in expected.iter().zip(&found) {
            assert_eq!(expected, found, "seed {seed}");
        }
    }
}
