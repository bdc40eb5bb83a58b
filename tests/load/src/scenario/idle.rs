//! Idle connections: what one costs in resident memory after it has carried one message.

use serde::Serialize;

use super::{Checked, Messages, ScenarioError, Target, open, settle};
use crate::clock::{now, seconds};
use crate::connection::Connection;
use crate::generator::{Generator, Script};
use crate::tools::Tools;

/// Idle connections.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Idle {
    /// Connections.
    pub connections: usize,
    /// The one message of each.
    pub messages: Messages,
    /// Seconds between the last echo and the reading of memory.
    pub settle: f64,
}

/// What idle connections cost.
#[derive(Clone, Debug, Serialize)]
pub struct IdleReport {
    /// The scenario.
    pub load: Idle,
    /// Connections that were open when memory was read.
    pub open: usize,
    /// Before the first of them, but after one connection had come and gone.
    pub resident_before_kib: u64,
    /// With all of them idle.
    pub resident_kib: u64,
    /// The difference for one connection.
    pub kib_per_connection: f64,
    /// CPU time of the watched process in each second in which nothing happens.
    pub idle_cpu_us_per_second: f64,
    /// Faults and totals.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Runs it. The target should have been started for this: memory that an earlier load left behind hides the cost.
pub fn run(target: &Target, load: Idle) -> Result<IdleReport, ScenarioError> {
    let mut first = target.generator(load.messages)?;
    open(&mut first, 1, &mut Once)?;
    settle(&mut first, &mut Once)?;
    let before = target.resident()?;

    let mut generator = target.generator(load.messages)?;
    open(&mut generator, load.connections, &mut Once)?;
    generator.run(&mut Once, now() + super::PATIENCE, Generator::is_idle)?;
    let (quiet, cpu) = (now(), target.cpu()?);
    generator.run(&mut Once, quiet + seconds(load.settle), Generator::is_empty)?;
    let cpu = (target.cpu()? - cpu) as f64 / 1e3 / load.settle;
    let (after, connections) = (target.resident()?, generator.len());
    settle(&mut generator, &mut Once)?;
    Ok(IdleReport {
        load,
        open: connections,
        resident_before_kib: before,
        resident_kib: after,
        kib_per_connection: (after as f64 - before as f64) / connections.max(1) as f64,
        idle_cpu_us_per_second: cpu,
        checked: Checked::of(generator),
    })
}

struct Once;

impl Script for Once {
    fn opened(&mut self, connection: &mut Connection, tools: &mut Tools) {
        connection.send(tools, now());
    }
}
