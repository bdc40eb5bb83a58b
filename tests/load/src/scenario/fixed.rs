//! A fixed rate: messages are due at even intervals over all connections in turn, whatever comes back when. Latency is
//! counted from when a message was due, so that a stall shows in every message that it delayed and not in one only
//! (coordinated omission); the latency from when it was really sent stands beside it.

use serde::Serialize;

use super::{Checked, Messages, ScenarioError, Target, microseconds_each, open, settle};
use crate::clock::{SECOND, now, seconds};
use crate::generator::Silence;
use crate::tools::Latency;

/// A fixed rate.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct FixedRate {
    /// Connections.
    pub connections: usize,
    /// Messages a second over all connections.
    pub rate: f64,
    /// What is sent.
    pub messages: Messages,
    /// Seconds that are not measured.
    pub warm_up: f64,
    /// Seconds that are.
    pub seconds: f64,
}

/// What a fixed rate measured.
#[derive(Clone, Debug, Serialize)]
pub struct FixedReport {
    /// The scenario.
    pub load: FixedRate,
    /// Messages that came back while it was measured.
    pub measured: u64,
    /// Messages there and back in a second; below the rate the proxy (or this machine) did not keep up.
    pub messages_per_second: f64,
    /// Messages that were skipped because their connection was gone.
    pub skipped: u64,
    /// CPU time of the watched process for one message.
    pub cpu_us_per_message: Option<f64>,
    /// Resident memory of the watched process under this load.
    pub resident_kib: Option<u64>,
    /// From when each message was due, in microseconds.
    pub latency_us: Latency,
    /// From when each message was sent, in microseconds.
    pub latency_from_sent_us: Latency,
    /// Faults and totals.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Runs it.
pub fn run(target: &Target, load: FixedRate) -> Result<FixedReport, ScenarioError> {
    let mut generator = target.generator(load.messages)?;
    open(&mut generator, load.connections, &mut Silence)?;
    let keys = generator.keys();
    let begin = now();
    let (warm, end) = (begin + seconds(load.warm_up), begin + seconds(load.warm_up + load.seconds));
    let due_of = |message: u64| begin + seconds(message as f64 / load.rate);
    let (mut cpu, mut echoes, mut measuring) = (0, 0, false);
    let (mut message, mut skipped) = (0u64, 0);
    loop {
        if !measuring && now() >= warm {
            measuring = true;
            generator.tools.reset_latency();
            (cpu, echoes) = (target.cpu()?, generator.tools.echoes);
        }
        let mut due = due_of(message);
        while due <= now() && due < end {
            let before = generator.tools.totals.sent.frames;
            if let Some(key) = keys.get(message as usize % keys.len().max(1)) {
                generator.act(*key, |connection, tools| connection.send(tools, due));
            }
            skipped += u64::from(before == generator.tools.totals.sent.frames);
            message += 1;
            due = due_of(message);
        }
        if due >= end || generator.is_empty() {
            break;
        }
        generator.turn_precisely(&mut Silence, due)?;
    }
    // Late echoes of the last messages belong to the measured latencies.
    generator.run(&mut Silence, now() + super::PATIENCE, crate::generator::Generator::is_idle)?;
    let elapsed = now() - warm;
    let (cpu, measured) = (target.cpu()? - cpu, generator.tools.echoes - echoes);
    let resident = target.resident()?;
    let (from_due, from_sent) = (generator.tools.latency_from_due(), generator.tools.latency_from_sent());
    settle(&mut generator, &mut Silence)?;
    Ok(FixedReport {
        load,
        measured,
        messages_per_second: measured as f64 * SECOND as f64 / elapsed as f64,
        skipped,
        cpu_us_per_message: microseconds_each(target, cpu, measured),
        resident_kib: target.process.map(|_| resident),
        latency_us: from_due,
        latency_from_sent_us: from_sent,
        checked: Checked::of(generator),
    })
}
