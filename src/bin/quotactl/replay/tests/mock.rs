//! A server that keeps just enough books to be replayed against: a token costs a millionth of a USD.

use std::collections::HashSet;

use proto::{
    ledger_service_server::{LedgerService, LedgerServiceServer},
    quota_service_server::QuotaService,
    token_service_server::{TokenService, TokenServiceServer},
};
use tokio_stream::wrappers::TcpListenerStream;

use super::*;

pub(super) const OPERATOR: &str = "operator-secret";
pub(super) const SERVICE: &str = "service-secret";

#[derive(Debug, Default)]
pub(super) struct Scripted {
    /// So many calls fail first.
    pub(super) unavailable: u64,
    /// Reserves from this one on are refused; 0 means none.
    pub(super) refuse_from: usize,
    /// Entries that someone else makes during the run.
    pub(super) foreign_entries: u64,
}

#[derive(Debug, Default)]
pub(super) struct Mock {
    scripted: Scripted,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    unavailable: u64,
    reserved: BTreeMap<String, proto::ReserveRequest>,
    committed: HashMap<String, proto::Usage>,
    totals_read: u64,
    tokens_made: usize,
    tokens: HashSet<String>,
}

pub(super) async fn serve(scripted: Scripted) -> (Arc<Mock>, String) {
    let mock = Arc::new(Mock { scripted, ..Mock::default() });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let server = Server::builder()
        .add_service(QuotaServiceServer::from_arc(Arc::clone(&mock)))
        .add_service(LedgerServiceServer::from_arc(Arc::clone(&mock)))
        .add_service(TokenServiceServer::from_arc(Arc::clone(&mock)));
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
    (mock, endpoint)
}

impl Mock {
    pub(super) fn reserved(&self) -> BTreeMap<String, proto::ReserveRequest> {
        self.state.lock().unwrap().reserved.clone()
    }

    pub(super) fn tokens_made(&self) -> usize {
        self.state.lock().unwrap().tokens_made
    }

    pub(super) fn tokens_left(&self) -> usize {
        self.state.lock().unwrap().tokens.len()
    }

    /// The data plane: only with a service token, and only once it is up.
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        let mut state = self.state.lock().unwrap();
        let bearer = request.metadata().get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let token = bearer.trim_start_matches("Bearer ");
        if token != SERVICE && !state.tokens.contains(token) {
            return Err(Status::permission_denied("not a service token"));
        }
        if state.unavailable < self.scripted.unavailable {
            state.unavailable += 1;
            return Err(Status::unavailable("starting"));
        }
        Ok(request.into_inner())
    }
}

fn is_operator<T>(request: &Request<T>) -> Result<(), Status> {
    let expected = format!("Bearer {OPERATOR}");
    let matches = request.metadata().get("authorization").is_some_and(|value| *value == *expected);
    if matches { Ok(()) } else { Err(Status::permission_denied("for operators")) }
}

#[tonic::async_trait]
impl QuotaService for Mock {
    type SessionStream = tokio_stream::Empty<Result<proto::SessionResponse, Status>>;
    type WatchRevocationsStream = tokio_stream::Empty<Result<proto::WatchRevocationsResponse, Status>>;

    async fn reserve(
        &self,
        request: Request<proto::ReserveRequest>,
    ) -> Result<Response<proto::ReserveResponse>, Status> {
        use proto::reserve_response::Decision;
        let request = self.admit(request)?;
        let mut state = self.state.lock().unwrap();
        let reservation_id = request.request_id.clone();
        state.reserved.insert(request.request_id.clone(), request);
        let refused = self.scripted.refuse_from > 0 && state.reserved.len() >= self.scripted.refuse_from;
        let decision = if refused {
            Decision::Denied(proto::Denial {
                code: proto::DenialCode::BudgetExceeded.into(),
                ..proto::Denial::default()
            })
        } else {
            Decision::Granted(proto::Grant { reservation_id, ..proto::Grant::default() })
        };
        Ok(Response::new(proto::ReserveResponse { decision: Some(decision) }))
    }

    async fn commit(&self, request: Request<proto::CommitRequest>) -> Result<Response<proto::CommitResponse>, Status> {
        use proto::reservation_ref::Reservation;
        let request = self.admit(request)?;
        let Some(Reservation::ReservationId(id)) = request.reservation.and_then(|found| found.reservation) else {
            return Err(Status::invalid_argument("reservation"));
        };
        let usage = request.usage.unwrap();
        let tokens = usage.input_tokens + usage.output_tokens;
        self.state.lock().unwrap().committed.insert(id, usage);
        let charged = proto::Amounts { usd: micro_usd(tokens), tokens, requests: 1, ..proto::Amounts::default() };
        Ok(Response::new(proto::CommitResponse { charged: Some(charged), ..proto::CommitResponse::default() }))
    }

