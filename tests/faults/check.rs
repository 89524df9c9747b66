//! Compares what was acknowledged with what the server and its books say. Nothing may be missing, doubled or unexplained.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use quotad::{
    api::proto::{
        Budget, GetBalanceRequest, GetKeyRequest, GetMemberRequest, GetOrganizationRequest, GetRuleRequest,
        GetTeamRequest, LimitState, ListMemberAllocationsRequest, ListTransactionsRequest, Policy, Transaction,
        TransactionKind, VerifyRequest, VerifyResponse, charge_response,
    },
    client::Connection,
    domain::money::Nanos,
};
use tonic::Status;

use crate::{
    acknowledged::{Acknowledged, EntryNo, Repeat, Setting},
    control::BUDGETS_FROM,
    seed::{BUDGET, IN_FLIGHT, MEMBERS, ORGANIZATIONS, TIGHT, TIGHT_BUDGET, key, member},
};

/// What was compared, for the notes of a long run.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    operations: u64,
    failures: BTreeMap<(&'static str, String), u64>,
    late: u64,
    entries: usize,
    in_doubt: usize,
    /// Of those in doubt.
    booked: usize,
    settings: usize,
    repeats: usize,
    windows: u64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { operations, failures, late, entries, in_doubt, booked, settings, repeats, windows } = self;
        let failed: u64 = failures.values().sum();
        write!(
            f,
            "{operations} operations acknowledged, {failed} calls failed, {late} put off, {entries} entries and {windows} budget windows \
             compared, {in_doubt} in doubt ({booked} of them booked), {settings} settings, {repeats} repeats; differences: 0"
        )
    }
}

/// Corrections are negative.
pub(crate) fn nanos(text: &str) -> Nanos {
    match text.strip_prefix('-') {
        Some(text) => Nanos::ZERO - nanos(text),
        None => Nanos::parse("amount", text).unwrap(),
    }
}

/// The books must add up by their own account.
pub(crate) async fn verify(operator: &Connection) -> VerifyResponse {
    let verified = operator.ledger().verify(VerifyRequest::default()).await.unwrap().into_inner();
    assert_eq!(verified.differences, [], "the books add up");
    verified
}

/// The whole ledger of an organization, the oldest first.
pub(crate) async fn ledger(operator: &Connection, organization: &str) -> Result<Vec<Transaction>, Status> {
    let mut request = ListTransactionsRequest {
        organization_id: organization.into(),
        page_size: 1000,
        ..ListTransactionsRequest::default()
    };
    let mut transactions = Vec::new();
    loop {
        let page = operator.ledger().list_transactions(request.clone()).await?.into_inner();
        transactions.extend(page.transactions);
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            transactions.reverse();
            return Ok(transactions);
        }
    }
}

/// All of it. The callers must have finished.
pub(crate) async fn check(operator: &Connection, gateway: &Connection, known: Acknowledged) -> Figures {
    let mut figures = Figures {
        operations: known.operations,
        entries: known.entries.len(),
        in_doubt: known.in_doubt.len(),
        settings: known.settings.len(),
        repeats: known.repeats.len(),
        windows: verify(operator).await.windows,
        ..Figures::default()
    };
    // Before anything is read from the books: what is asked again must not change them.
    for (entry, repeat) in &known.repeats {
        ask_again(gateway, entry, repeat.clone()).await;
    }
    let mut missing = known.entries.clone();
    let mut in_doubt = known.in_doubt.clone();
    for organization in ORGANIZATIONS {
        let transactions = ledger(operator, organization).await.unwrap();
        check_sequence(organization, &transactions);
        for transaction in &transactions {
            let (place, id) = ((organization.to_owned(), transaction.entry), id_of(transaction));
            assert!(!known.unbooked.contains(id), "nothing was to be booked for {id}: {transaction:?}");
            match missing.remove(&place) {
                Some(booked) => {
                    let found = (transaction.kind(), id, amount_of(transaction));
                    assert_eq!(found, (booked.kind, booked.id.as_str(), booked.amount), "{transaction:?}");
                }
                // Removed, so that a second entry for it is unexplained.
                None => assert!(in_doubt.remove(id), "unexplained: {transaction:?}"),
            }
        }
        check_sums(operator, organization, &transactions).await;
    }
    assert!(missing.is_empty(), "acknowledged and not in the books: {missing:?}");
    for (setting, value) in &known.settings {
        check_setting(operator, setting, *value).await;
    }
    figures.booked = figures.in_doubt - in_doubt.len();
    // A machine stands still now and then; a server that does so by itself puts off many.
    assert!(known.late * 10 <= known.operations, "{} of {} operations were put off", known.late, known.operations);
    (figures.failures, figures.late) = (known.failures, known.late);
    figures
}

fn id_of(transaction: &Transaction) -> &str {
    match transaction.kind() {
        TransactionKind::Commit => &transaction.reservation_id,
        _ => &transaction.request_id,
    }
}

fn amount_of(transaction: &Transaction) -> Nanos {
    match transaction.kind() {
        TransactionKind::TopUp | TransactionKind::Refund => nanos(&transaction.wallet_usd),
        _ => nanos(&transaction.cost_usd),
    }
}

/// No gap, each balance the sum of what came before, time in the order of the entries.
fn check_sequence(organization: &str, transactions: &[Transaction]) {
    let mut balance = Nanos::ZERO;
    let mut last = None;
    for (number, transaction) in (1..).zip(transactions) {
        assert_eq!(transaction.entry, number, "{organization} has a gap");
        balance += nanos(&transaction.wallet_usd);
        assert_eq!(nanos(&transaction.balance_usd), balance, "{transaction:?}");
        let time = transaction.time.map(|time| (time.seconds, time.nanos));
        assert!(last <= time, "{organization}: entry {number} is of a time before the one before it: {transaction:?}");
        last = time;
    }
}

