//! The API's enumerations by short names: `UNIT_IN_FLIGHT` is `in_flight` here, in tables, JSON and policy files alike.
//! Denial codes stay in capitals, as gateways know them.

use quotad::api::proto::{
    AccountKind, AlertKind, AlertState, Cadence, CreditRequestState, DayOfWeek, DenialCode, ExpiryPolicy,
    InvitationState, PaymentOutcome, PeriodKind, ReservationState, Role, RuleStatus, Scope, TimeBasis, TopUpState,
    TransactionKind, Unit, UsageGrouping, Verb, WalletMode,
};

pub(crate) trait Named: TryFrom<i32> {
    const PREFIX: &'static str;
    fn full_name(&self) -> &'static str;
    fn from_full_name(name: &str) -> Option<Self>;
}

macro_rules! named {
    ($($kind:ident $prefix:literal;)*) => {$(
        impl Named for $kind {
            const PREFIX: &'static str = $prefix;

            fn full_name(&self) -> &'static str {
                self.as_str_name()
            }

            fn from_full_name(name: &str) -> Option<Self> {
                Self::from_str_name(name)
            }
        }
    )*};
}

named! {
    AccountKind "ACCOUNT_KIND_";
    AlertKind "ALERT_KIND_";
    AlertState "ALERT_STATE_";
    Cadence "CADENCE_";
    CreditRequestState "CREDIT_REQUEST_STATE_";
    DayOfWeek "DAY_OF_WEEK_";
    DenialCode "DENIAL_CODE_";
    ExpiryPolicy "EXPIRY_POLICY_";
    InvitationState "INVITATION_STATE_";
    PaymentOutcome "PAYMENT_OUTCOME_";
    PeriodKind "PERIOD_KIND_";
    ReservationState "RESERVATION_STATE_";
    Role "ROLE_";
    RuleStatus "RULE_STATUS_";
    Scope "SCOPE_";
    TopUpState "TOP_UP_STATE_";
    TimeBasis "TIME_BASIS_";
    TransactionKind "TRANSACTION_KIND_";
    Unit "UNIT_";
    UsageGrouping "USAGE_GROUPING_";
    Verb "VERB_";
    WalletMode "WALLET_MODE_";
}

/// The short name; empty when unspecified, and told apart when a newer server sends a value unknown here.
pub(crate) fn name<E: Named>(value: i32) -> String {
    if value == 0 {
        return String::new();
    }
    match E::try_from(value) {
        Ok(known) => known.full_name().trim_start_matches(E::PREFIX).to_ascii_lowercase(),
        Err(_) => format!("unknown_{value}"),
    }
}

/// The same with dashes, as tables show it and flags take it.
pub(crate) fn dashed<E: Named>(value: i32) -> String {
    name::<E>(value).replace('_', "-")
}

/// Reads a short name; dashes and capitals don't matter.
pub(crate) fn parse<E: Named>(text: &str) -> Option<E> {
    let short = text.replace('-', "_").to_ascii_uppercase();
    E::from_full_name(&format!("{}{short}", E::PREFIX)).filter(|_| short != "UNSPECIFIED")
}

/// `BUDGET_EXCEEDED`.
pub(crate) fn code(value: i32) -> String {
    name::<DenialCode>(value).to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_read_back() {
        for unit in [Unit::Usd, Unit::Credits, Unit::RequestsPerMinute, Unit::TokensPerMinute, Unit::InFlight] {
            assert_eq!(parse(&name::<Unit>(unit.into())), Some(unit));
        }
        assert_eq!(name::<PeriodKind>(PeriodKind::OneTime.into()), "one_time");
        assert_eq!(parse("one-time"), Some(PeriodKind::OneTime));
        assert_eq!(code(DenialCode::BudgetExceeded.into()), "BUDGET_EXCEEDED");
    }

    #[test]
    fn unknown_and_unspecified_values_are_no_default() {
        assert_eq!(name::<Unit>(77), "unknown_77");
        assert_eq!(name::<Unit>(0), "");
        assert_eq!(parse::<Unit>("unspecified"), None);
        assert_eq!(parse::<Unit>("euro"), None);
    }
}
