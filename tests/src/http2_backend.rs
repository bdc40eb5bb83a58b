//! A back end that speaks HTTP/2, in clear text or over TLS, and takes WebSockets by extended `CONNECT` (RFC 8441).

use std::net::SocketAddr;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Request, Response};
use tokio::io::{duplex, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::http2::{AnyStream, carry_down, carry_up};
use crate::{Peer, Role, within};

/// A listening back end.
pub struct Http2Backend {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    builder: Builder,
}

/// A connection that was accepted.
pub struct Accepted {
    requests: mpsc::Receiver<(Request<RecvStream>, SendResponse<Bytes>)>,
    connection: JoinHandle<()>,
}

impl Http2Backend {
    /// One that knows WebSockets over HTTP/2.
    pub async fn bind() -> Self {
        let mut builder = Builder::new();
        builder.enable_connect_protocol();
        Self::of(builder).await
    }

    /// One that does not.
    pub async fn without_websockets() -> Self {
        Self::of(Builder::new()).await
    }

    async fn of(builder: Builder) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        Self { listener, acceptor: None, builder }
    }

    /// The same over TLS, by an acceptor that agrees on `h2`.
    pub fn secured(self, acceptor: TlsAcceptor) -> Self {
        Self { acceptor: Some(acceptor), ..self }
    }

    /// The same with so many streams at a time.
    pub fn with_streams(mut self, most: u32) -> Self {
        self.builder.max_concurrent_streams(most);
        self
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("an address")
    }

    /// The next connection.
    pub async fn connection(&self) -> Accepted {
        let (stream, _) = within("a connection to the back end", self.listener.accept()).await.expect("accept");
        stream.set_nodelay(true).expect("TCP_NODELAY");
        let stream = self.secure(stream).await;
        let mut connection: Connection<_, Bytes> =
            within("the preface", self.builder.handshake(stream)).await.expect("HTTP/2");
        let (sender, requests) = mpsc::channel(100);
        let connection = tokio::spawn(async move {
            while let Some(Ok(request)) = connection.accept().await {
                if sender.send(request).await.is_err() {
                    break;
                }
            }
        });
        Accepted { requests, connection }
    }

    /// The next connection, on which nothing of HTTP/2 is said.
    pub async fn plain_connection(&self) -> Peer {
        let (stream, _) = within("a connection to the back end", self.listener.accept()).await.expect("accept");
        Peer::new(stream, Role::Upstream)
    }

    async fn secure(&self, stream: TcpStream) -> Box<dyn AnyStream> {
        match &self.acceptor {
            None => Box::new(stream),
            Some(acceptor) => {
                let secured = within("a TLS handshake", acceptor.accept(stream)).await.expect("TLS");
                assert_eq!(secured.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                Box::new(secured)
            }
        }
    }
}

impl Accepted {
    /// The next request.
    pub async fn request(&mut self) -> (Request<RecvStream>, SendResponse<Bytes>) {
        within("a request on the connection", self.requests.recv()).await.expect("a request")
    }

    /// Takes the next request, which has to be for a WebSocket, with this answer.
    pub async fn accept(&mut self, answer: Response<()>) -> (Peer, Request<()>) {
        let (request, mut respond) = self.request().await;
        assert_eq!(request.extensions().get::<Protocol>().map(Protocol::as_str), Some("websocket"), "{request:?}");
        let (head, receive) = request.into_parts();
        let send = respond.send_response(answer, false).expect("an answer");
        (piped(send, receive), Request::from_parts(head, ()))
    }

    /// Waits until the proxy has ended the connection.
    pub async fn ended(self) {
        within("the end of the connection", self.connection).await.expect("no panic");
    }

    /// Ends the connection without a word.
    pub async fn abandon(self) {
        self.connection.abort();
        let _ = self.connection.await;
    }
}

fn piped(send: SendStream<Bytes>, receive: RecvStream) -> Peer {
    let (near, far) = duplex(64 << 10);
    let (from_peer, to_peer) = split(far);
    tokio::spawn(carry_up(from_peer, send));
    tokio::spawn(carry_down(receive, to_peer));
    Peer::piped(near, Role::Upstream)
}
