use prost::Message as _;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind as Type, MessageDescriptor};

use super::*;
use crate::api::proto::{
    Budget, CreateMemberRequest, CreateTeamRequest, ListTopUpOrdersRequest, Member, Policy, ReserveRequest,
    SessionRequest, Team, session_request::Op,
};

/// Calls for each text, map and repeated field of every request, nested ones too.
fn each_field(mut found: impl FnMut(&MessageDescriptor, &FieldDescriptor)) {
    let pool = DescriptorPool::decode(proto::DESCRIPTORS).unwrap();
    let mut open: Vec<_> =
        pool.services().flat_map(|service| service.methods().map(|m| m.input()).collect::<Vec<_>>()).collect();
    let mut seen = Vec::new();
    while let Some(message) = open.pop() {
        if seen.contains(&message) {
            continue;
        }
        for field in message.fields() {
            if let Type::Message(inner) = field.kind() {
                open.push(inner);
            }
            if field.cardinality() == prost_reflect::Cardinality::Repeated
                || matches!(field.kind(), Type::String | Type::Bytes)
            {
                found(&message, &field);
            }
        }
        seen.push(message);
    }
    assert!(seen.len() > 100, "{} messages", seen.len());
}

#[test]
fn every_text_map_and_repeated_field_of_every_request_has_a_bound() {
    let mut missing = Vec::new();
    each_field(|message, field| {
        let bound = bound_of(message.name(), field.name()).unwrap_or(times(0));
        let is_text = matches!(field.kind(), Type::String | Type::Bytes);
        let is_repeated = field.cardinality() == prost_reflect::Cardinality::Repeated;
        if is_text && bound.length == 0 || is_repeated && (bound.times == 0 || bound.times == usize::MAX) {
            missing.push(field.full_name().to_owned());
        }
    });
    assert!(missing.is_empty(), "say in message_bounds how much these may hold: {missing:#?}");
}

#[test]
fn every_bound_is_of_a_field_that_there_is() {
    let (mut everywhere, mut of_message) = (EVERYWHERE.to_vec(), OF_MESSAGE.to_vec());
    each_field(|message, field| {
        let before = of_message.len();
        of_message.retain(|(of, name, _)| *of != message.name() || *name != field.name());
        if of_message.len() == before
            && !OF_MESSAGE.iter().any(|(of, name, _)| *of == message.name() && *name == field.name())
        {
            everywhere.retain(|(name, _)| *name != field.name());
        }
    });
    assert_eq!((everywhere, of_message), (Vec::new(), Vec::new()));
}

fn refused(name: &str, message: &[u8]) -> Option<(String, String)> {
    let refused = Bounded::request(name).unwrap().check(message).err()?;
    Some((refused.field, refused.problem))
}

fn refused_field(name: &str, message: &impl prost::Message) -> Option<String> {
    refused(name, &message.encode_to_vec()).map(|(field, _)| field)
}

#[test]
fn only_what_methods_take_is_bounded() {
    assert!(Bounded::request("ReserveRequest").is_some());
    assert!(Bounded::request("ReserveResponse").is_none());
    assert!(Bounded::request("Policy").is_none());
}

#[test]
fn packed_and_single_numbers_are_counted_alike() {
    let packed = |states: usize| {
        ListTopUpOrdersRequest { states: vec![1; states], ..ListTopUpOrdersRequest::default() }.encode_to_vec()
    };
    // The field 2 as single varints.
    let single = |states: usize| [0x10, 0x01].repeat(states);
    for message in [packed as fn(usize) -> Vec<u8>, single] {
        assert_eq!(refused("ListTopUpOrdersRequest", &message(MAX_VALUES)), None);
        let (field, problem) = refused("ListTopUpOrdersRequest", &message(1_000_000)).unwrap();
        assert_eq!((field.as_str(), problem.as_str()), ("states", "1000000 entries; at most 32 are allowed"));
    }
    let both = [packed(MAX_VALUES), single(1)].concat();
    assert!(refused("ListTopUpOrdersRequest", &both).is_some(), "they add up");
}

