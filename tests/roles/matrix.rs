//! The matrix of methods and roles, as it was decided; a method without an entry fails.

use std::collections::BTreeSet;

use tonic::Code;

use crate::{
    calling::{EVERYBODY, FOREIGN, ROLES, Stage},
    rpc::{about, methods, name},
    world::ACME,
};

const OPERATOR: &[&str] = &["operator"];
const MANAGERS: &[&str] = &["operator", "owner", "admin"];
const FINANCE: &[&str] = &["operator", "owner", "admin", "finance_admin"];
/// Of any member, or for the last two their own.
const KEYS: &[&str] = &["operator", "owner", "admin", "finance_admin", "developer"];
const MEMBERS: &[&str] = &["operator", "owner", "admin", "finance_admin", "developer", "basic"];
/// Each for itself: neither the operator nor a colleague.
const PERSONAL: &[&str] = &["owner", "admin", "finance_admin", "developer", "basic"];
const INVITED: &[&str] = &["owner", "admin", "finance_admin", "developer", "basic", "invitee"];
const SERVICE: &[&str] = &["service"];
/// The verbs of the scoped token.
const SCOPED: &[&str] = &["service", "scoped"];
const CALLBACK: &[&str] = &["service", "operator"];
/// Whoever belongs somewhere: who was only invited doesn't yet.
const KNOWN: &[&str] = &["operator", "owner", "admin", "finance_admin", "developer", "basic", "service", "scoped"];

