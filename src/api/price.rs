//! The price book, in and out.

use std::sync::Arc;

use super::{
    convert::{
        mask::Mask,
        page::{page_of, size_in, token_in},
        required,
        time::timestamp_out,
        usage::nanos_out,
    },
    proto::{self, price_service_server::PriceService},
    serve::{serve, unscoped},
};
use crate::{
    domain::{
        entity::PriceEntry,
        error::Invalid,
        id::Model,
        money::Nanos,
        price::{ListPrice, Price},
    },
    service::{Caller, Error, PriceChange, Service},
};

const FIELDS: [&str; 6] = [
    "input_per_million",
    "cached_input_per_million",
    "cache_write_per_million",
    "output_per_million",
    "per_request",
    "cache_outside_input",
];

pub(super) struct PriceApi(pub(super) Arc<Service>);

serve! {
    PriceService, PriceApi {
        create_price(CreatePriceRequest) -> CreatePriceResponse = create.await;
        get_price(GetPriceRequest) -> GetPriceResponse = get;
        list_prices(ListPricesRequest) -> ListPricesResponse = list;
        update_price(UpdatePriceRequest) -> UpdatePriceResponse = update.await;
        delete_price(DeletePriceRequest) -> DeletePriceResponse = delete.await;
    }
}

unscoped! { CreatePriceRequest, GetPriceRequest, ListPricesRequest, UpdatePriceRequest, DeletePriceRequest }

impl PriceApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreatePriceRequest,
    ) -> Result<proto::CreatePriceResponse, Error> {
        let proto::CreatePriceRequest { price } = message;
        let (model, price) = price_in(required("price", price)?).map_err(|invalid| invalid.within("price"))?;
        let entry = self.0.create_price(caller, model, price).await?;
        Ok(proto::CreatePriceResponse { price: Some(entry_out(&entry)) })
    }

    fn get(&self, _: &Caller, message: proto::GetPriceRequest) -> Result<proto::GetPriceResponse, Error> {
        let proto::GetPriceRequest { model } = message;
        let entry = self.0.price(&Model::parse_exact("model", &model)?)?;
        Ok(proto::GetPriceResponse { price: Some(entry_out(&entry)) })
    }

    fn list(&self, _: &Caller, message: proto::ListPricesRequest) -> Result<proto::ListPricesResponse, Error> {
        let proto::ListPricesRequest { page_size, page_token } = message;
        let size = size_in(page_size)?;
        let after = token_in::<String>("prices", &page_token)?.map(Model::trusted);
        let entries = self.0.list_prices(after.as_ref(), size + 1);
        let (entries, next_page_token) = page_of("prices", size, entries, |entry| &entry.model);
        let prices = entries.iter().map(entry_out).collect();
        Ok(proto::ListPricesResponse { prices, next_page_token })
    }

    async fn update(
        &self,
        caller: &Caller,
        message: proto::UpdatePriceRequest,
    ) -> Result<proto::UpdatePriceResponse, Error> {
        let proto::UpdatePriceRequest { price, update_mask } = message;
        let mask = Mask::of(update_mask, &FIELDS)?;
        let price = required("price", price)?;
        let (model, change) = change_in(price, &mask).map_err(|invalid| invalid.within("price"))?;
        let entry = self.0.update_price(caller, &model, change).await?;
        Ok(proto::UpdatePriceResponse { price: Some(entry_out(&entry)) })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeletePriceRequest,
    ) -> Result<proto::DeletePriceResponse, Error> {
        let proto::DeletePriceRequest { model } = message;
        self.0.delete_price(caller, &Model::parse_exact("model", &model)?).await?;
        Ok(proto::DeletePriceResponse {})
    }
}

/// Empty means not set: 0, or for the cached kinds as the input at the moment.
fn amount_in(field: &str, text: &str) -> Result<Option<Nanos>, Invalid> {
    if text.is_empty() { Ok(None) } else { Nanos::parse(field, text).map(Some) }
}

fn price_in(price: proto::Price) -> Result<(Model, ListPrice), Invalid> {
    let proto::Price {
        model,
        input_per_million,
        cached_input_per_million,
        cache_write_per_million,
        output_per_million,
        per_request,
        update_time: _,
        effective_cached_input_per_million: _,
        effective_cache_write_per_million: _,
        cache_outside_input,
    } = price;
    let model = Model::parse_exact("model", &model)?;
    let price = ListPrice {
        input: amount_in(FIELDS[0], &input_per_million)?.unwrap_or_default(),
        cached_input: amount_in(FIELDS[1], &cached_input_per_million)?,
        cache_write: amount_in(FIELDS[2], &cache_write_per_million)?,
        output: amount_in(FIELDS[3], &output_per_million)?.unwrap_or_default(),
        per_request: amount_in(FIELDS[4], &per_request)?.unwrap_or_default(),
        cache_outside_input,
    };
    Ok((model, price.checked()?))
}

fn change_in(price: proto::Price, mask: &Mask) -> Result<(Model, PriceChange), Invalid> {
    let proto::Price {
        model,
        input_per_million,
        cached_input_per_million,
        cache_write_per_million,
        output_per_million,
        per_request,
        update_time: _,
        effective_cached_input_per_million: _,
        effective_cache_write_per_million: _,
        cache_outside_input,
    } = price;
    let pick = |field: &'static str, text: &str| mask.pick(field, || amount_in(field, text));
    let change = PriceChange {
        input: pick(FIELDS[0], &input_per_million)?.map(Option::unwrap_or_default),
        cached_input: pick(FIELDS[1], &cached_input_per_million)?,
        cache_write: pick(FIELDS[2], &cache_write_per_million)?,
        output: pick(FIELDS[3], &output_per_million)?.map(Option::unwrap_or_default),
        per_request: pick(FIELDS[4], &per_request)?.map(Option::unwrap_or_default),
        cache_outside_input: mask.pick(FIELDS[5], || Ok::<_, Invalid>(cache_outside_input))?,
    };
    Ok((Model::parse_exact("model", &model)?, change))
}

/// A price as it is set, and what follows from that now.
fn entry_out(entry: &PriceEntry) -> proto::Price {
    let PriceEntry { model, price, update_time } = entry;
    let set = |amount: Option<Nanos>| amount.map_or_else(String::new, nanos_out);
    proto::Price {
        cached_input_per_million: set(price.cached_input),
        cache_write_per_million: set(price.cache_write),
        update_time: Some(timestamp_out(*update_time)),
        ..applied_out(model, &price.in_force())
    }
}

/// A price that a request was charged by.
pub(super) fn applied_out(model: &Model, price: &Price) -> proto::Price {
    let Price { input, cached_input, cache_write, output, per_request, cache_outside_input } = *price;
    proto::Price {
        model: model.to_string(),
        input_per_million: nanos_out(input),
        cached_input_per_million: nanos_out(cached_input),
        cache_write_per_million: nanos_out(cache_write),
        output_per_million: nanos_out(output),
        per_request: nanos_out(per_request),
        update_time: None,
        effective_cached_input_per_million: nanos_out(cached_input),
        effective_cache_write_per_million: nanos_out(cache_write),
        cache_outside_input,
    }
}
