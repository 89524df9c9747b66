//! Service tokens, in and out.

use std::sync::Arc;

use super::{
    convert::{
        name_in, optional,
        page::{page_of, size_in, token_in},
        required,
        time::{timestamp_in, timestamp_out},
    },
    proto::{self, token_service_server::TokenService},
    serve::serve,
};
use crate::{
    domain::{entity::ServiceToken, id::TokenId},
    service::{Caller, Error, NewToken, Service},
};

pub(super) struct TokenApi(pub(super) Arc<Service>);

serve! {
    TokenService, TokenApi {
        create_service_token(CreateServiceTokenRequest) -> CreateServiceTokenResponse = create.await;
        list_service_tokens(ListServiceTokensRequest) -> ListServiceTokensResponse = list;
        delete_service_token(DeleteServiceTokenRequest) -> DeleteServiceTokenResponse = delete.await;
    }
}

impl TokenApi {
    async fn create(
        &self,
        caller: &Caller,
        message: proto::CreateServiceTokenRequest,
    ) -> Result<proto::CreateServiceTokenResponse, Error> {
        let proto::CreateServiceTokenRequest { token } = message;
        let proto::ServiceToken { id, name, create_time: _, expire_time } = required("token", token)?;
        let id = optional("token.id", &id, TokenId::parse)?;
        let expire_time = expire_time.map(|at| timestamp_in("token.expire_time", &at)).transpose()?;
        let NewToken { token, secret } =
            self.0.create_token(caller, id, name_in("token.name", name)?, expire_time).await?;
        Ok(proto::CreateServiceTokenResponse { token: Some(out(token)), secret })
    }

    fn list(
        &self,
        _: &Caller,
        message: proto::ListServiceTokensRequest,
    ) -> Result<proto::ListServiceTokensResponse, Error> {
        let proto::ListServiceTokensRequest { page_size, page_token } = message;
        let size = size_in(page_size)?;
        let after = token_in::<String>("tokens", &page_token)?.map(TokenId::trusted);
        let tokens = self.0.list_tokens(after.as_ref(), size + 1);
        let (tokens, next_page_token) = page_of("tokens", size, tokens, |token| &token.id);
        Ok(proto::ListServiceTokensResponse { tokens: tokens.into_iter().map(out).collect(), next_page_token })
    }

    async fn delete(
        &self,
        caller: &Caller,
        message: proto::DeleteServiceTokenRequest,
    ) -> Result<proto::DeleteServiceTokenResponse, Error> {
        let proto::DeleteServiceTokenRequest { token_id } = message;
        self.0.delete_token(caller, &TokenId::parse("token_id", &token_id)?).await?;
        Ok(proto::DeleteServiceTokenResponse {})
    }
}

fn out(token: ServiceToken) -> proto::ServiceToken {
    let ServiceToken { id, name, hash: _, create_time, expire_time } = token;
    proto::ServiceToken {
        id: id.to_string(),
        name,
        create_time: Some(timestamp_out(create_time)),
        expire_time: expire_time.map(timestamp_out),
    }
}
