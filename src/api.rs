//! gRPC: converts in, makes one service call, converts out; maps errors to statuses. The only code that knows protobuf.

mod alert;
mod allocation;
mod apart;
mod auth;
mod codec;
mod convert;
mod credit_request;
mod key;
mod ledger;
mod member;
mod message_bounds;
mod organization;
mod patience;
mod price;
mod quota;
pub mod refusal;
mod router;
mod rule;
mod serve;
mod session;
mod status;
mod stop;
mod team;
mod token;
mod wallet;

pub use apart::Apart;
pub use auth::{Auth, is_health};
pub use codec::BoundedCodec;
pub use router::{MAX_HEALTH_MESSAGE, routes, streams_requests};
pub use stop::Stop;

/// What `proto/quotad/v1` defines.
#[allow(clippy::all, clippy::pedantic, unreachable_pub)]
pub mod proto {
    tonic::include_proto!("quotad.v1");

    /// The compiled descriptors, for reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/quotad_descriptor.bin"));

    /// Whether a method, by its path, begins work, which can be put off when there is too much of it. A session's operations tell
    /// for themselves.
    pub fn begins_work(path: &str) -> bool {
        matches!(path, "/quotad.v1.QuotaService/Reserve" | "/quotad.v1.QuotaService/Check")
    }

    impl session_request::Op {
        /// As [`begins_work`].
        pub fn begins_work(&self) -> bool {
            matches!(self, Self::Reserve(_) | Self::Check(_))
        }
    }
}
