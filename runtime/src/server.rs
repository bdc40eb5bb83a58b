//! The life of the process: start, serve, reload, hand over, drain, end.
//!
//! The main thread becomes the control thread: it runs the admin API, reloads and signals. A reload compiles on a thread
//! of its own that yields to all others. Each worker has a thread of its own. Control and workers share immutable
//! snapshots and atomic counts; everything else goes to a worker as an order.

mod allocator;
mod background;
mod candidates;
mod handover;
mod listing;
mod notify;
mod operations;
mod pace;
mod reload;
mod signals;
mod state;
mod taken;
mod upgrade;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::time::timeout;

use crate::admin::{Admin, Guard};
use crate::component::{CacheDirectory, CacheError, Host, HostError};
use crate::config::{Config, Examined, Problems};
use crate::control::{self, ReadSources};
use crate::handshake::HeadLimits;
use crate::listener;
use crate::log;
use crate::metrics::Metrics;

use handover::{Link, Sockets};
use operations::Control;
use signals::Signals;
use state::{Phase, State};

/// Why the process cannot serve.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration, or a component it names, is wrong.
    #[error("{0}")]
    Config(#[from] Problems),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {}", advice(.error))]
    Bind {
        /// The address as configured.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
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

/// A server that is bound and not yet serving.
pub struct Server {
    state: Arc<State>,
    workers: Vec<worker::Prepared>,
    admin: Option<StdListener>,
    requests: reload::Requests,
    addresses: Vec<SocketAddr>,
    /// To the process that this one replaces.
    link: Option<Link>,
    log: log::Guard,
}

impl Server {
    /// Reads the configuration, builds everything it names and binds every address, or takes over the sockets of the
    /// process that this one was started to replace. Nothing is accepted yet.
    ///
    /// `workers` overrides the configuration's number of worker threads, which is one for each core by default.
    pub fn prepare(sources: ReadSources, workers: Option<NonZeroUsize>) -> Result<Self, RunError> {
        let Some(link) = Link::inherited().map_err(RunError::HandedOver)? else {
            return Self::prepare_with(sources, workers, Sockets::default());
        };
        let sockets = link.take().map_err(RunError::HandedOver)?;
        match Self::prepare_with(sources, workers, sockets) {
            Ok(server) => Ok(Self { link: Some(link), ..server }),
            Err(error) => {
                link.failed(&error.to_string());
                Err(error)
            }
        }
    }

    /// Prepares with the sockets of another process, as far as the configuration has their addresses.
    fn prepare_with(
        sources: ReadSources,
        workers: Option<NonZeroUsize>,
        mut inherited: Sockets,
    ) -> Result<Self, RunError> {
        let read = sources.read()?;
        let config = &read.config;
        let count = workers.or(config.workers).map_or_else(cores, NonZeroUsize::get);
        let metrics = Metrics::new(count);
        let (access, log_guard) = log::start(&log_settings(config), &metrics)?;
        let host = Host::with(count, cache(config)?, config.max_isolated_instances)?;
        let snapshot = control::build(&read, None, 1, &host, &metrics)?;
        host.sweep_cache(snapshot.components.values());
        metrics.set_generation(1);

        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        let mut own = Sockets::default();
        for wanted in &config.listeners {
            let address = wanted.listen;
            let refused = |error| RunError::Bind { address, error };
            let sockets = match inherited.take_listener(address) {
                none if none.is_empty() => listener::bind(address, count),
                sockets => listener::complete(sockets, count),
            };
            let sockets = sockets.map_err(refused)?;
            addresses.extend(sockets.first().and_then(|socket| socket.local_addr().ok()));
            own.listeners.push((address, duplicates(&sockets).map_err(refused)?));
            let settings = listener::Settings {
                listen: address,
                head: HeadLimits {
                    max_header_bytes: wanted.max_header_bytes,
                    max_header_fields: wanted.max_header_fields,
                    paths: wanted.paths,
                },
                handshake_timeout: wanted.handshake_timeout,
            };
            listeners.push((settings, sockets));
        }
        let admin = config.admin.as_ref().map(|admin| {
            let address = admin.listen;
            let bound = inherited.take_admin(address).map_or_else(|| bind_admin(address), Ok);
            let bound = bound.and_then(|socket| Ok((socket.try_clone()?, socket)));
            bound.map_err(|error| RunError::Bind { address, error }).map(|(duplicate, socket)| {
                own.admin = Some((address, duplicate));
                socket
            })
        });
        let admin = admin.transpose()?;

        let limit = config.max_connections.map_or_else(connection_limit, NonZeroUsize::get);
        let (state, workers, requests) =
            State::new(sources, read, snapshot, host, metrics, access, listeners, own, count, limit);
        Ok(Self { state, workers, admin, requests, addresses, link: None, log: log_guard })
    }

    /// Where clients can connect, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where the admin API listens.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().and_then(|admin| admin.local_addr().ok())
    }

    /// The metrics, for whoever runs the server inside a program.
    pub fn metrics(&self) -> Arc<Metrics> {
        self.state.metrics.clone()
    }

    /// Serves until a signal or the admin API ends it and the connections are drained, and where it replaces another
    /// process, from when that one lets it. Blocks the calling thread.
    pub fn run(self) -> Result<(), RunError> {
        let Self { state, workers, admin, requests, addresses, link, log } = self;
        allocator::give_back_large_buffers();
        let runtime = runtime::Builder::new_current_thread().enable_all().thread_name("control").build()?;
        let signals = {
            let _entered = runtime.enter();
            Signals::new()?
        };
        if let Some(link) = link {
            link.ready().map_err(RunError::HandedOver)?;
        }
        state.listen()?;
        let threads = workers.into_iter().map(worker::Prepared::spawn).collect::<io::Result<Vec<_>>>()?;
        runtime.block_on(async {
            for address in &addresses {
                tracing::info!(%address, "listening");
            }
            let mut admin_task = None;
            if let Some(listener) = admin {
                let address = listener.local_addr()?;
                tracing::info!(%address, "admin listening");
                let operations = Arc::new(Control::new(state.clone(), log.verbosity()));
                let config = &state.sources().config;
                let hosts = config.admin.iter().flat_map(|admin| admin.hosts.iter().cloned());
                let admin = Admin::new(operations, state.metrics.clone(), Guard::new(hosts));
                admin_task =
                    Some(tokio::spawn(admin.serve(TcpListener::from_std(listener)?, state.until_handed_over())));
            }
            let reloads = reload::serve(state.clone(), requests);
            let replaced = state.until_handed_over();
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
                        state.host.until_rolled_back().await;
                        state.renew();
                    }
                }
            });
            state.enter(Phase::Ready);
            notify::notify("READY=1");
            tracing::info!(pid = std::process::id(), workers = threads.len(), "ready");
            signals.until_drained(&state).await;
            if let Some(admin) = admin_task.filter(|_| state.is_handed_over()) {
                // What it has been asked before the other process took over.
                let _ = timeout(LAST_ANSWERS, admin).await;
            }
            io::Result::Ok(())
        })?;
        state.end();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a worker thread has panicked");
            }
        }
        Ok(())
    }
}

