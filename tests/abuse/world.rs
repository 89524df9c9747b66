//! A server under attack: its own process, with what it takes of the machine readable from outside.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use quotad::{
    api::proto::{
        CreateKeyRequest, CreateMemberRequest, CreateMemberTokenRequest, CreateOrganizationRequest, Key,
        ListOrganizationsRequest, Member, MemberToken, Organization, Role, TopUpRequest,
    },
    client::Connection,
    clock::Stopwatch,
};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::{
    calm::calmly,
    server::{ORGANIZATION, Server, command, seed, serving},
};

/// An organization that has nothing to do with any attack, and its key.
pub(crate) const NEIGHBOUR: &str = "neighbour";
pub(crate) const NEIGHBOUR_KEY: &str = "neighbour-key";

/// How long the server may take to give back what closed connections took: the allocator does so by and by.
const GIVEN_BACK: Duration = Duration::from_mins(1);

/// Attacks take turns: what one takes of the machine would be measured by another.
static TURN: Mutex<()> = Mutex::const_new(());

pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) operator: Connection,
    /// Shows a service token of all organizations.
    pub(crate) gateway: Connection,
    pub(crate) service_token: String,
    pub(crate) data_dir: PathBuf,
    _home: TempDir,
    _turn: MutexGuard<'static, ()>,
}

/// The length of one slice of an attack.
pub(crate) fn slice() -> Duration {
    std::env::var("QUOTAD_ABUSE_SECONDS").map_or(Duration::from_millis(400), |given| {
        Duration::from_secs_f64(given.parse().expect("QUOTAD_ABUSE_SECONDS is a number of seconds"))
    })
}

impl World {
    /// Starts a server with `flags`, with the organization under attack ([`ORGANIZATION`], seeded as for the process tests) and
    /// its neighbor.
    pub(crate) async fn start(flags: &[&str]) -> Self {
        let turn = TURN.lock().await;
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("data");
        let mut command = match std::env::var_os("QUOTAD_ABUSE_BINARY") {
            Some(binary) => serving(Command::new(binary), &data_dir, "127.0.0.1:0"),
            None => command(&data_dir),
        };
        command.args(flags);
        let begun_in = data_dir.clone();
        let server = calmly(move || Server::start_with(command, &begun_in));
        let operator = server.operator().await;
        let service_token = seed(&operator, None).await;
        let gateway = operator.with_token(&service_token).unwrap();
        let world = Self { server, operator, gateway, service_token, data_dir, _home: home, _turn: turn };
        world.organization(NEIGHBOUR).await;
        world.member(NEIGHBOUR, "nora", Role::Owner).await;
        world.key(NEIGHBOUR, NEIGHBOUR_KEY, "nora").await;
        world
    }

    /// Creates an organization with 1,000,000 USD.
    pub(crate) async fn organization(&self, id: &str) {
        let organization = Organization { id: id.to_owned(), ..Organization::default() };
        let request = CreateOrganizationRequest { organization: Some(organization), ..Default::default() };
        self.operator.organizations().create_organization(request).await.unwrap();
        let request = TopUpRequest {
            organization_id: id.to_owned(),
            amount_usd: String::from("1000000"),
            request_id: String::from("first"),
            ..TopUpRequest::default()
        };
        self.operator.wallets().top_up(request).await.unwrap();
    }

    /// Creates a member and answers a connection of its own that shows its access token.
    pub(crate) async fn member(&self, organization: &str, id: &str, role: Role) -> Connection {
        let token = self.member_token(organization, id, role).await;
        Connection::open(&self.server.endpoint, &token).await.unwrap()
    }

    /// Creates a member and answers its access token.
    pub(crate) async fn member_token(&self, organization: &str, id: &str, role: Role) -> String {
        let member = Member {
            organization_id: organization.to_owned(),
            id: id.to_owned(),
            role: role.into(),
            ..Member::default()
        };
        let request = CreateMemberRequest { member: Some(member), ..Default::default() };
        self.operator.members().create_member(request).await.unwrap();
        let token = MemberToken {
            organization_id: organization.to_owned(),
            member_id: id.to_owned(),
            ..MemberToken::default()
        };
        let request = CreateMemberTokenRequest { token: Some(token) };
        self.operator.tokens().create_member_token(request).await.unwrap().into_inner().secret
    }

    /// Creates a key of a member, in its default team.
    pub(crate) async fn key(&self, organization: &str, id: &str, member: &str) {
        let key = Key {
            organization_id: organization.to_owned(),
            id: id.to_owned(),
            member_id: member.to_owned(),
            ..Key::default()
        };
        self.operator.keys().create_key(CreateKeyRequest { key: Some(key), ..Default::default() }).await.unwrap();
    }

    /// A member of the organization under attack.
    pub(crate) async fn attacker(&self, id: &str, role: Role) -> Connection {
        self.member(ORGANIZATION, id, role).await
    }

    /// Resident memory of the server, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that [`Self::memory`] has ever been.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// Waits until the server takes no more than `most`: what connections took is given back once they are closed.
    pub(crate) async fn falls_to(&self, most: u64) {
        let given_up = Stopwatch::start();
        while self.memory() > most {
            assert!(given_up.elapsed() < GIVEN_BACK, "{} bytes are still taken, {most} at most are due", self.memory());
            // Whatever the server does gives it occasion.
            let _ = self.operator.organizations().list_organizations(ListOrganizationsRequest::default()).await;
        }
    }

    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Open file descriptors of the server.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.server.pid())).unwrap().count()
    }

    /// Processor time that the server took so far.
    pub(crate) fn processor_time(&self) -> Duration {
        crate::neighbour::processor_time(self.server.pid())
    }
}
