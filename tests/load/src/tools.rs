//! What all connections of a generator share: payloads, masks, counts and histograms.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::deflate::{Deflate, Inflater};
use crate::order::Faults;
use crate::payload::Payloads;
use crate::random::Random;
use crate::totals::Totals;

/// Shared by the connections of one generator; they live on one thread.
#[derive(Debug)]
pub struct Tools {
    /// What is sent and expected.
    pub payloads: Payloads,
    /// Masking keys and handshake nonces.
    pub random: Random,
    /// Everything that crossed the sockets.
    pub totals: Totals,
    /// What went wrong.
    pub faults: Faults,
    /// Why connections broke, with counts.
    pub reasons: BTreeMap<String, u64>,
    /// Frames each message is split into.
    pub fragments: usize,
    /// What is offered, for payloads that are compressed.
    pub deflate: Option<Deflate>,
    /// For messages that refer to no earlier one.
    pub inflater: Inflater,
    /// Messages that came back.
    pub echoes: u64,
    /// Those of them whose compressed bytes are others than were sent.
    pub recompressed: u64,
    from_due: Histogram<u64>,
    from_sent: Histogram<u64>,
}

/// Percentiles in microseconds.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Latency {
    /// Samples.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Slowest.
    pub max: f64,
}

impl Tools {
    /// Fresh counts for these payloads.
    pub fn new(payloads: Payloads) -> Self {
        Self {
            payloads,
            random: Random::new(0x6d61_736b),
            totals: Totals::default(),
            faults: Faults::default(),
            reasons: BTreeMap::new(),
            fragments: 1,
            deflate: None,
            inflater: Inflater::new(),
            echoes: 0,
            recompressed: 0,
            from_due: histogram(),
            from_sent: histogram(),
        }
    }

    /// Counts an echo; times in nanoseconds.
    pub fn echoed(&mut self, due: u64, sent: u64, now: u64) {
        self.echoes += 1;
        self.from_due.saturating_record(now.saturating_sub(due));
        self.from_sent.saturating_record(now.saturating_sub(sent));
    }

    /// Forgets all latencies, at the end of the warm-up.
    pub fn reset_latency(&mut self) {
        self.from_due.reset();
        self.from_sent.reset();
    }

    /// From when a message was due until its echo: waiting in the client counts, so nothing is omitted.
    pub fn latency_from_due(&self) -> Latency {
        Latency::of(&self.from_due)
    }

    /// From when a message was really handed over until its echo.
    pub fn latency_from_sent(&self) -> Latency {
        Latency::of(&self.from_sent)
    }
}

impl Latency {
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
        Self {
            count: histogram.len(),
            mean: histogram.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max() as f64 / 1e3,
        }
    }
}

/// One nanosecond to two minutes, three digits.
#[expect(clippy::expect_used, reason = "the bounds are constants that the crate accepts")]
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 120_000_000_000, 3).expect("valid bounds")
}
