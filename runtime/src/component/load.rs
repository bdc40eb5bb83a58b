//! From bytes to a component that can be instantiated: recognise, encode, check the imports, compile, link.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use thiserror::Error;
use tokio::time::Instant;
use wasmtime::component::{Component as Compiled, InstancePre};
use wit_component::ComponentEncoder;

use super::cache::Key;
use super::engine::Host;
use super::exports::{Export, Kind, is_named};
use super::guest::Guest;
use super::hollow;
use super::limits::Limits;
use super::log::Rate;
use super::survey::{Form, Survey, check_core_module, survey, survey_compiled};
use crate::metrics::CompileSource;

/// A component, compiled and linked; immutable, shared and cheap to clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

/// An interface that a component imports: something it is permitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Import {
    /// The interface with its package and version.
    pub name: String,
    /// What that lets the component do, in words.
    pub permission: String,
}

/// Bytes that cannot be put in service as a component.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The bytes do not start as WebAssembly does.
    #[error("this is not WebAssembly")]
    NotWasm,
    /// WebAssembly's text format.
    #[error("this is WebAssembly text; assemble it first, with `wasm-tools parse`")]
    Text,
    /// The bytes start as WebAssembly and do not go on so.
    #[error("this is malformed WebAssembly: {0}")]
    Malformed(String),
    /// A core module that was not built from the interfaces.
    #[error(
        "this is a core module without a component type; in Rust, build it with the guest SDK for wasm32-unknown-unknown or \
         wasm32-wasip2; elsewhere, have bindings of wit-bindgen or `wasm-tools component embed` put it in"
    )]
    NoComponentType,
    /// A core module for the first version of WASI.
    #[error(
        "this imports WASI preview 1; in Rust, build it for wasm32-unknown-unknown or wasm32-wasip2 instead; elsewhere, \
         make a component of it with `wasm-tools component new --adapt` and the adapter that wasmtime releases"
    )]
    Preview1,
    /// A core module whose component type does not fit it.
    #[error("this core module does not fit its component type: {0}")]
    Encode(String),
    /// No interface of ours is exported.
    #[error("this exports none of tidegate:edge/predicates, tidegate:edge/balancing and tidegate:edge/filtering")]
    NoWorld,
    /// Several interfaces of ours are exported, so what the component is for is open.
    #[error("this exports several of our interfaces, and may export one: {}", .0.join(", "))]
    SeveralWorlds(Vec<String>),
    /// An interface of ours in a version that this host does not speak.
    #[error("this exports {0}, and this version of the proxy speaks 0.2 of that interface")]
    OtherVersion(String),
    /// Everything it imports that is not lent.
    #[error(
        "this imports what no component is given: {}; a component may import log, clock and random of tidegate:edge, a \
         balancer endpoint-stats too, a filter timer and connection, and of WASI 0.2 the clocks, random, io and cli, and \
         filesystem, sockets and http, which are empty",
        .0.join(", ")
    )]
    ForeignImports(Vec<String>),
    /// It is invalid, or uses a feature of WebAssembly that is off.
    #[error("this does not compile: {0}")]
    Compile(String),
    /// It uses the concurrency of the component model, which is off: it costs every call, and no world here has a use for
    /// it.
    #[error(
        "this was built with async, and components here are called without; build it without (`--sync`, or so): {0}"
    )]
    Async(String),
    /// A function that the exported interface should have is not there.
    #[error("this does not export {0}")]
    MissingExport(String),
    /// A lent interface is imported with another type than it has.
    #[error("an import has another type than what is lent: {0}")]
    Link(String),
    /// It could never be instantiated within its limit.
    #[error("this starts with {initial} bytes of memory and may have {limit}; raise its max_memory")]
    Memory {
        /// The memory it starts with.
        initial: u64,
        /// The limit in force.
        limit: usize,
    },
}

struct Inner {
    host: Host,
    name: Arc<str>,
    kind: Kind,
    size: usize,
    imports: Vec<Import>,
    hooks: Vec<&'static str>,
    compile_time: Duration,
    compile_source: CompileSource,
    initial_memory: u64,
    cache_key: Option<Key>,
    limits: Limits,
    rate: Arc<Rate>,
    instances: InstancePre<Guest>,
    exports: Vec<Option<Export>>,
}

