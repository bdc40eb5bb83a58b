//! The comparison as Markdown: a table of ratios, a table of the figures behind them, and the bars.

use std::fmt::Write;

use super::Comparison;
use super::bars::bars;
use super::rows::MANY;

/// Everything, ready for a README.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = String::new();
    let machine = &comparison.machine;
    let _ = writeln!(
        text,
        "{}, {} cores, Linux {}; medians of {} rounds; one worker each on one core, load generator and echo server on \
         another. A message is there and back again.\n",
        machine.processor, machine.cores, machine.kernel, comparison.rounds
    );
    let baseline = comparison.variants.first().map_or("", |variant| &variant.name);
    ratios(comparison, baseline, &mut text);
    figures(comparison, &mut text);
    latencies(comparison, &mut text);
    bar_table(comparison, &mut text);
    let faults = comparison.faults();
    if faults.none() {
        text.push_str("Every payload came back once, unchanged and in order.\n");
    } else {
        let _ = writeln!(text, "**Faults, so no figure counts:** {faults:?}");
    }
    text
}

fn ratios(comparison: &Comparison, baseline: &str, text: &mut String) {
    let _ = writeln!(text, "Cost as a ratio to {baseline}, less is better:\n");
    head(comparison, "load", text);
    for row in &comparison.rows {
        let _ = write!(text, "| {} |", row.title);
        let ratio = |name: &str| comparison.ratio(row.name, name, baseline);
        let least = comparison.columns().filter_map(|variant| ratio(&variant.name)).min_by(f64::total_cmp);
        for variant in comparison.columns() {
            let _ = match ratio(&variant.name) {
                Some(ratio) if Some(ratio) == least => write!(text, " **{ratio:.2}** |"),
                Some(ratio) => write!(text, " {ratio:.2} |"),
                None => write!(text, " |"),
            };
        }
        text.push('\n');
    }
    text.push('\n');
}

fn figures(comparison: &Comparison, text: &mut String) {
    text.push_str("The figures behind them, each for one message or connection, with the spread over the rounds:\n\n");
    head(comparison, "load", text);
    for row in &comparison.rows {
        let _ = write!(text, "| {}, {} |", row.title, row.unit);
        for variant in comparison.columns() {
            let _ = write!(text, " {} |", figure(comparison, row.name, &variant.name));
        }
        text.push('\n');
    }
    text.push('\n');
    for variant in comparison.variants.iter().filter(|variant| variant.is_for_few_rows()) {
        for row in comparison.rows.iter().filter(|row| variant.stands_in(row)) {
            let figure = figure(comparison, row.name, &variant.name);
            let _ = writeln!(text, "- {}: {}, {}: {figure}", variant.name, row.title, row.unit);
        }
    }
    text.push('\n');
}

/// The median and the range; nothing without samples.
fn figure(comparison: &Comparison, row: &str, variant: &str) -> String {
    let samples = comparison.samples.get(row).and_then(|samples| samples.get(variant));
    let costs = || samples.into_iter().flatten().map(|sample| sample.cost);
    match (comparison.median(row, variant), costs().min_by(f64::total_cmp), costs().max_by(f64::total_cmp)) {
        (Some(median), Some(low), Some(high)) => format!("{median:.2} ({low:.2}–{high:.2})"),
        _ => String::new(),
    }
}

fn bar_table(comparison: &Comparison, text: &mut String) {
    let bars = bars(comparison);
    if bars.is_empty() {
        return;
    }
    text.push_str("| bar | | measured | at most | |\n|---|---|---|---|---|\n");
    for bar in bars {
        let (measured, met) = match bar.measured {
            Some(measured) if bar.is_met() => (format!("{measured:.2}"), "met"),
            Some(measured) => (format!("{measured:.2}"), "**missed**"),
            None => (String::new(), "not measured"),
        };
        let _ = writeln!(text, "| {} | {} | {measured} | {:.2} | {met} |", bar.title, bar.claim, bar.most);
    }
    text.push('\n');
}

/// 99th percentiles of the row where the rate is the same for all.
fn latencies(comparison: &Comparison, text: &mut String) {
    let Some(row) = comparison.rows.iter().find(|row| row.name == MANY) else {
        return;
    };
    let _ = writeln!(text, "Latency with {}, from when each message was due:\n", row.title);
    head(comparison, "99th percentile", text);
    let mut line = |title: &str, value: &dyn Fn(&str) -> Option<f64>| {
        let _ = write!(text, "| {title} |");
        for variant in comparison.columns() {
            let _ = match value(&variant.name) {
                Some(value) => write!(text, " {value:.2} |"),
                None => write!(text, " |"),
            };
        }
        text.push('\n');
    };
    line("ms", &|name| Some(comparison.median_of(row.name, name, |sample| sample.p99_us)? / 1e3));
    line("to that of 100 connections", &|name| comparison.median_of(row.name, name, |sample| sample.p99_to_few));
    text.push('\n');
}

fn head(comparison: &Comparison, first: &str, text: &mut String) {
    let names: Vec<&str> = comparison.columns().map(|variant| variant.name.as_str()).collect();
    let _ = writeln!(text, "| {first} | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
}
