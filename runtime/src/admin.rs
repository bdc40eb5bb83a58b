//! The admin API and `/metrics`: HTTP/1.1 on a listener of its own, on the control runtime.
//!
//! It shows and triggers, and holds no state: what there is to show and to do comes through [`Operations`]. Who may ask is
//! said by tokens ([`Access`]), or by the certificates that clients have to show over TLS ([`Secured`]); without either it
//! belongs on loopback, or on a unix socket, whose file has a mode. What a web page in an operator's browser could do to a
//! loopback port is refused (see `guard`).

mod access;
mod body;
mod client;
mod endpoints;
mod guard;
mod messages;
mod places;
mod query;
mod secure;
mod socket;
#[cfg(test)]
mod tests;
mod view;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::Level;

pub use self::access::Access;
pub use self::client::{Client, ClientError};
pub use self::guard::Guard;
pub use self::messages::Push;
pub use self::places::Bounds;
use self::places::{Activity, Place, Places, Watched};
pub use self::secure::Secured;
pub use self::socket::Listener;
use self::socket::Stream;
pub use self::view::{
    CandidateView, ChangeView, ChangesView, CloseQuery, CloseReport, Closed, ComponentView, ConnectionView,
    ConnectionsQuery, ConnectionsView, Decision, DecisionReport, DecisionsView, DiscoveryView, DrainCode, DrainPlan,
    DrainQuery, DrainReport, EndpointView, FailingView, FilterView, ImportView, InForceView, InterestView, LogView,
    PolledView, Readiness, ReloadReport, ReloadStatus, RestoreReport, RouteView, SampleView, SampledMessageView,
    SelectionView, Superseded, UnderwayView, UpstreamView, VersionView,
};
use crate::metrics::{AdminRefusal, Metrics};
use crate::session::Pushed;

/// What the admin API shows and triggers. Called on the control runtime.
pub trait Operations: Send + Sync {
    /// Whether new connections are welcome.
    fn readiness(&self) -> Readiness;
    /// What an operator should know all the same, a line each.
    fn remarks(&self) -> Vec<String>;
    /// The routes in force, in the order of the configuration.
    fn routes(&self) -> Vec<RouteView>;
    /// The upstreams in force, by name.
    fn upstreams(&self) -> Vec<UpstreamView>;
    /// The components in force, by name.
    fn components(&self) -> Vec<ComponentView>;
    /// The open connections that a query selects. They live on the workers, so this may have to ask there.
    fn connections(&self, query: ConnectionsQuery) -> Answer<'_, ConnectionsView>;
    /// Closes the open connections that a query selects, and those of them that are opening.
    fn close(&self, query: CloseQuery) -> Answer<'_, CloseReport>;
    /// The most bytes of a message that some route takes from an application.
    fn largest_message(&self) -> usize;
    /// Sends something to the client of a connection that an application is told of; `None`: its worker has not said in time
    /// what has become of it.
    fn push(&self, push: Push) -> Answer<'_, Option<Pushed>>;
    /// Reads the configuration again and puts it in force; a dry run stops short of that and says what would change.
    /// Goes on to its end when the answer is dropped.
    fn reload(&self, dry_run: bool) -> Answer<'_, ReloadReport>;
    /// What is in force, and the reload under way.
    fn reload_status(&self) -> ReloadStatus;
    /// Begins to close connections: those of a route, or all, and then the process ends.
    fn drain(&self, query: DrainQuery) -> Answer<'_, DrainReport>;
    /// Lifts the quarantine of all uses of a component; `None` when none has that name.
    fn restore(&self, component: &str) -> Option<RestoreReport>;
    /// The candidates for filters in force, in the order of the configuration.
    fn candidates(&self) -> Vec<CandidateView>;
    /// Ends the trial of a component that is a candidate on a route; `None` when it is none there.
    ///
    /// # Errors
    /// When a new process takes over, which would not know of it.
    fn decide(&self, route: &str, component: &str, decision: Decision) -> Result<Option<DecisionReport>, Superseded>;
    /// The least severe level that the log shows.
    fn log_level(&self) -> Level;
    /// Has the log show this level from now on.
    ///
    /// # Errors
    /// When a new process takes over, which would not know of it.
    fn set_log_level(&self, level: Level) -> Result<(), Superseded>;
}

