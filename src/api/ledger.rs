//! The books, out.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
    str::FromStr,
    sync::Arc,
};

use rust_decimal::Decimal;

use super::{
    convert::{
        optional,
        page::{query_name, size_in, token_in, token_out},
        time::{range_in, timestamp_out},
        usage::{amounts_out, nanos_out},
    },
    price::applied_out,
    proto::{self, ledger_service_server::LedgerService},
    serve::{scoped, serve},
};
use crate::{
    domain::{
        error::Invalid,
        event::{Booked, EntryKind, Labels, Settled, TopUp},
        id::{KeyId, MemberId, Model, OrganizationId, RequestId, TeamId},
        money::Nanos,
        payment::Correction,
        zone::Zone,
    },
    service::{
        Caller, Difference, Entry, EntryDetail, EntryQuery, Error, Grouping, PageStart, Service, TimeBasis, Totals,
        Transactions, UsageSummary, Verification,
    },
};

pub(super) struct LedgerApi(pub(super) Arc<Service>);

serve! {
    LedgerService, LedgerApi {
        list_transactions(ListTransactionsRequest) -> ListTransactionsResponse = list.await;
        summarize_usage(SummarizeUsageRequest) -> SummarizeUsageResponse = summarize.await;
        verify(VerifyRequest) -> VerifyResponse = compare.await;
    }
}

scoped! {
    ListTransactionsRequest: organization_id;
    SummarizeUsageRequest: organization_id;
    VerifyRequest: organization_id;
}

impl LedgerApi {
    async fn list(
        &self,
        _: &Caller,
        message: proto::ListTransactionsRequest,
    ) -> Result<proto::ListTransactionsResponse, Error> {
        let size = u32::try_from(size_in(message.page_size)?).unwrap_or(u32::MAX);
        let filters = proto::ListTransactionsRequest { page_size: 0, page_token: String::new(), ..message.clone() };
        let list = query_name("transactions", &filters);
        let start = token_in::<PageToken>(&list, &message.page_token)?.map(|token| token.0);
        let query = query_in(message)?;
        let organization = query.organization.clone();
        let Transactions { entries, next, as_of_entry, totals } = self.0.transactions(query, start, size).await?;
        Ok(proto::ListTransactionsResponse {
            transactions: entries.iter().map(|entry| self.entry_out(&organization, entry)).collect(),
            next_page_token: token_out(&list, next.map(PageToken)),
            as_of_entry,
            totals: Some(totals_out(&totals)),
        })
    }

    async fn summarize(
        &self,
        _: &Caller,
        message: proto::SummarizeUsageRequest,
    ) -> Result<proto::SummarizeUsageResponse, Error> {
        let proto::SummarizeUsageRequest {
            organization_id,
            grouping,
            key_id,
            member_id,
            team_id,
            model,
            start_time,
            end_time,
            page_size,
            time_zone,
        } = message;
        let size = u32::try_from(size_in(page_size)?).unwrap_or(u32::MAX);
        let query = query_in(proto::ListTransactionsRequest {
            organization_id,
            key_id,
            member_id,
            team_id,
            model,
            start_time,
            end_time,
            ..proto::ListTransactionsRequest::default()
        })?;
        let by = self.grouping_in(grouping, &query.organization, &time_zone)?;
        let UsageSummary { groups, others, totals, as_of_entry } = self.0.summarize_usage(query, by, size).await?;
        let group = |(id, totals)| proto::UsageGroup { id, totals: Some(totals_out(&totals)) };
        Ok(proto::SummarizeUsageResponse {
            groups: groups.into_iter().map(group).collect(),
            others: Some(totals_out(&others)),
            totals: Some(totals_out(&totals)),
            as_of_entry,
            time_zone: if let Grouping::Day(zone) = by { zone.to_string() } else { String::new() },
        })
    }

    /// Days are those of the organization's zone, unless another one is asked for.
    fn grouping_in(&self, grouping: i32, organization: &OrganizationId, zone: &str) -> Result<Grouping, Error> {
        use proto::UsageGrouping as By;
        let zone = optional("time_zone", zone, Zone::parse)?;
        let by = match By::try_from(grouping) {
            Ok(By::Day) => return Ok(Grouping::Day(zone.map_or_else(|| self.0.zone_of(organization), Ok)?)),
            Ok(By::Member) => Grouping::Member,
            Ok(By::Key) => Grouping::Key,
            Ok(By::Team) => Grouping::Team,
            Ok(By::Model) => Grouping::Model,
            Ok(By::Unspecified) | Err(_) => {
                let problem = format!("{grouping} is none of USAGE_GROUPING_MEMBER, _KEY, _TEAM, _MODEL, _DAY");
                return Err(Invalid::new("grouping", problem).into());
            }
        };
        if zone.is_some() {
            let problem = "is of days, and so goes with USAGE_GROUPING_DAY only: start_time and end_time are instants";
            return Err(Invalid::new("time_zone", problem).into());
        }
        Ok(by)
    }

