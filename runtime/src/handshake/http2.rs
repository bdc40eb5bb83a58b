//! The streams of an accepted connection that speaks HTTP/2 (RFC 9113), many at a time, and WebSockets by the extended
//! `CONNECT` of RFC 8441.
//!
//! The `h2` crate has the frames, the states and the windows. Here is what bounds it: how much is read before others have
//! their turn, how many streams there are, how far each may send ahead, and that small frames which nobody reads are taken
//! out of its queues, where each costs many times what it carries. Whoever has the connection drives it by asking for the next
//! stream; the streams themselves are served by tasks of their own.

mod exchange;
mod request;

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::server::{Builder, Connection};
use http::request::Parts;

pub use exchange::Exchange;
pub(super) use request::Extended;

use super::requests::{HeadLimits, ReadError};
use super::stream::Stream;
use crate::reactor::timeout;
use crate::transport::{Http2Limits, Inlet, Transport, Way, Wire};

/// A connection that brings streams, many at a time.
pub struct Multiplex {
    connection: Connection<Wire, Bytes>,
    wire: Rc<Way>,
    limits: HeadLimits,
    /// What comes on the streams, of those that have not ended.
    inlets: Vec<Weak<Inlet>>,
    /// How many there were.
    streams: u64,
    /// How many of them the client has left before they were answered.
    abandoned: Rc<Cell<u64>>,
    /// Whether it was told that this was too much.
    is_calmed: bool,
    is_leaving: bool,
}

/// A request on a stream of its own.
pub type Request = Result<(Parts, Stream), (ReadError, Stream)>;

/// Why a connection has ended, or never came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parted {
    /// One of the two has left without complaint.
    Left,
    /// It did not begin with the preface.
    NoPreface,
    /// The preface has not come in time.
    Late,
    /// The client has broken the rules of HTTP/2.
    Violation,
    /// The client has asked more of it than it may (RFC 9113 section 10.5).
    Calmed,
}

impl Multiplex {
    /// Waits for the client's preface, for so long, and says ours.
    ///
    /// # Errors
    /// When it does not come.
    pub async fn open(
        socket: Transport,
        head: &HeadLimits,
        limits: &Http2Limits,
        patience: Duration,
    ) -> Result<Self, Parted> {
        let wire = Rc::new(Way::new(socket));
        let list_size = u32::try_from(head.max_header_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
        let window = limits.max_streams.saturating_mul(limits.stream_window).clamp(1, LARGEST_WINDOW);
        let handshake = Builder::new()
            .enable_connect_protocol()
            .max_concurrent_streams(limits.max_streams)
            .initial_window_size(limits.stream_window)
            // So large that no stream can keep another from sending.
            .initial_connection_window_size(window)
            // A head that is a little too large is answered, which is for us to do.
            .max_header_list_size(list_size)
            .max_send_buffer_size(MOST_UNSENT)
            .data_frame_budget(SMALL_FRAMES)
            .handshake(Wire::new(wire.clone()));
        let mut handshake = Box::pin(handshake);
        let done = poll_fn(|context| {
            let done = handshake.as_mut().poll(context);
            // What it has said leaves, whatever comes.
            let _ = wire.poll_flush(context);
            done
        });
        let connection = match timeout(patience, done).await {
            Err(_) => return Err(Parted::Late),
            Ok(Err(error)) if error.is_io() => return Err(Parted::Left),
            Ok(Err(_)) => return Err(Parted::NoPreface),
            Ok(Ok(connection)) => connection,
        };
        Ok(Self {
            connection,
            wire,
            limits: head.clone(),
            inlets: Vec::new(),
            streams: 0,
            abandoned: Rc::default(),
            is_calmed: false,
            is_leaving: false,
        })
    }

    /// The next request, while all streams go on: it has to be asked for as long as there are streams.
    ///
    /// # Errors
    /// When there will be none, and no stream is left.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Request, Parted>> {
        if !self.is_calmed && self.is_abused() {
            self.is_calmed = true;
            self.connection.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
        }
        // Before more is read: what has a reader, that has taken on by now.
        if self.wire.has_brought(MUCH) {
            self.inlets.retain(|inlet| match inlet.upgrade() {
                Some(inlet) => {
                    inlet.gather();
                    true
                }
                None => false,
            });
        }
        let polled = self.connection.poll_accept(context);
        // One that is broken is found to be when it is read.
        let _ = self.wire.poll_flush(context);
        let (request, respond) = match ready!(polled) {
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => return Poll::Ready(Err(parted(&error))),
            None if self.is_calmed => return Poll::Ready(Err(Parted::Calmed)),
            None => return Poll::Ready(Err(Parted::Left)),
        };
        let (mut head, body) = request.into_parts();
        let inlet = Rc::new(Inlet::new(body));
        self.inlets.push(Rc::downgrade(&inlet));
        self.streams += 1;
        let stream = Stream::Http2(Box::new(Exchange::new(&head, respond, inlet, self.abandoned.clone())));
        let limited = request::limit(&head, &self.limits);
        request::settle(&mut head);
        Poll::Ready(Ok(match limited {
            Ok(()) => Ok((head, stream)),
            Err(error) => Err((error, stream)),
        }))
    }

