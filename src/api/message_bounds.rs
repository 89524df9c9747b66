//! Bounds on one request: how often each repeated field and map may stand in it, and how long each text may be. Said once, here,
//! and checked on the bytes, so that a message that holds more is refused before anything is allocated for it.
//!
//! A field without a bound is refused. Texts are counted in characters and so have four times as many bytes at most.

use std::{collections::HashMap, sync::LazyLock};

use foldhash::fast::RandomState;
use prost::Message as _;
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorSet, MessageOptions,
    field_descriptor_proto::{Label, Type},
};

use super::{
    convert::{
        MAX_FREE_TEXT, MAX_TEXT,
        page::MAX_PAGE_TOKEN,
        usage::{MAX_LABEL_KEY, MAX_LABEL_VALUE, MAX_LABELS},
    },
    proto,
    quota::MAX_API_KEY,
};
use crate::domain::{
    access::{MAX_FIRST_TEAMS, MAX_SCOPED},
    contact::{MAX_EMAIL, MAX_URL},
    error::Invalid,
    id::{MAX_ID, MAX_NAME},
    policy::{MAX_LIMITS, MAX_MODELS, MAX_RECIPIENTS, MAX_THRESHOLDS},
    reservation_id,
};

mod scan;
#[cfg(test)]
mod tests;

/// Longest name of a time zone, and longest hours.
const MAX_ZONE: usize = 64;
/// Longest decimal number.
const MAX_DECIMAL: usize = 64;
/// Longest text that a request only repeats from an answer.
const MAX_ECHO: usize = 4096;
/// Longest message of a payment provider, in bytes.
const MAX_PAYLOAD: usize = 65_536;
/// Most values of an enum that a filter may name, repeats included.
const MAX_VALUES: usize = 32;
/// Most fields that an Update may name.
const MAX_PATHS: usize = 64;

/// From which size on the messages of the data plane are checked here. A smaller one can't take much memory, and all that it holds
/// is checked as it is converted.
const UNARY_CHECKED_FROM: usize = 4096;
/// The same of a session, which a message that is refused here ends; within it, other callers' operations may be under way.
const SESSION_CHECKED_FROM: usize = 65_536;

/// How much one field may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bound {
    /// Times it may stand there.
    times: usize,
    /// Length of each text, in characters; of bytes, in bytes.
    length: usize,
}

const fn text(length: usize) -> Bound {
    Bound { times: usize::MAX, length }
}

const fn texts(times: usize, length: usize) -> Bound {
    Bound { times, length }
}

const fn times(times: usize) -> Bound {
    Bound { times, length: 0 }
}

const ID: Bound = text(MAX_ID);
const DECIMAL: Bound = text(MAX_DECIMAL);

