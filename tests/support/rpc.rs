//! Any method of the API, called by its descriptor alone.

use std::sync::LazyLock;

use http::uri::PathAndQuery;
use prost::{Message as _, bytes::Buf as _, bytes::BufMut as _};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, Value};
use quotad::api::proto;
use tonic::{
    Request, Response, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Channel,
};

/// Sends one message with the bearer token, if any, and waits for the answer; of a stream, for its beginning.
pub(crate) async fn call(
    channel: &Channel,
    token: Option<&str>,
    method: &MethodDescriptor,
    message: &DynamicMessage,
) -> Result<(), Status> {
    let begun = begin(channel, token, method, message.encode_to_vec()).await?;
    if !method.is_server_streaming() {
        begun.into_inner().message().await?;
    }
    Ok(())
}

/// Sends one message, and doesn't wait for what is answered to it.
pub(crate) async fn begin(
    channel: &Channel,
    token: Option<&str>,
    method: &MethodDescriptor,
    message: Vec<u8>,
) -> Result<Response<Streaming<Vec<u8>>>, Status> {
    let mut request = Request::new(tokio_stream::once(message));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.map_err(|error| Status::from_error(Box::new(error)))?;
    let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
    let path = PathAndQuery::try_from(path).unwrap();
    client.streaming(request, path, Raw).await
}

/// Returns true where the connection broke: the server ends one whose caller gave up many calls or sent much that nobody read.
pub(crate) fn is_broken(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

/// Bytes as they are: what they mean, only the server has to know.
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, bytes: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

/// Every method that the server's own description names.
pub(crate) fn methods() -> Vec<MethodDescriptor> {
    static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| DescriptorPool::decode(proto::DESCRIPTORS).unwrap());
    POOL.services()
        .filter(|service| service.package_name() == "quotad.v1")
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .collect()
}

pub(crate) fn name(method: &MethodDescriptor) -> String {
    format!("{}/{}", method.parent_service().name(), method.name())
}

pub(crate) fn method(named: &str) -> MethodDescriptor {
    methods().into_iter().find(|method| name(method) == named).unwrap_or_else(|| panic!("no method {named}"))
}

/// An empty request that names the organization, at its top or in the entity that it is about. `None` where it is about none.
pub(crate) fn about(method: &MethodDescriptor, organization: &str) -> Option<DynamicMessage> {
    const ID: &str = "organization_id";
    let mut message = DynamicMessage::new(method.input());
    let value = || Value::String(organization.to_owned());
    if method.input().get_field_by_name(ID).is_some() {
        message.set_field_by_name(ID, value());
        return Some(message);
    }
    let entity_of = |descriptor: &MessageDescriptor| match descriptor.name() {
        "Organization" => Some("id"),
        _ => descriptor.get_field_by_name(ID).map(|_| ID),
    };
    for field in method.input().fields() {
        let Some(id) = field.kind().as_message().and_then(entity_of) else { continue };
        let mut entity = DynamicMessage::new(field.kind().as_message().unwrap().clone());
        entity.set_field_by_name(id, value());
        message.set_field(&field, Value::Message(entity));
        return Some(message);
    }
    None
}

/// Sets a field below the request, such as `key.id`.
pub(crate) fn set(message: &mut DynamicMessage, path: &str, text: &str) {
    match path.split_once('.') {
        None => message.set_field_by_name(path, Value::String(text.to_owned())),
        Some((head, rest)) => {
            let inner = message.get_field_by_name_mut(head).unwrap_or_else(|| panic!("no field {head}"));
            set(inner.as_message_mut().unwrap(), rest, text);
        }
    }
}

/// Names the fields that an Update changes.
pub(crate) fn set_mask(message: &mut DynamicMessage, paths: &[&str]) {
    let paths = paths.iter().map(|path| Value::String((*path).to_owned())).collect();
    let mask = message.get_field_by_name_mut("update_mask").unwrap();
    mask.as_message_mut().unwrap().set_field_by_name("paths", Value::List(paths));
}
