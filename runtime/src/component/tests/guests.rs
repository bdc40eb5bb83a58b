//! The guests of these tests: core modules in text, made components by the host as any other core module is. Their
//! component types are those of `wit/`, so a host type that has drifted from the files fails every test here.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use wit_component::{StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::component::{
    Admission, Component, Content, FilterUse, Handshake, Host, Limits, LoadError, Message, OnFailure, Opened, Pool,
    Session,
};
use crate::metrics::{ComponentShard, Metrics, WorkerIndex};
use crate::peer::{MessageKind, Side};

pub(in crate::component) const FILTER: &str = include_str!("filter.wat");
pub(crate) const BALANCER: &str = include_str!("balancer.wat");
pub(super) const PREDICATE: &str = include_str!("predicate.wat");
pub(super) const HOLLOW: &str = include_str!("hollow.wat");
pub(super) const ASKING: &str = include_str!("asking.wat");
pub(super) const WASI: &str = include_str!("wasi.wat");

/// A core module with the component type of a world.
pub(crate) fn module(text: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../wit")).unwrap();
    let ours = resolve.push_str("foreign.wit", include_str!("foreign.wit")).unwrap();
    let world = resolve.select_world(&[package], Some(world)).or_else(|_| resolve.select_world(&[ours], Some(world)));
    let mut module = wat::parse_str(text).unwrap();
    embed_component_metadata(&mut module, &resolve, world.unwrap(), StringEncoding::UTF8).unwrap();
    module
}

/// A host with one worker, its metrics and its pool.
pub(super) struct Bed {
    pub(super) host: Host,
    pub(super) metrics: Arc<Metrics>,
    pub(super) pool: Pool,
}

impl Bed {
    pub(super) fn new() -> Self {
        let host = Host::new(1).unwrap();
        let pool = host.pool(WorkerIndex(0));
        Self { host, metrics: Metrics::new(1), pool }
    }

    pub(super) fn load(&self, text: &str, world: &str) -> Result<Component, LoadError> {
        self.host.load(world, &module(text, world), Limits::default())
    }

    /// The misbehaving filter on route `chat`.
    pub(super) fn filter(&self, config: &str, limits: Limits) -> Arc<FilterUse> {
        self.filter_that(OnFailure::Close, config, limits)
    }

    pub(super) fn filter_that(&self, on_failure: OnFailure, config: &str, limits: Limits) -> Arc<FilterUse> {
        let component = self.host.load("filter", &module(FILTER, "full-filter"), limits).unwrap();
        component.filter("chat", config, on_failure, 1, &self.metrics).unwrap()
    }

    /// The filter that asks for things, on route `chat`. It exports no `batching`.
    pub(super) fn asking(&self, on_failure: OnFailure, limits: Limits) -> Arc<FilterUse> {
        let component = self.host.load("asking", &module(ASKING, "asking"), limits).unwrap();
        component.filter("chat", "{}", on_failure, 1, &self.metrics).unwrap()
    }

    pub(super) fn admission(&self, filter: &Arc<FilterUse>, path: &str) -> Admission {
        match self.pool.open(filter, &Rc::new(handshake(path))).unwrap() {
            Opened::Admitted(admission) => admission,
            Opened::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    pub(super) fn session_at(&self, filter: &Arc<FilterUse>, path: &str) -> Session {
        self.admission(filter, path).session
    }

    pub(super) fn session(&self, filter: &Arc<FilterUse>) -> Session {
        self.admission(filter, "/").session
    }

    pub(super) fn with_shard<R>(&self, component: &str, read: impl FnOnce(&ComponentShard) -> R) -> R {
        read(self.metrics.component(component).of(WorkerIndex(0)))
    }
}

pub(crate) fn handshake(path: &str) -> Handshake {
    Handshake {
        method: "GET".to_owned(),
        scheme: "ws",
        authority: "example.com".to_owned(),
        path: path.to_owned(),
        http_version: "1.1",
        headers: [("cookie", b"a=b".as_slice()), ("x-tenant", b"\xff")].into_iter().collect(),
        connection_id: "c-1".to_owned(),
        route: "chat".to_owned(),
        ..Handshake::default()
    }
}

/// A message of the client; text if it can be.
pub(super) fn message(payload: &[u8]) -> Message<'_> {
    Message { origin: Side::Client, kind: MessageKind::Text, size: payload.len() as u64, payload }
}

/// What a text message says.
pub(super) fn text(payload: &[u8]) -> Content {
    Content { kind: MessageKind::Text, payload: payload.to_vec() }
}
