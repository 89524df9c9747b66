//! M8: corrections reach the balance, the limits, the reports and the lists that their entries reached.

use quotad::api::proto::{
    self, Budget, ChargeRequest, ListTransactionsRequest, PeriodKind, SummarizeUsageRequest, TransactionKind, Unit,
    UsageGrouping, WalletMode,
};
use tonic::Code;

use crate::{
    messages::{MODEL, budget, charge, commit, extend, failed, period, policy, quota, reserve, seconds, tokens, usd},
    payments::correct,
    people::joins,
    world::{ACME, Place, START, World},
};

use TransactionKind::{Adjustment, Refund};

fn monthly(id: &str, max: &str, unit: Unit) -> Budget {
    Budget { unit: unit.into(), period: period(PeriodKind::Monthly), ..budget(id, max) }
}

async fn usage(world: &World, by: UsageGrouping) -> (String, Vec<(String, String, i64)>) {
    let asked =
        SummarizeUsageRequest { organization_id: ACME.into(), grouping: by.into(), ..SummarizeUsageRequest::default() };
    let answer = world.operator.ledger().summarize_usage(asked).await.unwrap().into_inner();
    let group = |group: proto::UsageGroup| {
        let totals = group.totals.unwrap();
        (group.id, totals.cost_usd, totals.requests)
    };
    (answer.totals.unwrap().cost_usd, answer.groups.into_iter().map(group).collect())
}

// M8
#[tokio::test]
async fn a_refund_gives_back_to_the_budgets_that_the_charge_counted_on() {
    for wallet in [WalletMode::Off, WalletMode::Enforced] {
        for place in Place::ALL {
            let mut world = World::start(wallet, |_| {}).await;
            world.top_up("first", "100").await.unwrap();
            let quotas = vec![quota("tpm", Unit::TokensPerMinute, 1000), quota("rpm", Unit::RequestsPerMinute, 9)];
            world.limit(place, policy(vec![monthly("cap", "10", Unit::Usd)], quotas)).await;
            let used = proto::Usage { cost_usd: "10".into(), ..tokens(100, 0) };
            world.charge(charge("k1", "c", used)).await.unwrap().unwrap();
            assert!(world.reserve(reserve("k1", "no", usd("1"))).await.is_err());
            let done = correct(&world.operator, "f", 2, Refund, "10").await.unwrap();
            assert_eq!(done.balance_usd, "100", "{place:?}");
            world.restart().await;
            let books = world.books().await;
            let counted = (books.limit("cap").0, books.limit("tpm").0, books.limit("rpm").0);
            assert_eq!(counted, ("0", "100", "1"), "{place:?}: tokens and requests were used");
            world.reserve(reserve("k1", "yes", usd("1"))).await.unwrap();
            correct(&world.operator, "back", 2, Adjustment, "-4").await.unwrap();
            assert_eq!(world.books().await.limit("cap").0, "4", "{place:?}");
            world.verify().await;
        }
    }
}

// M8
#[tokio::test]
async fn rule_caps_and_allocations_follow_in_credits() {
    let world = World::new().await;
    let organization = proto::Organization { credit_factor: "3".into(), ..Default::default() };
    world.update_organization(organization, &["credit_factor"]).await;
    let cap = proto::CreditCap { enabled: true, max_credits: "30".into(), period: PeriodKind::Monthly.into() };
    let rule = proto::Rule {
        organization_id: ACME.into(),
        id: "office".into(),
        enabled: true,
        cap: Some(cap),
        ..Default::default()
    };
    let new = proto::CreateRuleRequest { rule: Some(rule), request_id: String::new() };
    world.operator.rules().create_rule(new).await.unwrap();
    let key =
        proto::Key { organization_id: ACME.into(), id: "k1".into(), rule_id: "office".into(), ..Default::default() };
    world.update_key(key, &["rule_id"]).await.unwrap();
    world.charge(charge("k1", "c", usd("10"))).await.unwrap().unwrap();
    assert!(world.reserve(reserve("k1", "no", usd("1"))).await.is_err());
    correct(&world.operator, "f1", 1, Refund, "4").await.unwrap();
    assert_eq!(world.books().await.limit("cap").0, "18");
    let overview = proto::GetOverviewRequest { organization_id: ACME.into() };
    let overview = world.operator.allocations().get_overview(overview).await.unwrap().into_inner().overview.unwrap();
    assert_eq!(overview.used, "18");
    correct(&world.operator, "f2", 1, Refund, "6").await.unwrap();
    assert_eq!(world.books().await.limit("cap").0, "0");
    world.reserve(reserve("k1", "yes", usd("10"))).await.unwrap();
    world.verify().await;
}

