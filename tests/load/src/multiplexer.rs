//! A client of HTTP/2 for loads that speak WebSocket over HTTP/1.1: what connects to it is carried on a stream of its own
//! (RFC 8441), so many of them on each connection.
//!
//! It runs on a thread of its own, on the core of the load, so nothing of it is in what the proxy costs. How it cuts bytes
//! into frames is the same for all proxies.

use std::io;
use std::net::SocketAddr;
use std::thread::JoinHandle;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::handshake::{Head, accept};

/// One that runs, ended when dropped.
#[derive(Debug)]
pub struct Multiplexer {
    /// Where it takes connections.
    pub address: SocketAddr,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Multiplexer {
    /// In front of a proxy at `target` that speaks HTTP/2 in clear text, with so many streams on a connection.
    pub fn start(target: SocketAddr, streams: usize) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (end, ended) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::Builder::new().name("multiplexer".to_owned()).spawn(move || {
            let serving = async {
                tokio::select! {
                    _ = ended => {}
                    // A load that cannot connect says so itself.
                    _ = serve(listener, target, streams) => {}
                }
            };
            tokio::task::LocalSet::new().block_on(&runtime, serving);
        })?;
        Ok(Self { address, end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Multiplexer {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: std::net::TcpListener, target: SocketAddr, streams: usize) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let mut connection: Option<(SendRequest<Bytes>, usize)> = None;
    loop {
        let (client, _) = listener.accept().await?;
        client.set_nodelay(true)?;
        let (requests, left) = match connection.take() {
            Some((requests, left)) if left > 0 => (requests, left),
            _ => (connect(target).await?, streams),
        };
        connection = Some((requests.clone(), left - 1));
        tokio::task::spawn_local(async move {
            // Its end is what the load sees of a failure.
            let _ = carry(client, requests).await;
        });
    }
}

/// A connection whose server has said that it knows WebSockets over HTTP/2.
async fn connect(target: SocketAddr) -> io::Result<SendRequest<Bytes>> {
    let stream = TcpStream::connect(target).await?;
    stream.set_nodelay(true)?;
    let mut builder = h2::client::Builder::new();
    builder.initial_window_size(WINDOW).initial_connection_window_size(16 * WINDOW);
    let (requests, mut connection) = builder.handshake(stream).await.map_err(io::Error::other)?;
    let mut pings = connection.ping_pong().ok_or_else(|| io::Error::other("no pings"))?;
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    pings.ping(h2::Ping::opaque()).await.map_err(io::Error::other)?;
    Ok(requests)
}

async fn carry(mut client: TcpStream, requests: SendRequest<Bytes>) -> io::Result<()> {
    let mut read = Vec::new();
    let (path, key, length) = loop {
        if client.read_buf(&mut read).await? == 0 {
            return Ok(());
        }
        if let Some(head) = Head::find(&read) {
            let path = std::str::from_utf8(&read).unwrap_or_default().split(' ').nth(1).unwrap_or("/").to_owned();
            break (path, head.header("Sec-WebSocket-Key").unwrap_or_default().to_owned(), head.length);
        }
    };
    let request = Request::builder().method("CONNECT").uri(format!("http://load{path}"));
    let request = request.header("sec-websocket-version", "13").extension(Protocol::from_static("websocket"));
    // It has no place there, but Envoy makes none of its own, and an upstream over HTTP/1.1 wants one.
    let request = request.header("sec-websocket-key", &key);
    let mut requests = requests.ready().await.map_err(io::Error::other)?;
    let request = request.body(()).map_err(io::Error::other)?;
    let (response, mut send) = requests.send_request(request, false).map_err(io::Error::other)?;
    let response = response.await.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let head = match status {
        200 => format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
            accept(&key)
        ),
        status => format!("HTTP/1.1 {status} \r\nContent-Length: 0\r\n\r\n"),
    };
    client.write_all(head.as_bytes()).await?;
    read.drain(..length);
    send_all(&mut send, Bytes::from(read)).await?;
    let (from_client, to_client) = client.into_split();
    tokio::join!(up(from_client, send), down(response.into_body(), to_client));
    Ok(())
}

async fn up(mut from_client: OwnedReadHalf, mut send: SendStream<Bytes>) {
    let mut room = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from_client.read(&mut room).await {
        if send_all(&mut send, Bytes::copy_from_slice(&room[..count])).await.is_err() {
            return;
        }
    }
    let _ = send.send_data(Bytes::new(), true);
}

async fn down(mut receive: RecvStream, mut to_client: OwnedWriteHalf) {
    while let Some(Ok(bytes)) = receive.data().await {
        if to_client.write_all(&bytes).await.is_err() || receive.flow_control().release_capacity(bytes.len()).is_err() {
            return;
        }
    }
    let _ = to_client.shutdown().await;
}

async fn send_all(send: &mut SendStream<Bytes>, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        send.reserve_capacity(bytes.len());
        if send.capacity() == 0 {
            let room = std::future::poll_fn(|context| send.poll_capacity(context)).await;
            room.ok_or(io::ErrorKind::BrokenPipe)?.map_err(io::Error::other)?;
        }
        let part = bytes.split_to(send.capacity().min(bytes.len()));
        send.send_data(part, false).map_err(io::Error::other)?;
    }
    Ok(())
}

/// So large that it holds nothing up.
const WINDOW: u32 = 1 << 20;