/// A method, and who may call it.
type Row = (&'static str, &'static [&'static str]);

/// Who may call each method at all, by service.
const MATRIX: &[(&str, &[Row])] = &[
    (
        "QuotaService",
        &[
            ("Reserve", SCOPED),
            ("Commit", SERVICE),
            ("Release", SERVICE),
            ("Extend", SERVICE),
            ("Charge", SERVICE),
            ("Check", SCOPED),
            ("Session", SERVICE),
            ("WatchRevocations", SERVICE),
        ],
    ),
    (
        "OrganizationService",
        &[
            ("CreateOrganization", OPERATOR),
            ("GetOrganization", FINANCE),
            ("ListOrganizations", OPERATOR),
            ("UpdateOrganization", MANAGERS),
            ("ConvertToTeamAccount", MANAGERS),
            ("ListAuditEvents", FINANCE),
            ("DeleteOrganization", OPERATOR),
        ],
    ),
    (
        "TeamService",
        &[
            ("CreateTeam", MANAGERS),
            ("GetTeam", FINANCE),
            ("ListTeams", FINANCE),
            ("UpdateTeam", MANAGERS),
            ("DeleteTeam", MANAGERS),
            ("CreateMembership", MANAGERS),
            ("GetMembership", FINANCE),
            ("ListMemberships", FINANCE),
            ("UpdateMembership", FINANCE),
            ("DeleteMembership", MANAGERS),
        ],
    ),
    (
        "MemberService",
        &[
            ("CreateMember", MANAGERS),
            ("GetMember", FINANCE),
            ("ListMembers", FINANCE),
            ("UpdateMember", MANAGERS),
            ("GetMemberBudget", MEMBERS),
            ("DeleteMember", MANAGERS),
            ("CreateInvitation", MANAGERS),
            ("GetInvitation", FINANCE),
            ("ListInvitations", FINANCE),
            ("UpdateInvitation", FINANCE),
            ("ResendInvitation", MANAGERS),
            ("RevokeInvitation", MANAGERS),
            ("AcceptInvitation", INVITED),
        ],
    ),
    (
        "KeyService",
        &[
            ("CreateKey", KEYS),
            ("GetKey", KEYS),
            ("ListKeys", KEYS),
            ("UpdateKey", KEYS),
            ("RotateKey", KEYS),
            ("DeleteKey", KEYS),
        ],
    ),
    (
        "RuleService",
        &[
            ("CreateRule", FINANCE),
            ("GetRule", FINANCE),
            ("ListRules", FINANCE),
            ("UpdateRule", FINANCE),
            ("DeleteRule", FINANCE),
            ("PreviewRule", FINANCE),
        ],
    ),
    (
        "AllocationService",
        &[
            ("GetAllocationSettings", FINANCE),
            ("UpdateAllocationSettings", FINANCE),
            ("ResetCycle", FINANCE),
            ("GetOverview", FINANCE),
            ("ListTeamAllocations", FINANCE),
            ("UpdateTeamAllocation", FINANCE),
            ("ListMemberAllocations", FINANCE),
            ("UpdateMemberAllocation", FINANCE),
        ],
    ),
    (
        "CreditRequestService",
        &[
            ("SubmitCreditRequest", MEMBERS),
            ("GetCreditRequest", MEMBERS),
            ("ListCreditRequests", MEMBERS),
            ("ApproveCreditRequest", FINANCE),
            ("DenyCreditRequest", FINANCE),
        ],
    ),
    (
        "WalletService",
        &[
            ("TopUp", MEMBERS),
            ("GetBalance", MEMBERS),
            ("GetTopUpOrder", MEMBERS),
            ("ListTopUpOrders", MEMBERS),
            ("DecideTopUpOrder", OPERATOR),
            ("ConfirmPayment", CALLBACK),
            ("CreatePaymentMethod", PERSONAL),
            ("ListPaymentMethods", PERSONAL),
            ("DeletePaymentMethod", PERSONAL),
            ("GetAutoTopUp", MANAGERS),
            ("UpdateAutoTopUp", MANAGERS),
            ("CorrectEntry", FINANCE),
        ],
    ),
    ("LedgerService", &[("ListTransactions", MEMBERS), ("SummarizeUsage", MEMBERS), ("Verify", FINANCE)]),
    (
        "PriceService",
        &[
            ("CreatePrice", OPERATOR),
            ("GetPrice", KNOWN),
            ("ListPrices", KNOWN),
            ("UpdatePrice", OPERATOR),
            ("DeletePrice", OPERATOR),
        ],
    ),
    (
        "AlertService",
        &[
            ("GetAlertSettings", FINANCE),
            ("UpdateAlertSettings", FINANCE),
            ("GetAlert", FINANCE),
            ("ListAlerts", FINANCE),
            ("AcknowledgeAlert", FINANCE),
            ("SendTestAlert", FINANCE),
        ],
    ),
    (
        "TokenService",
        &[
            ("CreateServiceToken", OPERATOR),
            ("ListServiceTokens", OPERATOR),
            ("DeleteServiceToken", OPERATOR),
            ("CreateMemberToken", MEMBERS),
            ("ListMemberTokens", MEMBERS),
            ("DeleteMemberToken", MEMBERS),
            ("WhoAmI", KNOWN),
        ],
    ),
];

fn entries() -> impl Iterator<Item = (String, &'static [&'static str])> {
    MATRIX
        .iter()
        .flat_map(|(service, methods)| methods.iter().map(move |(method, who)| (format!("{service}/{method}"), *who)))
}

#[test]
fn every_method_has_an_entry_and_every_entry_a_method() {
    let entries: Vec<_> = entries().map(|(name, _)| name).collect();
    let described: BTreeSet<_> = methods().iter().map(name).collect();
    assert_eq!(entries.len(), described.len(), "an entry stands twice, or is missing");
    assert_eq!(entries.into_iter().collect::<BTreeSet<_>>(), described);
}

/// Anything else than being turned away: what an empty message is answered doesn't matter here.
fn lets_in(code: Code) -> bool {
    !matches!(code, Code::PermissionDenied | Code::Unauthenticated | Code::Unimplemented)
}

/// What a refusal must be.
fn refusal(who: &str) -> Code {
    if matches!(who, "nobody" | "stranger") { Code::Unauthenticated } else { Code::PermissionDenied }
}

#[tokio::test]
async fn each_method_lets_in_those_of_its_own_organization_who_may_call_it_and_nobody_else() {
    let mut wrong = Vec::new();
    for (service, rows) in MATRIX {
        let stage = Stage::new().await;
        // By caller first: the operator's, who may delete the organization, come last.
        for who in EVERYBODY {
            for (method, allowed) in *rows {
                let method = crate::rpc::method(&format!("{service}/{method}"));
                let message =
                    about(&method, ACME).unwrap_or_else(|| prost_reflect::DynamicMessage::new(method.input()));
                let code = stage.call(who, &method, &message).await;
                let fits = if allowed.contains(&who) { lets_in(code) } else { code == refusal(who) };
                if !fits {
                    wrong.push(format!("{} by {who}: {code:?}", name(&method)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn another_organization_is_not_found_by_any_member_whatever_its_role() {
    let stage = Stage::new().await;
    let mut wrong = Vec::new();
    let (mut asked, mut of_members) = (0, 0);
    for (named, allowed) in entries() {
        let method = crate::rpc::method(&named);
        for organization in [FOREIGN, "unheard-of", ""] {
            let Some(message) = about(&method, organization) else { continue };
            for who in EVERYBODY {
                asked += 1;
                let is_member = ROLES.iter().any(|(name, _)| *name == who);
                // The operator's own are refused by the method alone, before anybody asks which organization is meant.
                let by_role = allowed.iter().any(|allowed| PERSONAL.contains(allowed));
                let code = match who {
                    "operator" => continue,
                    _ if is_member && by_role => Code::NotFound,
                    _ => refusal(who),
                };
                of_members += usize::from(code == Code::NotFound);
                let answer = stage.call(who, &method, &message).await;
                if answer != code {
                    wrong.push(format!("{named} of {organization:?} by {who}: {answer:?}, not {code:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(asked > 1000 && of_members > 500, "{asked} calls, {of_members} of them by members who might");
}
