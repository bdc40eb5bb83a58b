//! A checked configuration: every reference holds, every value is within its bounds.

mod admin;
mod discover;
mod route;
mod tls;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use http::{StatusCode, Uri};

pub use self::admin::{Admin, AdminToken, Role};
pub use self::discover::Discover;
pub use self::route::{Answer, Application, Bridge, Content, Http, Route, Services, Target};
pub use self::tls::{Acme, CertificateFiles, ClientAuth, File, Tls, UpstreamTls};
use super::{
    problem::Problems,
    source::{Place, Source},
};
use crate::answers::Redirect;
use crate::authorize;
use crate::component::{self, Configuration, Kind, OnFailure};
use crate::exchange::Keeping;
use crate::handshake::{Access, Networks};
use crate::http::{Host, Paths};
use crate::listener::{self, Claim, Rights};
use crate::log;
use crate::rollout::Terms;
use crate::session::AdmissionLimits;
use crate::token::{self, Secret};
use crate::transport::{Http2Limits, Liveness};
use crate::upstream::Address;

/// Everything that one file says. Two are equal when they say the same, whatever their files look like.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How many worker threads; `None`: one for each core.
    pub workers: Option<NonZeroUsize>,
    /// The time over which draining closes connections; zero: all at once.
    pub drain_time: Duration,
    /// How long a new process may take, in a binary upgrade, until it is ready to serve.
    pub upgrade_timeout: Duration,
    /// How long a reload may take until it is given up.
    pub reload_timeout: Duration,
    /// How many connections the process holds at most; `None`: what its limit of open files allows.
    pub max_connections: Option<NonZeroUsize>,
    /// What all workers together may hold of messages that have begun and not ended, for filters that wait for them.
    pub assembly_memory: MemorySize,
    /// Whether files that change are reloaded by themselves.
    pub watch: bool,
    /// Where compiled components are kept; `None`: nowhere.
    pub cache_directory: Option<CacheDirectory>,
    /// How many instances that serve one connection each there are at most; `None`: what the system allows.
    pub max_isolated_instances: Option<NonZeroUsize>,
    /// The peers whose forwarded headers are believed.
    pub trusted_proxies: Networks,
    /// The admin API; `None`: there is none.
    pub admin: Option<Admin>,
    /// What is logged.
    pub log: log::Settings,
    /// At least one.
    pub listeners: Vec<Listener>,
    /// Every component that is declared or used, by its name.
    pub components: BTreeMap<String, Component>,
    /// By name.
    pub tokens: BTreeMap<String, Tokens>,
    /// By name.
    pub upstreams: BTreeMap<String, Upstream>,
    /// Pages in the place of what the proxy says itself, by status.
    pub errors: BTreeMap<StatusCode, File>,
    /// At least one, in the order of the file.
    pub routes: Vec<Route>,
    /// The other files that it comes from.
    pub inputs: Inputs,
    pub(super) source: Source,
}

/// The files that a configuration comes from, beside the one that was named: those that it includes, and those with
/// secrets. Also what was looked for and not found, and paths with wildcards in the name. Compares equal always: which
/// files say something is no part of what they say.
#[derive(Clone, Debug, Default, Eq)]
pub struct Inputs(pub Vec<PathBuf>);

impl PartialEq for Inputs {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What can be looked at by itself, however wrong the rest of a configuration is.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    /// See [`Config::cache_directory`].
    pub cache_directory: Option<CacheDirectory>,
    /// See [`Config::components`].
    pub components: BTreeMap<String, Component>,
    /// All uses of components with the kind that each place needs, candidates apart.
    pub uses: Vec<(Kind, ComponentUse)>,
}

impl Config {
    /// What a socket of this address takes: that of `[::]` takes IPv4 too, unless a listener or the admin API has the same
    /// port with IPv4.
    pub fn claim(&self, listen: &listener::Address) -> Claim {
        let admin = self.admin.iter().map(|admin| &admin.listen);
        let mut others =
            self.listeners.iter().map(|listener| &listener.listen).chain(admin).filter_map(listener::Address::socket);
        let only_v6 = listen.socket().is_some_and(|listen| {
            let is_same = |other: SocketAddr| other.port() == listen.port() && other.port() != 0;
            listen.is_ipv6()
                && listen.ip().is_unspecified()
                && others.any(|other| other.ip().to_canonical().is_ipv4() && is_same(other))
        });
        Claim { address: listen.clone(), only_v6 }
    }

    /// An empty report about this file, for what later stages find.
    pub fn problems(&self) -> Problems {
        Problems::new(self.source.clone())
    }

    /// Its parts.
    pub fn parts(&self) -> Parts {
        let mut parts = Parts { cache_directory: self.cache_directory.clone(), ..Parts::default() };
        parts.components = self.components.clone();
        self.upstreams.values().for_each(|upstream| parts.add(Kind::Balancer, &upstream.balance));
        for route in &self.routes {
            route.when.iter().for_each(|used| parts.add(Kind::Predicate, used));
            route.filters.iter().for_each(|used| parts.add(Kind::Filter, used));
        }
        parts
    }
}

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemorySize {
    /// So many bytes.
    Bytes(u64),
    /// A share, 1 to 100 percent, of what the machine has, or its control group allows.
    Percent(u8),
}

impl Parts {
    pub(super) fn add(&mut self, kind: Kind, used: &ComponentUse) {
        self.uses.push((kind, ComponentUse { candidate: None, ..used.clone() }));
        if let Some(candidate) = &used.candidate {
            let Candidate { component, config, place, .. } = (**candidate).clone();
            self.uses.push((kind, ComponentUse { component, config, place, candidate: None, ..used.clone() }));
        }
    }
}

