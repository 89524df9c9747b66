//! Single calls over HTTP/2 with nothing around them but places for new work: a load generator that shares the machine with the server
//! has to be lighter than what it measures. A connection that breaks fails what is under way on it and is made again for the next call.

use std::error::Error;

use h2::client::SendRequest;
use http::{
    HeaderValue, Request, Uri, Version,
    header::{AUTHORIZATION, CONTENT_TYPE, TE},
    uri::PathAndQuery,
};
use parking_lot::RwLock;
use prost::{
    Message,
    bytes::{Buf as _, BufMut as _, Bytes, BytesMut},
};
use quotad::client::{Connection, Places, WINDOW};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::Mutex,
};
use tonic::Status;

/// Calls to begin with, until the server has said how many it takes: it would refuse what is more.
const FIRST_CALLS: usize = 100;
/// Before each message: whether it is compressed, and its length.
const PREFIX: usize = 5;

#[derive(Debug)]
pub(super) struct Wire {
    /// `http://HOST:PORT` or `unix:/PATH`.
    server: String,
    /// What requests name; means nothing to a Unix socket.
    authority: Uri,
    authorization: HeaderValue,
    /// `None` sends what begins work in its turn like all else.
    places: Option<Places>,
    /// With the number of the connection.
    sender: RwLock<Option<Numbered>>,
    /// The number of the last connection; whoever makes one holds it.
    connecting: Mutex<u64>,
}

type Fault = Box<dyn Error + Send + Sync>;
type Numbered = (u64, SendRequest<Bytes>);

impl Wire {
    /// Connects at the first call.
    pub(super) fn new(connection: &Connection, in_order: bool) -> Self {
        let server = connection.address().unwrap_or_default().to_owned();
        Self {
            authority: server.parse().unwrap_or_else(|_| Uri::from_static("http://localhost:80")),
            server,
            authorization: connection.authorization(),
            places: (!in_order).then(Places::default),
            sender: RwLock::new(None),
            connecting: Mutex::default(),
        }
    }

    /// One unary call. `path` is `/package.Service/Method`.
    ///
    /// # Errors
    /// What the server said, or what kept it from saying anything.
    pub(super) async fn call<Answer: Message + Default>(
        &self,
        path: &'static str,
        message: &impl Message,
    ) -> Result<Answer, Status> {
        let _place = match &self.places {
            Some(places) => places.take(path).await,
            None => None,
        };
        let (number, sender) = self.sender().await.map_err(|fault| Status::unavailable(fault.to_string()))?;
        let answer = async { exchange(sender, self.request(path)?, framed(message)).await }.await;
        answer.unwrap_or_else(|fault: Fault| {
            // Also where only the stream was reset: a new connection is no loss. One that was made meanwhile stays.
            self.sender.write().take_if(|(current, _)| *current == number);
            Err(Status::from_error(fault))
        })
    }

    async fn sender(&self) -> Result<Numbered, Fault> {
        if let Some(sender) = self.sender.read().clone() {
            return Ok(sender);
        }
        let mut connecting = self.connecting.lock().await;
        if let Some(sender) = self.sender.read().clone() {
            return Ok(sender);
        }
        *connecting += 1;
        let sender = (*connecting, connect(&self.server, &self.authority).await?);
        *self.sender.write() = Some(sender.clone());
        Ok(sender)
    }

    fn request(&self, path: &'static str) -> Result<Request<()>, http::Error> {
        let mut uri = self.authority.clone().into_parts();
        uri.path_and_query = Some(PathAndQuery::from_static(path));
        Request::post(Uri::from_parts(uri)?)
            .version(Version::HTTP_2)
            .header(TE, HeaderValue::from_static("trailers"))
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(AUTHORIZATION, self.authorization.clone())
            .body(())
    }
}

async fn connect(server: &str, authority: &Uri) -> Result<SendRequest<Bytes>, Fault> {
    if let Some(path) = server.strip_prefix("unix:") {
        return shake_hands(UnixStream::connect(path).await?).await;
    }
    let (host, port) = (authority.host().unwrap_or_default(), authority.port_u16().unwrap_or(80));
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    shake_hands(stream).await
}

