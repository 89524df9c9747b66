//! What the tables of the books are, said once for every database: columns, their kinds, and how a row merges into the
//! one that is there.
//!
//! Knows no SQL. The migrations say the same in each database's own words; a test compares them.

use Kind::{Bool, Bytes, Int, Json, Nanos, Text, Time};

#[cfg(test)]
mod tests;

/// What a column holds. Each database has its own type for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    /// Money or credits.
    Nanos,
    Time,
    Bool,
    Json,
    Bytes,
}

/// What becomes of a column where the row is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    /// Names the row.
    Key,
    Replace,
    /// Of [`Kind::Nanos`]: the sum, which saturates as in memory.
    Add,
    Keep,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub null: bool,
    pub merge: Merge,
}

#[derive(Debug)]
pub(super) struct Table {
    pub name: &'static str,
    pub columns: &'static [Column],
}

impl Table {
    pub(super) fn keys(&self) -> impl Iterator<Item = &'static Column> {
        self.columns.iter().filter(|column| column.merge == Merge::Key)
    }
}

const fn column(name: &'static str, kind: Kind, null: bool, merge: Merge) -> Column {
    Column { name, kind, null, merge }
}

const fn key(name: &'static str, kind: Kind) -> Column {
    column(name, kind, false, Merge::Key)
}

const fn set(name: &'static str, kind: Kind) -> Column {
    column(name, kind, false, Merge::Replace)
}

const fn set_null(name: &'static str, kind: Kind) -> Column {
    column(name, kind, true, Merge::Replace)
}

const fn keep(name: &'static str, kind: Kind) -> Column {
    column(name, kind, false, Merge::Keep)
}

const fn keep_null(name: &'static str, kind: Kind) -> Column {
    column(name, kind, true, Merge::Keep)
}

const ORGANIZATION: Column = key("organization_id", Text);

/// All but the one row of the projector and of the lease, in the order that foreign keys want.
pub(super) static ALL: [&Table; 30] = [
    &ORGANIZATIONS,
    &TEAMS,
    &MEMBERS,
    &MEMBERSHIPS,
    &INVITATIONS,
    &KEYS,
    &KEY_MODELS,
    &AUDIT_LOG,
    &KEY_DIRECTORY,
    &PRICES,
    &ACCESS_TOKENS,
    &RULES,
    &LIMITS,
    &LIMIT_MODELS,
    &ALLOCATIONS,
    &CREDIT_REQUESTS,
    &TOP_UP_ORDERS,
    &ALERTS,
    &ALERT_FACTS,
    &ALERT_RECIPIENTS,
    &ENDED_ENTITIES,
    &BUDGET_WINDOWS,
    &RESERVATIONS,
    &LEDGER_HEADS,
    &LEDGER_ENTRIES,
    &MONEY_REQUEST_IDS,
    &LEDGER_DROPPED_MONTHS,
    &LEDGER_DROPPED_CHARGES,
    &STREAM_STATES,
    &RECENT_EVENTS,
];

pub(super) static ORGANIZATIONS: Table = Table {
    name: "organizations",
    columns: &[
        ORGANIZATION,
        set("name", Text),
        set("kind", Text),
        set_null("default_rule_id", Text),
        set("credit_factor", Nanos),
        set("wallet_mode", Text),
        set("expiry_policy", Text),
        set("disabled", Bool),
        set("suspended", Bool),
        set("deleted", Bool),
        keep("create_time", Time),
        set("update_time", Time),
    ],
};

pub(super) static TEAMS: Table = Table {
    name: "teams",
    columns: &[
        ORGANIZATION,
        key("team_id", Text),
        set("name", Text),
        set("disabled", Bool),
        set("deleted", Bool),
        keep("create_time", Time),
        set("update_time", Time),
        keep("create_sequence", Int),
        set_null("search_text", Text),
    ],
};

pub(super) static MEMBERS: Table = Table {
    name: "members",
    columns: &[
        ORGANIZATION,
        key("member_id", Text),
        set("name", Text),
        set("email", Text),
        set("role", Text),
        set("disabled", Bool),
        set("deleted", Bool),
        keep("create_time", Time),
        set("update_time", Time),
        keep("create_sequence", Int),
        set_null("search_text", Text),
    ],
};

pub(super) static MEMBERSHIPS: Table = Table {
    name: "memberships",
    columns: &[
        ORGANIZATION,
        key("team_id", Text),
        key("member_id", Text),
        set("deleted", Bool),
        keep("create_time", Time),
        set("update_time", Time),
    ],
};

pub(super) static INVITATIONS: Table = Table {
    name: "invitations",
    columns: &[
        ORGANIZATION,
        key("invitation_id", Text),
        set("name", Text),
        set("email", Text),
        set("state", Text),
        keep("create_time", Time),
        set("update_time", Time),
        keep("create_sequence", Int),
        set_null("search_text", Text),
    ],
};

