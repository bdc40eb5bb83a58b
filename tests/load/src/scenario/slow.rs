//! Slow readers: clients that keep sending and never read, until nothing moves any more. The memory that the proxy holds
//! then is what its bounded buffers are worth. Afterwards they read again, and every message must still come back.

use serde::Serialize;

use super::{Checked, Messages, ScenarioError, Target, open, settle};
use crate::clock::{SECOND, now, seconds};
use crate::connection::{Connection, Reading};
use crate::generator::{Generator, Silence};

/// Slow readers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SlowReaders {
    /// Connections.
    pub connections: usize,
    /// What is sent.
    pub messages: Messages,
    /// No connection sends more payload bytes than this, however much is taken: the kernel's buffers need a bound too.
    pub most_bytes: u64,
    /// Less than a hundredth was added for so many seconds: everything is full.
    pub stalled_after: f64,
}

/// What slow readers cost.
#[derive(Clone, Debug, Serialize)]
pub struct SlowReport {
    /// The scenario.
    pub load: SlowReaders,
    /// Connections that were open when memory was read.
    pub open: usize,
    /// Payload bytes that proxy, upstream and kernel took from one connection before they stopped.
    pub taken_per_connection: f64,
    /// Whether some connection ran into `most_bytes`, so that buffers may not have been full.
    pub bound_reached: bool,
    /// Before the first of them, but after one connection had come and gone.
    pub resident_before_kib: u64,
    /// With everything full.
    pub resident_kib: u64,
    /// The difference for one connection.
    pub kib_per_connection: f64,
    /// CPU time of the watched process in each second while nothing moves: above a few hundred it spins.
    pub stalled_cpu_us_per_second: f64,
    /// Faults and totals, after all of them have read what was left.
    #[serde(flatten)]
    pub checked: Checked,
}

/// Runs it.
pub fn run(target: &Target, load: SlowReaders) -> Result<SlowReport, ScenarioError> {
    let mut first = target.generator(load.messages)?;
    open(&mut first, 1, &mut Silence)?;
    settle(&mut first, &mut Silence)?;
    let before = target.resident()?;

    let mut generator = target.generator(load.messages)?;
    generator.small_buffers = true;
    open(&mut generator, load.connections, &mut Silence)?;
    let most = load.most_bytes / load.messages.size as u64;
    for key in generator.keys() {
        generator.act(key, |connection, _| connection.set_reading(Reading::Stopped));
    }
    let begin = now();
    let (mut moved, mut taken) = (begin, 0);
    while now() < moved + seconds(load.stalled_after) && now() < begin + FILLING {
        for key in generator.keys() {
            generator.act(key, |connection, tools| {
                if connection.unsent() == 0 && connection.sent() < most {
                    connection.send(tools, now());
                }
            });
        }
        let size = load.messages.size as u64;
        let taken_of = |connection: &Connection| (connection.sent() * size).saturating_sub(connection.unsent() as u64);
        let now_taken: u64 = generator.connections().map(taken_of).sum();
        // Short of memory, the kernel lets a trickle through for minutes.
        if now_taken > taken + taken / 100 {
            (moved, taken) = (now(), now_taken);
        }
        generator.run(&mut Silence, now() + TICK, Generator::is_empty)?;
    }
    let (quiet, cpu) = (now(), target.cpu()?);
    generator.run(&mut Silence, quiet + SECOND, Generator::is_empty)?;
    let cpu = (target.cpu()? - cpu) / 1000;
    let (after, connections) = (target.resident()?, generator.len());
    let bound_reached = generator.connections().any(|connection| connection.sent() >= most);

    for key in generator.keys() {
        generator.act(key, |connection, _| connection.set_reading(Reading::Normal));
        generator.resume(key, &mut Silence);
    }
    // The kernel probes a window that was shut for seconds less and less often, and so it takes long to notice.
    generator.run(&mut Silence, now() + LONGEST, Generator::is_idle)?;
    settle(&mut generator, &mut Silence)?;
    Ok(SlowReport {
        load,
        open: connections,
        taken_per_connection: taken as f64 / connections.max(1) as f64,
        bound_reached,
        resident_before_kib: before,
        resident_kib: after,
        kib_per_connection: (after as f64 - before as f64) / connections.max(1) as f64,
        stalled_cpu_us_per_second: cpu as f64,
        checked: Checked::of(generator),
    })
}

/// How often each connection sends one message. Bursts would make the kernel let the proxy's receive buffers grow by
/// megabytes, and a thousand connections fill all the memory that it has for TCP before anything stalls.
const TICK: u64 = SECOND / 200;
/// By then the trickle is all that moves.
const FILLING: u64 = 15 * SECOND;
const LONGEST: u64 = 60 * SECOND;
