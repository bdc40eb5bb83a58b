//! One stream's story, from its request to the line in the access log: the only place that sees all stages.
//!
//! A *connection* is a socket that a listener accepted; it is counted where sockets are: among the places of all
//! connections and in a worker's load. A *stream* is one request on it and whatever becomes of that. Over HTTP/1.1 a
//! connection has one at a time, and the first that opens takes the socket with it. Everything that is counted of routes,
//! listed, drained and logged is streams.
//!
//! Each stage takes the one before it by value and owns what was taken for the stream so far: its place on the route, the
//! sessions of filters, the hold on an endpoint. So none is left out or passed twice, and whatever ends a story gives
//! everything back. The stages of the opening are large and live for milliseconds, so they are boxed; what an open stream
//! holds for its life is a pipe, and a [`Connection`] for whoever asks.

mod admit;
mod application;
mod arrive;
mod authorize;
mod bridge;
mod connect;
mod connection;
mod criteria;
mod dismissal;
mod door;
mod effect;
mod following;
mod gone;
mod identify;
mod limit;
mod multiplexed;
mod open;
mod per_client;
mod plain;
mod rate;
mod record;
mod refusal;
mod secure;
mod snapshot;
mod underway;
mod worker;

use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::request::Parts;
use tokio::time::Instant;

pub use application::{Pushed, Scope};
pub use connection::{Connection, Registry};
pub use criteria::Criteria;
pub use dismissal::Dismissal;
pub use door::Door;
pub use effect::Effect;
pub use following::follow;
pub use gone::Gone;
pub use limit::{Admission, AdmissionLimits, Denied, Entry, Permit, Permits};
pub use multiplexed::Http2;
pub use per_client::{ClientLimits, PerClient, Prefixes, TooMany};
pub use snapshot::{Http, OnChange, Route, Snapshot, Target, Upstream};
pub use underway::{Requests, Underway};
pub use worker::{Worker, worker_of};

use admit::Admitted;
use arrive::{Arrived, Entered, Goal, Wish};
use bridge::Crossing;
use connect::Joined;
use open::Open;
use record::Record;
use refusal::Refusal;
use secure::Peer;

use crate::acme::Challenges;
use crate::answers::Redirect;
use crate::bridge::Reply;
use crate::exchange::Hop;
use crate::handshake::{Client, HeadLimits, Missed, Stream, Streams, speaks_http2};
use crate::http::Paths;
use crate::metrics::HandshakeOutcome;
use crate::proxy_protocol::{Ends, Header};
use crate::reactor::timeout;
use crate::tls;
use crate::transport::Transport;

/// A socket that a listener accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub socket: Transport,
    /// Its other end; `None`: it has no address, being a unix one.
    pub peer: Option<SocketAddr>,
    /// When it was accepted.
    pub accepted_at: Instant,
    /// What a proxy in front has said of it; the peer is the client then, if that was told.
    pub introduction: Option<Box<Header>>,
    /// Where the peer has connected to, where somebody wants to know.
    pub destination: Option<SocketAddr>,
    /// What it speaks TLS with, by the listener; `None`: clear text.
    pub tls: Option<tls::Server>,
    /// What holds for it over HTTP/2, by the listener; `None`: it speaks HTTP/1.1.
    pub http2: Option<Arc<Http2>>,
    /// Who lets the clients in that the peer speaks for; `None`: nobody has to.
    pub door: Option<Arc<Door>>,
    /// What authorities of certificates are answered here; `None`: nothing.
    pub challenges: Option<Arc<Challenges>>,
    /// Where its requests are sent, by the listener; `None`: they are served.
    pub redirect: Option<Arc<Redirect>>,
    /// Whether the listener is gone.
    pub gone: Gone,
    /// What is taken as the head of a request, by the listener.
    pub head: HeadLimits,
    /// How long the client may take for the head of a request, by the listener.
    pub handshake_timeout: Duration,
}

/// Serves a connection to its end, and drops what is `held` for it then.
///
/// It is one flat future, because each open stream keeps one.
#[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
pub fn serve<H>(worker: Rc<Worker>, accepted: Box<Accepted>, held: H) -> impl Future<Output = ()> {
    async move {
        // Kept where it is, to be dropped last.
        let _ = &held;
        let Some(Open { pipe, ending }) = Box::pin(serve_streams(worker, accepted)).await else { return };
        let left = ending.end(pipe.run().await);
        if let Some(left) = left {
            left.await;
        }
    }
}