pub(super) static KEYS: Table = Table {
    name: "keys",
    columns: &[
        ORGANIZATION,
        key("key_id", Text),
        keep("member_id", Text),
        keep("team_id", Text),
        set("name", Text),
        set("secret_prefix", Text),
        set("disabled", Bool),
        set("deleted", Bool),
        set_null("expire_time", Time),
        set_null("rule_id", Text),
        keep("create_time", Time),
        set("update_time", Time),
    ],
};

pub(super) static KEY_MODELS: Table =
    Table { name: "key_models", columns: &[ORGANIZATION, key("key_id", Text), key("model", Text)] };

/// All that a key has there, to be removed.
pub(super) static MODELS_OF_KEY: Table = Table { name: "key_models", columns: &[ORGANIZATION, key("key_id", Text)] };

pub(super) static AUDIT_LOG: Table = Table {
    name: "audit_log",
    columns: &[
        key("position", Int),
        keep("organization_id", Text),
        keep("sequence", Int),
        keep("time", Time),
        keep("actor", Text),
        keep("kind", Text),
        keep("entity_id", Text),
        keep("after", Json),
    ],
};

pub(super) static KEY_DIRECTORY: Table =
    Table { name: "key_directory", columns: &[key("key_id", Text), keep("organization_id", Text), set("hash", Bytes)] };

pub(super) static PRICES: Table = Table {
    name: "prices",
    columns: &[
        key("model", Text),
        set("input_per_million", Nanos),
        set_null("cached_input_per_million", Nanos),
        set_null("cache_write_per_million", Nanos),
        set("output_per_million", Nanos),
        set("per_request", Nanos),
        set("cache_outside_input", Bool),
        set("update_time", Time),
    ],
};

pub(super) static ACCESS_TOKENS: Table = Table {
    name: "access_tokens",
    columns: &[
        key("token_id", Text),
        set("name", Text),
        set("kind", Text),
        set_null("organization_id", Text),
        set_null("member_id", Text),
        set("hash", Bytes),
        set("create_time", Time),
        set_null("expire_time", Time),
    ],
};

pub(super) static RULES: Table = Table {
    name: "rules",
    columns: &[
        ORGANIZATION,
        key("rule_id", Text),
        set("name", Text),
        set("description", Text),
        set("enabled", Bool),
        set("time_zone", Text),
        set("cap_enabled", Bool),
        set_null("cap_max", Nanos),
        set_null("cap_period", Text),
        set("hours_enabled", Bool),
        set_null("weekdays", Text),
        set_null("hours", Text),
        set("deleted", Bool),
        keep("create_time", Time),
        set("update_time", Time),
    ],
};

pub(super) static LIMITS: Table = Table {
    name: "limits",
    columns: &[
        ORGANIZATION,
        key("limit_no", Int),
        keep("scope", Text),
        keep_null("key_id", Text),
        keep_null("team_id", Text),
        keep_null("member_id", Text),
        keep_null("rule_id", Text),
        keep("limit_id", Text),
        keep("unit", Text),
        keep_null("period", Text),
        keep_null("period_time_zone", Text),
        keep_null("period_week_start", Text),
        keep_null("period_seconds", Int),
        keep_null("period_anchor", Time),
        set_null("max", Nanos),
        set_null("soft", Nanos),
        set_null("max_count", Int),
        set("active", Bool),
    ],
};

pub(super) static LIMIT_MODELS: Table =
    Table { name: "limit_models", columns: &[ORGANIZATION, key("limit_no", Int), key("model", Text)] };

/// All that a limit has there, to be removed.
pub(super) static MODELS_OF_LIMIT: Table =
    Table { name: "limit_models", columns: &[ORGANIZATION, key("limit_no", Int)] };

pub(super) static ALLOCATIONS: Table = Table {
    name: "allocations",
    columns: &[
        ORGANIZATION,
        key("team_id", Text),
        key("member_id", Text),
        set_null("monthly", Nanos),
        set_null("extra", Nanos),
    ],
};

pub(super) static CREDIT_REQUESTS: Table = Table {
    name: "credit_requests",
    columns: &[
        ORGANIZATION,
        key("credit_request_id", Text),
        set("member_id", Text),
        set("team_id", Text),
        set("amount", Nanos),
        set("approved", Nanos),
        set("state", Text),
        set("reason", Text),
        set("note", Text),
        set_null("decided_by", Text),
        set("create_time", Time),
        set_null("decide_time", Time),
    ],
};

pub(super) static TOP_UP_ORDERS: Table = Table {
    name: "top_up_orders",
    columns: &[
        ORGANIZATION,
        key("order_id", Text),
        set("request_id", Text),
        set("amount", Nanos),
        set("state", Text),
        set("actor", Text),
        set_null("payment_method_id", Text),
        set("reason", Text),
        set("provider_reference", Text),
        set("failure", Text),
        set_null("entry", Int),
        set("create_time", Time),
        set("update_time", Time),
    ],
};