    async fn compare(&self, caller: &Caller, message: proto::VerifyRequest) -> Result<proto::VerifyResponse, Error> {
        let proto::VerifyRequest { organization_id } = message;
        let organization = optional("organization_id", &organization_id, OrganizationId::parse)?;
        let Verification { organizations, entries, windows, replayed, differences } =
            self.0.verify_for(caller, organization.as_ref()).await?;
        let differences = differences.into_iter().map(|difference| {
            let Difference { organization, what, expected, found } = difference;
            let organization_id = organization.map_or_else(String::new, |organization| organization.to_string());
            proto::Difference { organization_id, what, expected, found }
        });
        Ok(proto::VerifyResponse { organizations, entries, windows, replayed, differences: differences.collect() })
    }

    fn entry_out(&self, organization: &OrganizationId, entry: &Entry) -> proto::Transaction {
        let Entry { time, actor, detail } = entry;
        let common = proto::Transaction {
            organization_id: organization.to_string(),
            time: Some(timestamp_out(*time)),
            actor: actor.clone(),
            ..proto::Transaction::default()
        };
        match detail {
            EntryDetail::Settled(settled) => {
                let reservation_id = self.0.reservation_id(organization, settled).unwrap_or_default();
                settled_out(settled, proto::Transaction { reservation_id, ..common })
            }
            EntryDetail::ToppedUp(top_up) => top_up_out(top_up, common),
            EntryDetail::Corrected(correction) => correction_out(correction, common),
        }
    }
}

/// Carries the sums from page to page, which are over all entries and the same on each. A caller that changes it fools itself only.
struct PageToken(PageStart);

impl fmt::Display for PageToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageStart { before, as_of_entry, totals } = self.0;
        let Totals { entries, cost, credits, input_tokens, output_tokens, requests } = totals;
        write!(f, "{before},{as_of_entry},{entries},{cost},{credits},{input_tokens},{output_tokens},{requests}")
    }
}

impl FromStr for PageToken {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split(',');
        let mut next = || parts.next().ok_or(());
        let count = |part: &str| part.parse::<u64>().map_err(drop);
        let int = |part: &str| part.parse::<i64>().map_err(drop);
        let (before, as_of_entry, entries) = (count(next()?)?, count(next()?)?, count(next()?)?);
        let sum = |part: &str| part.parse::<Decimal>().map_err(drop);
        let (cost, credits) = (sum(next()?)?, sum(next()?)?);
        let (input_tokens, output_tokens, requests) = (int(next()?)?, int(next()?)?, int(next()?)?);
        let totals = Totals { entries, cost, credits, input_tokens, output_tokens, requests };
        if parts.next().is_some() {
            return Err(());
        }
        Ok(Self(PageStart { before, as_of_entry, totals }))
    }
}

fn query_in(message: proto::ListTransactionsRequest) -> Result<EntryQuery, Invalid> {
    let proto::ListTransactionsRequest {
        organization_id,
        key_id,
        member_id,
        team_id,
        model,
        kinds,
        start_time,
        end_time,
        page_size: _,
        page_token: _,
        time_basis,
    } = message;
    let (start, end) = range_in(start_time, end_time)?;
    Ok(EntryQuery {
        organization: OrganizationId::parse("organization_id", &organization_id)?,
        key: optional("key_id", &key_id, KeyId::parse)?,
        member: optional("member_id", &member_id, MemberId::parse)?,
        team: optional("team_id", &team_id, TeamId::parse)?,
        model: optional("model", &model, Model::parse)?,
        kinds: kinds.into_iter().enumerate().map(kind_in).collect::<Result<BTreeSet<_>, _>>()?.into_iter().collect(),
        basis: basis_in(time_basis)?,
        start,
        end,
        after: 0,
        as_of: u64::MAX,
        late_only: false,
    })
}

fn basis_in(basis: i32) -> Result<TimeBasis, Invalid> {
    use proto::TimeBasis as Basis;
    match Basis::try_from(basis) {
        Ok(Basis::Unspecified | Basis::Booked) => Ok(TimeBasis::Booked),
        Ok(Basis::Used) => Ok(TimeBasis::Used),
        Err(_) => Err(Invalid::new("time_basis", format!("{basis} is none of TIME_BASIS_BOOKED, TIME_BASIS_USED"))),
    }
}

fn kind_in((i, kind): (usize, i32)) -> Result<EntryKind, Invalid> {
    use proto::TransactionKind as Kind;
    match Kind::try_from(kind) {
        Ok(Kind::TopUp) => Ok(EntryKind::TopUp),
        Ok(Kind::Commit) => Ok(EntryKind::Commit),
        Ok(Kind::Charge) => Ok(EntryKind::Charge),
        Ok(Kind::Expiry) => Ok(EntryKind::Expiry),
        Ok(Kind::LateCommit) => Ok(EntryKind::LateCommit),
        Ok(Kind::Refund) => Ok(EntryKind::Refund),
        Ok(Kind::Adjustment) => Ok(EntryKind::Adjustment),
        Ok(Kind::Reversal) => Ok(EntryKind::Reversal),
        Ok(Kind::Release) => Ok(EntryKind::Release),
        Ok(Kind::Unspecified) | Err(_) => Err(Invalid::new(
            format!("kinds[{i}]"),
            format!("{kind} is no kind of transaction; leave kinds empty for all"),
        )),
    }
}

