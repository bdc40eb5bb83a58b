//! The body of an answer to a client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::bridge::Events;
use crate::http::{RelayError, RelayedBody, StreamedBody};

/// What follows an answer's head.
#[derive(Debug, Default)]
pub enum AnswerBody {
    /// Nothing.
    #[default]
    Empty,
    /// A text that is there already.
    Whole(Bytes),
    /// The same, of the proxy's own, which may still take another form.
    Own(Bytes),
    /// What an upstream says, as it comes.
    Relayed(Box<RelayedBody>),
    /// What an upstream answers to a plain request, as it comes.
    Streamed(StreamedBody),
    /// The messages of an upstream.
    Events(Box<Events>),
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) | Self::Own(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Relayed(body) => Pin::new(body.as_mut()).poll_frame(context),
            Self::Streamed(body) => Pin::new(body).poll_frame(context),
            Self::Events(events) => Pin::new(events.as_mut()).poll_frame(context).map_err(|never| match never {}),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) | Self::Own(bytes) => bytes.is_empty(),
            Self::Relayed(body) => body.is_end_stream(),
            Self::Streamed(body) => body.is_end_stream(),
            Self::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) | Self::Own(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Relayed(body) => body.size_hint(),
            Self::Streamed(body) => body.size_hint(),
            Self::Events(_) => SizeHint::default(),
        }
    }
}