/// Fields that mean the same in whatever message they stand.
const EVERYWHERE: &[(&str, Bound)] = &[
    ("alert_id", ID),
    ("credit_request_id", ID),
    ("default_rule_id", ID),
    ("effective_rule_id", ID),
    ("id", ID),
    ("invitation_id", ID),
    ("key_id", ID),
    ("limit_id", ID),
    ("member_id", ID),
    ("order_id", ID),
    ("organization_id", ID),
    ("payment_method_id", ID),
    ("pending_order_id", ID),
    ("rule_id", ID),
    ("team_id", ID),
    ("token_id", ID),
    // `team_id/member_id`.
    ("scope_id", text(2 * MAX_ID + 1)),
    ("holder", text(MAX_NAME)),
    ("model", text(MAX_NAME)),
    ("request_id", text(MAX_NAME)),
    ("reservation_id", text(reservation_id::MAX_LEN)),
    ("email", text(MAX_EMAIL)),
    ("etag", ID),
    ("label", text(MAX_TEXT)),
    ("name", text(MAX_TEXT)),
    ("provider_reference", text(MAX_TEXT)),
    ("provider_token", text(MAX_TEXT)),
    ("search", text(MAX_TEXT)),
    ("description", text(MAX_FREE_TEXT)),
    ("note", text(MAX_FREE_TEXT)),
    ("reason", text(MAX_FREE_TEXT)),
    ("page_token", text(MAX_PAGE_TOKEN)),
    ("currency", text(16)),
    ("hours", text(MAX_ZONE)),
    ("time_zone", text(MAX_ZONE)),
    ("amount", DECIMAL),
    ("amount_usd", DECIMAL),
    ("auto_approve_reserve", DECIMAL),
    ("auto_approved", DECIMAL),
    ("available", DECIMAL),
    ("cache_write_per_million", DECIMAL),
    ("cached_input_per_million", DECIMAL),
    ("cost_usd", DECIMAL),
    ("credit_factor", DECIMAL),
    ("credits_used", DECIMAL),
    ("credits_per_cycle", DECIMAL),
    ("distributed", DECIMAL),
    ("extra", DECIMAL),
    ("effective_cache_write_per_million", DECIMAL),
    ("effective_cached_input_per_million", DECIMAL),
    ("held", DECIMAL),
    ("input_per_million", DECIMAL),
    ("low_balance_usd", DECIMAL),
    ("max", DECIMAL),
    ("max_credits", DECIMAL),
    ("monthly", DECIMAL),
    ("monthly_cap_usd", DECIMAL),
    ("output_per_million", DECIMAL),
    ("per_request", DECIMAL),
    ("remaining", DECIMAL),
    ("shared_used", DECIMAL),
    ("signup_credits", DECIMAL),
    ("soft", DECIMAL),
    ("spent", DECIMAL),
    ("target_usd", DECIMAL),
    ("threshold_usd", DECIMAL),
    ("used", DECIMAL),
    ("disabled_reason", text(MAX_ECHO)),
    ("invited_by", text(MAX_ECHO)),
    ("preview", text(MAX_ECHO)),
    ("secret_prefix", text(MAX_ECHO)),
    ("budgets", times(MAX_LIMITS)),
    ("quotas", times(MAX_LIMITS)),
    // Of a policy, and of what stands beside it.
    ("limits", times(8 * MAX_LIMITS)),
    ("models", texts(MAX_MODELS, MAX_NAME)),
    ("unmatched_models", texts(MAX_MODELS, MAX_NAME)),
    ("recipients", texts(MAX_RECIPIENTS, MAX_EMAIL)),
    ("thresholds", texts(MAX_THRESHOLDS, MAX_DECIMAL)),
    ("team_ids", texts(MAX_FIRST_TEAMS, MAX_ID)),
    ("organization_ids", texts(MAX_SCOPED, MAX_ID)),
    ("verbs", times(MAX_VALUES)),
    ("managed_fields", texts(MAX_PATHS, MAX_NAME)),
    ("weekdays", times(7)),
    ("kinds", times(MAX_VALUES)),
    ("states", times(MAX_VALUES)),
    ("labels", times(MAX_LABELS)),
];

/// Fields of one message, which go before those.
const OF_MESSAGE: &[(&str, &str, Bound)] = &[
    ("AcceptInvitationRequest", "invitation_token", text(MAX_API_KEY)),
    ("AlertSettings", "webhook_secret", text(MAX_TEXT)),
    ("AlertSettings", "webhook_url", text(MAX_URL)),
    ("ConfirmPaymentRequest", "payload", text(MAX_PAYLOAD)),
    ("ConfirmPaymentRequest", "webhook_id", text(MAX_TEXT)),
    ("ConfirmPaymentRequest", "webhook_timestamp", text(MAX_TEXT)),
    ("ConfirmPaymentRequest", "webhook_signature", text(MAX_FREE_TEXT)),
    ("CorrectEntryRequest", "reason", text(MAX_TEXT)),
    ("FieldMask", "paths", texts(MAX_PATHS, MAX_NAME)),
    ("LabelsEntry", "key", text(MAX_LABEL_KEY)),
    ("LabelsEntry", "value", text(MAX_LABEL_VALUE)),
    // `operator`, `service:` or `member:` and an id.
    ("ListAuditEventsRequest", "actor", text(MAX_NAME)),
    // Of a membership, it is `team_id/member_id`.
    ("ListAuditEventsRequest", "id", text(2 * MAX_ID + 1)),
    ("ListAuditEventsRequest", "kind", text(MAX_ID)),
    ("Payer", "api_key", text(MAX_API_KEY)),
    ("ReleaseRequest", "reason", text(MAX_TEXT)),
    ("TopUpRequest", "reason", text(MAX_TEXT)),
];

fn bound_of(message: &str, field: &str) -> Option<Bound> {
    let of_message = OF_MESSAGE.iter().find(|(of, name, _)| *of == message && *name == field);
    let everywhere = || EVERYWHERE.iter().find(|(name, _)| *name == field).map(|(_, bound)| *bound);
    of_message.map(|(.., bound)| *bound).or_else(everywhere)
}

/// The shape of a message, as far as it is bounded.
#[derive(Debug, Default)]
struct Shape {
    /// By number.
    fields: Vec<Option<Field>>,
    /// How many of the fields are counted.
    counted: usize,
}

