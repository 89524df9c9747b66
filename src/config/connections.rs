//! How many connections a server takes, and how many bytes they may hold in its memory.

use std::time::Duration;

use super::{ConfigError, Given, invalid, within};

/// From when a call was read to when its turn came. Less than what callers give a decision (the client's gate: 250 ms), so that they
/// learn of it before they give up.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// The bounds of the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Connections open at a time; 0 leaves it to the descriptors that the system gives.
    pub max: usize,
    /// The same of one peer: an IPv4 address, an IPv6 network of 64 bits, or a user at the Unix socket. 0 is no bound.
    pub max_per_peer: usize,
    /// Bytes of unfinished requests and unsent answers that one connection may hold before its new calls are refused.
    pub bytes_each: usize,
    /// The same of all connections together.
    pub bytes: usize,
    /// How long new work may wait for its turn before it is refused unread.
    pub max_call_wait: Duration,
}

impl Default for Connections {
    fn default() -> Self {
        Self { max: 10_000, max_per_peer: 1000, bytes_each: 64 << 20, bytes: 1 << 30, max_call_wait: LONGEST_WAIT }
    }
}

/// # Errors
/// When a bound is out of range, or too small for a message of `max_message_size` bytes.
pub(super) fn connections(given: &Given, max_message_size: usize) -> Result<Connections, ConfigError> {
    let default = Connections::default();
    let count = |setting, given: Option<u64>, range, unit, default| {
        // The ranges end far below what a 32-bit `usize` holds, or the machine has no such memory.
        let given = within(setting, given, range, unit)?.and_then(|given| usize::try_from(given).ok());
        Ok::<_, ConfigError>(given.unwrap_or(default))
    };
    let bytes_each = count(
        "connection_max_bytes",
        given.connection_max_bytes,
        1 << 20..=1 << 32,
        "bytes",
        default.bytes_each.max(2 * max_message_size),
    )?;
    if bytes_each < 2 * max_message_size {
        let problem =
            format!("{bytes_each} is less than two messages of max_message_size, {max_message_size} bytes each");
        return Err(invalid("connection_max_bytes", problem));
    }
    let bytes =
        count("connections_max_bytes", given.connections_max_bytes, 16 << 20..=1 << 40, "bytes", default.bytes)?;
    if bytes < bytes_each {
        let problem = format!("{bytes} is less than one connection may hold, connection_max_bytes, {bytes_each}");
        return Err(invalid("connections_max_bytes", problem));
    }
    Ok(Connections {
        max: count("max_connections", given.max_connections, 0..=1_000_000, "connections", default.max)?,
        max_per_peer: count(
            "max_connections_per_peer",
            given.max_connections_per_peer,
            0..=1_000_000,
            "connections",
            default.max_per_peer,
        )?,
        bytes_each,
        bytes,
        max_call_wait: within("max_call_wait_ms", given.max_call_wait_ms, 10..=60_000, "milliseconds")?
            .map_or(default.max_call_wait, Duration::from_millis),
    })
}
