//! The comparison as an SVG chart: a group of horizontal bars for each row, each bar a ratio to the first proxy. Drawn by
//! hand; no font, script or file from elsewhere.

use std::fmt::Write;

use super::Comparison;
use super::proxy::Variant;

/// The chart. Bars longer than three times the baseline are cut and say so by their figure.
pub fn svg(comparison: &Comparison) -> String {
    let baseline = comparison.variants.first().map_or("", |variant| variant.name.as_str());
    let variants: Vec<&Variant> = comparison.columns().collect();
    let group = variants.len() as f64 * BAR + GAP;
    let legend = TOP + variants.len().div_ceil(LEGEND_COLUMNS) as f64 * 18.0;
    let height = legend + comparison.rows.len() as f64 * group + 10.0;
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"{WIDTH}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n\
         <text x=\"10\" y=\"22\" font-size=\"15\" font-weight=\"bold\">Cost as a ratio to {}, less is better</text>\n",
        escape(baseline)
    );
    for (place, variant) in variants.iter().enumerate() {
        let x = 10.0 + (place % LEGEND_COLUMNS) as f64 * (WIDTH - 20.0) / LEGEND_COLUMNS as f64;
        let y = TOP + (place / LEGEND_COLUMNS) as f64 * 18.0;
        let _ = writeln!(
            text,
            "<rect x=\"{x:.0}\" y=\"{:.0}\" width=\"11\" height=\"11\" fill=\"{}\"/><text x=\"{:.0}\" y=\"{y:.0}\">{}</text>",
            y - 10.0,
            colour(place),
            x + 16.0,
            escape(&variant.name)
        );
    }
    let scale = (WIDTH - LEFT - 60.0) / longest(comparison, baseline);
    for (place, row) in comparison.rows.iter().enumerate() {
        let top = legend + place as f64 * group;
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{:.0}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            top + (group - GAP) / 2.0 + 4.0,
            escape(row.title)
        );
        for (place, variant) in variants.iter().enumerate() {
            let Some(ratio) = comparison.ratio(row.name, &variant.name, baseline) else {
                continue;
            };
            let (y, width) = (top + place as f64 * BAR, (ratio.clamp(0.0, MOST) * scale).max(1.0));
            let _ = writeln!(
                text,
                "<rect x=\"{LEFT}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{:.0}\" fill=\"{}\"/>\
                 <text x=\"{:.0}\" y=\"{:.0}\" font-size=\"10\">{ratio:.2}</text>",
                BAR - 2.0,
                colour(place),
                LEFT + width + 4.0,
                y + BAR - 5.0
            );
        }
    }
    let bottom = height - 10.0;
    let x = LEFT + scale;
    let _ = writeln!(
        text,
        "<line x1=\"{x:.1}\" y1=\"{legend:.0}\" x2=\"{x:.1}\" y2=\"{bottom:.0}\" stroke=\"#333333\" \
         stroke-dasharray=\"3 3\"/>\n</svg>"
    );
    text
}

fn longest(comparison: &Comparison, baseline: &str) -> f64 {
    let ratios = comparison
        .rows
        .iter()
        .flat_map(|row| comparison.columns().filter_map(|variant| comparison.ratio(row.name, &variant.name, baseline)));
    ratios.fold(1.0, f64::max).min(MOST)
}

fn colour(place: usize) -> &'static str {
    COLOURS.get(place % COLOURS.len()).copied().unwrap_or("#888888")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: f64 = 860.0;
const LEFT: f64 = 270.0;
const TOP: f64 = 44.0;
const BAR: f64 = 15.0;
const GAP: f64 = 14.0;
const MOST: f64 = 3.0;
const LEGEND_COLUMNS: usize = 4;
/// Told apart by people who do not see red and green alike (after Okabe and Ito).
const COLOURS: [&str; 8] = ["#999999", "#e69f00", "#56b4e9", "#cc79a7", "#009e73", "#0072b2", "#d55e00", "#f0e442"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::proxy::{Launch, Part};
    use crate::compare::rows::ROWS;
    use crate::compare::{Machine, Sample, report};
    use crate::order::Faults;
    use std::collections::BTreeMap;

    fn comparison(costs: &[(&str, &[f64])]) -> Comparison {
        let launch = Launch::Haproxy { binary: "haproxy".into() };
        let variants = costs.iter().map(|(name, _)| Variant {
            name: (*name).into(),
            part: if *name == "tidegate" { Part::Relay } else { Part::Peer },
            launch: launch.clone(),
        });
        let sample = |cost: &f64| Sample {
            cost: *cost,
            rate: None,
            p99_us: None,
            p99_to_few: None,
            recompressed: 0,
            faults: Faults::default(),
            reasons: BTreeMap::new(),
        };
        let samples = costs.iter().map(|(name, costs)| ((*name).into(), costs.iter().map(sample).collect()));
        Comparison {
            machine: Machine { processor: "a processor".into(), cores: 2, kernel: "6".into() },
            variants: variants.collect(),
            rows: vec![ROWS[0]],
            rounds: 3,
            samples: BTreeMap::from([(ROWS[0].name.into(), samples.collect())]),
        }
    }

    #[test]
    fn the_table_and_the_chart_hold_the_ratio_of_the_medians() {
        let comparison = comparison(&[("nginx", &[2.0, 9.0, 4.0]), ("tidegate", &[1.0, 2.0, 30.0])]);
        assert!(report::markdown(&comparison).contains("| 1.00 | **0.50** |"));
        assert!(svg(&comparison).contains(">0.50</text>"));
    }

    #[test]
    fn a_bar_is_met_or_missed_against_the_best_peer() {
        let comparison = comparison(&[("nginx", &[2.0]), ("haproxy", &[1.0]), ("tidegate", &[0.98])]);
        let bars = crate::compare::bars::bars(&comparison);
        assert_eq!(bars.len(), 1);
        assert!(!bars[0].is_met());
        assert_eq!(bars[0].claim, "tidegate / haproxy (the best peer)");
    }

    #[test]
    fn names_are_escaped_in_the_chart() {
        assert!(svg(&comparison(&[("a<b&c", &[1.0])])).contains("a&lt;b&amp;c"));
    }
}
