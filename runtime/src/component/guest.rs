//! What the host keeps for one instance: the data of its store.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::deadline::Deadline;
use super::endpoints::{EndpointCounts, PickSet};
use super::limits::Quota;
use super::log::{Log, MAX_LINE};
use super::wire::Level;
use super::wishes::{Bounds, Wishes};
use crate::token::Bearer;

/// The data of a store.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) quota: Quota,
    pub(super) deadline: Deadline,
    pub(super) log: Log,
    pub(super) random: Random,
    pub(super) stdio: Stdio,
    /// What the call under way asks for.
    wishes: Option<Box<Wishes>>,
    /// How much it may ask for.
    pub(super) bounds: Bounds,
    /// Who has come in by a token, of the connection that the call under way is about.
    pub(super) bearer: Option<Arc<Bearer>>,
    /// What `endpoint-stats` may be asked for.
    pub(super) endpoints: Option<Arc<PickSet>>,
}

impl Guest {
    pub(super) fn new(quota: Quota, deadline: Deadline, log: Log, bounds: Bounds) -> Self {
        let (random, stdio) = (Random::seeded(), Stdio::default());
        Self { quota, deadline, log, random, stdio, wishes: None, bounds, bearer: None, endpoints: None }
    }

    /// What the call under way asks for.
    pub(super) fn wishes(&mut self) -> &mut Wishes {
        self.wishes.get_or_insert_default()
    }

    /// What the last call asked for, if anything.
    #[inline]
    pub(super) fn take_wishes(&mut self) -> Option<Box<Wishes>> {
        self.wishes.take()
    }

    /// The live connections to an endpoint; 0 for one that was never told to this guest.
    pub(super) fn active(&self, id: u32) -> u32 {
        self.counts(id).map_or(0, |counts| counts.active.load(Ordering::Relaxed))
    }

    /// How often an endpoint was picked; 0 for one that was never told to this guest.
    pub(super) fn picked(&self, id: u32) -> u64 {
        self.counts(id).map_or(0, |counts| counts.picked.load(Ordering::Relaxed))
    }

    fn counts(&self, id: u32) -> Option<&EndpointCounts> {
        self.endpoints.as_ref()?.get(id).map(|endpoint| &*endpoint.about.counts)
    }

    /// Takes bytes written to a standard stream; each whole line goes to the log.
    pub(super) fn print(&mut self, stream: Stream, bytes: &[u8]) {
        let (line, level) = match stream {
            Stream::Stdout => (&mut self.stdio.stdout, Level::Info),
            // A Rust guest's panic comes this way, hence the level.
            Stream::Stderr => (&mut self.stdio.stderr, Level::Error),
        };
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            line.extend(text.iter().take(MAX_LINE.saturating_sub(line.len())));
            if ended {
                if !line.is_empty() {
                    self.log.write(level, &String::from_utf8_lossy(line), 0);
                }
                line.clear();
            }
        }
    }
}

/// A standard stream that a guest may write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
}

/// The lines begun on the standard streams; what exceeds [`MAX_LINE`] of a line is dropped.
#[derive(Debug, Default)]
pub(super) struct Stdio {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// Numbers for sampling and for spreading load, not for secrets: a Weyl sequence through a mixing function.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    fn seeded() -> Self {
        // Without a source of entropy every instance has the same sequence, which harms no promise of `random`.
        Self(getrandom::u64().unwrap_or_default())
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^ (number >> 31)
    }

    /// This many bytes.
    pub(super) fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(length.saturating_add(8));
        while bytes.len() < length {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(length);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::component::endpoints::{EndpointFacts, PickEndpoint};
    use crate::component::log::Rate;
    use crate::metrics::{Metrics, WorkerIndex};
    use crate::ws::cost;

    fn guest() -> Guest {
        let metrics = Metrics::new(1).component("shout");
        let quota = Quota::new(0, Arc::clone(&metrics), WorkerIndex(0));
        let deadline = Deadline::of(tokio::time::Instant::now(), std::time::Duration::ZERO);
        let log = Log::new("shout".into(), Arc::new(Rate::new(0)), metrics, WorkerIndex(0));
        Guest::new(quota, deadline, log, Bounds { count: 0, size: 0 })
    }

    #[test]
    fn what_a_guest_prints_becomes_whole_lines() {
        let mut guest = guest();
        guest.print(Stream::Stderr, b"thread panicked at a.rs:1\nno");
        guest.print(Stream::Stderr, b"t good\n\nrest");
        assert_eq!(guest.log.last_words(), Some("thread panicked at a.rs:1; not good"));
    }

    #[test]
    fn an_endless_line_is_held_only_to_the_length_of_a_line() {
        let mut guest = guest();
        for _ in 0..10 {
            guest.print(Stream::Stdout, &[b'x'; 1000]);
        }
        assert_eq!(guest.stdio.stdout.len(), MAX_LINE);
    }

    #[test]
    fn a_line_beyond_the_rate_is_not_even_escaped() {
        let mut guest = guest();
        guest.log.release();
        let lines = "x\x1b\n".repeat(1000);
        assert_eq!(cost::of(|| guest.print(Stream::Stdout, lines.as_bytes())), 0);
        // What is kept of errors for the failure that may follow is little.
        assert!(cost::of(|| guest.print(Stream::Stderr, lines.as_bytes())) <= 2 * 512);
    }

    #[test]
    fn an_endpoint_never_told_has_no_connections() {
        let mut guest = guest();
        let counts =
            |active: u32, picked: u64| Arc::new(EndpointCounts { active: active.into(), picked: picked.into() });
        let endpoint = |id, counts| {
            let about = Arc::new(EndpointFacts { counts, ..EndpointFacts::default() });
            PickEndpoint { id, weight: 1, about }
        };
        let set = PickSet::new(vec![endpoint(3, counts(7, 70)), endpoint(9, counts(8, 80))]);
        guest.endpoints = Some(Arc::new(set));
        assert_eq!((guest.active(3), guest.active(9), guest.active(4)), (7, 8, 0));
        assert_eq!((guest.picked(3), guest.picked(9), guest.picked(4)), (70, 80, 0));
    }

    #[test]
    fn random_bytes_have_the_length_asked_for() {
        assert_eq!(guest().random.bytes(13).len(), 13);
    }
}
