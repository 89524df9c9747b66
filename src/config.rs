//! The server's settings: flags over environment over a TOML file over defaults.
//!
//! A setting that can't be honoured is an error at start; nothing is ever adjusted silently.

use std::{fmt::Display, fs, io, net::SocketAddr, ops::RangeInclusive, path::Path, path::PathBuf, time::Duration};

use serde::Deserialize;
use tracing_subscriber::filter::{EnvFilter, ParseError};

use crate::{
    domain::{
        bounds::{Bounds, CallBounds, MAX_BOUND, WatchBounds},
        payment::OrderTerms,
        time::Span,
    },
    notify::{Network, Proxy, SmtpSettings},
};

mod connections;
mod outside;
mod secret;

#[cfg(test)]
mod tests;

pub use connections::Connections;
pub use outside::{MailTls, PaymentSettings, TIMEOUT};
pub use secret::Secret;

/// What a server runs with, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub listen: SocketAddr,
    /// A Unix socket to listen on besides, for callers on the same machine.
    pub socket: Option<PathBuf>,
    pub data_dir: PathBuf,
    /// Postgres; `None` keeps the books in a file of the data directory.
    pub database_url: Option<Secret>,
    /// Whether to build this server from the books where its journal isn't the latest.
    pub accept_journal_loss: bool,
    /// Whether to start although the wall clock is far from what was journalled, or from the database's.
    pub accept_clock: bool,
    /// How far the wall clock may be ahead of the last journalled time at a start.
    pub clock_max_ahead: Span,
    /// Bytes of the journal at which nothing new is held until the books follow.
    pub journal_max_bytes: u64,
    /// Ended reservations and charges that reachable books may lack before work begins no faster than they follow.
    pub books_max_lag: u64,
    /// How long the journal's writer waits for more records when nobody waits for the disk.
    pub journal_window: Duration,
    /// Records that may wait to be written; beyond, Reserve is refused as unavailable.
    pub queue_capacity: usize,
    /// How long a closed reservation's request id is remembered.
    pub remembered: Span,
    /// How many closed reservations an organization remembers, whatever their age.
    pub remembered_max: usize,
    /// How long memory keeps what of the control plane is over; the books keep it for ever.
    pub remembered_ended: Span,
    pub snapshot_interval: Duration,
    /// Bytes of one gRPC message, received or sent.
    pub max_message_size: usize,
    /// How many connections there may be, and what they may hold.
    pub connections: Connections,
    /// Where traces and metrics are sent; `None` sends none.
    pub otlp_endpoint: Option<Secret>,
    /// `None`: alerts can't be mailed.
    pub smtp: Option<SmtpSettings>,
    /// Networks that tenants' webhooks may reach besides public addresses.
    pub webhook_allow: Vec<Network>,
    /// What tenants' webhooks go through.
    pub webhook_proxy: Option<Proxy>,
    /// `None`: an operator decides each order to top up.
    pub payments: Option<PaymentSettings>,
    /// Bounds on things that cost their maker nothing.
    pub bounds: Bounds,
    /// What an organization's callers may ask for at a time.
    pub calls: CallBounds,
    /// Whether a provider charges orders follows from `payments`.
    pub orders: OrderTerms,
    pub watching: WatchBounds,
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub log: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 50_051)),
            socket: None,
            data_dir: PathBuf::from("quotad-data"),
            database_url: None,
            accept_journal_loss: false,
            accept_clock: false,
            clock_max_ahead: days(30),
            journal_max_bytes: 2 << 30,
            books_max_lag: 500_000,
            journal_window: Duration::from_millis(3),
            queue_capacity: 100_000,
            remembered: Span::seconds(600),
            remembered_max: 100_000,
            remembered_ended: Span::seconds(30 * 86_400),
            snapshot_interval: Duration::from_mins(5),
            max_message_size: 1 << 20,
            connections: Connections::default(),
            otlp_endpoint: None,
            smtp: None,
            webhook_allow: Vec::new(),
            webhook_proxy: None,
            payments: None,
            bounds: Bounds::default(),
            calls: CallBounds::default(),
            orders: OrderTerms::default(),
            watching: WatchBounds::default(),
            log: "info".to_owned(),
        }
    }
}

