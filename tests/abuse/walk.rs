//! Every repeated field, map and text of every request, filled to its bound, just above it and far above it, by whoever may call the
//! method with the least rights.

use std::collections::HashSet;

use futures::{StreamExt as _, stream};
use prost::Message as _;
use prost_reflect::{
    Cardinality, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, MethodDescriptor,
    ReflectMessage as _, Value,
};
use quotad::api::proto::{self, MemberToken, Role, SessionResponse, session_response};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt as _;

use crate::{
    rpc::{about, begin, is_broken, methods},
    server::{KEY, MODEL, ORGANIZATION},
    world::World,
};

/// Far above any bound, and a message within the size that the server takes.
const FAR: usize = 80_000;
/// What the server may take in all, while messages of 100 KB each come in.
const MOST_MEMORY: u64 = 64 << 20;

/// From the least rights to the most. Nobody gets at the data plane but a service.
const ROLES: [(&str, Role); 5] = [
    ("basic", Role::Basic),
    ("developer", Role::Developer),
    ("finance_admin", Role::FinanceAdmin),
    ("admin", Role::Admin),
    ("owner", Role::Owner),
];

/// A field that can be filled: the fields that lead to it from the request.
#[derive(Debug, Clone)]
struct Way(Vec<FieldDescriptor>);

impl Way {
    /// As an error names it.
    fn name(&self) -> String {
        let last = self.0.len() - 1;
        let name = |(at, field): (usize, &FieldDescriptor)| match at {
            at if at < last && field.is_list() => format!("{}[0]", field.name()),
            _ => field.name().to_owned(),
        };
        let names: Vec<_> = self.0.iter().enumerate().map(name).collect();
        // What stands in a map is named by the map.
        let map = self.0.iter().position(FieldDescriptor::is_map).unwrap_or(last);
        names[..=map].join(".")
    }

    fn last(&self) -> &FieldDescriptor {
        self.0.last().unwrap()
    }
}

/// What to fill: a list or map with entries, or a text with characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fill {
    Entries,
    Characters,
}

fn fill_of(field: &FieldDescriptor) -> Vec<Fill> {
    let mut fills = Vec::new();
    if field.cardinality() == Cardinality::Repeated {
        fills.push(Fill::Entries);
    }
    if matches!(field.kind(), Kind::String | Kind::Bytes) {
        fills.push(Fill::Characters);
    }
    fills
}

fn ways(message: &MessageDescriptor, before: &[FieldDescriptor], found: &mut Vec<Way>) {
    for field in message.fields() {
        let way = [before, std::slice::from_ref(&field)].concat();
        if !fill_of(&field).is_empty() {
            found.push(Way(way.clone()));
        }
        if let Kind::Message(inner) = field.kind() {
            ways(&inner, &way, found);
        }
    }
}

/// The value of a field with `size` entries or characters.
fn filled(field: &FieldDescriptor, fill: Fill, size: usize) -> Value {
    if fill == Fill::Entries {
        if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
            assert_eq!(entry.map_entry_key_field().kind(), Kind::String);
            let entries = (0..size).map(|no| (MapKey::String(no.to_string()), Value::String(String::new())));
            return Value::Map(entries.collect());
        }
        let entry = match field.kind() {
            Kind::String => Value::String(String::new()),
            Kind::Message(entry) => Value::Message(DynamicMessage::new(entry)),
            Kind::Enum(_) => Value::EnumNumber(1),
            other => panic!("{other:?}"),
        };
        return Value::List(vec![entry; size]);
    }
    let text = match field.kind() {
        Kind::Bytes => Value::Bytes(vec![b'x'; size].into()),
        _ => Value::String("x".repeat(size)),
    };
    if field.is_list() { Value::List(vec![text]) } else { text }
}

/// The request about the organization, with one field filled.
fn request(method: &MethodDescriptor, way: &Way, fill: Fill, size: usize) -> DynamicMessage {
    let mut message = about(method, ORGANIZATION).unwrap_or_else(|| DynamicMessage::new(method.input()));
    // There, what is missing is told before what is too long.
    let is_of_data_plane = method.parent_service().name() == "QuotaService";
    if is_of_data_plane {
        complete(&mut message);
    }
    set(&mut message, &way.0, (fill, size), is_of_data_plane);
    message
}

