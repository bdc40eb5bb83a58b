//! Connection churn: open, echo one message, close with 1000, again. What it costs is the opening handshake, the
//! choice of an upstream and the dialling of it.

use serde::Serialize;

use super::{Checked, Messages, ScenarioError, Target, microseconds_each};
use crate::clock::{SECOND, now};
use crate::connection::Connection;
use crate::generator::Script;
use crate::tools::{Latency, Tools};

/// Connection churn.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Churn {
    /// Connections in all.
    pub connections: u64,
    /// Connections at a time.
    pub concurrent: usize,
    /// The one message of each.
    pub messages: Messages,
}

/// What churn costs.
#[derive(Clone, Debug, Serialize)]
pub struct ChurnReport {
    /// The scenario.
    pub load: Churn,
    /// Connections for which there was no time.
    pub unstarted: u64,
    /// Connections opened, used and closed in a second.
    pub connections_per_second: f64,
    /// CPU time of the watched process for one connection.
    pub cpu_us_per_connection: Option<f64>,
    /// Resident memory of the watched process afterwards.
    pub resident_kib: Option<u64>,
    /// Of the one echo, in microseconds.
    pub latency_us: Latency,
    /// Faults and totals.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Runs it.
pub fn run(target: &Target, load: Churn) -> Result<ChurnReport, ScenarioError> {
    let mut generator = target.generator(load.messages)?;
    let (begin, cpu) = (now(), target.cpu()?);
    let mut left = load.connections;
    while (left > 0 || !generator.is_empty()) && now() < begin + LONGEST {
        while left > 0 && generator.len() < load.concurrent {
            generator.start()?;
            left -= 1;
        }
        generator.turn(&mut OnceAndClose, now() + SECOND)?;
        if generator.tools.totals.opened == 0 && generator.tools.faults.broken > 100 {
            return Err(ScenarioError::NothingOpened(generator.tools.reasons));
        }
    }
    let (cpu, elapsed) = (target.cpu()? - cpu, now() - begin);
    generator.finish(Some(1000), now() + SECOND)?;
    let resident = target.resident()?;
    let latency_us = generator.tools.latency_from_sent();
    let finished = generator.ended;
    Ok(ChurnReport {
        load,
        unstarted: left,
        connections_per_second: finished as f64 * SECOND as f64 / elapsed as f64,
        cpu_us_per_connection: microseconds_each(target, cpu, finished),
        resident_kib: target.process.map(|_| resident),
        latency_us,
        checked: Checked::of(generator),
    })
}

struct OnceAndClose;

impl Script for OnceAndClose {
    fn opened(&mut self, connection: &mut Connection, tools: &mut Tools) {
        connection.send(tools, now());
    }

    fn echoed(&mut self, connection: &mut Connection, tools: &mut Tools, _echoes: usize) {
        connection.close(tools, Some(1000));
    }
}

const LONGEST: u64 = 120 * SECOND;
