//! The API over real sockets, with operations made up.

mod client;
mod http;
mod places;
mod views;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tracing::Level;

use super::{
    Access, Admin, Answer, Bounds, CandidateView, CloseQuery, CloseReport, Closed, ComponentView, ConnectionView,
    ConnectionsQuery, ConnectionsView, Decision, DecisionReport, DecisionsView, DrainPlan, DrainQuery, DrainReport,
    EndpointView, FailingView, FilterView, Guard, ImportView, InForceView, Operations, PolledView, Push, Readiness,
    ReloadReport, ReloadStatus, RestoreReport, RouteView, SampleView, SampledMessageView, Superseded, UnderwayView,
    UpstreamView, VersionView,
};
use crate::component::{Interest, Kinds, Need, Selection};
use crate::metrics::Metrics;
use crate::session::Pushed;

struct Fake {
    readiness: Readiness,
    remarks: Vec<String>,
    reload: fn() -> ReloadReport,
    dry_run: fn() -> ReloadReport,
    drains: AtomicU64,
    level: Mutex<Level>,
    superseded: Option<Superseded>,
    /// How many routes it shows.
    routes: usize,
    /// What a reload waits for.
    pending: Option<Arc<Notify>>,
    /// A reload has begun.
    begun: Notify,
}

fn in_force() -> InForceView {
    InForceView { cause: "start", since_unix_seconds: 70, changes: None }
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            readiness: Readiness::Ready,
            remarks: Vec::new(),
            reload: || ReloadReport::Applied { generation: 2, in_force: in_force() },
            dry_run: || ReloadReport::Unchanged { generation: 1, in_force: in_force() },
            drains: AtomicU64::new(0),
            level: Mutex::new(Level::INFO),
            superseded: None,
            routes: 1,
            pending: None,
            begun: Notify::new(),
        }
    }
}

fn underway(cause: &'static str) -> UnderwayView {
    let (step, step_seconds) = ("compiling component `shout`".to_owned(), 1.5);
    UnderwayView { cause, dry_run: false, seconds: 2.0, timeout_seconds: 300.0, step, step_seconds }
}

impl Operations for Fake {
    fn largest_message(&self) -> usize {
        16
    }

