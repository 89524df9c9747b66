//! Makes organizations and keys for a run, as an operator does by hand, and takes them away again.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use indicatif::ProgressBar;
use quotad::{
    api::proto::{
        Budget, CreateKeyRequest, CreateMemberRequest, CreateOrganizationRequest, CreatePriceRequest,
        DeleteOrganizationRequest, DeletePriceRequest, GetPriceRequest, Key, Member, Organization, Period, PeriodKind,
        Policy, Price, Quota, TopUpRequest, Unit,
    },
    client::Connection,
};
use tonic::Code;

use super::population::MOST_KEYS;
use crate::failure::Failure;

/// Calls under way at one time.
const IN_FLIGHT: usize = 256;
/// So large that no run reaches it: what is measured is the checking.
const BUDGET_USD: &str = "1000000000";
const QUOTA: u64 = 1_000_000_000_000;
const TOP_UP_USD: &str = "1000000000";
const MEMBER: &str = "bench";

/// How many organizations, and keys in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) organizations: usize,
    pub(super) keys: usize,
}

/// Reads `10x1000`.
pub(super) fn parse_size(text: &str) -> Result<Size, String> {
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|number| *number > 0);
    let numbers = text.split_once(['x', '×']).and_then(|(left, right)| Some((number(left)?, number(right)?)));
    let (organizations, keys) = numbers
        .ok_or_else(|| format!("{text:?} is no number of organizations and keys in each; give them as 10x1000"))?;
    match organizations.checked_mul(keys) {
        Some(1..=MOST_KEYS) => Ok(Size { organizations, keys }),
        _ => Err(format!("{text} are too many keys; give at most {MOST_KEYS} in all")),
    }
}

/// What was made.
#[derive(Debug)]
pub(super) struct Prepared {
    /// What all ids begin with.
    prefix: String,
    size: Size,
    /// Priced for the run: the model had no price.
    priced: Option<String>,
    /// Of each key its id, or its secret where that was asked for. The organizations take turns.
    pub(super) keys: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) size: Size,
    pub(super) model: &'a str,
    /// Of each key.
    pub(super) limits: usize,
    pub(super) secrets: bool,
}

/// # Errors
/// [`Failure`] of the first call that failed, with how to remove what was made before.
pub(super) async fn prepare(
    server: &Connection,
    run: &str,
    wanted: Wanted<'_>,
    bar: &ProgressBar,
) -> Result<Prepared, Failure> {
    let mut prepared = Prepared { prefix: format!("bench-{run}"), size: wanted.size, priced: None, keys: Vec::new() };
    let made = tokio::select! {
        made = make(server, &mut prepared, wanted, bar) => made,
        _ = tokio::signal::ctrl_c() => Err(Failure::other("interrupted")),
    };
    match made {
        Ok(()) => Ok(prepared),
        Err(failure) => Err(Failure::other(format!("{failure}\n{}", prepared.removal()))),
    }
}

async fn make(
    server: &Connection,
    prepared: &mut Prepared,
    wanted: Wanted<'_>,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let Size { organizations, keys } = wanted.size;
    if price(server, wanted.model).await? {
        prepared.priced = Some(wanted.model.to_owned());
    }
    bar.set_length(u64::try_from(organizations + organizations * keys).unwrap_or(u64::MAX));
    bar.set_message("making organizations and keys");
    let made = prepared
        .organizations()
        .map(|id| organization(server, id))
        .map(|made| async { made.await.inspect(|()| bar.inc(1)) });
    stream::iter(made).buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    // One key of each organization after the other, so that the first keys, which Zipf prefers, are spread over all.
    let names = (0..keys).flat_map(|key| prepared.organizations().map(move |id| (key, id)));
    let policy = policy(wanted.limits);
    let made = names
        .map(|(number, id)| key(server, format!("{id}-{number}"), id, policy.clone()))
        .map(|made| async { made.await.inspect(|_| bar.inc(1)) });
    let made: Vec<(String, String)> = stream::iter(made).buffered(IN_FLIGHT).try_collect().await?;
    prepared.keys = made.into_iter().map(|(id, secret)| if wanted.secrets { secret } else { id }).collect();
    Ok(())
}

/// True where it had to be made.
async fn price(server: &Connection, model: &str) -> Result<bool, Failure> {
    match server.prices().get_price(GetPriceRequest { model: model.to_owned() }).await {
        Ok(_) => return Ok(false),
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(status.into()),
    }
    let price = Price {
        model: model.to_owned(),
        input_per_million: String::from("0.15"),
        output_per_million: String::from("0.60"),
        ..Price::default()
    };
    server.prices().create_price(CreatePriceRequest { price: Some(price) }).await?;
    Ok(true)
}