// M8
#[tokio::test]
async fn a_correction_says_whose_usage_it_puts_right_and_reports_are_net() {
    let world = World::with_wallet("100").await;
    world.team("lab").await;
    world.member_of(ACME, "eve", &["lab"]).await;
    world.key("k2", "eve", "lab").await;
    let labels = [("job".to_owned(), "nightly".to_owned())].into();
    world.charge(ChargeRequest { labels, ..charge("k2", "c1", usd("10")) }).await.unwrap().unwrap();
    world.charge(charge("k1", "c2", usd("3"))).await.unwrap().unwrap();
    world.advance(3600);
    correct(&world.operator, "f", 2, Refund, "4").await.unwrap();
    let of_eve =
        ListTransactionsRequest { organization_id: ACME.into(), member_id: "eve".into(), ..Default::default() };
    let listed = world.operator.ledger().list_transactions(of_eve).await.unwrap().into_inner();
    assert_eq!(listed.totals.unwrap().cost_usd, "6");
    let entry = listed.transactions[0].clone();
    assert_eq!((entry.entry, entry.kind(), entry.corrects_entry), (4, Refund, 2));
    let whose = (&*entry.member_id, &*entry.key_id, &*entry.team_id, &*entry.model, &*entry.labels["job"]);
    assert_eq!(whose, ("eve", "k2", "lab", MODEL, "nightly"));
    assert_eq!((entry.occurred_at.unwrap().seconds, entry.time.unwrap().seconds), (START, START + 3600));
    let money = (&*entry.cost_usd, &*entry.credits, &*entry.wallet_usd, &*entry.balance_usd);
    assert_eq!(money, ("-4", "-4", "4", "91"));
    for (by, ids) in [
        (UsageGrouping::Member, ["eve", "ada"]),
        (UsageGrouping::Key, ["k2", "k1"]),
        (UsageGrouping::Team, ["lab", "default"]),
    ] {
        let groups = vec![(ids[0].into(), "6".into(), 1), (ids[1].into(), "3".into(), 1)];
        assert_eq!(usage(&world, by).await, ("9".into(), groups), "{by:?}");
    }
    assert_eq!(usage(&world, UsageGrouping::Model).await.1, [(MODEL.into(), "9".into(), 2)]);
    world.verify().await;
}

// M8
#[tokio::test]
async fn all_entries_of_a_reservation_together_give_back_what_they_booked_and_no_more() {
    let mut world = World::new().await;
    let held = proto::Organization { expiry_policy: proto::ExpiryPolicy::ChargeHeld.into(), ..Default::default() };
    world.update_organization(held, &["expiry_policy"]).await;
    world.limit(Place::Key("k1"), policy(vec![monthly("cap", "10", Unit::Usd)], Vec::new())).await;
    let id = world.reserve(reserve("k1", "r", usd("8"))).await.unwrap().reservation_id;
    world.advance(601);
    world.charge(charge("k1", "after", usd("0.5"))).await.unwrap().unwrap();
    let open = failed(Code::FailedPrecondition, "SETTLEMENT_OPEN");
    assert_eq!(correct(&world.operator, "f1", 1, Refund, "1").await.unwrap_err(), open);
    world.restart().await;
    assert_eq!(correct(&world.operator, "f1", 1, Refund, "1").await.unwrap_err(), open);
    world.commit(commit(&id, usd("5"))).await.unwrap();
    let beyond = failed(Code::FailedPrecondition, "FAILED_PRECONDITION");
    assert_eq!(correct(&world.operator, "f2", 1, Refund, "5.1").await.unwrap_err(), beyond, "3 were given back");
    correct(&world.operator, "f3", 1, Refund, "3").await.unwrap();
    assert_eq!(correct(&world.operator, "f4", 3, Refund, "2.1").await.unwrap_err(), beyond);
    correct(&world.operator, "f5", 3, Refund, "2").await.unwrap();
    assert_eq!(world.books().await.limit("cap").0, "0.5");
    world.verify().await;
}

