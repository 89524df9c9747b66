//! Sending a message by SMTP, to each recipient on its own.

use std::{fmt, path::PathBuf, time::Duration};

use lettre::{
    Address,
    message::Mailbox,
    transport::smtp::{
        Error as SmtpError,
        authentication::{Credentials, Mechanism},
        client::{AsyncSmtpConnection, Certificate, TlsParameters},
        extension::ClientId,
    },
};
use tokio::time::timeout;

use super::{DeliveryError, Message, describe, roots::read_ca_file};
use crate::domain::{contact::check_email, error::Invalid};

mod content;
#[cfg(test)]
mod tests;

/// How a connection to the mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpTls {
    /// Begins in the clear and must be upgraded before anything is said; usually port 587.
    StartTls,
    /// Encrypted from the first byte; usually port 465.
    Tls,
    /// Never encrypted, the password included: for a relay on the same machine or network only.
    Plain,
}

#[derive(Clone, PartialEq, Eq)]
pub struct SmtpSettings {
    pub host: String,
    pub port: u16,
    pub tls: SmtpTls,
    /// Roots to trust besides the system's, in PEM.
    pub ca_file: Option<PathBuf>,
    /// With `password`, or neither.
    pub user: Option<String>,
    pub password: Option<String>,
    /// An address, or a name with an address: `Quotas <quotad@example.com>`.
    pub from: String,
    /// For opening a connection, and again for each message on it.
    pub timeout: Duration,
}

impl fmt::Debug for SmtpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, tls, ca_file, user, password, from, timeout } = self;
        f.debug_struct("SmtpSettings")
            .field("host", host)
            .field("port", port)
            .field("tls", tls)
            .field("ca_file", ca_file)
            .field("user", user)
            .field("password", &password.as_ref().map(|_| "…"))
            .field("from", from)
            .field("timeout", timeout)
            .finish()
    }
}

/// Hands messages to one mail server.
pub struct Mailer {
    host: String,
    port: u16,
    encryption: Encryption,
    credentials: Option<Credentials>,
    from: Mailbox,
    /// How the client introduces itself. The sender's domain, since servers refuse a name that isn't one of the DNS.
    hello: ClientId,
    timeout: Duration,
}

enum Encryption {
    None,
    Upgraded(TlsParameters),
    Whole(TlsParameters),
}

impl Mailer {
    /// Reads the roots to trust; connects to nothing.
    ///
    /// # Errors
    /// [`Invalid`] for a setting that can't work, by its name in [`SmtpSettings`].
    pub fn new(settings: &SmtpSettings) -> Result<Self, Invalid> {
        let SmtpSettings { host, port, tls: _, ca_file: _, user, password, from, timeout } = settings;
        // A URL with a login would else be looked up, and told of, as a host.
        let is_of_a_host = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if host.is_empty() || !host.chars().all(is_of_a_host) {
            return Err(Invalid::new("host", "isn't a host; give one such as smtp.example.com"));
        }
        if *port == 0 {
            return Err(Invalid::new("port", "is 0; give the mail server's, such as 587"));
        }
        if timeout.is_zero() {
            return Err(Invalid::new("timeout", "is 0, in which nothing can be delivered; give 10 seconds"));
        }
        let credentials = match (user, password) {
            (Some(user), Some(password)) => Some(Credentials::new(user.clone(), password.clone())),
            (None, None) => None,
            (Some(_), None) => return Err(Invalid::new("password", "is missing: a user was given")),
            (None, Some(_)) => return Err(Invalid::new("user", "is missing: a password was given")),
        };
        let from = parse_from(from)?;
        let hello = ClientId::Domain(from.email.domain().to_owned());
        let encryption = Encryption::new(settings)?;
        Ok(Self { host: host.clone(), port: *port, encryption, credentials, from, hello, timeout: *timeout })
    }

    /// Sends the message to each address in a mail of its own, so that one that is refused takes nothing from the others,
    /// and no recipient learns of another. Tells what became of each, in the order given: only those whose outcome is
    /// [`DeliveryError::Retriable`] should be tried again.
    ///
    /// All are tried, unless the server can't be reached or logged in to, which is found out once for all of them. Takes
    /// two timeouts an address at most, and one more.
    pub async fn send_each(&self, to: &[String], message: &Message) -> Vec<Result<(), DeliveryError>> {
        let mut outcomes = Vec::with_capacity(to.len());
        let mut open = None;
        for recipient in to {
            let mail = match self.compose(recipient, message) {
                Ok(mail) => mail,
                Err(problem) => {
                    outcomes.push(Err(DeliveryError::Permanent(format!("{recipient:?}: {problem}"))));
                    continue;
                }
            };
            let connected = match open.take() {
                Some(connection) => Ok(connection),
                None => self.connect().await,
            };
            let mut connection = match connected {
                Ok(connection) => connection,
                Err(error) => {
                    outcomes.resize(to.len(), Err(error));
                    break;
                }
            };
            // A connection over which a mail failed isn't used again: nobody knows what the server expects next.
            outcomes.push(match timeout(self.timeout, connection.send(mail.envelope(), &mail.formatted())).await {
                Ok(Ok(_)) => {
                    open = Some(connection);
                    Ok(())
                }
                Ok(Err(error)) => Err(self.judge(recipient, &error)),
                Err(_) => Err(self.retriable(&format!("{recipient}: no answer within {:?}", self.timeout))),
            });
        }
        if let Some(mut connection) = open {
            // What was accepted is delivered, however the parting goes.
            let _ = timeout(self.timeout, connection.quit()).await;
        }
        outcomes
    }

