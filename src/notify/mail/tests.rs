use std::{iter, net::Ipv4Addr};

use mail_parser::MessageParser;
use tokio::net::TcpListener;

use self::server::{Fault, Faults, Mail, PASSWORD, Server, USER};
use super::*;
use crate::notify::{one_line, tests::authority::Authority};

mod server;
mod settings;

const SHORT: Duration = Duration::from_millis(200);

fn settings(port: u16) -> SmtpSettings {
    SmtpSettings {
        host: "localhost".to_owned(),
        port,
        tls: SmtpTls::Plain,
        ca_file: None,
        user: None,
        password: None,
        from: "Quotas & Co <quotad@example.com>".to_owned(),
        timeout: Duration::from_secs(20),
    }
}

fn message() -> Message {
    Message {
        id: "alert:1.a".to_owned(),
        subject: "Budget über 80%".to_owned(),
        heading: "Team <research> & friends".to_owned(),
        lines: vec!["It's at \"80%\".".to_owned(), ".".to_owned()],
        facts: vec![("Spent".to_owned(), "80.00 USD".to_owned()), ("Max".to_owned(), "<100>".to_owned())],
    }
}

/// A server with faults, and the settings to reach it.
async fn server(faults: Faults) -> (Server, SmtpSettings) {
    let server = Server::start(SmtpTls::Plain, &Authority::new(), faults).await;
    let settings = settings(server.port);
    (server, settings)
}

fn no_faults() -> Faults {
    Box::new(|_| None)
}

async fn send(settings: &SmtpSettings, to: &[&str]) -> Result<(), DeliveryError> {
    let to: Vec<_> = to.iter().map(ToString::to_string).collect();
    Mailer::new(settings).unwrap().send(&to, &message()).await
}

/// The recipients of the mails that were accepted, in order.
fn recipients(server: &mut Server) -> Vec<String> {
    iter::from_fn(|| server.mails.try_recv().ok()).flat_map(|mail| mail.to).collect()
}

#[track_caller]
fn assert_retriable(result: Result<(), DeliveryError>, because: &[&str]) {
    let Err(DeliveryError::Retriable(problem)) = result else { panic!("{result:?}") };
    assert!(because.iter().all(|because| problem.contains(because)), "{problem}");
}

#[track_caller]
fn assert_permanent(result: Result<(), DeliveryError>, because: &[&str]) {
    let Err(DeliveryError::Permanent(problem)) = result else { panic!("{result:?}") };
    assert!(because.iter().all(|because| problem.contains(because)), "{problem}");
}

#[tokio::test]
async fn a_mail_arrives_as_text_and_html_and_nothing_in_it_is_markup() {
    let (mut server, settings) = server(no_faults()).await;
    assert_eq!(send(&settings, &["ops@example.com"]).await, Ok(()));
    let Mail { from, to, data } = server.mails.recv().await.unwrap();
    assert_eq!((from.as_str(), to.as_slice()), ("<quotad@example.com>", ["<ops@example.com>".to_owned()].as_slice()));
    let mail = MessageParser::default().parse(&data).unwrap();
    assert_eq!(mail.subject(), Some("Budget über 80%"));
    let sender = mail.from().unwrap().first().unwrap();
    assert_eq!((sender.name(), sender.address()), (Some("Quotas & Co"), Some("quotad@example.com")));
    assert_eq!(mail.message_id(), Some("quotad-alert%3A1%2Ea@example.com"));
    assert_eq!(mail.header_raw("Auto-Submitted").map(str::trim), Some("auto-generated"));
    assert!(mail.date().is_some());
    let text = "Team <research> & friends\n\nIt's at \"80%\".\n\n.\n\nSpent: 80.00 USD\nMax: <100>\n";
    assert_eq!(mail.body_text(0).unwrap().replace("\r\n", "\n"), text);
    let html = mail.body_html(0).unwrap();
    for part in [
        "<h1 style=\"font-size: 1.3em\">Team &lt;research&gt; &amp; friends</h1>",
        "<p>It&#39;s at &quot;80%&quot;.</p>",
        "<th align=\"left\">Max</th><td>&lt;100&gt;</td>",
    ] {
        assert!(html.contains(part), "{part} in {html}");
    }
}

