//! One connection, and the streams on it.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use h2::ext::Protocol;
use h2::{Ping, Reason};
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Uri};

use super::Endpoint;
use crate::http::{Answer, RelayedBody, UpstreamRequest};
use crate::reactor::{Sleep, sleep, spawn, timeout};
use crate::tls;
use crate::transport::{Http2, Http2Limits, Inlet, Transport, Way, Wire};
use crate::upstream::address::Address;
use crate::upstream::answer::{self, Sent};
use crate::upstream::connect::{self, Refused};
use crate::upstream::dial::{DialError, Timeouts, Upgraded};
use crate::upstream::secure;

/// What a way to an endpoint has turned out to be.
pub(super) enum Opened {
    Http2(Rc<Connection>),
    /// TLS was agreed on for HTTP/1.1; nothing is said on it yet.
    Http1(Transport),
    /// The endpoint speaks no HTTP/2, or no WebSocket over it.
    Neither,
}

/// Why a stream has not become a WebSocket.
pub(super) enum Asked {
    /// The connection is at its end, and has not taken the request.
    InVain,
    Failed(DialError),
}

/// A connection that its own task moves on.
pub(super) struct Connection {
    requests: SendRequest<Bytes>,
    streams: Cell<usize>,
    /// How many there may be.
    max_streams: usize,
    /// What comes on the streams.
    inlets: RefCell<Vec<Weak<Inlet>>>,
    is_over: Cell<bool>,
    waker: Cell<Option<Waker>>,
}

/// Opens a connection, and waits until the endpoint has said what it can.
pub(super) async fn open(endpoint: Endpoint<'_>, timeouts: &Timeouts) -> Result<Opened, DialError> {
    let resolved = Cell::new(false);
    let place = endpoint.address.place();
    let connecting = connect::connect(place, endpoint.resolver, &timeouts.liveness, || resolved.set(true));
    let socket = match within(timeouts.connect, connecting).await {
        Some(connected) => connected.map_err(|refused| match refused {
            Refused::Unresolved(error) => DialError::Unresolved(error),
            Refused::Socket(error) => DialError::Refused(error),
        })?,
        None if resolved.get() => return Err(DialError::ConnectTimeout),
        None => return Err(DialError::ResolveTimeout),
    };
    if !endpoint.address.is_secure() {
        // Who does not know it may say nothing at all, and is not waited for as long as an answer.
        return Ok(begin(Transport::from(socket), endpoint.limits, timeouts.connect).await.unwrap_or(Opened::Neither));
    }
    let securing = secure::secure_for_http2(socket, endpoint.address, endpoint.tls);
    let transport = within(timeouts.handshake, securing).await.ok_or(DialError::HandshakeTimeout)??;
    let is_agreed = matches!(&transport, Transport::Tls(tls) if tls.agreed().alpn_protocol() == Some(tls::HTTP_2));
    match is_agreed {
        true => begin(transport, endpoint.limits, timeouts.handshake).await,
        false => Ok(Opened::Http1(transport)),
    }
}

/// Says the preface, and waits for the endpoint's settings: they come before its answer to a ping.
async fn begin(transport: Transport, limits: Http2Limits, patience: Option<Duration>) -> Result<Opened, DialError> {
    let way = Rc::new(Way::new(transport));
    let builder = client::Builder::new()
        .enable_push(false)
        .initial_window_size(limits.stream_window)
        // That of each stream holds it back, and not that of all of them.
        .initial_connection_window_size(limits.stream_window.saturating_mul(limits.max_streams).min(LARGEST_WINDOW))
        .max_send_buffer_size(MOST_UNSENT)
        .data_frame_budget(SMALL_FRAMES)
        .handshake(Wire::new(way.clone()));
    let cut = |error: h2::Error| DialError::Cut(io::Error::new(io::ErrorKind::ConnectionReset, error));
    let (requests, mut connection) = builder.await.map_err(cut)?;
    let Some(mut pings) = connection.ping_pong() else { return Ok(Opened::Neither) };
    let mut pong = pin!(pings.ping(Ping::opaque()));
    let settled = poll_fn(|context| {
        let ended = Pin::new(&mut connection).poll(context);
        let pong = pong.as_mut().poll(context);
        let _ = way.poll_flush(context);
        match (ended, pong) {
            (_, Poll::Ready(Ok(_))) => Poll::Ready(Ok(())),
            (Poll::Ready(Err(error)), _) | (_, Poll::Ready(Err(error))) => Poll::Ready(Err(cut(error))),
            (Poll::Ready(Ok(())), _) => Poll::Ready(Err(DialError::Cut(io::ErrorKind::UnexpectedEof.into()))),
            _ => Poll::Pending,
        }
    });
    within(patience, settled).await.ok_or(DialError::HandshakeTimeout)??;
    if !requests.is_extended_connect_protocol_enabled() {
        return Ok(Opened::Neither);
    }
    let shared = Rc::new(Connection {
        requests,
        streams: Cell::new(0),
        max_streams: usize::try_from(limits.max_streams).unwrap_or(usize::MAX),
        inlets: RefCell::default(),
        is_over: Cell::new(false),
        waker: Cell::default(),
    });
    spawn(drive(connection, way, Rc::downgrade(&shared), limits.idle_timeout)).detach();
    Ok(Opened::Http2(shared))
}

