//! What is known of an open connection, for whoever asks: the access log, the admin API, a drain.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{StatusCode, Version};
use slab::Slab;
use tokio::time::Instant;

use super::criteria::is_attribute;
use super::snapshot::{Route, Upstream};
use crate::balance::Lease;
use crate::component::Moment;
#[cfg(test)]
use crate::component::{Choice, PickSet};
use crate::handshake::TraceId;
use crate::pipe::Handle;
use crate::reactor::yield_now;

/// An open stream, which is what users call a connection: with HTTP/2 several of them share a socket.
#[derive(Debug)]
pub struct Connection {
    /// Names it in logs, in the admin API and to components.
    pub id: Box<str>,
    /// The client's address, which trusted proxies may have told, and the port of the socket; `None`: it has none.
    pub client: Option<SocketAddr>,
    /// The route it took, as it was when the connection last followed it.
    pub(super) route: RefCell<Arc<Route>>,
    /// When it had last been decided who serves the route, as its filters were asked to follow; the first of all moments
    /// where they were not.
    pub(super) followed: Cell<Moment>,
    /// The upstream.
    pub upstream: Arc<Upstream>,
    /// Its hold on an endpoint.
    pub lease: Lease,
    /// When its socket was accepted, or its request began.
    pub started_at: Instant,
    /// When the client got its answer.
    pub opened_at: Instant,
    /// What it carried so far, and the switch that ends it or changes its filters.
    pub handle: Rc<Handle>,
    /// What only the access log tells.
    pub(super) logged: Box<Logged>,
}

impl Connection {
    /// The route it took. What a reload has replaced is not kept: it would keep the code of former filters, too.
    pub fn route(&self) -> Arc<Route> {
        self.route.borrow().clone()
    }

    /// What its filters have said of it, by name: when they admitted it and since.
    pub fn attributes(&self) -> Cow<'_, [(String, String)]> {
        let since = self.handle.attributes();
        if since.is_empty() {
            return Cow::Borrowed(&self.logged.attributes);
        }
        let mut attributes = self.logged.attributes.to_vec();
        attributes.retain(|(name, _)| since.iter().all(|(other, _)| other != name));
        attributes.extend(since);
        Cow::Owned(attributes)
    }

    /// Whether it has the attribute `NAME:VALUE`. Of those of one name the last counts.
    pub(super) fn has_attribute(&self, wanted: &str) -> bool {
        let since = &self.handle;
        let is_it = |name: &str, value: &str| is_attribute(wanted, name, value);
        since.any_attribute(is_it)
            || self
                .logged
                .attributes
                .iter()
                .any(|(name, value)| is_it(name, value) && !since.any_attribute(|other, _| other == name))
    }

    /// Whether it took the route of this name.
    pub fn took(&self, route: &str) -> bool {
        self.route.borrow().name == route
    }

    /// Has the route become this one, as it was decided at this moment who serves it.
    pub(super) fn follow(&self, route: &Arc<Route>, decided: Moment) {
        self.route.replace(route.clone());
        self.followed.set(decided);
    }
}

#[cfg(test)]
impl super::Worker {
    /// An open connection of a route in force that nobody has opened and that carries nothing.
    pub fn open_for_test(&self, route: &str) -> Rc<Connection> {
        let snapshot = self.snapshot();
        let route = snapshot.routes.routes().find(|known| known.name == route).unwrap();
        let upstream = snapshot.upstreams.values().next().unwrap().clone();
        let first = |set: &Arc<PickSet>, _: &[u32]| Ok(set.list().first().map(|endpoint| Choice::from(endpoint.id)));
        let connection = Rc::new(Connection {
            id: self.connection_id().into(),
            client: Some(([127, 0, 0, 1], 1).into()),
            route: RefCell::new(route.clone()),
            followed: Cell::new(route.decided()),
            lease: upstream.balance.lease(self.index(), Instant::now(), &[], first).unwrap().connected().0,
            upstream,
            started_at: Instant::now(),
            opened_at: Instant::now(),
            handle: Rc::default(),
            logged: Box::new(Logged::new("", "", StatusCode::SWITCHING_PROTOCOLS, None, Vec::new())),
        });
        self.registry().list(connection.clone());
        connection
    }

    /// Ends one of those.
    pub fn close_for_test(&self, connection: &Rc<Connection>) {
        self.registry().0.borrow_mut().retain(|_, open| !Rc::ptr_eq(open, connection));
    }
}

/// What a connection's line in the access log says beyond the rest.
#[derive(Debug)]
pub(super) struct Logged {
    /// The host, and behind it the path.
    place: Box<str>,
    host: usize,
    /// What the client was answered.
    pub(super) status: StatusCode,
    /// The id of its request, if a proxy in front has given it.
    pub(super) request_id: Option<Box<str>>,
    pub(super) trace: Option<TraceId>,
    /// What the client speaks; `None`: it is the proxy itself.
    pub(super) version: Option<Version>,
    pub(super) channel: Option<Box<str>>,
    pub(super) attributes: Box<[(String, String)]>,
}

impl Logged {
    pub(super) fn new(
        host: &str,
        path: &str,
        status: StatusCode,
        channel: Option<String>,
        attributes: Vec<(String, String)>,
    ) -> Self {
        let place = [host, path].concat().into();
        Self {
            place,
            host: host.len(),
            status,
            request_id: None,
            trace: None,
            version: None,
            channel: channel.map(Into::into),
            attributes: attributes.into(),
        }
    }

    /// The same, with the id that a proxy in front has given its request, its trace, and the version that was spoken.
    pub(super) fn known_as(self, request_id: Option<&str>, trace: Option<TraceId>, version: Option<Version>) -> Self {
        Self { request_id: request_id.map(Into::into), trace, version, ..self }
    }

    pub(super) fn host(&self) -> &str {
        self.place.get(..self.host).unwrap_or_default()
    }

    pub(super) fn path(&self) -> &str {
        self.place.get(self.host..).unwrap_or_default()
    }
}

/// The open connections of one worker.
#[derive(Debug, Default)]
pub struct Registry(RefCell<Slab<Rc<Connection>>>);

impl Registry {
    /// Lists a connection; the answer is for [`Registry::remove`].
    pub(super) fn list(&self, connection: Rc<Connection>) -> usize {
        self.0.borrow_mut().insert(connection)
    }

    /// Takes a connection off the list.
    pub(super) fn remove(&self, key: usize) {
        self.0.borrow_mut().try_remove(key);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// Shows a slice of them, from a place in the list on: the first slice from 0. Gives the place of the next slice, and
    /// `None` after the last.
    ///
    /// A slice is what a worker can walk through without letting its connections wait. What opens or ends between two
    /// slices may be shown or not; everything else is shown once. `visit` must not list or remove.
    pub fn slice(&self, from: usize, mut visit: impl FnMut(&Rc<Connection>)) -> Option<usize> {
        let connections = self.0.borrow();
        let next = from.saturating_add(SLICE);
        (from..next.min(connections.capacity())).filter_map(|key| connections.get(key)).for_each(&mut visit);
        (next < connections.capacity()).then_some(next)
    }

    /// Shows all of them in slices, and lets the worker do other things between two.
    pub async fn each(&self, mut visit: impl FnMut(&Rc<Connection>)) {
        let mut from = Some(0);
        while let Some(place) = from {
            from = self.slice(place, &mut visit);
            if from.is_some() {
                yield_now().await;
            }
        }
    }
}

/// How many places of a list a slice has: some ten microseconds, where nothing is made of what is found.
const SLICE: usize = 1024;
