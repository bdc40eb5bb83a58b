//! The life of the process: start, serve, reload, hand over, drain, end.
//!
//! The main thread becomes the control thread: it runs the admin API, reloads and signals. A reload compiles on a thread
//! of its own that yields to all others. Each worker has a thread of its own. Control and workers share immutable
//! snapshots and atomic counts; everything else goes to a worker as an order.

mod accepting;
mod activation;
mod allocator;
mod candidates;
mod check;
mod course;
mod dismissing;
mod doors;
mod files;
mod handover;
mod listing;
mod notify;
mod operations;
mod pace;
mod pushing;
mod rebuild;
mod reload;
mod serving;
mod signals;
mod state;
mod succession;
mod supervisor;
#[cfg(test)]
mod tests;
mod underway;
mod upgrade;
mod watching;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::runtime;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::acme::{Acme, Keeper};
use crate::admin::{self, Access, Admin, Bounds, Guard};
use crate::component::{CacheDirectory, CacheError, Host, HostError, Moment};
use crate::config::{Config, Problems};
use crate::control::{self, Means, ReadSources, Sources, Steps};
use crate::discovery::{Discovery, Scout};
use crate::inquiry::{Clerk, Desk};
use crate::listener::{Address, BindError, Bound, Loads, Refusals};
use crate::log::{self, AccessLog, Verbosity};
use crate::metrics::Metrics;
use crate::tls::Keys;
use crate::token::{Issuers, Refresher};
use crate::upstream::{Lookups, Resolver};

pub use activation::Activation;
pub use check::{Checked, check};
pub use files::TooFewFiles;
pub use signals::EarlySignals;
pub use supervisor::WorkerError;

use course::Team;
use doors::Leftover;
use files::OpenFiles;
use handover::{Inherited, Link};
use operations::Control;
use signals::Signals;
use state::{Doors, Gathered, Phase, State};
use supervisor::Supervisor;
use worker::{Blueprint, Report};

