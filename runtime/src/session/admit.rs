//! The stage of the filters: each is opened, and has its say about the request and the answer.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::Entrance;
use super::arrive::{Entered, Goal, Routed, Wish};
use super::limit::Entry;
use super::record::Record;
use super::refusal::Refusal;
use super::snapshot::{Route, Upstream};
use super::worker::Worker;
use crate::component::{
    Admission, Failure, FilterUse, Handshake, HeaderEdit, Kind, Moment, OnFailure, Opened, Pool, Session,
};
use crate::exchange;
use crate::handshake::Opening;
use crate::http::UpstreamRequest;
use crate::rollout::{Attached, Candidate, Rollout, Shadow};

/// A request that all filters have admitted.
pub(super) struct Admitted<'w> {
    pub(super) worker: &'w Rc<Worker>,
    pub(super) route: Arc<Route>,
    pub(super) upstream: Arc<Upstream>,
    pub(super) wish: Wish,
    pub(super) entry: Entry,
    /// When the token is over that it came with.
    pub(super) until: Option<Instant>,
    pub(super) followings: u64,
    pub(super) filters: Filters,
    /// What they have for the client's answer.
    pub(super) client_headers: Vec<HeaderEdit>,
    /// As the last of them has seen it, and the balancer will.
    pub(super) handshake: Rc<Handshake>,
    /// What the upstream is asked.
    pub(super) request: UpstreamRequest,
    /// The generation of the configuration that it came in.
    pub(super) generation: u64,
}

/// The filters of one stream.
#[derive(Default)]
pub(super) struct Filters {
    pub(super) sessions: Vec<Session>,
    shadows: Vec<Shadowed>,
    /// When the first of them wants the stream closed.
    pub(super) until: Option<Instant>,
    /// What [`Route::decided`] was when the sessions were opened, or before.
    pub(super) decided: Moment,
}

/// A handshake that a filter has admitted, for the candidate that shadows it.
struct Shadowed {
    /// The filter's place among the sessions.
    place: usize,
    candidate: Candidate,
    handshake: Rc<Handshake>,
    attached: Attached,
}

impl<'w> Entered<'w> {
    /// Opens the route's filters in order, each seeing the attributes of those before it, and makes the upstream's request.
    /// A route that answers by itself does so here.
    pub(super) fn admit(self, entrance: &Entrance, record: &mut Record<'w>) -> Result<Admitted<'w>, Refusal> {
        let Self { routed, goal, entry, until, authorized } = self;
        let (upstream, wish) = match goal {
            Goal::Connection(upstream, opening) => (upstream, Wish::WebSocket(opening)),
            Goal::Exchange(upstream, hop) => (upstream, Wish::Answer(hop)),
            // Which has the connection to itself.
            Goal::Bridge(upstream, _) => (upstream, Wish::WebSocket(Opening::own())),
            Goal::Answer(answer) => return Err(routed.answered(&answer, &record.host)),
        };
        let is_plain = wish.opening().is_none();
        let Routed { worker, mut head, client, followings, route, target, handshake, generation, .. } = routed;
        let mut handshake = Rc::new(handshake);
        let mut filters = Filters { decided: route.decided(), ..Filters::default() };
        let (mut upstream_headers, mut client_headers) = (Vec::new(), Vec::new());
        for place in &route.filters {
            let Some(admission) = admission(worker, &route, place, &handshake, record)? else { continue };
            if !is_plain {
                filters.add_shadow(place, &handshake, &admission);
            }
            let Admission { session, upstream_headers: to_upstream, client_headers: to_client, attributes, lease } =
                admission;
            if is_plain {
                // No message comes, so nobody is asked again.
                let over = lease.and_then(|lease| Instant::now().checked_add(lease));
                filters.until = filters.until.into_iter().chain(over).min();
            } else {
                filters.sessions.push(session);
            }
            upstream_headers.extend(to_upstream);
            client_headers.extend(to_client);
            if !attributes.is_empty() {
                record.attributes.extend_from_slice(&attributes);
                // Sessions opened before keep the handshake as they saw it.
                Rc::make_mut(&mut handshake).attributes.extend(attributes);
            }
        }
        let answer = is_plain.then(|| exchange::pass(&mut head)).flatten();
        if let Some(answer) = answer {
            return Err(Refusal::Answer(Box::new(answer)));
        }
        let edits = authorized.iter().chain(&upstream_headers);
        let (mut request, channel) = route.forwarding.request(head, target, wish.opening(), &client, edits);
        record.channel = channel.and_then(|channel| channel.to_str().ok().map(str::to_owned));
        route.request_headers.apply(&mut request.headers, &record.facts());
        request.host = upstream.host.clone();
        if upstream.proxy_protocol {
            request.introduction = Some(entrance.introduction(&client).write().into());
        }
        if route.reads_messages() {
            request.offer_only_deflate();
        }
        Ok(Admitted {
            worker,
            route,
            upstream,
            wish,
            entry,
            until,
            followings,
            filters,
            client_headers,
            handshake,
            request,
            generation,
        })
    }
}

/// What the filter of a place makes of a handshake; `None` when it has failed and is done without.
fn admission(
    worker: &Worker,
    route: &Route,
    place: &Rollout,
    handshake: &Rc<Handshake>,
    record: &mut Record<'_>,
) -> Result<Option<Admission>, Refusal> {
    let (filter, opened) = open(worker.pool(), place, handshake);
    match opened {
        Ok(Opened::Admitted(admission)) => Ok(Some(admission)),
        Ok(Opened::Refused(refusal)) => {
            filter.component().name().clone_into(&mut record.filter);
            Err(Refusal::Filter(refusal))
        }
        Err(failure) => match filter.on_failure() {
            OnFailure::Close => Err(Refusal::Component(Kind::Filter, failure)),
            OnFailure::Bypass => {
                let (route, connection) = (&route.name, &record.connection);
                tracing::debug!(route, connection, %failure, "a filter failed and is bypassed");
                Ok(None)
            }
        },
    }
}

/// Opens the filter of a place, or the candidate that serves this stream, and says which. One that fails on trial costs
/// nobody a connection.
fn open<'p>(
    pool: &Pool,
    place: &'p Rollout,
    handshake: &Rc<Handshake>,
) -> (&'p Arc<FilterUse>, Result<Opened, Failure>) {
    let (serving, filter) = (place.serving(&handshake.connection_id), place.filter());
    let opened = pool.open(serving, handshake);
    if opened.is_err() && !Arc::ptr_eq(serving, filter) && !place.is_promoted() {
        return (filter, pool.open(filter, handshake));
    }
    (serving, opened)
}

impl Filters {
    fn add_shadow(&mut self, place: &Rollout, handshake: &Rc<Handshake>, admission: &Admission) {
        if let Some(candidate) = place.shadow() {
            self.shadows.push(Shadowed {
                place: self.sessions.len(),
                candidate: candidate.clone(),
                handshake: handshake.clone(),
                attached: Attached::from(admission),
            });
        }
    }

    /// The candidates' own sessions, each with the place of its filter's.
    pub(super) fn shadows(&mut self, pool: &Pool) -> Vec<(usize, Shadow)> {
        let shadows = std::mem::take(&mut self.shadows).into_iter();
        let opened = |Shadowed { place, candidate, handshake, attached }| {
            Shadow::open(&candidate, pool, &handshake, &attached).map(|shadow| (place, shadow))
        };
        shadows.filter_map(opened).collect()
    }
}
