//! A mail server as far as RFC 5321 has to be spoken for the tests, with whatever faults a test wants.

use std::sync::{Arc, Mutex};

use data_encoding::BASE64;
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use tokio_rustls::TlsAcceptor;

use crate::notify::{SmtpTls, tests::authority::Authority};

pub(super) const USER: &str = "quotad";
pub(super) const PASSWORD: &str = "pass word";

/// What a fault makes of a command.
pub(super) enum Fault {
    Say(&'static str),
    Hang,
    Close,
}

/// Sees every command line, `CONNECT` before the greeting and `.` after a mail's text; `None` lets it pass.
pub(super) type Faults = Box<dyn FnMut(&str) -> Option<Fault> + Send>;

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mail {
    pub(super) from: String,
    pub(super) to: Vec<String>,
    pub(super) data: Vec<u8>,
}

pub(super) struct Server {
    pub(super) port: u16,
    pub(super) mails: UnboundedReceiver<Mail>,
    commands: Arc<Mutex<Vec<String>>>,
}

struct Session {
    faults: Arc<Mutex<Faults>>,
    commands: Arc<Mutex<Vec<String>>>,
    mails: UnboundedSender<Mail>,
    offers_starttls: bool,
}

impl Server {
    /// Accepts every mail, encrypted as `tls` says, but for `faults`.
    pub(super) async fn start(tls: SmtpTls, authority: &Authority, faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, mails) = unbounded_channel();
        let commands = Arc::default();
        let faults = Arc::new(Mutex::new(faults));
        let (seen, acceptor) = (Arc::clone(&commands), authority.acceptor());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let session = Session {
                    faults: Arc::clone(&faults),
                    commands: Arc::clone(&seen),
                    mails: sender.clone(),
                    offers_starttls: tls == SmtpTls::StartTls,
                };
                tokio::spawn(session.serve(stream, tls, acceptor.clone()));
            }
        });
        Self { port, mails, commands }
    }

    /// How often a command came that begins so.
    pub(super) fn heard(&self, command: &str) -> usize {
        self.commands.lock().unwrap().iter().filter(|line| line.starts_with(command)).count()
    }
}

impl Session {
    async fn serve(mut self, stream: impl AsyncRead + AsyncWrite + Unpin, tls: SmtpTls, acceptor: TlsAcceptor) {
        // Whoever doesn't trust the certificate, or has heard enough, breaks off: the session is over.
        if tls == SmtpTls::Tls {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            self.talk(stream, true).await;
        } else if let Some(stream) = self.talk(stream, true).await {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            self.offers_starttls = false;
            self.talk(stream, false).await;
        }
    }

    /// Until the client leaves; gives the stream back where it is to be encrypted.
    async fn talk<S: AsyncRead + AsyncWrite + Unpin>(&mut self, stream: S, greets: bool) -> Option<S> {
        let mut stream = BufReader::new(stream);
        if greets && !self.reply(&mut stream, "CONNECT", "220 test ESMTP").await {
            return None;
        }
        let mut mail = Mail { from: String::new(), to: Vec::new(), data: Vec::new() };
        loop {
            let line = read_line(&mut stream).await?;
            let command = line.trim_end().to_owned();
            let starttls = if self.offers_starttls { "250-STARTTLS\r\n" } else { "" };
            let extensions = format!("250-test\r\n{starttls}250-8BITMIME\r\n250-SIZE 1000000\r\n250 AUTH PLAIN LOGIN");
            let answer = match command.split([' ', ':']).next().unwrap_or_default() {
                "EHLO" => &extensions,
                "AUTH" if command == format!("AUTH PLAIN {}", plain_credentials()) => "235 2.7.0 welcome",
                "AUTH" => "535 5.7.8 authentication failed",
                "STARTTLS" => "220 go ahead",
                "DATA" => "354 go on",
                "QUIT" => "221 bye",
                "MAIL" | "RCPT" => "250 2.1.0 fine",
                _ => "500 5.5.1 what?",
            };
            if !self.reply(&mut stream, &command, answer).await {
                return None;
            }
            if let Some(address) = command.strip_prefix("MAIL FROM:") {
                address.clone_into(&mut mail.from);
            } else if let Some(address) = command.strip_prefix("RCPT TO:") {
                mail.to.push(address.to_owned());
            } else if command == "DATA" {
                mail.data = read_data(&mut stream).await?;
                if !self.reply(&mut stream, ".", "250 2.0.0 accepted").await {
                    return None;
                }
                // Nobody listens any more where a test has what it wanted.
                let _ = self.mails.send(mail);
                mail = Mail { from: String::new(), to: Vec::new(), data: Vec::new() };
            } else if command == "STARTTLS" {
                return Some(stream.into_inner());
            } else if command == "QUIT" {
                return None;
            }
        }
    }

    /// False where the session ends here: a fault's answer does too, so that it needs no memory of its own.
    async fn reply(&mut self, stream: &mut (impl AsyncWrite + Unpin), command: &str, answer: &str) -> bool {
        self.commands.lock().unwrap().push(command.to_owned());
        let fault = (self.faults.lock().unwrap())(command);
        match fault {
            None => write_line(stream, answer).await,
            Some(Fault::Say(answer)) => {
                write_line(stream, answer).await;
                false
            }
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Close) => false,
        }
    }
}

fn plain_credentials() -> String {
    BASE64.encode(format!("\0{USER}\0{PASSWORD}").as_bytes())
}

async fn write_line(stream: &mut (impl AsyncWrite + Unpin), line: &str) -> bool {
    stream.write_all(format!("{line}\r\n").as_bytes()).await.is_ok() && stream.flush().await.is_ok()
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0).map(|_| line)
}

async fn read_data(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).await.ok().filter(|read| *read > 0)?;
        // A bare line feed would be an end of line to some servers and none to others.
        assert!(line.ends_with(b"\r\n") && !line[..line.len() - 2].contains(&b'\r'), "{line:?}");
        if line == b".\r\n" {
            return Some(data);
        }
        data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
