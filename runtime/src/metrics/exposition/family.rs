//! One metric family while it is being put together.

use std::time::Duration;

use prometheus::proto::{self, Bucket, LabelPair, Metric, MetricFamily, MetricType};

use super::super::cells::Histogram;

/// A named set of series of one type.
pub(super) struct Family(MetricFamily);

impl Family {
    /// A family of numbers that only grow.
    pub(super) fn counter(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::COUNTER)
    }

    /// A family of numbers that go up and down.
    pub(super) fn gauge(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::GAUGE)
    }

    /// A family of durations.
    pub(super) fn histogram(name: &str, help: &str) -> Self {
        Self::new(name, help, MetricType::HISTOGRAM)
    }

    fn new(name: &str, help: &str, kind: MetricType) -> Self {
        let mut family = MetricFamily::default();
        family.set_name(name.to_owned());
        family.set_help(help.to_owned());
        family.set_field_type(kind);
        Self(family)
    }

    /// Adds a series to a family of counters or gauges. Exact up to 2^53, the text format's own limit.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: f64) {
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

    /// Adds a series to a family of durations: the sum of shards that share their bounds.
    pub(super) fn add_histogram<'a>(&mut self, labels: &[(&str, &str)], shards: impl Iterator<Item = &'a Histogram>) {
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

    /// The family, unless it has no series.
    pub(super) fn finish(self) -> Option<MetricFamily> {
        (!self.0.get_metric().is_empty()).then_some(self.0)
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