    fn push(&self, push: Push) -> Answer<'_, Option<Pushed>> {
        let pushed = match push.connection.as_str() {
            "silent" => None,
            "full" => Some(Pushed::Full),
            "other" => Some(Pushed::Forbidden),
            "open" => Some(Pushed::Taken),
            _ => Some(Pushed::Unknown),
        };
        Box::pin(async move { pushed })
    }

    fn readiness(&self) -> Readiness {
        self.readiness
    }

    fn remarks(&self) -> Vec<String> {
        self.remarks.clone()
    }

    fn routes(&self) -> Vec<RouteView> {
        let whole = Selection { kinds: Kinds { text: true, binary: false }, need: Need::Whole };
        let interest = Interest { from_client: whole, from_upstream: Selection::default() };
        let route = || RouteView {
            name: "chat".to_owned(),
            hosts: vec!["chat.example.com".to_owned()],
            path: None,
            path_prefix: Some("/ws/chat".to_owned()),
            when: vec!["conditions".to_owned()],
            filters: vec![FilterView {
                component: "shout".to_owned(),
                on_failure: "close",
                interest: interest.into(),
                candidate: None,
            }],
            upstream: Some("chat".to_owned()),
            services: BTreeMap::new(),
            answers: None,
            connections_active: 7,
            requests_active: None,
        };
        (0..self.routes).map(|_| route()).collect()
    }

    fn upstreams(&self) -> Vec<UpstreamView> {
        let endpoints = vec![EndpointView {
            url: "ws://127.0.0.1:9001".to_owned(),
            weight: 50,
            effective_weight: 25,
            warmup_seconds: 30.0,
            enabled: true,
            zone: Some("eu-west-1a".to_owned()),
            metadata: BTreeMap::from([("version".to_owned(), "2.1".to_owned())]),
            connections_active: 7,
            failing: Some(FailingView { failures: 3, last_failure: "refused", retry_in_seconds: 1.5 }),
        }];
        vec![UpstreamView {
            name: "chat".to_owned(),
            balance: "round-robin".to_owned(),
            retries: 2,
            discovery: None,
            endpoints,
        }]
    }

    fn components(&self) -> Vec<ComponentView> {
        let import =
            ImportView { name: "tidegate:edge/log@0.2.0".to_owned(), permission: "write to the log".to_owned() };
        vec![ComponentView {
            name: "shout".to_owned(),
            kind: "filter",
            source: "filters/shout.wasm".to_owned(),
            size_bytes: 18_000,
            compile_seconds: 0.015,
            compile_source: "compiled",
            hooks: vec!["closing".to_owned()],
            imports: vec![import],
            uses: 1,
            memory_bytes: 65_536,
            failures: 0,
            versions: vec![VersionView { route: "chat".to_owned(), generation: 1, connections: 3 }],
            quarantined: vec!["chat".to_owned()],
        }]
    }

    fn connections(&self, query: ConnectionsQuery) -> Answer<'_, ConnectionsView> {
        let connection = |number: usize| ConnectionView {
            connection: format!("c0-{number}"),
            route: query.criteria.route.clone().unwrap_or_else(|| "any".to_owned()),
            upstream: "chat".to_owned(),
            endpoint: "ws://127.0.0.1:9001".to_owned(),
            client: "192.0.2.1:50000".to_owned(),
            worker: 0,
            age_seconds: 1.5,
            attributes: BTreeMap::new(),
        };
        let connections = (0..query.limit.min(3)).map(connection).collect();
        Box::pin(async { ConnectionsView { total: 3, connections, workers_silent: Vec::new() } })
    }

    fn close(&self, query: CloseQuery) -> Answer<'_, CloseReport> {
        Box::pin(async move {
            let workers_silent = if query.criteria.id.is_some() { vec![1] } else { Vec::new() };
            let closed = Closed { connections: 2, code: query.code, workers_silent };
            match query.criteria.route {
                Some(route) if route != "chat" => CloseReport::Unknown { route },
                _ if query.dry_run => CloseReport::Planned(closed),
                _ => CloseReport::Closed(closed),
            }
        })
    }

    fn reload_status(&self) -> ReloadStatus {
        let polled = PolledView { directory: "/etc/a".to_owned(), reason: "no".to_owned() };
        let (underway, given_up) = (Some(underway("POST /api/v1/reload")), vec![underway("SIGHUP")]);
        ReloadStatus { generation: 2, underway, given_up, polled: vec![polled] }
    }

    fn reload(&self, dry_run: bool) -> Answer<'_, ReloadReport> {
        let report = if dry_run { self.dry_run } else { self.reload };
        Box::pin(async move {
            self.begun.notify_one();
            if let Some(pending) = &self.pending {
                pending.notified().await;
            }
            report()
        })
    }

    fn drain(&self, query: DrainQuery) -> Answer<'_, DrainReport> {
        let over = query.over.unwrap_or(Duration::from_secs(14));
        let plan = DrainPlan::new(&query, 7, over, SystemTime::UNIX_EPOCH);
        Box::pin(async move {
            match query.route {
                _ if query.dry_run => return DrainReport::Planned(plan),
                Some(route) if route != "chat" => return DrainReport::Unknown { route },
                _ => {}
            }
            match self.drains.fetch_add(1, Ordering::Relaxed) {
                0 => DrainReport::Begun(plan),
                _ => DrainReport::Underway { connections: 7 },
            }
        })
    }

    fn restore(&self, component: &str) -> Option<RestoreReport> {
        (component == "shout").then(|| RestoreReport { component: component.to_owned(), lifted: 1 })
    }

    fn candidates(&self) -> Vec<CandidateView> {
        let message = SampledMessageView { origin: "client", kind: "text", size: 5, payload: "hello".to_owned() };
        vec![CandidateView {
            route: "chat".to_owned(),
            filter: "shout".to_owned(),
            component: "shout-2".to_owned(),
            mode: "shadow",
            canary: None,
            standing: "on_trial",
            connections: 3,
            failures: 1,
            max_failures: Some(10),
            decisions: Some(DecisionsView { agreed: 40, diverged: 1, failed: 1, skipped: 2 }),
            samples: vec![SampleView {
                connection: "c0-1".to_owned(),
                message: Some(message),
                filter: "replace: HELLO".to_owned(),
                candidate: "forward".to_owned(),
            }],
        }]
    }

    fn decide(&self, route: &str, component: &str, decision: Decision) -> Result<Option<DecisionReport>, Superseded> {
        self.superseded.map_or(Ok(()), Err)?;
        Ok(((route, component) == ("chat", "shout-2")).then(|| DecisionReport {
            route: route.to_owned(),
            component: component.to_owned(),
            filters: vec!["shout".to_owned()],
            standing: if decision == Decision::Promote { "promoted" } else { "rolled_back" },
            changed: true,
            connections_active: 7,
        }))
    }

    fn log_level(&self) -> Level {
        *self.level.lock().unwrap()
    }

    fn set_log_level(&self, level: Level) -> Result<(), Superseded> {
        self.superseded.map_or(Ok(()), Err)?;
        *self.level.lock().unwrap() = level;
        Ok(())
    }
}

