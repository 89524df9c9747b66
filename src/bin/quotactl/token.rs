//! `quotactl token`.

use clap::Subcommand;
use prost_types::Timestamp;
use quotad::api::proto::{
    CreateServiceTokenRequest, DeleteServiceTokenRequest, ListServiceTokensRequest, ServiceToken,
};
use serde_json::{Value, json};

use crate::{
    context::Context,
    failure::{Failure, required},
    format::{instant, instant_json, parse_instant},
    output::{Column, Item, described, text},
    paging::Paging,
};

const EXAMPLES: &str = "\
Examples:
  quotactl token create --name 'gateway eu-1'
  quotactl token create ci --expire-time 2027-01-01T00:00:00Z
  quotactl token delete ci";

#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(crate) enum TokenCommand {
    /// Creates a service token and shows its secret, this once
    Create {
        /// Its id; minted by the server if left out
        #[arg(default_value = "", hide_default_value = true)]
        id: String,
        /// What people call it
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
        /// Refused from this instant on, in RFC 3339
        #[arg(long, value_name = "TIME", value_parser = parse_instant)]
        expire_time: Option<Timestamp>,
    },
    /// Lists service tokens
    List {
        #[command(flatten)]
        paging: Paging,
    },
    /// Ends a token at once
    Delete {
        /// Its id
        id: String,
    },
}

impl TokenCommand {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let (mut client, out) = (context.server.tokens(), context.out);
        match self {
            Self::Create { id, name, expire_time } => {
                let token = Some(ServiceToken { id, name, create_time: None, expire_time });
                let answer = client.create_service_token(CreateServiceTokenRequest { token }).await?.into_inner();
                let token = required(answer.token, "token")?;
                if out.is_json() {
                    return out.value(&json!({ "token": token.json(), "secret": answer.secret }));
                }
                out.text(&described(&token))?;
                out.text(&format!("\nsecret   {}\nIt is shown this once: only its hash is kept.", answer.secret))
            }
            Self::List { paging } => {
                let page = async |page_size, page_token| {
                    let request = ListServiceTokensRequest { page_size, page_token };
                    let page = client.list_service_tokens(request).await?.into_inner();
                    Ok((page.tokens, page.next_page_token))
                };
                out.list("tokens", &paging.collect(page).await?)
            }
            Self::Delete { id } => {
                client.delete_service_token(DeleteServiceTokenRequest { token_id: id.clone() }).await?;
                out.done(&format!("token {id} deleted"), &json!({ "deleted": id }))
            }
        }
    }
}

impl Item for ServiceToken {
    const COLUMNS: &'static [Column] = &[text("id"), text("name"), text("created"), text("expires")];

    fn cells(&self) -> Vec<String> {
        vec![self.id.clone(), self.name.clone(), instant(self.create_time.as_ref()), instant(self.expire_time.as_ref())]
    }

    fn json(&self) -> Value {
        json!({
            "id": self.id,
            "name": self.name,
            "create_time": instant_json(self.create_time.as_ref()),
            "expire_time": instant_json(self.expire_time.as_ref()),
        })
    }
}