/// Why the process cannot serve.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration, or a component it names, is wrong.
    #[error("{0}")]
    Config(#[from] Problems),
    /// An address cannot be listened on that no file names.
    #[error("cannot listen on {address}: {error}{}", advice(.error))]
    Bind {
        /// The address.
        address: Address,
        /// Why.
        error: BindError,
    },
    /// An address of the configuration cannot be listened on.
    #[error("{0}")]
    Listen(Problems),
    /// The process may open too few files.
    #[error("cannot start: {0}")]
    Files(#[from] TooFewFiles),
    /// A worker is missing.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Another process was to hand its sockets over.
    #[error("nothing was handed over: {0}")]
    HandedOver(io::Error),
    /// The component host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A thread or a runtime could not be made.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// A log is installed already: `run` was called twice.
    #[error(transparent)]
    Log(#[from] log::AlreadyStarted),
}

fn advice(error: &BindError) -> String {
    match error.advice() {
        "" => String::new(),
        advice => format!("; {advice}"),
    }
}

/// A server that is bound and not yet serving.
pub struct Server {
    state: Arc<State>,
    blueprint: Blueprint,
    reports: mpsc::Receiver<(usize, Report)>,
    doors: Doors,
    /// Of the process that this one replaces.
    leftover: Leftover,
    signals: EarlySignals,
    admin: Option<Arc<Bound>>,
    requests: reload::Requests,
    lookups: Lookups,
    refresher: Refresher,
    keeper: Keeper,
    clerk: Clerk,
    scout: Scout,
    addresses: Vec<Address>,
    /// To the process that this one replaces.
    link: Option<Link>,
    /// None in a test, which has no admin API either.
    log: Option<log::Guard>,
}

impl Server {
    /// Reads the configuration, binds every address and builds everything it names, or takes over the sockets of the
    /// process that this one was started to replace, or those that a service manager has opened. Nobody can connect yet.
    ///
    /// `workers` overrides the configuration's number of worker threads, which is one for each core by default.
    pub fn prepare(
        signals: EarlySignals,
        sources: ReadSources,
        workers: Option<NonZeroUsize>,
        activation: Activation,
    ) -> Result<Self, RunError> {
        let Some(link) = Link::inherited().map_err(RunError::HandedOver)? else {
            return Self::prepare_with(signals, sources, workers, activation.into_inherited());
        };
        let inherited = link.take().map_err(RunError::HandedOver)?;
        match Self::prepare_with(signals, sources, workers, inherited) {
            Ok(server) => Ok(Self { link: Some(link), ..server }),
            Err(error) => {
                link.failed(&error.to_string());
                Err(error)
            }
        }
    }

    /// Prepares with the sockets of another process, as far as the configuration has their addresses.
    fn prepare_with(
        signals: EarlySignals,
        sources: ReadSources,
        workers: Option<NonZeroUsize>,
        inherited: Inherited,
    ) -> Result<Self, RunError> {
        let files = OpenFiles::of_process();
        let read = sources.read()?;
        let count = workers.or(read.config.workers).map_or_else(cores, NonZeroUsize::get);
        let limit = files.limit_of(&read.config, count)?;
        let metrics = Metrics::new(count);
        let (access, guard) = log::start(&read.config.log, &metrics)?;
        log::panics(metrics.clone());
        tell_room(files, &read.config, limit);
        let server = Self::assemble(signals, (sources, read), count, (files, limit), inherited, (metrics, access))?;
        Ok(Self { log: Some(guard), ..server })
    }

    /// Binds first, because it is done in a moment, and builds then.
    fn assemble(
        signals: EarlySignals,
        (origin, read): (ReadSources, Sources),
        count: usize,
        (files, limit): (OpenFiles, usize),
        mut inherited: Inherited,
        (metrics, access): (Arc<Metrics>, AccessLog),
    ) -> Result<Self, RunError> {
        let config = &read.config;
        let own = inherited.claims();
        let wanted_admin = config.admin.as_ref().map(|admin| config.claim(&admin.listen));
        let kept_admin = inherited.take_admin(wanted_admin.clone());
        let kept = |wanted: &_| inherited.take_listener(wanted).map(|bound| Ok(Arc::new(bound.complete(count))));
        let opened = doors::open(config, count, &own, kept).map_err(|doors::Shut { listener, error }| {
            RunError::Listen(doors::shut(config, &listener.listen, &error))
        })?;
        let addresses: Vec<_> = opened.iter().map(|bound| bound.address()).collect();
        let mut sockets = handover::Sockets { listeners: opened.clone(), ..Default::default() };
        if let (Some(wanted), Some(said)) = (wanted_admin, &config.admin) {
            let address = wanted.address.clone();
            let refused = |error: BindError| RunError::Listen(doors::shut(config, &address, &error));
            let bound = kept_admin.map_or_else(|| Bound::alone(wanted, &own), Ok).map_err(refused)?;
            bound.give(&said.rights).map_err(refused)?;
            sockets.admin = Some(Arc::new(bound));
        }
        let admin = sockets.admin.clone();
        let ((issuers, refresher), (acme, keeper), (desk, clerk)) = (Issuers::new(), Acme::new(), Desk::new());
        let keys = Arc::new(inherited.keys.take().map_or_else(Keys::new, Ok).map_err(io::Error::other)?);
        let host = Host::with(count, cache(config)?, config.max_isolated_instances, metrics.isolated_instances())?;
        let means = Means { host: &host, metrics: &metrics, keys: &keys, issuers: &issuers, desk: &desk, acme: &acme };
        let built = control::build(&read, None, Moment::now(), 1, &means, &Steps::untold())?;
        let leftover = Leftover::of(inherited, config, &built.listeners);
        let listeners = doors::listening(opened, &built.listeners);
        let (discovery, scout) = Discovery::new(metrics.clone());
        built.endpoints.hand_in(&metrics, &discovery);
        host.sweep_cache(built.snapshot.components.values());
        rebuild::tell_warnings(&read);
        metrics.set_generation(1);

        // Handshakes that find no route; each worker counts its own.
        metrics.route("");
        let snapshot = Arc::new(ArcSwap::from_pointee(built.snapshot));
        let (reloads, requests) = reload::channel();
        let (reporter, reports) = mpsc::channel(REPORTS * count.max(1));
        let (loads, team) = (Loads::new(count), Team::new(count));
        let gathered = Gathered {
            origin,
            sources: read,
            snapshot: snapshot.clone(),
            host: host.clone(),
            keys,
            issuers,
            acme,
            desk,
            discovery,
            metrics: metrics.clone(),
            loads: loads.clone(),
            team: team.clone(),
            files,
            reloads,
            sockets,
        };
        let (state, course) = State::new(gathered, limit);
        let refusals = Refusals::new(metrics.clone(), files.refusals());
        let (resolver, lookups) = Resolver::new();
        let blueprint =
            Blueprint { host, metrics, snapshot, access, resolver, loads, refusals, team, course, reports: reporter };
        let doors = Doors { listeners, admin: built.admin, limit };
        let (link, log) = (None, None);
        Ok(Self {
            state,
            blueprint,
            reports,
            doors,
            leftover,
            signals,
            admin,
            requests,
            lookups,
            refresher,
            keeper,
            clerk,
            scout,
            addresses,
            link,
            log,
        })
    }

    /// Where clients can connect, in the order of the configuration.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// Where the admin API listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.address().socket())
    }

    /// The metrics, for whoever runs the server inside a program.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.state.metrics.clone()
    }

    /// Serves until a signal or the admin API ends it and the connections are drained, and where it replaces another
    /// process, from when that one lets it. Blocks the calling thread.
    ///
    /// # Errors
    /// When it cannot begin to serve, or when workers have ended again and again.
    pub fn run(mut self) -> Result<(), RunError> {
        allocator::give_back_large_buffers();
        let runtime = runtime::Builder::new_current_thread().enable_all().thread_name("control").build()?;
        // Written out at the very end.
        let log = self.log.take();
        let state = self.state.clone();
        runtime.block_on(async {
            let (blueprint, reports) =
                (self.blueprint.clone(), std::mem::replace(&mut self.reports, mpsc::channel(1).1));
            let start = move |index| blueprint.start(index);
            let (metrics, missing) = (state.metrics.clone(), state.missing.clone());
            let mut workers = Supervisor::new(state.team.len(), start, reports, metrics, missing);
            let served = self.serve(&mut workers, log.as_ref().map(log::Guard::verbosity)).await;
            state.end();
            if timeout(LAST_WORDS, workers.until_ended()).await.is_err() {
                tracing::error!("a worker does not end; the process ends without it");
            }
            served
        })
    }

    async fn serve<S>(self, workers: &mut Supervisor<S>, verbosity: Option<Verbosity>) -> Result<(), RunError>
    where
        S: FnMut(usize) -> io::Result<std::thread::JoinHandle<()>>,
    {
        let Self {
            state,
            doors,
            mut leftover,
            signals,
            admin,
            requests,
            lookups,
            refresher,
            keeper,
            clerk,
            scout,
            addresses,
            link,
            ..
        } = self;
        let signals = Signals::new(signals)?;
        if let Err(error) = workers.start().await {
            link.iter().for_each(|link| link.failed(&error.to_string()));
            return Err(error.into());
        }
        tokio::spawn(lookups.serve());
        tokio::spawn(scout.serve());
        // Whoever is let in finds endpoints, and until then whom this process replaces serves.
        state.discovery.until_known().await;
        let refused = |(address, error)| RunError::Listen(doors::shut(&state.sources().config, &address, &error));
        // Before the other process leaves everything to this one.
        let listens = state.listen(false).map_err(refused);
        let mut reload_is_due = false;
        if let Some(link) = link {
            if let Err(error) = listens {
                link.failed(&error.to_string());
                return Err(error);
            }
            reload_is_due = link.ready().map_err(RunError::HandedOver)?;
        } else {
            listens?;
        }
        state.listen(true).map_err(refused)?;
        leftover.own();
        leftover.retire_admin();
        // Who has come to those that are gone is served, too, and then they close as in a reload.
        let all = doors.listeners.iter().cloned().chain(leftover.listeners).collect();
        state.open(Doors { listeners: all, admin: doors.admin.clone(), limit: doors.limit });
        workers.until_accepting().await?;
        state.open(doors);
        for address in &addresses {
            tracing::info!(%address, "listening");
        }
        tokio::spawn(refresher.serve());
        tokio::spawn(clerk.serve());
        let (kept, replaced) = (keeper.serve(state.metrics.clone()), state.succession.until_over());
        tokio::spawn(async {
            tokio::select! {
                () = kept => {}
                () = replaced => {}
            }
        });
        let mut admin_task = None;
        let said = state.sources().config.admin.clone();
        // Its file stays as long as it answers.
        if let (Some(bound), Some(verbosity), Some(said)) = (&admin, verbosity, said) {
            tracing::info!(address = %bound.address(), "admin listening");
            let socket = bound.sockets().first().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let operations = Arc::new(Control::new(state.clone(), verbosity));
            let bounds = Bounds { max_connections: said.max_connections, send_timeout: said.send_timeout };
            let access = Access::new(said.tokens, said.public_metrics);
            let asked = (Guard::new(said.hosts), access, state.secured.clone());
            let admin = Admin::new(operations, state.metrics.clone(), asked, bounds);
            admin_task = Some(tokio::spawn(
                admin.serve(admin::Listener::new(socket.try_clone()?)?, state.succession.until_over()),
            ));
        }
        if reload_is_due {
            state.reloads.trigger(signals::HANGUP);
        }
        let reloads = reload::serve(state.clone(), requests);
        let replaced = state.succession.until_over();
        tokio::spawn(async {
            tokio::select! {
                () = reloads => {}
                () = replaced => {}
            }
        });
        tokio::spawn({
            let state = state.clone();
            async move {
                loop {
                    state.host.until_probation_fails().await;
                    state.renew();
                }
            }
        });
        state.enter(Phase::Ready);
        notify::notify("READY=1");
        tracing::info!(pid = std::process::id(), workers = state.team.len(), "ready");
        let mut drained = std::pin::pin!(signals.until_drained(&state));
        let is_over = || state.phase() == Phase::Draining;
        let ended = tokio::select! {
            () = drained.as_mut() => Ok(()),
            error = workers.watch(is_over) => {
                tracing::error!(%error, "the process drains, and ends");
                state.ask_drain(state.usual_drain());
                drained.await;
                Err(error.into())
            }
        };
        if let Some(admin) = admin_task.filter(|_| state.succession.is_over()) {
            // What it has been asked before the other process took over.
            let _ = timeout(LAST_ANSWERS, admin).await;
        }
        ended
    }
}

