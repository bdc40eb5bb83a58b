//! The admin API and `/metrics`: HTTP/1.1 on a listener of its own, on the control runtime.
//!
//! It shows and triggers, and holds no state: what there is to show and to do comes through [`Operations`]. It has no
//! authentication, which is why it belongs on loopback or a private network; what a web page in an operator's browser
//! could do to a loopback port is refused (see `guard`).

mod client;
mod endpoints;
mod guard;
mod query;
#[cfg(test)]
mod tests;
mod view;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use self::client::{ClientError, post};
pub use self::guard::Guard;
pub use self::view::{
    ComponentView, ConnectionView, ConnectionsQuery, ConnectionsView, DrainReport, EndpointView, FilterView,
    ImportView, InterestView, Readiness, ReloadReport, RestoreReport, RouteView, SelectionView, UpstreamView,
};
use crate::metrics::Metrics;

/// What the admin API shows and triggers. Called on the control runtime.
pub trait Operations: Send + Sync {
    /// Whether new connections are welcome.
    fn readiness(&self) -> Readiness;
    /// The routes in force, in the order of the configuration.
    fn routes(&self) -> Vec<RouteView>;
    /// The upstreams in force, by name.
    fn upstreams(&self) -> Vec<UpstreamView>;
    /// The components in force, by name.
    fn components(&self) -> Vec<ComponentView>;
    /// The open connections that a query selects. They live on the workers, so this may have to ask there.
    fn connections(&self, query: ConnectionsQuery) -> Answer<'_, ConnectionsView>;
    /// Reads the configuration again and puts it in force. Goes on to its end when the answer is dropped.
    fn reload(&self) -> Answer<'_, ReloadReport>;
    /// Lifts the quarantine of all uses of a component; `None` when none has that name.
    fn restore(&self, component: &str) -> Option<RestoreReport>;
    /// Begins to close connections and lets the process end; a second call changes nothing.
    fn drain(&self) -> DrainReport;
}

/// A value that takes a while.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The admin server.
pub struct Admin {
    operations: Arc<dyn Operations>,
    metrics: Arc<Metrics>,
    guard: Guard,
}

impl Admin {
    /// An admin server, not yet listening.
    pub fn new(operations: Arc<dyn Operations>, metrics: Arc<Metrics>, guard: Guard) -> Arc<Self> {
        Arc::new(Self { operations, metrics, guard })
    }

    /// Accepts and answers until it is dropped, and every connection with it.
    ///
    /// At most 64 are open at a time; further ones wait in the kernel.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
                return;
            };
            let stream = accept(&listener).await;
            while connections.try_join_next().is_some() {}
            let admin = Arc::clone(&self);
            connections.spawn(async move {
                let _permit = permit;
                admin.answer(stream).await;
            });
        }
    }

    async fn answer(&self, stream: TcpStream) {
        let service = service_fn(|request| async { Ok::<_, Infallible>(endpoints::respond(self, request).await) });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(stream), service);
        match tokio::time::timeout(MAX_LIFETIME, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(?error, "admin connection ended"),
            Err(_) => tracing::debug!("admin connection reached its lifetime"),
        }
    }
}

/// The next connection. An error of `accept` is about one connection or about a shortage; neither ends the server.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Scrapers, probes and operators need a handful.
const MAX_CONNECTIONS: usize = 64;
/// Also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A reload that compiles large components takes seconds; nothing takes this long.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
const MAX_HEADER_BYTES: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
