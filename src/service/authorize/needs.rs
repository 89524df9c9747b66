//! The matrix: what each method needs. A method that isn't here is nobody's.

use super::{Method, Scope};
use crate::domain::access::Role;

/// What a method needs of a caller, before its message is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Anybody who belongs somewhere: the operator, a service token, a member that is one still. An invitation's token doesn't.
    Known,
    /// The data plane: a service token.
    Service,
    /// A service token or the operator: what is signed besides.
    Confirm,
    /// The operator alone.
    Operator,
    /// A member with a role that allows it, or the operator.
    Roles(Demand),
    /// Each member for itself, no operator.
    Personal,
    /// Who was invited.
    Invited,
}

/// What is demanded of a role; some methods demand more for some fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Roles, invitations, teams, settings of the organization; automatic top-up.
    Manage,
    /// Budgets, quotas, rules, allocations: view and manage.
    Finance,
    /// Keys: any member's, or its own.
    Keys,
    /// Its own budgets and requests for credits, or with finance everybody's.
    OwnOrFinance,
    /// Something of its own, or with management anybody's.
    OwnOrManage,
    /// Everybody, for itself.
    Own,
    /// Everybody.
    Member,
    /// No member: a field that is the operator's.
    Nobody,
}

/// The roles that may do so to anything, and those that may to what is their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whose {
    pub any: &'static [Role],
    pub own: &'static [Role],
}

const MANAGERS: &[Role] = &[Role::Owner, Role::Admin];
const FINANCE: &[Role] = &[Role::Owner, Role::Admin, Role::FinanceAdmin];

impl Demand {
    fn whose(self) -> Whose {
        match self {
            Self::Manage => Whose { any: MANAGERS, own: &[] },
            Self::Finance => Whose { any: FINANCE, own: &[] },
            Self::Keys => Whose { any: MANAGERS, own: &[Role::FinanceAdmin, Role::Developer] },
            Self::OwnOrFinance => Whose { any: FINANCE, own: &Role::ALL },
            Self::OwnOrManage => Whose { any: MANAGERS, own: &Role::ALL },
            Self::Own => Whose { any: &[], own: &Role::ALL },
            Self::Member => Whose { any: &Role::ALL, own: &[] },
            Self::Nobody => Whose { any: &[], own: &[] },
        }
    }
}

macro_rules! matrix {
    ($($service:literal { $($method:literal: $needs:expr,)* })*) => {
        fn of(service: &str, method: &str) -> Option<(Method, Needs)> {
            match (service, method) {
                $($(($service, $method) => Some((Method { service: $service, name: $method }, $needs)),)*)*
                _ => None,
            }
        }

        /// Every method that has an entry.
        #[cfg(test)]
        pub(super) const ENTRIES: &[(&str, &str)] = &[$($(($service, $method),)*)*];
    };
}

use Demand::{Finance, Keys, Manage, Member, Own, OwnOrFinance, OwnOrManage};
use Needs::{Confirm, Invited, Known, Operator, Personal, Roles, Service};

matrix! {
    "QuotaService" {
        "Reserve": Service,
        "Commit": Service,
        "Release": Service,
        "Extend": Service,
        "Charge": Service,
        "Check": Service,
        "Session": Service,
        "WatchRevocations": Service,
    }
    "OrganizationService" {
        "CreateOrganization": Operator,
        "GetOrganization": Roles(Finance),
        "ListOrganizations": Operator,
        "UpdateOrganization": Roles(Manage),
        "ConvertToTeamAccount": Roles(Manage),
        "ListAuditEvents": Roles(Finance),
        "DeleteOrganization": Operator,
    }
    "TeamService" {
        "CreateTeam": Roles(Manage),
        "GetTeam": Roles(Finance),
        "ListTeams": Roles(Finance),
        "UpdateTeam": Roles(Manage),
        "DeleteTeam": Roles(Manage),
        "CreateMembership": Roles(Manage),
        "GetMembership": Roles(Finance),
        "ListMemberships": Roles(Finance),
        "UpdateMembership": Roles(Finance),
        "DeleteMembership": Roles(Manage),
    }
    "MemberService" {
        "CreateMember": Roles(Manage),
        "GetMember": Roles(Finance),
        "ListMembers": Roles(Finance),
        "UpdateMember": Roles(Manage),
        "DeleteMember": Roles(Manage),
        "GetMemberBudget": Roles(OwnOrFinance),
        "CreateInvitation": Roles(Manage),
        "GetInvitation": Roles(Finance),
        "ListInvitations": Roles(Finance),
        "UpdateInvitation": Roles(Finance),
        "ResendInvitation": Roles(Manage),
        "RevokeInvitation": Roles(Manage),
        "AcceptInvitation": Invited,
    }
    "KeyService" {
        "CreateKey": Roles(Keys),
        "GetKey": Roles(Keys),
        "ListKeys": Roles(Keys),
        "UpdateKey": Roles(Keys),
        "RotateKey": Roles(Keys),
        "DeleteKey": Roles(Keys),
    }
    "RuleService" {
        "CreateRule": Roles(Finance),
        "GetRule": Roles(Finance),
        "ListRules": Roles(Finance),
        "UpdateRule": Roles(Finance),
        "DeleteRule": Roles(Finance),
        "PreviewRule": Roles(Finance),
    }
    "AllocationService" {
        "GetAllocationSettings": Roles(Finance),
        "UpdateAllocationSettings": Roles(Finance),
        "ResetCycle": Roles(Finance),
        "GetOverview": Roles(Finance),
        "ListTeamAllocations": Roles(Finance),
        "UpdateTeamAllocation": Roles(Finance),
        "ListMemberAllocations": Roles(Finance),
        "UpdateMemberAllocation": Roles(Finance),
    }
    "CreditRequestService" {
        "SubmitCreditRequest": Roles(Own),
        "GetCreditRequest": Roles(OwnOrFinance),
        "ListCreditRequests": Roles(OwnOrFinance),
        "ApproveCreditRequest": Roles(Finance),
        "DenyCreditRequest": Roles(Finance),
    }
    "WalletService" {
        "TopUp": Roles(Member),
        "GetBalance": Roles(Member),
        "GetTopUpOrder": Roles(Member),
        "ListTopUpOrders": Roles(Member),
        "DecideTopUpOrder": Operator,
        "ConfirmPayment": Confirm,
        "CreatePaymentMethod": Personal,
        "ListPaymentMethods": Personal,
        "DeletePaymentMethod": Personal,
        "GetAutoTopUp": Roles(Manage),
        "UpdateAutoTopUp": Roles(Manage),
        "CorrectEntry": Roles(Finance),
    }
    "LedgerService" {
        "ListTransactions": Roles(Member),
        "SummarizeUsage": Roles(Member),
        "Verify": Roles(Finance),
    }
    "PriceService" {
        "CreatePrice": Operator,
        "GetPrice": Known,
        "ListPrices": Known,
        "UpdatePrice": Operator,
        "DeletePrice": Operator,
    }
    "AlertService" {
        "GetAlertSettings": Roles(Finance),
        "UpdateAlertSettings": Roles(Finance),
        "GetAlert": Roles(Finance),
        "ListAlerts": Roles(Finance),
        "AcknowledgeAlert": Roles(Finance),
        "SendTestAlert": Roles(Finance),
    }
    "TokenService" {
        "CreateServiceToken": Operator,
        "ListServiceTokens": Operator,
        "DeleteServiceToken": Operator,
        "CreateMemberToken": Roles(Own),
        "ListMemberTokens": Roles(OwnOrManage),
        "DeleteMemberToken": Roles(OwnOrManage),
        "WhoAmI": Known,
    }
}