/// A value that takes a while.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The admin server.
pub struct Admin {
    operations: Arc<dyn Operations>,
    metrics: Arc<Metrics>,
    guard: Guard,
    access: Access,
    secured: Arc<Secured>,
    bounds: Bounds,
    /// The turns of lists.
    lists: Arc<Semaphore>,
}

impl Admin {
    /// An admin server, not yet listening.
    pub fn new(
        operations: Arc<dyn Operations>,
        metrics: Arc<Metrics>,
        (guard, access, secured): (Guard, Access, Arc<Secured>),
        bounds: Bounds,
    ) -> Arc<Self> {
        let lists = Arc::new(Semaphore::new(places::LISTS));
        Arc::new(Self { operations, metrics, guard, access, secured, bounds, lists })
    }

    /// Accepts and answers until `stop` is over. Then it leaves the listener to others, finishes the answers under way
    /// and ends. Dropping it ends every connection at once.
    ///
    /// A connection that comes when [`Bounds::max_connections`] are being answered gets an answer to a probe, or 503.
    pub async fn serve(self: Arc<Self>, listener: Listener, stop: impl Future<Output = ()>) {
        let mut places = Places::new(self.bounds.max_connections);
        let mut connections = JoinSet::new();
        let (stopping, stopped) = watch::channel(());
        let accepting = async {
            loop {
                let stream = accept(&listener).await;
                while connections.try_join_next().is_some() {}
                let (place, activity) = (places.make_room(), Activity::new());
                let answering = Arc::clone(&self).answer(stream, place, Arc::clone(&activity), stopped.clone());
                places.take(place, &activity, connections.spawn(answering));
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop => {}
        }
        drop((listener, stopping));
        while connections.join_next().await.is_some() {}
    }

    /// Answers requests until the client has no more, or nobody holds the other end of `stopped` any longer.
    async fn answer(
        self: Arc<Self>,
        stream: Stream,
        place: Place,
        activity: Arc<Activity>,
        mut stopped: watch::Receiver<()>,
    ) {
        let is_ordinary = place == Place::Ordinary;
        let patience = if is_ordinary { HEADER_TIMEOUT } else { PROBE_TIMEOUT };
        let Some(stream) = self.secured.accept(stream, self.metrics.control(), patience).await else { return };
        let service = service_fn(|request| async {
            activity.work();
            let answer = endpoints::respond(&self, request, place, &activity).await;
            Ok::<_, Infallible>(answer.map(|body| body.sent(activity.send())))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .keep_alive(is_ordinary)
            .header_read_timeout(patience)
            .max_buf_size(MAX_HEADER_BYTES)
            .serve_connection(TokioIo::new(Watched::new(stream, activity.clone())), service);
        let mut connection = pin!(connection);
        let mut lifetime = pin!(tokio::time::sleep(MAX_LIFETIME));
        // Who has come and not asked yet is about to.
        let mut stopping = pin!(async {
            let _ = stopped.changed().await;
            activity.asked().await;
        });
        let mut is_stopped = false;
        loop {
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::debug!(?error, "admin connection ended");
                    }
                    return;
                }
                () = stopping.as_mut(), if !is_stopped => {
                    is_stopped = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = activity.overdue(self.bounds.send_timeout) => {
                    self.metrics.admin_refused(AdminRefusal::SendTimeout);
                    return tracing::debug!("an admin client does not read its answer");
                }
                () = lifetime.as_mut() => return tracing::debug!("admin connection reached its lifetime"),
            }
        }
    }
}

/// The next connection. An error of `accept` is about one connection or about a shortage; neither ends the server.
async fn accept(listener: &Listener) -> Stream {
    loop {
        match listener.accept().await {
            Ok(stream) => return stream,
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                tracing::warn!(%error, "admin listener cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What every answer has as its `Server`, so that it can be told from another server's.
const NAME: HeaderValue = HeaderValue::from_static("tidegate-admin");
/// Also how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Who probes has its whole request at hand.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// A reload that compiles large components takes seconds; nothing takes this long.
const MAX_LIFETIME: Duration = Duration::from_secs(600);
const MAX_HEADER_BYTES: usize = 16 << 10;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
