//! Exact counts: so many messages of both kinds, pings among them, then a clean close. The totals are for comparison
//! with what the proxy's own counters say, which must agree to the last byte.

use serde::Serialize;

use super::{Checked, Messages, ScenarioError, Target, open, settle};
use crate::clock::{SECOND, now};
use crate::connection::Connection;
use crate::generator::{Generator, Script};
use crate::tools::Tools;

/// An exact number of messages.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verify {
    /// Connections.
    pub connections: usize,
    /// Messages of each.
    pub count: u64,
    /// Pings of each, one after every message until there are enough.
    pub pings: u64,
    /// Messages in flight on each.
    pub window: u64,
    /// What is sent.
    pub messages: Messages,
}

/// What was sent and came back.
#[derive(Clone, Debug, Serialize)]
pub struct VerifyReport {
    /// The scenario.
    pub load: Verify,
    /// Faults and totals.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Runs it.
pub fn run(target: &Target, load: Verify) -> Result<VerifyReport, ScenarioError> {
    let mut generator = target.generator(load.messages)?;
    let mut script = Exact(load);
    open(&mut generator, load.connections, &mut script)?;
    generator.run(&mut script, now() + LONGEST, |generator| {
        generator.connections().all(|connection| connection.sent() >= load.count) && Generator::is_idle(generator)
    })?;
    settle(&mut generator, &mut script)?;
    Ok(VerifyReport { load, checked: Checked::of(generator) })
}

struct Exact(Verify);

impl Exact {
    fn next(&self, connection: &mut Connection, tools: &mut Tools) {
        if connection.is_open() && connection.sent() < self.0.count {
            connection.send(tools, now());
            if connection.sent() <= self.0.pings {
                connection.ping(tools);
            }
        }
    }
}

impl Script for Exact {
    fn opened(&mut self, connection: &mut Connection, tools: &mut Tools) {
        for _ in 0..self.0.window {
            self.next(connection, tools);
        }
    }

    fn echoed(&mut self, connection: &mut Connection, tools: &mut Tools, echoes: usize) {
        for _ in 0..echoes {
            self.next(connection, tools);
        }
    }
}

const LONGEST: u64 = 120 * SECOND;
