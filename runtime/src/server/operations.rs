//! What the admin API shows of the running server, and does to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::time::Instant;
use tracing::Level;

use super::candidates::{candidate, label};
use super::dismissing::{Dismissed, dismiss};
use super::listing;
use super::pushing;
use super::rebuild::Reloaded;
use super::state::{Drain, InForce, Phase, State};
use crate::admin::{
    Answer, CandidateView, ChangeView, ChangesView, CloseQuery, CloseReport, Closed, ComponentView, ConnectionsQuery,
    ConnectionsView, Decision, DecisionReport, DiscoveryView, DrainPlan, DrainQuery, DrainReport, EndpointView,
    FailingView, FilterView, ImportView, InForceView, Operations, PolledView, Push, Readiness, ReloadReport,
    ReloadStatus, RestoreReport, RouteView, Superseded, UpstreamView, VersionView,
};
use crate::balance::{Endpoint, JustStarted};
use crate::component::OnFailure;
use crate::config::{ComponentSource, Target};
use crate::control::{Change, Plan};
use crate::log::Verbosity;
use crate::metrics::{ConnectOutcome, Version};
use crate::rollout::Candidate;
use crate::session::{Criteria, Dismissal, Pushed};
use crate::ws::CloseFrame;

/// The admin API's hold on the server.
pub(super) struct Control(Arc<State>, Verbosity);

impl Control {
    pub(super) fn new(state: Arc<State>, verbosity: Verbosity) -> Self {
        Self(state, verbosity)
    }
}

impl Operations for Control {
    fn readiness(&self) -> Readiness {
        self.0.readiness()
    }

    fn remarks(&self) -> Vec<String> {
        self.0
            .outlook
            .remarks()
            .into_iter()
            .chain(self.0.ledger.remarks())
            .chain(self.0.acme.remarks())
            .chain(self.0.discovery.remarks())
            .collect()
    }

    fn routes(&self) -> Vec<RouteView> {
        let (snapshot, sources) = (self.0.snapshot.load_full(), self.0.sources());
        let configs: HashMap<_, _> = sources.config.routes.iter().map(|config| (&config.name, config)).collect();
        let views = snapshot.routes.routes().filter_map(|route| {
            let config = configs.get(&route.name)?;
            let (upstream, services, answers) = match &config.target {
                Target::Upstream(name) => (Some(name.clone()), Default::default(), None),
                Target::Services(services) => (None, services.upstreams.clone(), None),
                Target::Answer(answer) => (None, Default::default(), Some(answer.status)),
                Target::Application(_) => (config.application().map(|(name, _)| name), Default::default(), None),
                Target::Redirect(redirect) => (None, Default::default(), Some(redirect.status())),
            };
            let filters = route.filters.iter().map(|place| (place, place.filter())).map(|(place, filter)| FilterView {
                component: filter.component().name().to_owned(),
                on_failure: match filter.on_failure() {
                    OnFailure::Close => "close",
                    OnFailure::Bypass => "bypass",
                },
                interest: filter.interest().into(),
                candidate: place.candidate().map(|candidate| candidate.filter().component().name().to_owned()),
            });
            Some(RouteView {
                name: route.name.clone(),
                hosts: config.hosts.iter().map(ToString::to_string).collect(),
                path: config.path.is_exact().then(|| config.path.to_string()),
                path_prefix: (!config.path.is_exact() && !config.path.is_any()).then(|| config.path.to_string()),
                when: route.when.iter().map(|predicate| predicate.component().name().to_owned()).collect(),
                filters: filters.collect(),
                upstream,
                services,
                answers: answers.map(|status| status.as_u16()),
                connections_active: route.metrics.connections_active(),
                requests_active: route.http.as_ref().map(|_| route.metrics.requests_active()),
            })
        });
        views.collect()
    }

