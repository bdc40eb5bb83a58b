//! One request's way to an open connection: route, admission, lease, upstream, answer.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use tokio::time::Instant;

use super::Open;
use super::connection::{Connection, Logged};
use super::limit::Permit;
use super::record::Record;
use super::refusal::Refusal;
use super::snapshot::{Route, Snapshot, Target, Upstream};
use super::worker::Worker;
use crate::balance::Lease;
use crate::component::{
    Admission, Attached, Candidate, Failure, FilterUse, Handshake, HeaderEdit, Moment, OnFailure, Opened, Pool,
    Rollout, Session, Shadow,
};
use crate::handshake::{self, Client, Opening, Refused, Requests, Scheme};
use crate::log::Tried;
use crate::metrics::HandshakeOutcome;
use crate::reactor::timeout;
use crate::route::Paths;
use crate::transport::Transport;
use crate::upstream::{self, Timeouts, Upgraded, UpstreamRequest};
use crate::ws::Extensions;

/// A request under way.
pub(super) struct Attempt<'w> {
    worker: &'w Rc<Worker>,
    client: Client,
    record: Record<'w>,
    paths: Paths,
    /// What was in force when the request came. All that becomes of it is of one generation.
    snapshot: Arc<Snapshot>,
}

/// Two handshakes that agree, the client's not yet answered.
pub(super) struct Joined {
    agreed: Agreed,
    upstream: (Transport, Bytes),
    route: Arc<Route>,
    to: Arc<Upstream>,
    endpoint: Lease,
    opening: Opening,
    accepted: upstream::Accepted,
    client_headers: Vec<HeaderEdit>,
    permit: Permit,
}

/// What a pipe is made of, beside its sockets.
pub(super) struct Agreed {
    pub(super) sessions: Vec<Session>,
    pub(super) shadows: Vec<Shadowed>,
    /// The extensions that the handshakes agreed on.
    pub(super) extensions: Extensions,
    /// What [`Worker::followings`] was when the handshake began.
    pub(super) followings: u64,
    /// What [`Route::decided`] was when the sessions were opened, or before.
    pub(super) decided: Moment,
}

/// A handshake that a filter has admitted, for the candidate that shadows it.
pub(super) struct Shadowed {
    /// The filter's place among the sessions.
    place: usize,
    candidate: Candidate,
    handshake: Rc<Handshake>,
    attached: Attached,
}

impl Shadowed {
    /// The candidate's own session, with the place of the filter's.
    pub(super) fn open(self, pool: &Pool) -> Option<(usize, Shadow)> {
        let Self { place, candidate, handshake, attached } = self;
        Shadow::open(&candidate, pool, &handshake, &attached).map(|shadow| (place, shadow))
    }
}

/// Where a request goes.
struct Routed {
    route: Arc<Route>,
    upstream: Arc<Upstream>,
    /// What of the client's target goes there.
    target: upstream::Target,
}

/// What a route's filters made of a handshake.
#[derive(Default)]
struct Admitted {
    sessions: Vec<Session>,
    shadows: Vec<Shadowed>,
    upstream_headers: Vec<HeaderEdit>,
    client_headers: Vec<HeaderEdit>,
}

impl<'w> Attempt<'w> {
    pub(super) fn new(worker: &'w Rc<Worker>, peer: SocketAddr, started: Instant, parts: &Parts, paths: Paths) -> Self {
        let mut record = Record::new(worker, peer, started);
        let snapshot = worker.snapshot();
        let address = snapshot.trusted.client(peer.ip(), &parts.headers);
        record.client.set_ip(address);
        let connection_id = record.connection.clone();
        Self { worker, client: Client { peer, address, scheme: Scheme::Ws, connection_id }, record, paths, snapshot }
    }

