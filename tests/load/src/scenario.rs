//! The load scenarios. Each opens connections, sends, verifies, closes with 1000 and reports; each is bounded in time.

pub mod churn;
pub mod closed;
pub mod fixed;
pub mod idle;
pub mod requests;
pub mod slow;
pub mod verify;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use serde::Serialize;

use crate::clock::{SECOND, now};
use crate::deflate::Deflate;
use crate::generator::Generator;
use crate::handshake::{EXTENSIONS, Request};
use crate::order::Faults;
use crate::payload::{Mix, Payloads, TooSmall};
use crate::process::ProcessTree;
use crate::tools::Tools;
use crate::totals::Totals;
use crate::wire::Tls;

/// Where the connections go, and whose cost is measured.
#[derive(Clone, Debug)]
pub struct Target {
    /// The proxy's address, or the echo server's own.
    pub address: SocketAddr,
    /// The opening request.
    pub request: Request,
    /// The process whose CPU time and memory are reported.
    pub process: Option<ProcessTree>,
    /// How connections speak TLS; `None`: clear text.
    pub tls: Option<Tls>,
}

impl Target {
    /// `path` at `address`, with the address as host and no process to watch.
    pub fn new(address: SocketAddr, path: &str) -> Self {
        let request = Request { host: address.to_string(), path: path.into(), headers: Vec::new() };
        Self { address, request, process: None, tls: None }
    }

    fn generator(&self, messages: Messages) -> Result<Generator, ScenarioError> {
        let mut request = self.request.clone();
        let payloads = match messages.deflate {
            Some(deflate) => {
                request.headers.push((EXTENSIONS.into(), deflate.offer().into()));
                Payloads::compressed(messages.size)?
            }
            None => Payloads::new(messages.size, messages.mix)?,
        };
        let mut generator = Generator::new(self.address, request, payloads)?;
        generator.tools.fragments = messages.fragments;
        generator.tools.deflate = messages.deflate;
        generator.tls = self.tls.clone();
        Ok(generator)
    }

    fn cpu(&self) -> Result<u64, ScenarioError> {
        self.process.map_or(Ok(0), |process| process.cpu()).map_err(ScenarioError::Process)
    }

    fn resident(&self) -> Result<u64, ScenarioError> {
        self.process.map_or(Ok(0), |process| process.resident()).map_err(ScenarioError::Process)
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Messages {
    /// Bytes of each message.
    pub size: usize,
    /// Text, binary or both; compressed ones are text.
    pub mix: Mix,
    /// Frames each message is split into.
    pub fragments: usize,
    /// Compressed in this way.
    pub deflate: Option<Deflate>,
}

impl Messages {
    /// Uncompressed messages of one frame each.
    pub fn new(size: usize, mix: Mix) -> Self {
        Self { size, mix, fragments: 1, deflate: None }
    }
}

/// Why a scenario has no result at all. Faults of the proxy are results, not errors.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The payload size does not do.
    #[error(transparent)]
    Payload(#[from] TooSmall),
    /// A socket call of our own.
    #[error("sockets: {0}")]
    Sockets(#[from] io::Error),
    /// `/proc` of the measured process.
    #[error("the measured process: {0}")]
    Process(io::Error),
    /// Not one connection could be opened.
    #[error("no connection could be opened: {0:?}")]
    NothingOpened(BTreeMap<String, u64>),
}

/// What every scenario reports.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Checked {
    /// What went wrong with messages and connections.
    pub faults: Faults,
    /// Why connections broke.
    pub reasons: BTreeMap<String, u64>,
    /// Connections that ended with a clean closing handshake.
    pub ended: u64,
    /// Messages whose compressed bytes came back as others than were sent.
    pub recompressed: u64,
    /// Everything that crossed the sockets, from the client's view, with bytes as they stood on the wire.
    pub totals: Totals,
}

impl Checked {
    fn of(generator: Generator) -> Self {
        let Generator { tools, ended, .. } = generator;
        let Tools { faults, reasons, recompressed, totals, .. } = tools;
        Self { faults, reasons, ended, recompressed, totals }
    }
}

/// Opens `count` connections with `script` and fails when none opens.
fn open(
    generator: &mut Generator,
    count: usize,
    script: &mut dyn crate::generator::Script,
) -> Result<(), ScenarioError> {
    generator.open(count, script, now() + 60 * SECOND)?;
    if generator.tools.totals.opened == 0 {
        return Err(ScenarioError::NothingOpened(std::mem::take(&mut generator.tools.reasons)));
    }
    Ok(())
}

/// Waits for outstanding echoes, then closes everything with 1000.
fn settle(generator: &mut Generator, script: &mut dyn crate::generator::Script) -> Result<(), ScenarioError> {
    generator.run(script, now() + PATIENCE, Generator::is_idle)?;
    generator.finish(Some(1000), now() + PATIENCE)?;
    Ok(())
}

/// `nanoseconds` shared by `count`, in microseconds; absent when nothing was measured.
fn microseconds_each(target: &Target, nanoseconds: u64, count: u64) -> Option<f64> {
    (target.process.is_some() && count > 0).then(|| nanoseconds as f64 / count as f64 / 1e3)
}

const PATIENCE: u64 = 15 * SECOND;