    async fn release(&self, _: Request<proto::ReleaseRequest>) -> Result<Response<proto::ReleaseResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn extend(&self, _: Request<proto::ExtendRequest>) -> Result<Response<proto::ExtendResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn charge(&self, _: Request<proto::ChargeRequest>) -> Result<Response<proto::ChargeResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn check(&self, _: Request<proto::CheckRequest>) -> Result<Response<proto::CheckResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn session(
        &self,
        _: Request<tonic::Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn watch_revocations(
        &self,
        _: Request<proto::WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Err(Status::unimplemented(""))
    }
}

fn micro_usd(tokens: u64) -> String {
    rust_decimal::Decimal::new(i64::try_from(tokens).unwrap(), 6).normalize().to_string()
}

#[tonic::async_trait]
impl LedgerService for Mock {
    async fn summarize_usage(
        &self,
        _: Request<proto::SummarizeUsageRequest>,
    ) -> Result<Response<proto::SummarizeUsageResponse>, Status> {
        Err(Status::unimplemented("not asked by a replay"))
    }

    async fn list_transactions(
        &self,
        request: Request<proto::ListTransactionsRequest>,
    ) -> Result<Response<proto::ListTransactionsResponse>, Status> {
        is_operator(&request)?;
        let mut state = self.state.lock().unwrap();
        let sum = |of: fn(&proto::Usage) -> u64| state.committed.values().map(of).sum::<u64>();
        let (input, output) = (sum(|usage| usage.input_tokens), sum(|usage| usage.output_tokens));
        let foreign = state.totals_read * self.scripted.foreign_entries;
        // A history before the run, which must not count.
        let totals = proto::TransactionTotals {
            entries: 7 + foreign + u64::try_from(state.committed.len()).unwrap(),
            cost_usd: micro_usd(5_000_000 + input + output),
            input_tokens: i64::try_from(1000 + input).unwrap(),
            output_tokens: i64::try_from(output).unwrap(),
            ..proto::TransactionTotals::default()
        };
        state.totals_read += 1;
        let answer = proto::ListTransactionsResponse { totals: Some(totals), ..Default::default() };
        Ok(Response::new(answer))
    }

    async fn verify(&self, _: Request<proto::VerifyRequest>) -> Result<Response<proto::VerifyResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl TokenService for Mock {
    async fn create_member_token(
        &self,
        _: Request<proto::CreateMemberTokenRequest>,
    ) -> Result<Response<proto::CreateMemberTokenResponse>, Status> {
        Err(Status::unimplemented("not asked by a replay"))
    }

    async fn list_member_tokens(
        &self,
        _: Request<proto::ListMemberTokensRequest>,
    ) -> Result<Response<proto::ListMemberTokensResponse>, Status> {
        Err(Status::unimplemented("not asked by a replay"))
    }

    async fn delete_member_token(
        &self,
        _: Request<proto::DeleteMemberTokenRequest>,
    ) -> Result<Response<proto::DeleteMemberTokenResponse>, Status> {
        Err(Status::unimplemented("not asked by a replay"))
    }

    async fn who_am_i(&self, _: Request<proto::WhoAmIRequest>) -> Result<Response<proto::WhoAmIResponse>, Status> {
        Err(Status::unimplemented("not asked by a replay"))
    }

    async fn create_service_token(
        &self,
        request: Request<proto::CreateServiceTokenRequest>,
    ) -> Result<Response<proto::CreateServiceTokenResponse>, Status> {
        is_operator(&request)?;
        let mut state = self.state.lock().unwrap();
        state.tokens_made += 1;
        let id = format!("token-{}", state.tokens_made);
        state.tokens.insert(id.clone());
        let token = proto::ServiceToken { id: id.clone(), ..request.into_inner().token.unwrap() };
        Ok(Response::new(proto::CreateServiceTokenResponse { token: Some(token), secret: id }))
    }

    async fn list_service_tokens(
        &self,
        _: Request<proto::ListServiceTokensRequest>,
    ) -> Result<Response<proto::ListServiceTokensResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_service_token(
        &self,
        request: Request<proto::DeleteServiceTokenRequest>,
    ) -> Result<Response<proto::DeleteServiceTokenResponse>, Status> {
        is_operator(&request)?;
        self.state.lock().unwrap().tokens.remove(&request.into_inner().token_id);
        Ok(Response::new(proto::DeleteServiceTokenResponse {}))
    }
}