/// Moves a connection on until it has ended, or has had no stream for a while.
async fn drive(
    mut connection: client::Connection<Wire, Bytes>,
    way: Rc<Way>,
    shared: Weak<Connection>,
    idle_timeout: Duration,
) {
    let mut idle: Option<Sleep> = None;
    poll_fn(|context| {
        let shared = shared.upgrade();
        // Before more is read: what has a reader, that has taken on by now.
        if way.has_brought(MUCH)
            && let Some(shared) = &shared
        {
            shared.gather();
        }
        let ended = Pin::new(&mut connection).poll(context);
        // One that is broken is found to be when it is read.
        let _ = way.poll_flush(context);
        if ended.is_ready() {
            return Poll::Ready(());
        }
        if shared.is_some_and(|shared| shared.has_streams(context)) {
            idle = None;
            return Poll::Pending;
        }
        Pin::new(idle.get_or_insert_with(|| sleep(idle_timeout))).poll(context)
    })
    .await;
    if let Some(shared) = shared.upgrade() {
        shared.is_over.set(true);
    }
    drop(connection);
    let _ = timeout(LINGER, Box::pin(way.drain())).await;
}

impl Connection {
    /// Whether it takes no further stream.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.get()
    }

    /// Whether there is room for a stream, by the endpoint's word and ours.
    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < self.max_streams.min(self.requests.current_max_send_streams())
    }

    /// Asks for a WebSocket on a stream of its own.
    pub(super) async fn ask(
        self: &Rc<Self>,
        address: &Address,
        request: &UpstreamRequest,
        timeouts: &Timeouts,
    ) -> Result<Upgraded, Asked> {
        let place = Place::take(self);
        let opening = opening(address, request).map_err(Asked::Failed)?;
        let mut requests = self.requests.clone();
        let in_vain = |_| {
            self.is_over.set(true);
            Asked::InVain
        };
        let asking = async {
            poll_fn(|context| requests.poll_ready(context)).await.map_err(in_vain)?;
            let (answer, send) = requests.send_request(opening, false).map_err(in_vain)?;
            let answer = answer.await.map_err(|error| match error.reason() {
                // It was not looked at.
                Some(Reason::REFUSED_STREAM) => in_vain(error),
                _ => Asked::Failed(DialError::Cut(io::Error::new(io::ErrorKind::ConnectionReset, error))),
            });
            Ok((answer?, send))
        };
        let asked = within(timeouts.handshake, asking).await;
        let (answer, mut send) = asked.ok_or(Asked::Failed(DialError::HandshakeTimeout))??;
        let (head, body) = answer.into_parts();
        let inlet = Rc::new(Inlet::new(body));
        self.inlets.borrow_mut().push(Rc::downgrade(&inlet));
        if head.status != StatusCode::OK {
            // An answer is all that comes.
            let _ = send.send_data(Bytes::new(), true);
            let body = RelayedBody::of_stream(inlet, timeouts.answer_body);
            return Err(Asked::Failed(DialError::Answered(Box::new(Answer::new(head, body)))));
        }
        let sent = Sent { accept: "", protocols: request.protocols.as_ref(), extensions: request.extensions.as_ref() };
        let accepted = answer::agree(head.headers, &sent).map_err(|error| Asked::Failed(error.into()))?;
        let stream = Http2::new(send, inlet).holding(place);
        Ok(Upgraded { socket: Transport::Http2(Box::new(stream)), leftover: Bytes::new(), accepted })
    }

    fn has_streams(&self, context: &Context<'_>) -> bool {
        if self.streams.get() == 0 {
            return false;
        }
        let known = self.waker.take().filter(|waker| waker.will_wake(context.waker()));
        self.waker.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        true
    }

    /// Takes in what waits on streams that nobody reads.
    fn gather(&self) {
        self.inlets.borrow_mut().retain(|inlet| match inlet.upgrade() {
            Some(inlet) => {
                inlet.gather();
                true
            }
            None => false,
        });
    }
}

/// A stream's place on its connection.
struct Place(Rc<Connection>);

impl Place {
    fn take(connection: &Rc<Connection>) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self(connection.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        if let Some(waker) = self.0.waker.take() {
            waker.wake();
        }
    }
}

/// The handshake as an extended `CONNECT` (RFC 8441 section 5).
fn opening(address: &Address, request: &UpstreamRequest) -> Result<Request<()>, DialError> {
    let invalid = |error: http::Error| DialError::Cut(io::Error::new(io::ErrorKind::InvalidInput, error));
    let target = request.target.at(address.path()).map_err(|error| invalid(error.into()))?;
    let host = request.host.of(request.client_host.as_ref(), address.authority());
    let scheme = if address.is_secure() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host.as_bytes()).path_and_query(target).build();
    let mut opening = Request::new(());
    *opening.method_mut() = Method::CONNECT;
    *opening.uri_mut() = uri.map_err(invalid)?;
    *opening.headers_mut() = request.headers.clone();
    let headers = opening.headers_mut();
    headers.remove(header::HOST);
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    for (name, value) in
        [(header::SEC_WEBSOCKET_PROTOCOL, &request.protocols), (header::SEC_WEBSOCKET_EXTENSIONS, &request.extensions)]
    {
        if let Some(value) = value {
            headers.insert(name, value.clone());
        }
    }
    opening.extensions_mut().insert(Protocol::from_static("websocket"));
    Ok(opening)
}

/// `None` when the time ran out.
async fn within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    let future = pin!(future);
    match limit {
        Some(limit) => timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

/// The largest window that there is (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// What a stream has of ours before the socket has taken it.
const MOST_UNSENT: usize = 64 << 10;
/// See the streams of clients: what small frames may cost, and after how much they are gathered.
const SMALL_FRAMES: usize = 4 << 20;
const MUCH: usize = 64 << 10;
/// How long an endpoint may take to close its socket behind our last word.
const LINGER: Duration = Duration::from_secs(2);
