//! The body of an upstream's answer to a plain request, on its way to the client.
//!
//! Its connection is driven by whoever relays it, who also keeps what it [carried](Carried) and may end it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::content::Streamed;
use super::field_names;
use super::relay::RelayError;

/// A body that streams for as long as it takes.
#[derive(Debug)]
pub struct StreamedBody {
    body: Streamed,
    carried: Rc<Carried>,
}

/// What is known of such a body while it is on its way.
#[derive(Debug, Default)]
pub struct Carried {
    bytes: Cell<u64>,
    is_whole: Cell<bool>,
    is_to_end: Cell<bool>,
}

impl StreamedBody {
    /// A body that comes over a connection which somebody else drives.
    pub fn new(body: Streamed, carried: Rc<Carried>) -> Self {
        carried.is_whole.set(body.is_end_stream());
        Self { body, carried }
    }
}

impl Carried {
    /// How many bytes have come.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Whether all of it has come.
    pub fn is_whole(&self) -> bool {
        self.is_whole.get()
    }

    /// Has it end at the next look as if that were its end: for what has none of its own, as a stream of events.
    pub fn end(&self) {
        self.is_to_end.set(true);
    }
}

impl Body for StreamedBody {
    type Data = Bytes;
    type Error = RelayError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        if self.carried.is_to_end.get() {
            return Poll::Ready(None);
        }
        let frame = ready!(self.body.poll_frame(context));
        let carried = &self.carried;
        let frame = frame.map(|frame| {
            let frame = frame?;
            if let Some(data) = frame.data_ref() {
                carried.bytes.set(carried.bytes.get() + u64::try_from(data.len()).unwrap_or_default());
            }
            Ok(end_to_end(frame))
        });
        carried.is_whole.set(frame.is_none() || self.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Streamed {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, RelayError>>> {
        match self {
            Self::Hyper(body) => Pin::new(body).poll_frame(context).map_err(RelayError::Upstream),
            Self::Content(content) => {
                let next = ready!(content.borrow_mut().poll_next(context));
                Poll::Ready(next.map(|part| part.map(Frame::data).map_err(RelayError::Stream)))
            }
        }
    }

    /// Whether nothing is left of it.
    pub fn is_end_stream(&self) -> bool {
        match self {
            Self::Hyper(body) => body.is_end_stream(),
            Self::Content(content) => content.borrow().left() == 0,
        }
    }

    /// How much is left of it.
    pub fn size_hint(&self) -> SizeHint {
        match self {
            Self::Hyper(body) => body.size_hint(),
            Self::Content(content) => SizeHint::with_exact(content.borrow().left()),
        }
    }
}

/// A part of a body; of trailers what goes on at this hop (RFC 9110 section 6.5.1).
pub fn end_to_end(frame: Frame<Bytes>) -> Frame<Bytes> {
    match frame.into_trailers() {
        Ok(mut trailers) => {
            let names: Vec<_> = trailers.keys().filter(|name| field_names::is_owned(name.as_str())).cloned().collect();
            for name in names {
                trailers.remove(name);
            }
            Frame::trailers(trailers)
        }
        Err(frame) => frame,
    }
}
