//! All services that a server offers, except health, which tells of the server itself.

use std::sync::Arc;

use tonic::service::Routes;
use tonic_reflection::server::Error as ReflectionError;

use super::{
    proto::{self, quota_service_server::QuotaServiceServer},
    quota::QuotaApi,
    stop::Stop,
};
use crate::service::Service;

/// # Errors
/// When the compiled descriptors can't be read, which is a defect.
pub fn routes(service: &Arc<Service>, max_message_size: usize, stop: Stop) -> Result<Routes, ReflectionError> {
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .build_v1()?;
    let quota = QuotaServiceServer::new(QuotaApi::new(Arc::clone(service), stop))
        .max_decoding_message_size(max_message_size)
        .max_encoding_message_size(max_message_size);
    Ok(Routes::new(quota).add_service(reflection))
}
