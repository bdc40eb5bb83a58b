//! One request of a connection, and its answer.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use hyper::body::{Body, Frame};

use crate::handshake::body::AnswerBody;
use crate::handshake::requests::{ClientGone, WriteError};
use crate::handshake::stream::Tunnel;
use crate::http::fields;
use crate::reactor::timeout;
use crate::transport::{Http2, Inlet, Transport};

/// A request under way. Dropping it resets its stream.
pub struct Exchange {
    respond: SendResponse<Bytes>,
    inlet: Rc<Inlet>,
    /// Whether the answer has no body, whatever it says of one.
    is_head: bool,
    /// Counted when it is dropped.
    unanswered: Unanswered,
}

/// Counts a request that nobody has answered.
struct Unanswered(Option<Rc<Cell<u64>>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(count) = &self.0 {
            count.set(count.get() + 1);
        }
    }
}

impl Exchange {
    pub(super) fn new(head: &Parts, respond: SendResponse<Bytes>, inlet: Rc<Inlet>, abandoned: Rc<Cell<u64>>) -> Self {
        Self { respond, inlet, is_head: head.method == Method::HEAD, unanswered: Unanswered(Some(abandoned)) }
    }

    /// Runs a future while the client waits for its answer.
    pub(in crate::handshake) async fn during<F: Future>(
        &mut self,
        mut future: Pin<&mut F>,
    ) -> Result<F::Output, ClientGone> {
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.respond.poll_reset(context).map(|_| Err(ClientGone)),
        })
        .await
    }

    /// The body of the request.
    pub(in crate::handshake) fn body(&self) -> Rc<Inlet> {
        self.inlet.clone()
    }

    /// Answers it, and polls meanwhile what stands `beside` it. Who takes nothing for too long is not waited for.
    pub(in crate::handshake) async fn answer(
        self,
        response: Response<AnswerBody>,
        beside: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), WriteError> {
        let mut beside = Some(beside);
        let mut answering = pin!(self.send(response));
        poll_fn(|context| {
            if beside.as_mut().is_some_and(|beside| beside.as_mut().poll(context).is_ready()) {
                beside = None;
            }
            answering.as_mut().poll(context)
        })
        .await
    }

    async fn send(mut self, response: Response<AnswerBody>) -> Result<(), WriteError> {
        self.unanswered.0 = None;
        let (mut head, body) = response.into_parts();
        fields::remove_connection_specific(&mut head.headers);
        head.version = Version::HTTP_2;
        if let Some(length) = body.size_hint().exact().filter(|_| !self.is_head && has_length(head.status)) {
            head.headers.entry(header::CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        let is_empty = self.is_head || body.is_end_stream();
        let response = Response::from_parts(head, ());
        let mut stream = self.respond.send_response(response, is_empty).map_err(|_| WriteError::Closed)?;
        if is_empty {
            return Ok(());
        }
        let sent = send_body(body, &mut stream).await;
        if sent.is_err() {
            stream.send_reset(Reason::INTERNAL_ERROR);
        }
        sent
    }

    /// Accepts it: from here on both sides send frames of the WebSocket protocol (RFC 8441 section 5).
    pub(in crate::handshake) fn accept(mut self, mut fields: HeaderMap) -> Option<Tunnel> {
        self.unanswered.0 = None;
        fields::remove_connection_specific(&mut fields);
        let mut response = Response::new(());
        *response.headers_mut() = fields;
        let send = self.respond.send_response(response, false).ok()?;
        let transport = Transport::Http2(Box::new(Http2::new(send, self.inlet)));
        Some(Tunnel { transport, leftover: Bytes::new(), status: StatusCode::OK })
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Exchange").field("stream", &self.respond.stream_id()).finish_non_exhaustive()
    }
}

/// Whether an answer of this status may say how long its body is (RFC 9110 section 8.6), where it has one.
fn has_length(status: StatusCode) -> bool {
    !status.is_informational() && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

/// Sends a body as the client takes it.
async fn send_body(mut body: AnswerBody, stream: &mut SendStream<Bytes>) -> Result<(), WriteError> {
    while let Some(frame) = poll_fn(|context| poll_body(&mut body, stream, context)).await {
        match frame?.into_data().map_err(Frame::into_trailers) {
            Ok(bytes) => send_bytes(bytes, stream).await?,
            Err(Ok(trailers)) => return stream.send_trailers(trailers).map_err(|_| WriteError::Closed),
            Err(Err(_)) => {}
        }
    }
    stream.send_data(Bytes::new(), true).map_err(|_| WriteError::Closed)
}

/// The next part of a body, as long as somebody wants it.
fn poll_body(
    body: &mut AnswerBody,
    stream: &mut SendStream<Bytes>,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Bytes>, WriteError>>> {
    if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
        return Poll::Ready(frame.map(|frame| frame.map_err(WriteError::Relayed)));
    }
    stream.poll_reset(context).map(|_| Some(Err(WriteError::Closed)))
}

async fn send_bytes(mut bytes: Bytes, stream: &mut SendStream<Bytes>) -> Result<(), WriteError> {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let room = match stream.capacity() {
            0 => {
                let room = timeout(STALL, poll_fn(|context| stream.poll_capacity(context))).await;
                let room = room.map_err(|_| WriteError::Stalled)?;
                room.and_then(Result::ok).ok_or(WriteError::Closed)?
            }
            room => room,
        };
        let part = bytes.split_to(room.min(bytes.len()));
        stream.send_data(part, false).map_err(|_| WriteError::Closed)?;
    }
    Ok(())
}

/// How long a client may take to have room for more of its answer.
const STALL: Duration = Duration::from_secs(30);