/// Where streams come in.
struct Entrance {
    worker: Rc<Worker>,
    /// The other end of their socket.
    peer: Option<SocketAddr>,
    /// Where that has connected to.
    destination: Option<SocketAddr>,
    /// Who that is, where it speaks TLS.
    secured: Option<Peer>,
    /// The host that it has asked a proxy in front for.
    authority: Option<String>,
    /// Who lets the clients in that it speaks for.
    door: Option<Arc<Door>>,
    /// What authorities of certificates are answered.
    challenges: Option<Arc<Challenges>>,
    /// Where they are sent.
    redirect: Option<Arc<Redirect>>,
    /// Whether the listener is gone that let it in.
    gone: Gone,
    /// Which paths they may ask for.
    paths: Paths,
}

impl Entrance {
    /// That of streams of our own.
    fn inner(worker: Rc<Worker>) -> Self {
        Self {
            worker,
            peer: None,
            destination: None,
            secured: None,
            authority: None,
            door: None,
            challenges: None,
            redirect: None,
            gone: Gone::default(),
            paths: Paths::default(),
        }
    }

    /// What an upstream is told of a client by the PROXY protocol. A client that trusted proxies have told of has no port, and
    /// of a unix socket there is nothing to tell.
    fn introduction(&self, client: &Client) -> Header {
        let own = self.peer.filter(|peer| client.address == Some(peer.ip().to_canonical()));
        let source = client.address.map(|address| SocketAddr::new(address, own.map_or(0, |own| own.port())));
        let ends = source.zip(self.destination).map(|(source, destination)| Ends { source, destination });
        Header { ends, tls: self.secured.as_ref().map(|peer| peer.spoken.clone()), authority: self.authority.clone() }
    }
}

/// Serves one stream after the other until one has opened, which has the socket then; `None` when the connection ends
/// without, or when all have ended that it brought at a time.
async fn serve_streams(worker: Rc<Worker>, accepted: Box<Accepted>) -> Option<Open> {
    let Accepted {
        socket,
        peer,
        accepted_at,
        introduction,
        destination,
        tls,
        http2,
        door,
        challenges,
        redirect,
        gone,
        head,
        handshake_timeout,
    } = *accepted;
    let begun = accepted_at;
    let mut accepted_at = Some(accepted_at);
    let Header { tls: told, authority, .. } = introduction.map(|header| *header).unwrap_or_default();
    let (socket, secured, http2) = match tls {
        None => {
            let http2 = match http2 {
                Some(http2) => {
                    Box::pin(begins_http2(&socket, left_of(handshake_timeout, accepted_at))).await.then_some(http2)
                }
                None => None,
            };
            (socket, told.map(Peer::told), http2)
        }
        Some(server) => {
            let left = left_of(handshake_timeout, accepted_at);
            let secured = Box::pin(secure::secure(&worker, socket, &server, left)).await?;
            (secured.transport, Some(secured.peer), http2.filter(|_| secured.speaks_http2))
        }
    };
    let entrance =
        Entrance { worker, peer, destination, secured, authority, door, challenges, redirect, gone, paths: head.paths };
    if let Some(http2) = http2 {
        let left = left_of(handshake_timeout, accepted_at);
        Box::pin(multiplexed::serve(Rc::new(entrance), socket, head, http2, left, begun)).await;
        return None;
    }
    let mut streams = Streams::new(socket, &head);
    loop {
        // The first request begins with the socket, and has the time that the TLS handshake has left.
        let (started, next) = match accepted_at {
            Some(_) => streams.next(left_of(handshake_timeout, accepted_at)).await,
            None => next_of_kept(&entrance.worker, streams, handshake_timeout).await,
        };
        let started = accepted_at.take().unwrap_or(started);
        let (head, mut stream) = match next {
            Ok(next) => next,
            Err(missed) => {
                miss(missed, &entrance, started, handshake_timeout).await;
                return None;
            }
        };
        if entrance.gone.is_so() {
            stream.end_with_it();
        }
        let record = Record::new(&entrance.worker, peer, started);
        match serve_stream(&entrance, head, stream, record).await {
            Ok(open) => return Some(open),
            Err(further) => streams = further?,
        }
    }
}

/// Whether a client in clear text begins to speak HTTP/2 within this time.
async fn begins_http2(socket: &Transport, patience: Duration) -> bool {
    matches!(timeout(patience, speaks_http2(socket)).await, Ok(Ok(true)))
}