/// A server that ends with the test.
struct Server {
    address: SocketAddr,
    metrics: Arc<Metrics>,
    operations: Arc<Fake>,
    stop: oneshot::Sender<()>,
    task: JoinSet<()>,
}

impl Server {
    async fn start(operations: Fake) -> Self {
        Self::bounded(operations, Bounds { max_connections: 64, send_timeout: Duration::from_secs(30) }).await
    }

    async fn bounded(operations: Fake, bounds: Bounds) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Metrics::new(1);
        let operations = Arc::new(operations);
        let admin = Admin::new(
            operations.clone(),
            Arc::clone(&metrics),
            (Guard::new(["metrics.example.com".to_owned()]), Access::default(), Arc::default()),
            bounds,
        );
        let (stop, stopping) = oneshot::channel();
        let stopped = async move {
            let _ = stopping.await;
        };
        let mut task = JoinSet::new();
        task.spawn(admin.serve(super::Listener::Tcp(listener), stopped));
        Self { address, metrics, operations, stop, task }
    }

    /// Sends a request as it stands and reads to the end of the connection.
    async fn send(&self, request: String) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        bytes
    }

    async fn request_bytes(&self, method: &str, path: &str, more: &str) -> Vec<u8> {
        let host = self.address;
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n")).await
    }

    async fn request(&self, method: &str, path: &str, more: &str) -> Answered {
        Answered(String::from_utf8(self.request_bytes(method, path, more).await).unwrap())
    }

    /// A request that names this host.
    async fn get_as(&self, host: &str, path: &str) -> Answered {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        Answered(String::from_utf8(self.send(request).await).unwrap())
    }

    async fn get(&self, path: &str) -> Answered {
        self.request("GET", path, "").await
    }
}

/// The head of an answer, and what follows it.
fn parted(answer: &[u8]) -> (&str, &[u8]) {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    (str::from_utf8(&answer[..end]).unwrap(), &answer[end..])
}

/// A body without its transfer coding (RFC 9112 section 7.1).
fn dechunked(mut coded: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = coded.windows(2).position(|window| window == b"\r\n").unwrap();
        let size = usize::from_str_radix(str::from_utf8(&coded[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&coded[end + 2..][..size]);
        coded = &coded[end + 2 + size + 2..];
    }
}

struct Answered(String);

impl Answered {
    fn status(&self) -> u16 {
        self.0.split(' ').nth(1).unwrap().parse().unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        let (head, _) = self.0.split_once("\r\n\r\n").unwrap();
        let fields = head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.into_iter().find_map(|(field, value)| field.eq_ignore_ascii_case(name).then_some(value))
    }

    fn body(&self) -> &str {
        self.0.split_once("\r\n\r\n").unwrap().1
    }

    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_str(self.body()).unwrap()
    }
}
