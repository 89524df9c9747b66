//! The mail server that `notify`'s own tests run against, in the moods that these tests want.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use mail_parser::MessageParser;
use quotad::notify::SmtpSettings;
pub(crate) use quotad::notify::SmtpTls;

use self::{
    server::{Fault, PASSWORD, Server, USER},
    tests::authority::Authority,
};

#[path = "../../src/notify/mail/tests/server.rs"]
#[allow(dead_code, reason = "made for other tests, of which these use a part")]
mod server;
#[path = "authority.rs"]
pub(crate) mod tests;

/// How the server takes what comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Sound,
    /// Answers nobody at all.
    Busy,
    /// Says nothing after the greeting, for ever.
    Hangs,
    /// Has no mailbox of this name, and won't.
    Unknown(&'static str),
    /// Can't take mail for this name just now.
    Full(&'static str),
}

pub(crate) struct MailServer {
    server: Server,
    authority: Authority,
    tls: SmtpTls,
    mood: Arc<Mutex<Mood>>,
}

/// A mail that was accepted, for one recipient.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) to: String,
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

impl Letter {
    /// What stands beside a label in the text.
    pub(crate) fn fact(&self, label: &str) -> &str {
        let found = self.text.lines().filter_map(|line| line.split_once(": ")).find(|(found, _)| *found == label);
        found.unwrap_or_else(|| panic!("no {label} in {}", self.text)).1.trim()
    }
}

impl MailServer {
    pub(crate) async fn start(mood: Mood) -> Self {
        Self::encrypted(SmtpTls::Plain, mood).await
    }

    pub(crate) async fn encrypted(tls: SmtpTls, mood: Mood) -> Self {
        let (authority, mood) = (Authority::new(), Arc::new(Mutex::new(mood)));
        let current = Arc::clone(&mood);
        let faults = move |command: &str| match *current.lock().unwrap() {
            Mood::Busy if command == "CONNECT" => Some(Fault::Say("421 4.3.2 come back later")),
            Mood::Hangs if command.starts_with("EHLO") => Some(Fault::Hang),
            Mood::Unknown(name) if command.starts_with("RCPT") && command.contains(name) => {
                Some(Fault::Say("550 5.1.1 no such user"))
            }
            Mood::Full(name) if command.starts_with("RCPT") && command.contains(name) => {
                Some(Fault::Say("452 4.2.2 mailbox full"))
            }
            _ => None,
        };
        let server = Server::start(tls, &authority, Box::new(faults)).await;
        Self { server, authority, tls, mood }
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// To reach it by, without logging in unless the password is safe.
    pub(crate) fn settings(&self) -> SmtpSettings {
        let safe = self.tls != SmtpTls::Plain;
        SmtpSettings {
            host: "localhost".to_owned(),
            port: self.server.port,
            tls: self.tls,
            ca_file: safe.then(|| self.authority.ca_file().to_owned()),
            user: safe.then(|| USER.to_owned()),
            password: safe.then(|| PASSWORD.to_owned()),
            from: "quotad@example.org".to_owned(),
            // A mood that hangs costs a test this long.
            timeout: Duration::from_secs(1),
        }
    }

    pub(crate) fn heard(&self, command: &str) -> usize {
        self.server.heard(command)
    }

    /// The next mail, once it is there.
    pub(crate) async fn letter(&mut self) -> Letter {
        let next = tokio::time::timeout(Duration::from_secs(40), self.server.mails.recv());
        read(next.await.expect("no mail came").unwrap())
    }

    /// What was accepted and not looked at yet.
    pub(crate) fn letters(&mut self) -> Vec<Letter> {
        std::iter::from_fn(|| self.server.mails.try_recv().ok()).map(read).collect()
    }
}

fn read(mail: server::Mail) -> Letter {
    let [to] = mail.to.try_into().unwrap();
    let parsed = MessageParser::default().parse(&mail.data).unwrap();
    Letter {
        to: to.trim_matches(['<', '>']).to_owned(),
        id: parsed.message_id().unwrap().to_owned(),
        subject: parsed.subject().unwrap().to_owned(),
        text: parsed.body_text(0).unwrap().into_owned(),
        html: parsed.body_html(0).unwrap().into_owned(),
    }
}
