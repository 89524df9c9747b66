//! The data plane wants a service token. An operator's token can make one: a short-lived one is made for the command and
//! deleted after it.

use quotad::{
    api::proto::{CreateServiceTokenRequest, DeleteServiceTokenRequest, ServiceToken},
    client::{Connection, explain},
    clock::{Clock as _, SystemClock},
    domain::time::{Span, Timestamp},
};
use tonic::Code;

use crate::failure::{Failure, required};

/// Access to the data plane. End it with [`Self::close`]; should that not happen, the token ends by itself.
#[derive(Debug)]
pub(crate) struct ServiceAccess {
    given: Connection,
    service: Connection,
    /// The token made for this command; none where the given one is a service token itself.
    minted: Option<String>,
}

impl ServiceAccess {
    /// Makes a token that lives for `ttl`, or takes the given one as it is if it may not make any.
    pub(crate) async fn open(given: &Connection, ttl: Span) -> Result<Self, Failure> {
        let now = SystemClock::start(Timestamp::EPOCH).now();
        let expire_time = Some(prost_types::Timestamp { seconds: (now + ttl).seconds(), nanos: 0 });
        let token = ServiceToken { name: "quotactl".to_owned(), expire_time, ..ServiceToken::default() };
        let request = CreateServiceTokenRequest { token: Some(token) };
        let answer = match given.tokens().create_service_token(request).await {
            Ok(answer) => answer.into_inner(),
            // A proxy may let only the data plane through.
            Err(status) if matches!(status.code(), Code::PermissionDenied | Code::Unimplemented) => {
                return Ok(Self { given: given.clone(), service: given.clone(), minted: None });
            }
            Err(status) => return Err(status.into()),
        };
        let id = required(answer.token, "token")?.id;
        Ok(Self { given: given.clone(), service: given.with_token(&answer.secret)?, minted: Some(id) })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.service
    }

    /// Deletes the token that was made. Failing to is only told: the command has done its work, and the token expires.
    pub(crate) async fn close(self) {
        let Some(token_id) = self.minted else { return };
        let request = DeleteServiceTokenRequest { token_id: token_id.clone() };
        if let Err(status) = self.given.tokens().delete_service_token(request).await {
            eprintln!(
                "warning: the service token {token_id} made for this command wasn't deleted: {}",
                explain(&status)
            );
        }
    }
}
