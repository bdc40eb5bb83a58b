//! A connection that brings many streams at a time: each is served by a task of its own, as a stream of any other version.
//!
//! The connection's own task moves the frames of all of them, and stays until the last one has ended, so that whatever is
//! held for the connection is held for its streams.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use http::header::HeaderValue;
use tokio::time::Instant;

use super::gone::Gone;
use super::open::Open;
use super::record::Record;
use super::worker::Worker;
use super::{Entrance, serve_stream};
use crate::drain::Switch;
use crate::handshake::{HeadLimits, Multiplex, Parted, REQUEST_ID, Request, text};
use crate::metrics::{Http2End, Http2Metrics};
use crate::reactor::{Sleep, sleep, spawn};
use crate::transport::{Http2Limits, Transport};

/// HTTP/2 on a listener.
#[derive(Debug)]
pub struct Http2 {
    /// What its connections are allowed.
    pub limits: Http2Limits,
    /// Where they are counted.
    pub metrics: Arc<Http2Metrics>,
}

/// Serves the streams of a connection until it has ended and all of them have.
pub(super) async fn serve(
    entrance: Rc<Entrance>,
    socket: Transport,
    head: HeadLimits,
    http2: Arc<Http2>,
    patience: Duration,
    accepted_at: Instant,
) {
    let worker = entrance.worker.clone();
    let metrics = http2.metrics.of(worker.index());
    let mut connection = match Multiplex::open(socket, &head, &http2.limits, patience).await {
        Ok(connection) => connection,
        Err(parted) => {
            metrics.ended(end(parted, false));
            let record = Record::new(&worker, entrance.peer, accepted_at);
            return match parted {
                Parted::Late => record.late(patience, None),
                Parted::Left => record.left(),
                Parted::NoPreface | Parted::Violation | Parted::Calmed => record.unintelligible(),
            };
        }
    };
    let streams = Rc::new(Streams::default());
    let seat = Seat::take(&worker, &entrance.gone);
    let active = metrics.active();
    let mut driver = Driver { connection: &mut connection, streams: &streams, seat: &seat, http2: &http2, idle: None };
    let parted = loop {
        match poll_fn(|context| driver.poll(context)).await {
            Ok(request) => {
                metrics.stream();
                let place = streams.place();
                spawn(serve_one(Box::new((entrance.clone(), request, Instant::now())), place)).detach();
            }
            Err(parted) => break parted,
        }
    };
    if !matches!(parted, Some(Parted::Left)) {
        tracing::debug!(peer = ?entrance.peer, ?parted, "a connection over HTTP/2 has ended before the client left");
    }
    metrics.ended(parted.map_or(Http2End::Idle, |parted| end(parted, connection.is_leaving())));
    drop(seat);
    connection.close().await;
    streams.ended().await;
    drop(active);
}

fn end(parted: Parted, is_leaving: bool) -> Http2End {
    match parted {
        Parted::Left if is_leaving => Http2End::Drained,
        Parted::Left => Http2End::Client,
        Parted::NoPreface => Http2End::NoPreface,
        Parted::Late => Http2End::Timeout,
        Parted::Violation => Http2End::Violation,
        Parted::Calmed => Http2End::Calmed,
    }
}

/// One stream, from its request to its end.
///
/// It is one flat future, because each open stream keeps one.
#[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
fn serve_one(request: Box<(Rc<Entrance>, Request, Instant)>, place: Place) -> impl Future<Output = ()> {
    async move {
        // Kept where it is, to be dropped last.
        let _ = &place;
        let Some(Open { pipe, ending }) = Box::pin(open(request)).await else { return };
        let left = ending.end(pipe.run().await);
        if let Some(left) = left {
            left.await;
        }
    }
}

async fn open(request: Box<(Rc<Entrance>, Request, Instant)>) -> Option<Open> {
    let (entrance, request, began) = *request;
    let record = Record::new(&entrance.worker, entrance.peer, began);
    match request {
        Ok((head, stream)) => serve_stream(&entrance, head, stream, record).await.ok(),
        Err((error, stream)) => {
            let id = record.malformed(&error);
            let mut response = text(error.status(), error.to_string());
            response.headers_mut().extend(HeaderValue::from_str(&id).map(|id| (REQUEST_ID, id)));
            stream.refuse(response).await;
            None
        }
    }
}

/// What moves a connection on.
struct Driver<'a> {
    connection: &'a mut Multiplex,
    streams: &'a Rc<Streams>,
    seat: &'a Seat,
    http2: &'a Http2,
    /// Ends a connection that has no stream.
    idle: Option<Sleep>,
}

impl Driver<'_> {
    /// The next request; or why there will be none, `None` where it is we who had enough of a connection without streams.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Request, Option<Parted>>> {
        while self.seat.switch.poll(context).is_some() {
            self.leave();
        }
        loop {
            if let Poll::Ready(next) = self.connection.poll_next(context) {
                self.idle = None;
                return Poll::Ready(next.map_err(Some));
            }
            if self.streams.are_there(context) {
                self.idle = None;
                return Poll::Pending;
            }
            let time = if self.connection.is_leaving() { PARTING } else { self.http2.limits.idle_timeout };
            ready!(Pin::new(self.idle.get_or_insert_with(|| sleep(time))).poll(context));
            if self.connection.is_leaving() {
                return Poll::Ready(Err(None));
            }
            self.leave();
        }
    }

    fn leave(&mut self) {
        self.connection.leave();
        self.idle = None;
    }
}

/// The streams of a connection that have not ended.
#[derive(Default)]
struct Streams {
    count: Cell<usize>,
    /// The connection's task.
    waker: Cell<Option<Waker>>,
}

impl Streams {
    fn place(self: &Rc<Self>) -> Place {
        self.count.set(self.count.get() + 1);
        Place(self.clone())
    }

    /// Whether there are some; the task is woken when there are none any more.
    fn are_there(&self, context: &Context<'_>) -> bool {
        if self.count.get() == 0 {
            return false;
        }
        let known = self.waker.take().filter(|waker| waker.will_wake(context.waker()));
        self.waker.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        true
    }

    /// Waits until there are none.
    async fn ended(&self) {
        poll_fn(|context| if self.are_there(context) { Poll::Pending } else { Poll::Ready(()) }).await;
    }
}

/// A stream's place among those of its connection.
struct Place(Rc<Streams>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        if self.0.count.get() == 0
            && let Some(waker) = self.0.waker.take()
        {
            waker.wake();
        }
    }
}

/// A connection, as its worker knows it.
#[derive(Debug)]
pub(super) struct Listed {
    /// Whether its listener is gone.
    pub(super) gone: Gone,
    /// Tells it to leave.
    pub(super) switch: Rc<Switch<()>>,
}

/// A connection's place among those of its worker, by which it is told to leave.
struct Seat {
    worker: Rc<Worker>,
    key: usize,
    switch: Rc<Switch<()>>,
}

impl Seat {
    fn take(worker: &Rc<Worker>, gone: &Gone) -> Self {
        let switch = Rc::new(Switch::default());
        if gone.is_so() {
            switch.change(());
        }
        let key = worker.multiplexed().borrow_mut().insert(Listed { gone: gone.clone(), switch: switch.clone() });
        Self { worker: worker.clone(), key, switch }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.worker.multiplexed().borrow_mut().try_remove(self.key);
    }
}

/// How long a client may take to hear that a connection without streams ends.
const PARTING: Duration = Duration::from_secs(2);
