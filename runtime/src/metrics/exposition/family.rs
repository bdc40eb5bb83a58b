//! One metric family: what it is called, and how the series of each of its owners are written.

use std::time::Duration;

use prometheus::TextEncoder;
use prometheus::proto::{self, Bucket, LabelPair, Metric, MetricFamily, MetricType};

use super::super::cells::Histogram;
use super::super::roster::Present;

/// A named set of series of one type.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    owners: usize,
    write: Write,
    /// How many owners' series are written.
    written: usize,
    /// Whether name and help are written.
    is_begun: bool,
}

/// Writes the series of one owner.
type Write = Box<dyn Fn(usize, &mut Series) + Send>;

impl Family {
    /// A family with series of each of its owners, which `write` writes.
    pub(super) fn of<K, V>(
        kind: MetricType,
        name: &'static str,
        help: &'static str,
        owners: &Present<K, V>,
        write: impl Fn(&mut Series, &K, &V) + Send + 'static,
    ) -> Self
    where
        K: Send + Sync + 'static,
        V: Send + Sync + 'static,
    {
        let owners = owners.clone();
        Self::new(kind, name, help, owners.len(), move |index, series| {
            if let Some((key, counts)) = owners.get(index) {
                write(series, key, counts);
            }
        })
    }

    /// A family of the process itself.
    pub(super) fn of_the_process(
        kind: MetricType,
        name: &'static str,
        help: &'static str,
        write: impl Fn(&mut Series) + Send + 'static,
    ) -> Self {
        Self::new(kind, name, help, 1, move |_, series| write(series))
    }

    fn new(
        kind: MetricType,
        name: &'static str,
        help: &'static str,
        owners: usize,
        write: impl Fn(usize, &mut Series) + Send + 'static,
    ) -> Self {
        Self { name, help, kind, owners, write: Box::new(write), written: 0, is_begun: false }
    }

    /// Writes the series of some further owners; `false` when all are written. A family without series leaves no trace.
    pub(super) fn write_next(&mut self, text: &mut String) -> bool {
        if self.written >= self.owners {
            return false;
        }
        let mut series = Series(MetricFamily::default());
        series.0.set_name(self.name.to_owned());
        series.0.set_help(self.help.to_owned());
        series.0.set_field_type(self.kind);
        let last = self.owners.min(self.written + OWNERS_AT_A_TIME);
        for owner in self.written..last {
            (self.write)(owner, &mut series);
        }
        self.written = last;
        if !series.0.get_metric().is_empty() {
            let begins = text.len();
            // It fails for a family without a name or without series, and for a writer that does.
            let encoded = TextEncoder::new().encode_utf8(&[series.0], text);
            debug_assert!(encoded.is_ok(), "{}: {encoded:?}", self.name);
            if self.is_begun {
                let heading = text.get(begins..).unwrap_or_default().split_inclusive('\n').take(HEADING);
                let heading = heading.map(str::len).sum::<usize>();
                text.drain(begins..begins + heading);
            }
            self.is_begun = true;
        }
        true
    }
}

/// What the text format can show.
pub(super) trait Number {
    /// The nearest number that it has.
    fn as_f64(&self) -> f64;
}

impl Number for f64 {
    fn as_f64(&self) -> f64 {
        *self
    }
}

impl Number for u64 {
    fn as_f64(&self) -> f64 {
        *self as f64
    }
}

impl Number for i64 {
    fn as_f64(&self) -> f64 {
        *self as f64
    }
}

impl Number for usize {
    fn as_f64(&self) -> f64 {
        *self as f64
    }
}

impl<N: Number> Number for &N {
    fn as_f64(&self) -> f64 {
        N::as_f64(self)
    }
}

/// The series of some owners.
pub(super) struct Series(MetricFamily);

impl Series {
    /// Adds a series of a counter or a gauge. Exact up to 2^53, the text format's own limit.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: impl Number) {
        let value = value.as_f64();
        let mut metric = Metric::from_label(pairs(labels));
        if self.0.get_field_type() == MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        self.0.mut_metric().push(metric);
    }

    /// Adds the series of a family of durations: the sum of shards that share their bounds.
    pub(super) fn add_histogram<'h>(&mut self, labels: &[(&str, &str)], shards: impl Iterator<Item = &'h Histogram>) {
        let mut bounds: &[Duration] = &[];
        let mut counts: Vec<u64> = Vec::new();
        let mut seconds = 0.0;
        for shard in shards {
            bounds = shard.bounds();
            counts.resize(bounds.len() + 1, 0);
            for (count, of_shard) in counts.iter_mut().zip(shard.counts()) {
                *count += of_shard;
            }
            seconds += shard.sum_seconds();
        }
        let mut cumulative = 0;
        let buckets = bounds.iter().zip(&counts).map(|(bound, count)| {
            cumulative += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound.as_secs_f64());
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(seconds);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_histogram(histogram);
        self.0.mut_metric().push(metric);
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

/// Enough that the heading, which the encoder writes each time, costs little, and few enough to be no burden.
const OWNERS_AT_A_TIME: usize = 64;
/// Lines that name a family, and say what it is.
const HEADING: usize = 2;
