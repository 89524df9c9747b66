//! An entry of the books, as it is shown.

use quotad::api::proto::{Transaction, TransactionKind};
use serde_json::{Value, json};

use crate::{
    format::{amount, instant, instant_json, thousands},
    names::{dashed, name},
    output::{Column, Item, number, text},
};

impl Item for Transaction {
    const COLUMNS: &'static [Column] = &[
        number("entry"),
        text("time"),
        text("kind"),
        text("member"),
        text("key").spare(),
        text("team").spare(),
        text("model"),
        number("input").spare(),
        number("output").spare(),
        number("cost (USD)"),
        number("credits").spare(),
        number("wallet"),
        number("balance"),
    ];

    fn cells(&self) -> Vec<String> {
        let tokens = |count: fn(&quotad::api::proto::BookedUsage) -> i64| {
            self.usage.as_ref().map(|usage| thousands(count(usage))).unwrap_or_default()
        };
        vec![
            thousands(self.entry),
            instant(self.time.as_ref()),
            dashed::<TransactionKind>(self.kind),
            self.member_id.clone(),
            self.key_id.clone(),
            self.team_id.clone(),
            self.model.clone(),
            tokens(|usage| usage.input_tokens),
            tokens(|usage| usage.output_tokens),
            amount(&self.cost_usd),
            amount(&self.credits),
            amount(&self.wallet_usd),
            amount(&self.balance_usd),
        ]
    }

    fn json(&self) -> Value {
        let usage = self.usage.as_ref().map(|usage| {
            json!({
                "input_tokens": usage.input_tokens,
                "cached_input_tokens": usage.cached_input_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
                "output_tokens": usage.output_tokens,
                "requests": usage.requests,
            })
        });
        let overage = self.overage.as_ref().map(|over| {
            json!({ "usd": over.usd, "credits": over.credits, "tokens": over.tokens, "requests": over.requests })
        });
        json!({
            "organization_id": self.organization_id,
            "entry": self.entry,
            "kind": name::<TransactionKind>(self.kind),
            "time": instant_json(self.time.as_ref()),
            "occurred_at": instant_json(self.occurred_at.as_ref()),
            "key_id": self.key_id,
            "member_id": self.member_id,
            "team_id": self.team_id,
            "model": self.model,
            "usage": usage,
            "cost_usd": self.cost_usd,
            "credits": self.credits,
            "wallet_usd": self.wallet_usd,
            "balance_usd": self.balance_usd,
            "request_id": self.request_id,
            "reservation_id": self.reservation_id,
            "overage": overage,
            "price": self.price.as_ref().map(Item::json),
            "labels": self.labels,
            "actor": self.actor,
            "reason": self.reason,
            "corrects_entry": self.corrects_entry,
            "order_id": self.order_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_in_json_has_the_names_of_the_api_and_says_what_is_unset() {
        let entry = Transaction {
            entry: 7,
            kind: TransactionKind::LateCommit.into(),
            cost_usd: "-0.5".into(),
            labels: [("replay".to_owned(), "x".to_owned())].into(),
            ..Transaction::default()
        };
        let value = entry.json();
        assert_eq!((value["entry"].as_u64(), value["kind"].as_str()), (Some(7), Some("late_commit")));
        assert_eq!((value["cost_usd"].as_str(), value["labels"]["replay"].as_str()), (Some("-0.5"), Some("x")));
        assert!(value["usage"].is_null() && value["price"].is_null() && value["time"].is_null());
    }
}
