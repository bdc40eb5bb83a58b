//! What is in force: the configuration with its components linked, immutable, shared by all workers.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::limit::Admission;
use crate::answers::{Answer, ErrorPages};
use crate::authorize::Authorizer;
use crate::balance::Balance;
use crate::bridge::{Application, Terms};
use crate::component::{AnyUse, BalancerUse, Component, Moment, PredicateUse};
use crate::exchange::Keeping;
use crate::handshake::{Access, Forwarding, Networks};
use crate::http::{FieldRules, Host};
use crate::metrics::RouteMetrics;
use crate::pipe::{Limits, Timers};
use crate::rollout::{Candidate, Rollout};
use crate::route::{Origins, RouteTable, Services};
use crate::tls;
use crate::token::Requirement;
use crate::transport::{Http2Limits, Liveness};

/// One generation of the configuration. A worker reads it once for each handshake; a connection keeps what it needs.
#[derive(Debug)]
pub struct Snapshot {
    /// Counted from 1.
    pub generation: u64,
    /// The time over which connections are closed that are not to go on.
    pub drain_time: Duration,
    /// The bytes that all workers together may hold of messages that have begun and not ended.
    pub assembly_memory: usize,
    /// What stands in the place of what the proxy says itself.
    pub errors: ErrorPages,
    /// By host and path.
    pub routes: RouteTable<Arc<Route>>,
    /// The peers whose word about clients is believed.
    pub trusted: Networks,
    /// By name.
    pub upstreams: BTreeMap<String, Arc<Upstream>>,
    /// By name.
    pub components: BTreeMap<String, Component>,
    /// By name, the endpoints of upstreams that were there before, as long as connections have to do with them: they may
    /// come back, too.
    pub former: BTreeMap<String, Weak<Balance>>,
    /// By name, whom routes have let in that were there before, as far as they have not forgotten it: they may come back.
    pub departed: BTreeMap<String, Admission>,
    /// Whom listeners let in, by their addresses in the configuration; also those that are gone, as long as somebody is there.
    pub doors: BTreeMap<String, Admission>,
}

impl Snapshot {
    /// The ids of all uses of components that this generation needs.
    pub fn uses(&self) -> impl Iterator<Item = u64> + '_ {
        let routes = self.routes.routes().flat_map(|route| {
            let filters = route.filters.iter().flat_map(Rollout::needed);
            route.when.iter().map(|predicate| predicate.id()).chain(filters.map(|filter| filter.id()))
        });
        routes.chain(self.upstreams.values().map(|upstream| upstream.balancer.id()))
    }

    /// All uses of components in this generation.
    pub fn all_uses(&self) -> impl Iterator<Item = AnyUse> + '_ {
        let routes = self.routes.routes().flat_map(|route| {
            let filters = route.filters.iter().flat_map(Rollout::all);
            route.when.iter().map(|predicate| predicate.any()).chain(filters.map(|filter| filter.any()))
        });
        routes.chain(self.upstreams.values().map(|upstream| upstream.balancer.any()))
    }
}

