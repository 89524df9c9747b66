//! The books, out.

use std::{collections::HashMap, sync::Arc};

use super::{
    convert::{
        optional,
        page::{size_in, token_in, token_out},
        time::{timestamp_in, timestamp_out},
        usage::{amounts_out, nanos_out},
    },
    price::price_out,
    proto::{self, ledger_service_server::LedgerService},
    serve::serve,
};
use crate::{
    domain::{
        error::Invalid,
        event::{Booked, EntryKind, Settled, TopUp},
        id::{KeyId, MemberId, Model, OrganizationId, TeamId},
    },
    service::{Caller, Difference, Entry, EntryDetail, EntryQuery, Error, Service, Totals, Transactions, Verification},
};

pub(super) struct LedgerApi(pub(super) Arc<Service>);

serve! {
    LedgerService, LedgerApi {
        list_transactions(ListTransactionsRequest) -> ListTransactionsResponse = list.await;
        verify(VerifyRequest) -> VerifyResponse = compare.await;
    }
}

impl LedgerApi {
    async fn list(
        &self,
        _: &Caller,
        message: proto::ListTransactionsRequest,
    ) -> Result<proto::ListTransactionsResponse, Error> {
        let size = u32::try_from(size_in(message.page_size)?).unwrap_or(u32::MAX);
        let before = token_in("transactions", &message.page_token)?;
        let query = query_in(message)?;
        let organization = query.organization.clone();
        let Transactions { entries, next, as_of_entry, totals } = self.0.transactions(query, before, size).await?;
        Ok(proto::ListTransactionsResponse {
            transactions: entries.iter().map(|entry| self.entry_out(&organization, entry)).collect(),
            next_page_token: token_out("transactions", next),
            as_of_entry,
            totals: Some(totals_out(&totals)),
        })
    }

    async fn compare(&self, _: &Caller, message: proto::VerifyRequest) -> Result<proto::VerifyResponse, Error> {
        let proto::VerifyRequest { organization_id } = message;
        let organization = optional("organization_id", &organization_id, OrganizationId::parse)?;
        let Verification { organizations, entries, windows, differences } =
            self.0.verify(organization.as_ref()).await?;
        let differences = differences.into_iter().map(|difference| {
            let Difference { organization, what, expected, found } = difference;
            proto::Difference { organization_id: organization.to_string(), what, expected, found }
        });
        Ok(proto::VerifyResponse { organizations, entries, windows, differences: differences.collect() })
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
        }
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
    } = message;
    let start = start_time.map(|at| timestamp_in("start_time", &at)).transpose()?;
    let end = end_time.map(|at| timestamp_in("end_time", &at)).transpose()?;
    if start.zip(end).is_some_and(|(start, end)| start >= end) {
        return Err(Invalid::new("end_time", "is not after start_time"));
    }
    Ok(EntryQuery {
        organization: OrganizationId::parse("organization_id", &organization_id)?,
        key: optional("key_id", &key_id, KeyId::parse)?,
        member: optional("member_id", &member_id, MemberId::parse)?,
        team: optional("team_id", &team_id, TeamId::parse)?,
        model: optional("model", &model, Model::parse)?,
        kinds: kinds.into_iter().enumerate().map(kind_in).collect::<Result<_, _>>()?,
        start,
        end,
        as_of: u64::MAX,
    })
}

fn kind_in((i, kind): (usize, i32)) -> Result<EntryKind, Invalid> {
    use proto::TransactionKind as Kind;
    match Kind::try_from(kind) {
        Ok(Kind::TopUp) => Ok(EntryKind::TopUp),
        Ok(Kind::Commit) => Ok(EntryKind::Commit),
        Ok(Kind::Charge) => Ok(EntryKind::Charge),
        Ok(Kind::Expiry) => Ok(EntryKind::Expiry),
        Ok(Kind::LateCommit) => Ok(EntryKind::LateCommit),
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
    }
}

fn settled_out(settled: &Settled, common: proto::Transaction) -> proto::Transaction {
    let Booked { cost, credits, input_tokens, cached_input_tokens, cache_write_tokens, output_tokens, requests } =
        settled.booked;
    let labels = settled.labels.as_deref().unwrap_or_default();
    let labels: HashMap<_, _> = labels.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
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
        price: settled.price.map(|price| price_out(&settled.model, &price, None)),
        labels,
        ..common
    }
}

fn top_up_out(top_up: &TopUp, common: proto::Transaction) -> proto::Transaction {
    let TopUp { entry, request, fingerprint: _, amount, balance, reason } = top_up;
    proto::Transaction {
        entry: *entry,
        kind: proto::TransactionKind::TopUp.into(),
        occurred_at: common.time,
        wallet_usd: nanos_out(*amount),
        balance_usd: nanos_out(*balance),
        request_id: request.to_string(),
        reason: reason.clone(),
        ..common
    }
}

fn totals_out(totals: &Totals) -> proto::TransactionTotals {
    let Totals { entries, cost, credits, input_tokens, output_tokens, requests } = *totals;
    proto::TransactionTotals {
        entries,
        cost_usd: nanos_out(cost),
        credits: nanos_out(credits),
        input_tokens,
        output_tokens,
        requests,
    }
}