/// What a check has found.
#[derive(Debug)]
pub struct Checked {
    /// What would be put in force; `None`: something is wrong with it.
    pub config: Option<Config>,
    /// Everything that is wrong.
    pub problems: Problems,
    /// What is not wrong, and most likely not meant.
    pub warnings: Problems,
}

/// Looks for everything that would keep a configuration from being put in force, without binding anything. What it
/// compiles it keeps in the configured cache, if there is that directory.
///
/// # Errors
/// Only where nothing can be said about the configuration.
pub fn check(sources: &ReadSources) -> Result<Checked, RunError> {
    let Examined { config, mut problems, mut parts, .. } = sources.examine();
    let warnings = config.as_ref().map_or_else(|| Problems::none(&problems), warnings);
    let mut cache = None;
    if let Some(wanted) = parts.cache_directory.take() {
        match CacheDirectory::check(&wanted.path) {
            Ok(true) => cache = CacheDirectory::open(&wanted.path).ok(),
            Ok(false) | Err(CacheError::Unusable { .. }) => {}
            Err(error) => problems.add(&wanted.place, error.to_string(), UNSAFE_CACHE),
        }
    }
    let host = Host::with(1, cache, None)?;
    let metrics = Metrics::new(1);
    let Some(config) = config.filter(|_| problems.is_empty()) else {
        let problems = control::examine(&parts, problems, &host, &metrics);
        return Ok(Checked { config: None, problems, warnings });
    };
    let parts = config.parts();
    let read = match ReadSources::read_components(config) {
        Ok(read) => read,
        Err(unread) => {
            let problems = control::examine(&parts, Problems::none(&unread), &host, &metrics);
            return Ok(Checked { config: None, problems, warnings });
        }
    };
    let problems = control::build(&read, None, 1, &host, &metrics).err();
    let is_good = problems.is_none();
    let problems = problems.unwrap_or_else(|| read.config.problems());
    Ok(Checked { config: Some(read.config).filter(|_| is_good), problems, warnings })
}