impl Host {
    /// Compiles and links a component or a core module that says its component type. `name` is its name in the
    /// configuration, for logs and metrics.
    ///
    /// Takes 10 ms for a filter in Rust and half a minute for an embedded interpreter, of one core: not for a worker
    /// thread. What is in the cache takes no more than reading it.
    pub fn load(&self, name: &str, bytes: &[u8], limits: Limits) -> Result<Component, LoadError> {
        let started = Instant::now();
        let cache = self.cache().map(|cache| (cache, cache.key(bytes)));
        let cache_key = cache.map(|(_, key)| key);
        let kept = cache.and_then(|(cache, key)| cache.get(key, self.engine(), name));
        let (compiled, Survey { kind, exports, imports }, compile_time, compile_source) = match kept {
            Some(compiled) => {
                let survey = survey_compiled(&compiled, self.engine())?;
                (compiled, survey, started.elapsed(), CompileSource::Cache)
            }
            None => {
                let (compiled, survey, compile_time) = self.make(bytes)?;
                if let Some((cache, key)) = cache {
                    cache.put(key, &compiled);
                }
                (compiled, survey, compile_time, CompileSource::Compiler)
            }
        };
        let initial_memory = check_memory(&compiled, &limits)?;
        let hooks = kind.hooks().filter(|hook| exports.iter().any(|full| is_named(full, hook))).collect();
        let exports = kind.find(&compiled, &exports).map_err(LoadError::MissingExport)?;
        let linker = hollow::lend(self.linker(), &compiled);
        let instances = linker.and_then(|linker| linker.instantiate_pre(&compiled));
        let instances = instances.map_err(|error| LoadError::Link(format!("{error:#}")))?;
        Ok(Component(Arc::new(Inner {
            host: self.clone(),
            name: name.into(),
            kind,
            size: bytes.len(),
            imports,
            hooks,
            compile_time,
            compile_source,
            initial_memory,
            cache_key,
            rate: Arc::new(Rate::new(limits.log_lines_per_second)),
            limits,
            instances,
            exports,
        })))
    }

    /// Removes from the cache, if there is one, what was not used for a month, and what was not used for longest where
    /// everything together has more than 1 GiB. The components of `live` count as used now.
    pub fn sweep_cache<'a>(&self, live: impl Iterator<Item = &'a Component>) {
        if let Some(cache) = self.cache() {
            cache.sweep(live.filter_map(|component| component.0.cache_key), SystemTime::now());
        }
    }

    /// Everything that a component from the cache has behind it.
    fn make(&self, bytes: &[u8]) -> Result<(Compiled, Survey, Duration), LoadError> {
        let encoded;
        let component = match Form::of(bytes)? {
            Form::Component => bytes,
            Form::CoreModule => {
                check_core_module(bytes)?;
                encoded = encode(bytes)?;
                &encoded
            }
        };
        let survey = survey(component)?;
        let started = Instant::now();
        let compiled = self.compile(component)?;
        Ok((compiled, survey, started.elapsed()))
    }

    fn compile(&self, component: &[u8]) -> Result<Compiled, LoadError> {
        Compiled::from_binary(self.engine(), component).map_err(|error| {
            let words = format!("{error:#}");
            if words.contains("component model async") { LoadError::Async(words) } else { LoadError::Compile(words) }
        })
    }
}

impl Component {
    /// Whether this is the same component, loaded once.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// What it decides.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The bytes that were loaded.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// What it imports and is thereby permitted.
    pub fn imports(&self) -> &[Import] {
        &self.0.imports
    }

    /// The optional interfaces that it exports, without package and version: what it is called for beside the least.
    pub fn hooks(&self) -> &[&'static str] {
        &self.0.hooks
    }

    /// How long compiling it took, or taking it from the cache.
    pub fn compile_time(&self) -> Duration {
        self.0.compile_time
    }

    /// Whether it was compiled or taken from the cache.
    pub fn compile_source(&self) -> CompileSource {
        self.0.compile_source
    }

    /// The bytes of linear memory that an instance starts with.
    pub fn initial_memory(&self) -> u64 {
        self.0.initial_memory
    }

    /// The limits in force for each of its instances.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(super) fn host(&self) -> &Host {
        &self.0.host
    }

    pub(super) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.0.name)
    }

    pub(super) fn rate(&self) -> Arc<Rate> {
        Arc::clone(&self.0.rate)
    }

    pub(super) fn instances(&self) -> &InstancePre<Guest> {
        &self.0.instances
    }

    pub(super) fn exports(&self) -> &[Option<Export>] {
        &self.0.exports
    }
}

impl std::fmt::Debug for Component {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Component").field("name", &self.0.name).field("kind", &self.0.kind).finish()
    }
}

fn encode(module: &[u8]) -> Result<Vec<u8>, LoadError> {
    let encoded = ComponentEncoder::default().validate(true).module(module).and_then(|mut encoder| encoder.encode());
    encoded.map_err(|error| LoadError::Encode(format!("{error:#}")))
}

/// The memory that an instance starts with, if it may have that much.
fn check_memory(compiled: &Compiled, limits: &Limits) -> Result<u64, LoadError> {
    let pages = compiled.resources_required().and_then(|needs| needs.max_initial_memory_size).unwrap_or(0);
    let initial = pages.saturating_mul(PAGE);
    if usize::try_from(initial).is_ok_and(|initial| initial <= limits.max_memory) {
        Ok(initial)
    } else {
        Err(LoadError::Memory { initial, limit: limits.max_memory })
    }
}

/// The unit of linear memory.
const PAGE: u64 = 1 << 16;
