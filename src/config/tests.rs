use std::{env, io::Write as _, process::Command};

use clap::{Args as _, Parser};

use super::*;
use crate::{
    domain::money::Nanos,
    notify::{SmtpTls, WebhookSecret},
};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    serve: ServeArgs,
}

fn args(line: &[&str]) -> ServeArgs {
    Program::try_parse_from([&["serve"], line].concat()).unwrap().serve
}

/// Loads settings from flags and a file with this text.
fn load(line: &[&str], file: &str) -> Result<Settings, ConfigError> {
    let mut on_disk = tempfile::NamedTempFile::new().unwrap();
    on_disk.write_all(file.as_bytes()).unwrap();
    Settings::load(&ServeArgs { config: Some(on_disk.path().to_owned()), ..args(line) })
}

fn problem(line: &[&str], file: &str) -> String {
    load(line, file).unwrap_err().to_string()
}

/// That of the published test vector of Standard Webhooks.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[test]
fn nothing_given_means_the_defaults() {
    assert_eq!(Settings::load(&ServeArgs::default()).unwrap(), Settings::default());
    assert_eq!(load(&[], "").unwrap(), Settings::default());
}

/// Bounds of an organization and of its callers, by their settings.
fn default_bounds() -> [(&'static str, String); 25] {
    let default = Settings::default();
    [
        ("verifications_per_hour", default.calls.verifications_per_hour.to_string()),
        ("ledger_read_seconds", default.calls.ledger_read_seconds.to_string()),
        ("ledger_reads_at_once", default.calls.ledger_reads_at_once.to_string()),
        ("control_calls_at_once", default.calls.control_calls_at_once.to_string()),
        ("control_calls_per_second", default.calls.control_calls_per_second.to_string()),
        ("remembered_ended_days", (default.remembered_ended.as_micros() / 86_400_000_000).to_string()),
        ("max_keys", default.bounds.keys.to_string()),
        ("max_members", default.bounds.members.to_string()),
        ("max_teams", default.bounds.teams.to_string()),
        ("max_rules", default.bounds.rules.to_string()),
        ("max_policies", default.bounds.policies.to_string()),
        ("max_credit_requests", default.bounds.credit_requests.to_string()),
        ("max_credit_requests_per_day", default.bounds.credit_requests_per_day.to_string()),
        ("max_payment_methods", default.bounds.payment_methods.to_string()),
        ("max_keys_per_hour", default.bounds.keys_per_hour.to_string()),
        ("max_invitations_per_hour", default.bounds.invitations_per_hour.to_string()),
        ("max_resends_per_day", default.bounds.resends_per_day.to_string()),
        ("max_mails_per_hour", default.bounds.mails_per_hour.to_string()),
        ("max_mails_per_address", default.bounds.mails_per_address.to_string()),
        ("max_open_per_key", default.bounds.open_per_key.to_string()),
        ("max_open", default.bounds.open.to_string()),
        ("max_label_bytes", default.bounds.label_bytes.to_string()),
        ("max_unread_revocations", default.watching.unread.to_string()),
        ("max_watchers_per_token", default.watching.per_token.to_string()),
        ("max_watchers", default.watching.in_all.to_string()),
    ]
}

#[test]
fn defaults_pass_their_own_checks_and_stand_in_the_help() {
    let default = Settings::default();
    let given = Given {
        listen: Some(default.listen),
        data_dir: Some(default.data_dir.clone()),
        clock_max_ahead_days: Some(30),
        journal_max_bytes: Some(default.journal_max_bytes),
        books_max_lag: Some(default.books_max_lag),
        journal_window_ms: u64::try_from(default.journal_window.as_millis()).ok(),
        queue_capacity: u64::try_from(default.queue_capacity).ok(),
        remembered_seconds: u64::try_from(default.remembered.as_micros() / 1_000_000).ok(),
        remembered_max: u64::try_from(default.remembered_max).ok(),
        snapshot_interval_seconds: Some(default.snapshot_interval.as_secs()),
        max_message_size: u64::try_from(default.max_message_size).ok(),
        max_connections: u64::try_from(default.connections.max).ok(),
        max_connections_per_peer: u64::try_from(default.connections.max_per_peer).ok(),
        connection_max_bytes: u64::try_from(default.connections.bytes_each).ok(),
        connections_max_bytes: u64::try_from(default.connections.bytes).ok(),
        max_call_wait_ms: u64::try_from(default.connections.max_call_wait.as_millis()).ok(),
        otlp_endpoint: Some(Secret::default()),
        log: Some(default.log.clone()),
        max_keys: Some(default.bounds.keys),
        max_members: Some(default.bounds.members),
        max_teams: Some(default.bounds.teams),
        max_rules: Some(default.bounds.rules),
        max_policies: Some(default.bounds.policies),
        verifications_per_hour: Some(default.calls.verifications_per_hour),
        ledger_read_seconds: Some(default.calls.ledger_read_seconds),
        ledger_reads_at_once: Some(default.calls.ledger_reads_at_once),
        control_calls_at_once: Some(default.calls.control_calls_at_once),
        control_calls_per_second: Some(default.calls.control_calls_per_second),
        max_order_usd: Some(10_000),
        max_pending_orders: Some(default.orders.pending),
        ..Given::default()
    };
    assert_eq!(Settings::from_given(given).unwrap(), default);

    let help = |id: &str| {
        let command = ServeArgs::augment_args(clap::Command::new("serve"));
        command.get_arguments().find(|arg| arg.get_id() == id).unwrap().get_help().unwrap().to_string()
    };
    let bounds = default_bounds();
    let others = [
        ("listen", default.listen.to_string()),
        ("data_dir", format!("./{}", default.data_dir.display())),
        ("clock_max_ahead_days", String::from("30")),
        ("journal_max_bytes", default.journal_max_bytes.to_string()),
        ("books_max_lag", default.books_max_lag.to_string()),
        ("journal_window_ms", default.journal_window.as_millis().to_string()),
        ("queue_capacity", default.queue_capacity.to_string()),
        ("remembered_seconds", (default.remembered.as_micros() / 1_000_000).to_string()),
        ("remembered_max", default.remembered_max.to_string()),
        ("snapshot_interval_seconds", default.snapshot_interval.as_secs().to_string()),
        ("max_message_size", default.max_message_size.to_string()),
        ("max_pending_orders", default.orders.pending.to_string()),
        ("max_order_usd", default.orders.amount.to_string()),
        ("max_connections", default.connections.max.to_string()),
        ("max_connections_per_peer", default.connections.max_per_peer.to_string()),
        ("connection_max_bytes", default.connections.bytes_each.to_string()),
        ("connections_max_bytes", default.connections.bytes.to_string()),
        ("max_call_wait_ms", default.connections.max_call_wait.as_millis().to_string()),
        ("log", default.log),
    ];
    for (id, value) in others.into_iter().chain(bounds) {
        assert!(help(id).ends_with(&format!("[default: {value}]")), "{id}: {}", help(id));
    }
}

#[test]
fn every_flag_has_its_environment_variable_but_those_that_are_consent_for_one_start() {
    let command = ServeArgs::augment_args(clap::Command::new("serve"));
    for arg in command.get_arguments() {
        if arg.get_id().as_str().starts_with("accept_") {
            assert_eq!(arg.get_env(), None);
            continue;
        }
        let expected = format!("QUOTAD_{}", arg.get_id().as_str().to_uppercase());
        assert_eq!(arg.get_env().unwrap().to_str().unwrap(), expected);
        assert_eq!(arg.get_long().unwrap(), arg.get_id().as_str().replace('_', "-"));
    }
}

/// As [`other_bounds`] reads them.
const BOUNDS: &str = "max_keys = 1\nmax_members = 2\nmax_teams = 3\nmax_rules = 4\nmax_policies = 5\n\
        verifications_per_hour = 6\nledger_read_seconds = 7\nledger_reads_at_once = 8\ncontrol_calls_at_once = 9\n\
        control_calls_per_second = 10\n\
        max_credit_requests = 6\nmax_credit_requests_per_day = 7\nmax_payment_methods = 8\nmax_keys_per_hour = 9\n\
        max_invitations_per_hour = 10\nmax_resends_per_day = 11\nmax_mails_per_hour = 12\nmax_mails_per_address = 13\n\
        max_open_per_key = 14\nmax_open = 15\nmax_label_bytes = 16\n\
        remembered_ended_days = 7\nmax_unread_revocations = 17\nmax_watchers_per_token = 18\nmax_watchers = 19\n";

fn other_bounds() -> (Bounds, CallBounds, WatchBounds) {
    let bounds = Bounds {
        keys: 1,
        members: 2,
        teams: 3,
        rules: 4,
        policies: 5,
        credit_requests: 6,
        credit_requests_per_day: 7,
        payment_methods: 8,
        keys_per_hour: 9,
        invitations_per_hour: 10,
        resends_per_day: 11,
        mails_per_hour: 12,
        mails_per_address: 13,
        open_per_key: 14,
        open: 15,
        label_bytes: 16,
    };
    let calls = CallBounds {
        verifications_per_hour: 6,
        ledger_read_seconds: 7,
        ledger_reads_at_once: 8,
        control_calls_at_once: 9,
        control_calls_per_second: 10,
    };
    let watching = WatchBounds { unread: 17, per_token: 18, in_all: 19 };
    (bounds, calls, watching)
}

#[test]
fn every_key_of_the_file_is_taken() {
    let file = "listen = '[::1]:0'\ndata_dir = 'd'\njournal_window_ms = 0\nqueue_capacity = 5000\n\
        remembered_seconds = 3600\nremembered_max = 2000\nsnapshot_interval_seconds = 7\nmax_message_size = 8192\n\
        otlp_endpoint = 'http://collector:4317'\nlog = 'warn,quotad::journal=debug'\n\
        smtp_host = 'mail'\nsmtp_tls = 'plain'\nsmtp_ca_file = 'ca.pem'\nsmtp_user = 'quotad'\n\
        smtp_password = 'secret'\nsmtp_from = 'quotad@example.org'\npayment_url = 'https://pay.example.org/orders'\n\
        max_connections = 6\nmax_connections_per_peer = 0\nconnection_max_bytes = 1048576\nconnections_max_bytes = 16777216\n\
        max_order_usd = 6\nmax_pending_orders = 7\nmax_call_wait_ms = 900\n";
    let file = format!(
        "{file}{BOUNDS}payment_secret = '{SECRET}'\ndatabase_url = 'postgres://db/quotad'\njournal_max_bytes = 1048576\nbooks_max_lag = 3000\nclock_max_ahead_days = 7\nwebhook_allow = '127.0.0.1, 10.0.0.0/8'\nwebhook_proxy = 'http://proxy:3128'\nsocket = 'q.sock'\n"
    );
    let (bounds, calls, watching) = other_bounds();
    let expected = Settings {
        listen: "[::1]:0".parse().unwrap(),
        socket: Some("q.sock".into()),
        data_dir: "d".into(),
        database_url: Some("postgres://db/quotad".into()),
        accept_journal_loss: false,
        accept_clock: false,
        clock_max_ahead: Span::seconds(7 * 86_400),
        journal_max_bytes: 1 << 20,
        books_max_lag: 3000,
        journal_window: Duration::ZERO,
        queue_capacity: 5000,
        remembered: Span::HOUR,
        remembered_max: 2000,
        remembered_ended: Span::seconds(7 * 86_400),
        snapshot_interval: Duration::from_secs(7),
        max_message_size: 8192,
        connections: Connections {
            max: 6,
            max_per_peer: 0,
            bytes_each: 1 << 20,
            bytes: 16 << 20,
            max_call_wait: Duration::from_millis(900),
        },
        otlp_endpoint: Some("http://collector:4317".into()),
        smtp: Some(SmtpSettings {
            host: "mail".to_owned(),
            port: 25,
            tls: SmtpTls::Plain,
            ca_file: Some("ca.pem".into()),
            user: Some("quotad".to_owned()),
            password: Some("secret".to_owned()),
            from: "quotad@example.org".to_owned(),
            timeout: TIMEOUT,
        }),
        webhook_allow: Network::parse_list("webhook_allow", "127.0.0.1/32,10.0.0.0/8").unwrap(),
        webhook_proxy: Some(Proxy::parse("webhook_proxy", "http://proxy:3128/").unwrap()),
        payments: Some(PaymentSettings {
            url: "https://pay.example.org/orders".into(),
            secret: WebhookSecret::parse("secret", SECRET).unwrap(),
        }),
        calls,
        bounds,
        watching,
        orders: OrderTerms { by_provider: true, amount: Nanos::units(6), pending: 7 },
        log: "warn,quotad::journal=debug".to_owned(),
    };
    assert_eq!(load(&[], &file).unwrap(), expected);
}

#[test]
fn every_flag_beats_the_file() {
    let file = "listen = '[::1]:0'\ndata_dir = 'd'\njournal_window_ms = 0\nqueue_capacity = 5000\n\
        remembered_seconds = 3600\nremembered_max = 2000\nsnapshot_interval_seconds = 7\nmax_message_size = 8192\n\
        otlp_endpoint = 'http://collector:4317'\nlog = 'warn'\nsocket = 'q.sock'\n";
    let flags = "--socket r.sock --listen 0.0.0.0:1 --data-dir e --journal-window-ms 1 --queue-capacity 5001 --remembered-seconds 3601 \
        --remembered-max 2001 --snapshot-interval-seconds 8 --max-message-size 8193 --otlp-endpoint= --log error";
    let flags: Vec<_> = flags.split_whitespace().collect();
    let expected = Settings {
        listen: "0.0.0.0:1".parse().unwrap(),
        socket: Some("r.sock".into()),
        data_dir: "e".into(),
        journal_window: Duration::from_millis(1),
        queue_capacity: 5001,
        remembered: Span::seconds(3601),
        remembered_max: 2001,
        snapshot_interval: Duration::from_secs(8),
        max_message_size: 8193,
        otlp_endpoint: None,
        log: "error".to_owned(),
        ..Settings::default()
    };
    assert_eq!(load(&flags, file).unwrap(), expected);
}

const CHILD: &str = "CONFIG_TEST_CHILD";

/// Environment variables can't be set safely within a process: a child, told by [`CHILD`], looks at its own.
#[test]
fn flags_beat_the_environment_which_beats_the_file() {
    if env::var_os(CHILD).is_some() {
        let settings = load(&["--queue-capacity", "3000"], "queue_capacity = 1000\nlog = 'warn'\ndata_dir = 'file'");
        let settings = settings.unwrap();
        assert_eq!((settings.queue_capacity, settings.log.as_str()), (3000, "error"));
        assert_eq!(settings.data_dir, Path::new("file"));
        return;
    }
    let this = "config::tests::flags_beat_the_environment_which_beats_the_file";
    let child = Command::new(env::current_exe().unwrap())
        .args(["--exact", this])
        .envs([(CHILD, "1"), ("QUOTAD_QUEUE_CAPACITY", "2000"), ("QUOTAD_LOG", "error")])
        .output()
        .unwrap();
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && output.contains("1 passed"), "{output}");
}

