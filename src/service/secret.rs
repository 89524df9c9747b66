//! Ids and secrets that the service makes up.

use data_encoding::{BASE32_NOPAD, HEXLOWER};

use super::Error;

pub(super) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::Internal(format!("the system has no randomness: {error}")))?;
    Ok(bytes)
}

/// An id that nobody else has: `PREFIX-` and 16 characters.
///
/// # Errors
/// [`Error::Internal`] when the system gives no randomness.
pub(super) fn new_id(prefix: &str) -> Result<String, Error> {
    let bytes: [u8; 10] = random()?;
    Ok(format!("{prefix}-{}", BASE32_NOPAD.encode(&bytes).to_ascii_lowercase()))
}

/// The id that a creation under this request id always gets, so that its repeat finds what it made.
pub(super) fn id_from_request(prefix: &str, request: &str) -> String {
    let hash = blake3::hash(request.as_bytes());
    format!("{prefix}-{}", BASE32_NOPAD.encode(&hash.as_bytes()[..10]).to_ascii_lowercase())
}

/// A secret of 192 bits, recognisable by its prefix.
///
/// # Errors
/// [`Error::Internal`] when the system gives no randomness.
pub fn new_secret(prefix: &str) -> Result<String, Error> {
    let bytes: [u8; 24] = random()?;
    Ok(format!("{prefix}_{}", HEXLOWER.encode(&bytes)))
}

/// # Errors
/// [`Error::Internal`] when the system gives no randomness.
pub(super) fn new_seal() -> Result<[u8; 32], Error> {
    random()
}
