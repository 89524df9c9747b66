//! What a token opened ends with it.

use std::time::Duration;

use quotad::api::proto::{
    self, ServiceToken, SessionRequest, SessionResponse, WatchRevocationsResponse, session_request::Op,
    session_response::Result as Answer,
};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Code, Status, Streaming};

use crate::{
    messages::{check, usd},
    people::outcome,
    world::{START, World},
};

const PATIENCE: Duration = Duration::from_mins(1);
/// Seconds that a token of these tests lives.
const LIFE: i64 = 100;

/// A token and the streams that it opened.
struct Opened {
    id: String,
    requests: mpsc::Sender<SessionRequest>,
    answers: Streaming<SessionResponse>,
    watch: Streaming<WatchRevocationsResponse>,
}

impl Opened {
    async fn new(world: &World, lives: Option<i64>) -> Self {
        let expire_time = lives.map(|seconds| prost_types::Timestamp { seconds: START + seconds, nanos: 0 });
        let token = Some(ServiceToken { expire_time, ..ServiceToken::default() });
        let create = proto::CreateServiceTokenRequest { token };
        let created = outcome(world.operator.tokens().create_service_token(create).await).unwrap();
        let by = world.speaking(&created.secret);
        let (requests, receiver) = mpsc::channel(8);
        let answers = by.quota().session(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let holder = proto::WatchRevocationsRequest { holder: "gpu".into() };
        let watch = by.quota().watch_revocations(holder).await.unwrap().into_inner();
        Self { id: created.token.unwrap().id, requests, answers, watch }
    }

    async fn ask(&mut self) -> Result<SessionResponse, Status> {
        let op = Some(Op::Check(check("k1", usd("1"))));
        // One that has ended takes nothing more.
        let _ = self.requests.send(SessionRequest { correlation_id: 7, op }).await;
        self.answer().await
    }

    async fn answer(&mut self) -> Result<SessionResponse, Status> {
        timeout(PATIENCE, self.answers.next()).await.expect("an answer in time").expect("an answer")
    }

    async fn serves(&mut self) {
        let SessionResponse { correlation_id, result } = self.ask().await.unwrap();
        assert!(correlation_id == 7 && matches!(result, Some(Answer::Check(_))), "{result:?}");
    }

    async fn watch_ends(&mut self) -> Code {
        let watched = timeout(PATIENCE, self.watch.next()).await.expect("an end in time").expect("a reason");
        watched.unwrap_err().code()
    }
}

#[tokio::test]
async fn streams_of_a_deleted_token_end_and_those_of_others_go_on() {
    let world = World::new().await;
    let (mut asking, mut idle) = (Opened::new(&world, None).await, Opened::new(&world, Some(LIFE)).await);
    let mut other = Opened::new(&world, None).await;
    asking.serves().await;
    for id in [&asking.id, &idle.id] {
        let delete = proto::DeleteServiceTokenRequest { token_id: id.clone() };
        outcome(world.operator.tokens().delete_service_token(delete).await).unwrap();
    }
    assert_eq!(asking.ask().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(idle.answer().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!([asking.watch_ends().await, idle.watch_ends().await], [Code::Unauthenticated; 2]);
    other.serves().await;
}

#[tokio::test]
async fn streams_of_an_expired_token_end() {
    let world = World::new().await;
    let (mut asking, mut idle) = (Opened::new(&world, Some(LIFE)).await, Opened::new(&world, Some(LIFE)).await);
    let mut longer = Opened::new(&world, Some(2 * LIFE)).await;
    world.advance(LIFE - 1);
    asking.serves().await;
    world.advance(1);
    assert_eq!(asking.ask().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(idle.answer().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!([asking.watch_ends().await, idle.watch_ends().await], [Code::Unauthenticated; 2]);
    longer.serves().await;
}
