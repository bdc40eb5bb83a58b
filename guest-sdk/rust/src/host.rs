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
