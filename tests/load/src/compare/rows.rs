//! The rows of the table: five message loads with their bars, and the costs of a connection.

use serde::Serialize;

use super::proxy::Proxy;
use super::{CompareArguments, Sample};
use crate::deflate::Deflate;
use crate::payload::Mix;
use crate::scenario::Target;
use crate::scenario::closed::{ClosedLoop, Stop};
use crate::scenario::fixed::FixedRate;
use crate::scenario::{Checked, Messages, ScenarioError, churn, closed as closed_loop, fixed, idle, requests, slow};

/// A row.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its head in the table.
    pub title: &'static str,
    /// What its costs are counted in.
    pub unit: &'static str,
    /// What happens.
    pub load: Load,
    /// How clients speak.
    pub security: Security,
}

/// How the clients of a row speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// In clear text.
    Clear,
    /// Over TLS 1.3, each session from the start.
    Tls,
    /// Over TLS 1.3, sessions resumed.
    Resumed,
    /// In clear text over HTTP/2, so many on a connection.
    Multiplexed,
}

/// What happens in a row.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Load {
    /// A closed loop.
    Closed {
        /// Bytes of a message.
        size: usize,
        /// Connections.
        connections: usize,
        /// Messages in flight on each.
        window: u64,
    },
    /// Messages of 64 bytes at a fixed rate, so many a second over 64 connections.
    Rated(u64),
    /// A closed loop of a fixed number of compressed messages of a kibibyte.
    Compressed(Deflate),
    /// So many connections that send a message a second each, after a few that sent as many together.
    Many(usize),
    /// Idle connections.
    Idle(usize),
    /// Connections opened, used once and closed.
    Churn(u64),
    /// Connections whose clients do not read.
    Slow(usize),
    /// Plain requests over so many connections that are kept.
    Requests(usize),
}

/// All rows, the five message loads first.
pub const ROWS: [Row; 21] = [
    closed_row("64B", "64 B, 64 connections, 1 in flight", 64, 64, 1),
    closed_row("125B", "125 B, 64 connections, 16 in flight", 125, 64, 16),
    closed_row("4KiB", "4 KiB, 32 connections, 4 in flight", 4096, 32, 4),
    closed_row("16KiB", "16 KiB, 8 connections, 4 in flight", 16_384, 8, 4),
    closed_row("1MiB", "1 MiB, 4 connections, 1 in flight", 1_048_576, 4, 1),
    Row {
        name: RATED,
        title: "64 B, 20,000 a second over 64 connections",
        unit: "CPU µs",
        load: Load::Rated(20_000),
        security: Security::Clear,
    },
    compressed_row("deflate", "1 KiB of JSON, deflated by itself", Deflate::NoContextTakeover),
    compressed_row("deflate-context", "1 KiB of JSON, deflated in context", Deflate::ContextTakeover),
    Row {
        name: MANY,
        title: "9,000 connections, a message a second",
        unit: "CPU µs",
        load: Load::Many(9000),
        security: Security::Clear,
    },
    Row {
        name: CHURN,
        title: "open, one echo, close",
        unit: "CPU µs",
        load: Load::Churn(5000),
        security: Security::Clear,
    },
    Row {
        name: IDLE,
        title: "idle connection, of 3,000",
        unit: "KiB",
        load: Load::Idle(3000),
        security: Security::Clear,
    },
    Row {
        name: SLOW,
        title: "connection with a stalled reader, of 1,000",
        unit: "KiB",
        load: Load::Slow(1000),
        security: Security::Clear,
    },
    Row {
        name: REQUESTS,
        title: "plain request, 1 KiB answer, 64 connections",
        unit: "CPU µs",
        load: Load::Requests(64),
        security: Security::Clear,
    },
    over_http2(HTTP2_125B, "HTTP/2: 125 B, 10 on each of 10 connections, 16 in flight", closed(125, 100, 16)),
    over_http2(HTTP2_4KIB, "HTTP/2: 4 KiB, 10 on each of 10 connections, 4 in flight", closed(4096, 100, 4)),
    over_tls("tls-64B", "TLS: 64 B, 64 connections, 1 in flight", closed(64, 64, 1)),
    over_tls("tls-4KiB", "TLS: 4 KiB, 32 connections, 4 in flight", closed(4096, 32, 4)),
    over_tls("tls-16KiB", "TLS: 16 KiB, 8 connections, 4 in flight", closed(16_384, 8, 4)),
    over_tls(TLS_CHURN, "TLS: open, one echo, close", Load::Churn(3000)),
    Row { security: Security::Resumed, ..over_tls(TLS_RESUMED, "TLS: resume, one echo, close", Load::Churn(3000)) },
    Row { unit: "KiB", ..over_tls(TLS_IDLE, "TLS: idle connection, of 3,000", Load::Idle(3000)) },
];