#[tokio::test]
async fn a_repeat_has_the_same_message_id_and_another_message_another() {
    let (mut server, settings) = server(no_faults()).await;
    let mailer = Mailer::new(&settings).unwrap();
    let to = ["ops@example.com".to_owned()];
    for id in ["a.b", "a.b", "a%2Eb", "ä>\r\nX: y"] {
        mailer.send(&to, &Message { id: id.to_owned(), ..message() }).await.unwrap();
    }
    let mut ids = Vec::new();
    while let Ok(mail) = server.mails.try_recv() {
        ids.push(MessageParser::default().parse(&mail.data).unwrap().message_id().unwrap().to_owned());
    }
    assert_eq!(ids[0], ids[1]);
    assert_eq!(ids[2], "quotad-a%252Eb@example.com");
    assert_eq!(ids[3], "quotad-%C3%A4%3E%0D%0AX%3A%20y@example.com");
}

#[tokio::test]
async fn line_breaks_in_a_message_add_no_header_and_end_no_mail() {
    let (mut server, settings) = server(no_faults()).await;
    let evil = "a\r\nBcc: all@example.com\r\n\r\n<b>\r\n.\r\nQUIT\r\n\0\r\u{1b}".to_owned();
    let message = Message {
        id: evil.clone(),
        subject: evil.clone(),
        heading: evil.clone(),
        lines: vec![evil.clone()],
        facts: vec![(evil.clone(), evil.clone())],
    };
    let mailer = Mailer::new(&settings).unwrap();
    assert_eq!(mailer.send(&["ops@example.com".to_owned()], &message).await, Ok(()));
    let data = server.mails.recv().await.unwrap().data;
    let mail = MessageParser::default().parse(&data).unwrap();
    assert!(mail.bcc().is_none());
    assert_eq!(mail.subject().unwrap(), one_line(&evil).trim_end());
    let names: Vec<_> = mail.headers().iter().map(|header| header.name().to_owned()).collect();
    let expected = ["From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Date", "Content-Type"];
    assert!(names.len() == expected.len() && names.iter().all(|name| expected.contains(&name.as_str())), "{names:?}");
    assert!(!mail.body_html(0).unwrap().contains("<b>"));
    let text = mail.body_text(0).unwrap();
    assert!(!text.contains(['\0', '\u{1b}']));
    assert!(
        !text.lines().any(|line| line.starts_with("Bcc") || line.starts_with("QUIT")),
        "looks like a row: {text:?}"
    );
    assert_eq!(server.heard("QUIT"), 1);
}

#[tokio::test]
async fn each_recipient_gets_a_mail_of_its_own_over_one_connection() {
    let (mut server, settings) = server(no_faults()).await;
    assert_eq!(send(&settings, &["a@example.com", "b@example.com"]).await, Ok(()));
    assert_eq!(server.heard("CONNECT"), 1);
    for address in ["<a@example.com>", "<b@example.com>"] {
        let mail = server.mails.recv().await.unwrap();
        assert_eq!(mail.to, [address]);
        let to = MessageParser::default().parse(&mail.data).unwrap().header_raw("To").unwrap().trim().to_owned();
        assert!(address.contains(&to), "{to}");
    }
}

#[tokio::test]
async fn a_refused_recipient_takes_nothing_from_the_others() {
    let refuse = |line: &str| (line == "RCPT TO:<b@example.com>").then_some(Fault::Say("550 5.1.1 no such user"));
    let (mut server, settings) = server(Box::new(refuse)).await;
    let result = send(&settings, &["a@example.com", "b@example.com", "no address", "c@example.com"]).await;
    assert_permanent(result, &["localhost:", "b@example.com: ", "550", "no such user", "\"no address\""]);
    assert_eq!(recipients(&mut server), ["<a@example.com>", "<c@example.com>"]);
}

#[tokio::test]
async fn a_failure_that_may_pass_outweighs_a_refusal() {
    let refuse = |line: &str| match line {
        "RCPT TO:<a@example.com>" => Some(Fault::Say("550 5.1.1 no such user")),
        "RCPT TO:<b@example.com>" => Some(Fault::Say("450 4.2.1 greylisted")),
        _ => None,
    };
    let (mut server, settings) = server(Box::new(refuse)).await;
    let result = send(&settings, &["a@example.com", "b@example.com", "c@example.com"]).await;
    assert_retriable(result, &["a@example.com", "no such user", "b@example.com", "greylisted"]);
    assert_eq!(recipients(&mut server), ["<c@example.com>"]);
}

