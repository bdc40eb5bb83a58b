//! The life of the process: start, serve, reload, drain, end.
//!
//! The main thread becomes the control thread: it runs the admin API, reloads and signals, and compiles on a thread
//! beside it. Each worker has a thread of its own. Control and workers share immutable snapshots and atomic counts;
//! everything else goes to a worker as an order.

mod operations;
mod reload;
mod signals;
mod state;
mod worker;

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::num::NonZeroUsize;
use std::sync::Arc;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::runtime;

use crate::admin::{Admin, Guard};
use crate::component::{Host, HostError};
use crate::config::Problems;
use crate::control::{self, ReadSources, Sources};
use crate::handshake::HeadLimits;
use crate::listener;
use crate::log;
use crate::metrics::Metrics;

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
    _log: log::Guard,
}

impl Server {
    /// Reads the configuration, builds everything it names and binds every address. Nothing is accepted yet.
    ///
    /// `workers` overrides the configuration's number of worker threads, which is one for each core by default.
    pub fn prepare(sources: ReadSources, workers: Option<NonZeroUsize>) -> Result<Self, RunError> {
        let read = sources.read()?;
        let config = &read.config;
        let count = workers.or(config.workers).map_or_else(cores, NonZeroUsize::get);
        let metrics = Metrics::new(count);
        let (access, log_guard) = log::start(&log_settings(config), &metrics)?;
        let host = Host::isolating(count, config.max_isolated_instances)?;
        let snapshot = control::build(&read, None, 1, &host, &metrics)?;
        metrics.set_generation(1);

        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for wanted in &config.listeners {
            let address = wanted.listen;
            let sockets = listener::bind(address, count).map_err(|error| RunError::Bind { address, error })?;
            addresses.extend(sockets.first().and_then(|socket| socket.local_addr().ok()));
            let settings = listener::Settings {
                listen: address,
                head: HeadLimits { max_header_bytes: wanted.max_header_bytes },
                handshake_timeout: wanted.handshake_timeout,
            };
            listeners.push((settings, sockets));
        }
        let admin = config.admin.as_ref().map(|admin| {
            let address = admin.listen;
            bind_admin(address).map_err(|error| RunError::Bind { address, error })
        });
        let admin = admin.transpose()?;

        let limit = config.max_connections.map_or_else(connection_limit, NonZeroUsize::get);
        let (state, workers, requests) =
            State::new(sources, read, snapshot, host, metrics, access, listeners, count, limit);
        Ok(Self { state, workers, admin, requests, addresses, _log: log_guard })
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

    /// Serves until a signal or the admin API ends it and the connections are drained. Blocks the calling thread.
    pub fn run(self) -> Result<(), RunError> {
        let Self { state, workers, admin, requests, addresses, _log } = self;
        let threads = workers.into_iter().map(worker::Prepared::spawn).collect::<io::Result<Vec<_>>>()?;
        let runtime = runtime::Builder::new_current_thread().enable_all().thread_name("control").build()?;
        runtime.block_on(async {
            let signals = Signals::new()?;
            for address in &addresses {
                tracing::info!(%address, "listening");
            }
            if let Some(listener) = admin {
                let address = listener.local_addr()?;
                tracing::info!(%address, "admin listening");
                let operations = Arc::new(Control::new(state.clone()));
                let admin = Admin::new(operations, state.metrics.clone(), Guard::default());
                tokio::spawn(admin.serve(TcpListener::from_std(listener)?));
            }
            tokio::spawn(reload::serve(state.clone(), requests));
            state.enter(Phase::Ready);
            tracing::info!(workers = threads.len(), "ready");
            signals.until_drained(&state).await;
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

/// Everything that would keep a configuration from being put in force, without binding anything.
///
/// # Errors
/// Everything that is wrong with it.
pub fn check(sources: &ReadSources) -> Result<Sources, RunError> {
    let read = sources.read()?;
    let metrics = Metrics::new(1);
    let host = Host::new(1)?;
    control::build(&read, None, 1, &host, &metrics)?;
    Ok(read)
}

fn bind_admin(address: SocketAddr) -> io::Result<StdListener> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn log_settings(config: &crate::config::Config) -> log::Settings {
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

/// Logs, listeners, epoll instances, the admin API's connections, component files.
const OWN_FILES: usize = 256;
/// More than the ports of an address allow towards one endpoint; a bound only for semaphores.
const MOST_CONNECTIONS: usize = 1 << 20;
