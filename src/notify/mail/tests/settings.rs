//! Which settings make a mailer.

use super::*;

#[track_caller]
fn assert_refused(field: &str, because: &str, change: impl FnOnce(&mut SmtpSettings)) {
    let mut settings = settings(25);
    change(&mut settings);
    let error = Mailer::new(&settings).err().expect("it was accepted");
    assert_eq!(error.field, field, "{error}");
    assert!(error.problem.contains(because), "{error}");
}

#[test]
fn settings_that_can_not_work_are_refused_by_name() {
    assert_refused("host", "isn't a host", |settings| settings.host.clear());
    assert_refused("host", "isn't a host", |settings| settings.host = "mail example".to_owned());
    let url = "smtp://quotad:hunter2@mail.example.com";
    let error = Mailer::new(&SmtpSettings { host: url.to_owned(), ..settings(25) }).map(|_| ()).unwrap_err();
    assert!(!error.to_string().contains("hunter2"), "{error}");
    assert_refused("port", "is 0", |settings| settings.port = 0);
    assert_refused("timeout", "is 0", |settings| settings.timeout = Duration::ZERO);
    assert_refused("user", "is missing", |settings| settings.password = Some("word".to_owned()));
    assert_refused("password", "is missing", |settings| settings.user = Some("me".to_owned()));
    assert_refused("ca_file", "isn't encrypted", |settings| settings.ca_file = Some("ca.pem".into()));
    assert_refused("ca_file", "can't be read", |settings| {
        (settings.tls, settings.ca_file) = (SmtpTls::Tls, Some("no such folder/ca.pem".into()));
    });
}

#[test]
fn a_sender_is_one_address_in_ascii() {
    for from in ["", "quotad", "a@example.com, b@example.com", "a@b@example.com"] {
        assert_refused("from", "isn't a sender", |settings| settings.from = from.to_owned());
    }
    assert_refused("from", "control characters", |settings| settings.from = "A\r\nB <a@example.com>".to_owned());
    assert_refused("from", "xn--", |settings| settings.from = "a@bücher.example".to_owned());
    assert_refused("from", "no domain name", |settings| settings.from = "a@127.0.0.1".to_owned());
    for from in ["quotad@example.com", "Über-Quotas <quotad@example.com>"] {
        Mailer::new(&SmtpSettings { from: from.to_owned(), ..settings(25) }).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn every_accepted_contact_is_an_address_to_the_mailer() {
    for address in ["ops@example.com", "a.b+c!d@localhost", "jürgen@bücher.example", "\"a@b\"@example.com"] {
        check_email("email", address).unwrap();
        address.parse::<Address>().unwrap();
    }
}

#[test]
fn a_password_does_not_show_when_debugged() {
    let settings = SmtpSettings { password: Some("hunter2".to_owned()), ..settings(25) };
    let shown = format!("{settings:?}");
    assert!(shown.contains("localhost") && !shown.contains("hunter2"), "{shown}");
}
