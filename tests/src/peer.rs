//! One end of a connection, client or back end, that writes any bytes and reads frames one by one.
//!
//! A peer does nothing by itself: it answers no ping, echoes no close frame and closes only when told to or dropped.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use rustls::CommonState;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use crate::http::{Head, Reply, Request};
use crate::http2::AnyStream;
use crate::{Frame, accept_key, within};

/// Which side of a WebSocket a peer plays, and so whether it masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Masks what it writes, and expects what it reads not to be.
    Client,
    /// Writes unmasked, and expects what it reads to be masked.
    Upstream,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Peer {
    stream: Wire,
    buffer: Vec<u8>,
    role: Role,
    ended: bool,
}

/// What carries its bytes.
#[derive(Debug)]
enum Wire {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
    /// What somebody else carries to a socket.
    Piped(DuplexStream),
}

impl Wire {
    fn bytes(&mut self) -> &mut dyn AnyStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream,
            Self::Unix(stream) => stream,
            Self::Piped(stream) => stream,
        }
    }

    /// What TLS seals is flushed at once, as what TCP takes is.
    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes().write_all(bytes).await?;
        self.bytes().flush().await
    }

    fn socket(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
            Self::Unix(_) | Self::Piped(_) => panic!("no TCP socket"),
        }
    }
}

