//! The plain requests in progress on a worker, for whoever has them end: a drain, the admin API.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::StatusCode;
use slab::Slab;

use super::dismissal::Dismissal;
use super::record::Record;
use super::snapshot::Route;
use super::worker::Worker;
use crate::drain::{Order, Switch};
use crate::ws::CloseFrame;

/// A plain request in progress.
#[derive(Debug)]
pub struct Underway {
    /// Names it in logs and to components.
    pub(super) id: Box<str>,
    /// The route it took.
    pub(super) route: Arc<Route>,
    /// What is known of who asks.
    pub(super) attributes: Box<[(String, String)]>,
    /// Whether its answer is a stream of events, which has no end of its own.
    pub(super) is_events: Cell<bool>,
    switch: Switch<()>,
}

impl Underway {
    /// Whether it took the route of this name.
    pub fn took(&self, route: &str) -> bool {
        self.route.name == route
    }

    /// Whether its answer is a stream of events, which has no end of its own.
    pub fn is_events(&self) -> bool {
        self.is_events.get()
    }

    /// Has it end.
    pub fn end(&self, close: &CloseFrame) {
        self.switch.turn(close.clone());
    }

    /// Why it is to end, once it is.
    pub(super) fn poll_end(&self, context: &Context<'_>) -> Poll<&'static str> {
        match self.switch.poll(context) {
            Some(Order::Close(_, "")) => Poll::Ready("it was closed by the admin API"),
            Some(Order::Close(..)) => Poll::Ready("it was drained"),
            Some(Order::Change(())) | None => Poll::Pending,
        }
    }
}

/// The plain requests in progress of one worker.
#[derive(Debug, Default)]
pub struct Requests(RefCell<Slab<Rc<Underway>>>);

impl Requests {
    /// Shows all of them. `visit` must not begin or end any.
    pub fn each(&self, mut visit: impl FnMut(&Rc<Underway>)) {
        self.0.borrow().iter().for_each(|(_, underway)| visit(underway));
    }

    /// Has those end that are meant.
    pub(super) fn dismiss(&self, dismissal: &Dismissal) {
        self.each(|underway| {
            if dismissal.criteria.holds_for_request(underway) {
                underway.switch.dismiss(dismissal.close.clone());
            }
        });
    }
}

/// A place among the requests in progress, given back on drop.
pub(super) struct Listed {
    worker: Rc<Worker>,
    key: usize,
    pub(super) underway: Rc<Underway>,
}

impl Listed {
    /// Lists a request that everybody has let in.
    pub(super) fn new(worker: &Rc<Worker>, route: &Arc<Route>, record: &Record<'_>) -> Self {
        let underway = Rc::new(Underway {
            id: record.connection.as_str().into(),
            route: route.clone(),
            attributes: record.attributes.as_slice().into(),
            is_events: Cell::new(false),
            switch: Switch::default(),
        });
        if let Some(close) = record.place.since_for(|criteria| criteria.holds_for_request(&underway)) {
            underway.switch.dismiss(close);
        }
        let key = worker.requests().0.borrow_mut().insert(underway.clone());
        route.metrics.of(worker.index()).requests().active.add(1);
        Self { worker: worker.clone(), key, underway }
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.underway.route.metrics.of(self.worker.index()).requests().active.add(-1);
        self.worker.requests().0.borrow_mut().try_remove(self.key);
    }
}

/// What a plain request has come to, as the access log says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// The client has all of its answer.
    Answered(StatusCode),
    /// The upstream broke its answer off.
    BrokenOff(StatusCode),
    /// The client left before it had all of it, or did not read it.
    Left(StatusCode),
    /// It was ended.
    Ended(StatusCode, &'static str),
}

impl Came {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Answered(_) => "answered",
            Self::BrokenOff(_) => "answer_broken_off",
            Self::Left(_) => "client_gone",
            Self::Ended(..) => "ended",
        }
    }

    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Answered(status) | Self::BrokenOff(status) | Self::Left(status) | Self::Ended(status, _) => status,
        }
    }
}
