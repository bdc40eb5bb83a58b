//! A connection to an endpoint that carries plain requests, one after the other.
//!
//! A request without a body is written as it is, and an answer that comes with its length is read as it is. All else is
//! hyper's: for the time of one request, which it sends itself, or believes to when its answer turns out to be one for it.
//! Nothing of that runs unless somebody drives it, as who waits for its answer does.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header;
use http::uri::PathAndQuery;
use http::{Response, StatusCode, response};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::asked::Asked;
use super::upload::{Lent, Upload};
use crate::http::{Content, Replay, Streamed, fields, has_content, poll_read_once};
use crate::reactor::after_others;
use crate::transport::Transport;
use crate::upstream::{Address, DialError};

/// A connection and the request on it.
#[derive(Debug)]
pub struct Link {
    stage: Stage,
    /// How long the endpoint keeps it without a request, by its own word.
    pub(super) hinted: Option<Duration>,
}

/// What is on it.
#[derive(Debug)]
enum Stage {
    /// Nothing.
    Free(Transport),
    /// An answer of known length, which its reader has, too.
    Answering(Rc<RefCell<Content>>),
    /// Whatever hyper makes of it.
    Hyper(Box<Hyper>),
    /// Between two of these, or broken.
    Over,
}

struct Hyper {
    sender: http1::SendRequest<Lent>,
    connection: http1::Connection<TokioIo<Replay<Transport>>, Lent>,
    has_ended: bool,
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: DialError,
    /// Whether the endpoint may have got some of it.
    pub(super) was_sent: bool,
}

impl Link {
    /// That over a connection on which nothing is.
    pub(super) fn new(transport: Transport) -> Self {
        Self { stage: Stage::Free(transport), hinted: None }
    }

    /// Sends a request, and gives the answer when its head has come.
    pub(super) async fn ask(
        &mut self,
        asked: &Asked,
        target: &PathAndQuery,
        address: &Address,
        upload: &Rc<Upload>,
    ) -> Result<Response<Streamed>, Unanswered> {
        let Stage::Free(mut transport) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Err(Unanswered { error: DialError::Cut(io::ErrorKind::NotConnected.into()), was_sent: false });
        };
        let replay = match asked.written(target, address, upload) {
            None => Replay::new(Bytes::new(), transport),
            Some(wire) => {
                let read = ask_directly(&mut transport, &wire).await?;
                match parsed(&read) {
                    Some((head, length)) => {
                        let start = read.slice(length.head..);
                        let content = Rc::new(RefCell::new(Content::new(transport, start, length.content)));
                        self.stage = Stage::Answering(Rc::clone(&content));
                        return Ok(Response::from_parts(head, Streamed::Content(content)));
                    }
                    None => Replay::of_answer(read, transport),
                }
            }
        };
        Box::pin(self.ask_by_hyper(replay, asked, target, address, upload)).await
    }

    async fn ask_by_hyper(
        &mut self,
        replay: Replay<Transport>,
        asked: &Asked,
        target: &PathAndQuery,
        address: &Address,
        upload: &Rc<Upload>,
    ) -> Result<Response<Streamed>, Unanswered> {
        let hyper = Hyper::new(replay).await;
        let mut hyper = hyper.map_err(|error| Unanswered { error: DialError::broken(error), was_sent: false })?;
        let answer = hyper.ask(asked.at(target, address, upload)).await?;
        self.stage = Stage::Hyper(Box::new(hyper));
        Ok(answer.map(Streamed::Hyper))
    }

    /// Moves what is on it until it ends.
    pub async fn drive(&mut self) {
        poll_fn(|context| match &mut self.stage {
            Stage::Hyper(hyper) => hyper.poll_drive(context),
            // Who reads the answer has it move.
            Stage::Free(_) | Stage::Answering(_) | Stage::Over => Poll::Pending,
        })
        .await;
    }

    /// The connection, if all of the last answer was read and a next request can be sent over it, as far as can be seen.
    pub(super) fn into_free(self, context: &mut Context<'_>) -> Option<Transport> {
        let mut transport = match self.stage {
            Stage::Free(transport) => transport,
            Stage::Answering(content) => Rc::into_inner(content)?.into_inner().into_rest()?,
            Stage::Hyper(hyper) => hyper.into_free(context)?,
            Stage::Over => return None,
        };
        is_silent(&mut transport, context).then_some(transport)
    }
}

