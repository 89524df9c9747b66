//! A quotad process with a data directory of the test's own.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use quotad::{
    api::proto::{
        CreateKeyRequest, CreateMemberRequest, CreateOrganizationRequest, CreatePriceRequest,
        CreateServiceTokenRequest, Key, Member, Organization, Policy, Price, ServiceToken, TopUpRequest, VerifyRequest,
    },
    client::Connection,
    clock::Stopwatch,
};

pub(crate) const ORGANIZATION: &str = "acme";
pub(crate) const KEY: &str = "key-1";
pub(crate) const MODEL: &str = "llama";

/// Long enough for a slow machine, and never waited for on a sound one.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Child,
    pub(crate) endpoint: String,
    token: String,
}

pub(crate) fn command(data_dir: &Path) -> Command {
    serving(Command::new(env!("CARGO_BIN_EXE_quotad")), data_dir, "127.0.0.1:0")
}

/// What makes `command`, the server or something that ends with `exec`ing it, serve.
pub(crate) fn serving(mut command: Command, data_dir: &Path, listen: &str) -> Command {
    command.args(["serve", "--listen", listen, "--log", "warn", "--data-dir"]).arg(data_dir);
    // However slow the machine is, nothing is refused for it.
    command.env("QUOTAD_MAX_CALL_WAIT_MS", "60000");
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    command
}

impl Server {
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_with(command(data_dir), data_dir)
    }

    pub(crate) fn start_with(mut command: Command, data_dir: &Path) -> Self {
        command.stderr(Stdio::inherit());
        Self::spawn(command, data_dir)
    }

    /// What it says goes where the command sends it.
    pub(crate) fn spawn(mut command: Command, data_dir: &Path) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let greeting = lines.next().expect("a greeting").unwrap();
        let address = greeting.rsplit(' ').next().unwrap().to_owned();
        // Kept open and read, so that the server's next line finds a reader.
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(data_dir.join("operator.token")).unwrap().trim().to_owned();
        Self { child, endpoint: format!("http://{address}"), token }
    }

    pub(crate) async fn operator(&self) -> Connection {
        Connection::open(&self.endpoint, &self.token).await.unwrap()
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and how it ended.
    pub(crate) async fn terminate(mut self) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        // Off this thread: the test's own connections must hear that the server goes.
        tokio::task::spawn_blocking(move || self.child.wait().unwrap()).await.unwrap()
    }

    /// How it ended by itself.
    pub(crate) async fn ended(mut self) -> ExitStatus {
        let ended = tokio::task::spawn_blocking(move || self.child.wait().unwrap());
        tokio::time::timeout(2 * PATIENCE, ended).await.expect("it doesn't end").unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already where the test ended it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server that shouldn't start: how it ended, and what it said.
pub(crate) fn refused(mut command: Command) -> (ExitStatus, String) {
    let mut child = command.spawn().unwrap();
    let waited = Stopwatch::start();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if waited.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("it serves what it should refuse");
        }
        std::thread::yield_now();
    };
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (status, said)
}

/// An organization with money, a key and a price; answers a service token's secret.
pub(crate) async fn seed(operator: &Connection, policy: Option<Policy>) -> String {
    let organization_id = ORGANIZATION.to_owned();
    let organization = Organization { id: organization_id.clone(), ..Organization::default() };
    let request = CreateOrganizationRequest { organization: Some(organization), ..Default::default() };
    operator.organizations().create_organization(request).await.unwrap();
    let (amount_usd, request_id) = (String::from("1000"), String::from("first"));
    let request =
        TopUpRequest { organization_id: organization_id.clone(), amount_usd, request_id, ..TopUpRequest::default() };
    operator.wallets().top_up(request).await.unwrap();
    let price = Price {
        model: MODEL.to_owned(),
        input_per_million: String::from("1"),
        output_per_million: String::from("2"),
        ..Price::default()
    };
    operator.prices().create_price(CreatePriceRequest { price: Some(price) }).await.unwrap();
    let id = String::from("ann");
    let member = Member { organization_id: organization_id.clone(), id, ..Member::default() };
    let request = CreateMemberRequest { member: Some(member), ..Default::default() };
    operator.members().create_member(request).await.unwrap();
    let member_id = String::from("ann");
    let key = Key { organization_id, id: KEY.to_owned(), member_id, policy, ..Key::default() };
    operator.keys().create_key(CreateKeyRequest { key: Some(key), ..Default::default() }).await.unwrap();
    let request = CreateServiceTokenRequest { token: Some(ServiceToken::default()) };
    operator.tokens().create_service_token(request).await.unwrap().into_inner().secret
}

/// The books must add up.
pub(crate) async fn verify(operator: &Connection) {
    let verified = operator.ledger().verify(VerifyRequest::default()).await.unwrap().into_inner();
    assert_eq!(verified.differences, [], "the books add up");
}