#[test]
fn an_unknown_key_is_an_error_that_names_it_with_file_and_line() {
    let problem = problem(&[], "# Settings\nlog = 'info'\nqueue_capacty = 5000\n");
    assert!(problem.contains(":3: unknown field `queue_capacty`"), "{problem}");
    assert!(problem.contains("`queue_capacity`"), "names what is known: {problem}");
}

#[test]
fn a_value_of_the_wrong_kind_is_an_error_with_file_and_line() {
    for (file, expected) in [
        ("\nlisten = 'nowhere'", ":2: invalid socket address"),
        ("\n\nqueue_capacity = 'many'", ":3: invalid type: string \"many\""),
        ("log = 'info'\nqueue_capacity = -1", ":2: invalid value: integer `-1`"),
        ("log = 'info'\nlog = 'warn'", ":2: duplicate key"),
        ("log = ", ":1: "),
    ] {
        let problem = problem(&[], file);
        assert!(problem.contains(expected), "{problem}");
        assert!(!problem.contains('\n'), "one line: {problem}");
    }
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let args = ServeArgs { config: Some("no/such.toml".into()), ..ServeArgs::default() };
    let problem = Settings::load(&args).unwrap_err().to_string();
    assert!(problem.starts_with("the settings file no/such.toml can't be read: No such file"), "{problem}");
}

