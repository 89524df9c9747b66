//! `quotactl price`.

use clap::{Args, Subcommand};
use quotad::api::proto::{
    CreatePriceRequest, DeletePriceRequest, GetPriceRequest, ListPricesRequest, Price, UpdatePriceRequest,
};
use serde_json::{Value, json};
use tonic::Code;

use crate::{
    arguments::{decimal, mask},
    confirm::Consent,
    context::Context,
    failure::{Failure, required},
    format::{amount, instant, instant_json},
    output::{Column, Item, number, text},
    paging::Paging,
    taken,
};

const EXAMPLES: &str = "\
Examples:
  quotactl price set small --input 0.15 --cached-input 0.075 --output 0.60
  quotactl price set search --per-request 0.005
  quotactl price list";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum PriceCommand {
    /// Prices a model, or changes the parts of its price that are given
    Set {
        /// The model's name, as requests give it
        model: String,
        #[command(flatten)]
        fields: Fields,
    },
    /// Shows a model's price
    Get {
        /// The model's name, as requests give it
        model: String,
    },
    /// Lists prices
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Takes a model out of the price book: it is refused from now on
    Delete {
        /// The model's name, as requests give it
        model: String,
        #[command(flatten)]
        consent: Consent,
    },
}

#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Debug, Clone, Args)]
pub(crate) struct Fields {
    /// USD per million input tokens
    #[arg(long, value_name = "USD", value_parser = decimal)]
    input: Option<String>,
    /// USD per million input tokens read from a cache; what input costs at the moment if not set
    #[arg(long, value_name = "USD", value_parser = decimal)]
    cached_input: Option<String>,
    /// Unsets the price of tokens read from a cache: they cost what input costs at the moment
    #[arg(long, conflicts_with = "cached_input")]
    no_cached_input: bool,
    /// USD per million input tokens written to a cache; what input costs at the moment if not set
    #[arg(long, value_name = "USD", value_parser = decimal)]
    cache_write: Option<String>,
    /// Unsets the price of tokens written to a cache: they cost what input costs at the moment
    #[arg(long, conflicts_with = "cache_write")]
    no_cache_write: bool,
    /// USD per million output tokens
    #[arg(long, value_name = "USD", value_parser = decimal)]
    output: Option<String>,
    /// USD per request
    #[arg(long, value_name = "USD", value_parser = decimal)]
    per_request: Option<String>,
    /// The provider counts cached tokens beside the input (Anthropic, Bedrock), where a usage doesn't say
    #[arg(long, conflicts_with = "cache_inside_input")]
    cache_outside_input: bool,
    /// The provider counts cached tokens as parts of the input
    #[arg(long)]
    cache_inside_input: bool,
}

impl Fields {
    fn mask(&self) -> Option<prost_types::FieldMask> {
        mask(&[
            ("input_per_million", self.input.is_some()),
            ("cached_input_per_million", self.cached_input.is_some() || self.no_cached_input),
            ("cache_write_per_million", self.cache_write.is_some() || self.no_cache_write),
            ("output_per_million", self.output.is_some()),
            ("per_request", self.per_request.is_some()),
            ("cache_outside_input", self.cache_outside_input || self.cache_inside_input),
        ])
        .ok()
        .flatten()
    }

    /// Returns true where it says what something costs: a model without a price isn't made free by the way.
    fn costs(&self) -> bool {
        self.input.is_some() || self.output.is_some() || self.per_request.is_some()
    }

    fn price(self, model: String) -> Price {
        Price {
            model,
            input_per_million: self.input.unwrap_or_default(),
            cached_input_per_million: self.cached_input.unwrap_or_default(),
            cache_write_per_million: self.cache_write.unwrap_or_default(),
            output_per_million: self.output.unwrap_or_default(),
            per_request: self.per_request.unwrap_or_default(),
            cache_outside_input: self.cache_outside_input,
            ..Price::default()
        }
    }
}

impl PriceCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.prices(), context.out);
        match self {
            Self::Set { model, fields } => out.item(&set(context, model, fields).await?),
            Self::Get { model } => {
                out.item(&required(client.get_price(GetPriceRequest { model }).await?.into_inner().price, "price")?)
            }
            Self::List { paging } => {
                let page = async |page_size, page_token| {
                    let page = client.list_prices(ListPricesRequest { page_size, page_token }).await?.into_inner();
                    Ok((page.prices, page.next_page_token))
                };
                out.list("prices", &paging.collect(page).await?)
            }
            Self::Delete { model, consent } => {
                if !consent.given(out, async || taken::with_price(&context.server, &model).await).await? {
                    return Ok(());
                }
                client.delete_price(DeletePriceRequest { model: model.clone() }).await?;
                out.done(&format!("price of {model} deleted"), &json!({ "deleted": model }))
            }
        }
    }
}

async fn set(context: &Context, model: String, fields: Fields) -> Result<Price, Failure> {
    let mut client = context.server.prices();
    let Some(update_mask) = fields.mask() else {
        let flags = "--input, --cached-input, --no-cached-input, --cache-write, --no-cache-write, --output, \
                     --per-request, --cache-outside-input, --cache-inside-input";
        return Err(Failure::other(format!("nothing to set; give at least one of {flags}")));
    };
    let costs = fields.costs();
    let price = Some(fields.price(model));
    let update = UpdatePriceRequest { price: price.clone(), update_mask: Some(update_mask) };
    let price = match client.update_price(update).await {
        Ok(answer) => answer.into_inner().price,
        Err(status) if status.code() == Code::NotFound && costs => {
            client.create_price(CreatePriceRequest { price }).await?.into_inner().price
        }
        Err(status) => return Err(status.into()),
    };
    required(price, "price")
}

/// Returns what it costs, and that it isn't set where it follows the input.
fn cached(set: &str, effective: &str) -> String {
    if set.is_empty() { format!("{} (as input)", amount(effective)) } else { amount(set) }
}

impl Item for Price {
    const COLUMNS: &'static [Column] = &[
        text("model"),
        number("input/M"),
        number("cached/M"),
        number("cache write/M"),
        number("output/M"),
        number("per request"),
        text("updated").spare(),
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.model.clone(),
            amount(&self.input_per_million),
            cached(&self.cached_input_per_million, &self.effective_cached_input_per_million),
            cached(&self.cache_write_per_million, &self.effective_cache_write_per_million),
            amount(&self.output_per_million),
            amount(&self.per_request),
            instant(self.update_time.as_ref()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "model": self.model,
            "input_per_million": self.input_per_million,
            "cached_input_per_million": self.cached_input_per_million,
            "cache_write_per_million": self.cache_write_per_million,
            "effective_cached_input_per_million": self.effective_cached_input_per_million,
            "effective_cache_write_per_million": self.effective_cache_write_per_million,
            "output_per_million": self.output_per_million,
            "per_request": self.per_request,
            "cache_outside_input": self.cache_outside_input,
            "update_time": instant_json(self.update_time.as_ref()),
        })
    }
}
