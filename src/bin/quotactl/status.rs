//! `quotactl status`: which server answers, what it can do at present, and who asks.

use clap::Args;
use quotad::{
    api::proto::WhoAmIRequest,
    client::{Connection, code_name},
};
use serde_json::{Value, json};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::{
    context::Context,
    failure::Failure,
    output::{Column, Item, described, text},
};

const EXAMPLES: &str = "\
Examples:
  quotactl status
  quotactl status --context eu --timeout 5s
  quotactl status --json

Decisions are taken while the journal takes writes; the ledger is current while the books follow the journal. How far they are \
behind is the metric `quotad.store.lag`.";

/// What the server's health speaks of, and what it means to people.
const SERVICES: [(&str, &str, &str); 2] = [
    ("quotad.v1.QuotaService", "decisions", "the journal takes no writes"),
    ("quotad.v1.LedgerService", "books", "they don't follow the journal"),
];

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Status {}

struct Shown {
    endpoint: String,
    context: String,
    version: String,
    actor: String,
    health: Vec<(&'static str, String, String)>,
}

impl Status {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let server = &context.server;
        let who = server.tokens().who_am_i(WhoAmIRequest {}).await?.into_inner();
        let mut health = Vec::new();
        for (service, what, otherwise) in SERVICES {
            let (state, told) = health_of(server, service, otherwise).await;
            health.push((what, state, told));
        }
        let shown = Shown {
            endpoint: server.address().unwrap_or_default().to_owned(),
            context: context.name.clone().unwrap_or_default(),
            version: who.server_version,
            actor: who.actor,
            health,
        };
        if context.out.is_json() { context.out.value(&shown.json()) } else { context.out.text(&described(&shown)) }
    }
}

/// The state for programs, and the same for people.
async fn health_of(server: &Connection, service: &str, otherwise: &str) -> (String, String) {
    let request = HealthCheckRequest { service: service.to_owned() };
    match server.health().check(request).await.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => ("serving".to_owned(), "in order".to_owned()),
        Ok(ServingStatus::NotServing) => ("not_serving".to_owned(), otherwise.to_owned()),
        Ok(_) => ("unknown".to_owned(), "unknown".to_owned()),
        Err(status) => ("unknown".to_owned(), format!("unknown: {}", code_name(status.code()))),
    }
}

impl Item for Shown {
    const COLUMNS: &'static [Column] = &[
        text("server"),
        text("context"),
        text("version"),
        text("quotactl"),
        text("decisions"),
        text("books"),
        text("token of"),
    ];

    fn cells(&self) -> Vec<String> {
        let mut cells = vec![
            self.endpoint.clone(),
            self.context.clone(),
            self.version.clone(),
            env!("CARGO_PKG_VERSION").to_owned(),
        ];
        cells.extend(self.health.iter().map(|(_, _, told)| told.clone()));
        cells.push(self.actor.clone());
        cells
    }

    fn json(&self) -> Value {
        let health = self.health.iter().map(|(what, state, _)| ((*what).to_owned(), json!(state)));
        json!({
            "endpoint": self.endpoint,
            "context": self.context,
            "server_version": self.version,
            "version": env!("CARGO_PKG_VERSION"),
            "health": health.collect::<serde_json::Map<_, _>>(),
            "actor": self.actor,
        })
    }
}