/// Whether nothing has come that nobody has asked for, nor the end.
pub(super) fn is_silent(transport: &mut Transport, context: &mut Context<'_>) -> bool {
    transport.poll_readable(context).is_pending() || transport.poll_lend(context, &mut [0; 1]).is_pending()
}

impl Hyper {
    async fn new(replay: Replay<Transport>) -> hyper::Result<Self> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MOST_READ).title_case_headers(true);
        let (sender, connection) = builder.handshake(TokioIo::new(replay)).await?;
        Ok(Self { sender, connection, has_ended: false })
    }

    async fn ask(&mut self, request: http::Request<Lent>) -> Result<Response<hyper::body::Incoming>, Unanswered> {
        let Self { sender, connection, has_ended } = self;
        let mut answer = pin!(sender.try_send_request(request));
        poll_fn(|context| {
            // How it ended, the answer tells.
            *has_ended = *has_ended || Pin::new(&mut *connection).poll(context).is_ready();
            let answer = answer.as_mut().poll(context);
            answer.map_err(|mut error| Unanswered {
                was_sent: error.take_message().is_none(),
                error: DialError::broken(error.into_error()),
            })
        })
        .await
    }

    /// Ready when it has ended.
    fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.has_ended = self.has_ended || Pin::new(&mut self.connection).poll(context).is_ready();
        if self.has_ended { Poll::Ready(()) } else { Poll::Pending }
    }

    /// What it takes its requests to, if it would take a next one.
    fn into_free(mut self, context: &mut Context<'_>) -> Option<Transport> {
        if self.poll_drive(context).is_ready() || !self.sender.is_ready() {
            return None;
        }
        let parts = self.connection.into_parts();
        let (transport, rest) = parts.io.into_inner().resume(parts.read_buf);
        rest.is_empty().then_some(transport)
    }
}

impl std::fmt::Debug for Hyper {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Hyper").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

/// Sends a request, and gives what the first read brings of its answer.
async fn ask_directly(transport: &mut Transport, wire: &[u8]) -> Result<Bytes, Unanswered> {
    let mut sent = 0;
    after_others().await;
    let writing = poll_fn(|context| {
        while let Some(rest) = wire.get(sent..).filter(|rest| !rest.is_empty()) {
            sent += ready!(transport.poll_send(context, rest))?;
        }
        transport.poll_flush(context)
    });
    let written = writing.await;
    written.map_err(|error| Unanswered { error: DialError::Cut(error), was_sent: sent > 0 })?;
    let read = poll_fn(|context| poll_read_once(transport, context, Bytes::copy_from_slice)).await;
    let read = read.and_then(|read| match read.is_empty() {
        true => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "it was closed before there was an answer")),
        false => Ok(read),
    });
    read.map_err(|error| Unanswered { error: DialError::Cut(error), was_sent: true })
}

/// How long the parts of an answer are.
struct Length {
    head: usize,
    content: u64,
}

/// The head of an answer that is framed by its length, on a connection that goes on after it.
fn parsed(read: &Bytes) -> Option<(response::Parts, Length)> {
    let mut lines = [httparse::EMPTY_HEADER; fields::MOST];
    let mut answer = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(head) = answer.parse(read).ok()? else { return None };
    let status = StatusCode::from_u16(answer.code?).ok()?;
    // Some have no content, whatever they say, and some are not the last.
    if answer.version != Some(1) || !has_content(status) {
        return None;
    }
    let headers = fields::parsed(read, answer.headers)?;
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let (Some(length), None) = (lengths.next(), lengths.next()) else { return None };
    let content = fields::length(length)?;
    let goes_on =
        !headers.contains_key(header::TRANSFER_ENCODING) && !fields::has_token(&headers, &header::CONNECTION, "close");
    // What comes unasked is no content.
    let came = u64::try_from(read.len() - head).ok()?;
    if !goes_on || came > content {
        return None;
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, headers);
    Some((parts, Length { head, content }))
}

/// The most that is read of an answer at once: its head, or a part of its body.
const MOST_READ: usize = 64 << 10;