/// Says what the operations of the data plane can't do without, where the message has a field for it.
fn complete(message: &mut DynamicMessage) {
    let fields = message.descriptor();
    for (name, text) in [("request_id", "walk"), ("model", MODEL), ("key_id", KEY), ("reservation_id", "x")] {
        if fields.get_field_by_name(name).is_some() {
            message.set_field_by_name(name, Value::String(text.to_owned()));
        }
    }
    for name in ["payer", "reservation", "usage"] {
        if let Some(field) = fields.get_field_by_name(name)
            && field.kind().as_message().is_some()
        {
            complete(message.get_field_mut(&field).as_message_mut().unwrap());
        }
    }
}

fn set(message: &mut DynamicMessage, way: &[FieldDescriptor], (fill, size): (Fill, usize), completes: bool) {
    let [field, rest @ ..] = way else { unreachable!("a way has a field") };
    let Kind::Message(inner) = field.kind() else {
        message.set_field(field, filled(field, fill, size));
        return;
    };
    if rest.is_empty() {
        message.set_field(field, filled(field, fill, size));
    } else if field.is_map() {
        // Its key or its value.
        let text = |is_long: bool| if is_long { "x".repeat(size) } else { String::from("k") };
        let is_key = rest[0].name() == "key";
        let entry = (MapKey::String(text(is_key)), Value::String(text(!is_key)));
        message.set_field(field, Value::Map([entry].into()));
    } else if field.is_list() {
        let mut entry = DynamicMessage::new(inner);
        set(&mut entry, rest, (fill, size), completes);
        message.set_field(field, Value::List(vec![Value::Message(entry)]));
    } else {
        let inner = message.get_field_mut(field).as_message_mut().unwrap();
        if completes {
            complete(inner);
        }
        set(inner, rest, (fill, size), completes);
    }
}

/// Everybody, on a connection of their own.
struct Callers {
    channel: Channel,
    /// With the token, from the least rights to the most.
    tokens: Vec<String>,
}

impl Callers {
    async fn of(world: &World) -> Self {
        let channel = Endpoint::from_shared(world.server.endpoint.clone()).unwrap().connect().await.unwrap();
        let mut tokens = vec![world.service_token.clone()];
        for (name, role) in ROLES {
            world.attacker(name, role).await;
            let token =
                MemberToken { organization_id: ORGANIZATION.into(), member_id: name.into(), ..MemberToken::default() };
            let request = proto::CreateMemberTokenRequest { token: Some(token) };
            tokens.push(world.operator.tokens().create_member_token(request).await.unwrap().into_inner().secret);
        }
        let operator = std::fs::read_to_string(world.data_dir.join("operator.token")).unwrap();
        tokens.push(operator.trim().to_owned());
        Self { channel, tokens }
    }

    /// Asks again where the connection broke: the server ends one that sends much of what it refuses.
    async fn call(&self, token: &str, method: &MethodDescriptor, message: &[u8]) -> Result<(), Status> {
        for _ in 0..8 {
            match self.call_once(token, method, message.to_vec()).await {
                Err(status) if is_broken(&status) => {}
                answer => return answer,
            }
        }
        panic!("{} breaks every connection", method.name());
    }

    async fn call_once(&self, token: &str, method: &MethodDescriptor, message: Vec<u8>) -> Result<(), Status> {
        let answer = begin(&self.channel, Some(token), method, message).await?;
        if method.is_server_streaming() && !method.is_client_streaming() {
            return Ok(());
        }
        let Some(answer) = answer.into_inner().message().await? else { return Ok(()) };
        if method.is_client_streaming()
            && let Some(session_response::Result::Error(error)) =
                SessionResponse::decode(answer.as_slice()).unwrap().result
        {
            let (code, details) = (Code::from(error.code), error.encode_to_vec());
            return Err(Status::with_details(code, error.message, details.into()));
        }
        Ok(())
    }

