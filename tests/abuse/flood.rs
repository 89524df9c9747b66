//! Every method of the API, flooded by the least role that may call it. Generated from the descriptors: a new method is flooded
//! without being named here.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use parking_lot::Mutex;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MethodDescriptor, ReflectMessage as _, Value};
use quotad::api::proto::Role;
use tonic::{
    Code,
    transport::{Channel, Endpoint},
};

use crate::{
    neighbour::Run,
    rpc::{call, is_broken, methods, name},
    server::{MODEL, ORGANIZATION},
    world::World,
};

/// Calls under way at a time.
const AT_ONCE: usize = 64;
/// Resident memory that all floods together may leave behind, in bytes.
const MEMORY: u64 = 768 << 20;
/// A key of the developer's.
const OWN_KEY: &str = "flooded";
const MEMBERS: [(&str, Role); 5] = [
    ("basic", Role::Basic),
    ("developer", Role::Developer),
    ("finance-admin", Role::FinanceAdmin),
    ("admin", Role::Admin),
    ("owner", Role::Owner),
];

/// Somebody who floods: the member that it is, if it is one, and its token.
struct Caller {
    name: &'static str,
    token: String,
}

/// Callers from the least to the most powerful, the operator left out: no hostile caller has its token.
async fn callers(world: &World) -> Vec<Caller> {
    let mut callers = Vec::new();
    for (name, role) in MEMBERS {
        let token = world.member_token(ORGANIZATION, name, role).await;
        callers.push(Caller { name, token });
    }
    world.key(ORGANIZATION, OWN_KEY, "developer").await;
    callers.push(Caller { name: "service", token: world.service_token.clone() });
    callers
}

/// Returns how long each method is flooded; `QUOTAD_ABUSE_SECONDS` makes it longer.
fn length() -> Duration {
    crate::world::slice().max(Duration::from_secs(1))
}

#[tokio::test]
async fn no_method_flooded_by_who_may_call_it_stalls_others_or_takes_memory() {
    let world = World::start(&[]).await;
    let callers = callers(&world).await;
    let channel = Endpoint::from_shared(world.server.endpoint.clone()).unwrap().connect().await.unwrap();
    let mut run = Run::start(&world);
    let mut slices = Vec::new();
    for method in methods() {
        let caller = least(&channel, &callers, &method).await;
        let codes = Mutex::new(BTreeMap::new());
        run.quiet(length() / 4).await;
        slices.push((name(&method), run.attacked(length(), flood(&channel, caller, &method, &codes)).await));
        let codes = codes.into_inner();
        println!("{} by {}: {codes:?}, {} MiB", name(&method), caller.name, world.memory() >> 20);
        for bad in [Code::Internal, Code::Unknown, Code::DataLoss] {
            assert!(!codes.contains_key(&format!("{bad:?}")), "{} answers {codes:?}", name(&method));
        }
        assert!(world.memory() < MEMORY, "{} leaves {} bytes", name(&method), world.memory());
    }
    let measured = run.end();
    measured.assert_undisturbed("floods of every method");
    for (method, latencies) in slices {
        measured.assert_bounded(&method, latencies);
    }
}

/// The first that isn't turned away; where only the operator may call it, the weakest, who is.
async fn least<'a>(channel: &Channel, callers: &'a [Caller], method: &MethodDescriptor) -> &'a Caller {
    for caller in callers {
        let answer = call(channel, Some(&caller.token), method, &filled(method, caller.name)).await;
        let code = answer.map_or_else(|status| status.code(), |()| Code::Ok);
        if !matches!(code, Code::PermissionDenied | Code::Unauthenticated) {
            return caller;
        }
    }
    &callers[0]
}

async fn flood(channel: &Channel, caller: &Caller, method: &MethodDescriptor, codes: &Mutex<BTreeMap<String, u64>>) {
    let calls = stream::repeat_with(|| filled(method, caller.name));
    let answers = calls.map(|message| async move { call(channel, Some(&caller.token), method, &message).await });
    answers
        .buffer_unordered(AT_ONCE)
        .for_each(async |answer| {
            let code = match answer {
                Ok(()) => Code::Ok,
                // The connection broke: the server ends one whose caller gave up too many calls, as the slice before did.
                Err(status) if is_broken(&status) => Code::Unavailable,
                Err(status) => status.code(),
            };
            *codes.lock().entry(format!("{code:?}")).or_default() += 1;
        })
        .await;
}

/// A request that asks for something real wherever a field's name says what it takes, another each time.
fn filled(method: &MethodDescriptor, caller: &str) -> DynamicMessage {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let next = NEXT.fetch_add(1, Relaxed);
    let mut message = DynamicMessage::new(method.input());
    fill(&mut message, method.name().starts_with("Delete"), caller, next);
    message
}

fn fill(message: &mut DynamicMessage, deletes: bool, caller: &str, next: u64) {
    let descriptor = message.descriptor();
    for field in descriptor.fields().filter(|field| !field.is_list() && !field.is_map()) {
        match field.kind() {
            Kind::String => {
                if let Some(text) = text(&field, descriptor.name(), deletes, caller, next) {
                    message.set_field(&field, Value::String(text));
                }
            }
            Kind::Message(of) if of.full_name() == "google.protobuf.FieldMask" => {
                let mut mask = DynamicMessage::new(of);
                mask.set_field_by_name("paths", Value::List(vec![Value::String(String::from("name"))]));
                message.set_field(&field, Value::Message(mask));
            }
            Kind::Message(of) if of.package_name() == "quotad.v1" && of.name() != "Policy" => {
                let first = field.containing_oneof().is_none_or(|one| one.fields().next() == Some(field.clone()));
                if first {
                    let mut inner = DynamicMessage::new(of);
                    fill(&mut inner, deletes, caller, next);
                    message.set_field(&field, Value::Message(inner));
                }
            }
            Kind::Uint64 | Kind::Int64 if field.name().ends_with("_tokens") => {
                message.set_field(&field, if field.kind() == Kind::Uint64 { Value::U64(1) } else { Value::I64(1) });
            }
            _ => {}
        }
    }
}

/// Nothing that is there is deleted: the next flood needs it.
fn text(field: &FieldDescriptor, of: &str, deletes: bool, caller: &str, next: u64) -> Option<String> {
    Some(match field.name() {
        "organization_id" => ORGANIZATION.to_owned(),
        name if deletes && name.ends_with("_id") => String::from("absent"),
        "team_id" => String::from("default"),
        "member_id" => caller.to_owned(),
        "key_id" => OWN_KEY.to_owned(),
        "id" if of == "Organization" => ORGANIZATION.to_owned(),
        "id" | "request_id" | "name" | "reason" | "description" | "holder" | "label" => format!("f-{next}"),
        "token" if of == "PaymentMethod" => format!("token-{next}"),
        "email" => format!("f-{next}@example.com"),
        "model" => MODEL.to_owned(),
        "query" | "search" => format!("f-{}", next % 7),
        name if name.starts_with("amount") => String::from("1"),
        _ => return None,
    })
}
