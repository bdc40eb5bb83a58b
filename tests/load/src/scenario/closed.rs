//! A closed loop: each connection keeps a window of messages in flight and sends one for each that comes back. What one
//! read brought is answered with one write, so a window above one makes a pipelining client.

use serde::Serialize;

use super::{Checked, Messages, ScenarioError, Target, microseconds_each, open, settle};
use crate::clock::{SECOND, now, seconds};
use crate::connection::Connection;
use crate::generator::{Generator, Script};
use crate::tools::{Latency, Tools};

/// A closed loop.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ClosedLoop {
    /// Connections.
    pub connections: usize,
    /// Messages in flight on each.
    pub window: u64,
    /// What is sent.
    pub messages: Messages,
    /// When it ends.
    pub stop: Stop,
}

/// When a closed loop ends.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// After so many measured seconds, which follow the seconds of warm-up.
    After {
        /// Not measured.
        warm_up: f64,
        /// Measured.
        seconds: f64,
    },
    /// When each connection has sent so many messages and got them back; all are measured.
    Messages(u64),
}

/// What a closed loop measured.
#[derive(Clone, Debug, Serialize)]
pub struct ClosedReport {
    /// The scenario.
    pub load: ClosedLoop,
    /// Messages that came back while it was measured.
    pub measured: u64,
    /// For so long.
    pub seconds: f64,
    /// Messages there and back in a second.
    pub messages_per_second: f64,
    /// CPU time of the watched process for one message there and back.
    pub cpu_us_per_message: Option<f64>,
    /// Share of one core that the watched process used.
    pub cpu_share: Option<f64>,
    /// Resident memory of the watched process under this load.
    pub resident_kib: Option<u64>,
    /// In microseconds.
    pub latency_us: Latency,
    /// Faults and totals.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Runs it.
pub fn run(target: &Target, load: ClosedLoop) -> Result<ClosedReport, ScenarioError> {
    let mut generator = target.generator(load.messages)?;
    let quota = match load.stop {
        Stop::After { .. } => u64::MAX,
        Stop::Messages(count) => count,
    };
    let mut script = Window { quota };
    open(&mut generator, load.connections, &mut script)?;
    let mut started = now();
    let mut cpu = target.cpu()?;
    let mut echoes = 0;
    for key in generator.keys() {
        generator.act(key, |connection, tools| {
            for _ in 0..load.window.min(quota) {
                connection.send(tools, now());
            }
        });
    }
    match load.stop {
        Stop::After { warm_up, seconds: measured } => {
            generator.run(&mut script, started + seconds(warm_up), Generator::is_empty)?;
            generator.tools.reset_latency();
            (started, cpu, echoes) = (now(), target.cpu()?, generator.tools.echoes);
            generator.run(&mut script, started + seconds(measured), Generator::is_empty)?;
        }
        Stop::Messages(count) => {
            generator.run(&mut script, started + LONGEST, |generator| {
                generator.connections().all(|connection| connection.sent() >= count && connection.is_idle())
            })?;
        }
    }
    let (cpu, elapsed) = (target.cpu()? - cpu, now() - started);
    let (measured, resident) = (generator.tools.echoes - echoes, target.resident()?);
    let latency_us = generator.tools.latency_from_sent();
    script.quota = 0;
    settle(&mut generator, &mut script)?;
    let elapsed_seconds = elapsed as f64 / SECOND as f64;
    Ok(ClosedReport {
        load,
        measured,
        seconds: elapsed_seconds,
        messages_per_second: measured as f64 / elapsed_seconds,
        cpu_us_per_message: microseconds_each(target, cpu, measured),
        cpu_share: target.process.map(|_| cpu as f64 / elapsed as f64),
        resident_kib: target.process.map(|_| resident),
        latency_us,
        checked: Checked::of(generator),
    })
}

struct Window {
    /// Messages each connection may send in all.
    quota: u64,
}

impl Script for Window {
    fn echoed(&mut self, connection: &mut Connection, tools: &mut Tools, echoes: usize) {
        for _ in 0..echoes {
            if connection.is_open() && connection.sent() < self.quota {
                connection.send(tools, now());
            }
        }
    }
}

/// A fixed number of messages is given up after ten minutes.
const LONGEST: u64 = 600 * SECOND;