    /// Takes a request as far as two agreed handshakes, of which the client's is still to be answered.
    pub(super) async fn run(&mut self, requests: &mut Requests<Transport>, parts: Parts) -> Result<Joined, Refusal> {
        let (snapshot, followings) = (self.snapshot.clone(), self.worker.followings());
        let (routed, mut handshake) = self.route(&snapshot, &parts)?;
        let Routed { route, upstream, target } = routed;
        let opening = handshake::validate(&parts).map_err(Refusal::Request)?;
        if !route.origins.as_ref().is_none_or(|origins| origins.allow(&parts.headers)) {
            return Err(Refusal::Request(Refused::Origin));
        }
        let permit = route.admission.enter(Instant::now())?;
        let decided = route.decided();
        let admitted = self.admit(&route, &mut handshake)?;
        let (mut request, channel) =
            route.forwarding.request(parts, target, &opening, &self.client, &admitted.upstream_headers);
        self.record.channel = channel.and_then(|channel| channel.to_str().ok().map(str::to_owned));
        request.host = upstream.host.clone();
        if route.reads_messages() {
            request.offer_only_deflate();
        }
        let timeouts = Timeouts {
            connect: Some(upstream.connect_timeout),
            handshake: Some(route.handshake_timeout),
            liveness: upstream.liveness,
            ..Timeouts::default()
        };
        let connecting = pin!(self.connect(&upstream, &handshake, request, &timeouts));
        let ((endpoint, with_endpoint), upgraded) =
            requests.during(connecting).await.map_err(|_| Refusal::ClientGone)??;
        let Upgraded { stream, leftover, accepted } = upgraded;
        let Admitted { sessions, shadows, mut client_headers, .. } = admitted;
        client_headers.extend(with_endpoint);
        let agreed = Agreed { sessions, shadows, extensions: accepted.agreed, followings, decided };
        Ok(Joined {
            agreed,
            upstream: (stream, leftover),
            route,
            to: upstream.clone(),
            endpoint,
            opening,
            accepted,
            client_headers,
            permit,
        })
    }

    /// The first route, from the most specific on, whose predicates hold and that knows the service, if it asks for one.
    fn route(&mut self, snapshot: &Snapshot, parts: &Parts) -> Result<(Routed, Rc<Handshake>), Refusal> {
        self.record.path = parts.uri.path().to_owned();
        let target = handshake::Target::of(parts, self.paths).map_err(Refusal::Request)?;
        self.record.host = target.host.clone().into_owned();
        let mut handshake = handshake::describe(parts, &target, &self.client);
        for found in snapshot.routes.candidates(&target.host, target.path.compared()) {
            let route = found.route;
            handshake.route.clone_from(&route.name);
            let mut holds = true;
            for predicate in &route.when {
                // A predicate may be there to keep somebody out, so one that fails lets nobody pass to another route.
                holds = self.worker.pool().matches(predicate, &handshake).map_err(|failure| {
                    self.record.route = Some(route.clone());
                    Refusal::Component(failure)
                })?;
                if !holds {
                    break;
                }
            }
            let upstream = match &route.target {
                _ if !holds => None,
                Target::Upstream(upstream) => Some(upstream),
                Target::Services(services) => services.find(&parts.headers, target.path.compared()),
            };
            if let Some(upstream) = upstream {
                self.record.route = Some(route.clone());
                let target = target.forwarded(found.segments).map_err(Refusal::Request)?;
                let routed = Routed { route: route.clone(), upstream: upstream.clone(), target };
                return Ok((routed, Rc::new(handshake)));
            }
        }
        Err(Refusal::Request(Refused::NoRoute))
    }

    /// Opens the route's filters in order, each seeing the attributes of those before it.
    fn admit(&mut self, route: &Route, handshake: &mut Rc<Handshake>) -> Result<Admitted, Refusal> {
        let mut admitted = Admitted::default();
        for place in &route.filters {
            let (filter, opened) = self.open(place, handshake);
            let admission = match opened {
                Ok(Opened::Admitted(admission)) => admission,
                Ok(Opened::Refused(refusal)) => {
                    filter.component().name().clone_into(&mut self.record.filter);
                    return Err(Refusal::Filter(refusal));
                }
                Err(failure) => match place.filter().on_failure() {
                    OnFailure::Close => return Err(Refusal::Component(failure)),
                    OnFailure::Bypass => {
                        tracing::debug!(route = route.name, connection = self.record.connection, %failure, "a filter failed and is bypassed");
                        continue;
                    }
                },
            };
            if let Some(candidate) = place.shadow() {
                admitted.shadows.push(Shadowed {
                    place: admitted.sessions.len(),
                    candidate: candidate.clone(),
                    handshake: handshake.clone(),
                    attached: Attached::from(&admission),
                });
            }
            let Admission { session, upstream_headers, client_headers, attributes, .. } = admission;
            admitted.sessions.push(session);
            admitted.upstream_headers.extend(upstream_headers);
            admitted.client_headers.extend(client_headers);
            if !attributes.is_empty() {
                self.record.attributes.extend_from_slice(&attributes);
                // Sessions opened before keep the handshake as they saw it.
                Rc::make_mut(handshake).attributes.extend(attributes);
            }
        }
        Ok(admitted)
    }