#[derive(Debug)]
struct Field {
    name: String,
    kind: Kind,
    /// Not of a text that stands alone: of those the last one counts, and none takes more room than it has.
    counted: Option<Counted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Counted {
    /// Which of the message's counters.
    at: usize,
    most: usize,
    is_repeated: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of at most as many characters.
    Text(usize),
    Bytes(usize),
    /// The place of its shape.
    Message(usize),
    /// The same, of an entry.
    Map(usize),
    /// Each a number, perhaps packed.
    Numbers,
}

/// Everything that a request may hold.
#[derive(Debug, Default)]
struct Shapes {
    shapes: Vec<Shape>,
    /// By the name of a message, of those that methods take.
    requests: HashMap<String, (usize, usize), RandomState>,
}

static SHAPES: LazyLock<Shapes> = LazyLock::new(|| {
    // Descriptors that can't be read stop the server at its start: reflection reads them too.
    Shapes::of(&FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap_or_default())
});

/// A request whose bounds are known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounded {
    shape: usize,
    checked_from: usize,
}

impl Bounded {
    /// `None` for what no method takes: an answer.
    pub(super) fn request(name: &str) -> Option<Self> {
        SHAPES.requests.get(name).map(|&(shape, checked_from)| Self { shape, checked_from })
    }

    /// # Errors
    /// [`Invalid`] for the first field that holds too much.
    pub(super) fn check(self, message: &[u8]) -> Result<(), Invalid> {
        if message.len() < self.checked_from { Ok(()) } else { SHAPES.check(self.shape, message) }
    }
}

impl Shapes {
    fn of(files: &FileDescriptorSet) -> Self {
        let mut messages = HashMap::new();
        for file in &files.file {
            for message in &file.message_type {
                note(&mut messages, &format!(".{}", file.package()), message);
            }
        }
        let (mut shapes, mut places) = (Self::default(), HashMap::new());
        for service in files.file.iter().flat_map(|file| &file.service) {
            for method in &service.method {
                let name = method.input_type();
                let checked_from = match (service.name(), method.client_streaming()) {
                    ("QuotaService", false) => UNARY_CHECKED_FROM,
                    ("QuotaService", true) => SESSION_CHECKED_FROM,
                    _ => 0,
                };
                let shape = shapes.add(name, &messages, &mut places);
                let name = name.rsplit('.').next().unwrap_or_default();
                shapes.requests.insert(name.to_owned(), (shape, checked_from));
            }
        }
        shapes
    }

    /// Adds a message, and all that it holds, where it isn't there yet. Answers its place.
    fn add<'a>(
        &mut self,
        name: &'a str,
        messages: &HashMap<String, &'a DescriptorProto>,
        places: &mut HashMap<&'a str, usize>,
    ) -> usize {
        if let Some(place) = places.get(name) {
            return *place;
        }
        let place = self.shapes.len();
        places.insert(name, place);
        self.shapes.push(Shape::default());
        let mut shape = Shape::default();
        let Some(message) = messages.get(name) else { return place };
        for field in &message.field {
            let bound = bound_of(message.name(), field.name()).unwrap_or(times(0));
            let is_repeated = field.label() == Label::Repeated;
            let kind = match field.r#type() {
                Type::String => Kind::Text(bound.length),
                Type::Bytes => Kind::Bytes(bound.length),
                Type::Message => {
                    let is_map = messages.get(field.type_name()).is_some_and(|entry| is_entry(entry));
                    let place = self.add(field.type_name(), messages, places);
                    if is_map { Kind::Map(place) } else { Kind::Message(place) }
                }
                _ if is_repeated => Kind::Numbers,
                _ => continue,
            };
            let counted = counts(field).then_some(Counted {
                at: shape.counted,
                most: if is_repeated { bound.times } else { 1 },
                is_repeated,
            });
            shape.counted += usize::from(counted.is_some());
            let number = usize::try_from(field.number()).unwrap_or_default();
            if shape.fields.len() <= number {
                shape.fields.resize_with(number + 1, || None);
            }
            shape.fields[number] = Some(Field { name: field.name().to_owned(), kind, counted });
        }
        self.shapes[place] = shape;
        place
    }
}

/// Whether more of it take more room: a message that stands twice is merged into one with the entries of both.
fn counts(field: &FieldDescriptorProto) -> bool {
    field.label() == Label::Repeated || field.r#type() == Type::Message
}

/// Whether a message is what a map consists of.
fn is_entry(message: &DescriptorProto) -> bool {
    message.options.as_ref().is_some_and(MessageOptions::map_entry)
}

/// Notes a message and those within it by their whole names.
fn note<'a>(messages: &mut HashMap<String, &'a DescriptorProto>, within: &str, message: &'a DescriptorProto) {
    let name = format!("{within}.{}", message.name());
    for nested in &message.nested_type {
        note(messages, &name, nested);
    }
    messages.insert(name, message);
}
