//! How a notice is put into the world, by e-mail or webhook, once a caller has decided that it is sent.
//!
//! One call is one attempt: nothing here decides what is sent, waits for another try, remembers what was delivered or
//! reads a clock. [`retry_delay`] says when to try again, as data; the caller keeps the schedule.

pub use crate::domain::contact::{WebhookSecret, check_email, check_webhook_url};
use crate::domain::time::Span;
pub use mail::{Mailer, SmtpSettings, SmtpTls};
pub use signature::{SignatureError, sign, verify};
pub use webhook::{Network, Proxy, Reach, Webhooks};

mod mail;
mod roots;
mod signature;
#[cfg(test)]
mod tests;
mod webhook;

/// What is to be said by e-mail; the plain text and the HTML are made from it, and nothing in it is taken for markup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same for every attempt to deliver this message: its `Message-ID` is made from it.
    pub id: String,
    pub subject: String,
    pub heading: String,
    /// Paragraphs.
    pub lines: Vec<String>,
    /// Rows of a table: what it is, and its value.
    pub facts: Vec<(String, String)>,
}

/// Why an attempt failed: which host, and what happened. Never holds a secret or more of a URL than its host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeliveryError {
    /// It may go well later, by itself or once somebody has put a setting right.
    #[error("{0}")]
    Retriable(String),
    /// The other side has refused for good: another try would be refused too.
    #[error("{0}")]
    Permanent(String),
}

const FIRST_DELAY_SECONDS: i64 = 30;
/// Between two attempts.
pub const LONGEST_DELAY: Span = Span::HOUR;
/// Doubling takes 7 delays (1 h 3 min 30 s) to reach the longest; 23 more of an hour make a day in all.
const RETRIES: u32 = 30;

/// How long to wait after the `failed`-th attempt in a row has failed before the next is made; `None` gives up.
///
/// Begins with 30 seconds, so that a restarted server or a dropped connection costs a minute and no more, doubles up to an
/// hour, so that a receiver that is down is not kept busy when it comes back, and gives up after about 24 hours: long
/// enough for somebody to notice and mend the receiver on the next day, and later the notice is no news any more.
/// 0 attempts wait for nothing.
pub fn retry_delay(failed: u32) -> Option<Span> {
    match failed {
        0 => Some(Span::ZERO),
        1..=RETRIES => {
            // Beyond 7 doublings the hour is reached, so the shift never overflows.
            let doubled = FIRST_DELAY_SECONDS << (failed - 1).min(7);
            Some(Span::seconds(doubled).min(LONGEST_DELAY))
        }
        _ => None,
    }
}

/// An error with all its causes on one line, as far as a log line should go.
fn describe(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut shown = String::new();
    for cause in causes.map(ToString::to_string) {
        // Some libraries repeat the cause in their own words.
        if !shown.contains(&cause) {
            let separator = if shown.is_empty() { "" } else { ": " };
            shown = format!("{shown}{separator}{cause}");
        }
    }
    one_line(&shown).chars().take(300).collect()
}

/// Without line breaks in any form, other control characters and what turns the reading direction, so that it stays within a
/// header, a row or a log line, and looks like nothing else there.
fn one_line(text: &str) -> String {
    let shown = |c: char| match c {
        '\u{2028}' | '\u{2029}' => ' ',
        '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => '\u{FFFD}',
        c if c.is_control() => ' ',
        c => c,
    };
    text.chars().map(shown).collect()
}