    fn upstreams(&self) -> Vec<UpstreamView> {
        let snapshot = self.0.snapshot.load_full();
        let views = snapshot.upstreams.iter().map(|(name, upstream)| UpstreamView {
            name: name.clone(),
            balance: upstream.balancer.component().name().to_owned(),
            retries: upstream.retries,
            discovery: self.0.discovery.standing(name).map(|standing| DiscoveryView {
                source: standing.source,
                up: standing.is_up(),
                set_age_seconds: standing.age().map(|age| age.as_secs_f64()),
                problem: standing.trouble(),
            }),
            endpoints: upstream.balance.set().endpoints().iter().map(|one| endpoint(one)).collect(),
        });
        views.collect()
    }

    fn components(&self) -> Vec<ComponentView> {
        let (snapshot, sources) = (self.0.snapshot.load_full(), self.0.sources());
        let mut versions: HashMap<_, Vec<_>> = HashMap::new();
        for known in self.0.metrics.versions() {
            versions.entry(known.component.clone()).or_default().push(version(&known));
        }
        let mut used: HashMap<_, Vec<_>> = HashMap::new();
        for one in snapshot.all_uses() {
            used.entry(one.component().to_owned()).or_default().push(one);
        }
        let views = snapshot.components.iter().map(|(name, component)| {
            let metrics = self.0.metrics.component(name);
            let uses = used.get(name).map_or(&[][..], Vec::as_slice);
            let quarantined = uses.iter().filter(|used| used.is_quarantined());
            ComponentView {
                name: name.clone(),
                kind: component.kind().label(),
                source: match sources.config.components.get(name).map(|component| &component.source) {
                    Some(ComponentSource::File(path)) => path.display().to_string(),
                    Some(ComponentSource::Standard) | None => "standard".to_owned(),
                },
                size_bytes: component.size() as u64,
                compile_seconds: component.compile_time().as_secs_f64(),
                compile_source: component.compile_source().label(),
                hooks: component.hooks().iter().map(ToString::to_string).collect(),
                imports: component
                    .imports()
                    .iter()
                    .map(|import| ImportView { name: import.name.clone(), permission: import.permission.clone() })
                    .collect(),
                uses: uses.len() as u64,
                memory_bytes: metrics.memory_bytes(),
                failures: metrics.failures(),
                versions: versions.remove(name).unwrap_or_default(),
                quarantined: quarantined.map(|used| used.place().to_owned()).collect(),
            }
        });
        views.collect()
    }