/// The flags of `quotad serve`.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct ServeArgs {
    /// Settings file in TOML; its keys are these flags' names with underscores
    #[arg(long, value_name = "FILE", env = "QUOTAD_CONFIG")]
    pub config: Option<PathBuf>,
    /// Build this server from the books although its journal has been lost or isn't the latest: what was acknowledged and
    /// hadn't reached the books stays out. The log says from where; a journal found here is set aside
    #[arg(long)]
    pub accept_journal_loss: bool,
    /// Start although the wall clock is far from the last journalled time, or from Postgres's clock: it is right. What is booked
    /// with it stays, because time never runs backwards
    #[arg(long)]
    pub accept_clock: bool,
    #[command(flatten)]
    pub given: Given,
}

/// Settings as far as one source gives them: the command line with the environment, or the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// Address to serve gRPC on; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS:PORT", env = "QUOTAD_LISTEN")]
    pub listen: Option<SocketAddr>,
    /// Unix socket to serve gRPC on too: callers on the same machine spare the machine a good part of TCP [default: none]
    #[arg(long, value_name = "PATH", env = "QUOTAD_SOCKET")]
    pub socket: Option<PathBuf>,
    /// Directory of the journal, the books and the operator's token [default: ./quotad-data]
    #[arg(long, value_name = "DIRECTORY", env = "QUOTAD_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Postgres database for the books, such as `postgres://quotad:PASSWORD@db.example.org/quotad?sslmode=verify-full`;
    /// none keeps them in the data directory [default: none]
    #[arg(long, value_name = "URL", env = "QUOTAD_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<Secret>,
    /// How far the wall clock may be ahead of the last journalled time at a start, in days [default: 30]
    #[arg(long, value_name = "DAYS", env = "QUOTAD_CLOCK_MAX_AHEAD_DAYS")]
    pub clock_max_ahead_days: Option<u32>,
    /// Size of the journal at which nothing new is held until the books follow, in bytes [default: 2147483648]
    #[arg(long, value_name = "BYTES", env = "QUOTAD_JOURNAL_MAX_BYTES")]
    pub journal_max_bytes: Option<u64>,
    /// Ended reservations and charges that the books may lack before work begins no faster than they follow [default: 500000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_BOOKS_MAX_LAG")]
    pub books_max_lag: Option<u64>,
    /// Longest wait for more records before the journal is written, in milliseconds, 0 to 1000 [default: 3]
    #[arg(long, value_name = "MILLISECONDS", env = "QUOTAD_JOURNAL_WINDOW_MS")]
    pub journal_window_ms: Option<u64>,
    /// Records that may wait for the journal before Reserve is refused [default: 100000]
    #[arg(long, value_name = "RECORDS", env = "QUOTAD_QUEUE_CAPACITY")]
    pub queue_capacity: Option<u64>,
    /// How long request ids of closed reservations are remembered, in seconds [default: 600]
    #[arg(long, value_name = "SECONDS", env = "QUOTAD_REMEMBERED_SECONDS")]
    pub remembered_seconds: Option<u64>,
    /// Request ids of closed reservations remembered per organization at most [default: 100000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_REMEMBERED_MAX")]
    pub remembered_max: Option<u64>,
    /// How long memory keeps decided requests, orders and invitations, alerts, deleted payment methods, keys and rules, in days [default: 30]
    #[arg(long, value_name = "DAYS", env = "QUOTAD_REMEMBERED_ENDED_DAYS")]
    pub remembered_ended_days: Option<u64>,
    /// Time between snapshots, in seconds; longer means a slower restart [default: 300]
    #[arg(long, value_name = "SECONDS", env = "QUOTAD_SNAPSHOT_INTERVAL_SECONDS")]
    pub snapshot_interval_seconds: Option<u64>,
    /// Largest gRPC message, in bytes [default: 1048576]
    #[arg(long, value_name = "BYTES", env = "QUOTAD_MAX_MESSAGE_SIZE")]
    pub max_message_size: Option<u64>,
    /// Connections open at a time; fewer where the limit of open files leaves files too few; 0 sets no bound but that limit
    /// [default: 10000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_CONNECTIONS")]
    pub max_connections: Option<u64>,
    /// Connections open at a time from one IPv4 address, one IPv6 network of 64 bits, or one user at the Unix socket; 16
    /// once nine tenths of all places are taken. 0 sets no bound, as where a proxy is everybody's peer [default: 1000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_CONNECTIONS_PER_PEER")]
    pub max_connections_per_peer: Option<u64>,
    /// Bytes of unfinished requests and unsent answers that a connection may hold before new calls on it are refused; at least two
    /// of the largest messages [default: 67108864]
    #[arg(long, value_name = "BYTES", env = "QUOTAD_CONNECTION_MAX_BYTES")]
    pub connection_max_bytes: Option<u64>,
    /// The same of all connections together, with what they may send unread; whoever holds 1 MiB or more is refused beyond
    /// three quarters of it, whoever holds less beyond all of it
    /// [default: 1073741824]
    #[arg(long, value_name = "BYTES", env = "QUOTAD_CONNECTIONS_MAX_BYTES")]
    pub connections_max_bytes: Option<u64>,
    /// Milliseconds that a Reserve or Check may wait for its turn before it is refused as overloaded, unread; callers that wait
    /// longer for a decision can have more [default: 100]
    #[arg(long, value_name = "MS", env = "QUOTAD_MAX_CALL_WAIT_MS")]
    pub max_call_wait_ms: Option<u64>,
    /// OpenTelemetry collector for traces and metrics, such as `http://127.0.0.1:4317`; empty sends none [default: none]
    #[arg(long, value_name = "URL", env = "QUOTAD_OTLP_ENDPOINT", hide_env_values = true)]
    pub otlp_endpoint: Option<Secret>,
    /// Mail server for alerts and invitations; none keeps them listed as undeliverable [default: none]
    #[arg(long, value_name = "HOST", env = "QUOTAD_SMTP_HOST")]
    pub smtp_host: Option<String>,
    /// Port of the mail server [default: 587, with tls 465, with plain 25]
    #[arg(long, value_name = "PORT", env = "QUOTAD_SMTP_PORT")]
    pub smtp_port: Option<u16>,
    /// How mail is encrypted on its way to the server [default: starttls]
    #[arg(long, value_enum, value_name = "HOW", env = "QUOTAD_SMTP_TLS")]
    pub smtp_tls: Option<MailTls>,
    /// PEM file of a certificate authority to trust besides the system's
    #[arg(long, value_name = "FILE", env = "QUOTAD_SMTP_CA_FILE")]
    pub smtp_ca_file: Option<PathBuf>,
    /// User to log in to the mail server as
    #[arg(long, value_name = "USER", env = "QUOTAD_SMTP_USER")]
    pub smtp_user: Option<String>,
    /// Its password; better given by the environment or the file, which other users can't list
    #[arg(long, value_name = "PASSWORD", env = "QUOTAD_SMTP_PASSWORD", hide_env_values = true)]
    pub smtp_password: Option<Secret>,
    /// Address that mail comes from, such as `quotad@example.org`
    #[arg(long, value_name = "ADDRESS", env = "QUOTAD_SMTP_FROM")]
    pub smtp_from: Option<String>,
    /// Networks that tenants' webhooks may reach besides public addresses, such as `10.1.0.0/16,fd00::/8` [default: none]
    #[arg(long, value_name = "CIDR,…", env = "QUOTAD_WEBHOOK_ALLOW")]
    pub webhook_allow: Option<String>,
    /// Proxy that tenants' webhooks go through, such as `http://proxy.example.org:3128`; it resolves their names, and decides what is
    /// reached by a name [default: none]
    #[arg(long, value_name = "URL", env = "QUOTAD_WEBHOOK_PROXY", hide_env_values = true)]
    pub webhook_proxy: Option<Secret>,
    /// Payment provider's URL that orders to top up are posted to; none leaves them to the operator [default: none]
    #[arg(long, value_name = "URL", env = "QUOTAD_PAYMENT_URL", hide_env_values = true)]
    pub payment_url: Option<Secret>,
    /// Secret that orders and confirmations are signed with, as Standard Webhooks writes it: `whsec_…`
    #[arg(long, value_name = "SECRET", env = "QUOTAD_PAYMENT_SECRET", hide_env_values = true)]
    pub payment_secret: Option<Secret>,
    /// Keys that an organization may have [default: 2000000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_KEYS")]
    pub max_keys: Option<u32>,
    /// Members that an organization may have, open invitations included [default: 1000000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_MEMBERS")]
    pub max_members: Option<u32>,
    /// Teams that an organization may have [default: 100000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_TEAMS")]
    pub max_teams: Option<u32>,
    /// Access rules that an organization may have [default: 10000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_RULES")]
    pub max_rules: Option<u32>,
    /// Places of an organization that may carry budgets and quotas [default: 4000000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_POLICIES")]
    pub max_policies: Option<u32>,
    /// Verifications that an organization's members may ask for in an hour, 0 for no bound; the operator always may [default: 1]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_VERIFICATIONS_PER_HOUR")]
    pub verifications_per_hour: Option<u32>,
    /// How long one read of the ledger or the audit log may take, in seconds [default: 30]
    #[arg(long, value_name = "SECONDS", env = "QUOTAD_LEDGER_READ_SECONDS")]
    pub ledger_read_seconds: Option<u32>,
    /// Reads of the ledger and the audit log that an organization's members may have under way at a time; some more wait [default: 2]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_LEDGER_READS_AT_ONCE")]
    pub ledger_reads_at_once: Option<u32>,
    /// Other calls, Reserve to Extend aside, that they may have under way at a time; some more wait [default: 8]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_CONTROL_CALLS_AT_ONCE")]
    pub control_calls_at_once: Option<u32>,
    /// Both a second, on average over ten seconds; 0 sets no bound [default: 500]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_CONTROL_CALLS_PER_SECOND")]
    pub control_calls_per_second: Option<u32>,
    /// Most that a member may order into the wallet at once, in USD [default: 10000]
    #[arg(long, value_name = "USD", env = "QUOTAD_MAX_ORDER_USD")]
    pub max_order_usd: Option<u32>,
    /// Orders of one member that may be pending [default: 10]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_PENDING_ORDERS")]
    pub max_pending_orders: Option<u32>,
    /// Requests for credits of one member that may await a decision [default: 20]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_CREDIT_REQUESTS")]
    pub max_credit_requests: Option<u32>,
    /// Requests for credits that one member may submit in a day [default: 100]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_CREDIT_REQUESTS_PER_DAY")]
    pub max_credit_requests_per_day: Option<u32>,
    /// Payment methods that one member may have [default: 20]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_PAYMENT_METHODS")]
    pub max_payment_methods: Option<u32>,
    /// Keys that one member may create or rotate in an hour [default: 100]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_KEYS_PER_HOUR")]
    pub max_keys_per_hour: Option<u32>,
    /// Invitations that an organization may create or send again in an hour [default: 100]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_INVITATIONS_PER_HOUR")]
    pub max_invitations_per_hour: Option<u32>,
    /// Resends of an invitation to one address in a day [default: 3]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_RESENDS_PER_DAY")]
    pub max_resends_per_day: Option<u32>,
    /// Mails of an organization in an hour; what is beyond waits, and is gathered [default: 200]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_MAILS_PER_HOUR")]
    pub max_mails_per_hour: Option<u32>,
    /// Mails of an organization to one address in an hour [default: 20]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_MAILS_PER_ADDRESS")]
    pub max_mails_per_address: Option<u32>,
    /// Reservations of one key that may be open [default: 10000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_OPEN_PER_KEY")]
    pub max_open_per_key: Option<u32>,
    /// Reservations of an organization that may be open [default: 250000]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_OPEN")]
    pub max_open: Option<u32>,
    /// Bytes of all labels of one reservation or Charge [default: 4096]
    #[arg(long, value_name = "BYTES", env = "QUOTAD_MAX_LABEL_BYTES")]
    pub max_label_bytes: Option<u32>,
    /// Revocations that one watcher may leave unread before it is told to ask anew [default: 1024]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_UNREAD_REVOCATIONS")]
    pub max_unread_revocations: Option<u32>,
    /// Watchers of revocations that one token may have at a time, its sessions not among them [default: 256]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_WATCHERS_PER_TOKEN")]
    pub max_watchers_per_token: Option<u32>,
    /// Watchers of revocations of all tokens together [default: 4096]
    #[arg(long, value_name = "COUNT", env = "QUOTAD_MAX_WATCHERS")]
    pub max_watchers: Option<u32>,
    /// What is logged to standard error, such as `info` or `warn,quotad::journal=debug` [default: info]
    #[arg(long, value_name = "FILTER", env = "QUOTAD_LOG")]
    pub log: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("the settings file {} can't be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// `line` counts from 1.
    #[error("{}:{line}: {problem}", path.display())]
    Parse { path: PathBuf, line: usize, problem: String },
    /// `setting` as the file names it; the flag has dashes.
    #[error("{setting}: {problem}")]
    Invalid { setting: &'static str, problem: String },
}

impl Settings {
    /// Fails if the file can't be read or parsed, names a key that doesn't exist, or any value is out of range.
    pub fn load(args: &ServeArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(read).transpose()?.unwrap_or_default();
        let given = args.given.clone().or(file);
        let remembered_ended = given.remembered_ended()?;
        let settings = Self::from_given(given)?;
        let ServeArgs { accept_journal_loss, accept_clock, .. } = *args;
        Ok(Self { accept_journal_loss, accept_clock, remembered_ended, ..settings })
    }

    fn from_given(given: Given) -> Result<Self, ConfigError> {
        let default = Self::default();
        let millis = |setting, given: Option<u64>, range| {
            let checked = within(setting, given, range, "milliseconds")?;
            Ok::<_, ConfigError>(checked.map(Duration::from_millis))
        };
        let seconds = |setting, given, range| {
            Ok::<_, ConfigError>(within(setting, given, range, "seconds")?.map(Duration::from_secs))
        };
        let count = |setting, given, range, unit| {
            // The ranges end far below what a 32-bit `usize` holds.
            Ok::<_, ConfigError>(within(setting, given, range, unit)?.and_then(|given| usize::try_from(given).ok()))
        };
        let max_message_size = count("max_message_size", given.max_message_size, 4096..=67_108_864, "bytes")?
            .unwrap_or(default.max_message_size);
        let connections = connections::connections(&given, max_message_size)?;
        let (smtp, payments, bounds) = (outside::smtp(&given)?, outside::payments(&given)?, given.bounds()?);
        let (calls, clock_max_ahead, watching) = (given.calls()?, given.clock_max_ahead()?, given.watching()?);
        let ((webhook_allow, webhook_proxy), orders) = (outside::webhooks(&given)?, outside::orders(&given)?);
        let Given {
            listen,
            socket,
            data_dir,
            database_url,
            journal_max_bytes,
            books_max_lag,
            journal_window_ms,
            queue_capacity,
            remembered_seconds,
            remembered_max,
            snapshot_interval_seconds,
            otlp_endpoint,
            log,
            ..
        } = given;
        let journal_max_bytes = within("journal_max_bytes", journal_max_bytes, 1 << 20..=1 << 50, "bytes")?;
        let books_max_lag = within("books_max_lag", books_max_lag, 100..=1_000_000_000, "endings")?;
        let journal_window = millis("journal_window_ms", journal_window_ms, 0..=1000)?;
        let queue_capacity = count("queue_capacity", queue_capacity, 1000..=10_000_000, "records")?;
        let remembered = within("remembered_seconds", remembered_seconds, 60..=86_400, "seconds")?;
        let remembered_max = count("remembered_max", remembered_max, 1000..=100_000_000, "request ids")?;
        let snapshot_interval = seconds("snapshot_interval_seconds", snapshot_interval_seconds, 1..=86_400)?;
        Ok(Self {
            listen: listen.unwrap_or(default.listen),
            socket: socket.filter(|path| !path.as_os_str().is_empty()),
            data_dir: data_dir.map(check_data_dir).transpose()?.unwrap_or(default.data_dir),
            database_url: database_url.filter(|given| !given.reveal().is_empty()).map(check_database).transpose()?,
            clock_max_ahead: clock_max_ahead.unwrap_or(default.clock_max_ahead),
            journal_max_bytes: journal_max_bytes.unwrap_or(default.journal_max_bytes),
            books_max_lag: books_max_lag.unwrap_or(default.books_max_lag),
            journal_window: journal_window.unwrap_or(default.journal_window),
            queue_capacity: queue_capacity.unwrap_or(default.queue_capacity),
            remembered: remembered.map_or(default.remembered, |given| Span::seconds(given.cast_signed())),
            remembered_max: remembered_max.unwrap_or(default.remembered_max),
            snapshot_interval: snapshot_interval.unwrap_or(default.snapshot_interval),
            max_message_size,
            connections,
            otlp_endpoint: otlp_endpoint.filter(|given| !given.reveal().is_empty()).map(check_endpoint).transpose()?,
            smtp,
            webhook_allow,
            webhook_proxy,
            payments,
            bounds,
            calls,
            orders,
            watching,
            log: log.map(check_log).transpose()?.unwrap_or(default.log),
            ..default
        })
    }
}

impl Given {
    fn bounds(&self) -> Result<Bounds, ConfigError> {
        let default = Bounds::default();
        let bound = |setting, given: Option<u32>, default| {
            Ok::<_, ConfigError>(within(setting, given, 1..=MAX_BOUND, "")?.unwrap_or(default))
        };
        Ok(Bounds {
            keys: bound("max_keys", self.max_keys, default.keys)?,
            members: bound("max_members", self.max_members, default.members)?,
            teams: bound("max_teams", self.max_teams, default.teams)?,
            rules: bound("max_rules", self.max_rules, default.rules)?,
            policies: bound("max_policies", self.max_policies, default.policies)?,
            credit_requests: bound("max_credit_requests", self.max_credit_requests, default.credit_requests)?,
            credit_requests_per_day: bound(
                "max_credit_requests_per_day",
                self.max_credit_requests_per_day,
                default.credit_requests_per_day,
            )?,
            payment_methods: bound("max_payment_methods", self.max_payment_methods, default.payment_methods)?,
            keys_per_hour: bound("max_keys_per_hour", self.max_keys_per_hour, default.keys_per_hour)?,
            invitations_per_hour: bound(
                "max_invitations_per_hour",
                self.max_invitations_per_hour,
                default.invitations_per_hour,
            )?,
            resends_per_day: bound("max_resends_per_day", self.max_resends_per_day, default.resends_per_day)?,
            mails_per_hour: bound("max_mails_per_hour", self.max_mails_per_hour, default.mails_per_hour)?,
            mails_per_address: bound("max_mails_per_address", self.max_mails_per_address, default.mails_per_address)?,
            open_per_key: bound("max_open_per_key", self.max_open_per_key, default.open_per_key)?,
            open: bound("max_open", self.max_open, default.open)?,
            label_bytes: bound("max_label_bytes", self.max_label_bytes, default.label_bytes)?,
        })
    }

    fn remembered_ended(&self) -> Result<Span, ConfigError> {
        let days = within("remembered_ended_days", self.remembered_ended_days, 1..=3650, "days")?;
        let days = days.and_then(|days| i64::try_from(days).ok());
        Ok(days.map_or(Settings::default().remembered_ended, |days| Span::seconds(days * 86_400)))
    }

    fn watching(&self) -> Result<WatchBounds, ConfigError> {
        let default = WatchBounds::default();
        let bound = |setting, given: Option<u32>, default| {
            Ok::<_, ConfigError>(within(setting, given, 1..=1_000_000, "")?.unwrap_or(default))
        };
        Ok(WatchBounds {
            unread: bound("max_unread_revocations", self.max_unread_revocations, default.unread)?,
            per_token: bound("max_watchers_per_token", self.max_watchers_per_token, default.per_token)?,
            in_all: bound("max_watchers", self.max_watchers, default.in_all)?,
        })
    }

    fn clock_max_ahead(&self) -> Result<Option<Span>, ConfigError> {
        Ok(within("clock_max_ahead_days", self.clock_max_ahead_days, 1..=36_500, "days")?.map(days))
    }

    fn calls(&self) -> Result<CallBounds, ConfigError> {
        let default = CallBounds::default();
        let verifications = within("verifications_per_hour", self.verifications_per_hour, 0..=3600, "an hour")?;
        let read = within("ledger_read_seconds", self.ledger_read_seconds, 1..=3600, "seconds")?;
        let reads = within("ledger_reads_at_once", self.ledger_reads_at_once, 1..=1000, "reads")?;
        let calls = within("control_calls_at_once", self.control_calls_at_once, 1..=10_000, "calls")?;
        let rate = within("control_calls_per_second", self.control_calls_per_second, 0..=1_000_000, "calls")?;
        Ok(CallBounds {
            verifications_per_hour: verifications.unwrap_or(default.verifications_per_hour),
            ledger_read_seconds: read.unwrap_or(default.ledger_read_seconds),
            ledger_reads_at_once: reads.unwrap_or(default.ledger_reads_at_once),
            control_calls_at_once: calls.unwrap_or(default.control_calls_at_once),
            control_calls_per_second: rate.unwrap_or(default.control_calls_per_second),
        })
    }

    fn or(self, lower: Self) -> Self {
        Self {
            listen: self.listen.or(lower.listen),
            socket: self.socket.or(lower.socket),
            data_dir: self.data_dir.or(lower.data_dir),
            database_url: self.database_url.or(lower.database_url),
            clock_max_ahead_days: self.clock_max_ahead_days.or(lower.clock_max_ahead_days),
            journal_max_bytes: self.journal_max_bytes.or(lower.journal_max_bytes),
            books_max_lag: self.books_max_lag.or(lower.books_max_lag),
            journal_window_ms: self.journal_window_ms.or(lower.journal_window_ms),
            queue_capacity: self.queue_capacity.or(lower.queue_capacity),
            remembered_seconds: self.remembered_seconds.or(lower.remembered_seconds),
            remembered_max: self.remembered_max.or(lower.remembered_max),
            remembered_ended_days: self.remembered_ended_days.or(lower.remembered_ended_days),
            snapshot_interval_seconds: self.snapshot_interval_seconds.or(lower.snapshot_interval_seconds),
            max_message_size: self.max_message_size.or(lower.max_message_size),
            max_connections: self.max_connections.or(lower.max_connections),
            max_connections_per_peer: self.max_connections_per_peer.or(lower.max_connections_per_peer),
            connection_max_bytes: self.connection_max_bytes.or(lower.connection_max_bytes),
            connections_max_bytes: self.connections_max_bytes.or(lower.connections_max_bytes),
            max_call_wait_ms: self.max_call_wait_ms.or(lower.max_call_wait_ms),
            otlp_endpoint: self.otlp_endpoint.or(lower.otlp_endpoint),
            smtp_host: self.smtp_host.or(lower.smtp_host),
            smtp_port: self.smtp_port.or(lower.smtp_port),
            smtp_tls: self.smtp_tls.or(lower.smtp_tls),
            smtp_ca_file: self.smtp_ca_file.or(lower.smtp_ca_file),
            smtp_user: self.smtp_user.or(lower.smtp_user),
            smtp_password: self.smtp_password.or(lower.smtp_password),
            smtp_from: self.smtp_from.or(lower.smtp_from),
            webhook_allow: self.webhook_allow.or(lower.webhook_allow),
            webhook_proxy: self.webhook_proxy.or(lower.webhook_proxy),
            payment_url: self.payment_url.or(lower.payment_url),
            payment_secret: self.payment_secret.or(lower.payment_secret),
            max_keys: self.max_keys.or(lower.max_keys),
            max_members: self.max_members.or(lower.max_members),
            max_teams: self.max_teams.or(lower.max_teams),
            max_rules: self.max_rules.or(lower.max_rules),
            max_policies: self.max_policies.or(lower.max_policies),
            verifications_per_hour: self.verifications_per_hour.or(lower.verifications_per_hour),
            ledger_read_seconds: self.ledger_read_seconds.or(lower.ledger_read_seconds),
            ledger_reads_at_once: self.ledger_reads_at_once.or(lower.ledger_reads_at_once),
            control_calls_at_once: self.control_calls_at_once.or(lower.control_calls_at_once),
            control_calls_per_second: self.control_calls_per_second.or(lower.control_calls_per_second),
            max_order_usd: self.max_order_usd.or(lower.max_order_usd),
            max_pending_orders: self.max_pending_orders.or(lower.max_pending_orders),
            max_credit_requests: self.max_credit_requests.or(lower.max_credit_requests),
            max_credit_requests_per_day: self.max_credit_requests_per_day.or(lower.max_credit_requests_per_day),
            max_payment_methods: self.max_payment_methods.or(lower.max_payment_methods),
            max_keys_per_hour: self.max_keys_per_hour.or(lower.max_keys_per_hour),
            max_invitations_per_hour: self.max_invitations_per_hour.or(lower.max_invitations_per_hour),
            max_resends_per_day: self.max_resends_per_day.or(lower.max_resends_per_day),
            max_mails_per_hour: self.max_mails_per_hour.or(lower.max_mails_per_hour),
            max_mails_per_address: self.max_mails_per_address.or(lower.max_mails_per_address),
            max_open_per_key: self.max_open_per_key.or(lower.max_open_per_key),
            max_open: self.max_open.or(lower.max_open),
            max_label_bytes: self.max_label_bytes.or(lower.max_label_bytes),
            max_unread_revocations: self.max_unread_revocations.or(lower.max_unread_revocations),
            max_watchers_per_token: self.max_watchers_per_token.or(lower.max_watchers_per_token),
            max_watchers: self.max_watchers.or(lower.max_watchers),
            log: self.log.or(lower.log),
        }
    }
}

fn read(path: &Path) -> Result<Given, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    toml::from_str(&text).map_err(|error: toml::de::Error| {
        let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or_default());
        let line = before.matches('\n').count() + 1;
        ConfigError::Parse { path: path.to_owned(), line, problem: error.message().trim_end().replace('\n', ", ") }
    })
}