/// The next request of a connection that is kept for one, which need not be kept long once the worker is drained.
async fn next_of_kept(
    worker: &Worker,
    streams: Streams,
    patience: Duration,
) -> (Instant, Result<(Parts, Stream), Missed>) {
    let mut next = pin!(streams.next(patience));
    let draining = pin!(worker.draining());
    if let Either::Left((next, _)) = select(next.as_mut(), draining).await {
        return next;
    }
    let began = Instant::now();
    timeout(LAST_WAIT, next).await.unwrap_or((began, Err(Missed::Over)))
}

/// How long a request may still be on its way over a connection that is kept when a drain begins.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// What is left of a time that has begun then, if it has.
fn left_of(whole: Duration, begun: Option<Instant>) -> Duration {
    begun.map_or(whole, |begun| whole.saturating_sub(begun.elapsed()))
}

/// One stream, up to its answer. Where that opens nothing, what the connection has to bring beside it.
async fn serve_stream(
    entrance: &Entrance,
    head: Parts,
    mut stream: Stream,
    mut record: Record<'_>,
) -> Result<Open, Option<Streams>> {
    match agree(entrance, head, &mut stream, &mut record).await {
        Ok(Agreed::Joined(joined)) => joined.answer(stream, record).await.ok_or(None),
        Ok(Agreed::Plain(admitted, hop)) => Err(Box::pin(admitted.exchange(hop, stream, record)).await),
        Ok(Agreed::Message(entered, upstream)) => Err(Box::pin(entered.cross(upstream, stream, record)).await),
        Ok(Agreed::Events(admitted, crossing)) => Err(Box::pin(admitted.stream(crossing, stream, record)).await),
        Err(refusal) => Err(refusal.answer(stream, record).await),
    }
}

/// How far a request has come that is still to be answered.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and lives in a box")]
enum Agreed<'w> {
    /// Two handshakes that agree.
    Joined(Joined<'w>),
    /// A plain request that may be carried to an upstream.
    Plain(Box<Admitted<'w>>, Hop),
    /// A plain request that becomes a message to an upstream.
    Message(Box<Entered<'w>>, Arc<Upstream>),
    /// A plain request that is answered with what an upstream says.
    Events(Box<Admitted<'w>>, Crossing),
}

/// Takes a request as far as two handshakes that agree, of which the client's is still to be answered; a plain one as far as
/// everybody has admitted it.
async fn agree<'w>(
    entrance: &'w Entrance,
    head: Parts,
    stream: &mut Stream,
    record: &mut Record<'w>,
) -> Result<Agreed<'w>, Refusal> {
    let arrived = Arrived::new(entrance, head, record).pass(entrance, record)?;
    let routed = arrived.route(record)?;
    let entered = routed.enter()?;
    let entered = entered.identify(stream, record).await?.authorize(stream).await?;
    if let Goal::Bridge(upstream, crossing) = &entered.goal {
        let (upstream, crossing) = (upstream.clone(), *crossing);
        return Ok(match entered.routed.route.bridge.as_ref().is_some_and(|terms| terms.reply == Reply::Stream) {
            true => Agreed::Events(Box::new(entered.without_body().admit(entrance, record)?), crossing),
            false => Agreed::Message(Box::new(entered), upstream),
        });
    }
    let admitted = entered.admit(entrance, record)?;
    let opening = match &admitted.wish {
        Wish::WebSocket(opening) => opening.clone(),
        Wish::Answer(hop) => {
            let hop = hop.clone();
            return Ok(Agreed::Plain(Box::new(admitted), hop));
        }
    };
    if admitted.route.application.is_some() {
        // Boxed, because most routes have an upstream.
        let mut consulting = Box::pin(admitted.consult(opening, record));
        return stream.during(consulting.as_mut()).await.map_err(|_| Refusal::ClientGone)?.map(Agreed::Joined);
    }
    let connecting = pin!(admitted.connect(opening, record));
    stream.during(connecting).await.map_err(|_| Refusal::ClientGone)?.map(Agreed::Joined)
}

/// Counts and logs that no request has come that could be served.
async fn miss(missed: Missed, entrance: &Entrance, started: Instant, patience: Duration) {
    let record = || Record::new(&entrance.worker, entrance.peer, started);
    match missed {
        Missed::Over => {}
        Missed::Unasked => {
            let worker = &entrance.worker;
            worker.unrouted().of(worker.index()).handshake(HandshakeOutcome::NoRequest);
        }
        Missed::Left => record().left(),
        Missed::Late(status) => record().late(patience, status),
        Missed::Unreadable(unreadable) => {
            let id = record().malformed(unreadable.error());
            unreadable.answer(&id).await;
        }
    }
}
