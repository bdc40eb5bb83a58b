//! The body of a request, as it comes.
//!
//! Nothing of it is read before somebody asks for it, and no more than that: a client that waits for `100 Continue` gets it
//! with the first question, and one that sends faster than its body is taken is not read.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::http1;
use crate::transport::Inlet;

/// What follows a request's head, over whatever it comes. It moves only while its stream is driven.
#[derive(Debug, Default)]
pub enum RequestBody {
    /// Nothing.
    #[default]
    Empty,
    /// What HTTP/1.1 brings.
    Http1(http1::Upload),
    /// What a stream of HTTP/2 brings.
    Http2(Rc<Inlet>),
    /// What we have to say ourselves.
    Own(Bytes),
}

/// The body of a request ended early: the client has left, or its framing is wrong.
#[derive(Debug, Error)]
#[error("the client broke off the body of its request: {0}")]
pub struct BrokenOff(#[from] io::Error);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Http1(upload) => upload.poll_frame(context).map_err(|error| BrokenOff(io::Error::other(error))),
            Self::Http2(inlet) => inlet.poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(BrokenOff))),
            Self::Own(bytes) if bytes.is_empty() => Poll::Ready(None),
            Self::Own(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Http1(upload) => upload.is_end_stream(),
            Self::Http2(inlet) => inlet.is_over(),
            Self::Own(bytes) => bytes.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Http1(upload) => upload.size_hint(),
            Self::Http2(_) => SizeHint::default(),
            Self::Own(bytes) => SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX)),
        }
    }
}