impl Peer {
    /// Connects as a client.
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("a TCP connection", TcpStream::connect(address)).await.expect("connect");
        Self::new(stream, Role::Client)
    }

    /// Connects as a client for whom the kernel keeps little; see `shrink_buffers`.
    pub async fn connect_with_small_buffers(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        shrink_buffers(&SockRef::from(&socket));
        Self::new(within("a TCP connection", socket.connect(address)).await.expect("connect"), Role::Client)
    }

    /// Takes a stream over.
    pub fn new(stream: TcpStream, role: Role) -> Self {
        stream.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream: Wire::Tcp(stream), buffer: Vec::new(), role, ended: false }
    }

    /// Connects to a unix socket as a client.
    pub async fn connect_unix(file: &Path) -> Self {
        Self::unix(within("a unix connection", UnixStream::connect(file)).await.expect("connect"), Role::Client)
    }

    /// Takes a stream of a unix socket over.
    pub fn unix(stream: UnixStream, role: Role) -> Self {
        Self { stream: Wire::Unix(stream), buffer: Vec::new(), role, ended: false }
    }

    /// Takes over what somebody else carries to a socket.
    pub fn piped(stream: DuplexStream, role: Role) -> Self {
        Self { stream: Wire::Piped(stream), buffer: Vec::new(), role, ended: false }
    }

    /// Its stream, whatever it is, on which nothing was read yet.
    pub(crate) fn into_any_stream(self) -> Box<dyn AnyStream> {
        assert!(self.buffer.is_empty(), "something was read: {:?}", self.buffered());
        match self.stream {
            Wire::Tcp(stream) => Box::new(stream),
            Wire::Tls(stream) => stream,
            Wire::Unix(stream) => Box::new(stream),
            Wire::Piped(stream) => Box::new(stream),
        }
    }

    /// Takes a TLS connection over.
    pub fn secured(stream: TlsStream<TcpStream>, role: Role) -> Self {
        stream.get_ref().0.set_nodelay(true).expect("TCP_NODELAY");
        Self { stream: Wire::Tls(Box::new(stream)), buffer: Vec::new(), role, ended: false }
    }

    /// Its TCP stream, on which nothing was read yet.
    ///
    /// # Panics
    /// When something was, or it is no plain TCP.
    pub fn into_stream(self) -> TcpStream {
        assert!(self.buffer.is_empty(), "something was read: {:?}", self.buffered());
        match self.stream {
            Wire::Tcp(stream) => stream,
            Wire::Tls(_) | Wire::Unix(_) | Wire::Piped(_) => panic!("it is no plain TCP"),
        }
    }

    /// What was agreed in its TLS handshake.
    pub fn agreed(&self) -> Option<&CommonState> {
        match &self.stream {
            Wire::Tcp(_) | Wire::Unix(_) | Wire::Piped(_) => None,
            Wire::Tls(stream) => Some(stream.get_ref().1),
        }
    }

    /// Connects as a client and opens a WebSocket at `target`.
    pub async fn open(address: SocketAddr, target: &str) -> Self {
        let (peer, reply) = Self::handshake(address, &Request::upgrade(target)).await;
        assert_eq!(reply.status, 101, "the handshake was answered with {reply:?}");
        peer
    }

    /// Connects as a client, sends one request and reads its answer.
    pub async fn handshake(address: SocketAddr, request: &Request) -> (Self, Reply) {
        let mut peer = Self::connect(address).await;
        let reply = peer.exchange(request).await;
        (peer, reply)
    }

    /// Sends one request and reads its answer.
    pub async fn exchange(&mut self, request: &Request) -> Reply {
        self.write(request.encode()).await;
        self.read_reply().await
    }

    /// This end's address.
    pub fn local_address(&self) -> SocketAddr {
        self.stream.socket().local_addr().expect("a local address")
    }

    /// Reads the answer to a request.
    pub async fn read_reply(&mut self) -> Reply {
        loop {
            if let Some(reply) = Reply::decode(&mut self.buffer, self.ended) {
                return reply;
            }
            assert!(!self.ended, "the connection ended inside an answer: {:?}", self.buffered());
            self.fill("an answer").await;
        }
    }

    /// Reads a request's head.
    pub async fn read_request(&mut self) -> Head {
        loop {
            if let Some(head) = Head::decode(&mut self.buffer) {
                return head;
            }
            assert!(!self.ended, "the connection ended inside a request: {:?}", self.buffered());
            self.fill("a request").await;
        }
    }

    /// Answers a handshake with 101, and with further header lines (each `name: value`).
    pub async fn accept(&mut self, request: &Head, headers: &[&str]) {
        self.write(switching_protocols(request, headers)).await;
    }

    /// Writes bytes as they are.
    ///
    /// # Panics
    /// When the other end is gone.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        within("room to write", self.stream.write_all(bytes)).await.expect("write");
    }

    /// Writes bytes as they are, as far as the other end takes them: it may have closed already.
    pub async fn write_while_open(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = within("room to write", self.stream.write_all(bytes.as_ref())).await;
    }

    /// Writes as much as fits until nothing has for `patience`; gives what was written.
    pub async fn write_until_stuck(&mut self, bytes: &[u8], patience: Duration) -> usize {
        let mut written = 0;
        while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
            match tokio::time::timeout(patience, self.stream.bytes().write(rest)).await {
                Ok(count) => written += count.expect("write"),
                Err(_) => break,
            }
        }
        written
    }

    /// Writes a frame, masked if this is a client.
    pub async fn send(&mut self, frame: Frame) {
        let bytes = self.encode(&frame);
        self.write(bytes).await;
    }

    /// Writes several frames at once.
    pub async fn send_all(&mut self, frames: &[Frame]) {
        let bytes: Vec<u8> = frames.iter().flat_map(|frame| self.encode(frame)).collect();
        self.write(bytes).await;
    }

    /// A frame as this peer would write it.
    pub fn encode(&self, frame: &Frame) -> Vec<u8> {
        frame.encode((self.role == Role::Client).then_some(MASK))
    }

    /// The next frame; `None` when the connection ended, by a FIN or by a reset.
    ///
    /// # Panics
    /// When the frame is masked although it comes from a server, or the other way round.
    pub async fn receive(&mut self) -> Option<Frame> {
        loop {
            if let Some((frame, masked)) = Frame::decode(&mut self.buffer) {
                assert_eq!(masked, self.role == Role::Upstream, "masking of {frame:?} as {:?} read it", self.role);
                return Some(frame);
            }
            if self.ended {
                assert!(self.buffer.is_empty(), "the connection ended inside a frame: {:?}", self.buffered());
                return None;
            }
            self.fill("a frame").await;
        }
    }

    /// The next frame, which has to be there.
    pub async fn frame(&mut self) -> Frame {
        self.receive().await.unwrap_or_else(|| panic!("the {:?}'s connection ended before a frame came", self.role))
    }

    /// Reads the next frame and demands that it is this one.
    pub async fn expect(&mut self, frame: Frame) {
        assert_eq!(self.frame().await, frame);
    }

    /// Reads the next frame, demands that it is a close frame with this code, and gives its reason.
    pub async fn expect_close(&mut self, code: u16) -> String {
        let frame = self.frame().await;
        assert_eq!(frame.close_code(), Some(code), "instead of close {code}, the {:?} got {frame:?}", self.role);
        frame.close_reason()
    }

    /// Waits for the end of the connection and demands that no further frame comes before it.
    pub async fn expect_end(&mut self) {
        let frame = self.receive().await;
        assert_eq!(frame, None, "the {:?}'s connection should have ended", self.role);
    }

    /// Reads exactly this many raw bytes.
    pub async fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count {
            assert!(!self.ended, "the connection ended after {} of {count} bytes", self.buffer.len());
            self.fill("bytes").await;
        }
        self.buffer.drain(..count).collect()
    }

    /// Reads up to the end of the next `mark`, and gives all of it as text.
    pub async fn read_through(&mut self, mark: &str) -> String {
        loop {
            let found = self.buffer.windows(mark.len()).position(|window| window == mark.as_bytes());
            if let Some(start) = found {
                return String::from_utf8_lossy(&self.buffer.drain(..start + mark.len()).collect::<Vec<_>>())
                    .into_owned();
            }
            assert!(!self.ended, "the connection ended before {mark:?}: {:?}", self.buffered());
            self.fill("a mark").await;
        }
    }

    /// Reads to the end of the stream, and gives what has come.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while !self.ended {
            self.fill("the end of the stream").await;
        }
        std::mem::take(&mut self.buffer)
    }

    /// Reads to the end of the stream and throws what comes away.
    pub async fn drain(&mut self) {
        while !self.ended {
            self.fill("the end of the stream").await;
            self.buffer.clear();
        }
    }

    /// Ends the direction towards the other end, and keeps reading.
    pub async fn shut_down(&mut self) {
        self.stream.bytes().shutdown().await.expect("shutdown");
    }

    /// Ends the connection with a reset instead of a FIN.
    pub fn reset(self) {
        self.stream.socket().set_zero_linger().expect("SO_LINGER");
    }

    async fn fill(&mut self, what: &str) {
        let mut chunk = vec![0; 64 * 1024];
        match within(what, self.stream.bytes().read(&mut chunk)).await {
            Ok(0) | Err(_) => self.ended = true,
            Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
        }
    }

    fn buffered(&self) -> String {
        String::from_utf8_lossy(&self.buffer).into_owned()
    }
}

/// Makes the kernel keep a few hundred kibibytes for a connection and not megabytes, at the far end as well: there it
/// counts in segments, and those of the loopback have 64 KiB. Only before the socket is connected, or on one that
/// listens, for what it accepts.
pub(crate) fn shrink_buffers(socket: &SockRef<'_>) {
    socket.set_recv_buffer_size(SMALL_BUFFER).expect("SO_RCVBUF");
    socket.set_send_buffer_size(SMALL_BUFFER).expect("SO_SNDBUF");
    socket.set_tcp_mss(ETHERNET_SEGMENT).expect("TCP_MAXSEG");
}

/// A 101 for `request`, with further header lines.
fn switching_protocols(request: &Head, headers: &[&str]) -> String {
    let key = request.header("sec-websocket-key").expect("a handshake has a key");
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n",
        accept_key(key)
    );
    for header in headers {
        answer.push_str(header);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    answer
}

/// Any mask will do, but not one that hides a proxy that forgets to unmask.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

const SMALL_BUFFER: usize = 32 * 1024;
const ETHERNET_SEGMENT: u32 = 1448;
