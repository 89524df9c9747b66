//! `quotactl check`: the answer that Reserve would give, with every limit of the path.

use std::{fmt::Write as _, process::ExitCode};

use clap::Args;
use quotad::{
    api::proto::{CheckRequest, CheckResponse, Denial, Grant, Payer, Usage, check_response::Decision},
    client::when_to_retry,
    domain::time::Span,
};
use serde_json::{Value, json};

use crate::{
    arguments::{decimal, key_payer, secret_payer},
    context::Context,
    failure::{Failure, required},
    format::{amount, span, thousands},
    limits::{limits_json, place_and_limit},
    names::code,
    output::{Output, prose, tabulated},
    service_access::ServiceAccess,
};

/// What `check` exits with when the request would be refused.
const REFUSED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  quotactl check --key ada-laptop --model small --input-tokens 900 --output-tokens 300
  quotactl check --api-key sk-... --model large --input-tokens 90000 --output-tokens 4000 --min-output-tokens 200

Exits 0 when the request would be granted, 3 when it would be refused.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Check {
    #[command(flatten)]
    payer: PayerArgs,
    /// The model that would run
    #[arg(long)]
    model: String,
    /// Prompt tokens, cached ones included
    #[arg(long, default_value_t = 0, value_name = "N")]
    input_tokens: u64,
    /// Prompt tokens read from a cache
    #[arg(long, default_value_t = 0, value_name = "N")]
    cached_input_tokens: u64,
    /// Generated tokens
    #[arg(long, default_value_t = 0, value_name = "N")]
    output_tokens: u64,
    /// How many requests it stands for
    #[arg(long, default_value_t = 1, value_name = "N")]
    requests: u64,
    /// The cost, if the price book shall not compute it
    #[arg(long, value_name = "USD", value_parser = decimal)]
    cost_usd: Option<String>,
    /// Take fewer output tokens if not all fit, but at least so many
    #[arg(long, value_name = "N")]
    min_output_tokens: Option<u64>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct PayerArgs {
    /// The key's id
    #[arg(long)]
    key: Option<String>,
    /// The key's secret
    #[arg(long, value_name = "SECRET")]
    api_key: Option<String>,
}

impl PayerArgs {
    fn payer(self) -> Payer {
        match self.api_key {
            Some(secret) => secret_payer(secret),
            None => key_payer(self.key.unwrap_or_default()),
        }
    }
}

impl Check {
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, Failure> {
        let access = ServiceAccess::open(&context.server, Span::seconds(60)).await?;
        let answer = access.connection().quota().check(self.request()).await;
        access.close().await;
        let answer = answer?.into_inner();
        match required(answer.decision.clone(), "decision")? {
            Decision::Granted(grant) => {
                print(context.out, &granted_json(&grant), &granted_text(&grant), &answer)?;
                Ok(ExitCode::SUCCESS)
            }
            Decision::Denied(denial) => {
                print(context.out, &json!({ "denied": denial_json(&denial) }), &denied_text(&denial), &answer)?;
                Ok(ExitCode::from(REFUSED))
            }
        }
    }

    fn request(self) -> CheckRequest {
        let usage = Usage {
            input_tokens: self.input_tokens,
            cached_input_tokens: self.cached_input_tokens,
            cache_write_tokens: 0,
            output_tokens: self.output_tokens,
            requests: self.requests,
            cost_usd: self.cost_usd.unwrap_or_default(),
            cache_outside_input: None,
        };
        CheckRequest {
            payer: Some(self.payer.payer()),
            model: self.model,
            usage: Some(usage),
            min_output_tokens: self.min_output_tokens,
        }
    }
}

fn print(out: Output, decision: &Value, sentence: &str, answer: &CheckResponse) -> Result<(), Failure> {
    if out.is_json() {
        let mut value = decision.clone();
        value["limits"] = json!(limits_json(&answer.limits));
        return out.value(&value);
    }
    out.text(&prose(sentence))?;
    if answer.limits.is_empty() { Ok(()) } else { out.text(&format!("\n{}", tabulated(&answer.limits))) }
}

fn granted_json(grant: &Grant) -> Value {
    let held = grant.held.clone().unwrap_or_default();
    json!({ "granted": {
        "output_tokens": grant.output_tokens,
        "held": { "usd": held.usd, "credits": held.credits, "tokens": held.tokens, "requests": held.requests },
        "warnings": limits_json(&grant.warnings),
    }})
}

fn granted_text(grant: &Grant) -> String {
    let held = grant.held.clone().unwrap_or_default();
    let mut text = format!(
        "granted: {} output tokens; would hold {} USD, {} credits, {} tokens",
        thousands(grant.output_tokens),
        amount(&held.usd),
        amount(&held.credits),
        thousands(held.tokens),
    );
    for warning in &grant.warnings {
        let _ = write!(text, "\n  soft cap reached: {}", place_and_limit(warning));
    }
    text
}

fn denial_json(denial: &Denial) -> Value {
    let violations = denial.violations.iter().map(|violation| {
        json!({
            "code": code(violation.code),
            "limit": violation.limit.as_ref().map(crate::output::Item::json),
            "asked": violation.asked,
            "message": violation.message,
        })
    });
    json!({
        "code": code(denial.code),
        "http_status": denial.http_status,
        "message": denial.message,
        "retry_after": denial.retry_after.as_ref().map(span),
        "may_be_sooner": denial.may_be_sooner,
        "at_least": denial.at_least,
        "violations": violations.collect::<Vec<_>>(),
    })
}

fn denied_text(denial: &Denial) -> String {
    let retry = when_to_retry(denial);
    let mut text = format!("refused: {}, {} (HTTP {}); {retry}", code(denial.code), denial.message, denial.http_status);
    for violation in &denial.violations {
        let place = violation.limit.as_ref().map(place_and_limit).unwrap_or_default();
        let _ = write!(text, "\n  {} {place}", code(violation.code));
        if !violation.asked.is_empty() {
            let left = violation.limit.as_ref().map(|limit| limit.remaining.as_str()).unwrap_or_default();
            let _ = write!(text, ": asked {}, left {}", amount(&violation.asked), amount(left));
        }
        if !violation.message.is_empty() {
            let _ = write!(text, " ({})", violation.message);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use prost_types::Duration;
    use quotad::api::proto::{DenialCode, LimitState, Scope, Violation};

    use super::*;

    fn denial() -> Denial {
        let limit = LimitState {
            scope: Scope::Team.into(),
            scope_id: "research".into(),
            limit_id: "monthly".into(),
            remaining: "-0.5".into(),
            ..LimitState::default()
        };
        Denial {
            code: DenialCode::BudgetExceeded.into(),
            http_status: 429,
            message: "Budget exceeded".into(),
            retry_after: Some(Duration { seconds: 90, nanos: 0 }),
            may_be_sooner: true,
            at_least: false,
            violations: vec![Violation {
                code: DenialCode::BudgetExceeded.into(),
                limit: Some(limit),
                asked: "1200.25".into(),
                message: String::new(),
            }],
        }
    }

    #[test]
    fn a_refusal_names_every_limit_with_its_numbers() {
        assert_eq!(
            denied_text(&denial()),
            "refused: BUDGET_EXCEEDED, Budget exceeded (HTTP 429); granted in 90s if nothing else happens, \
             sooner if holds end before\n  BUDGET_EXCEEDED team research, limit monthly: asked 1,200.25, left -0.5"
        );
        assert!(denied_text(&Denial { retry_after: None, ..denial() }).contains("waiting doesn't help"));
    }

    #[test]
    fn a_refusal_in_json_keeps_code_and_amounts_as_strings() {
        let value = denial_json(&denial());
        assert_eq!((value["code"].as_str(), value["http_status"].as_u64()), (Some("BUDGET_EXCEEDED"), Some(429)));
        assert_eq!(value["violations"][0]["limit"]["remaining"], "-0.5");
        assert_eq!(
            (value["retry_after"].as_str(), value["violations"][0]["asked"].as_str()),
            (Some("90s"), Some("1200.25"))
        );
        assert_eq!((&value["may_be_sooner"], &value["at_least"]), (&json!(true), &json!(false)));
    }
}
