//! Routes, as they were checked.

use std::{collections::BTreeMap, time::Duration};

use http::StatusCode;
use http::header::{HeaderMap, HeaderName};

use super::{Authorize, ComponentUse, File, RouteToken, Upstream};
use crate::answers::Redirect;
use crate::bridge::{Reply, Telling};
use crate::config::source::Place;
use crate::handshake::Access;
use crate::http::FieldRules;
use crate::pipe::{Limits, Timers};
use crate::route::{HostPattern, Origins, PathPattern};
use crate::session::{AdmissionLimits, OnChange};

/// Which handshakes are served, by what, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique.
    pub name: String,
    /// Empty: any host.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathPattern,
    /// Predicates that must all hold.
    pub when: Vec<ComponentUse>,
    /// Filters in the order of client messages.
    pub filters: Vec<ComponentUse>,
    /// Where connections go.
    pub target: Target,
    /// How plain requests are served; `None`: they are not.
    pub http: Option<Http>,
    /// Which networks clients may come from.
    pub access: Access,
    /// How plain requests become messages; `None`: they do not.
    pub bridge: Option<Bridge>,
    /// The origins that may connect, as browsers write them; `None`: all may.
    pub allowed_origins: Option<Origins>,
    /// The token that who comes has to have; `None`: none.
    pub token: Option<RouteToken>,
    /// Whom it asks whether clients may come in; `None`: nobody.
    pub authorize: Option<Authorize>,
    /// Timers once connections are open.
    pub timers: Timers,
    /// How long the upstream may take to answer the handshake.
    pub handshake_timeout: Duration,
    /// Sizes of messages and frames.
    pub limits: Limits,
    /// Whom it lets in.
    pub admission: AdmissionLimits,
    /// Whether `X-Forwarded-*` and `Forwarded` are appended.
    pub forwarded_headers: bool,
    /// The header that carries the channel's group id; `None`: off.
    pub group_id_header: Option<HeaderName>,
    /// What is done to the fields of requests for the upstream.
    pub request_headers: FieldRules,
    /// What is done to the fields of answers.
    pub response_headers: FieldRules,
    /// What open connections do when a reload changes the route.
    pub on_change: OnChange,
    /// Where it is declared.
    pub place: Place,
}

/// How a route serves plain requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where they go, a key of [`Config::upstreams`](super::Config::upstreams); `None`: where connections do.
    pub upstream: Option<String>,
    /// How long the first byte of an answer may take; `None`: for ever.
    pub request_timeout: Option<Duration>,
    /// The largest body of a request; `None`: any.
    pub max_body_size: Option<u64>,
}

/// How plain requests become messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bridge {
    /// What they are answered with.
    pub reply: Reply,
    /// How long one may take.
    pub timeout: Duration,
    /// How many connections they share.
    pub connections: usize,
    /// How many may wait or be under way.
    pub queue: usize,
}

/// Where a route's connections go.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// To this upstream, a key of [`Config::upstreams`](super::Config::upstreams).
    Upstream(String),
    /// To the upstream of the service that the request names; one that names none takes the next route.
    Services(Services),
    /// Nowhere: all requests get this answer.
    Answer(Answer),
    /// Nowhere: all requests are sent elsewhere.
    Redirect(Redirect),
    /// To an application that is told of them over HTTP.
    Application(Application),
}

/// An application that is told of WebSockets.
#[derive(Clone, Debug, PartialEq)]
pub struct Application {
    /// Where it is: an upstream like any other, of this route alone.
    pub upstream: Box<Upstream>,
    /// What it is told.
    pub telling: Telling,
}

impl Route {
    /// The application that is told of its WebSockets, and the name of its upstream, which none in a file can have.
    pub fn application(&self) -> Option<(String, &Application)> {
        match &self.target {
            Target::Application(application) => Some((format!("bridge:{}", self.name), application)),
            _ => None,
        }
    }
}

/// An answer that is always the same.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields, beside those that say what its content is.
    pub headers: HeaderMap,
    /// Its content.
    pub content: Content,
}

/// What an answer has beside its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Nothing,
    /// A text.
    Text(String),
    /// What a file holds.
    File(File),
}

/// How a request names a service (first by header, then by path), and who serves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Services {
    /// The headers that may name it; the first present wins.
    pub headers: Vec<HeaderName>,
    /// Path prefixes of whole segments, without a slash at the end, and their services; the longest wins.
    pub prefixes: BTreeMap<PathPattern, String>,
    /// The upstream of each service. Every service of `prefixes` is here.
    pub upstreams: BTreeMap<String, String>,
}
