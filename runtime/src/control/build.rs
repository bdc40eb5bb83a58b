//! From sources to a snapshot.

mod upstreams;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use http::header::HeaderValue;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::answers;
use super::authorize::authorizer;
use super::endpoints::HandOver;
use super::findings::Findings;
use super::listeners;
use super::memory;
use super::plan::{Change, Plan};
use super::sources::Sources;
use super::steps::{Step, Steps};
use super::{tls, tokens};
use crate::acme::Acme;
use crate::answers::Answer;
use crate::bridge::{Application, Terms};
use crate::component::{
    BalancerUse, Component, Configuration, ConfigureError, FilterUse, Host, Moment, OnFailure, PredicateUse,
};
use crate::config::{self, ComponentUse, Problems};
use crate::handshake::{Forwarding, Networks};
use crate::inquiry::Desk;
use crate::listener::Settings;
use crate::metrics::Metrics;
use crate::pipe::Timers;
use crate::rollout::{Candidacy, Candidate, Decisions, Rollout};
use crate::route::{HostPattern, Matcher, RouteTable, Services};
use crate::session::{Admission, Http, Route, Snapshot, Target, Upstream};
use crate::tls::{Keys, Server};
use crate::token::{Issuers, Requirement, Rules};

/// Compiles, links and configures everything in `sources`, and says what is another than in `previous`, with the sources
/// that it was built from. What is the same is taken from there. What is decided about candidates since this has `begun`
/// holds for what is built, too.
///
/// Takes as long as compiling takes: not for a worker, and not for the thread that answers the admin API. Changes nothing
/// of `previous`, so that what is built may as well be dropped; where `steps` are given up, the rest is left out.
///
/// # Errors
/// Everything that is wrong, each with its place in the configuration. Nothing is in force then that was not before.
pub fn build(
    sources: &Sources,
    previous: Option<(&Snapshot, &Sources)>,
    begun: Moment,
    generation: u64,
    means: &Means<'_>,
    steps: &Steps<'_>,
) -> Result<Built, Problems> {
    let Means { host, metrics, issuers, .. } = *means;
    let findings = Findings::new(sources.config.problems());
    let mut builder = Builder {
        sources,
        previous: previous.map(|(snapshot, before)| Previous::new(snapshot, Plan::between(before, sources))),
        begun,
        generation,
        means,
        host,
        metrics,
        steps,
        components: BTreeMap::new(),
        answered: Answered::default(),
        endpoints: HandOver::default(),
        tokens: BTreeMap::new(),
        findings,
    };
    builder.tokens = tokens::rules(sources, issuers, &mut builder.findings);
    builder.load_components();
    let upstreams = builder.upstreams();
    let trusted = sources.config.trusted_proxies.clone();
    let routes = builder.routes(&upstreams, &trusted);
    let (departed, former) = (builder.departed(&routes), builder.former(&upstreams));
    let doors = builder.doors();
    let Builder { components, mut findings, previous, endpoints, .. } = builder;
    let listeners = listeners::listeners(sources, &doors, means, &mut findings);
    // What is wrong is among the findings.
    let admin = tls::admin(sources, means, &mut findings).unwrap_or_default();
    if steps.are_given_up() {
        findings.given_up();
    }
    let problems = findings.into_problems();
    if !problems.is_empty() {
        return Err(problems);
    }
    let drain_time = sources.config.drain_time;
    let assembly_memory = memory::bytes(sources.config.assembly_memory);
    let routes = RouteTable::new(routes);
    let snapshot = Snapshot {
        generation,
        drain_time,
        assembly_memory,
        errors: answers::errors(sources),
        routes,
        trusted,
        upstreams,
        components,
        former,
        departed,
        doors,
    };
    let plan = previous.map_or_else(Plan::default, |it| it.plan.with_effects(it.snapshot, &snapshot));
    Ok(Built { snapshot, listeners, admin, plan, endpoints })
}