/// Where compiled components are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheDirectory {
    /// A relative path has been resolved against the directory of the configuration.
    pub path: PathBuf,
    /// Where it is declared, for what may be wrong with it.
    pub place: Place,
}

/// A socket that accepts clients.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// The address; port 0 takes a free one.
    pub listen: listener::Address,
    /// Who may connect to a unix socket.
    pub rights: Rights,
    /// The most bytes that the head of a request may have. It is the listener's, because the head is read before the
    /// route is known.
    pub max_header_bytes: usize,
    /// The most fields that it may have.
    pub max_header_fields: usize,
    /// Which paths a request may ask for.
    pub paths: Paths,
    /// How long a client may take to send a request's head.
    pub handshake_timeout: Duration,
    /// Which networks clients may come from.
    pub access: Access,
    /// Whom it lets in.
    pub admission: AdmissionLimits,
    /// Whether connections begin with a header of the PROXY protocol.
    pub is_introduced: bool,
    /// Where its requests are sent; `None`: they are served.
    pub redirect: Option<Redirect>,
    /// What clients speak TLS with; `None`: clear text.
    pub tls: Option<Tls>,
    /// What connections over HTTP/2 are allowed, which over TLS are agreed on by ALPN and in clear text begin with the preface;
    /// `None`: there are none.
    pub http2: Option<Http2Limits>,
    /// How it is noticed that a client has vanished.
    pub liveness: Liveness,
    /// Where it is declared.
    pub place: Place,
}

/// Tokens that routes may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    /// What they have to say, and by which algorithms they are signed.
    pub terms: token::Terms,
    /// The public keys; `None` where all is signed with the secret.
    pub jwks: Option<KeysAt>,
    /// The shared key.
    pub secret: Option<Secret>,
    /// Where they are declared.
    pub place: Place,
}

/// Where public keys are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysAt {
    /// There they are fetched, again and again.
    Url(Uri, Place),
    /// Read with the configuration.
    File(File),
}

/// Which token a route asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteToken {
    /// A key of [`Config::tokens`].
    pub name: String,
    /// Where it may stand.
    pub from: Vec<token::Source>,
}

/// Whom a route asks whether clients may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorize {
    /// What is asked, and what of the answer goes on.
    pub terms: authorize::Terms,
    /// Who has issued the certificate of an `https` server; `None`: somebody whom the system believes.
    pub ca: Option<File>,
    /// Where it is declared.
    pub place: Place,
}

/// A component's bytes and budgets.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// Where its bytes come from.
    pub source: ComponentSource,
    /// What it may use.
    pub limits: component::Limits,
    /// Where it is declared, or first used if it is a standard one without an entry.
    pub place: Place,
}

/// Where the bytes of a component come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ComponentSource {
    /// From the binary.
    Standard,
    /// From a file; a relative path has been resolved against the directory of the configuration.
    File(PathBuf),
}

/// A component with the configuration that it reads for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct ComponentUse {
    /// A key of [`Config::components`].
    pub component: String,
    /// `{}` when the operator wrote none. Times and dates are RFC 3339 strings.
    pub config: Configuration,
    /// What happens to a connection whose component fails; [`OnFailure::Close`] for all but filters.
    pub on_failure: OnFailure,
    /// What is tried in its place; `None` for all but filters.
    pub candidate: Option<Box<Candidate>>,
    /// Where the use stands, for what loading or configuring the component may find.
    pub place: Place,
}

/// A component that is tried in the place of a filter.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// A key of [`Config::components`].
    pub component: String,
    /// That of the filter when the operator wrote none.
    pub config: Configuration,
    /// How it is tried.
    pub terms: Terms,
    /// Where it stands, for what loading or configuring the component may find.
    pub place: Place,
}

/// A set of endpoints that are interchangeable.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// The balancer.
    pub balance: ComponentUse,
    /// How many further attempts a handshake has.
    pub retries: u32,
    /// How long resolving the name and connecting may take.
    pub connect_timeout: Duration,
    /// Which `Host` requests to it have.
    pub host: Host,
    /// How TLS is spoken to endpoints that do; `None`: as is usual.
    pub tls: Option<UpstreamTls>,
    /// Whether each connection to it begins with a header of the PROXY protocol, version 2.
    pub proxy_protocol: bool,
    /// How its endpoints are asked over HTTP/2 where they know WebSockets over it; `None`: they are not.
    pub http2: Option<Http2Limits>,
    /// How it is noticed that an endpoint has vanished.
    pub liveness: Liveness,
    /// Which connections are kept for further plain requests.
    pub keeping: Keeping,
    /// Each url only once; at least one, unless they are found. All of them may be disabled, or of weight 0.
    pub endpoints: Vec<Endpoint>,
    /// Where its endpoints are found; `None`: they are those.
    pub discover: Option<Discover>,
    /// Where it is declared.
    pub place: Place,
}

/// A server that speaks WebSocket.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Where it is.
    pub address: Address,
    /// Its share, relative to the others'; 0 to 65535.
    pub weight: u32,
    /// How long after its start its weight grows; `None`: it has it at once.
    pub warmup: Option<Duration>,
    /// Whether it may be picked.
    pub enabled: bool,
    /// Where it stands; not empty.
    pub zone: Option<String>,
    /// What else balancers may go by.
    pub metadata: BTreeMap<String, String>,
    /// Where it is declared.
    pub place: Place,
}
