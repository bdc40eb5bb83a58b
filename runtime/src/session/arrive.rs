//! The first stages of a stream: its request, the route that it takes, and its place there.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use http::{Method, Version, header};
use tokio::time::Instant;

use super::Entrance;
use super::bridge::Crossing;
use super::limit::Entry;
use super::per_client::Share;
use super::record::Record;
use super::refusal::{Gate, Refusal};
use super::secure::Peer;
use super::snapshot::{Route, Snapshot, Target, Upstream};
use super::worker::Worker;
use crate::answers::{Answer, Asked};
use crate::component::{Handshake, HeaderEdit, Kind};
use crate::exchange::{self, Hop};
use crate::handshake::{self, Client, Opening, Refused, Scheme, TraceId};
use crate::http::{Paths, UpstreamTarget, fields};

/// A request that has come.
pub(super) struct Arrived<'w> {
    worker: &'w Rc<Worker>,
    head: Parts,
    client: Client,
    paths: Paths,
    /// What was in force when it came. All that becomes of it is of one generation.
    snapshot: Arc<Snapshot>,
    followings: u64,
    /// What the client has of the listener, where a trusted peer has told who it is.
    told: Option<Share>,
}

/// A request that has its route.
pub(super) struct Routed<'w> {
    pub(super) worker: &'w Rc<Worker>,
    pub(super) head: Parts,
    pub(super) client: Client,
    /// What [`Worker::followings`] was when the request came.
    pub(super) followings: u64,
    pub(super) told: Option<Share>,
    pub(super) route: Arc<Route>,
    pub(super) destination: Destination,
    /// What of the client's target goes to the upstream.
    pub(super) target: UpstreamTarget,
    /// The request, as components see it.
    pub(super) handshake: Handshake,
    /// The generation of the configuration that it came in.
    pub(super) generation: u64,
}

/// Where a route sends a request.
pub(super) enum Destination {
    Upstream(Arc<Upstream>),
    Answer(Arc<Answer>),
}

/// What a client wishes to have of an upstream.
pub(super) enum Wish {
    /// A WebSocket, by a valid opening handshake.
    WebSocket(Opening),
    /// The answer to a plain request.
    Answer(Hop),
}

impl Wish {
    pub(super) fn opening(&self) -> Option<&Opening> {
        match self {
            Self::WebSocket(opening) => Some(opening),
            Self::Answer(_) => None,
        }
    }
}

/// A request that has its place on the route.
pub(super) struct Entered<'w> {
    pub(super) routed: Routed<'w>,
    pub(super) goal: Goal,
    pub(super) entry: Entry,
    /// When the token is over that it came with.
    pub(super) until: Option<Instant>,
    /// What whoever was asked about it has told of the client, for the upstream.
    pub(super) authorized: Vec<HeaderEdit>,
}

/// What is to become of a request.
pub(super) enum Goal {
    /// A connection to this upstream: it is a valid opening handshake.
    Connection(Arc<Upstream>, Opening),
    /// The answer of this upstream: it is a plain one that may be carried.
    Exchange(Arc<Upstream>, Hop),
    /// A message to this upstream, or what it says.
    Bridge(Arc<Upstream>, Crossing),
    /// This answer, whatever it asks for.
    Answer(Arc<Answer>),
}

impl<'w> Arrived<'w> {
    /// Begins the story of a request.
    pub(super) fn new(entrance: &'w Entrance, mut head: Parts, record: &mut Record<'w>) -> Self {
        let Entrance { ref worker, peer, ref secured, ref authority, paths, .. } = *entrance;
        let snapshot = worker.snapshot();
        let other = peer.map(|peer| peer.ip());
        let address = snapshot.trusted.client(other, &head.headers);
        let is_trusted = snapshot.trusted.contains(other);
        record.is_extended = head.version == Version::HTTP_2 && handshake::is_opening(&head);
        record.accept = fields::combined(&head.headers, &header::ACCEPT);
        record.request_id = handshake::correlate(&mut head.headers, &record.connection, is_trusted);
        record.trace = TraceId::of(&head.headers);
        record.version = Some(head.version);
        let port = peer.map_or(0, |peer| peer.port());
        record.client = address.map(|address| SocketAddr::new(address, port));
        let scheme = if secured.is_some() { Scheme::Wss } else { Scheme::Ws };
        record.attributes = secured.as_ref().map(Peer::attributes).unwrap_or_default();
        let told = authority.iter().map(|authority| (AUTHORITY.to_owned(), authority.clone()));
        record.attributes.extend(told);
        let client = Client { peer, address, scheme, connection_id: record.connection.clone() };
        Self { worker, head, client, paths, snapshot, followings: worker.followings(), told: None }
    }

    /// Sees that the client may come in by this listener, where that could not be known before, and that it is served here.
    pub(super) fn pass(mut self, entrance: &Entrance, record: &mut Record<'_>) -> Result<Self, Refusal> {
        if let Some(door) = &entrance.door {
            let told = door.enter_told(self.client.address, Instant::now());
            self.told = told.map_err(|denied| Refusal::denied(denied, Gate::Listener))?;
        }
        if let Some(answer) = entrance.challenges.as_ref().and_then(|it| it.answer(self.head.uri.path())) {
            self.head.uri.path().clone_into(&mut record.path);
            return Err(Refusal::Challenge(answer));
        }
        let Some(redirect) = &entrance.redirect else { return Ok(self) };
        let target = handshake::Target::of(&self.head, self.paths).map_err(Refusal::Request)?;
        self.head.uri.path().clone_into(&mut record.path);
        record.host = target.host.clone().into_owned();
        let asked = Asked { host: &target.host, path: target.path.forwarded(), rest: "", query: target.query };
        let response = redirect.response(&asked).map_err(Refusal::Request)?;
        Err(Refusal::Redirect(Gate::Listener, Box::new(response)))
    }

