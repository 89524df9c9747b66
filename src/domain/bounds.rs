//! Bounds that one organization's callers meet, whatever they are permitted.

/// What one organization's callers, the operator aside, may ask for at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallBounds {
    /// Verifications in an hour; 0 sets no bound.
    pub verifications_per_hour: u32,
    /// How long a read of the ledger or the audit log may take, in seconds.
    pub ledger_read_seconds: u32,
    /// Reads of the books under way at a time; some more wait.
    pub ledger_reads_at_once: u32,
    /// Other calls of the control plane under way at a time; some more wait.
    pub control_calls_at_once: u32,
    /// Calls of the control plane a second, on average over ten; 0 sets no bound.
    pub control_calls_per_second: u32,
}

impl Default for CallBounds {
    fn default() -> Self {
        Self {
            verifications_per_hour: 1,
            ledger_read_seconds: 30,
            ledger_reads_at_once: 2,
            control_calls_at_once: 8,
            control_calls_per_second: 500,
        }
    }
}