#[test]
fn values_out_of_range_name_the_setting_the_value_and_the_range() {
    for (setting, value, range) in [
        ("clock_max_ahead_days", "0", "1 to 36500 days"),
        ("journal_window_ms", "1001", "0 to 1000 milliseconds"),
        ("queue_capacity", "999", "1000 to 10000000 records"),
        ("remembered_seconds", "59", "60 to 86400 seconds"),
        ("remembered_max", "0", "1000 to 100000000 request ids"),
        ("snapshot_interval_seconds", "0", "1 to 86400 seconds"),
        ("max_message_size", "67108865", "4096 to 67108864 bytes"),
        ("max_connections_per_peer", "1000001", "0 to 1000000 connections"),
        ("max_connections", "1000001", "0 to 1000000 connections"),
        ("connection_max_bytes", "1048575", "1048576 to 4294967296 bytes"),
        ("connections_max_bytes", "16777215", "16777216 to 1099511627776 bytes"),
        ("max_call_wait_ms", "9", "10 to 60000 milliseconds"),
    ] {
        let expected = format!("{setting}: {value} is out of range: give {range}");
        assert_eq!(problem(&[], &format!("{setting} = {value}")), expected);
        assert_eq!(problem(&[&format!("--{}={value}", setting.replace('_', "-"))], ""), expected);
    }
}