    /// Finds the first route, from the most specific on, whose predicates hold and that knows the service, if the request
    /// asks for one. A plain request takes the first of those that serve such requests, if there is one.
    pub(super) fn route(self, record: &mut Record<'w>) -> Result<Routed<'w>, Refusal> {
        let Self { worker, head, client, paths, snapshot, followings, told } = self;
        head.uri.path().clone_into(&mut record.path);
        let target = handshake::Target::of(&head, paths).map_err(Refusal::Request)?;
        record.host = target.host.clone().into_owned();
        let mut handshake = handshake::describe(&head, &target, &client);
        handshake.attributes.clone_from(&record.attributes);
        let is_plain = !handshake::is_opening(&head);
        if is_plain {
            handshake.scheme = client.scheme.http();
        }
        let mut other = None;
        for found in snapshot.routes.candidates(&target.host, target.path.compared()) {
            let route = found.route;
            handshake.route.clone_from(&route.name);
            // A predicate may be there to keep somebody out, so one that fails lets nobody pass to another route.
            let holds = holds(worker, route, &handshake).inspect_err(|_| record.route = Some(route.clone()))?;
            let to = |upstream: &Arc<Upstream>| Destination::Upstream(upstream.clone());
            let destination = match &route.target {
                _ if !holds => None,
                Target::Upstream(upstream) => Some(to(upstream)),
                Target::Services(services) => services.find(&head.headers, target.path.compared()).map(to),
                Target::Answer(answer) => Some(Destination::Answer(answer.clone())),
            };
            let Some(destination) = destination else { continue };
            let serves =
                route.http.is_some() || route.bridge.is_some() || matches!(destination, Destination::Answer(_));
            if is_plain && !serves {
                // Which tells the client what it serves.
                other.get_or_insert((route, destination, found.segments));
                continue;
            }
            let own = route.http.as_ref().filter(|_| is_plain).and_then(|http| http.upstream.as_ref());
            other = Some((route, own.map_or(destination, to), found.segments));
            break;
        }
        let (route, destination, segments) = other.ok_or(Refusal::Request(Refused::NoRoute))?;
        handshake.route.clone_from(&route.name);
        record.route = Some(route.clone());
        let serves_plain = route.http.is_some() || route.bridge.is_some();
        record.method = (serves_plain && is_plain).then(|| head.method.clone());
        let (route, generation) = (route.clone(), snapshot.generation);
        let target = target.forwarded(segments).map_err(Refusal::Request)?;
        Ok(Routed { worker, head, client, followings, told, route, destination, target, handshake, generation })
    }
}

/// The host that a proxy in front was asked for.
const AUTHORITY: &str = "proxy.authority";

/// Whether all predicates of a route hold.
fn holds(worker: &Worker, route: &Route, handshake: &Handshake) -> Result<bool, Refusal> {
    for predicate in &route.when {
        let failed = |failure| Refusal::Component(Kind::Predicate, failure);
        if !worker.pool().matches(predicate, handshake).map_err(failed)? {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<'w> Routed<'w> {
    /// The answer of a route that leads nowhere else.
    pub(super) fn answered(&self, answer: &Answer, host: &str) -> Refusal {
        let target = &self.target;
        let asked = Asked { host, path: target.path(), rest: target.rest(), query: target.query() };
        match (answer.response(&asked), answer) {
            (Ok(response), Answer::Fixed(_)) => Refusal::Answer(Box::new(response)),
            (Ok(response), Answer::Redirect(_)) => Refusal::Redirect(Gate::Route, Box::new(response)),
            (Err(refused), _) => Refusal::Request(refused),
        }
    }

    /// Sees that the request is what the route serves, an opening handshake mostly, and may come here, and takes its place on
    /// the route.
    pub(super) fn enter(mut self) -> Result<Entered<'w>, Refusal> {
        if !self.route.access.admits(self.client.address) {
            return Err(Refusal::Request(Refused::Network));
        }
        let goal = match &self.destination {
            Destination::Upstream(upstream) if self.route.http.is_some() && !handshake::is_opening(&self.head) => {
                exchange::check(&self.head).map_err(Refusal::Request)?;
                Goal::Exchange(upstream.clone(), Hop::of(&self.head))
            }
            Destination::Upstream(upstream)
                if let Some(terms) = &self.route.bridge
                    && !handshake::is_opening(&self.head) =>
            {
                exchange::check(&self.head).map_err(Refusal::Request)?;
                let crossing = Crossing::of(&self.head.method, &self.head.headers, terms);
                Goal::Bridge(upstream.clone(), crossing.map_err(Refusal::Request)?)
            }
            Destination::Upstream(upstream) => {
                Goal::Connection(upstream.clone(), handshake::validate(&self.head).map_err(Refusal::Request)?)
            }
            // A 2xx would open a tunnel.
            Destination::Answer(_) if self.head.method == Method::CONNECT && !handshake::is_opening(&self.head) => {
                return Err(Refusal::Request(Refused::Method));
            }
            Destination::Answer(answer) => Goal::Answer(answer.clone()),
        };
        let (peer, scheme) = (self.client.peer_address(), self.client.scheme);
        let own = || self.route.forwarding.trusted.origin(peer, &self.head.headers, scheme);
        if !self.route.origins.as_ref().is_none_or(|origins| origins.allow(&self.head.headers, own)) {
            return Err(Refusal::Request(Refused::Origin));
        }
        let entry = self.route.admission.enter(self.client.address, Instant::now());
        let entry = entry.map_err(|denied| Refusal::denied(denied, Gate::Route))?.with(self.told.take());
        Ok(Entered { routed: self, goal, entry, until: None, authorized: Vec::new() })
    }
}