/// What is not wrong with a configuration, and most likely not meant; also ports that somebody has.
fn warnings(config: &Config) -> Problems {
    let mut warnings = config.warnings();
    let listening = taken::listening();
    let admin = config.admin.iter().map(|admin| (admin.listen, &admin.place));
    let own = config.listeners.iter().map(|listener| (listener.listen, &listener.place)).chain(admin);
    for (address, place) in own.filter(|(address, _)| address.port() != 0) {
        if let Some(taken) = listening.iter().find(|taken| taken::collide(address, **taken)) {
            let what = format!("something listens on {taken} now");
            warnings.add(place, what, "choose another port, unless that is the proxy which this is for");
        }
    }
    warnings
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

fn duplicates(sockets: &[StdListener]) -> io::Result<Vec<StdListener>> {
    sockets.iter().map(StdListener::try_clone).collect()
}

fn bind_admin(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn log_settings(config: &Config) -> log::Settings {
    use crate::config::{LogFormat, LogLevel};
    log::Settings {
        level: match config.log.level {
            LogLevel::Error => tracing::Level::ERROR,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Trace => tracing::Level::TRACE,
        },
        format: match config.log.format {
            LogFormat::Text => log::Format::Text,
            LogFormat::Json => log::Format::Json,
        },
        access: config.log.access,
        access_on_open: config.log.access_on_open,
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// How many connections the limit of open files allows: two sockets each, and some files for ourselves. The soft limit
/// is raised to the hard one first.
fn connection_limit() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where raising is forbidden, the limit stays as it was, and is read again.
    let _ = setrlimit(Resource::Nofile, limit);
    let files =
        getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX));
    (files.saturating_sub(OWN_FILES) / 2).clamp(1, MOST_CONNECTIONS)
}

fn advice(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{error}; another process listens there: stop it, or change `listen`")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{error}; ports below 1024 need a privilege: choose another in `listen`")
        }
        io::ErrorKind::AddrNotAvailable => format!("{error}; this machine has no such address: change `listen`"),
        _ => error.to_string(),
    }
}

/// What to do about a cache directory that is not safe.
const UNSAFE_CACHE: &str = "name a directory of the user that runs the proxy, with mode 0700";
/// How long a process that was replaced answers its last admin requests.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Logs, listeners, epoll instances, the admin API's connections, component files.
const OWN_FILES: usize = 256;
/// More than the ports of an address allow towards one endpoint; a bound only for semaphores.
const MOST_CONNECTIONS: usize = 1 << 20;