fn days(days: u32) -> Span {
    Span::seconds(i64::from(days) * 86_400)
}

fn invalid(setting: &'static str, problem: String) -> ConfigError {
    ConfigError::Invalid { setting, problem }
}

fn within<T: PartialOrd + Display>(
    setting: &'static str,
    given: Option<T>,
    range: RangeInclusive<T>,
    unit: &str,
) -> Result<Option<T>, ConfigError> {
    match given {
        Some(value) if !range.contains(&value) => {
            Err(invalid(setting, format!("{value} is out of range: give {} to {} {unit}", range.start(), range.end())))
        }
        given => Ok(given),
    }
}

fn check_data_dir(path: PathBuf) -> Result<PathBuf, ConfigError> {
    if path.as_os_str().is_empty() {
        return Err(invalid("data_dir", "is empty: name a directory, or leave it out".to_owned()));
    }
    Ok(path)
}

/// The rest of the URL is judged where it is used; what is said of it never shows the password.
fn check_database(url: Secret) -> Result<Secret, ConfigError> {
    if ["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme)) {
        return Ok(url);
    }
    let problem =
        "isn't the URL of a Postgres database: give one such as postgres://quotad@localhost/quotad, or leave it out";
    Err(invalid("database_url", problem.to_owned()))
}

/// The address may hold a token, so that nothing of it is repeated.
fn check_endpoint(url: Secret) -> Result<Secret, ConfigError> {
    let wrong = |problem: &str| Err(invalid("otlp_endpoint", problem.to_owned()));
    let uri = url.reveal().parse::<http::Uri>().ok().filter(|uri| uri.scheme_str() == Some("http"));
    let Some(authority) = uri.as_ref().and_then(http::Uri::authority).filter(|given| !given.host().is_empty()) else {
        return wrong("isn't the http:// address of a collector: give one such as http://127.0.0.1:4317");
    };
    let port = authority.as_str().rsplit_once(authority.host()).map_or("", |(_, port)| port);
    if !port.is_empty() && authority.port_u16().is_none_or(|port| port == 0) {
        return wrong("has something else than a port from 1 to 65535 behind the host's ':'");
    }
    if authority.as_str().contains('@') {
        return wrong(
            "holds a user name or password, which isn't sent: set OTEL_EXPORTER_OTLP_HEADERS in the environment instead",
        );
    }
    Ok(url)
}

/// Values of fields are compared as they are: patterns could keep the start busy for ever.
///
/// # Errors
/// When it is no filter.
pub fn log_filter(filter: &str) -> Result<EnvFilter, ParseError> {
    // h2 warns of each connection that it ends: whoever connects could fill the log with that.
    let filter = if filter.is_empty() { String::new() } else { format!("h2=error,{filter}") };
    EnvFilter::builder().with_regex(false).parse(filter)
}

fn check_log(filter: String) -> Result<String, ConfigError> {
    match log_filter(&filter) {
        Ok(_) => Ok(filter),
        Err(error) => Err(invalid("log", format!("`{filter}` isn't a log filter ({error}): give one such as `info`"))),
    }
}
