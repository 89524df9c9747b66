//! Case M15: a report goes by one clock, that of use; a list by either.

use quotad::api::proto::{
    AllocationSettings, ChargeRequest, ListTransactionsRequest, SummarizeUsageRequest, TimeBasis,
    UpdateAllocationSettingsRequest, UsageGrouping,
};
use tonic::Code;

use crate::{
    messages::{charge, extend, failed, failure, mask, reserve, usd, wrong_field},
    world::{ACME, START, World},
};

/// The midnight after [`START`], in UTC.
const MIDNIGHT: i64 = 1_700_006_400;

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn by_day(start: Option<i64>, end: Option<i64>) -> SummarizeUsageRequest {
    SummarizeUsageRequest {
        organization_id: ACME.into(),
        grouping: UsageGrouping::Day.into(),
        start_time: start.and_then(at),
        end_time: end.and_then(at),
        ..SummarizeUsageRequest::default()
    }
}

/// Days and their costs, the latest first, and the zone that they are of.
async fn summary(world: &World, asked: SummarizeUsageRequest) -> (Vec<(String, String)>, String) {
    let summary = world.operator.ledger().summarize_usage(asked).await.unwrap().into_inner();
    let groups = summary.groups.into_iter().map(|group| (group.id, group.totals.unwrap().cost_usd));
    (groups.collect(), summary.time_zone)
}

fn days(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(day, cost)| ((*day).to_owned(), (*cost).to_owned())).collect()
}

/// Costs of the entries of a span, and their sum.
async fn listed(world: &World, basis: TimeBasis, start: Option<i64>, end: Option<i64>) -> (Vec<String>, String) {
    let query = ListTransactionsRequest {
        start_time: start.and_then(at),
        end_time: end.and_then(at),
        time_basis: basis.into(),
        ..ListTransactionsRequest::default()
    };
    let page = world.transactions(query).await.unwrap();
    (page.transactions.into_iter().map(|entry| entry.cost_usd).collect(), page.totals.unwrap().cost_usd)
}

/// 5 USD used 30 minutes before midnight and booked after it, and 2 USD after it.
async fn across_midnight() -> World {
    let world = World::new().await;
    world.advance(MIDNIGHT - START + 600);
    let late =
        ChargeRequest { already_used: true, occurred_at: at(MIDNIGHT - 1800), ..charge("k1", "yesterday", usd("5")) };
    world.charge(late).await.unwrap().unwrap();
    world.charge(charge("k1", "today", usd("2"))).await.unwrap().unwrap();
    world
}

#[tokio::test]
async fn usage_counts_when_it_happened_and_a_list_goes_by_either() {
    let world = across_midnight().await;
    let today = by_day(Some(MIDNIGHT), None);
    assert_eq!(summary(&world, today).await.0, days(&[("2023-11-15", "2")]));
    let yesterday = by_day(None, Some(MIDNIGHT));
    assert_eq!(summary(&world, yesterday).await.0, days(&[("2023-11-14", "5")]));
    assert_eq!(summary(&world, by_day(None, None)).await.0, days(&[("2023-11-15", "2"), ("2023-11-14", "5")]));
    let list = async |basis, start, end| listed(&world, basis, start, end).await;
    let costs = |costs: &[&str], sum: &str| (costs.iter().map(ToString::to_string).collect(), sum.to_owned());
    for booked in [TimeBasis::Unspecified, TimeBasis::Booked] {
        assert_eq!(list(booked, Some(MIDNIGHT), None).await, costs(&["2", "5"], "7"), "as it was booked");
        assert_eq!(list(booked, None, Some(MIDNIGHT)).await, costs(&[], "0"));
    }
    assert_eq!(list(TimeBasis::Used, Some(MIDNIGHT), None).await, costs(&["2"], "2"));
    assert_eq!(list(TimeBasis::Used, None, Some(MIDNIGHT)).await, costs(&["5"], "5"));
    let unknown = ListTransactionsRequest { time_basis: 7, organization_id: ACME.into(), ..Default::default() };
    let unknown = world.operator.ledger().list_transactions(unknown).await.unwrap_err();
    assert_eq!(wrong_field(&unknown), "time_basis");
}