async fn organization(server: &Connection, id: String) -> Result<(), Failure> {
    let organization = Organization { id: id.clone(), ..Organization::default() };
    let request = CreateOrganizationRequest { organization: Some(organization), request_id: String::new() };
    server.organizations().create_organization(request).await?;
    let request = TopUpRequest {
        organization_id: id.clone(),
        amount_usd: TOP_UP_USD.to_owned(),
        request_id: String::from("bench"),
        reason: String::from("quotactl bench"),
        ..TopUpRequest::default()
    };
    server.wallets().top_up(request).await?;
    let member = Member { organization_id: id, id: MEMBER.to_owned(), ..Member::default() };
    let request = CreateMemberRequest { member: Some(member), ..CreateMemberRequest::default() };
    server.members().create_member(request).await?;
    Ok(())
}

/// Answers with its id and its secret.
async fn key(
    server: &Connection,
    id: String,
    organization_id: String,
    policy: Policy,
) -> Result<(String, String), Failure> {
    let key =
        Key { organization_id, id: id.clone(), member_id: MEMBER.to_owned(), policy: Some(policy), ..Key::default() };
    let request = CreateKeyRequest { key: Some(key), request_id: String::new() };
    let answer = server.keys().create_key(request).await?.into_inner();
    Ok((id, answer.secret))
}

/// A monthly budget, requests a minute, tokens a minute, and so on again.
fn policy(limits: usize) -> Policy {
    let mut policy = Policy::default();
    for number in 0..limits {
        let quota = |name: &str, unit: Unit| Quota {
            id: format!("{name}-{number}"),
            unit: unit.into(),
            max: QUOTA,
            ..Quota::default()
        };
        match number % 3 {
            0 => policy.budgets.push(Budget {
                id: format!("month-{number}"),
                unit: Unit::Usd.into(),
                max: BUDGET_USD.to_owned(),
                period: Some(Period { kind: PeriodKind::Monthly.into(), ..Period::default() }),
                ..Budget::default()
            }),
            1 => policy.quotas.push(quota("requests", Unit::RequestsPerMinute)),
            _ => policy.quotas.push(quota("tokens", Unit::TokensPerMinute)),
        }
    }
    policy
}

impl Prepared {
    fn organizations(&self) -> impl Iterator<Item = String> + Clone + use<> {
        let prefix = self.prefix.clone();
        (0..self.size.organizations).map(move |number| format!("{prefix}-{number}"))
    }

    /// The commands that remove what was made.
    pub(super) fn removal(&self) -> String {
        let Self { prefix, size, priced, .. } = self;
        let price = priced.as_ref().map(|model| format!("\n  quotactl price delete {model} --yes")).unwrap_or_default();
        let last = size.organizations - 1;
        let organizations = match last {
            0 => format!("quotactl org delete {prefix}-0 --yes"),
            _ => format!("for i in $(seq 0 {last}); do quotactl org delete {prefix}-$i --yes; done"),
        };
        format!("what was made for the run stays; remove it with\n  {organizations}{price}")
    }

    pub(super) async fn remove(&self, server: &Connection, bar: &ProgressBar) -> Result<(), Failure> {
        bar.set_message("removing organizations and keys");
        let removed = self.organizations().map(|organization_id| {
            let mut client = server.organizations();
            async move {
                client
                    .delete_organization(DeleteOrganizationRequest { organization_id, ..Default::default() })
                    .await
                    .map(|_| ())
            }
        });
        let removed = stream::iter(removed).buffer_unordered(IN_FLIGHT).try_collect::<()>().await;
        let priced = match (&removed, &self.priced) {
            (Ok(()), Some(model)) => {
                server.prices().delete_price(DeletePriceRequest { model: model.clone() }).await.map(|_| ())
            }
            _ => Ok(()),
        };
        bar.finish_and_clear();
        removed.and(priced).map_err(|status| Failure::other(format!("{}\n{}", Failure::from(status), self.removal())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_organizations_by_keys() {
        assert_eq!(parse_size("10x1000"), Ok(Size { organizations: 10, keys: 1000 }));
        assert_eq!(parse_size("1×1000000"), Ok(Size { organizations: 1, keys: 1_000_000 }));
        for bad in ["", "10", "x", "0x5", "5x0", "1001x1000", "-1x5", "99999999999x99999999999"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_stays_is_removed_by_the_commands_that_are_told() {
        let size = |organizations| Size { organizations, keys: 2 };
        let prepared = |size, priced| Prepared { prefix: "bench-1f".into(), size, priced, keys: Vec::new() };
        let one = prepared(size(1), None).removal();
        assert!(one.ends_with("with\n  quotactl org delete bench-1f-0 --yes"), "{one}");
        let many = prepared(size(3), Some("bench".into())).removal();
        assert!(many.contains("seq 0 2); do quotactl org delete bench-1f-$i --yes;"), "{many}");
        assert!(many.ends_with("\n  quotactl price delete bench --yes"), "{many}");
    }

    #[test]
    fn a_key_has_as_many_limits_as_asked_for() {
        let counts = |limits| (policy(limits).budgets.len(), policy(limits).quotas.len());
        assert_eq!([counts(0), counts(1), counts(3), counts(8)], [(0, 0), (1, 0), (1, 2), (3, 5)]);
    }
}
