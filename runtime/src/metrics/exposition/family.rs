//! One metric family: what it is called, and how the series of each of its owners are written.

use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::super::cells::Histogram;
use super::super::roster::Present;

/// A named set of series of one type.
pub(super) struct Family {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    owners: usize,
    write: Write,
    /// How many owners' series are written.
    written: usize,
    /// Whether name and help are written.
    is_begun: bool,
}

/// Writes the series of one owner.
type Write = Box<dyn Fn(usize, &mut Series<'_>) + Send>;

/// The type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Numbers that only grow.
    Counter,
    /// Numbers that go up and down.
    Gauge,
    /// Durations, counted by upper bound.
    Histogram,
}

impl Family {
    /// A family with series of each of its owners, which `write` writes.
    pub(super) fn of<K, V>(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        owners: &Present<K, V>,
        write: impl Fn(&mut Series<'_>, &K, &V) + Send + 'static,
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

    fn new(
        kind: Kind,
        name: &'static str,
        help: &'static str,
        owners: usize,
        write: impl Fn(usize, &mut Series<'_>) + Send + 'static,
    ) -> Self {
        Self { name, help, kind, owners, write: Box::new(write), written: 0, is_begun: false }
    }

    /// Writes the series of one further owner; `false` when all are written. A family without series leaves no trace.
    pub(super) fn write_next(&mut self, text: &mut String) -> bool {
        if self.written >= self.owners {
            return false;
        }
        let Self { name, help, kind, .. } = *self;
        let mut series = Series { name, help, kind, text, is_begun: self.is_begun };
        (self.write)(self.written, &mut series);
        self.is_begun = series.is_begun;
        self.written += 1;
        true
    }
}

/// Where the series of one owner are written.
pub(super) struct Series<'a> {
    name: &'static str,
    help: &'static str,
    kind: Kind,
    text: &'a mut String,
    is_begun: bool,
}

impl Series<'_> {
    /// Adds a series of a counter or a gauge.
    pub(super) fn add(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.begin();
        self.line("", labels, None, value);
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
        self.begin();
        let mut cumulative = 0;
        for (bound, count) in bounds.iter().zip(&counts) {
            cumulative += count;
            self.line("_bucket", labels, Some(&bound.as_secs_f64()), cumulative);
        }
        let all: u64 = counts.iter().sum();
        self.line("_bucket", labels, Some(&"+Inf"), all);
        self.line("_sum", labels, None, seconds);
        self.line("_count", labels, None, all);
    }

    /// Name and help stand before the first series.
    fn begin(&mut self) {
        if !self.is_begun {
            self.is_begun = true;
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let (name, help) = (self.name, self.help);
            self.text.extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"]);
        }
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], bound: Option<&dyn Display>, value: impl Display) {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels {
            self.text.push(separator);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value);
            self.text.push('"');
            separator = ',';
        }
        // Neither a number nor a String refuses to be written.
        if let Some(bound) = bound {
            let _ = write!(self.text, "{separator}le=\"{bound}\"");
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

/// Appends a label's value as the format wants it.
fn escape(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = memchr::memchr3(b'\\', b'"', b'\n', rest.as_bytes()) {
        let (plain, special) = rest.split_at(at);
        text.push_str(plain);
        let mut characters = special.chars();
        text.push_str(match characters.next() {
            Some('\\') => "\\\\",
            Some('"') => "\\\"",
            _ => "\\n",
        });
        rest = characters.as_str();
    }
    text.push_str(rest);
}
