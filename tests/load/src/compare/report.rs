//! The comparison as Markdown: a table of ratios, a table of the figures behind them, and the bars.

use std::fmt::Write;

use super::Comparison;
use super::bars::bars;

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
        let least = comparison.variants.iter().filter_map(|variant| ratio(&variant.name)).min_by(f64::total_cmp);
        for variant in &comparison.variants {
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
        for variant in &comparison.variants {
            let samples = comparison.samples.get(row.name).and_then(|samples| samples.get(&variant.name));
            let costs = || samples.into_iter().flatten().map(|sample| sample.cost);
            let (low, high) = (costs().min_by(f64::total_cmp), costs().max_by(f64::total_cmp));
            let _ = match (comparison.median(row.name, &variant.name), low, high) {
                (Some(median), Some(low), Some(high)) => write!(text, " {median:.2} ({low:.2}–{high:.2}) |"),
                _ => write!(text, " |"),
            };
        }
        text.push('\n');
    }
    text.push('\n');
}

fn bar_table(comparison: &Comparison, text: &mut String) {
    let bars = bars(comparison);
    if bars.is_empty() {
        return;
    }
    text.push_str("| bar | | measured | at most | |\n|---|---|---|---|---|\n");
    for bar in bars {
        let met = if bar.is_met() { "met" } else { "**missed**" };
        let _ = writeln!(text, "| {} | {} | {:.2} | {:.2} | {met} |", bar.title, bar.claim, bar.measured, bar.most);
    }
    text.push('\n');
}

fn head(comparison: &Comparison, first: &str, text: &mut String) {
    let names: Vec<&str> = comparison.variants.iter().map(|variant| variant.name.as_str()).collect();
    let _ = writeln!(text, "| {first} | {} |", names.join(" | "));
    let _ = writeln!(text, "|---|{}", "---|".repeat(names.len()));
}
