//! The control plane's part of the load: money in, corrections, keys, and settings that one caller alone changes.

use quotad::{
    api::proto::{
        CorrectEntryRequest, CreateKeyRequest, Key, MemberAllocation, Rule, TopUpRequest, TransactionKind,
        UpdateKeyRequest, UpdateMemberAllocationRequest, UpdateRuleRequest,
    },
    domain::money::Nanos,
};

use crate::{
    acknowledged::{Booked, Setting},
    caller::Caller,
    quota::Work,
    seed::{key, mask, member, policy, rule},
};

/// Budgets are set to this and the number of the piece of work: never a limit for the load.
pub(crate) const BUDGETS_FROM: u64 = 1_000_000;

/// What each correction gives back of the charge just before it, in USD.
pub(crate) const REFUND: &str = "0.00005";

impl Caller {
    pub(crate) async fn top_up(&self, work: Work) {
        let request = TopUpRequest {
            organization_id: work.organization.into(),
            amount_usd: format!("{}.5", 1 + work.number % 9),
            request_id: format!("work-{}", work.number),
            reason: "load".into(),
            ..TopUpRequest::default()
        };
        let call = || async { self.operator.wallets().top_up(request.clone()).await };
        let order = self.ask("TopUp", call).await.unwrap().order.unwrap();
        let amount = Nanos::parse("amount", &request.amount_usd).unwrap();
        let booked = Booked { kind: TransactionKind::TopUp, id: request.request_id.clone(), amount };
        self.note(|known| known.booked(&(work.organization.into(), order.entry), &booked));
    }

    /// Charges, and gives a part of it back.
    pub(crate) async fn correct(&self, work: Work) {
        let charge = work.charge_request(&key(work.organization, work.key));
        let Some(entry) = self.charge(work, charge, false).await else { return };
        let request = CorrectEntryRequest {
            organization_id: work.organization.into(),
            entry,
            kind: TransactionKind::Refund.into(),
            amount_usd: REFUND.into(),
            reason: "load".into(),
            request_id: format!("refund-{}", work.number),
        };
        let call = || async { self.operator.wallets().correct_entry(request.clone()).await };
        let answer = self.ask("CorrectEntry", call).await.unwrap();
        let amount = Nanos::parse("amount", &request.amount_usd).unwrap();
        let booked = Booked { kind: TransactionKind::Refund, id: request.request_id.clone(), amount };
        self.note(|known| known.booked(&(work.organization.into(), answer.entry), &booked));
    }

    /// Makes a key and charges it.
    pub(crate) async fn make_key(&self, work: Work) {
        let id = key(work.organization, format!("made-{}", work.number));
        let made = Key {
            organization_id: work.organization.into(),
            id: id.clone(),
            member_id: member(work.key),
            team_id: "research".into(),
            name: work.number.to_string(),
            ..Key::default()
        };
        let request = CreateKeyRequest { key: Some(made), request_id: format!("key-{}", work.number) };
        let call = || async { self.operator.keys().create_key(request.clone()).await };
        self.ask("CreateKey", call).await.unwrap();
        let setting = Setting::KeyMade { organization: work.organization.into(), key: id.clone() };
        self.note(|known| known.set(setting, work.number));
        let charge = work.charge_request(&id);
        self.charge(work, charge, false).await;
    }

    /// Changes one of the settings that are this caller's.
    pub(crate) async fn set(&self, work: Work) {
        let (organization, value) = (work.organization.to_owned(), work.number);
        let setting = match work.number / 16 % 3 {
            0 => {
                self.set_budget(work).await;
                Setting::KeyBudget { organization, key: key(work.organization, self.number) }
            }
            1 => {
                self.set_rule(work).await;
                Setting::RuleName { organization, rule: rule(self.number) }
            }
            _ => {
                self.set_extra(work).await;
                Setting::Extra { organization, member: member(self.number) }
            }
        };
        self.note(|known| known.set(setting, value));
    }

    async fn set_budget(&self, work: Work) {
        let key = Key {
            organization_id: work.organization.into(),
            id: key(work.organization, self.number),
            policy: policy(&(BUDGETS_FROM + work.number).to_string()),
            ..Key::default()
        };
        let request = UpdateKeyRequest { key: Some(key), update_mask: mask(&["policy"]), ..Default::default() };
        self.ask("UpdateKey", || async { self.operator.keys().update_key(request.clone()).await }).await.unwrap();
    }

    async fn set_rule(&self, work: Work) {
        let rule = Rule {
            organization_id: work.organization.into(),
            id: rule(self.number),
            name: work.number.to_string(),
            ..Rule::default()
        };
        let request = UpdateRuleRequest { rule: Some(rule), update_mask: mask(&["name"]), ..Default::default() };
        self.ask("UpdateRule", || async { self.operator.rules().update_rule(request.clone()).await }).await.unwrap();
    }

    async fn set_extra(&self, work: Work) {
        let allocation = MemberAllocation {
            organization_id: work.organization.into(),
            team_id: "research".into(),
            member_id: member(self.number),
            monthly: "1000000".into(),
            extra: work.number.to_string(),
            ..MemberAllocation::default()
        };
        let request =
            UpdateMemberAllocationRequest { allocation: Some(allocation), update_mask: mask(&["monthly", "extra"]) };
        let call = || async { self.operator.allocations().update_member_allocation(request.clone()).await };
        self.ask("UpdateMemberAllocation", call).await.unwrap();
    }
}
