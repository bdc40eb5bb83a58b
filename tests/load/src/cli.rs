//! Arguments, and what each subcommand prints: JSON on standard output, progress on standard error.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::deflate::Deflate;
use crate::handshake::Request;
use crate::payload::Mix;
use crate::process::ProcessTree;
use crate::scenario::{Messages, Target};

/// Loads WebSocket proxies and checks every payload and its order.
#[derive(Debug, Parser)]
#[command(name = "tidegate-load", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serves echoes until it is killed; GET /totals answers with the counts.
    Echo {
        /// Where to listen.
        #[arg(long, default_value = "127.0.0.1:9001")]
        listen: SocketAddr,
        /// Core to run on.
        #[arg(long)]
        pin: Option<usize>,
        /// Bytes of kernel buffer on each side of each socket, with segments as on a network; the kernel's choice
        /// unless given.
        #[arg(long)]
        socket_buffer: Option<usize>,
    },
    /// A closed loop with a window, or a fixed rate.
    Run {
        /// Where the load goes.
        #[command(flatten)]
        target: TargetArguments,
        /// What is sent.
        #[command(flatten)]
        messages: MessageArguments,
        /// Connections.
        #[arg(long, default_value_t = 64)]
        connections: usize,
        /// Messages in flight on each connection.
        #[arg(long, default_value_t = 1, conflicts_with = "rate")]
        window: u64,
        /// Messages a second over all connections, instead of a window; latency counts from when each was due.
        #[arg(long)]
        rate: Option<f64>,
        /// Measured seconds.
        #[arg(long, default_value_t = 5.0)]
        seconds: f64,
        /// Seconds before that.
        #[arg(long, default_value_t = 0.5)]
        warm_up: f64,
        /// Messages of each connection, instead of seconds.
        #[arg(long, conflicts_with_all = ["rate", "seconds", "warm_up"])]
        messages_each: Option<u64>,
    },
    /// Resident memory of idle connections, each after one message.
    Idle {
        /// Where the load goes.
        #[command(flatten)]
        target: TargetArguments,
        /// What is sent.
        #[command(flatten)]
        messages: MessageArguments,
        /// Connections.
        #[arg(long, default_value_t = 3000)]
        connections: usize,
        /// Seconds of quiet before memory is read.
        #[arg(long, default_value_t = 1.0)]
        settle: f64,
    },
    /// Open, echo once, close.
    Churn {
        /// Where the load goes.
        #[command(flatten)]
        target: TargetArguments,
        /// What is sent.
        #[command(flatten)]
        messages: MessageArguments,
        /// Connections in all.
        #[arg(long, default_value_t = 5000)]
        connections: u64,
        /// Connections at a time.
        #[arg(long, default_value_t = 16)]
        concurrent: usize,
    },
    /// Clients that send and do not read; afterwards they read everything.
    Slow {
        /// Where the load goes.
        #[command(flatten)]
        target: TargetArguments,
        /// What is sent.
        #[command(flatten)]
        messages: MessageArguments,
        /// Connections.
        #[arg(long, default_value_t = 100)]
        connections: usize,
        /// Payload bytes that one connection sends at most.
        #[arg(long, default_value_t = 16 << 20)]
        most_bytes: u64,
        /// Everything is full when less than a hundredth is added in so many seconds.
        #[arg(long, default_value_t = 1.0)]
        stalled_after: f64,
    },
    /// An exact number of messages, pings and clean closes, for comparison with the proxy's own counts.
    Verify {
        /// Where the load goes.
        #[command(flatten)]
        target: TargetArguments,
        /// What is sent.
        #[command(flatten)]
        messages: MessageArguments,
        /// Connections.
        #[arg(long, default_value_t = 10)]
        connections: usize,
        /// Messages of each connection.
        #[arg(long, default_value_t = 100)]
        count: u64,
        /// Pings of each connection.
        #[arg(long, default_value_t = 2)]
        pings: u64,
        /// Messages in flight on each connection.
        #[arg(long, default_value_t = 4)]
        window: u64,
    },
    /// Measures nginx, haproxy, Envoy and Tidegate in turn and prints one table of ratios.
    Compare(Box<crate::compare::CompareArguments>),
}

/// Where the load goes.
#[derive(Debug, Args)]
pub struct TargetArguments {
    /// Address of the proxy, or of the echo server itself.
    #[arg(long)]
    pub target: SocketAddr,
    /// Path and query of the request.
    #[arg(long, default_value = "/")]
    pub path: String,
    /// Host header; the address unless given.
    #[arg(long)]
    pub host: Option<String>,
    /// A further header, "name: value"; may be repeated.
    #[arg(long = "header")]
    pub headers: Vec<String>,
    /// Process whose CPU time and memory are reported, children included.
    #[arg(long)]
    pub proxy_pid: Option<u32>,
    /// Core for the generator.
    #[arg(long)]
    pub pin: Option<usize>,
    /// Also writes the JSON to this file.
    #[arg(long)]
    pub json: Option<PathBuf>,
}

impl TargetArguments {
    /// The target they name.
    pub fn target(&self) -> Target {
        let headers = self.headers.iter().filter_map(|line| line.split_once(':'));
        Target {
            address: self.target,
            request: Request {
                host: self.host.clone().unwrap_or_else(|| self.target.to_string()),
                path: self.path.clone(),
                headers: headers.map(|(name, value)| (name.trim().into(), value.trim().into())).collect(),
            },
            tls: None,
            process: self.proxy_pid.map(ProcessTree::new),
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, Args)]
pub struct MessageArguments {
    /// Bytes of each message.
    #[arg(long, default_value_t = 64)]
    pub size: usize,
    /// Text messages (JSON) only.
    #[arg(long, conflicts_with = "binary")]
    pub text: bool,
    /// Binary messages only; without either flag both kinds take turns.
    #[arg(long)]
    pub binary: bool,
    /// Frames each message is split into.
    #[arg(long, default_value_t = 1)]
    pub fragments: usize,
    /// Negotiates permessage-deflate, demands it, and sends compressed JSON records.
    #[arg(long, conflicts_with = "binary")]
    pub deflate: Option<Deflate>,
}

impl MessageArguments {
    /// The messages they name.
    pub fn messages(&self) -> Messages {
        let mix = match (self.text, self.binary) {
            (true, _) => Mix::Text,
            (_, true) => Mix::Binary,
            _ => Mix::Both,
        };
        let mix = if self.deflate.is_some() { Mix::Text } else { mix };
        Messages { size: self.size, mix, fragments: self.fragments, deflate: self.deflate }
    }
}