#[test]
fn texts_that_mean_nothing_are_errors() {
    for url in ["collector", "https://collector:4317", "http://", "ftp://collector", "http:// x"] {
        let problem = problem(&[&format!("--otlp-endpoint={url}")], "");
        assert!(problem.starts_with("otlp_endpoint: isn't the http:// address"), "{problem}");
    }
    let problem = problem(&["--log", "quotad=loud"], "");
    assert!(problem.starts_with("log: `quotad=loud` isn't a log filter ("), "{problem}");
    assert!(load(&[], "data_dir = ''").unwrap_err().to_string().starts_with("data_dir: is empty"));
}

#[test]
fn no_error_and_no_debugging_shows_a_secret() {
    let broken = [
        ("database_url", "mysql://u:hunter2@db/quotad"),
        ("database_url", "hunter2"),
        ("otlp_endpoint", "http://u:hunter2@collector:4317"),
        ("otlp_endpoint", "https://u:hunter2@collector:4317"),
        ("otlp_endpoint", "http://collector:4317 hunter2"),
        ("otlp_endpoint", "hunter2"),
        ("otlp_endpoint", "http://collector:hunter2"),
        ("smtp_password", "hunter2"),
        ("payment_url", "https://u:hunter2@pay.example.org/"),
        ("payment_url", "https://pay.example.org:hunter2/"),
        ("payment_url", "hunter2"),
        ("payment_secret", "hunter2"),
        ("payment_secret", "whsec_hunter2"),
        ("webhook_proxy", "https://u:hunter2@proxy:3128"),
        ("webhook_proxy", "http://u:hunter2@proxy:3128/path"),
        ("webhook_proxy", "http://u:hunter2@proxy:port"),
        ("webhook_proxy", "http://u:hunter2%zz@proxy"),
        ("webhook_proxy", "hunter2"),
    ];
    for (setting, value) in broken {
        let both = match setting {
            "payment_url" => format!("payment_secret = '{SECRET}'\n"),
            "payment_secret" => String::from("payment_url = 'https://pay.example.org'\n"),
            _ => String::new(),
        };
        let flag = format!("--{}={value}", setting.replace('_', "-"));
        let given = args(&[&flag]);
        for error in [load(&[], &format!("{both}{setting} = '{value}'")), load(&[&flag], &both)].map(Result::unwrap_err)
        {
            let said = format!("{error} {error:?} {given:?}");
            assert!(said.contains(setting) && !said.contains("hunter2"), "{said}");
        }
    }
    for setting in ["database_url", "otlp_endpoint", "smtp_password", "payment_url", "payment_secret", "webhook_proxy"]
    {
        for value in
            ["421337", "4213.37", "[421337]", "{ a = 421337 }", "'421337", "421337x", "x421337", "2013-04-21T13:37:00Z"]
        {
            let error = load(&[], &format!("{setting} = {value}")).unwrap_err();
            let said = format!("{error} {error:?}");
            assert!(!said.contains("1337") && !said.contains("13:37"), "{said}");
        }
    }
}