#[tokio::test]
async fn the_outcome_is_told_for_each_recipient_in_order() {
    let refuse = |line: &str| match line {
        "RCPT TO:<a@example.com>" => Some(Fault::Say("550 5.1.1 no such user")),
        "RCPT TO:<c@example.com>" => Some(Fault::Say("450 4.2.1 greylisted")),
        _ => None,
    };
    let (_server, settings) = server(Box::new(refuse)).await;
    let to = ["a@example.com", "b@example.com", "c@example.com", "no address"].map(ToOwned::to_owned);
    let outcomes = Mailer::new(&settings).unwrap().send_each(&to, &message()).await;
    let [a, b, c, none] = <[_; 4]>::try_from(outcomes).unwrap();
    assert_permanent(a, &["a@example.com"]);
    assert_eq!(b, Ok(()));
    assert_retriable(c, &["c@example.com"]);
    assert_permanent(none, &["\"no address\""]);
}

#[tokio::test]
async fn a_server_that_takes_one_mail_a_connection_leaves_the_rest_for_later() {
    let mut mails = 0;
    let close = move |line: &str| {
        mails += usize::from(line.starts_with("MAIL"));
        (mails == 2 && line.starts_with("MAIL")).then_some(Fault::Say("421 4.7.0 one is enough"))
    };
    let (mut server, settings) = server(Box::new(close)).await;
    let to = ["a@example.com", "b@example.com", "c@example.com"].map(ToOwned::to_owned);
    let outcomes = Mailer::new(&settings).unwrap().send_each(&to, &message()).await;
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    assert_retriable(outcomes[1].clone(), &["b@example.com", "421"]);
    assert_eq!(recipients(&mut server), ["<a@example.com>", "<c@example.com>"]);
    assert_eq!(server.heard("CONNECT"), 2);
}

#[tokio::test]
async fn a_mail_put_off_is_accepted_at_the_next_attempt() {
    for stage in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let mut failed = false;
        let once = move |line: &str| {
            let fails = !failed && line.starts_with(stage);
            failed |= fails;
            fails.then_some(Fault::Say("451 4.3.0 later"))
        };
        let (mut server, settings) = server(Box::new(once)).await;
        assert_retriable(send(&settings, &["a@example.com"]).await, &["localhost:", "451", "later"]);
        assert_eq!(send(&settings, &["a@example.com"]).await, Ok(()), "{stage}");
        assert_eq!(recipients(&mut server), ["<a@example.com>"], "{stage}");
    }
}

#[tokio::test]
async fn a_mail_refused_for_its_content_is_refused_for_good() {
    let refuse = |line: &str| (line == ".").then_some(Fault::Say("554 5.6.0 not that"));
    let (mut server, settings) = server(Box::new(refuse)).await;
    assert_permanent(send(&settings, &["a@example.com"]).await, &["554", "not that"]);
    assert!(recipients(&mut server).is_empty());
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_in_time() {
    for stage in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let hang = move |line: &str| line.starts_with(stage).then_some(Fault::Hang);
        let (_server, mut settings) = server(Box::new(hang)).await;
        settings.timeout = SHORT;
        assert_retriable(send(&settings, &["a@example.com"]).await, &["localhost:", "within 200ms"]);
    }
}

#[tokio::test]
async fn a_server_that_hangs_at_the_parting_has_delivered() {
    let (mut server, mut settings) = server(Box::new(|line| (line == "QUIT").then_some(Fault::Hang))).await;
    settings.timeout = Duration::from_secs(1);
    assert_eq!(send(&settings, &["a@example.com"]).await, Ok(()));
    assert_eq!(recipients(&mut server), ["<a@example.com>"]);
}

#[tokio::test]
async fn a_server_that_hangs_up_is_worth_another_try() {
    for stage in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        let close = move |line: &str| line.starts_with(stage).then_some(Fault::Close);
        let (_server, settings) = server(Box::new(close)).await;
        assert_retriable(send(&settings, &["a@example.com"]).await, &["localhost:"]);
    }
}

#[tokio::test]
async fn a_server_that_can_not_be_reached_is_asked_once_for_all() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let Err(DeliveryError::Retriable(problem)) = send(&settings(port), &["a@example.com", "b@example.com"]).await
    else {
        panic!("delivered to nobody")
    };
    assert_eq!(problem.matches("no session").count(), 1, "{problem}");
    assert!(problem.starts_with(&format!("localhost:{port}: ")), "{problem}");
}