fn kind_out(kind: EntryKind) -> proto::TransactionKind {
    use proto::TransactionKind as Kind;
    match kind {
        EntryKind::TopUp => Kind::TopUp,
        EntryKind::Commit => Kind::Commit,
        EntryKind::Charge => Kind::Charge,
        EntryKind::Expiry => Kind::Expiry,
        EntryKind::LateCommit => Kind::LateCommit,
        EntryKind::Refund => Kind::Refund,
        EntryKind::Adjustment => Kind::Adjustment,
        EntryKind::Reversal => Kind::Reversal,
        EntryKind::Release => Kind::Release,
    }
}

fn labels_out(labels: &Labels) -> HashMap<String, String> {
    labels.as_deref().unwrap_or_default().iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

fn settled_out(settled: &Settled, common: proto::Transaction) -> proto::Transaction {
    let Booked { cost, credits, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, requests } =
        settled.booked;
    proto::Transaction {
        entry: settled.entry.unwrap_or(0),
        kind: kind_out(settled.kind).into(),
        occurred_at: Some(timestamp_out(settled.occurred_at)),
        key_id: settled.key.to_string(),
        member_id: settled.member.to_string(),
        team_id: settled.team.to_string(),
        model: settled.model.to_string(),
        usage: Some(proto::BookedUsage {
            input_tokens,
            cached_input_tokens,
            cache_write_tokens,
            output_tokens,
            requests,
        }),
        cost_usd: nanos_out(cost),
        credits: nanos_out(credits),
        wallet_usd: nanos_out(settled.wallet),
        balance_usd: nanos_out(settled.balance),
        request_id: settled.request.as_ref().map(ToString::to_string).unwrap_or_default(),
        overage: Some(amounts_out(&settled.overage)),
        price: settled.price.map(|price| applied_out(&settled.model, &price)),
        labels: labels_out(&settled.labels),
        ..common
    }
}

/// quotad's own request ids, of automatic orders and reversals, are nobody's business.
pub(super) fn request_out(request: &RequestId) -> String {
    let own = request.as_str().starts_with(char::is_control);
    if own { String::new() } else { request.to_string() }
}

fn top_up_out(top_up: &TopUp, common: proto::Transaction) -> proto::Transaction {
    let TopUp { entry, request, fingerprint: _, amount, balance, reason, order, member } = top_up;
    proto::Transaction {
        entry: *entry,
        kind: proto::TransactionKind::TopUp.into(),
        occurred_at: common.time,
        member_id: member.as_ref().map(ToString::to_string).unwrap_or_default(),
        cost_usd: nanos_out(Nanos::ZERO),
        credits: nanos_out(Nanos::ZERO),
        wallet_usd: nanos_out(*amount),
        balance_usd: nanos_out(*balance),
        request_id: request_out(request),
        reason: reason.clone(),
        order_id: order.to_string(),
        ..common
    }
}

fn correction_out(correction: &Correction, common: proto::Transaction) -> proto::Transaction {
    let Correction { entry, kind, request, wallet, balance, corrects, reason, usage, .. } = correction;
    let common = match usage.as_deref() {
        None => proto::Transaction { occurred_at: common.time, ..common },
        Some(usage) => proto::Transaction {
            occurred_at: Some(timestamp_out(usage.occurred_at)),
            key_id: usage.key.to_string(),
            member_id: usage.member.to_string(),
            team_id: usage.team.to_string(),
            model: usage.model.to_string(),
            labels: labels_out(&usage.labels),
            ..common
        },
    };
    let (cost, credits) = usage.as_deref().map_or((Nanos::ZERO, Nanos::ZERO), |usage| (usage.cost, usage.credits));
    proto::Transaction {
        entry: *entry,
        kind: kind_out(*kind).into(),
        cost_usd: nanos_out(cost),
        credits: nanos_out(credits),
        wallet_usd: nanos_out(*wallet),
        balance_usd: nanos_out(*balance),
        request_id: request_out(request),
        reason: reason.clone(),
        corrects_entry: *corrects,
        ..common
    }
}

fn totals_out(totals: &Totals) -> proto::TransactionTotals {
    let Totals { entries, cost, credits, input_tokens, output_tokens, requests } = *totals;
    proto::TransactionTotals {
        entries,
        cost_usd: cost.normalize().to_string(),
        credits: credits.normalize().to_string(),
        input_tokens,
        output_tokens,
        requests,
    }
}
