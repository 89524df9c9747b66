//! Amounts of money and credits that the control plane can't take.

use quotad::api::proto;

use crate::{
    control_bad_input::field,
    messages::mask,
    reads::reads,
    world::{ACME, World},
};

#[tokio::test]
async fn money_that_is_no_amount_is_not_moved() {
    let world = World::with_wallet("10").await;
    let before = reads(&world).await;
    let order = |amount: &str, currency: &str, request: &str| proto::TopUpRequest {
        organization_id: ACME.into(),
        amount_usd: amount.into(),
        currency: currency.into(),
        request_id: request.into(),
        ..Default::default()
    };
    let mut wallets = world.operator.wallets();
    for amount in ["0", "0.000000000", "-5", "1.0000000001", "1e3", "NaN", "", "1000000000.1", "1,5", " 1"] {
        assert_eq!(field(wallets.top_up(order(amount, "", "r")).await), "amount_usd", "{amount:?}");
    }
    for currency in ["EUR", "usd", "USDT", " USD"] {
        assert_eq!(field(wallets.top_up(order("5", currency, "r")).await), "currency", "{currency:?}");
    }
    assert_eq!(field(wallets.top_up(order("5", "USD", "")).await), "request_id");
    let auto = |threshold: &str, amount: &str, cap: &str| proto::UpdateAutoTopUpRequest {
        auto_top_up: Some(proto::AutoTopUp {
            organization_id: ACME.into(),
            threshold_usd: threshold.into(),
            amount_usd: amount.into(),
            monthly_cap_usd: cap.into(),
            ..Default::default()
        }),
        update_mask: mask(&["threshold_usd", "amount_usd", "monthly_cap_usd"]),
    };
    for (threshold, amount, cap, named) in [
        ("-1", "5", "", "threshold_usd"),
        ("1", "0", "", "amount_usd"),
        ("1", "5", "0", "monthly_cap_usd"),
        ("1", "5", "4.99", "monthly_cap_usd"),
    ] {
        let refused = field(wallets.update_auto_top_up(auto(threshold, amount, cap)).await);
        assert_eq!(refused, format!("auto_top_up.{named}"), "{threshold}, {amount}, {cap}");
    }
    assert_eq!(reads(&world).await, before);
}

#[tokio::test]
async fn credits_that_are_no_amount_are_not_given_out() {
    let world = World::new().await;
    let before = reads(&world).await;
    let mut allocations = world.operator.allocations();
    for amount in ["-1", "0.0000000001", "x"] {
        let settings = proto::AllocationSettings {
            organization_id: ACME.into(),
            credits_per_cycle: amount.into(),
            ..Default::default()
        };
        let update = proto::UpdateAllocationSettingsRequest {
            settings: Some(settings),
            update_mask: mask(&["credits_per_cycle"]),
            validate_only: false,
            ..Default::default()
        };
        assert_eq!(
            field(allocations.update_allocation_settings(update).await),
            "settings.credits_per_cycle",
            "{amount}"
        );
        let allocation = proto::TeamAllocation {
            organization_id: ACME.into(),
            team_id: "default".into(),
            monthly: amount.into(),
            ..Default::default()
        };
        let update =
            proto::UpdateTeamAllocationRequest { allocation: Some(allocation), update_mask: mask(&["monthly"]) };
        assert_eq!(field(allocations.update_team_allocation(update).await), "allocation.monthly", "{amount}");
        let allocation = proto::MemberAllocation {
            organization_id: ACME.into(),
            team_id: "default".into(),
            member_id: "ada".into(),
            extra: amount.into(),
            ..Default::default()
        };
        let update =
            proto::UpdateMemberAllocationRequest { allocation: Some(allocation), update_mask: mask(&["extra"]) };
        assert_eq!(field(allocations.update_member_allocation(update).await), "allocation.extra", "{amount}");
    }
    for (cadence, zone, named) in [(0, "", "cadence"), (8, "", "cadence"), (1, "Mars/Base", "time_zone")] {
        let settings = proto::AllocationSettings {
            organization_id: ACME.into(),
            cadence,
            time_zone: zone.into(),
            ..Default::default()
        };
        let update = proto::UpdateAllocationSettingsRequest {
            settings: Some(settings),
            update_mask: mask(&["cadence", "time_zone"]),
            validate_only: true,
            ..Default::default()
        };
        assert_eq!(field(allocations.update_allocation_settings(update).await), format!("settings.{named}"));
    }
    for amount in ["0", "-1", "", "0.0000000001"] {
        let ask = proto::SubmitCreditRequestRequest {
            organization_id: ACME.into(),
            member_id: "ada".into(),
            amount: amount.into(),
            ..Default::default()
        };
        assert_eq!(field(world.operator.credit_requests().submit_credit_request(ask).await), "amount", "{amount:?}");
    }
    assert_eq!(reads(&world).await, before);
}