#[tokio::test]
async fn a_login_is_made_before_mail_is_sent() {
    let (mut server, mut settings) = server(no_faults()).await;
    (settings.user, settings.password) = (Some(USER.to_owned()), Some(PASSWORD.to_owned()));
    assert_eq!(send(&settings, &["a@example.com"]).await, Ok(()));
    assert_eq!((server.heard("AUTH PLAIN "), recipients(&mut server).len()), (1, 1));
}

#[tokio::test]
async fn a_wrong_password_can_be_put_right() {
    let (mut server, mut settings) = server(no_faults()).await;
    (settings.user, settings.password) = (Some(USER.to_owned()), Some("hunter2".to_owned()));
    let result = send(&settings, &["a@example.com"]).await;
    assert!(!format!("{result:?}").contains("hunter2"));
    assert_retriable(result, &["535", "authentication failed"]);
    assert!(recipients(&mut server).is_empty());
}

#[tokio::test]
async fn a_missing_login_can_be_put_right() {
    let refuse = |line: &str| line.starts_with("MAIL").then_some(Fault::Say("530 5.7.0 log in first"));
    let (_server, settings) = server(Box::new(refuse)).await;
    assert_retriable(send(&settings, &["a@example.com"]).await, &["530", "log in first"]);
}

#[tokio::test]
async fn an_address_in_utf8_is_refused_where_the_server_can_not_take_it() {
    let (mut server, settings) = server(no_faults()).await;
    let result = send(&settings, &["jürgen@example.com", "a@example.com"]).await;
    assert_permanent(result, &["jürgen@example.com", "SMTPUTF8"]);
    assert_eq!(recipients(&mut server), ["<a@example.com>"]);
}

#[tokio::test]
async fn no_recipients_need_no_connection() {
    let (server, settings) = server(no_faults()).await;
    assert_eq!(send(&settings, &[]).await, Ok(()));
    assert_eq!(server.heard("CONNECT"), 0);
}

async fn encrypted(tls: SmtpTls, authority: &Authority) -> (Server, SmtpSettings) {
    let server = Server::start(tls, authority, no_faults()).await;
    let settings = SmtpSettings {
        tls,
        ca_file: Some(authority.ca_file().to_owned()),
        user: Some(USER.to_owned()),
        password: Some(PASSWORD.to_owned()),
        ..settings(server.port)
    };
    (server, settings)
}

#[tokio::test]
async fn a_mail_goes_encrypted_to_a_server_of_the_operators_authority() {
    let authority = Authority::new();
    for tls in [SmtpTls::StartTls, SmtpTls::Tls] {
        let (mut server, settings) = encrypted(tls, &authority).await;
        assert_eq!(send(&settings, &["a@example.com"]).await, Ok(()), "{tls:?}");
        assert_eq!(recipients(&mut server), ["<a@example.com>"]);
        assert_eq!(server.heard("STARTTLS"), usize::from(tls == SmtpTls::StartTls));
    }
}

#[tokio::test]
async fn a_server_of_another_authority_or_name_is_told_nothing() {
    let (authority, other) = (Authority::new(), Authority::new());
    for tls in [SmtpTls::StartTls, SmtpTls::Tls] {
        let (server, settings) = encrypted(tls, &authority).await;
        let other = SmtpSettings { ca_file: Some(other.ca_file().to_owned()), ..settings.clone() };
        let none = SmtpSettings { ca_file: None, ..settings.clone() };
        let elsewhere = SmtpSettings { host: "127.0.0.1".to_owned(), ..settings };
        for settings in [other, none, elsewhere] {
            assert_retriable(send(&settings, &["a@example.com"]).await, &["certificate"]);
        }
        assert_eq!(server.heard("AUTH") + server.heard("MAIL"), 0, "{tls:?}");
    }
}

#[tokio::test]
async fn a_server_that_can_not_encrypt_is_told_nothing() {
    let authority = Authority::new();
    let (server, settings) = encrypted(SmtpTls::Plain, &authority).await;
    let settings = SmtpSettings { tls: SmtpTls::StartTls, ..settings };
    assert_retriable(send(&settings, &["a@example.com"]).await, &["STARTTLS"]);
    assert_eq!(server.heard("AUTH") + server.heard("MAIL"), 0);
}