/// By the path of the gRPC call, `/package.Service/Method`.
pub(super) fn needs(path: &str) -> Option<(Method, Needs)> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    if let Some(service) = service.strip_prefix("quotad.v1.") {
        return of(service, method);
    }
    let reflection = service.starts_with("grpc.reflection.") && method == "ServerReflectionInfo";
    let method = Method { service: "ServerReflection", name: "ServerReflectionInfo" };
    reflection.then_some((method, Known))
}

/// All that a call demands of a member's role: by its method, or where it changes fields, by each of them.
pub(super) fn demands(method: Method, scope: &Scope<'_>) -> impl Iterator<Item = Whose> {
    let base = match of(method.service, method.name) {
        Some((_, Roles(demand))) => demand,
        Some((_, Personal)) => Own,
        Some((_, Known | Invited)) => Member,
        // Refused before its message was read.
        Some((_, Service | Confirm | Operator)) | None => Demand::Nobody,
    };
    let by_field = scope.fields.iter().map(move |field| field_demand(method.service, field).unwrap_or(base));
    let limits = scope.sets_limits.then_some(Finance);
    // Without fields, or with a creation, the method's own.
    let own = scope.fields.is_empty().then_some(base);
    own.into_iter().chain(by_field).chain(limits).map(Demand::whose)
}

/// Whether a member that was deactivated may call a method still: who can't use a payment method any more may take it back.
pub(super) fn is_open_to_deactivated(method: Method) -> bool {
    matches!((method.service, method.name), ("WalletService", "ListPaymentMethods" | "DeletePaymentMethod"))
}

/// Where a field isn't its method's: limits are finance's business; whether the wallet binds, how much costs nothing, ceilings and
/// suspension are the operator's.
fn field_demand(service: &str, field: &str) -> Option<Demand> {
    match (service, field) {
        ("OrganizationService", "wallet_mode" | "bounds" | "suspended" | "ceiling") => Some(Demand::Nobody),
        ("OrganizationService", "policy" | "credit_factor" | "default_rule_id")
        | ("TeamService", "policy" | "member_policy")
        | ("MemberService", "policy")
        | ("KeyService", "policy" | "rule_id") => Some(Finance),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_that_nobody_thought_of_is_refused() {
        for path in
            ["/quotad.v1.NewService/Do", "/other.v1.QuotaService/Reserve", "Reserve", "", "/grpc.reflection.v1.X/Y"]
        {
            assert_eq!(needs(path), None, "{path}");
        }
        assert_eq!(needs("/quotad.v1.QuotaService/Reserve").unwrap().1, Service);
        assert_eq!(needs("/quotad.v1.WalletService/TopUp").unwrap().1, Roles(Member));
    }

    #[test]
    fn each_method_stands_in_the_matrix_once() {
        for (i, entry) in ENTRIES.iter().enumerate() {
            assert!(!ENTRIES[..i].contains(entry), "{entry:?}");
        }
    }

    #[test]
    fn each_method_of_the_control_plane_is_known_to_read_or_to_change() {
        let changes = [
            "Accept",
            "Acknowledge",
            "Approve",
            "Confirm",
            "Convert",
            "Correct",
            "Create",
            "Decide",
            "Delete",
            "Deny",
            "Resend",
            "Reset",
            "Revoke",
            "Rotate",
            "Send",
            "Submit",
            "TopUp",
            "Update",
        ];
        for (service, name) in ENTRIES.iter().filter(|(service, _)| *service != "QuotaService") {
            let (method, _) = of(service, name).unwrap();
            let is_change = changes.iter().any(|verb| name.starts_with(verb));
            assert_ne!(method.only_reads(), is_change, "{service}.{name}");
        }
    }
}