/// The row of a fixed rate.
pub const RATED: &str = "20k";
/// The row of many connections.
pub const MANY: &str = "many";
/// The row of connections that come and go.
pub const CHURN: &str = "churn";
/// The row of idle connections.
pub const IDLE: &str = "idle";
/// The row of plain requests.
pub const REQUESTS: &str = "requests";
/// The row of slow readers.
pub const SLOW: &str = "slow";

/// Small messages over HTTP/2.
pub const HTTP2_125B: &str = "http2-125B";
/// Larger ones.
pub const HTTP2_4KIB: &str = "http2-4KiB";
/// How many WebSockets a connection over HTTP/2 has.
pub const STREAMS: usize = 10;

/// Full handshakes over TLS.
pub const TLS_CHURN: &str = "tls-churn";
/// Resumed ones.
pub const TLS_RESUMED: &str = "tls-resumed";
/// Idle connections over TLS.
pub const TLS_IDLE: &str = "tls-idle";

const fn compressed_row(name: &'static str, title: &'static str, deflate: Deflate) -> Row {
    Row { name, title, unit: "CPU µs", load: Load::Compressed(deflate), security: Security::Clear }
}

const fn over_http2(name: &'static str, title: &'static str, load: Load) -> Row {
    Row { name, title, unit: "CPU µs", load, security: Security::Multiplexed }
}

const fn over_tls(name: &'static str, title: &'static str, load: Load) -> Row {
    Row { name, title, unit: "CPU µs", load, security: Security::Tls }
}

const fn closed(size: usize, connections: usize, window: u64) -> Load {
    Load::Closed { size, connections, window }
}

const fn closed_row(name: &'static str, title: &'static str, size: usize, connections: usize, window: u64) -> Row {
    Row { name, title, unit: "CPU µs", load: closed(size, connections, window), security: Security::Clear }
}

/// The rows called `names`; "messages" are the closed loops.
pub fn select(names: &[String]) -> anyhow::Result<Vec<Row>> {
    for name in names {
        let known =
            ["all", "messages", "http2", "tls"].contains(&name.as_str()) || ROWS.iter().any(|row| row.name == name);
        let rows = ROWS.map(|row| row.name).join(", ");
        anyhow::ensure!(known, "no row is called {name}; there are {rows}, messages, http2, tls and all");
    }
    let wanted = |row: &Row| {
        let is_secure = matches!(row.security, Security::Tls | Security::Resumed);
        let is_of_messages = matches!(row.load, Load::Closed { .. }) && row.security == Security::Clear;
        names.iter().any(|name| match name.as_str() {
            "all" => true,
            "messages" => is_of_messages,
            "http2" => row.security == Security::Multiplexed,
            "tls" => is_secure,
            name => name == row.name,
        })
    };
    Ok(ROWS.into_iter().filter(wanted).collect())
}

impl Row {
    /// Whether permessage-deflate is negotiated.
    pub fn is_compressed(&self) -> bool {
        matches!(self.load, Load::Compressed(_))
    }

    /// Memory that an earlier load left behind would hide what a connection costs.
    pub fn wants_fresh_process(&self) -> bool {
        matches!(self.load, Load::Idle(_) | Load::Slow(_)) || self.security != Security::Clear
    }

    /// Whether the upstream's kernel buffers must not swallow the load.
    pub fn wants_small_buffers(&self) -> bool {
        matches!(self.load, Load::Slow(_))
    }

    /// Measures one proxy once.
    pub fn measure(&self, proxy: &Proxy, arguments: &CompareArguments) -> Result<Sample, ScenarioError> {
        let target = proxy.target();
        let sample = self.run(&target, arguments)?;
        Ok(sample)
    }

