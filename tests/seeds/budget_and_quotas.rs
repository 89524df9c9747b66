//! Budget & Quotas.
