//! The price book and service tokens.

use super::{Caller, Error, Service, Tokens, secret};
use crate::{
    domain::{
        entity::{PriceEntry, ServiceToken},
        event::Event,
        id::{Actor, Model, SecretHash, TokenId},
        money::Nanos,
        price::Price,
        time::Timestamp,
    },
    engine::system::SystemState,
};

/// Fields of a price to change; `None` leaves one as it is, an inner `None` makes it the same as the input's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PriceChange {
    pub input: Option<Nanos>,
    pub cached_input: Option<Option<Nanos>>,
    pub cache_write: Option<Option<Nanos>>,
    pub output: Option<Nanos>,
    pub per_request: Option<Nanos>,
}

/// A service token with its secret, which is told this once.
#[derive(Debug, Clone)]
pub struct NewToken {
    pub token: ServiceToken,
    pub secret: String,
}

impl Service {
    /// One change of the system's state. Answers the position that must be on disk before it is a promise.
    pub(super) fn system_turn(
        &self,
        actor: &Actor,
        decide: impl FnOnce(&SystemState, Timestamp) -> Result<Event, Error>,
    ) -> Result<u64, Error> {
        let mut system = self.system.lock();
        let now = self.clock.now();
        let event = decide(&system, now)?;
        let record = system.emit(event, self.epoch, now, actor);
        let position = self.writer.push([record]);
        self.prices.store(std::sync::Arc::clone(&system.prices));
        self.tokens.store(std::sync::Arc::new(tokens_of(&system)));
        Ok(position)
    }

    /// # Errors
    /// [`Error::Exists`] when the model has a price.
    pub async fn create_price(&self, caller: &Caller, model: Model, price: Price) -> Result<PriceEntry, Error> {
        self.wait_for_room().await?;
        let position = self.system_turn(&caller.actor, |system, now| {
            if system.prices.get(&model).is_some() {
                return Err(Error::Exists { kind: "price of", id: model.to_string() });
            }
            Ok(Event::PriceSet(Box::new(PriceEntry { model: model.clone(), price, update_time: now })))
        })?;
        self.writer.wait_durable(position).await?;
        self.price(&model)
    }

    /// # Errors
    /// [`Error::NotFound`] when the model has no price, [`Error::Invalid`] when the new one is absurd.
    pub async fn update_price(&self, caller: &Caller, model: &Model, change: PriceChange) -> Result<PriceEntry, Error> {
        self.wait_for_room().await?;
        let position = self.system_turn(&caller.actor, |system, now| {
            let Price { input, cached_input, cache_write, output, per_request } =
                system.prices.price(model).ok_or_else(|| unpriced(model))?;
            let input = change.input.unwrap_or(input);
            let price = Price {
                input,
                cached_input: change.cached_input.map_or(cached_input, |price| price.unwrap_or(input)),
                cache_write: change.cache_write.map_or(cache_write, |price| price.unwrap_or(input)),
                output: change.output.unwrap_or(output),
                per_request: change.per_request.unwrap_or(per_request),
            };
            let price = price.checked().map_err(|invalid| invalid.within("price"))?;
            Ok(Event::PriceSet(Box::new(PriceEntry { model: model.clone(), price, update_time: now })))
        })?;
        self.writer.wait_durable(position).await?;
        self.price(model)
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

    /// # Errors
    /// [`Error::NotFound`] when the model has no price.
    pub fn price(&self, model: &Model) -> Result<PriceEntry, Error> {
        self.prices.load().get(model).cloned().ok_or_else(|| unpriced(model))
    }

    /// In the order of the models' names, those after `after`.
    pub fn list_prices(&self, after: Option<&Model>, limit: usize) -> Vec<PriceEntry> {
        self.prices.load().after(after).take(limit).cloned().collect()
    }

    /// # Errors
    /// [`Error::Exists`] when the id is in use, [`Error::Invalid`] when it would be expired from the start.
    pub async fn create_token(
        &self,
        caller: &Caller,
        id: Option<TokenId>,
        name: String,
        expire_time: Option<Timestamp>,
    ) -> Result<NewToken, Error> {
        self.wait_for_room().await?;
        let id = match id {
            Some(id) => id,
            None => TokenId::trusted(secret::new_id("token")?),
        };
        let secret = secret::new_secret("qt")?;
        let mut made = None;
        let position = self.system_turn(&caller.actor, |system, now| {
            if system.tokens.contains_key(&id) {
                return Err(Error::Exists { kind: "token", id: id.to_string() });
            }
            if expire_time.is_some_and(|end| end <= now) {
                let problem = "lies in the past; leave it unset for a token that doesn't expire";
                return Err(crate::domain::error::Invalid::new("token.expire_time", problem).into());
            }
            let token = ServiceToken { id, name, hash: SecretHash::of(&secret), create_time: now, expire_time };
            made = Some(token.clone());
            Ok(Event::TokenSet(Box::new(token)))
        })?;
        self.writer.wait_durable(position).await?;
        let token = made.ok_or_else(|| Error::Internal(String::from("a token was booked and lost")))?;
        Ok(NewToken { token, secret })
    }

    /// # Errors
    /// [`Error::NotFound`] when there is no such token.
    pub async fn delete_token(&self, caller: &Caller, id: &TokenId) -> Result<(), Error> {
        self.wait_for_room().await?;
        let position = self.system_turn(&caller.actor, |system, _| match system.tokens.get(id) {
            Some(_) => Ok(Event::TokenDeleted(id.clone())),
            None => Err(Error::NotFound { kind: "token", id: id.to_string() }),
        })?;
        Ok(self.writer.wait_durable(position).await?)
    }

    /// In the order of their ids, those after `after`.
    pub fn list_tokens(&self, after: Option<&TokenId>, limit: usize) -> Vec<ServiceToken> {
        let system = self.system.lock();
        let tokens = system.tokens.values().filter(|token| after.is_none_or(|after| token.id > *after));
        tokens.take(limit).cloned().collect()
    }
}

fn unpriced(model: &Model) -> Error {
    Error::NotFound { kind: "price of", id: model.to_string() }
}

pub(super) fn tokens_of(system: &SystemState) -> Tokens {
    system.tokens.values().map(|token| (token.hash, (token.id.clone(), token.expire_time))).collect()
}