// M8
#[tokio::test]
async fn what_expiry_charged_can_be_corrected_once_no_commit_can_come() {
    let world = World::new().await;
    world.limit(Place::Key("k1"), policy(vec![monthly("cap", "10", Unit::Usd)], Vec::new())).await;
    let id = world.reserve(reserve("k1", "r", usd("8"))).await.unwrap().reservation_id;
    let used = proto::ExtendRequest { usage_so_far: Some(usd("3")), ttl: seconds(60), ..extend(&id) };
    world.extend(used).await.unwrap().unwrap();
    world.advance(86_401);
    world.charge(charge("k1", "after", usd("1"))).await.unwrap().unwrap();
    correct(&world.operator, "f", 1, Refund, "3").await.unwrap();
    assert_eq!(world.books().await.limit("cap").0, "1");
    world.verify().await;
}

// M8, M14
#[tokio::test]
async fn a_tenants_correction_never_lowers_what_counts_on_the_operators_ceiling() {
    let world = World::new().await;
    let finance = joins(&world, "finn", proto::Role::FinanceAdmin).await;
    world.limit(Place::Organization, policy(vec![monthly("own", "10", Unit::Usd)], Vec::new())).await;
    world.limit(Place::Ceiling, policy(vec![monthly("ceiling", "10", Unit::Usd)], Vec::new())).await;
    world.charge(charge("k1", "c", usd("10"))).await.unwrap().unwrap();
    correct(&finance, "f1", 1, Refund, "6").await.unwrap();
    let books = world.books().await;
    assert_eq!((books.limit("own").0, books.limit("ceiling").0), ("4", "10"));
    assert!(world.reserve(reserve("k1", "no", usd("1"))).await.is_err());
    correct(&world.operator, "f2", 1, Refund, "4").await.unwrap();
    let books = world.books().await;
    assert_eq!((books.limit("own").0, books.limit("ceiling").0), ("0", "6"));
    correct(&finance, "f3", 1, Adjustment, "-8").await.unwrap();
    let books = world.books().await;
    assert_eq!((books.limit("own").0, books.limit("ceiling").0), ("8", "8"), "never below what is spent");
    world.verify().await;
}

// M8
#[tokio::test]
async fn what_was_revoked_stays_so_and_alerts_are_not_repeated() {
    let world = World::new().await;
    let soft = Budget { soft: "5".into(), ..monthly("cap", "10", Unit::Usd) };
    world.limit(Place::Key("k1"), policy(vec![soft], Vec::new())).await;
    let id = world.reserve(reserve("k1", "r", usd("1"))).await.unwrap().reservation_id;
    let over = proto::ChargeRequest { already_used: true, ..charge("k1", "c", usd("10")) };
    world.charge(over).await.unwrap().unwrap();
    let alerts = async || {
        let asked = proto::ListAlertsRequest { organization_id: ACME.into(), ..Default::default() };
        world.operator.alerts().list_alerts(asked).await.unwrap().into_inner().alerts.len()
    };
    let told = alerts().await;
    assert_eq!(told, 2, "the soft cap and the hard one");
    correct(&world.operator, "f", 1, Refund, "10").await.unwrap();
    let denial = world.extend(extend(&id)).await.unwrap().unwrap_err();
    assert_eq!(denial.code(), proto::DenialCode::Revoked);
    world.charge(charge("k1", "again", usd("9"))).await.unwrap().unwrap();
    correct(&world.operator, "back", 1, Adjustment, "-10").await.unwrap();
    assert_eq!(alerts().await, told);
    world.verify().await;
}