/// Which handshakes are served, by what, and how.
#[derive(Debug)]
pub struct Route {
    /// Unique.
    pub name: String,
    /// What its open connections do when a reload changes it.
    pub on_change: OnChange,
    /// The generation that has last changed it in a way that makes a difference to its connections, or to who may open one.
    pub since: u64,
    /// Predicates that must all hold.
    pub when: Vec<Arc<PredicateUse>>,
    /// Filters, in the order of client messages.
    pub filters: Vec<Rollout>,
    /// Where connections go.
    pub target: Target,
    /// How plain requests are served; `None`: they are not.
    pub http: Option<Http>,
    /// How plain requests become messages; `None`: they do not.
    pub bridge: Option<Arc<Terms>>,
    /// The application that is told of its WebSockets, where `target` is no upstream that speaks WebSocket.
    pub application: Option<Arc<Application>>,
    /// Which networks clients may come from.
    pub access: Access,
    /// The origins that may connect; `None`: all.
    pub origins: Option<Origins>,
    /// The token that who comes has to have; `None`: none.
    pub token: Option<Requirement>,
    /// Whom it asks whether clients may come in; `None`: nobody.
    pub authorizer: Option<Authorizer>,
    /// Timers of an open connection.
    pub timers: Arc<Timers>,
    /// Size limits of an open connection.
    pub limits: Arc<Limits>,
    /// How long an upstream may take to answer the handshake.
    pub handshake_timeout: Duration,
    /// Whom it lets in.
    pub admission: Admission,
    /// What upstreams are told about clients.
    pub forwarding: Forwarding,
    /// What is done to the fields of requests for the upstream.
    pub request_headers: FieldRules,
    /// What is done to the fields of answers.
    pub response_headers: FieldRules,
    /// What is counted.
    pub metrics: Arc<RouteMetrics>,
}

impl Route {
    /// When it was last decided who serves it, of its filters and the candidates for them.
    pub fn decided(&self) -> Moment {
        self.filters.iter().map(Rollout::changed).max().unwrap_or_default()
    }

    /// Whether its filters, and the candidates for them, are these very ones.
    pub fn has_filters(&self, filters: &[Rollout]) -> bool {
        self.filters.len() == filters.len() && self.filters.iter().zip(filters).all(|(own, other)| own.is(other))
    }

    /// The candidates for its filters.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.filters.iter().filter_map(Rollout::candidate)
    }

    /// Whether some filter, or a candidate for one, wants to see messages. Then no extension but permessage-deflate is
    /// negotiated, so that it can.
    pub fn reads_messages(&self) -> bool {
        self.filters.iter().flat_map(Rollout::needed).any(|filter| {
            let interest = filter.interest();
            !interest.from_client.is_empty() || !interest.from_upstream.is_empty()
        })
    }
}

/// What the open connections of a route do when a reload changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChange {
    /// Changed filters take over between two messages.
    Swap,
    /// Nothing.
    Keep,
    /// They are closed with 1012.
    Drain,
}

/// How a route serves plain requests.
#[derive(Debug)]
pub struct Http {
    /// Where they go; `None`: where connections do.
    pub upstream: Option<Arc<Upstream>>,
    /// How long the first byte of an answer may take; `None`: for ever.
    pub request_timeout: Option<Duration>,
    /// The largest body of a request; `None`: any.
    pub max_body_size: Option<u64>,
}

/// Where a route's connections go.
#[derive(Debug)]
pub enum Target {
    /// To one upstream.
    Upstream(Arc<Upstream>),
    /// To the upstream of the service that the request names.
    Services(Box<Services<Arc<Upstream>>>),
    /// Nowhere: requests are answered.
    Answer(Arc<Answer>),
}

/// Endpoints that are interchangeable, and who chooses among them.
#[derive(Debug)]
pub struct Upstream {
    /// The endpoints, as they are at each moment: when they change, the upstream is the same.
    pub balance: Arc<Balance>,
    /// The balancer.
    pub balancer: Arc<BalancerUse>,
    /// How many further attempts a handshake has.
    pub retries: u32,
    /// How long resolving and connecting may take.
    pub connect_timeout: Duration,
    /// Which `Host` requests to it have.
    pub host: Host,
    /// How TLS is spoken to its endpoints, where one does.
    pub tls: Option<tls::Client>,
    /// Whether each connection to it begins with a header of the PROXY protocol, version 2.
    pub proxy_protocol: bool,
    /// How its endpoints are asked over HTTP/2 where they know WebSockets over it; `None`: they are not.
    pub http2: Option<Http2Limits>,
    /// How it is noticed that an endpoint has vanished.
    pub liveness: Liveness,
    /// Which connections are kept for further plain requests.
    pub keeping: Keeping,
}