#[test]
fn settings_that_were_taken_show_no_secret_either() {
    let file = format!(
        "database_url = 'postgres://u:hunter2@db/quotad'\notlp_endpoint = 'http://collector/hunter2'\n\
         smtp_host = 'mail'\nsmtp_from = 'a@example.org'\nsmtp_user = 'a'\nsmtp_password = 'hunter2'\n\
         webhook_proxy = 'http://u:hunter2@proxy.example.org:3128'\n\
         payment_url = 'https://pay.example.org/hunter2'\npayment_secret = '{SECRET}'\n"
    );
    let shown = format!("{:?}", load(&[], &file).unwrap());
    assert!(shown.contains("example.org") && !shown.contains("hunter2"), "{shown}");
    assert!(!shown.contains(&SECRET[8..]), "{shown}");
}

#[test]
fn settings_that_belong_together_are_given_together() {
    for (file, setting) in [
        ("smtp_from = 'a@example.org'", "smtp_from"),
        ("smtp_host = 'mail'", "smtp_from"),
        ("smtp_host = 'mail'\nsmtp_from = 'no address'", "smtp_from"),
        ("smtp_host = 'mail'\nsmtp_from = 'a@example.org'\nsmtp_user = 'a'", "smtp_password"),
        ("payment_url = 'https://pay.example.org'", "payment_secret"),
        ("payment_secret = 'whsec_x'", "payment_secret"),
        (
            "payment_url = 'ftp://pay.example.org'\npayment_secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'",
            "payment_url",
        ),
        ("max_rules = 0", "max_rules"),
        ("connection_max_bytes = 2000000", "connection_max_bytes: 2000000 is less than two messages"),
        (
            "connection_max_bytes = 33554432\nconnections_max_bytes = 16777216",
            "connections_max_bytes: 16777216 is less",
        ),
        ("webhook_allow = 'localhost'", "webhook_allow"),
    ] {
        let error = load(&[], file).unwrap_err().to_string();
        assert!(error.starts_with(setting), "{file}: {error}");
    }
}