    fn run(&self, target: &Target, arguments: &CompareArguments) -> Result<Sample, ScenarioError> {
        let messages = |size| Messages::new(size, arguments.mix);
        match self.load {
            Load::Closed { size, connections, window } => {
                let stop = Stop::After { warm_up: arguments.warm_up, seconds: arguments.seconds };
                let load = ClosedLoop { connections, window, messages: messages(size), stop };
                let report = closed_loop::run(target, load)?;
                let cost = report.cpu_us_per_message.unwrap_or(f64::NAN);
                let (rate, p99) = (report.messages_per_second, report.latency_us.p99);
                Ok(sample(cost, Some(rate), Some(p99), report.checked))
            }
            Load::Rated(rate) => {
                let load = FixedRate {
                    connections: RATED_CONNECTIONS,
                    rate: rate as f64,
                    messages: messages(64),
                    warm_up: arguments.warm_up,
                    seconds: arguments.seconds,
                };
                let report = fixed::run(target, load)?;
                let cost = report.cpu_us_per_message.unwrap_or(f64::NAN);
                let p99 = report.latency_us.p99;
                let mut sample = sample(cost, Some(report.messages_per_second), Some(p99), report.checked);
                sample.faults.lost += report.skipped;
                Ok(sample)
            }
            Load::Compressed(deflate) => {
                let messages = Messages { deflate: Some(deflate), ..Messages::new(1024, Mix::Text) };
                let load = ClosedLoop { connections: 50, window: 4, messages, stop: Stop::Messages(4000) };
                let report = closed_loop::run(target, load)?;
                let cost = report.cpu_us_per_message.unwrap_or(f64::NAN);
                Ok(sample(cost, Some(report.messages_per_second), Some(report.latency_us.p99), report.checked))
            }
            Load::Many(connections) => {
                let rated = |connections, rate| FixedRate {
                    connections,
                    rate,
                    messages: messages(64),
                    warm_up: 1.0,
                    seconds: MANY_SECONDS,
                };
                let few = fixed::run(target, rated(FEW, connections as f64))?;
                let many = fixed::run(target, rated(connections, connections as f64))?;
                let cost = many.cpu_us_per_message.unwrap_or(f64::NAN);
                let p99 = many.latency_us.p99;
                let mut sample = sample(cost, Some(many.messages_per_second), Some(p99), many.checked);
                sample.p99_to_few = Some(p99 / few.latency_us.p99);
                sample.faults.add(&few.checked.faults);
                // A message that its connection was not there to send is as good as lost.
                sample.faults.lost += few.skipped + many.skipped;
                Ok(sample)
            }
            Load::Idle(connections) => {
                let load = idle::Idle { connections, messages: messages(64), settle: 1.0 };
                let report = idle::run(target, load)?;
                Ok(sample(report.kib_per_connection, None, None, report.checked))
            }
            Load::Churn(connections) => {
                let load = churn::Churn { connections, concurrent: 16, messages: messages(64) };
                let report = churn::run(target, load)?;
                let cost = report.cpu_us_per_connection.unwrap_or(f64::NAN);
                let (resumed, opened) = (report.checked.totals.resumed, report.checked.totals.opened);
                let mut sample =
                    sample(cost, Some(report.connections_per_second), Some(report.latency_us.p99), report.checked);
                // One whose client has closed before its ticket came leaves none.
                let as_wanted = match self.security {
                    Security::Resumed => resumed * 5 >= opened * 4,
                    _ => resumed == 0,
                };
                if !as_wanted {
                    sample.faults.broken += 1;
                    sample.reasons.insert(format!("{resumed} of {opened} TLS sessions were resumed"), 1);
                }
                Ok(sample)
            }
            Load::Requests(connections) => {
                let (warm_up, seconds) = (arguments.warm_up, arguments.seconds);
                let report = requests::run(target, requests::Requests { connections, warm_up, seconds })?;
                let cost = report.cpu_us_per_request.unwrap_or(f64::NAN);
                Ok(sample(cost, Some(report.requests_per_second), Some(report.latency_us.p99), report.checked))
            }
            Load::Slow(connections) => {
                let load = slow::SlowReaders {
                    connections,
                    messages: messages(4096),
                    most_bytes: SLOW_BYTES,
                    stalled_after: 1.0,
                };
                let report = slow::run(target, load)?;
                Ok(sample(report.kib_per_connection, None, None, report.checked))
            }
        }
    }
}

fn sample(cost: f64, rate: Option<f64>, p99_us: Option<f64>, checked: Checked) -> Sample {
    let Checked { faults, reasons, recompressed, .. } = checked;
    Sample { cost, rate, p99_us, p99_to_few: None, recompressed, faults, reasons }
}

/// The connections of a fixed rate.
const RATED_CONNECTIONS: usize = 64;
/// The few connections that many are compared with.
const FEW: usize = 100;
const MANY_SECONDS: f64 = 4.0;
/// Several times what proxy and kernel may hold for one connection.
const SLOW_BYTES: u64 = 16 << 20;