#[tokio::test]
async fn days_are_those_of_the_zone_asked_for_or_of_the_organization() {
    let world = across_midnight().await;
    let zoned = |zone: &str| SummarizeUsageRequest { time_zone: zone.into(), ..by_day(None, None) };
    let (utc, both_today) = (days(&[("2023-11-15", "2"), ("2023-11-14", "5")]), days(&[("2023-11-15", "7")]));
    let both_yesterday = days(&[("2023-11-14", "7")]);
    assert_eq!(summary(&world, zoned("")).await, (utc.clone(), "UTC".to_owned()));
    assert_eq!(summary(&world, zoned("Europe/Berlin")).await, (both_today.clone(), "Europe/Berlin".to_owned()));
    assert_eq!(summary(&world, zoned("UTC-8")).await.0, both_yesterday);
    let settings = AllocationSettings {
        organization_id: ACME.into(),
        time_zone: "Asia/Tokyo".into(),
        ..AllocationSettings::default()
    };
    let update_mask = mask(&["time_zone"]);
    let update = UpdateAllocationSettingsRequest {
        settings: Some(settings),
        update_mask,
        restart_spending: true,
        ..UpdateAllocationSettingsRequest::default()
    };
    world.operator.allocations().update_allocation_settings(update).await.unwrap();
    assert_eq!(summary(&world, zoned("")).await, (both_today, "Asia/Tokyo".to_owned()), "the organization's own");
    assert_eq!(summary(&world, zoned("UTC")).await.0, utc);
    for (wrong, field) in [
        (zoned("Mars/Base"), "time_zone"),
        (SummarizeUsageRequest { grouping: UsageGrouping::Key.into(), ..zoned("UTC") }, "time_zone"),
    ] {
        assert_eq!(wrong_field(&world.operator.ledger().summarize_usage(wrong).await.unwrap_err()), field);
    }
    let nobody = SummarizeUsageRequest { organization_id: "nobody".into(), ..zoned("") };
    let nobody = world.operator.ledger().summarize_usage(nobody).await.unwrap_err();
    assert_eq!(failure(&nobody), failed(Code::NotFound, "NOT_FOUND"));
}

#[tokio::test]
async fn what_is_booked_days_later_counts_on_the_day_of_its_use() {
    let world = World::new().await;
    world.charge(charge("k1", "first", usd("1"))).await.unwrap().unwrap();
    let open = world.reserve(reserve("k1", "open", usd("4"))).await.unwrap();
    let so_far = quotad::api::proto::ExtendRequest { usage_so_far: Some(usd("3")), ..extend(&open.reservation_id) };
    world.extend(so_far).await.unwrap().unwrap();
    // As if the server had been down: its expiry is booked three days after the request was admitted.
    world.advance(3 * 86_400);
    world.charge(charge("k1", "last", usd("2"))).await.unwrap().unwrap();
    let first_day = summary(&world, by_day(None, Some(MIDNIGHT))).await.0;
    assert_eq!(first_day, days(&[("2023-11-14", "4")]));
    assert_eq!(summary(&world, by_day(Some(MIDNIGHT), None)).await.0, days(&[("2023-11-17", "2")]));
    let (mut costs, sum) = listed(&world, TimeBasis::Used, None, Some(MIDNIGHT)).await;
    costs.sort();
    assert_eq!((costs, sum.as_str()), (vec!["1".to_owned(), "3".to_owned()], "4"));
    // Page by page: nothing twice, nothing left out.
    let mut query = ListTransactionsRequest {
        organization_id: ACME.into(),
        end_time: at(MIDNIGHT),
        time_basis: TimeBasis::Used.into(),
        page_size: 1,
        ..ListTransactionsRequest::default()
    };
    let mut paged = Vec::new();
    loop {
        let page = world.transactions(query.clone()).await.unwrap();
        assert_eq!(page.totals.unwrap().entries, 2);
        paged.extend(page.transactions.into_iter().map(|entry| entry.cost_usd));
        query.page_token = page.next_page_token;
        if query.page_token.is_empty() {
            break;
        }
    }
    assert_eq!(paged, ["3", "1"]);
}
