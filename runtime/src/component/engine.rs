//! The engine that compiles and runs components, and everything about it that is one for the process.

use std::io;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::Notify;
use wasmtime::component::Linker;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::cache::{Cache, CacheDirectory};
use super::guest::Guest;
use super::limits::TABLE_ELEMENTS;
use super::seats::Seats;
use super::ticker::{Beat, Ticker};
use super::{lent, wasi};
use crate::metrics::IsolatedInstances;

/// The host of the components: engine, allocator, lent functions and the clock of deadlines. Cheap to clone; all clones
/// are the same host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

/// The host could not be made; nothing runs then.
#[derive(Debug, Error)]
pub enum HostError {
    /// The engine: no address space, or a processor it does not know.
    #[error("the component engine: {0}")]
    Engine(String),
    /// The thread that keeps deadlines.
    #[error("the thread that keeps component deadlines: {0}")]
    Thread(#[from] io::Error),
}

struct Inner {
    engine: Engine,
    linker: Linker<Guest>,
    ticker: Ticker,
    control: Mutex<()>,
    seats: Arc<Seats>,
    cache: Option<Cache>,
    failed_probations: Notify,
}

impl Host {
    /// A host for a process with this many workers.
    ///
    /// Reserves address space, not memory: 4 GiB for each instance there may be, because a guest whose memory cannot
    /// end within its address range needs no bounds checks (up to 45 % of its time). Where an address space limit
    /// forbids that, fewer instances are allowed for.
    pub fn new(workers: usize) -> Result<Self, HostError> {
        Self::with(workers, None, None, Arc::default())
    }

    /// As [`Host::new`]; takes compiled components from that directory, and puts them there. There are at most
    /// `most_isolated` instances that serve one connection each, which are counted in `isolated`; without a number as many
    /// as address space and memory maps allow beside those that serve workers, which is also the most there can be.
    pub fn with(
        workers: usize,
        cache: Option<CacheDirectory>,
        most_isolated: Option<NonZeroUsize>,
        isolated: Arc<IsolatedInstances>,
    ) -> Result<Self, HostError> {
        let (engine, instances) = engine()?;
        let linker = linker(&engine).map_err(|error| HostError::Engine(format!("{error:#}")))?;
        let ticker = Ticker::start({
            let engine = engine.clone();
            move || engine.increment_epoch()
        })?;
        let shared = workers.saturating_mul(SHARED_INSTANCES_PER_WORKER);
        let cache = cache.map(|directory| Cache::new(directory, &engine));
        let passing = workers.saturating_mul(TAKEOVERS_PER_WORKER);
        let possible = instances.min(max_mapped_instances()).saturating_sub(shared).saturating_sub(passing);
        let most = most_isolated.map_or(possible, |most| most.get().min(possible));
        let seats = Seats::new(most, passing, isolated);
        Ok(Self(Arc::new(Inner {
            engine,
            linker,
            ticker,
            control: Mutex::default(),
            seats,
            cache,
            failed_probations: Notify::new(),
        })))
    }

    /// Waits until a use has failed its probation since the last time.
    pub async fn until_probation_fails(&self) {
        self.0.failed_probations.notified().await;
    }

    pub(super) fn probation_failed(&self) {
        self.0.failed_probations.notify_one();
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(super) fn cache(&self) -> Option<&Cache> {
        self.0.cache.as_ref()
    }

    pub(super) fn linker(&self) -> &Linker<Guest> {
        &self.0.linker
    }

    /// The calling thread's leave to run guests.
    pub(super) fn beat(&self) -> Option<Beat> {
        self.0.ticker.beat()
    }

    /// Held while a guest runs on behalf of the control thread, whose metrics have one writer.
    pub(super) fn control(&self) -> MutexGuard<'_, ()> {
        self.0.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The places for instances that serve one connection each.
    pub(super) fn seats(&self) -> &Arc<Seats> {
        &self.0.seats
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Host").finish_non_exhaustive()
    }
}

/// An engine with the largest pool that the address space allows, and that pool's size.
fn engine() -> Result<(Engine, usize), HostError> {
    let mut refusal = String::new();
    for instances in POOL_SIZES {
        match Engine::new(&config(*instances)) {
            Ok(engine) => return Ok((engine, usize::try_from(*instances).unwrap_or(usize::MAX))),
            Err(error) => refusal = format!("{error:#}"),
        }
    }
    Err(HostError::Engine(refusal))
}

fn config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_memories(instances)
        .total_tables(instances.saturating_mul(TABLES_PER_INSTANCE))
        .total_core_instances(instances.saturating_mul(CORE_INSTANCES_PER_INSTANCE))
        .table_elements(TABLE_ELEMENTS);
    let mut config = Config::new();
    config
        // 330 ns on every call, for concurrency that no world here has.
        .concurrency_support(false)
        .epoch_interruption(true)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        // Always, rather than as an environment variable says: an operator's log must not depend on it.
        .wasm_backtrace_details(WasmBacktraceDetails::Enable);
    config
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<Guest>> {
    let mut linker = Linker::new(engine);
    lent::lend(&mut linker)?;
    wasi::lend(&mut linker)?;
    Ok(linker)
}

/// Instances for which address space is reserved: 32 TiB of the 128 that a process has, then less where that is denied.
const POOL_SIZES: &[u32] = &[8192, 1024, 128, 16];

/// A guest has a table of its own and shares one with the adapters around it; an interpreter has a few more.
const TABLES_PER_INSTANCE: u32 = 4;

/// A WASI guest is three core instances, a dynamically linked one (Python) several dozen. Their space is not reserved.
const CORE_INSTANCES_PER_INSTANCE: u32 = 16;

/// Left free of instances that serve one connection each, for those that serve a worker.
const SHARED_INSTANCES_PER_WORKER: usize = 64;

/// Instances for filters that take a connection over, while their predecessors still live: a worker changes one connection
/// at a time, and hardly any has more such filters.
const TAKEOVERS_PER_WORKER: usize = 8;

/// The memory maps of an instance that has run.
const MAPS_PER_INSTANCE: usize = 6;

/// How many instances the kernel's limit on memory maps allows for, with a fifth of it left to everything else.
fn max_mapped_instances() -> usize {
    let limit = std::fs::read_to_string("/proc/sys/vm/max_map_count");
    let maps = limit.ok().and_then(|limit| limit.trim().parse().ok()).unwrap_or(DEFAULT_MAX_MAPS);
    maps / 5 * 4 / MAPS_PER_INSTANCE
}

/// The kernel's default.
const DEFAULT_MAX_MAPS: usize = 65_530;
