//! What a mail looks like: headers, plain text and HTML. Whatever is in a [`Message`] stays text in both.

use std::fmt::Write as _;

use lettre::{
    Address,
    error::Error,
    message::{
        Mailbox, MultiPart,
        header::{HeaderName, HeaderValue},
    },
};

use super::super::{Message, one_line};

pub(super) fn compose(from: &Mailbox, to: Address, message: &Message) -> Result<lettre::Message, Error> {
    let mut mail = lettre::Message::builder()
        .from(from.clone())
        .to(Mailbox::new(None, to))
        .subject(one_line(&message.subject))
        .message_id(Some(message_id(&message.id, from.email.domain())))
        .multipart(MultiPart::alternative_plain_html(plain(message), html(message)))?;
    // RFC 3834: out-of-office replies and the like don't answer to it.
    let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
    mail.headers_mut().insert_raw(HeaderValue::new(automatic, "auto-generated".to_owned()));
    Ok(mail)
}

/// One id of a message gives one `Message-ID`, and two give two: what could end the header's value early is written as `%XX`.
fn message_id(id: &str, domain: &str) -> String {
    let mut left = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            left.push(char::from(byte));
        } else {
            // Writing to a string can't fail.
            let _ = write!(left, "%{byte:02X}");
        }
    }
    format!("<quotad-{left}@{domain}>")
}

fn plain(message: &Message) -> String {
    let mut text = one_line(&message.heading);
    text.push('\n');
    for line in &message.lines {
        text.extend(["\n", &one_line(line), "\n"]);
    }
    if !message.facts.is_empty() {
        text.push('\n');
    }
    for (label, value) in &message.facts {
        text.extend([&one_line(label), ": ", &one_line(value), "\n"]);
    }
    text
}

fn html(message: &Message) -> String {
    let mut html = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{}</title></head>\n\
         <body style=\"font-family: sans-serif\">\n<h1 style=\"font-size: 1.3em\">{}</h1>\n",
        escape(&message.subject),
        escape(&message.heading),
    );
    for line in &message.lines {
        html.extend(["<p>", &escape(line), "</p>\n"]);
    }
    if !message.facts.is_empty() {
        html.push_str("<table cellpadding=\"4\">\n");
        for (label, value) in &message.facts {
            let cells = ["<tr><th align=\"left\">", &escape(label), "</th><td>", &escape(value), "</td></tr>\n"];
            html.extend(cells);
        }
        html.push_str("</table>\n");
    }
    html.push_str("</body>\n</html>\n");
    html
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in one_line(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}
