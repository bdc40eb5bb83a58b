//! The functions of our own that components import: `log`, `clock`, `random`, `endpoint-stats`, `timer` and
//! `connection`. They never wait.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use wasmtime::StoreContextMut;
use wasmtime::component::Linker;

use super::guest::Guest;
use super::log::MAX_LINE;
use super::wire::{Level, Words};

/// Defines the functions. A component built against another 0.2 of the interfaces links as well.
pub(super) fn lend(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut log = linker.instance("tidegate:edge/log@0.2.0")?;
    log.func_wrap("write", |mut store: StoreContextMut<'_, Guest>, (level, line): (Level, Words<MAX_LINE>)| {
        store.data_mut().log.write(level, &line.text, line.omitted);
        Ok(())
    })?;

    let mut clock = linker.instance("tidegate:edge/clock@0.2.0")?;
    clock.func_wrap("monotonic", |_, (): ()| Ok((nanoseconds(monotonic()),)))?;
    clock.func_wrap("wall", |_, (): ()| Ok((nanoseconds(wall()),)))?;

    let mut random = linker.instance("tidegate:edge/random@0.2.0")?;
    random.func_wrap("next", |mut store: StoreContextMut<'_, Guest>, (): ()| Ok((store.data_mut().random.next(),)))?;

    filters(linker)?;

    let mut endpoint_stats = linker.instance("tidegate:edge/endpoint-stats@0.2.0")?;
    endpoint_stats
        .func_wrap("active", |store: StoreContextMut<'_, Guest>, (id,): (u32,)| Ok((store.data().active(id),)))?;
    endpoint_stats
        .func_wrap("picked", |store: StoreContextMut<'_, Guest>, (id,): (u32,)| Ok((store.data().picked(id),)))?;
    Ok(())
}

/// What filters alone are lent. It is heeded when the call has succeeded, and where it is about a connection.
fn filters(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut timer = linker.instance("tidegate:edge/timer@0.2.0")?;
    timer.func_wrap("after", |mut store: StoreContextMut<'_, Guest>, (milliseconds, token): (u32, u64)| {
        let after = Duration::from_millis(milliseconds.into());
        Ok(store.data_mut().wishes().timer(token, Some(after))?)
    })?;
    timer.func_wrap("cancel", |mut store: StoreContextMut<'_, Guest>, (token,): (u64,)| {
        Ok(store.data_mut().wishes().timer(token, None)?)
    })?;

    let mut connection = linker.instance("tidegate:edge/connection@0.2.0")?;
    connection.func_wrap(
        "set-attribute",
        |mut store: StoreContextMut<'_, Guest>, (name, value): (String, String)| {
            let bounds = store.data().bounds;
            Ok(store.data_mut().wishes().attribute(name, value, bounds)?)
        },
    )?;
    connection.func_wrap("renew-lease", |mut store: StoreContextMut<'_, Guest>, (seconds,): (u32,)| {
        store.data_mut().wishes().lease = Some(Duration::from_secs(seconds.into()));
        Ok(())
    })?;
    connection.func_wrap("renew-token", |mut store: StoreContextMut<'_, Guest>, (token,): (String,)| {
        let guest = store.data_mut();
        let renewed = match &guest.bearer {
            None => Err("the route has no token rules".to_owned()),
            Some(bearer) => bearer.renew(&token).map_err(|refused| refused.to_string()),
        };
        Ok((renewed.map(|until| guest.wishes().renewed_until = Some(until)),))
    })
}

/// The time since a point before the first call, the same for all guests of the process.
pub(super) fn monotonic() -> Duration {
    monotonic_at(Instant::now())
}

/// What [`monotonic`] gives at an instant.
pub(super) fn monotonic_at(instant: Instant) -> Duration {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    instant.saturating_duration_since(*START)
}

/// The time since 1970; zero on a machine whose clock stands before.
pub(super) fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A duration of less than 580 years in nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