#[test]
fn fields_are_named_by_the_way_that_leads_to_them() {
    let team = |budget: Budget| {
        let policy = Policy { budgets: vec![Budget::default(), budget], quotas: Vec::new() };
        CreateTeamRequest { team: Some(Team { policy: Some(policy), ..Team::default() }), request_id: String::new() }
    };
    let named = |budget| refused_field("CreateTeamRequest", &team(budget));
    let long = |length| "x".repeat(length);
    assert_eq!(named(Budget { id: long(MAX_ID), ..Budget::default() }), None);
    let id = Budget { id: long(MAX_ID + 1), ..Budget::default() };
    assert_eq!(named(id).as_deref(), Some("team.policy.budgets[1].id"));
    let models = |models| Budget { models, ..Budget::default() };
    assert_eq!(named(models(vec![long(1); MAX_MODELS])), None);
    assert_eq!(named(models(vec![long(1); MAX_MODELS + 1])).as_deref(), Some("team.policy.budgets[1].models"));
    assert_eq!(named(models(vec![long(MAX_NAME + 1)])).as_deref(), Some("team.policy.budgets[1].models[0]"));
}

#[test]
fn a_message_that_stands_twice_does_not_double_what_it_may_hold() {
    let policy = Policy { budgets: vec![Budget::default(); MAX_LIMITS], quotas: Vec::new() };
    let message = CreateMemberRequest {
        member: Some(Member { policy: Some(policy), ..Member::default() }),
        ..CreateMemberRequest::default()
    };
    let once = message.encode_to_vec();
    assert_eq!(refused("CreateMemberRequest", &once), None);
    let (field, problem) = refused("CreateMemberRequest", &once.repeat(3)).unwrap();
    assert_eq!((field.as_str(), problem.as_str()), ("member", "stands there 3 times; once is allowed"));
}

// P19
#[test]
fn texts_are_counted_in_characters() {
    let team = |name: &str| CreateTeamRequest {
        team: Some(Team { name: name.into(), ..Team::default() }),
        request_id: String::new(),
    };
    for character in ["x", "ß", "字", "𝄞"] {
        assert_eq!(refused_field("CreateTeamRequest", &team(&character.repeat(MAX_TEXT))), None, "{character}");
        let longer = team(&character.repeat(MAX_TEXT + 1));
        assert_eq!(refused_field("CreateTeamRequest", &longer).as_deref(), Some("team.name"), "{character}");
    }
}

#[test]
fn labels_are_few_and_short() {
    let reserve = |labels: usize, length: usize| ReserveRequest {
        labels: (0..labels).map(|no| (format!("{no:0length$}"), String::new())).collect(),
        holder: "x".repeat(UNARY_CHECKED_FROM),
        ..ReserveRequest::default()
    };
    // Only the excess is told that stands first on the wire.
    let bounded =
        |request: ReserveRequest| refused_field("ReserveRequest", &ReserveRequest { holder: String::new(), ..request });
    assert_eq!(refused_field("ReserveRequest", &reserve(1, 1)).as_deref(), Some("holder"));
    assert_eq!(bounded(reserve(1000, 64)).as_deref(), Some("labels"));
    assert_eq!(bounded(reserve(1, 5000)).as_deref(), Some("labels"));
    assert_eq!(bounded(reserve(MAX_LABELS, 64)), None);
}

#[test]
fn small_messages_of_the_data_plane_are_left_to_their_conversion() {
    let labels = |count: usize| (0..count).map(|no| (no.to_string(), String::new())).collect();
    let reserve = ReserveRequest { labels: labels(17), ..ReserveRequest::default() };
    assert_eq!(refused_field("ReserveRequest", &reserve), None);
    let session = |count| {
        let reserve = ReserveRequest { labels: labels(count), ..ReserveRequest::default() };
        refused_field("SessionRequest", &SessionRequest { correlation_id: 1, op: Some(Op::Reserve(reserve)) })
    };
    assert_eq!(session(1000), None, "told in the session, which goes on");
    assert_eq!(session(20_000).as_deref(), Some("reserve.labels"));
}

#[test]
fn what_is_no_message_is_left_to_the_decoder_and_groups_are_refused() {
    for bytes in [&[0xFF][..], &[0x0A], &[0x0A, 0x05, b'x'], &[0x00], &[0x0F], &[0x0D, 1]] {
        assert_eq!(refused("ListTopUpOrdersRequest", bytes), None, "{bytes:?}");
        assert!(ListTopUpOrdersRequest::decode(bytes).is_err(), "{bytes:?}");
    }
    // An unknown field is skipped, a group too by the decoder: what stands behind it is counted.
    let behind = [&[0xA0, 0x06, 0x01][..], &[0x10, 0x01].repeat(33)].concat();
    assert_eq!(refused("ListTopUpOrdersRequest", &behind).unwrap().0, "states");
    let group = [&[0xA3, 0x06, 0xA4, 0x06][..], &[0x10, 0x01].repeat(33)].concat();
    assert!(ListTopUpOrdersRequest::decode(group.as_slice()).is_ok());
    assert_eq!(refused("ListTopUpOrdersRequest", &group).unwrap().0, "request");
}
