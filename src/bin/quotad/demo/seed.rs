//! The organization that the demo plays with, made over gRPC like any other.

use quotad::{
    api::proto::{
        Budget, CreateKeyRequest, CreateMemberRequest, CreateOrganizationRequest, CreatePriceRequest,
        CreateServiceTokenRequest, CreateTeamRequest, Key, Member, Organization, Period, PeriodKind, Policy, Price,
        Quota, ServiceToken, Team, TopUpRequest, Unit,
    },
    client::Connection,
};

use super::DemoError;

pub(super) const ORGANIZATION: &str = "acme";
pub(super) const TOP_UP_USD: &str = "25";
pub(super) const LARGE: &str = "llama-3.3-70b";
pub(super) const CODER: &str = "qwen3-coder-30b";
pub(super) const REASONER: &str = "deepseek-r1";

/// The keys, in the order of the table: id, team, member.
pub(super) const KEYS: [(&str, &str, &str); 6] = [
    ("ann-notebook", "research", "ann"),
    ("ben-agent", "product", "ben"),
    ("cleo-batch", "product", "cleo"),
    ("dan-ci", "product", "dan"),
    ("eve-crawler", "product", "eve"),
    ("old-laptop", "research", "ann"),
];

fn budget(id: &str, max: &str, soft: &str, kind: PeriodKind) -> Budget {
    Budget {
        id: id.to_owned(),
        unit: Unit::Usd.into(),
        max: max.to_owned(),
        soft: soft.to_owned(),
        period: Some(Period {
            kind: kind.into(),
            time_zone: if kind == PeriodKind::OneTime { String::new() } else { String::from("Europe/Berlin") },
            ..Period::default()
        }),
        ..Budget::default()
    }
}

fn quota(id: &str, unit: Unit, max: u64) -> Quota {
    Quota { id: id.to_owned(), unit: unit.into(), max, ..Quota::default() }
}

fn policy(budgets: Vec<Budget>, quotas: Vec<Quota>) -> Policy {
    Policy { budgets, quotas }
}

/// What binds a key, beside what binds its team and the organization.
fn policy_of(key: &str) -> Policy {
    match key {
        "ann-notebook" => policy(Vec::new(), vec![quota("tokens", Unit::TokensPerMinute, 300_000)]),
        "ben-agent" => policy(Vec::new(), vec![quota("slots", Unit::InFlight, 4)]),
        "cleo-batch" => policy(vec![budget("batch", "0.05", "0.04", PeriodKind::OneTime)], Vec::new()),
        "dan-ci" => policy(Vec::new(), vec![quota("requests", Unit::RequestsPerMinute, 25)]),
        "eve-crawler" => policy(vec![budget("crawl", "1", "", PeriodKind::Daily)], Vec::new()),
        _ => Policy::default(),
    }
}

/// Makes everything and answers the secret of a service token, which the data plane takes.
pub(super) async fn seed(connection: &Connection) -> Result<String, DemoError> {
    for (model, input, output) in [(LARGE, "0.60", "0.90"), (CODER, "0.20", "0.80"), (REASONER, "2.00", "8.00")] {
        let price = Price {
            model: model.to_owned(),
            input_per_million: input.to_owned(),
            output_per_million: output.to_owned(),
            per_request: String::from("0.0001"),
            ..Price::default()
        };
        connection.prices().create_price(CreatePriceRequest { price: Some(price) }).await?;
    }
    let organization = Organization {
        id: ORGANIZATION.to_owned(),
        name: String::from("Acme Inference"),
        policy: Some(policy(vec![budget("month", "20", "16", PeriodKind::Monthly)], Vec::new())),
        ..Organization::default()
    };
    let request = CreateOrganizationRequest { organization: Some(organization), request_id: String::new() };
    connection.organizations().create_organization(request).await?;
    let top_up = TopUpRequest {
        organization_id: ORGANIZATION.to_owned(),
        amount_usd: TOP_UP_USD.to_owned(),
        request_id: String::from("first-invoice"),
        reason: String::from("demo"),
        ..TopUpRequest::default()
    };
    connection.wallets().top_up(top_up).await?;
    teams(connection).await?;
    members_and_keys(connection).await?;
    let token = ServiceToken { name: String::from("demo gateway"), ..ServiceToken::default() };
    let created = connection.tokens().create_service_token(CreateServiceTokenRequest { token: Some(token) }).await?;
    Ok(created.into_inner().secret)
}

async fn teams(connection: &Connection) -> Result<(), DemoError> {
    for (id, name, day) in [("research", "Research", "0.40"), ("product", "Product", "5")] {
        let team = Team {
            organization_id: ORGANIZATION.to_owned(),
            id: id.to_owned(),
            name: name.to_owned(),
            policy: Some(policy(vec![budget("day", day, "", PeriodKind::Daily)], Vec::new())),
            ..Team::default()
        };
        connection.teams().create_team(CreateTeamRequest { team: Some(team), request_id: String::new() }).await?;
    }
    Ok(())
}

async fn members_and_keys(connection: &Connection) -> Result<(), DemoError> {
    let mut made: Vec<&str> = Vec::new();
    for (key, team, member) in KEYS {
        if !made.contains(&member) {
            made.push(member);
            let new = Member {
                organization_id: ORGANIZATION.to_owned(),
                id: member.to_owned(),
                email: format!("{member}@acme.example"),
                ..Member::default()
            };
            let request =
                CreateMemberRequest { member: Some(new), team_ids: vec![team.to_owned()], request_id: String::new() };
            connection.members().create_member(request).await?;
        }
        let new = Key {
            organization_id: ORGANIZATION.to_owned(),
            id: key.to_owned(),
            member_id: member.to_owned(),
            team_id: team.to_owned(),
            disabled: key == "old-laptop",
            models: if key == "dan-ci" { vec![CODER.to_owned()] } else { Vec::new() },
            policy: Some(policy_of(key)),
            ..Key::default()
        };
        connection.keys().create_key(CreateKeyRequest { key: Some(new), request_id: String::new() }).await?;
    }
    Ok(())
}
