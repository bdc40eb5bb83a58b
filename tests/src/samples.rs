//! What `/metrics` said at one moment.

use std::collections::BTreeMap;

/// Labels and value of each sample, by metric name.
#[derive(Clone, Debug, Default)]
pub struct Samples(BTreeMap<String, Vec<(Labels, f64)>>);

type Labels = BTreeMap<String, String>;

impl Samples {
    /// Reads the Prometheus text format.
    ///
    /// # Panics
    /// At a line that is not of that format.
    pub fn parse(text: &str) -> Self {
        let mut samples = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, parse_labels(labels.strip_suffix('}').expect("a closing brace"))),
                None => (series, BTreeMap::new()),
            };
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            samples.0.entry(name.to_owned()).or_default().push((labels, value));
        }
        samples
    }

    /// The sum of the samples of this name that carry these labels, and perhaps others; 0 when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).fold(0.0, std::ops::Add::add)
    }

    /// The same as a whole number.
    ///
    /// # Panics
    /// When it is not one.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value = self.value(name, labels);
        format!("{value}").parse().unwrap_or_else(|_| panic!("{name}{labels:?} is {value}, no count"))
    }

    /// All series of this name with a value other than 0: the value of one label, and the sample.
    pub fn by_label(&self, name: &str, label: &str) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for (labels, value) in self.0.get(name).into_iter().flatten().filter(|(_, value)| *value != 0.0) {
            let value: u64 = format!("{value}").parse().unwrap_or_else(|_| panic!("{name} is {value}, no count"));
            *sums.entry(labels.get(label).cloned().unwrap_or_default()).or_default() += value;
        }
        sums
    }

    fn matching<'a>(&'a self, name: &str, wanted: &'a [(&str, &str)]) -> impl Iterator<Item = f64> + 'a {
        self.0.get(name).into_iter().flatten().filter_map(|(labels, value)| {
            let fits = wanted.iter().all(|(label, value)| labels.get(*label).is_some_and(|present| present == value));
            fits.then_some(*value)
        })
    }
}

fn parse_labels(text: &str) -> Labels {
    let mut labels = Labels::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let end = after.find('"').expect("a closing quote");
        labels.insert(name.trim_start_matches(',').to_owned(), after[..end].to_owned());
        rest = &after[end + 1..];
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_summed_over_the_labels_that_were_not_asked_for() {
        let samples = Samples::parse(
            "# HELP a b\n# TYPE a counter\na{x=\"1\",y=\"p q\"} 2\na{x=\"1\",y=\"r\"} 3\na{x=\"2\",y=\"r\"} 4\nb 0.5\n",
        );
        assert_eq!(samples.count("a", &[("x", "1")]), 5);
        assert_eq!(samples.count("a", &[("y", "p q")]), 2);
        assert_eq!(samples.count("a", &[]), 9);
        assert_eq!(samples.count("c", &[]), 0);
        assert_eq!(samples.by_label("a", "y"), [("p q".to_owned(), 2), ("r".to_owned(), 7)].into());
        assert!((samples.value("b", &[]) - 0.5).abs() < f64::EPSILON);
    }
}