    fn connections(&self, query: ConnectionsQuery) -> Answer<'_, ConnectionsView> {
        Box::pin(async move { listing::list(&self.0.team.all(), &query).await })
    }

    fn close(&self, query: CloseQuery) -> Answer<'_, CloseReport> {
        Box::pin(async move {
            let CloseQuery { criteria, code, reason, dry_run } = query;
            let (route, said) = (criteria.route.clone(), criteria.to_string());
            let Dismissed { connections, silent } = match dry_run {
                true => {
                    let listed = self.connections(ConnectionsQuery { limit: 0, criteria }).await;
                    Dismissed { connections: listed.total, silent: listed.workers_silent }
                }
                false => {
                    let close = CloseFrame::new(code, reason);
                    dismiss(&self.0.team.all(), Dismissal { criteria, close }).await
                }
            };
            if let Some(route) = route
                && connections == 0
                && !self.knows_route(&route)
            {
                return CloseReport::Unknown { route };
            }
            let closed = Closed { connections, code, workers_silent: silent };
            if dry_run {
                return CloseReport::Planned(closed);
            }
            tracing::info!(connections, code, which = said, "closed connections, as the admin API was asked to");
            CloseReport::Closed(closed)
        })
    }

    fn largest_message(&self) -> usize {
        let snapshot = self.0.snapshot.load();
        let told = snapshot.routes.routes().filter(|route| route.application.is_some());
        told.map(|route| route.limits.max_message_size).max().unwrap_or(LEAST_READ)
    }

    fn push(&self, push: Push) -> Answer<'_, Option<Pushed>> {
        Box::pin(pushing::push(&self.0.team, push))
    }

    fn reload(&self, dry_run: bool) -> Answer<'_, ReloadReport> {
        Box::pin(async move {
            let reloaded = self.0.reloads.ask("POST /api/v1/reload", dry_run).await;
            let generation = self.0.snapshot.load().generation;
            // What is left of a queue when a new process takes over, nobody answers.
            let answer = reloaded.map_or_else(|| self.0.succession.none().map(|()| None), |answer| answer.map(Some));
            match answer {
                Ok(Some(Reloaded::Applied(generation, _))) => {
                    ReloadReport::Applied { generation, in_force: self.in_force() }
                }
                Ok(Some(Reloaded::Applicable(plan))) => {
                    ReloadReport::Applicable { generation, changes: self.changes(plan) }
                }
                Ok(Some(Reloaded::Unchanged)) => ReloadReport::Unchanged { generation, in_force: self.in_force() },
                Ok(Some(Reloaded::Rejected(problems))) => ReloadReport::Rejected { generation, problems },
                Ok(None) => ReloadReport::Busy { generation, underway: self.0.ledger.current() },
                Err(reason) => ReloadReport::Refused { generation, reason },
            }
        })
    }

    fn reload_status(&self) -> ReloadStatus {
        let polled = self.0.outlook.polled().into_iter();
        ReloadStatus {
            generation: self.0.snapshot.load().generation,
            underway: self.0.ledger.current(),
            given_up: self.0.ledger.given_up(),
            polled: polled
                .map(|it| PolledView { directory: it.directory.display().to_string(), reason: it.reason })
                .collect(),
        }
    }

    fn drain(&self, query: DrainQuery) -> Answer<'_, DrainReport> {
        Box::pin(async move {
            let criteria = Criteria { route: query.route.clone(), ..Criteria::default() };
            let connections = self.connections(ConnectionsQuery { limit: 0, criteria }).await.total;
            if let Some(route) = &query.route
                && connections == 0
                && !self.knows_route(route)
            {
                return DrainReport::Unknown { route: route.clone() };
            }
            let underway = || DrainReport::Underway { connections: self.0.loads.total() as u64 };
            if self.0.phase() == Phase::Draining {
                return underway();
            }
            let over = query.over.unwrap_or_else(|| self.0.sources().config.drain_time);
            let plan = DrainPlan::new(&query, connections, over, SystemTime::now());
            if query.dry_run {
                return DrainReport::Planned(plan);
            }
            let drain = Drain { code: query.code, over };
            match query.route {
                Some(route) => self.0.drain_route(&route, drain).await,
                None if self.0.ask_drain(drain) => {}
                None => return underway(),
            }
            DrainReport::Begun(plan)
        })
    }

    fn restore(&self, component: &str) -> Option<RestoreReport> {
        let snapshot = self.0.snapshot.load_full();
        let known = snapshot.components.contains_key(component);
        let uses = snapshot.all_uses().filter(|used| used.component() == component);
        let lifted = uses.filter(|used| used.restore()).count() as u64;
        known.then(|| RestoreReport { component: component.to_owned(), lifted })
    }

    fn candidates(&self) -> Vec<CandidateView> {
        self.0.snapshot.load().routes.routes().flat_map(|route| route.candidates()).map(candidate).collect()
    }

    fn decide(&self, route: &str, component: &str, decision: Decision) -> Result<Option<DecisionReport>, Superseded> {
        self.0.succession.none()?;
        let snapshot = self.0.snapshot.load_full();
        let Some(found) = snapshot.routes.routes().find(|known| known.name == route) else { return Ok(None) };
        let decided = || found.candidates().filter(|known| known.filter().component().name() == component);
        let mut changed = false;
        for candidate in decided() {
            let before = candidate.standing();
            // Also where it stands so already: a reload under way asks for the last decision.
            match decision {
                Decision::Promote => candidate.promote(),
                Decision::RollBack => candidate.roll_back(),
            }
            changed |= candidate.standing() != before;
        }
        let Some(standing) = decided().next().map(Candidate::standing) else { return Ok(None) };
        self.0.renew();
        Ok(Some(DecisionReport {
            route: route.to_owned(),
            component: component.to_owned(),
            filters: decided().map(|candidate| candidate.of().to_owned()).collect(),
            standing: label(standing),
            changed,
            connections_active: found.metrics.connections_active(),
        }))
    }

    fn log_level(&self) -> Level {
        self.1.level()
    }

    fn set_log_level(&self, level: Level) -> Result<(), Superseded> {
        self.0.succession.none()?;
        let before = self.1.level();
        // Said while it is shown, be it before or after.
        let tell = || tracing::info!(%before, %level, "the log level has changed");
        if level < before {
            tell();
        }
        self.1.set_level(level);
        if level >= before {
            tell();
        }
        Ok(())
    }
}

