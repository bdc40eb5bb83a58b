//! The functions of our own that components import: `log`, `clock`, `random` and `endpoint-stats`. They never fail, and
//! they never wait.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmStr};

use super::guest::Guest;
use super::log::{MAX_LINE, cut};
use super::wire::Level;

/// Defines the functions. A component built against another 0.2 of the interfaces links as well.
pub(super) fn lend(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut log = linker.instance("tidegate:edge/log@0.2.0")?;
    log.func_wrap("write", |mut store: StoreContextMut<'_, Guest>, (level, text): (Level, WasmStr)| {
        let text = text.to_str(&store)?;
        let shown = cut(&text, MAX_LINE).to_owned();
        let omitted = text.len() - shown.len();
        store.data_mut().log.write(level, &shown, omitted);
        Ok(())
    })?;

    let mut clock = linker.instance("tidegate:edge/clock@0.2.0")?;
    clock.func_wrap("monotonic", |_, (): ()| Ok((nanoseconds(monotonic()),)))?;
    clock.func_wrap("wall", |_, (): ()| Ok((nanoseconds(wall()),)))?;

    let mut random = linker.instance("tidegate:edge/random@0.2.0")?;
    random.func_wrap("next", |mut store: StoreContextMut<'_, Guest>, (): ()| Ok((store.data_mut().random.next(),)))?;

    let mut endpoint_stats = linker.instance("tidegate:edge/endpoint-stats@0.2.0")?;
    endpoint_stats
        .func_wrap("active", |store: StoreContextMut<'_, Guest>, (id,): (u32,)| Ok((store.data().active(id),)))?;
    endpoint_stats
        .func_wrap("picked", |store: StoreContextMut<'_, Guest>, (id,): (u32,)| Ok((store.data().picked(id),)))?;
    Ok(())
}

/// The time since a point before the first call, the same for all guests of the process.
pub(super) fn monotonic() -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed()
}

/// The time since 1970; zero on a machine whose clock stands before.
pub(super) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A duration of less than 580 years in nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
