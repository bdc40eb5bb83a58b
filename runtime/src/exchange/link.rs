//! A connection to an endpoint that carries plain requests, one after the other.
//!
//! Nothing of it runs unless somebody drives it, as who waits for its answer does; one that waits for a next request is looked
//! at before it gets that.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::upload::Lent;
use crate::transport::Transport;
use crate::upstream::DialError;

/// A connection and the requests on it.
pub struct Link {
    sender: http1::SendRequest<Lent>,
    connection: http1::Connection<TokioIo<Transport>, Lent>,
    has_ended: bool,
    /// How long the endpoint keeps it without a request, by its own word.
    pub(super) hinted: Option<Duration>,
}

/// A request that got no answer.
#[derive(Debug)]
pub(super) struct Unanswered {
    pub(super) error: hyper::Error,
    /// Whether the endpoint may have got some of it.
    pub(super) was_sent: bool,
}

impl Link {
    /// Speaks HTTP/1.1 on a fresh connection.
    pub(super) async fn new(transport: Transport) -> Result<Self, DialError> {
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(MOST_READ)
            .title_case_headers(true)
            .handshake(TokioIo::new(transport))
            .await
            .map_err(DialError::broken)?;
        Ok(Self { sender, connection, has_ended: false, hinted: None })
    }

    /// Sends a request, and gives the answer when its head has come.
    pub(super) async fn ask(&mut self, request: Request<Lent>) -> Result<Response<Incoming>, Unanswered> {
        let Self { sender, connection, has_ended, .. } = self;
        let mut answer = pin!(sender.try_send_request(request));
        poll_fn(|context| {
            // How it ended, the answer tells.
            *has_ended = *has_ended || Pin::new(&mut *connection).poll(context).is_ready();
            let answer = answer.as_mut().poll(context);
            answer
                .map_err(|mut error| Unanswered { was_sent: error.take_message().is_none(), error: error.into_error() })
        })
        .await
    }

    /// Moves what is on it; ready when it has ended.
    pub(super) fn poll_drive(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.has_ended = self.has_ended || Pin::new(&mut self.connection).poll(context).is_ready();
        if self.has_ended { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether it takes a next request, as far as can be seen.
    pub(super) fn is_free(&mut self, context: &mut Context<'_>) -> bool {
        self.poll_drive(context).is_pending() && self.sender.is_ready()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Link").field("has_ended", &self.has_ended).finish_non_exhaustive()
    }
}

/// The most that is read of an answer at once: its head, or a part of its body.
const MOST_READ: usize = 64 << 10;
