//! The functions that the runtime lends. Outside WebAssembly each has a stand-in in `testing`.

/// Writing to the operator's log. Lines beyond the component's rate are dropped; a text over 4 KiB is cut.
///
/// This is the only way to be heard: `println!`, `eprintln!` and `dbg!` of a component for `wasm32-unknown-unknown` go
/// nowhere, without an error, because that target has no standard output. One for `wasm32-wasip2` has its output
/// and its errors in the log, too.
pub mod log {
    pub use crate::bindings::balancer::tidegate::edge::log::Level;

    /// Writes one line.
    pub fn write(level: Level, text: &str) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::balancer::tidegate::edge::log::write(level, text);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::record(level, text);
    }

    /// Something is broken.
    pub fn error(text: &str) {
        write(Level::Error, text);
    }

    /// Somebody may have to act.
    pub fn warn(text: &str) {
        write(Level::Warn, text);
    }

    /// Worth knowing.
    pub fn info(text: &str) {
        write(Level::Info, text);
    }

    /// For whoever debugs this component.
    pub fn debug(text: &str) {
        write(Level::Debug, text);
    }
}

/// Telling time.
pub mod clock {
    use std::time::Duration;

    /// The time since an arbitrary point; never goes back. For measuring.
    pub fn monotonic() -> Duration {
        #[cfg(target_arch = "wasm32")]
        return Duration::from_nanos(crate::bindings::balancer::tidegate::edge::clock::monotonic());
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::monotonic()
    }

    /// The time since 1970-01-01T00:00:00Z. May jump when the machine's clock is set. For dates.
    pub fn wall() -> Duration {
        #[cfg(target_arch = "wasm32")]
        return Duration::from_nanos(crate::bindings::balancer::tidegate::edge::clock::wall());
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::wall()
    }
}

/// Random numbers, not for cryptography: for sampling and for spreading load.
pub mod random {
    /// A uniformly distributed number.
    pub fn next() -> u64 {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::balancer::tidegate::edge::random::next();
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::random()
    }

    /// A number below `bound`, all equally likely but for a bias under `bound` in 2^64; 0 when `bound` is 0.
    pub fn below(bound: u64) -> u64 {
        ((u128::from(next()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether an event of this probability, 0.0 to 1.0, happens.
    pub fn chance(probability: f64) -> bool {
        const STEPS: u64 = 1 << 53;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact in a float")]
        let number = (next() >> 11) as f64 / STEPS as f64;
        number < probability
    }
}

/// Being called back after a time, by [`Filter::on_timer`](crate::Filter::on_timer): for heartbeats, for what is gathered
/// and sent on together, and for who is to be asked whether they are still there. Only for filters.
///
/// A timer belongs to the session whose call sets it: `open`, `resume`, `on_message` or `on_timer`. In other calls these
/// functions do nothing. It ends with the session, also when another version takes the connection over, so set it again in
/// `resume`.
pub mod timer {
    use std::time::Duration;

    /// Has `on_timer` called with this token once, not before this time has gone by, in whole milliseconds rounded up, and
    /// up to a sixty-fourth of it later (a millisecond at least, 250 at most). A timer of the session that waits under the
    /// same token is set anew. A session may have 16 waiting; one more is a trap.
    pub fn after(time: Duration, token: u64) {
        let milliseconds = u32::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u32::MAX);
        #[cfg(target_arch = "wasm32")]
        crate::bindings::filter::tidegate::edge::timer::after(milliseconds, token);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::set_timer(token, Some(Duration::from_millis(milliseconds.into())));
    }

    /// Takes the timer of this token back, if one waits.
    pub fn cancel(token: u64) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::filter::tidegate::edge::timer::cancel(token);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::set_timer(token, None);
    }
}

/// Saying something about the connection whose session is being called. Only for filters; in calls that are about no
/// connection, and in `save` and `on_close`, these functions do nothing.
pub mod connection {
    use std::time::Duration;

    /// Sets an attribute of the connection, in place of one of that name that was set or attached before. The access log and
    /// the admin API show it, and filters that take the connection over see it among the attributes of its handshake.
    pub fn set_attribute(name: &str, value: &str) {
        #[cfg(target_arch = "wasm32")]
        crate::bindings::filter::tidegate::edge::connection::set_attribute(name, value);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::set_attribute(name, value);
    }

    /// Begins the filter's lease on the connection anew: it is closed with 1008 after this time, in whole seconds, unless
    /// the lease is renewed again.
    pub fn renew_lease(time: Duration) {
        let seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        #[cfg(target_arch = "wasm32")]
        crate::bindings::filter::tidegate::edge::connection::renew_lease(seconds);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::set_lease(Duration::from_secs(seconds.into()));
    }

    /// Hands over a fresh token of a connection that has come in by one, which is closed with 1008 when that expires: after
    /// this call, when the fresh one does. It is verified as the first was, and has to be for the same subject. The error
    /// says why it is not taken; a route without token rules takes none.
    pub fn renew_token(token: &str) -> Result<(), String> {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::filter::tidegate::edge::connection::renew_token(token);
        #[cfg(not(target_arch = "wasm32"))]
        {
            let _ = token;
            Err("the route has no token rules".to_owned())
        }
    }
}

/// What the runtime knows about endpoints beyond what a balancer's `update` was told. Only for balancers: a predicate
/// or filter that calls it has an import that the runtime refuses.
pub mod endpoint_stats {
    /// The live connections to an endpoint at this moment, over all workers, handshakes under way among them. Zero for
    /// an id that `update` has not given.
    pub fn active(id: u32) -> u32 {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::balancer::tidegate::edge::endpoint_stats::active(id);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::active(id)
    }

    /// How often an endpoint was picked since it appeared, over all workers and whoever has picked it. Zero for an id
    /// that `update` has not given.
    pub fn picked(id: u32) -> u64 {
        #[cfg(target_arch = "wasm32")]
        return crate::bindings::balancer::tidegate::edge::endpoint_stats::picked(id);
        #[cfg(not(target_arch = "wasm32"))]
        crate::testing::picked(id)
    }
}
