//! A client that speaks HTTP/2, with WebSockets by extended `CONNECT` (RFC 8441), as nobody of Tidegate wrote it.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::ext::Protocol;
use h2::{PingPong, Reason, RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::{Peer, Role, within};

/// A connection.
pub struct Http2 {
    requests: SendRequest<Bytes>,
    pings: PingPong,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A WebSocket on a stream of its own.
pub struct Opened {
    /// The client.
    pub peer: Peer,
    /// How the proxy answered.
    pub answer: Response<()>,
    /// Why the stream ended: by the error of a reset, or in order.
    pub ended: oneshot::Receiver<Option<Reason>>,
}

impl Http2 {
    /// Connects in clear text by prior knowledge, and waits for the server's settings.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::over(Peer::connect(address).await, &Builder::new()).await
    }

    /// The same with settings of the client's own, on a connection that nothing was said on.
    pub async fn over(peer: Peer, settings: &Builder) -> Self {
        let (requests, mut connection) =
            within("the preface", settings.handshake(peer.into_any_stream())).await.expect("HTTP/2");
        let mut pings = connection.ping_pong().expect("pings");
        let connection = tokio::spawn(connection);
        // What the server says first has come before its answer to this.
        within("an answer to a ping", pings.ping(h2::Ping::opaque())).await.expect("a pong");
        Self { requests, pings, connection }
    }

    /// Whether the server has said that it knows extended `CONNECT`.
    pub fn knows_extended_connect(&self) -> bool {
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// Waits until all that was sent before has been dealt with.
    pub async fn ping(&mut self) {
        within("an answer to a ping", self.pings.ping(h2::Ping::opaque())).await.expect("a pong");
    }

    /// Sends a request without a body, and gives the answer with its body.
    pub async fn ask(&mut self, request: Request<()>) -> Response<Vec<u8>> {
        self.ready().await;
        let (answer, _) = self.requests.send_request(request, true).expect("a stream");
        let (head, mut body) = within("an answer", answer).await.expect("an answer").into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = within("a body", body.data()).await {
            let data = data.expect("a body");
            body.flow_control().release_capacity(data.len()).expect("capacity");
            bytes.extend_from_slice(&data);
        }
        Response::from_parts(head, bytes)
    }

    /// Begins a stream with this request, and gives it as it is, with its answer.
    pub async fn stream(&mut self, request: Request<()>) -> (Response<()>, SendStream<Bytes>, RecvStream) {
        let (answer, send) = self.begin(request).await;
        let (head, body) = within("an answer", answer).await.expect("an answer").into_parts();
        (Response::from_parts(head, ()), send, body)
    }

    /// Begins a stream with this request, whose answer is not waited for.
    pub async fn begin(&mut self, request: Request<()>) -> (ResponseFuture, SendStream<Bytes>) {
        self.ready().await;
        self.requests.send_request(request, false).expect("a stream")
    }

    /// Opens a WebSocket.
    pub async fn open(&mut self, path: &str) -> Opened {
        self.open_by(websocket(path)).await
    }

    /// Opens a WebSocket by this request.
    pub async fn open_by(&mut self, request: Request<()>) -> Opened {
        let (answer, send, receive) = self.stream(request).await;
        assert_eq!(answer.status(), 200, "{answer:?}");
        let (near, far) = duplex(64 << 10);
        let (from_peer, to_peer) = split(far);
        let (end, ended) = oneshot::channel();
        tokio::spawn(carry_up(from_peer, send));
        tokio::spawn(async move {
            // Whoever opened it may have no interest in this.
            let _ = end.send(carry_down(receive, to_peer).await);
        });
        Opened { peer: Peer::piped(near, Role::Client), answer, ended }
    }

    /// Waits for the end of the connection; the error is the reason of it.
    pub async fn ended(self) -> Result<(), h2::Error> {
        drop(self.requests);
        within("the end of the connection", self.connection).await.expect("no panic")
    }

    /// Waits until the proxy has ended the connection, and wants to ask for more all the time.
    pub async fn is_sent_away(self) {
        let _ = within("the end of the connection", self.connection).await.expect("no panic");
        drop(self.requests);
    }

    /// Leaves without a word.
    pub async fn abandon(self) {
        self.connection.abort();
        // Its socket is closed with it.
        let _ = self.connection.await;
    }

    async fn ready(&mut self) {
        let ready = within("room for a stream", self.requests.clone().ready()).await;
        self.requests = ready.unwrap_or_else(|error| panic!("no further stream: {error}"));
    }
}

/// A handshake by extended `CONNECT`.
pub fn websocket(path: &str) -> Request<()> {
    let request = Request::builder().method("CONNECT").uri(format!("http://proxy.test{path}"));
    let request = request.header("sec-websocket-version", "13").extension(Protocol::from_static("websocket"));
    request.body(()).expect("a request")
}

pub(crate) async fn carry_up(mut from_peer: ReadHalf<DuplexStream>, mut send: SendStream<Bytes>) {
    let mut room = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from_peer.read(&mut room).await {
        let mut bytes = Bytes::copy_from_slice(&room[..count]);
        while !bytes.is_empty() {
            send.reserve_capacity(bytes.len());
            let Some(Ok(_)) = std::future::poll_fn(|context| send.poll_capacity(context)).await else { return };
            let part = bytes.split_to(send.capacity().min(bytes.len()));
            if send.send_data(part, false).is_err() {
                return;
            }
        }
    }
    let _ = send.send_data(Bytes::new(), true);
}

pub(crate) async fn carry_down(mut receive: RecvStream, mut to_peer: WriteHalf<DuplexStream>) -> Option<Reason> {
    let reason = loop {
        match receive.data().await {
            Some(Ok(data)) => {
                // A peer that is gone reads nothing.
                let _ = to_peer.write_all(&data).await;
                let _ = receive.flow_control().release_capacity(data.len());
            }
            Some(Err(error)) => break Some(error.reason().unwrap_or(Reason::INTERNAL_ERROR)),
            None => break None,
        }
    };
    let _ = to_peer.shutdown().await;
    reason
}

/// A stream of any kind, for a library to speak on.
pub(crate) trait AnyStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> AnyStream for S {}