pub(super) static ALERTS: Table = Table {
    name: "alerts",
    columns: &[
        ORGANIZATION,
        key("alert_id", Text),
        set("kind", Text),
        set("state", Text),
        set("subject", Text),
        set("create_time", Time),
        set_null("acknowledged_by", Text),
        set_null("acknowledge_time", Time),
    ],
};

pub(super) static ALERT_FACTS: Table = Table {
    name: "alert_facts",
    columns: &[ORGANIZATION, key("alert_id", Text), key("position", Int), keep("name", Text), keep("value", Text)],
};

/// All that an alert has there, to be removed.
pub(super) static FACTS_OF_ALERT: Table =
    Table { name: "alert_facts", columns: &[ORGANIZATION, key("alert_id", Text)] };

pub(super) static ALERT_RECIPIENTS: Table =
    Table { name: "alert_recipients", columns: &[ORGANIZATION, key("alert_id", Text), key("email", Text)] };

/// All that an alert has there, to be removed.
pub(super) static RECIPIENTS_OF_ALERT: Table =
    Table { name: "alert_recipients", columns: &[ORGANIZATION, key("alert_id", Text)] };

pub(super) static ENDED_ENTITIES: Table = Table {
    name: "ended_entities",
    columns: &[
        ORGANIZATION,
        key("kind", Text),
        key("entity_id", Text),
        set_null("request_id", Text),
        set("detail", Bytes),
    ],
};

pub(super) static BUDGET_WINDOWS: Table = Table {
    name: "budget_windows",
    columns: &[
        ORGANIZATION,
        key("limit_no", Int),
        key("window_start", Time),
        column("spent", Nanos, false, Merge::Add),
    ],
};

pub(super) static RESERVATIONS: Table = Table {
    name: "reservations",
    columns: &[
        ORGANIZATION,
        key("epoch", Int),
        key("sequence", Int),
        keep_null("request_id", Text),
        keep("key_id", Text),
        keep("model", Text),
        keep_null("holder", Text),
        keep("admit_time", Time),
        keep("reserved", Bytes),
        set("state", Text),
        set("expire_time", Time),
        set("held_usd", Nanos),
        set("held_credits", Nanos),
        set("held_tokens", Int),
        set("held_requests", Int),
        set_null("reason", Text),
        set_null("settled", Bytes),
    ],
};

pub(super) static LEDGER_HEADS: Table =
    Table { name: "ledger_heads", columns: &[ORGANIZATION, set("entry", Int), set("balance", Nanos)] };

pub(super) static LEDGER_ENTRIES: Table = Table {
    name: "ledger_entries",
    columns: &[
        ORGANIZATION,
        key("entry", Int),
        keep("kind", Text),
        keep("time", Time),
        keep("occurred_at", Time),
        keep("actor", Text),
        keep_null("key_id", Text),
        keep_null("member_id", Text),
        keep_null("team_id", Text),
        keep_null("model", Text),
        keep_null("request_id", Text),
        keep_null("reservation_epoch", Int),
        keep_null("reservation_sequence", Int),
        keep("input_tokens", Int),
        keep("cached_input_tokens", Int),
        keep("cache_write_tokens", Int),
        keep("output_tokens", Int),
        keep("requests", Int),
        keep("cost", Nanos),
        keep("credits", Nanos),
        keep("overage_usd", Nanos),
        keep("wallet", Nanos),
        keep("balance", Nanos),
        keep_null("reason", Text),
        keep("limits", Json),
        keep("labels", Json),
        keep_null("corrects_entry", Int),
        keep("detail", Bytes),
    ],
};

pub(super) static MONEY_REQUEST_IDS: Table = Table {
    name: "money_request_ids",
    columns: &[
        ORGANIZATION,
        key("request_id", Text),
        keep("entry", Int),
        keep_null("time", Time),
        keep_null("actor", Text),
        keep_null("kind", Text),
        keep_null("detail", Bytes),
    ],
};

pub(super) static LEDGER_DROPPED_MONTHS: Table = Table {
    name: "ledger_dropped_months",
    columns: &[
        ORGANIZATION,
        key("month", Time),
        keep("first_entry", Int),
        keep("last_entry", Int),
        keep("entries", Int),
        keep("input_tokens", Int),
        keep("output_tokens", Int),
        keep("requests", Int),
        keep("cost", Nanos),
        keep("credits", Nanos),
        keep("wallet", Nanos),
        keep("balance", Nanos),
    ],
};

pub(super) static LEDGER_DROPPED_CHARGES: Table = Table {
    name: "ledger_dropped_charges",
    columns: &[
        ORGANIZATION,
        key("limit_no", Int),
        key("window_start", Time),
        column("amount", Nanos, false, Merge::Add),
    ],
};

pub(super) static STREAM_STATES: Table = Table {
    name: "stream_states",
    columns: &[
        key("stream", Text),
        key("part", Int),
        keep("sequence", Int),
        keep("position", Int),
        keep("state", Bytes),
    ],
};

pub(super) static RECENT_EVENTS: Table =
    Table { name: "recent_events", columns: &[key("first", Int), keep("last", Int), keep("records", Bytes)] };
