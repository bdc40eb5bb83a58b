//! The connections of a worker to endpoints that wait for a next request.
//!
//! Each is looked at when it is taken, so one that the endpoint has closed is not used, and once a second while there are any,
//! so none is kept that is closed or too old. Those of a former generation of the configuration go when the next is seen.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::link::{Link, is_silent};
use crate::reactor::{sleep, spawn};
use crate::transport::Transport;

/// Connections that wait.
#[derive(Debug, Default)]
pub struct Links {
    waiting: RefCell<HashMap<Place, Vec<Waiting>>>,
    generation: Cell<u64>,
    /// Whether somebody looks at them.
    is_watched: Cell<bool>,
}

/// Whose a connection is: an upstream of a generation, by where it is in memory, and one of its endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// The generation of the configuration.
    pub generation: u64,
    /// The upstream.
    pub upstream: usize,
    /// The endpoint.
    pub endpoint: u32,
}

/// Which connections are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// How many of an endpoint, on each worker.
    pub most: usize,
    /// How long without a request; `None`: none is.
    pub time: Option<Duration>,
}

impl Default for Keeping {
    fn default() -> Self {
        Self { most: 64, time: Some(Duration::from_secs(60)) }
    }
}

#[derive(Debug)]
struct Waiting {
    transport: Transport,
    until: Instant,
}

impl Links {
    /// One that takes a request at once, the last that was kept.
    pub(super) fn take(&self, place: Place, context: &mut Context<'_>) -> Option<Link> {
        self.look_ahead(place.generation);
        let now = Instant::now();
        let mut waiting = self.waiting.borrow_mut();
        let links = waiting.get_mut(&place)?;
        while let Some(Waiting { mut transport, until }) = links.pop() {
            if now < until && is_silent(&mut transport, context) {
                return Some(Link::new(transport));
            }
        }
        waiting.remove(&place);
        None
    }

    /// Keeps a connection whose answer has ended, if it is worth it.
    pub(super) fn keep(self: &Rc<Self>, place: Place, link: Link, keeping: Keeping) {
        let mut context = Context::from_waker(Waker::noop());
        let Some(time) = keeping.time else { return };
        self.look_ahead(place.generation);
        if place.generation < self.generation.get() {
            return;
        }
        let time = link.hinted.map_or(time, |hinted| time.min(hinted));
        let Some(transport) = link.into_free(&mut context) else { return };
        let mut waiting = self.waiting.borrow_mut();
        let links = waiting.entry(place).or_default();
        if links.len() < keeping.most && !time.is_zero() {
            links.push(Waiting { transport, until: Instant::now() + time });
        }
        drop(waiting);
        if !self.is_watched.replace(true) {
            spawn(watch(Rc::downgrade(self))).detach();
        }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.borrow().values().map(Vec::len).sum()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets those of former generations go.
    fn look_ahead(&self, generation: u64) {
        if generation > self.generation.get() {
            self.generation.set(generation);
            self.waiting.borrow_mut().retain(|place, _| place.generation >= generation);
        }
    }

    /// Lets those go that are closed or too old.
    fn sweep(&self) {
        let (mut context, now) = (Context::from_waker(Waker::noop()), Instant::now());
        self.waiting.borrow_mut().retain(|_, links| {
            links.retain_mut(|waiting| now < waiting.until && is_silent(&mut waiting.transport, &mut context));
            !links.is_empty()
        });
    }
}

/// Looks at those that wait while there are any.
async fn watch(links: Weak<Links>) {
    loop {
        sleep(LOOK).await;
        let Some(links) = links.upgrade() else { return };
        links.sweep();
        if links.is_empty() {
            links.is_watched.set(false);
            return;
        }
    }
}

/// How often they are looked at.
const LOOK: Duration = Duration::from_secs(1);