/// How plain requests on a route become messages.
fn bridge(route: &config::Route) -> Option<Arc<Terms>> {
    let config::Bridge { reply, timeout, connections, queue } = *route.bridge.as_ref()?;
    let host = route.hosts.iter().find_map(|host| match host {
        HostPattern::Exact(host) => HeaderValue::from_str(host).ok(),
        HostPattern::Subdomains(_) => None,
    });
    Some(Arc::new(Terms {
        path: if route.path.is_any() { "/".to_owned() } else { route.path.path().to_owned() },
        segments: route.path.segments(),
        host: host.unwrap_or(HeaderValue::from_static("localhost")),
        reply,
        timeout,
        connections,
        max_message_size: route.limits.max_message_size,
        places: Arc::new(Semaphore::new(queue)),
    }))
}

/// The timers of a route. An upstream within the process is not asked whether it is there.
fn timers(route: &config::Route) -> Timers {
    let timers = route.timers.clone();
    Timers { ping_upstream: timers.ping_upstream && route.application().is_none(), ..timers }
}

/// What can be put in force.
#[derive(Debug)]
pub struct Built {
    /// To be put in force, after its endpoints were handed in.
    pub snapshot: Snapshot,
    /// What each listener goes by, in the order of the configuration.
    pub listeners: Vec<Arc<Settings>>,
    /// What the admin API answers TLS with, where it speaks it.
    pub admin: Option<Server>,
    /// What is another in it.
    pub plan: Plan,
    /// The endpoints of its upstreams, where they are others.
    pub endpoints: HandOver,
}

/// What a configuration is built with.
#[derive(Clone, Copy, Debug)]
pub struct Means<'a> {
    /// Where components run.
    pub host: &'a Host,
    /// Where everything is counted.
    pub metrics: &'a Metrics,
    /// What tickets of TLS sessions are made with.
    pub keys: &'a Arc<Keys>,
    /// Whose keys tokens are verified with.
    pub issuers: &'a Issuers,
    /// Where workers leave questions to other servers.
    pub desk: &'a Desk,
    /// Who keeps certificates that renew themselves.
    pub acme: &'a Acme,
}

struct Builder<'a> {
    sources: &'a Sources,
    previous: Option<Previous<'a>>,
    begun: Moment,
    generation: u64,
    means: &'a Means<'a>,
    host: &'a Host,
    metrics: &'a Metrics,
    steps: &'a Steps<'a>,
    components: BTreeMap<String, Component>,
    answered: Answered,
    endpoints: HandOver,
    /// By name.
    tokens: BTreeMap<String, Arc<Rules>>,
    findings: Findings,
}

/// What is in force.
struct Previous<'a> {
    snapshot: &'a Snapshot,
    /// By name.
    routes: HashMap<&'a str, &'a Arc<Route>>,
    /// What is another in what is built.
    plan: Plan,
}

impl<'a> Previous<'a> {
    fn new(snapshot: &'a Snapshot, plan: Plan) -> Self {
        let routes = snapshot.routes.routes().map(|route| (route.name.as_str(), route)).collect();
        Self { snapshot, routes, plan }
    }

    /// Whom a route of this name has let in.
    fn admission(&self, name: &str) -> Option<&Admission> {
        let route = self.routes.get(name).map(|route| &route.admission);
        route.or_else(|| self.snapshot.departed.get(name))
    }
}

/// What components have answered to a configuration, so that each is asked once, on however many routes it is.
#[derive(Default)]
struct Answered {
    predicates: Answers<PredicateUse>,
    balancers: Answers<BalancerUse>,
    filters: Answers<FilterUse>,
}

/// By component and configuration: a use that is like all others, or why there is none.
type Answers<T> = BTreeMap<(String, Configuration), Result<Arc<T>, Arc<ConfigureError>>>;