    /// What is answered to whoever may call it with the least rights.
    async fn least(&self, method: &MethodDescriptor, message: DynamicMessage) -> Result<(), Status> {
        let bytes = message.encode_to_vec();
        let mut answer = Ok(());
        for token in &self.tokens {
            answer = self.call(token, method, &bytes).await;
            let code = answer.as_ref().map_or_else(Status::code, |()| Code::Ok);
            if !matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
                break;
            }
        }
        answer
    }
}

/// The field that a refusal names, and the bound that it says.
fn refusal(answer: &Result<(), Status>) -> Option<(String, Option<usize>)> {
    let status = answer.as_ref().err().filter(|status| status.code() == Code::InvalidArgument)?;
    let details = status.get_error_details();
    let violation = details.bad_request()?.field_violations.first()?.clone();
    let bound =
        violation.description.split_once("; at most ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
    Some((violation.field, bound))
}

/// Whether an error names the field: what a session answers names it within its operation, and an entry of a map may be named.
fn names(found: &str, way: &Way) -> bool {
    let name = way.name();
    let found =
        found.split_once('[').filter(|_| way.0.iter().any(FieldDescriptor::is_map)).map_or(found, |(map, _)| map);
    let of_text = format!("{name}[0]");
    [name.as_str(), of_text.as_str()].iter().any(|name| name == &found || name.ends_with(&format!(".{found}")))
}

struct Step {
    method: MethodDescriptor,
    way: Way,
    fill: Fill,
    /// Whether the sizes about the bound are tried too: once for each field of a message, whoever else holds that message.
    closely: bool,
}

fn steps() -> Vec<Step> {
    let (mut steps, mut close) = (Vec::new(), HashSet::new());
    for method in methods() {
        let mut found = Vec::new();
        ways(&method.input(), &[], &mut found);
        for way in found {
            for fill in fill_of(way.last()) {
                let of_request = way.0.len() == 1;
                let closely = close.insert((way.last().full_name().to_owned(), fill)) || of_request;
                steps.push(Step { method: method.clone(), way: way.clone(), fill, closely });
            }
        }
    }
    steps
}

impl Step {
    async fn ask(&self, callers: &Callers, size: usize) -> Result<(), Status> {
        callers.least(&self.method, request(&self.method, &self.way, self.fill, size)).await
    }

    /// What is wrong with how the field is bounded.
    async fn wrong(&self, callers: &Callers) -> Option<String> {
        let named = format!("{} {} ({:?})", self.method.name(), self.way.name(), self.fill);
        let far = self.ask(callers, FAR).await;
        let Some((_, Some(bound))) = refusal(&far).filter(|(field, _)| names(field, &self.way)) else {
            return Some(format!("{named}: {FAR} are answered {far:?}"));
        };
        if !self.closely {
            return None;
        }
        let above = self.ask(callers, bound + 1).await;
        if refusal(&above).is_none_or(|(field, _)| !names(&field, &self.way)) {
            return Some(format!("{named}: {} are answered {above:?}, though {bound} are allowed", bound + 1));
        }
        let at = self.ask(callers, bound).await;
        match refusal(&at) {
            Some((field, Some(_))) if names(&field, &self.way) => Some(format!("{named}: {bound} are answered {at:?}")),
            _ => None,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_every_request_is_bounded_and_takes_no_memory_beyond() {
    let world = World::start(&[]).await;
    let callers = Callers::of(&world).await;
    let before = world.memory();
    let steps = steps();
    assert!(steps.len() > 500, "{} steps", steps.len());
    let wrong: Vec<_> = stream::iter(&steps)
        .map(|step| step.wrong(&callers))
        .buffer_unordered(8)
        .filter_map(std::future::ready)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} of {} are wrong: {wrong:#?}", wrong.len(), steps.len());
    let taken = world.peak_memory().saturating_sub(before);
    assert!(taken < MOST_MEMORY, "{taken} bytes");
}
