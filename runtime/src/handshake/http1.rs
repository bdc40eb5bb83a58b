//! HTTP/1.1 by hyper on an accepted socket, as a sequence of calls instead of a service.
//!
//! hyper parses and writes; it asks its service for the answer to a request, and ours is a slot that the session
//! empties and fills. One request is under way at a time, and nothing runs unless one of the methods is being polled.

mod watched;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderMap;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use self::watched::Watched;
use super::body::AnswerBody;
use super::heads::Heads;
use super::requests::{HeadLimits, ReadError, WriteError, last_words};
use crate::http::RelayError;
use crate::reactor::{Sleep, sleep};

/// The requests of one accepted connection, see [`Requests`](super::Requests).
pub(super) struct Http<S> {
    connection: Connection<S>,
    limits: HeadLimits,
    exchange: Rc<Exchange>,
    /// The body of the request under way, whoever reads it. Dropping it makes hyper stop reading, and then it may think
    /// itself done before its answer is written; so it stays until then.
    body: Option<Rc<RefCell<Incoming>>>,
    /// Whether the last request's body was not read to its end.
    is_cut: bool,
    ended: bool,
}

/// hyper's connection, or what is left of it when it could not read a request.
#[expect(clippy::large_enum_variant, reason = "the large one is the usual one, and stands in a box")]
enum Connection<S> {
    Open(http1::Connection<TokioIo<Watched<S>>, Handover>),
    Over {
        stream: S,
        read: Bytes,
    },
    /// Between the two.
    Ending,
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Http<S> {
    /// Starts to speak HTTP/1.1 on a connection.
    pub(super) fn new(stream: S, limits: &HeadLimits) -> Self {
        let exchange = Rc::new(Exchange::default());
        let watched = Watched::new(stream, Rc::clone(&exchange));
        let mut builder = http1::Builder::new();
        // hyper has room for as many as it takes by itself, and makes it anew for each head otherwise.
        if limits.max_header_fields != HYPER_FIELDS {
            builder.max_headers(limits.max_header_fields);
        }
        let connection = builder
            .max_header_size(limits.max_header_bytes)
            .max_buf_size(limits.max_header_bytes.max(SMALLEST_BUFFER))
            .serve_connection(TokioIo::new(watched), Handover(Rc::clone(&exchange)));
        let connection = Connection::Open(connection);
        Self { connection, limits: limits.clone(), exchange, body: None, is_cut: false, ended: false }
    }

    /// The next request; `None` when the client has closed the connection between requests. Its body is not read before
    /// somebody asks [for it](Self::body).
    ///
    /// Cancel safe. Bounding the time it takes is the caller's business.
    pub(super) async fn next(&mut self) -> Result<Option<Parts>, ReadError> {
        poll_fn(|context| {
            let ended = self.poll(context);
            if let Some((mut parts, body)) = self.exchange.request.take() {
                self.body = (!body.is_end_stream()).then(|| Rc::new(RefCell::new(body)));
                let oddities = self.exchange.heads.borrow_mut().take();
                if oddities.is_odd() {
                    parts.extensions.insert(oddities);
                }
                return Poll::Ready(Ok(Some(parts)));
            }
            ended.map(|ended| match ended {
                Ok(()) => Ok(None),
                Err(error) if error.is_parse_too_large() => Err(self.excess()),
                Err(error) if error.is_parse() => Err(ReadError::Malformed(error)),
                Err(error) => Err(ReadError::Broken(error)),
            })
        })
        .await
    }

    /// When the first bytes came since the last answer.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.exchange.read_at.get()
    }

    /// The body of the request under way. It moves while the connection is driven.
    pub(super) fn body(&self) -> Option<Upload> {
        Some(Upload { body: self.body.clone()?, exchange: Rc::clone(&self.exchange) })
    }

