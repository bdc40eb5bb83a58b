//! An upstream's answer other than 101, on its way to the client.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{StatusCode, response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use thiserror::Error;

use super::fields;
use crate::reactor::{Sleep, sleep};
use crate::transport::Inlet;

/// An upstream's refusal: status and end-to-end fields as it sent them, and the body as it comes.
#[derive(Debug)]
pub struct Answer {
    /// Status and fields, without those that end at this hop.
    pub head: response::Parts,
    /// The body; dropping it closes the upstream's connection.
    pub body: RelayedBody,
}

impl Answer {
    /// Leaves out of an upstream's answer what ends at this hop.
    pub fn new(mut head: response::Parts, body: RelayedBody) -> Self {
        end_to_end(&mut head);
        Self { head, body }
    }

    /// Whether another endpoint may do better.
    pub fn is_retryable(&self) -> bool {
        is_unwell(self.head.status)
    }
}

/// Leaves out of the head of an answer what ends at this hop.
pub fn end_to_end(head: &mut response::Parts) {
    let headers = &mut head.headers;
    // Its length is told by the chunks then, whatever else is said (RFC 9112 section 6.3).
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
    }
    // Which protocols and versions the server speaks is for the client to know (RFC 9110 section 15.5.22, RFC 6455
    // section 4.4).
    let protocols = fields::combined(headers, &header::UPGRADE).filter(|_| head.status == StatusCode::UPGRADE_REQUIRED);
    let versions = fields::combined(headers, &header::SEC_WEBSOCKET_VERSION);
    fields::remove_for_hop(headers);
    if let Some(protocols) = protocols {
        headers.insert(header::UPGRADE, protocols);
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    if let Some(versions) = versions {
        headers.insert(header::SEC_WEBSOCKET_VERSION, versions);
    }
    // What hyper left for itself: the handle for an upgrade, which does not happen.
    head.extensions.clear();
}

/// Whether a status is one by which a gateway or an overloaded server says that another endpoint may do better.
pub fn is_unwell(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}

/// The body of an [`Answer`]: it streams, so it needs no memory of its own, and it is cut off at a deadline.
pub struct RelayedBody {
    connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>>>>>,
    body: Source,
    deadline: Sleep,
}

/// Where it comes from.
#[derive(Debug)]
enum Source {
    Http1(Incoming),
    Http2(Rc<Inlet>),
}

/// Why an answer's body ended early. The client sees it cut, by its length or its missing last chunk.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The time for the body ran out.
    #[error("the upstream took too long over the body of its answer")]
    Timeout,
    /// The proxy has ended it.
    #[error("the answer was ended")]
    Ended,
    /// The connection ended within the body, or its framing is wrong.
    #[error("the upstream broke off the body of its answer: {0}")]
    Upstream(#[from] hyper::Error),
    /// The same, where hyper does not read it.
    #[error("the upstream broke off the body of its answer: {0}")]
    Stream(io::Error),
}

impl RelayedBody {
    /// A body that comes over this connection; `None` when the connection has already ended.
    pub fn new(
        connection: Option<Pin<Box<dyn Future<Output = hyper::Result<()>>>>>,
        body: Incoming,
        limit: Duration,
    ) -> Self {
        Self { connection, body: Source::Http1(body), deadline: sleep(limit) }
    }

    /// A body that comes on a stream of HTTP/2.
    pub fn of_stream(inlet: Rc<Inlet>, limit: Duration) -> Self {
        Self { connection: None, body: Source::Http2(inlet), deadline: sleep(limit) }
    }
}

impl Body for RelayedBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        // Nobody else drives the connection. How it ended is told by the body.
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(context).is_ready()
        {
            self.connection = None;
        }
        let polled = match &mut self.body {
            Source::Http1(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(RelayError::Upstream)))
            }
            Source::Http2(inlet) => {
                inlet.poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(RelayError::Stream)))
            }
        };
        match polled {
            Poll::Ready(frame) => Poll::Ready(frame),
            Poll::Pending => {
                ready!(Pin::new(&mut self.deadline).poll(context));
                Poll::Ready(Some(Err(RelayError::Timeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.body {
            Source::Http1(body) => body.is_end_stream(),
            Source::Http2(inlet) => inlet.is_over(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            Source::Http1(body) => body.size_hint(),
            Source::Http2(_) => SizeHint::default(),
        }
    }
}

impl std::fmt::Debug for RelayedBody {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RelayedBody").field("body", &self.body).finish_non_exhaustive()
    }
}