impl Builder<'_> {
    /// Compiles every component whose bytes or limits are not what they were.
    fn load_components(&mut self) {
        for (name, component) in &self.sources.config.components {
            let Some(bytes) = self.sources.components.get(name) else { continue };
            let kept = self.previous.as_ref().filter(|previous| previous.plan.keeps_component(name));
            let kept = kept.and_then(|previous| previous.snapshot.components.get(name).cloned());
            let load = || {
                self.host
                    .load(name, bytes, component.limits.clone())
                    .inspect(|it| self.metrics.compiled(it.compile_source()))
            };
            if kept.is_none() && !self.steps.take(Step::Compiling(name.clone())) {
                return;
            }
            let loaded = kept.map_or_else(load, Ok);
            match loaded {
                Ok(component) => {
                    self.components.insert(name.clone(), component);
                }
                Err(error) => self.findings.unloadable(name, component, &error),
            }
        }
    }

    fn routes(
        &mut self,
        upstreams: &BTreeMap<String, Arc<Upstream>>,
        trusted: &Networks,
    ) -> Vec<(Matcher, Arc<Route>)> {
        let mut routes = Vec::new();
        for route in &self.sources.config.routes {
            let before = self.previous.as_ref().and_then(|previous| previous.routes.get(route.name.as_str()));
            let before = before.map(|before| Arc::clone(before));
            let change = self.previous.as_ref().and_then(|previous| previous.plan.routes.get(&route.name));
            let is_passing = change.is_some_and(Change::is_passing);
            if let Some(before) = before.as_ref().filter(|_| change.is_none()) {
                let placed = self.placed(route, upstreams);
                routes.extend(placed.map(|(matcher, _)| (matcher, before.clone())));
                continue;
            }
            let when: Vec<_> = route
                .when
                .iter()
                .filter_map(|wanted| {
                    self.predicate(&route.name, wanted, before.as_ref().map_or(&[], |before| &before.when))
                })
                .collect();
            let filters: Vec<_> = route
                .filters
                .iter()
                .enumerate()
                .filter_map(|(place, wanted)| {
                    let before: Vec<_> = before.iter().flat_map(|before| known(&before.filters, place)).collect();
                    self.filter(&route.name, wanted, &before)
                })
                .collect();
            let Some((matcher, target)) = self.placed(route, upstreams) else { continue };
            let http = match &route.http {
                None => None,
                Some(config::Http { upstream, request_timeout, max_body_size }) => {
                    let other = upstream.as_ref().map(|name| upstreams.get(name).cloned());
                    // One that could not be built has been told of.
                    let Some(upstream) = other.map_or(Some(None), |other| other.map(Some)) else { continue };
                    Some(Http { upstream, request_timeout: *request_timeout, max_body_size: *max_body_size })
                }
            };
            let forwarding = Forwarding {
                append: route.forwarded_headers,
                trusted: trusted.clone(),
                group_id: route.group_id_header.clone(),
            };
            let metrics = self.metrics.route(&route.name);
            if http.is_some() {
                // So that they are shown before the first request.
                metrics.of(self.metrics.control()).requests();
            }
            let built = Route {
                name: route.name.clone(),
                on_change: route.on_change,
                since: before.as_ref().filter(|_| is_passing).map_or(self.generation, |before| before.since),
                when,
                filters,
                target,
                http,
                bridge: bridge(route),
                application: self.application(route),
                access: route.access.clone(),
                origins: route.allowed_origins.clone(),
                token: self.requirement(route),
                authorizer: authorizer(route, self.sources, self.means, &mut self.findings),
                timers: Arc::new(timers(route)),
                limits: Arc::new(route.limits.clone()),
                handshake_timeout: route.handshake_timeout,
                admission: self.admission(route),
                forwarding,
                request_headers: route.request_headers.clone(),
                response_headers: route.response_headers.clone(),
                metrics,
            };
            routes.push((matcher, Arc::new(built)));
        }
        routes
    }

    /// The application that a route tells of its WebSockets.
    fn application(&self, route: &config::Route) -> Option<Arc<Application>> {
        let telling = route.application()?.1.telling.clone();
        Some(Arc::new(Application { telling, metrics: self.metrics.application(&route.name) }))
    }

    /// The token that a route asks for.
    fn requirement(&self, route: &config::Route) -> Option<Requirement> {
        let config::RouteToken { name, from } = route.token.as_ref()?;
        Some(Requirement { rules: self.tokens.get(name)?.clone(), from: from.clone() })
    }

    /// Whom a route lets in. What its name has counted so far goes on counting.
    fn admission(&self, route: &config::Route) -> Admission {
        let before = self.previous.as_ref().and_then(|previous| previous.admission(&route.name));
        before.map_or_else(|| Admission::new(route.admission), |before| before.limited(route.admission))
    }

    /// Whom each listener lets in, by its address in the configuration. What it has counted so far goes on counting, also
    /// where the listener is gone, as long as somebody is there.
    fn doors(&self) -> BTreeMap<String, Admission> {
        let before = self.previous.as_ref().map(|previous| &previous.snapshot.doors);
        let now = Instant::now();
        let gone = before.into_iter().flatten().filter(|(_, admission)| !admission.is_idle(now));
        let mut doors: BTreeMap<_, _> = gone.map(|(address, admission)| (address.clone(), admission.clone())).collect();
        for listener in &self.sources.config.listeners {
            let address = listener.listen.to_string();
            let known = before.and_then(|before| before.get(&address));
            let admission =
                known.map_or_else(|| Admission::new(listener.admission), |known| known.limited(listener.admission));
            doors.insert(address, admission);
        }
        doors
    }

    /// What is to be remembered of routes that are not among these.
    fn departed(&self, routes: &[(Matcher, Arc<Route>)]) -> BTreeMap<String, Admission> {
        let Some(previous) = &self.previous else { return BTreeMap::new() };
        let (now, names): (_, HashSet<_>) = (Instant::now(), routes.iter().map(|(_, route)| &route.name).collect());
        let known = previous.snapshot.routes.routes().map(|route| (&route.name, &route.admission));
        let known = known.chain(&previous.snapshot.departed);
        let departed = known.filter(|(name, admission)| !names.contains(name) && !admission.is_idle(now));
        departed.map(|(name, admission)| (name.clone(), admission.clone())).collect()
    }

    /// Which handshakes a route takes, and where to.
    fn placed(&self, route: &config::Route, upstreams: &BTreeMap<String, Arc<Upstream>>) -> Option<(Matcher, Target)> {
        let target = match &route.target {
            config::Target::Upstream(name) => Target::Upstream(upstreams.get(name)?.clone()),
            config::Target::Services(services) => {
                let prefixes = services.prefixes.iter();
                let prefixes = prefixes.map(|(prefix, service)| (prefix.clone(), service.as_str().into()));
                let known = services.upstreams.iter();
                let known = known.filter_map(|(id, name)| Some((id.as_str().into(), upstreams.get(name)?.clone())));
                Target::Services(Box::new(Services::new(services.headers.clone(), prefixes, known)))
            }
            config::Target::Answer(wanted) => Target::Answer(Arc::new(answers::answer(wanted, self.sources)?)),
            config::Target::Application(_) => Target::Upstream(upstreams.get(&route.application()?.0)?.clone()),
            config::Target::Redirect(redirect) => Target::Answer(Arc::new(Answer::Redirect(redirect.clone()))),
        };
        Some((Matcher { hosts: route.hosts.clone(), path: route.path.clone() }, target))
    }

    fn predicate(
        &mut self,
        route: &str,
        wanted: &ComponentUse,
        before: &[Arc<PredicateUse>],
    ) -> Option<Arc<PredicateUse>> {
        let component = self.components.get(&wanted.component).filter(|_| !self.steps.are_given_up())?;
        let kept = before.iter().find(|kept| kept.component().is(component) && *kept.config() == wanted.config);
        let made = match kept {
            Some(kept) => Ok(kept.clone()),
            None => answer(
                &mut self.answered.predicates,
                wanted,
                || {
                    self.steps.configuring(&wanted.component);
                    component.predicate(route, &wanted.config, self.metrics)
                },
                |known| known.again(route, self.metrics),
            ),
        };
        self.findings.configured(&wanted.component, &wanted.place, made)
    }

    fn filter(&mut self, route: &str, wanted: &ComponentUse, before: &[&Rollout]) -> Option<Rollout> {
        let component = self.components.get(&wanted.component).filter(|_| !self.steps.are_given_up())?;
        let on_failure = wanted.on_failure;
        let kept = before.iter().map(|known| known.filter()).find(|kept| {
            kept.component().is(component) && *kept.config() == wanted.config && kept.on_failure() == on_failure
        });
        let made = match kept {
            Some(kept) => Ok((*kept).clone()),
            None => answer(
                &mut self.answered.filters,
                wanted,
                || {
                    self.steps.configuring(&wanted.component);
                    component.filter(route, &wanted.config, on_failure, self.generation, self.metrics)
                },
                |known| known.again(route, on_failure, self.generation, self.metrics),
            ),
        };
        let filter = self.findings.configured(&wanted.component, &wanted.place, made);
        let candidate = match &wanted.candidate {
            Some(candidate) => Some(self.candidate(route, &wanted.component, on_failure, candidate, before)?),
            None => None,
        };
        Some(Rollout::new(filter?, candidate))
    }

    /// The candidate for a filter; the one that there was if nothing about it has changed.
    fn candidate(
        &mut self,
        route: &str,
        of: &str,
        on_failure: OnFailure,
        wanted: &config::Candidate,
        before: &[&Rollout],
    ) -> Option<Candidate> {
        let component = self.components.get(&wanted.component).filter(|_| !self.steps.are_given_up())?;
        let terms = &wanted.terms;
        let is_alike = |known: &&Candidate| {
            known.of() == of && known.terms() == terms && *known.filter().config() == wanted.config
        };
        let former = || {
            let known = before.iter().filter_map(|known| known.candidate());
            known.filter(|known| known.filter().component().name() == component.name())
        };
        let alike = former().find(is_alike);
        if let Some(known) = alike.filter(|known| known.filter().component().is(component)) {
            let is_same = known.filter().on_failure() == on_failure;
            let again = || known.again(on_failure, self.generation, self.metrics);
            return Some(if is_same { known.clone() } else { again() });
        }
        // A new build of a promoted component takes its place; any other begins a trial of its own.
        let decisions = match alike.or_else(|| former().next()) {
            Some(known) => known.decisions(self.begun, alike.is_some()),
            None => Decisions::none(),
        };
        let candidacy = Candidacy { of: of.to_owned(), terms: terms.clone(), decisions };
        self.steps.configuring(&wanted.component);
        let (generation, metrics) = (self.generation, self.metrics);
        let made = Candidate::new(component, route, &wanted.config, on_failure, generation, metrics, candidacy);
        let made = made.map_err(Arc::new);
        self.findings.configured(&wanted.component, &wanted.place, made)
    }
}

/// Asks a component, unless it has answered to the same configuration elsewhere: then that answer holds here, too.
fn answer<T>(
    answers: &mut Answers<T>,
    wanted: &ComponentUse,
    ask: impl FnOnce() -> Result<Arc<T>, ConfigureError>,
    again: impl FnOnce(&T) -> Arc<T>,
) -> Result<Arc<T>, Arc<ConfigureError>> {
    match answers.entry((wanted.component.clone(), wanted.config.clone())) {
        Entry::Vacant(place) => place.insert(ask().map_err(Arc::new)).clone(),
        Entry::Occupied(known) => known.get().as_ref().map(|known| again(known)).map_err(Arc::clone),
    }
}

/// What a place in a chain may have had before: first of all what was in that very place.
fn known(before: &[Rollout], place: usize) -> impl Iterator<Item = &Rollout> {
    before.get(place).into_iter().chain(before)
}

#[cfg(test)]
mod tests;
