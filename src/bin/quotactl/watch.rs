//! `quotactl watch`: revocations as they happen, one a line, until Ctrl-C.

use clap::Args;
use quotad::{
    api::proto::{Revocation, Scope, WatchRevocationsRequest},
    domain::time::Span,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json},
    names::{code, name},
    output::Output,
    service_access::ServiceAccess,
};

const EXAMPLES: &str = "\
Examples:
  quotactl watch --holder gateway-1
  quotactl watch --holder gateway-1 --json

Shows first what is already revoked and still open. The holder is the name that a caller chose for itself at Reserve.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Watch {
    /// Whose reservations
    #[arg(long)]
    holder: String,
}

impl Watch {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let access = ServiceAccess::open(&context.server, Span::DAY).await?;
        let ended = tokio::select! {
            ended = follow(&access, self.holder, context.out) => ended,
            _ = tokio::signal::ctrl_c() => Ok(()),
        };
        access.close().await;
        ended
    }
}

/// Ends with an error when the server ends the stream.
async fn follow(access: &ServiceAccess, holder: String, out: Output) -> Result<(), Failure> {
    let request = WatchRevocationsRequest { holder };
    let mut revocations = access.connection().quota().watch_revocations(request).await?.into_inner();
    while let Some(message) = revocations.message().await? {
        let revocation = required(message.revocation, "revocation")?;
        out.text(&if out.is_json() { json(&revocation).to_string() } else { line(&revocation) })?;
    }
    Err(Failure::other("the server ended the stream; start again to go on watching"))
}

fn line(revocation: &Revocation) -> String {
    let cause = revocation.cause.clone().unwrap_or_default();
    let place = [name::<Scope>(cause.scope), cause.scope_id, cause.limit_id];
    let place: Vec<_> = place.into_iter().filter(|part| !part.is_empty()).collect();
    format!(
        "{}  stop {}  request {}  key {}  {} {}",
        instant(revocation.revoke_time.as_ref()),
        revocation.reservation_id,
        revocation.request_id,
        revocation.key_id,
        code(cause.code),
        place.join("/"),
    )
}

fn json(revocation: &Revocation) -> Value {
    let cause = revocation.cause.as_ref().map(|cause| {
        json!({
            "code": code(cause.code),
            "scope": name::<Scope>(cause.scope),
            "scope_id": cause.scope_id,
            "limit_id": cause.limit_id,
        })
    });
    json!({
        "reservation_id": revocation.reservation_id,
        "request_id": revocation.request_id,
        "key_id": revocation.key_id,
        "cause": cause,
        "revoke_time": instant_json(revocation.revoke_time.as_ref()),
    })
}

#[cfg(test)]
mod tests {
    use quotad::api::proto::{DenialCode, RevocationCause};

    use super::*;

    #[test]
    fn a_revocation_is_one_line_that_names_the_cause() {
        let cause = RevocationCause {
            code: DenialCode::BudgetExceeded.into(),
            scope: Scope::Team.into(),
            scope_id: "research".into(),
            limit_id: "monthly".into(),
        };
        let revocation = Revocation {
            reservation_id: "r1".into(),
            request_id: "q1".into(),
            key_id: "k1".into(),
            cause: Some(cause),
            revoke_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
        };
        assert_eq!(
            line(&revocation),
            "1970-01-01T00:00:00Z  stop r1  request q1  key k1  BUDGET_EXCEEDED team/research/monthly"
        );
        assert!(!json(&revocation).to_string().contains('\n'));
        assert_eq!(json(&revocation)["cause"]["code"], "BUDGET_EXCEEDED");
    }
}