    /// Whether the client opens streams in order to reset them: each has an upstream asked in vain.
    fn is_abused(&self) -> bool {
        let abandoned = self.abandoned.get();
        abandoned > MOST_ABANDONED && abandoned > self.streams / 2
    }

    /// Says that no further stream is served. The connection ends when the last one has.
    pub fn leave(&mut self) {
        if !std::mem::replace(&mut self.is_leaving, true) {
            self.connection.graceful_shutdown();
        }
    }

    /// Whether it has said so.
    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// Ends the connection, and gives the client the time to hear the last that it was told.
    pub async fn close(self) {
        let Self { connection, wire, .. } = self;
        // Its streams learn of it here.
        drop(connection);
        let _ = timeout(LINGER, Box::pin(wire.drain())).await;
    }
}

impl fmt::Debug for Multiplex {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Multiplex").field("is_leaving", &self.is_leaving).finish_non_exhaustive()
    }
}

fn parted(error: &h2::Error) -> Parted {
    match error.reason() {
        _ if error.is_io() || error.is_remote() => Parted::Left,
        Some(Reason::ENHANCE_YOUR_CALM) => Parted::Calmed,
        Some(Reason::NO_ERROR) => Parted::Left,
        _ => Parted::Violation,
    }
}

/// Whether a client begins to speak HTTP/2 in clear text, without reading what it has said; `false` once it has said anything
/// else (RFC 9113 section 3.3).
///
/// # Errors
/// When its connection is broken.
pub async fn speaks_http2(socket: &Transport) -> io::Result<bool> {
    let Transport::Socket(socket) = socket else { return Ok(false) };
    poll_fn(|context| {
        loop {
            let mut said = [0; PREFACE.len()];
            let count = ready!(socket.poll_peek(context, &mut said))?;
            let said = said.get(..count).unwrap_or_default();
            if count == 0 || !PREFACE.starts_with(said) {
                return Poll::Ready(Ok(false));
            }
            if count == PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
            socket.await_more();
        }
    })
    .await
}

/// What a client begins with (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The largest window that there is (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// What a stream has of ours before the socket has taken it.
const MOST_UNSENT: usize = 64 << 10;

/// So much of what came, frames may be waiting for their readers where each is costly.
const MUCH: usize = 64 << 10;

/// What small frames may cost that nobody has taken, by the count of `h2`: 256 for each, less what it carries. Between two
/// [gatherings](Inlet::gather) no more can come than twice [`MUCH`], in frames of ten bytes.
const SMALL_FRAMES: usize = 4 << 20;

/// How many streams a client may leave unanswered in any case. Beyond it, no more than half of them.
const MOST_ABANDONED: u64 = 100;

/// How long a client may take to close its socket behind our last word.
const LINGER: Duration = Duration::from_secs(2);