/// So much is read of a message that nobody can be for.
const LEAST_READ: usize = 64 << 10;

impl Control {
    fn knows_route(&self, name: &str) -> bool {
        self.0.snapshot.load().routes.routes().any(|route| route.name == name)
    }

    fn in_force(&self) -> InForceView {
        let InForce { cause, since, plan } = self.0.in_force();
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        InForceView { cause, since_unix_seconds: since.as_secs(), changes: plan.map(|plan| self.changes(plan)) }
    }

    fn changes(&self, plan: Plan) -> ChangesView {
        let snapshot = self.0.snapshot.load_full();
        let known: HashMap<&str, _> =
            snapshot.routes.routes().map(|route| (route.name.as_str(), &route.metrics)).collect();
        let open = |name: &str| known.get(name).map(|metrics| metrics.connections_active());
        let views =
            |changes: BTreeMap<String, Change>| changes.into_iter().map(|(name, change)| change_of(name, change));
        let effects = plan.effects;
        let routes = views(plan.routes).map(|view| ChangeView {
            connections_active: open(&view.name),
            open_connections: effects.get(&view.name).map(|effect| effect.label()),
            ..view
        });
        ChangesView {
            settings: plan.settings,
            components: views(plan.components).collect(),
            upstreams: views(plan.upstreams).collect(),
            routes: routes.collect(),
        }
    }
}

fn version(version: &Arc<Version>) -> VersionView {
    VersionView {
        route: version.route.clone(),
        generation: version.generation,
        connections: version.connections.load(Ordering::Relaxed) as u64,
    }
}

fn change_of(name: String, change: Change) -> ChangeView {
    let (change, because) = match change {
        Change::Added => ("added", Vec::new()),
        Change::Removed => ("removed", Vec::new()),
        Change::Changed(causes) => ("changed", causes.into_iter().map(|cause| cause.what).collect()),
    };
    ChangeView { name, change, because, connections_active: None, open_connections: None }
}

fn endpoint(endpoint: &Endpoint) -> EndpointView {
    let now = Instant::now();
    EndpointView {
        url: endpoint.url().to_owned(),
        weight: endpoint.weight(),
        effective_weight: endpoint.effective_weight(now, JustStarted::default()),
        warmup_seconds: endpoint.warmup().unwrap_or_default().as_secs_f64(),
        enabled: endpoint.is_enabled(),
        zone: endpoint.zone().map(str::to_owned),
        metadata: endpoint.metadata().iter().cloned().collect(),
        connections_active: endpoint.active().into(),
        failing: endpoint.failing(now).map(|failing| FailingView {
            failures: failing.failures,
            last_failure: failing.last.map_or("", ConnectOutcome::label),
            retry_in_seconds: failing.left.as_secs_f64(),
        }),
    }
}
