//! The state of one stream, as journal and books keep it: in bytes that only the service reads.

use super::event::Stream;

/// The state as of one of the stream's events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub stream: Stream,
    /// The stream's last sequence in this state.
    pub sequence: u64,
    /// The journal position up to which this stream's events are in this state.
    pub position: u64,
    pub state: Vec<u8>,
}

/// A snapshot without its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotMark {
    pub stream: Stream,
    pub sequence: u64,
    pub position: u64,
}
