//! The cells that hold counts.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// The number of a thread that counts: workers from 0, then the control thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerIndex(pub usize);

/// A number that only grows. One thread writes, any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owner of the shard may call this: two writers would lose counts.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down. One thread writes, any thread reads.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds `n`, which may be negative. Only the owner of the shard may call this.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets the value. Only the owner of the shard may call this.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value now.
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Durations counted by upper bound. One thread writes, any thread reads.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [Duration],
    buckets: Box<[Counter]>,
    sum_nanos: Counter,
}

impl Histogram {
    /// An empty histogram with these upper bounds, in ascending order; one more bucket takes what is above the last.
    pub fn new(bounds: &'static [Duration]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self { bounds, buckets, sum_nanos: Counter::default() }
    }

    /// Counts one duration. Only the owner of the shard may call this.
    #[inline]
    pub fn observe(&self, duration: Duration) {
        let bucket = self.bounds.iter().position(|bound| duration <= *bound).unwrap_or(self.bounds.len());
        if let Some(counter) = self.buckets.get(bucket) {
            counter.add(1);
        }
        self.sum_nanos.add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Upper bounds, without the last, infinite one.
    pub fn bounds(&self) -> &'static [Duration] {
        self.bounds
    }

    /// Counts per bucket (not cumulative), the infinite one last.
    pub fn counts(&self) -> impl Iterator<Item = u64> + '_ {
        self.buckets.iter().map(Counter::value)
    }

    /// The sum of everything observed, in seconds.
    pub fn sum_seconds(&self) -> f64 {
        Duration::from_nanos(self.sum_nanos.value()).as_secs_f64()
    }
}

/// One `T` for each counting thread, each on cache lines of its own.
#[derive(Debug)]
pub struct Sharded<T>(Box<[Padded<T>]>);

/// Two cache lines, because x86 prefetches them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Padded<T>(T);

impl<T> Sharded<T> {
    /// `threads` shards made by `make`; at least one.
    pub fn new(threads: usize, mut make: impl FnMut() -> T) -> Self {
        Self((0..threads.max(1)).map(|_| Padded(make())).collect())
    }

    /// The shard of one thread.
    ///
    /// # Panics
    /// When the index is not below the number of threads given to [`Metrics::new`](super::Metrics::new), which hands
    /// the indices out.
    #[expect(clippy::indexing_slicing, reason = "indices are handed out once, by the code that sized the shards")]
    pub fn of(&self, worker: WorkerIndex) -> &T {
        &self.0[worker.0].0
    }

    /// All shards, to sum them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|padded| &padded.0)
    }
}
