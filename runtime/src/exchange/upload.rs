//! The body of a request on its way to an endpoint.
//!
//! It is read as the endpoint takes it, so nothing is kept of it here; therefore an attempt that has begun to read it is the
//! last. It outlives the connections that it is lent to: one that fails before it reads leaves it to the next.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;

use super::asked::Hop;
use crate::handshake::RequestBody;
use crate::http::part_end_to_end;
use crate::reactor::{Sleep, sleep};

/// The body of a request.
#[derive(Debug)]
pub struct Upload {
    body: RefCell<RequestBody>,
    /// The most bytes that it may have.
    most: Option<u64>,
    /// How many it has, where that is known.
    length: Option<u64>,
    taken: Cell<u64>,
    stage: Cell<Stage>,
    /// Whether the last one who asked for a part of it waits for the client.
    is_awaited: Cell<bool>,
    fault: Cell<Option<Fault>>,
    /// For a client that waits for `100 Continue`: set when the endpoint says so.
    continued: Option<Arc<AtomicBool>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has asked for it.
    Untouched,
    /// Nobody needs it any more.
    Abandoned,
    Begun,
    Ended,
}

/// Why a body did not come to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// The client has left, or has broken its framing.
    #[error("the client broke off the body of its request")]
    BrokenOff,
    /// It is larger than `max_body_size`.
    #[error("the body of the request is larger than it may be")]
    TooLarge,
}

impl Upload {
    /// A body of at most so many bytes. If the client waits for that, it begins when the endpoint says so, or takes its time
    /// to.
    ///
    /// # Errors
    /// When it says itself that it is larger.
    pub fn new(body: RequestBody, most: Option<u64>, hop: &Hop) -> Result<Rc<Self>, Fault> {
        let length = body.size_hint().exact().or(hop.length);
        if let (Some(most), Some(length)) = (most, length)
            && length > most
        {
            return Err(Fault::TooLarge);
        }
        let waits = hop.waits && !body.is_end_stream();
        Ok(Rc::new(Self {
            most,
            length,
            taken: Cell::new(0),
            stage: Cell::new(if body.is_end_stream() { Stage::Ended } else { Stage::Untouched }),
            body: RefCell::new(body),
            is_awaited: Cell::new(false),
            fault: Cell::new(None),
            continued: waits.then(Arc::default),
        }))
    }

    /// How many bytes have gone up.
    pub fn taken(&self) -> u64 {
        self.taken.get()
    }

    /// Why it did not come to its end, if somebody waits for that in vain.
    pub fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Whether it can be sent to another endpoint.
    pub(super) fn is_whole(&self) -> bool {
        self.body.borrow().is_end_stream() && self.taken.get() == 0 || self.stage.get() == Stage::Untouched
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.taken.get() == 0 && self.body.borrow().is_end_stream()
    }

    /// Whether all of it has gone up.
    pub(super) fn has_ended(&self) -> bool {
        self.stage.get() == Stage::Ended
    }

    /// Whether it is the client that everybody waits for.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.get()
    }

    /// Its length, where it is known.
    pub(super) fn length(&self) -> Option<u64> {
        self.length
    }

    /// What is set when the endpoint says `100 Continue`, if somebody waits for it.
    pub(super) fn continued(&self) -> Option<&Arc<AtomicBool>> {
        self.continued.as_ref()
    }

    /// The endpoint has answered: what has not begun by now is not needed.
    pub(super) fn answered(&self) {
        if self.stage.get() == Stage::Untouched && self.continued.is_some() {
            self.stage.set(Stage::Abandoned);
        }
    }

    fn may_begin(&self) -> bool {
        self.continued.as_ref().is_none_or(|continued| continued.load(Ordering::Relaxed))
    }
}

/// An upload as a connection sends it.
#[derive(Debug)]
pub(super) struct Lent {
    upload: Rc<Upload>,
    /// Until the body is sent without the endpoint's word.
    patience: Option<Sleep>,
}

impl Lent {
    pub(super) fn new(upload: &Rc<Upload>) -> Self {
        Self { upload: Rc::clone(upload), patience: None }
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let Self { upload, patience } = self.get_mut();
        match upload.stage.get() {
            Stage::Abandoned => return Poll::Pending,
            Stage::Untouched if !upload.may_begin() => {
                // Servers that know nothing of it would wait as well (RFC 9110 section 10.1.1).
                ready!(Pin::new(patience.get_or_insert_with(|| sleep(PATIENCE))).poll(context));
            }
            _ => {}
        }
        if upload.stage.get() == Stage::Untouched {
            upload.stage.set(Stage::Begun);
        }
        let mut body = upload.body.borrow_mut();
        let polled = Pin::new(&mut *body).poll_frame(context);
        upload.is_awaited.set(polled.is_pending());
        let fail = |fault| {
            upload.fault.set(Some(fault));
            Poll::Ready(Some(Err(fault)))
        };
        let frame = match ready!(polled) {
            None => {
                upload.stage.set(Stage::Ended);
                return Poll::Ready(None);
            }
            Some(Err(_)) => return fail(Fault::BrokenOff),
            Some(Ok(frame)) => frame,
        };
        let length = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        let taken = upload.taken.get().saturating_add(length);
        if upload.most.is_some_and(|most| taken > most) {
            return fail(Fault::TooLarge);
        }
        upload.taken.set(taken);
        if body.is_end_stream() {
            upload.stage.set(Stage::Ended);
        }
        Poll::Ready(Some(Ok(part_end_to_end(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.upload.body.borrow().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.body.borrow().size_hint()
    }
}

/// How long the endpoint may take to say `100 Continue` until the body is sent without.
const PATIENCE: Duration = Duration::from_secs(1);
