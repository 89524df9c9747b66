//! The system's own stream, and the price book in it.

use std::sync::Arc;

use super::{Caller, Error, Service, turn::Done};
use crate::{
    domain::{
        entity::PriceEntry,
        event::{Event, Record},
        id::{Actor, Model, SecretHash, TokenId},
        money::Nanos,
        price::{ListPrice, PriceBook},
        time::Timestamp,
    },
    engine::system::SystemState,
};

/// Fields of a price to change; `None` leaves one as it is, an inner `None` unsets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PriceChange {
    pub input: Option<Nanos>,
    pub cached_input: Option<Option<Nanos>>,
    pub cache_write: Option<Option<Nanos>>,
    pub output: Option<Nanos>,
    pub per_request: Option<Nanos>,
    pub cache_outside_input: Option<bool>,
}

/// Changes of the system's state, under its lock. What was emitted is in effect, so all that can fail comes before.
pub(super) struct SystemTurn<'a> {
    pub state: &'a mut SystemState,
    epoch: u32,
    now: Timestamp,
    records: Vec<Record>,
    changed: Changed,
}

/// Changes of what calls read without the lock.
#[derive(Debug, Default)]
pub(super) struct Changed {
    prices: bool,
    /// Tokens that changed or ended, each with the hash that it had before.
    tokens: Vec<(TokenId, Option<SecretHash>)>,
}

impl<'a> SystemTurn<'a> {
    pub(super) fn new(state: &'a mut SystemState, epoch: u32, now: Timestamp) -> Self {
        Self { state, epoch, now, records: Vec::new(), changed: Changed::default() }
    }

    pub(super) fn emit(&mut self, actor: &Actor, event: Event) {
        self.changed.prices |= matches!(event, Event::PriceSet(_) | Event::PriceDeleted(_));
        let token = match &event {
            Event::TokenSet(token) => Some(&token.id),
            Event::TokenDeleted(id) => Some(id),
            Event::GrantRemoved { left, .. } => Some(&left.id),
            _ => None,
        };
        if let Some(id) = token {
            let former = self.state.tokens.get(id).map(|token| token.hash);
            self.changed.tokens.push((id.clone(), former));
        }
        self.records.push(self.state.emit(event, self.epoch, self.now, actor));
    }

    pub(super) fn finish(self) -> (Vec<Record>, Changed) {
        (self.records, self.changed)
    }
}

impl Service {
    /// One change of the system's state. Answers the position that must be on disk before it is a promise.
    pub(super) fn system_turn(
        &self,
        actor: &Actor,
        decide: impl FnOnce(&SystemState, Timestamp) -> Result<Event, Error>,
    ) -> Result<u64, Error> {
        self.system_events(actor, |system, now| decide(system, now).map(|event| vec![event]))
    }

    /// Several changes of the system's state that reach the disk together.
    pub(super) fn system_events(
        &self,
        actor: &Actor,
        decide: impl FnOnce(&SystemState, Timestamp) -> Result<Vec<Event>, Error>,
    ) -> Result<u64, Error> {
        let done = self.system_changes(|system| {
            for event in decide(system.state, system.now)? {
                system.emit(actor, event);
            }
            Ok(())
        })?;
        Ok(done.position)
    }

    /// The same, with an answer, and each by somebody of its own.
    pub(super) fn system_changes<T>(
        &self,
        change: impl FnOnce(&mut SystemTurn<'_>) -> Result<T, Error>,
    ) -> Result<Done<T>, Error> {
        let mut system = self.system.lock();
        let mut turn = SystemTurn::new(&mut system, self.epoch, self.clock.now());
        let answer = change(&mut turn)?;
        let (records, changed) = turn.finish();
        let position = self.writer.push(records);
        self.show_system(&system, changed);
        Ok(Done { answer, position })
    }

    /// Renews what calls read without the lock. Under the lock, so that the last change is the one seen.
    pub(super) fn show_system(&self, system: &SystemState, changed: Changed) {
        let Changed { prices, tokens } = changed;
        if prices {
            self.prices.store(Arc::clone(&system.prices));
        }
        for (id, former) in tokens {
            self.tokens.follow(former, system.tokens.get(&id));
        }
    }

    /// # Errors
    /// [`Error::Exists`] when the model has a price.
    pub async fn create_price(&self, caller: &Caller, model: Model, price: ListPrice) -> Result<PriceEntry, Error> {
        self.wait_for_room().await?;
        let done = self.system_changes(|system| {
            if system.state.prices.get(&model).is_some() {
                return Err(Error::Exists { kind: "price of", id: model.to_string() });
            }
            let entry = PriceEntry { model, price, update_time: system.now };
            system.emit(&caller.actor, Event::PriceSet(Box::new(entry.clone())));
            Ok(entry)
        })?;
        self.acknowledge(done).await
    }

    /// # Errors
    /// [`Error::NotFound`] when the model has no price, [`Error::Invalid`] when the new one is absurd.
    pub async fn update_price(&self, caller: &Caller, model: &Model, change: PriceChange) -> Result<PriceEntry, Error> {
        self.wait_for_room().await?;
        let done = self.system_changes(|system| {
            let ListPrice { input, cached_input, cache_write, output, per_request, cache_outside_input } =
                system.state.prices.get(model).ok_or_else(|| unpriced(model))?.price;
            let price = ListPrice {
                input: change.input.unwrap_or(input),
                cached_input: change.cached_input.unwrap_or(cached_input),
                cache_write: change.cache_write.unwrap_or(cache_write),
                output: change.output.unwrap_or(output),
                per_request: change.per_request.unwrap_or(per_request),
                cache_outside_input: change.cache_outside_input.unwrap_or(cache_outside_input),
            };
            let price = price.checked().map_err(|invalid| invalid.within("price"))?;
            let entry = PriceEntry { model: model.clone(), price, update_time: system.now };
            system.emit(&caller.actor, Event::PriceSet(Box::new(entry.clone())));
            Ok(entry)
        })?;
        self.acknowledge(done).await
    }

    /// # Errors
    /// [`Error::NotFound`] when the model has no price.
    pub async fn delete_price(&self, caller: &Caller, model: &Model) -> Result<(), Error> {
        self.wait_for_room().await?;
        let position = self.system_turn(&caller.actor, |system, _| match system.prices.get(model) {
            Some(_) => Ok(Event::PriceDeleted(model.clone())),
            None => Err(unpriced(model)),
        })?;
        Ok(self.writer.wait_durable(position).await?)
    }

    /// The price book as it is now.
    pub fn prices(&self) -> Arc<PriceBook> {
        self.prices.load_full()
    }

    /// # Errors
    /// [`Error::NotFound`] when the model has no price.
    pub fn price(&self, model: &Model) -> Result<PriceEntry, Error> {
        self.prices.load().get(model).cloned().ok_or_else(|| unpriced(model))
    }

    /// In the order of the models' names, those after `after`.
    pub fn list_prices(&self, after: Option<&Model>, limit: usize) -> Vec<PriceEntry> {
        self.prices.load().after(after).take(limit).cloned().collect()
    }
}

fn unpriced(model: &Model) -> Error {
    Error::NotFound { kind: "price of", id: model.to_string() }
}
