//! gRPC: converts in, makes one service call, converts out; maps errors to statuses. The only code that knows protobuf.

mod alert;
mod allocation;
mod auth;
mod convert;
mod credit_request;
mod key;
mod ledger;
mod member;
mod organization;
mod patience;
mod price;
mod quota;
mod router;
mod rule;
mod serve;
mod session;
mod status;
mod stop;
mod team;
mod token;
mod wallet;

pub use auth::Auth;
pub use router::routes;
pub use stop::Stop;

/// What `proto/quotad/v1` defines.
#[allow(clippy::all, clippy::pedantic, unreachable_pub)]
pub mod proto {
    tonic::include_proto!("quotad.v1");

    /// The compiled descriptors, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quotad_descriptor.bin"));
}
