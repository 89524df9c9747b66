//! All that the control plane tells of an organization, to be compared before and after what must change nothing.

use quotad::api::proto;

use crate::world::{ACME, World};

macro_rules! told {
    ($world:ident: $($service:ident.$method:ident($request:ident { $($field:ident: $value:expr),* }))*) => {{
        let mut told = Vec::new();
        $({
            #[allow(clippy::needless_update, reason = "some requests have nothing else")]
            let request = proto::$request {
                organization_id: ACME.into(),
                $($field: $value,)*
                ..Default::default()
            };
            let answer = $world.operator.$service().$method(request).await;
            told.push(format!("{}: {:?}", stringify!($method), answer.unwrap().into_inner()));
        })*
        told
    }};
}

/// One text for each read; the audit log is the last.
pub(crate) async fn reads(world: &World) -> Vec<String> {
    told!(world:
        organizations.get_organization(GetOrganizationRequest {})
        teams.list_teams(ListTeamsRequest {})
        teams.list_memberships(ListMembershipsRequest {})
        members.list_members(ListMembersRequest {})
        members.list_invitations(ListInvitationsRequest {})
        keys.list_keys(ListKeysRequest {})
        rules.list_rules(ListRulesRequest {})
        allocations.get_allocation_settings(GetAllocationSettingsRequest {})
        allocations.get_overview(GetOverviewRequest {})
        allocations.list_team_allocations(ListTeamAllocationsRequest {})
        allocations.list_member_allocations(ListMemberAllocationsRequest { team_id: "default".into() })
        credit_requests.list_credit_requests(ListCreditRequestsRequest {})
        wallets.get_balance(GetBalanceRequest {})
        wallets.list_top_up_orders(ListTopUpOrdersRequest {})
        wallets.get_auto_top_up(GetAutoTopUpRequest {})
        alerts.get_alert_settings(GetAlertSettingsRequest {})
        ledger.list_transactions(ListTransactionsRequest {})
        organizations.list_audit_events(ListAuditEventsRequest {})
    )
}