async fn shake_hands(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Bytes>, Fault> {
    let mut http = h2::client::Builder::new();
    http.initial_window_size(WINDOW).initial_connection_window_size(WINDOW).initial_max_send_streams(FIRST_CALLS);
    let (sender, connection) = http.handshake(stream).await?;
    // How it ends, the calls on it are told.
    tokio::spawn(connection);
    Ok(sender)
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // There is room for it.
    let _ = message.encode(&mut frame);
    frame.freeze()
}

/// The outer error is the connection's, the inner one the server's.
async fn exchange<Answer: Message + Default>(
    sender: SendRequest<Bytes>,
    request: Request<()>,
    frame: Bytes,
) -> Result<Result<Answer, Status>, Fault> {
    let (response, mut stream) = sender.ready().await?.send_request(request, false)?;
    stream.send_data(frame, true)?;
    let (head, mut body) = response.await?.into_parts();
    if let Some(status) = Status::from_header_map(&head.headers) {
        return Ok(Err(status));
    }
    let mut received = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    let trailers = body.trailers().await?.unwrap_or_default();
    Ok(match Status::from_header_map(&trailers) {
        Some(status) if status.code() == tonic::Code::Ok => unframed(received),
        Some(status) => Err(status),
        None => Err(Status::internal(format!("HTTP status {} without a gRPC status", head.status))),
    })
}

fn unframed<Answer: Message + Default>(mut received: BytesMut) -> Result<Answer, Status> {
    let broken = || Status::internal("an answer that isn't one uncompressed message");
    if received.len() < PREFIX || received.get_u8() != 0 || received.get_u32() as usize != received.len() {
        return Err(broken());
    }
    Answer::decode(received).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use futures::poll;
    use http::Response;
    use quotad::api::proto::{CommitRequest, CommitResponse, ReserveRequest, ReserveResponse};
    use tokio::{net::TcpListener, sync::mpsc, task::coop::unconstrained};

    use super::*;

    const RESERVE: &str = "/quotad.v1.QuotaService/Reserve";
    const COMMIT: &str = "/quotad.v1.QuotaService/Commit";

    /// Tells what it is asked for, refuses Commits, and lets all else wait.
    async fn serve(listener: TcpListener, asked: mpsc::UnboundedSender<String>) {
        let (stream, _) = listener.accept().await.unwrap();
        let server = h2::server::Builder::new().max_concurrent_streams(1000).handshake::<_, Bytes>(stream);
        let (mut connection, mut waiting) = (server.await.unwrap(), Vec::new());
        while let Some(request) = connection.accept().await {
            let Ok((request, mut respond)) = request else { return };
            let path = request.uri().path().to_owned();
            if path == COMMIT {
                let refusal = Response::builder().header("grpc-status", "5").body(()).unwrap();
                respond.send_response(refusal, true).unwrap();
            } else {
                waiting.push(respond);
            }
            asked.send(path).unwrap();
        }
    }

    async fn sent_before_a_commit(in_order: bool) -> Vec<String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let (told, mut asked) = mpsc::unbounded_channel();
        tokio::spawn(serve(listener, told));
        let wire = Wire::new(&Connection::lazy(&server, "token").unwrap(), in_order);
        let commit = async || {
            let refused: Result<CommitResponse, Status> = wire.call(COMMIT, &CommitRequest::default()).await;
            assert_eq!(refused.unwrap_err().code(), tonic::Code::NotFound);
        };
        // From here on there is a connection, and a call is sent when it is first polled.
        commit().await;
        assert_eq!(asked.recv().await.unwrap(), COMMIT);
        let request = ReserveRequest::default();
        let mut reserves = Vec::new();
        for _ in 0..300 {
            // All in one poll of this test, which is more than a task may do before it lets others run.
            let mut reserve = Box::pin(unconstrained(wire.call::<ReserveResponse>(RESERVE, &request)));
            assert!(poll!(&mut reserve).is_pending());
            reserves.push(reserve);
        }
        commit().await;
        let mut sent = Vec::new();
        while let Ok(path) = asked.try_recv() {
            sent.push(path);
        }
        assert_eq!(sent.pop().unwrap(), COMMIT);
        sent
    }

    #[tokio::test]
    async fn a_commit_waits_behind_no_more_reserves_than_there_are_places_for_but_in_order_behind_all() {
        assert_eq!(sent_before_a_commit(false).await, [RESERVE; 256]);
        assert_eq!(sent_before_a_commit(true).await, [RESERVE; 300]);
    }
}