    /// As [`Self::send_each`], with one outcome for all. A repeat goes to all again, also to those who have it: where that
    /// matters, give one address or use the other.
    ///
    /// # Errors
    /// [`DeliveryError::Retriable`] if any address may still get it: the server didn't accept the connection or login, or
    /// answered 4xx, or not in time. Else [`DeliveryError::Permanent`] if any was refused (5xx) or isn't an address. Both
    /// say which.
    pub async fn send(&self, to: &[String], message: &Message) -> Result<(), DeliveryError> {
        let mut errors: Vec<_> = self.send_each(to, message).await.into_iter().filter_map(Result::err).collect();
        // One that concerns all is said once.
        errors.dedup();
        let all = errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        match errors.iter().any(|error| matches!(error, DeliveryError::Retriable(_))) {
            _ if errors.is_empty() => Ok(()),
            true => Err(DeliveryError::Retriable(all)),
            false => Err(DeliveryError::Permanent(all)),
        }
    }

    /// Whatever goes wrong here, a refusal for good included, is between server and operator, who can put it right.
    async fn connect(&self) -> Result<AsyncSmtpConnection, DeliveryError> {
        let opening = async {
            let whole = if let Encryption::Whole(tls) = &self.encryption { Some(tls.clone()) } else { None };
            let server = (self.host.as_str(), self.port);
            // A host may have several addresses. One that swallows packets must leave time for the next.
            let each = Some(self.timeout / 2);
            let mut connection = AsyncSmtpConnection::connect_tokio1(server, each, &self.hello, whole, None).await?;
            if let Encryption::Upgraded(tls) = &self.encryption {
                connection.starttls(tls.clone(), &self.hello).await?;
            }
            if let Some(credentials) = &self.credentials {
                connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
            }
            Ok::<_, SmtpError>(connection)
        };
        match timeout(self.timeout, opening).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.retriable(&format!("no session: {}", describe(&error)))),
            Err(_) => Err(self.retriable(&format!("no session within {:?}", self.timeout))),
        }
    }

    fn retriable(&self, problem: &str) -> DeliveryError {
        DeliveryError::Retriable(format!("{}:{}: {problem}", self.host, self.port))
    }

    fn judge(&self, recipient: &str, error: &SmtpError) -> DeliveryError {
        let problem = format!("{recipient}: {}", describe(error));
        // 530, 535 and the like are about the login, also where a server says so only when mail comes.
        let about_login = error.status().is_some_and(|code| matches!(u16::from(code), 530 | 534 | 535 | 538));
        // The client itself refuses only what the server has announced that it can't take: an address in UTF-8.
        if error.is_client() || error.is_permanent() && !about_login {
            DeliveryError::Permanent(format!("{}:{}: {problem}", self.host, self.port))
        } else {
            self.retriable(&problem)
        }
    }

    fn compose(&self, recipient: &str, message: &Message) -> Result<lettre::Message, String> {
        let address: Address = recipient.parse().map_err(|error| format!("{error}"))?;
        content::compose(&self.from, address, message).map_err(|error| describe(&error))
    }
}

impl Encryption {
    fn new(settings: &SmtpSettings) -> Result<Self, Invalid> {
        let parameters = || {
            let mut builder = TlsParameters::builder(settings.host.clone());
            for certificate in settings.ca_file.as_deref().map(read_ca_file).transpose()?.unwrap_or_default() {
                let certificate = Certificate::from_der(certificate.to_vec());
                let certificate = certificate.map_err(|error| Invalid::new("ca_file", describe(&error)))?;
                builder = builder.add_root_certificate(certificate);
            }
            builder.build().map_err(|error| Invalid::new("ca_file", describe(&error)))
        };
        match settings.tls {
            SmtpTls::StartTls => Ok(Self::Upgraded(parameters()?)),
            SmtpTls::Tls => Ok(Self::Whole(parameters()?)),
            SmtpTls::Plain if settings.ca_file.is_some() => {
                Err(Invalid::new("ca_file", "is given, but the connection isn't encrypted; leave one of them out"))
            }
            SmtpTls::Plain => Ok(Self::None),
        }
    }
}

fn parse_from(from: &str) -> Result<Mailbox, Invalid> {
    let form = "give an address, or Name <address>";
    if from.chars().any(char::is_control) {
        return Err(Invalid::new("from", format!("{from:?} holds control characters; {form}")));
    }
    let mailbox: Mailbox =
        from.parse().map_err(|error| Invalid::new("from", format!("{from:?} isn't a sender ({error}); {form}")))?;
    let address: &str = mailbox.email.as_ref();
    check_email("from", address)?;
    // It stands in the envelope and in every Message-ID, which not every server takes in UTF-8.
    if !address.is_ascii() {
        return Err(Invalid::new("from", format!("{address:?} isn't plain ASCII; write its domain as xn--…")));
    }
    Ok(mailbox)
}
