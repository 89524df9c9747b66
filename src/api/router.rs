//! All services that a server offers, except health, which tells of the server itself.

use std::sync::Arc;

use tonic::service::Routes;
use tonic_reflection::server::Error as ReflectionError;

use super::{
    alert::AlertApi,
    allocation::AllocationApi,
    credit_request::CreditRequestApi,
    key::KeyApi,
    ledger::LedgerApi,
    member::MemberApi,
    organization::OrganizationApi,
    price::PriceApi,
    proto::{
        self, alert_service_server::AlertServiceServer, allocation_service_server::AllocationServiceServer,
        credit_request_service_server::CreditRequestServiceServer, key_service_server::KeyServiceServer,
        ledger_service_server::LedgerServiceServer, member_service_server::MemberServiceServer,
        organization_service_server::OrganizationServiceServer, price_service_server::PriceServiceServer,
        quota_service_server::QuotaServiceServer, rule_service_server::RuleServiceServer,
        team_service_server::TeamServiceServer, token_service_server::TokenServiceServer,
        wallet_service_server::WalletServiceServer,
    },
    quota::QuotaApi,
    rule::RuleApi,
    stop::Stop,
    team::TeamApi,
    token::TokenApi,
    wallet::WalletApi,
};
use crate::service::Service;

/// Longest message that asks what the server offers, in bytes.
const MAX_NAMED: usize = 1024;

/// A service that takes messages up to the given size; its answers, pages of lists, may be larger.
macro_rules! sized {
    ($server:ident, $api:expr, $max:expr) => {
        $server::new($api).max_decoding_message_size($max)
    };
}

/// Bytes of a health check: the name of a service.
pub const MAX_HEALTH_MESSAGE: usize = 1024;

/// Whether the caller of a method, by its path, sends a stream of messages.
pub fn streams_requests(path: &str) -> bool {
    matches!(path, "/quotad.v1.QuotaService/Session" | "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
}

/// # Errors
/// When the compiled descriptors can't be read, which is a defect.
pub fn routes(service: &Arc<Service>, max_message_size: usize, stop: Stop) -> Result<Routes, ReflectionError> {
    let max = max_message_size;
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
        .build_v1()?
        // It names a file, a symbol or a service.
        .max_decoding_message_size(MAX_NAMED);
    let shared = || Arc::clone(service);
    Ok(Routes::new(sized!(QuotaServiceServer, QuotaApi::new(shared(), stop), max))
        .add_service(sized!(OrganizationServiceServer, OrganizationApi(shared()), max))
        .add_service(sized!(TeamServiceServer, TeamApi(shared()), max))
        .add_service(sized!(MemberServiceServer, MemberApi(shared()), max))
        .add_service(sized!(KeyServiceServer, KeyApi(shared()), max))
        .add_service(sized!(RuleServiceServer, RuleApi(shared()), max))
        .add_service(sized!(AllocationServiceServer, AllocationApi(shared()), max))
        .add_service(sized!(CreditRequestServiceServer, CreditRequestApi(shared()), max))
        .add_service(sized!(AlertServiceServer, AlertApi(shared()), max))
        .add_service(sized!(PriceServiceServer, PriceApi(shared()), max))
        .add_service(sized!(WalletServiceServer, WalletApi(shared()), max))
        .add_service(sized!(LedgerServiceServer, LedgerApi(shared()), max))
        .add_service(sized!(TokenServiceServer, TokenApi(shared()), max))
        .add_service(reflection))
}
