//! Settings that hold a password, broken in many ways: nothing that the server prints repeats it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::server::{command, refused};

const PASSWORD: &str = "hunter2";
/// That of the published test vector of Standard Webhooks.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const MAIL: [(&str, &str); 2] = [("QUOTAD_SMTP_HOST", "127.0.0.1"), ("QUOTAD_SMTP_FROM", "quotad@example.org")];

/// What a start with these variables says before it fails.
fn said(directory: &Path, variables: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quotad"));
    // Libraries tell more of what they were given where much is logged.
    command.args(["serve", "--listen", "127.0.0.1:0", "--log", "debug", "--data-dir"]).arg(directory);
    command.envs(variables.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let (status, said) = refused(command);
    assert!(!status.success(), "{variables:?}");
    said
}

#[test]
fn a_start_that_is_refused_repeats_no_password() {
    let directory = tempfile::tempdir().unwrap();
    let pay = ("QUOTAD_PAYMENT_URL", "https://pay.example.org/");
    let signed = ("QUOTAD_PAYMENT_SECRET", SECRET);
    let user = ("QUOTAD_SMTP_USER", "quotad");
    let password = ("QUOTAD_SMTP_PASSWORD", "hunter2");
    let broken: [Vec<(&str, &str)>; 18] = [
        vec![("QUOTAD_DATABASE_URL", "postgres://u:hunter2@db/quotad?sslmode=hunter2")],
        vec![("QUOTAD_DATABASE_URL", "postgres://u:a?sslmode=hunter2@db/quotad")],
        vec![("QUOTAD_DATABASE_URL", "postgres://u:hunter2@db:hunter2/quotad")],
        vec![("QUOTAD_DATABASE_URL", "postgres://u:hunter2@db/quotad?pasword=hunter2")],
        vec![("QUOTAD_DATABASE_URL", "mysql://u:hunter2@db/quotad")],
        // Sound, but nobody answers there.
        vec![("QUOTAD_DATABASE_URL", "postgres://u:hunter2@127.0.0.1:1/quotad")],
        vec![("QUOTAD_OTLP_ENDPOINT", "http://u:hunter2@collector:4317")],
        vec![("QUOTAD_OTLP_ENDPOINT", "grpc://u:hunter2@collector:4317")],
        vec![("QUOTAD_OTLP_ENDPOINT", "http://collector:hunter2")],
        vec![("QUOTAD_PAYMENT_URL", "https://u:hunter2@pay.example.org/"), signed],
        vec![("QUOTAD_PAYMENT_URL", "https://pay.example.org:hunter2/"), signed],
        vec![pay, ("QUOTAD_PAYMENT_SECRET", "hunter2")],
        vec![pay, ("QUOTAD_PAYMENT_SECRET", "whsec_hunter2")],
        vec![user, password],
        vec![MAIL[0], MAIL[1], password],
        vec![("QUOTAD_SMTP_HOST", "smtp://u:hunter2@mail"), MAIL[1]],
        vec![("QUOTAD_WEBHOOK_PROXY", "https://u:hunter2@proxy:3128")],
        vec![("QUOTAD_WEBHOOK_PROXY", "http://u:hunter2@proxy:port")],
    ];
    for variables in &broken {
        let said = said(directory.path(), variables);
        assert!(!said.is_empty() && !said.contains(PASSWORD), "{variables:?}: {said}");
    }
}

#[test]
fn the_help_shows_no_password_of_the_environment() {
    let mut command = command(tempfile::tempdir().unwrap().path());
    for name in ["DATABASE_URL", "OTLP_ENDPOINT", "SMTP_PASSWORD", "PAYMENT_URL", "PAYMENT_SECRET", "WEBHOOK_PROXY"] {
        command.env(format!("QUOTAD_{name}"), PASSWORD);
    }
    let output = command.arg("--help").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("--payment-secret") && !said.contains(PASSWORD), "{said}");
}
