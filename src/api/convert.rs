//! What several services convert alike. Messages are destructured whole, so that a new field can't be forgotten.

use prost::Message;

use crate::{
    domain::{contact::Email, error::Invalid, fingerprint::Fingerprint, id::RequestId, text::check_line},
    service::Caller,
};

pub(super) mod limits;
pub(super) mod mask;
pub(super) mod page;
pub(super) mod policy;
pub(super) mod time;
pub(super) mod usage;

/// Longest name of an entity, and longest reason of what happens often, in characters.
pub(super) const MAX_TEXT: usize = 256;
/// Longest free text else: a reason, a note, a description, in characters.
pub(super) const MAX_FREE_TEXT: usize = 1024;

/// A message that must be there.
pub(super) fn required<T>(field: &str, message: Option<T>) -> Result<T, Invalid> {
    message.ok_or_else(|| Invalid::new(field, "is missing"))
}

/// A name for people.
pub(super) fn name_in(field: &str, name: String) -> Result<String, Invalid> {
    check_line(field, &name, MAX_TEXT)?;
    Ok(name)
}

/// An etag that may be left out.
pub(super) fn etag_in(etag: &str) -> Option<&str> {
    Some(etag).filter(|etag| !etag.is_empty())
}

/// An id that may be left out.
pub(super) fn optional<T>(
    field: &str,
    id: &str,
    parse: impl FnOnce(&str, &str) -> Result<T, Invalid>,
) -> Result<Option<T>, Invalid> {
    if id.is_empty() { Ok(None) } else { parse(field, id).map(Some) }
}

/// A field that means a set: each value once, in the order in which they first stand there. Its bound keeps it small.
pub(super) fn set_in<T: PartialEq>(
    field: &str,
    values: &[String],
    parse: impl Fn(&str, &str) -> Result<T, Invalid>,
) -> Result<Vec<T>, Invalid> {
    let mut set = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let value = parse(&format!("{field}[{i}]"), value)?;
        if !set.contains(&value) {
            set.push(value);
        }
    }
    Ok(set)
}

/// E-mail addresses, each once.
pub(super) fn recipients_in(field: &str, recipients: &[String]) -> Result<Vec<String>, Invalid> {
    let recipients = set_in(field, recipients, Email::parse)?;
    Ok(recipients.into_iter().map(|Email(recipient)| recipient).collect())
}

/// The request id of a creation, and the hash that tells a repeat from another creation: the same words of somebody else are no
/// repeat.
pub(super) fn repeatable(
    caller: &Caller,
    request: &impl Message,
    request_id: &str,
) -> Result<(Option<RequestId>, u64), Invalid> {
    let id = optional("request_id", request_id, RequestId::parse)?;
    let content = data_encoding::HEXLOWER.encode(&request.encode_to_vec());
    Ok((id, Fingerprint::new("create").text(caller.actor.as_str()).text(&content).finish()))
}