/// What each scope's budget counts is the sum of its entries, and nothing is held any more.
async fn check_sums(operator: &Connection, organization: &str, transactions: &[Transaction]) {
    let organization_id = organization.to_owned();
    let balance = GetBalanceRequest { organization_id: organization_id.clone() };
    let balance = operator.wallets().get_balance(balance).await.unwrap().into_inner();
    let sum: Nanos = transactions.iter().map(|transaction| nanos(&transaction.wallet_usd)).sum();
    assert_eq!(nanos(&balance.balance_usd), sum, "balance of {organization}");
    assert_eq!(nanos(&balance.held_usd), Nanos::ZERO, "held of {organization}");

    let (mut keys, mut members, mut all) = (HashMap::new(), HashMap::new(), Nanos::ZERO);
    for transaction in transactions.iter().filter(|transaction| !transaction.key_id.is_empty()) {
        // Corrections too: what is given back is spent no more.
        let cost = nanos(&transaction.cost_usd);
        *keys.entry(transaction.key_id.clone()).or_insert(Nanos::ZERO) += cost;
        *members.entry(transaction.member_id.clone()).or_insert(Nanos::ZERO) += cost;
        all += cost;
    }
    for name in (0..MEMBERS).map(|number| number.to_string()).chain([TIGHT.to_owned()]) {
        let request = GetKeyRequest { organization_id: organization_id.clone(), key_id: key(organization, &name) };
        let key = operator.keys().get_key(request).await.unwrap().into_inner().key.unwrap();
        let spent = spent(&key.limits, &key.id, keys.get(&key.id));
        assert!(name != TIGHT || spent <= nanos(TIGHT_BUDGET), "{} overspent: {spent}", key.id);
    }
    for number in 0..MEMBERS {
        let request = GetMemberRequest { organization_id: organization_id.clone(), member_id: member(number) };
        let member = operator.members().get_member(request).await.unwrap().into_inner().member.unwrap();
        spent(&member.limits, &member.id, members.get(&member.id));
    }
    let request = GetTeamRequest { organization_id: organization_id.clone(), team_id: "research".into() };
    let team = operator.teams().get_team(request).await.unwrap().into_inner().team.unwrap();
    spent(&team.limits, "research", Some(&all));
    let request = GetOrganizationRequest { organization_id };
    let found = operator.organizations().get_organization(request).await.unwrap().into_inner();
    spent(&found.organization.unwrap().limits, organization, Some(&all));
}

fn spent(limits: &[LimitState], of: &str, sum: Option<&Nanos>) -> Nanos {
    let limit = |id: &str| limits.iter().find(|limit| limit.limit_id == id).unwrap_or_else(|| panic!("{id} of {of}"));
    let budget = limit(BUDGET);
    let spent = nanos(&budget.spent);
    assert_eq!(Some(&spent), sum.or(Some(&Nanos::ZERO)), "spent of {of} and the sum of its entries");
    assert_eq!(nanos(&budget.held), Nanos::ZERO, "held of {of}");
    let slots = limit(IN_FLIGHT);
    assert!(matches!(slots.held.as_str(), "0" | ""), "{of} has slots that nobody holds: {slots:?}");
    spent
}

/// The same request again: the same entry, marked as a repeat.
async fn ask_again(gateway: &Connection, (organization, entry): &EntryNo, repeat: Repeat) {
    let shown = format!("{repeat:?}");
    let answer = match repeat {
        Repeat::Commit(commit) => gateway.quota().commit(commit).await.unwrap().into_inner(),
        Repeat::Charge(charge) => match gateway.quota().charge(charge).await.unwrap().into_inner().decision.unwrap() {
            charge_response::Decision::Charged(charged) => charged,
            charge_response::Decision::Denied(denial) => panic!("{shown}: {denial:?}"),
        },
    };
    assert!(answer.replayed && answer.entry == *entry, "{organization}, {entry}, {shown}: {answer:?}");
}

async fn check_setting(operator: &Connection, setting: &Setting, value: u64) {
    let found = match setting.clone() {
        Setting::KeyBudget { organization, key } => {
            let request = GetKeyRequest { organization_id: organization, key_id: key };
            let key = operator.keys().get_key(request).await.unwrap().into_inner().key.unwrap();
            let Policy { budgets, .. } = key.policy.unwrap();
            let budget: Option<Budget> = budgets.into_iter().find(|budget| budget.id == BUDGET);
            budget.unwrap().max.parse::<u64>().unwrap() - BUDGETS_FROM
        }
        Setting::RuleName { organization, rule } => {
            let request = GetRuleRequest { organization_id: organization, rule_id: rule };
            operator.rules().get_rule(request).await.unwrap().into_inner().rule.unwrap().name.parse().unwrap()
        }
        Setting::Extra { organization, member } => {
            let request = ListMemberAllocationsRequest {
                organization_id: organization,
                team_id: "research".into(),
                ..ListMemberAllocationsRequest::default()
            };
            let members = operator.allocations().list_member_allocations(request).await.unwrap().into_inner().members;
            members.iter().find(|found| found.member_id == member).unwrap().extra.parse().unwrap()
        }
        Setting::KeyMade { organization, key } => {
            let request = GetKeyRequest { organization_id: organization, key_id: key };
            operator.keys().get_key(request).await.unwrap().into_inner().key.unwrap().name.parse().unwrap()
        }
    };
    assert_eq!(found, value, "{setting:?}");
}
