//! Any method called by its descriptor, by anybody.

use prost_reflect::{DynamicMessage, MethodDescriptor};
use quotad::{
    api::proto::{self, Role, Verb},
    config::PaymentSettings,
    notify::WebhookSecret,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};

use crate::{
    people::{invitation, invite},
    rpc::call,
    world::{ACME, World},
};

pub(crate) const FOREIGN: &str = "foreign";

/// Everybody, in the order in which they call: the operator, whose calls change something, last.
pub(crate) const EVERYBODY: [&str; 11] = [
    "nobody",
    "stranger",
    "service",
    "scoped",
    "basic",
    "developer",
    "finance_admin",
    "admin",
    "owner",
    "invitee",
    "operator",
];

pub(crate) const ROLES: [(&str, Role); 5] = [
    ("owner", Role::Owner),
    ("admin", Role::Admin),
    ("finance_admin", Role::FinanceAdmin),
    ("developer", Role::Developer),
    ("basic", Role::Basic),
];

/// An organization with a member of each role, named after it, somebody invited, and a service token that may Reserve and Check
/// for it alone; besides, an organization that none of them is in.
pub(crate) struct Stage {
    pub(crate) world: World,
    channel: Channel,
    tokens: Vec<(&'static str, Option<String>)>,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        // Without a payment provider nobody can confirm a payment; a confirmation that says nothing never reaches it.
        let secret = WebhookSecret::parse("payment_secret", &format!("whsec_{}", "A".repeat(32))).unwrap();
        let payments = PaymentSettings { url: "http://127.0.0.1:9/".into(), secret };
        let world = World::start(proto::WalletMode::Off, |settings| settings.payments = Some(payments)).await;
        let mut tokens = vec![
            ("nobody", None),
            ("stranger", Some(String::from("qm_unheardof"))),
            ("service", Some(world.service_token.clone())),
            ("scoped", Some(world.scoped_token(&[ACME], &[Verb::Reserve, Verb::Check]).await)),
        ];
        for (name, role) in ROLES {
            world.person(name, role).await;
            tokens.push((name, Some(member_token(&world, name).await)));
        }
        let (_, invitee) = invite(&world.operator, invitation("invitee@example.com")).await.unwrap();
        tokens.push(("invitee", Some(invitee)));
        let operator = std::fs::read_to_string(world.data_dir().join("operator.token")).unwrap();
        tokens.push(("operator", Some(operator.trim().to_owned())));
        world.organization(FOREIGN, proto::WalletMode::Off).await;
        let channel = Endpoint::from_shared(world.address()).unwrap().tcp_nodelay(true).connect().await.unwrap();
        Self { world, channel, tokens }
    }

    /// Answers the code; of a stream, how it begins.
    pub(crate) async fn call(&self, who: &str, method: &MethodDescriptor, message: &DynamicMessage) -> Code {
        self.ask(who, method, message).await.map_or_else(|status| status.code(), |()| Code::Ok)
    }

    pub(crate) async fn ask(
        &self,
        who: &str,
        method: &MethodDescriptor,
        message: &DynamicMessage,
    ) -> Result<(), Status> {
        let (_, token) = self.tokens.iter().find(|(name, _)| *name == who).unwrap();
        call(&self.channel, token.as_deref(), method, message).await
    }
}

async fn member_token(world: &World, member: &str) -> String {
    let token = proto::MemberToken { organization_id: ACME.into(), member_id: member.into(), ..Default::default() };
    let new = proto::CreateMemberTokenRequest { token: Some(token) };
    world.operator.tokens().create_member_token(new).await.unwrap().into_inner().secret
}
