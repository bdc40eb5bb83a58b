//! The body of an upstream's answer to a plain request, on its way to the client.
//!
//! Its connection is driven by whoever relays it, who also keeps what it [carried](Carried) and may end it.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::field_names;
use super::relay::RelayError;

/// A body that streams for as long as it takes.
#[derive(Debug)]
pub struct StreamedBody {
    body: Incoming,
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
    pub fn new(body: Incoming, carried: Rc<Carried>) -> Self {
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
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let Poll::Ready(frame) = polled else { return Poll::Pending };
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