    /// Whether the body of the last request was not read to its end: then the client may be sending it still.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Answers the request with something other than 101, and returns when the answer is written; meanwhile what stands
    /// `beside` it is polled, as what brings the answer's body. The connection goes on with [`Http::next`], which says
    /// whether it stays open.
    pub(super) async fn answer(
        &mut self,
        response: Response<AnswerBody>,
        beside: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), WriteError> {
        self.exchange.reply(response);
        let mut beside = Some(beside);
        let mut stalled: Option<(u64, Sleep)> = None;
        let written = poll_fn(|context| {
            if beside.as_mut().is_some_and(|beside| beside.as_mut().poll(context).is_ready()) {
                beside = None;
            }
            if let Poll::Ready(ended) = self.poll(context) {
                return Poll::Ready(match ended {
                    Err(error) if error.is_user() => Err(WriteError::Body(error)),
                    Err(error) => Err(WriteError::Broken(io::Error::other(error))),
                    Ok(()) if self.exchange.is_written() => Ok(()),
                    Ok(()) => Err(WriteError::Closed),
                });
            }
            if self.exchange.is_written() {
                return Poll::Ready(Ok(()));
            }
            // Who reads nothing is not waited for; who is sent nothing has nothing to read.
            if !self.exchange.blocked.get() {
                stalled = None;
                return Poll::Pending;
            }
            let count = self.exchange.written.get();
            if stalled.as_ref().is_none_or(|(before, _)| *before != count) {
                stalled = Some((count, sleep(STALL)));
            }
            let Some((_, patience)) = &mut stalled else { return Poll::Pending };
            Pin::new(patience).poll(context).map(|()| Err(WriteError::Stalled))
        })
        .await;
        self.is_cut = self.body.take().is_some() && !self.exchange.is_read.replace(false);
        self.exchange.is_answering.set(false);
        self.exchange.read_at.set(None);
        written
    }

    /// Which limit the head exceeds that hyper gave up. What was read of it is all there still.
    fn excess(&mut self) -> ReadError {
        let (stream, read) = std::mem::replace(&mut self.connection, Connection::Ending).into_parts();
        let mut lines = vec![httparse::EMPTY_HEADER; self.limits.max_header_fields];
        let parsed = httparse::Request::new(&mut lines).parse(&read);
        let line = read.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let target = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        let error = match parsed {
            Err(httparse::Error::TooManyHeaders) => ReadError::TooManyFields(self.limits.max_header_fields),
            _ if target.len() > LONGEST_TARGET && line.len() <= self.limits.max_header_bytes => {
                ReadError::TargetTooLong
            }
            _ => ReadError::TooLarge(self.limits.max_header_bytes),
        };
        if let Some(stream) = stream {
            self.connection = Connection::Over { stream, read };
        }
        error
    }

    /// Ready when the client has left while it waits for its answer.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.poll(context).map(|_| ())
    }

    /// Answers the request, which must be a valid opening handshake, with 101 and these fields, and gives the socket
    /// back together with what was read past the request.
    pub(super) async fn switch(mut self, headers: HeaderMap) -> Result<(S, Bytes), WriteError> {
        let mut response = Response::new(AnswerBody::Empty);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        *response.headers_mut() = headers;
        self.exchange.reply(response);
        poll_fn(|context| self.poll(context)).await.map_err(|error| WriteError::Broken(io::Error::other(error)))?;
        if !self.exchange.is_written() {
            return Err(WriteError::Closed);
        }
        let (Some(stream), read) = self.connection.into_parts() else { return Err(WriteError::Closed) };
        // An empty slice would keep the whole read buffer alive.
        let leftover = if read.is_empty() { Bytes::new() } else { read };
        Ok((stream, leftover))
    }

    /// Ends a connection whose request does not come: with 408 when a part of its head has (RFC 9110 section 15.5.9),
    /// which is also the answer. Bounding the time is the caller's business.
    pub(super) async fn time_out(self) -> bool {
        let (Some(mut stream), read) = self.connection.into_parts() else { return false };
        let begun = !read.is_empty();
        if begun {
            // Who does not read it either has lost nothing.
            let answer = last_words(StatusCode::REQUEST_TIMEOUT, None, "the request did not come in time");
            let _ = stream.write_all(&answer).await;
        }
        let _ = stream.shutdown().await;
        begun
    }

    /// The socket, for a connection whose last answer is written, or to be written by other hands.
    pub(super) fn into_inner(self) -> Option<S> {
        self.connection.into_parts().0
    }

    /// Drives the connection; ready when it has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        let Connection::Open(connection) = &mut self.connection else { return Poll::Ready(Ok(())) };
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let ended = ready!(connection.poll_without_shutdown(context));
        self.ended = true;
        Poll::Ready(ended)
    }
}

