//! What several services convert alike. Messages are destructured whole, so that a new field can't be forgotten.

use prost::Message;

use crate::{
    domain::{
        error::Invalid,
        fingerprint::Fingerprint,
        id::{RequestId, check_text},
    },
    service::Caller,
};

pub(super) mod limits;
pub(super) mod mask;
pub(super) mod page;
pub(super) mod policy;
pub(super) mod time;
pub(super) mod usage;

/// Longest name of an entity, in bytes.
const MAX_TEXT: usize = 256;

/// A message that must be there.
pub(super) fn required<T>(field: &str, message: Option<T>) -> Result<T, Invalid> {
    message.ok_or_else(|| Invalid::new(field, "is missing"))
}

/// A name for people.
pub(super) fn name_in(field: &str, name: String) -> Result<String, Invalid> {
    check_text(field, &name, MAX_TEXT)?;
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
