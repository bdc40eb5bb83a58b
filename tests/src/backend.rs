//! A back end that does exactly what the test tells it to, connection by connection.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::http::{Head, Request};
use crate::peer::shrink_buffers;
use crate::{Peer, Role, within};

/// A listening socket whose connections the test plays itself.
#[derive(Debug)]
pub struct Backend {
    listener: TcpListener,
}

impl Backend {
    /// Listens on a free port.
    pub async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.expect("bind") }
    }

    /// The same, with connections for which the kernel keeps little.
    #[must_use]
    pub fn with_small_buffers(self) -> Self {
        shrink_buffers(&SockRef::from(&self.listener));
        self
    }

    /// Where it listens, as `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        self.listener.local_addr().expect("a local address").to_string()
    }

    /// The next TCP connection.
    pub async fn connection(&self) -> Peer {
        let (stream, _) = within("a connection to the back end", self.listener.accept()).await.expect("accept");
        Peer::new(stream, Role::Upstream)
    }

    /// The next connection and the request on it, not yet answered.
    pub async fn request(&self) -> (Peer, Head) {
        let mut peer = self.connection().await;
        let head = peer.read_request().await;
        (peer, head)
    }

    /// The next connection, upgraded without further headers.
    pub async fn accept(&self) -> Peer {
        let (mut peer, head) = self.request().await;
        peer.accept(&head, &[]).await;
        peer
    }

    /// Opens a WebSocket through the proxy at `address` to this back end and gives both its ends.
    pub async fn open(&self, address: SocketAddr, target: &str) -> (Peer, Peer) {
        tokio::join!(Peer::open(address, target), self.accept())
    }

    /// As [`Backend::open`], with this request, and with further headers in the answer to it.
    pub async fn open_with(&self, address: SocketAddr, request: &Request, headers: &[&str]) -> (Peer, Peer) {
        let accepting = async {
            let (mut upstream, head) = self.request().await;
            upstream.accept(&head, headers).await;
            upstream
        };
        let ((client, _), upstream) = tokio::join!(Peer::handshake(address, request), accepting);
        (client, upstream)
    }

    /// Answers every connection's request with these bytes and closes, for as long as the test runs.
    pub fn always_answer(self, answer: impl Into<String>) -> String {
        let (address, answer) = (self.address(), answer.into());
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                let mut peer = Peer::new(stream, Role::Upstream);
                peer.read_request().await;
                peer.write_while_open(&answer).await;
            }
        });
        address
    }
}

/// The accept value of a key (RFC 6455 section 4.2.2).
pub fn accept_key(key: &str) -> String {
    derive_accept_key(key.as_bytes())
}

/// An address at which nobody listens.
///
/// It is the near end of a connection that is kept for as long as the test process runs, so that the kernel gives the
/// port to no listener in the meantime.
pub fn refused_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let stream = std::net::TcpStream::connect(listener.local_addr().expect("a local address")).expect("connect");
    let address = stream.local_addr().expect("a local address").to_string();
    std::mem::forget((stream, listener));
    address
}