    /// Opens the filter of a place, or the candidate that serves this connection, and says which. One that fails on trial
    /// costs nobody a connection.
    fn open<'p>(&self, place: &'p Rollout, handshake: &Rc<Handshake>) -> (&'p Arc<FilterUse>, Result<Opened, Failure>) {
        let (serving, filter) = (place.serving(&handshake.connection_id), place.filter());
        let opened = self.worker.pool().open(serving, handshake);
        if opened.is_err() && !Arc::ptr_eq(serving, filter) && !place.is_promoted() {
            return (filter, self.worker.pool().open(filter, handshake));
        }
        (serving, opened)
    }

    /// Leases endpoints and dials them until one has agreed or no attempt is left. What the balancer has for the client
    /// comes with the one that has agreed.
    async fn connect(
        &mut self,
        upstream: &Upstream,
        handshake: &Handshake,
        request: UpstreamRequest,
        timeouts: &Timeouts,
    ) -> Result<((Lease, Vec<HeaderEdit>), Upgraded), Refusal> {
        upstream.balance.name().clone_into(&mut self.record.upstream);
        let mut tried = Vec::new();
        let mut failed = None;
        let mut left = upstream.retries;
        let mut has_probed = false;
        loop {
            let pick =
                |endpoints: &_, over: &_| self.worker.pool().pick(&upstream.balancer, endpoints, handshake, over);
            let Ok(dialling) = upstream.balance.lease(self.worker.index(), Instant::now(), &tried, pick) else {
                return Err(failed.map_or(Refusal::NoEndpoint, Refusal::Dial));
            };
            dialling.endpoint().url().clone_into(&mut self.record.endpoint);
            let (id, is_probe) = (dialling.endpoint().id(), dialling.is_probe());
            let (address, timeouts) = (dialling.endpoint().address(), dialling.bounded(timeouts));
            match upstream::dial(address, request.clone(), &timeouts, self.worker.resolver()).await {
                Ok(upgraded) => return Ok((dialling.connected(), upgraded)),
                Err(error) => {
                    self.record.tried.push(Tried {
                        endpoint: dialling.endpoint().url().to_owned(),
                        outcome: error.outcome(),
                        error: error.to_string(),
                    });
                    dialling.failed(&error);
                    // Who finds out for the others that an endpoint still takes no connections has lost nothing by it.
                    let is_free = is_probe && !error.was_sent() && !std::mem::replace(&mut has_probed, true);
                    if !is_free {
                        if !error.is_retryable() || left == 0 {
                            return Err(Refusal::Dial(error));
                        }
                        left -= 1;
                    }
                    if !tried.contains(&id) {
                        tried.push(id);
                    }
                    failed = Some(error);
                }
            }
        }
    }

    /// Gives the client its 101 and joins the two sockets; `None` when the client has left.
    pub(super) async fn switch(self, requests: Requests<Transport>, joined: Joined) -> Option<Open> {
        let Joined { agreed, upstream, route, to, endpoint, opening, accepted, client_headers, permit } = joined;
        let answer = opening.answer(accepted, &client_headers);
        let record = self.record;
        let switched = pin!(requests.switch(answer));
        let Ok(Ok(client)) = timeout(ANSWER_TIMEOUT, switched).await else {
            record.refused(HandshakeOutcome::ClientGone, None);
            return None;
        };
        record.opened();
        route.metrics.of(self.worker.index()).connections_active.add(1);
        let Record { connection, client: address, started_at, host, path, channel, attributes, .. } = record;
        let connection = Connection {
            id: connection.into(),
            client: address,
            route: RefCell::new(route),
            followed: Cell::new(agreed.decided),
            upstream: to,
            lease: endpoint,
            started_at,
            opened_at: Instant::now(),
            handle: Rc::default(),
            logged: Box::new(Logged::new(&host, &path, channel, attributes)),
        };
        Some(Open::new(self.worker, connection, client, upstream, agreed, permit))
    }

    /// Answers with a refusal; whether the connection may go on.
    pub(super) async fn refuse(&mut self, requests: &mut Requests<Transport>, refusal: Refusal) -> bool {
        let route = self.record.route.as_ref().map_or("", |route| &route.name);
        refusal.log(route, &self.record.connection);
        self.record.reason = refusal.reason();
        let outcome = refusal.outcome();
        if matches!(refusal, Refusal::ClientGone) {
            self.record.refused(outcome, None);
            return false;
        }
        let response = refusal.response();
        let status = response.status().as_u16();
        let answered = timeout(ANSWER_TIMEOUT, requests.answer(response)).await;
        self.record.refused(outcome, Some(status));
        matches!(answered, Ok(Ok(())))
    }
}

/// How long a client may take to read an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