/// Says how many connections there is room for.
fn tell_room(files: OpenFiles, config: &Config, connections: usize) {
    tracing::info!(connections, open_files = files.limit(), "room for connections");
    if let Some(wanted) = config.max_connections.map(NonZeroUsize::get).filter(|wanted| *wanted > connections) {
        tracing::warn!(
            max_connections = wanted,
            connections,
            open_files = files.limit(),
            "`max_connections` does not fit into the limit of open files, two for each connection: raise it"
        );
    }
}

/// The configured cache, unless it cannot be used; one that is not safe to use is a problem.
fn cache(config: &Config) -> Result<Option<CacheDirectory>, Problems> {
    let Some(wanted) = &config.cache_directory else { return Ok(None) };
    refuse_unsafe(config, CacheDirectory::open(&wanted.path))
}

fn refuse_unsafe<T>(config: &Config, directory: Result<T, CacheError>) -> Result<Option<T>, Problems> {
    match directory {
        Ok(directory) => Ok(Some(directory)),
        Err(error @ CacheError::Unusable { .. }) => {
            tracing::warn!(%error, "compiled components cannot be kept; each start compiles them");
            Ok(None)
        }
        Err(error) => {
            let mut problems = config.problems();
            let place = config.cache_directory.as_ref().map(|wanted| wanted.place.clone()).unwrap_or_default();
            problems.add(&place, error.to_string(), UNSAFE_CACHE);
            Err(problems)
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// What to do about a cache directory that is not safe.
const UNSAFE_CACHE: &str = "name a directory of the user that runs the proxy, with mode 0700";
/// How long a process that was replaced answers its last admin requests.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How long workers may take to end when they are told to.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// Of each worker, none of which waits for long.
const REPORTS: usize = 8;