impl<S> std::fmt::Debug for Http<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Http").field("ended", &self.ended).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Connection<S> {
    /// The socket, and what was read from it and not used.
    fn into_parts(self) -> (Option<S>, Bytes) {
        match self {
            Self::Open(connection) => {
                let parts = connection.into_parts();
                (Some(parts.io.into_inner().into_stream()), parts.read_buf)
            }
            Self::Over { stream, read } => (Some(stream), read),
            Self::Ending => (None, Bytes::new()),
        }
    }
}

/// What hyper and the session hand each other.
#[derive(Default)]
pub(super) struct Exchange {
    /// Whether the head of the answer was written, or begun.
    answered: Cell<bool>,
    request: Cell<Option<(Parts, Incoming)>>,
    response: Cell<Option<Response<Reported>>>,
    body: Cell<Progress>,
    blocked: Cell<bool>,
    /// Whether what hyper writes is an answer of the session's. Its own, to a head that it cannot read, are empty: they go
    /// nowhere, and [`Requests::reject`](super::Requests::reject) has better ones.
    is_answering: Cell<bool>,
    /// How many bytes the socket has taken.
    written: Cell<u64>,
    /// Whether the body of the request was read to its end.
    is_read: Cell<bool>,
    heads: RefCell<Heads>,
    /// When the first bytes came since the last answer.
    read_at: Cell<Option<Instant>>,
}

/// How far the body of the answer has come.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Progress {
    #[default]
    Waiting,
    /// hyper has all of it.
    Taken,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    /// Puts an answer where hyper finds it.
    fn reply(self: &Rc<Self>, response: Response<AnswerBody>) {
        self.answered.set(false);
        self.response.set(Some(response.map(|body| Reported { body, exchange: Rc::downgrade(self) })));
        self.is_answering.set(true);
        // Last: an answer that was never taken reports when it makes room for this one.
        self.body.set(Progress::Waiting);
    }

    /// Whether all of the answer is in the socket: hyper has taken its end, and its last attempt to write went through.
    fn is_written(&self) -> bool {
        self.body.get() == Progress::Taken && !self.blocked.get()
    }
}

/// The body of a request, which the connection keeps until its answer is written.
#[derive(Debug)]
pub struct Upload {
    body: Rc<RefCell<Incoming>>,
    exchange: Rc<Exchange>,
}

impl Upload {
    pub(super) fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        // From here on hyper may have `100 Continue` to say.
        self.exchange.is_answering.set(true);
        let frame = ready!(Pin::new(&mut *self.body.borrow_mut()).poll_frame(context));
        self.exchange.is_read.set(frame.is_none() || self.is_end_stream());
        Poll::Ready(frame)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.borrow().is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.borrow().size_hint()
    }
}

/// hyper's service: puts the request where [`Requests::next`] finds it.
struct Handover(Rc<Exchange>);

impl Service<Request<Incoming>> for Handover {
    type Response = Response<Reported>;
    type Error = Infallible;
    type Future = Reply;

    fn call(&self, request: Request<Incoming>) -> Reply {
        let (mut parts, body) = request.into_parts();
        // hyper's handle for an upgrade, which we do without.
        parts.extensions.clear();
        self.0.request.set(Some((parts, body)));
        Reply(Rc::clone(&self.0))
    }
}

/// Ready when the session has answered. It needs no waker: whoever fills the slot polls the connection next.
struct Reply(Rc<Exchange>);

impl Future for Reply {
    type Output = Result<Response<Reported>, Infallible>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.response.take().map_or(Poll::Pending, |response| Poll::Ready(Ok(response)))
    }
}

/// A body that reports when hyper is done with it. Weak, because it waits in the exchange itself.
struct Reported {
    body: AnswerBody,
    exchange: Weak<Exchange>,
}

impl Body for Reported {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Reported {
    fn drop(&mut self) {
        if let Some(exchange) = self.exchange.upgrade() {
            exchange.body.set(Progress::Taken);
        }
    }
}

/// How long a client may take to read a part of an answer that waits for it.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// The most fields that hyper takes if it is not told.
const HYPER_FIELDS: usize = 100;

/// The smallest buffer hyper accepts.
const SMALLEST_BUFFER: usize = 8192;

/// The bytes of the longest target that a `Uri` holds.
const LONGEST_TARGET: usize = 65_534;
