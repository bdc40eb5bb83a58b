//! What components write to the operator's log: cut, escaped and limited in rate, so that no guest can fill a disk,
//! forge a line or move a terminal's cursor.
//!
//! What a component logs while it is configured waits until it has taken its configuration. Of one that it refuses, or
//! fails over, such lines are as likely as not to quote a part, so they do not reach the log.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::Instant;
use tracing::{debug, enabled, error, info, warn};

use super::wire::Level;
use crate::metrics::{ComponentMetrics, WorkerIndex};
use crate::ws::cost;

/// The log of one instance.
#[derive(Debug)]
pub(super) struct Log {
    component: Arc<str>,
    connection: String,
    last_words: String,
    /// Lines that wait; `None` once the component is configured.
    held: Option<Vec<(Level, String)>>,
    rate: Arc<Rate>,
    metrics: Arc<ComponentMetrics>,
    worker: WorkerIndex,
}

impl Log {
    pub(super) fn new(
        component: Arc<str>,
        rate: Arc<Rate>,
        metrics: Arc<ComponentMetrics>,
        worker: WorkerIndex,
    ) -> Self {
        Self {
            component,
            connection: String::new(),
            last_words: String::new(),
            held: Some(Vec::new()),
            rate,
            metrics,
            worker,
        }
    }

    /// Says which connection the next lines are about; the empty text stands for none.
    #[inline]
    pub(super) fn set_connection(&mut self, connection: &str) {
        self.connection.clear();
        self.connection.push_str(connection);
        self.last_words.clear();
    }

    /// Writes the lines that have waited, now that the component has taken its configuration, and lets no other wait.
    pub(super) fn release(&mut self) {
        self.last_words.clear();
        for (level, text) in self.held.take().into_iter().flatten() {
            if self.admits(level) {
                self.put(level, &text);
            }
        }
    }

    /// Whether the component has taken its configuration.
    pub(super) fn is_released(&self) -> bool {
        self.held.is_none()
    }

    /// The errors logged since the connection was last set: what a guest that traps has to say about it.
    pub(super) fn last_words(&self) -> Option<&str> {
        Some(self.last_words.as_str()).filter(|words| !words.is_empty())
    }

    /// Writes a line of which `omitted` further bytes have been left out already.
    pub(super) fn write(&mut self, level: Level, text: &str, omitted: usize) {
        if level == Level::Error {
            self.remember(text);
        }
        // A line that nobody reads is not escaped, which is the most of its cost.
        match &mut self.held {
            Some(held) if held.len() < MAX_HELD => held.push((level, escape(text, omitted))),
            Some(_) => self.metrics.of(self.worker).log_lines_dropped.add(1),
            None => {
                if self.admits(level) {
                    self.put(level, &escape(text, omitted));
                }
            }
        }
    }

    /// Whether a line may be written now; one that may not is counted, if anybody would have read it.
    fn admits(&self, level: Level) -> bool {
        let is_admitted = is_enabled(level) && self.rate.admits(Instant::now());
        if !is_admitted && is_enabled(level) {
            self.metrics.of(self.worker).log_lines_dropped.add(1);
        }
        is_admitted
    }

    fn put(&self, level: Level, text: &str) {
        let (component, connection) = (&*self.component, self.connection.as_str());
        match level {
            Level::Error => error!(target: "tidegate::component", component, connection, "{text}"),
            Level::Warn => warn!(target: "tidegate::component", component, connection, "{text}"),
            Level::Info => info!(target: "tidegate::component", component, connection, "{text}"),
            Level::Debug => debug!(target: "tidegate::component", component, connection, "{text}"),
        }
    }

    fn remember(&mut self, text: &str) {
        let room = MAX_LAST_WORDS.saturating_sub(self.last_words.len()).saturating_sub(2);
        if room == 0 {
            return;
        }
        if !self.last_words.is_empty() {
            self.last_words.push_str("; ");
        }
        self.last_words.push_str(cut(&escape(cut(text, room), 0), room));
    }
}

/// Lines a second, in bursts of as many, over all instances of a component. One number says when the lines admitted so
/// far would be paid for, so that threads share it without a lock.
#[derive(Debug)]
pub(super) struct Rate {
    interval: u64,
    start: Instant,
    paid_until: AtomicU64,
}

impl Rate {
    /// At most this many lines a second; 0 admits none.
    pub(super) fn new(lines_per_second: u32) -> Self {
        let interval = SECOND.checked_div(u64::from(lines_per_second)).unwrap_or(u64::MAX);
        Self { interval, start: Instant::now(), paid_until: AtomicU64::new(0) }
    }

    /// Whether a line may be written now; the one that may is counted.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let pay = |paid_until: u64| {
            let paid_until = paid_until.max(now).checked_add(self.interval)?;
            (paid_until <= now.saturating_add(SECOND)).then_some(paid_until)
        };
        self.paid_until.fetch_update(Ordering::Relaxed, Ordering::Relaxed, pay).is_ok()
    }
}

const SECOND: u64 = 1_000_000_000;

/// The most bytes of a line.
pub(super) const MAX_LINE: usize = 4 << 10;

/// The most lines that wait while a component is configured: 256 KiB.
const MAX_HELD: usize = 64;

/// The most bytes kept of what a guest logged as errors in one call.
const MAX_LAST_WORDS: usize = 512;

fn is_enabled(level: Level) -> bool {
    match level {
        Level::Error => enabled!(target: "tidegate::component", tracing::Level::ERROR),
        Level::Warn => enabled!(target: "tidegate::component", tracing::Level::WARN),
        Level::Info => enabled!(target: "tidegate::component", tracing::Level::INFO),
        Level::Debug => enabled!(target: "tidegate::component", tracing::Level::DEBUG),
    }
}

/// The text up to `end` bytes, not split inside a character.
pub(super) fn cut(text: &str, end: usize) -> &str {
    text.get(..text.floor_char_boundary(end)).unwrap_or(text)
}

/// A text that holds no line, no escape sequence and no more than a line's bytes; `omitted` further bytes have been left out
/// already.
pub(super) fn escape(text: &str, omitted: usize) -> String {
    let shown = cut(text, MAX_LINE);
    cost::spend(shown.len());
    let omitted = omitted.saturating_add(text.len() - shown.len());
    let mut escaped = String::with_capacity(shown.len());
    for character in shown.chars() {
        if character.is_control() || is_format(character) {
            escaped.extend(character.escape_default());
        } else {
            escaped.push(character);
        }
    }
    if omitted > 0 {
        // Writing to a String cannot fail.
        let _ = write!(escaped, " … ({omitted} bytes cut)");
    }
    escaped
}

/// Line separators and the marks that reorder text: what makes a line look like another.
fn is_format(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn a_line_cannot_forge_another_or_move_the_cursor() {
        assert_eq!(escape("a\nERROR b\u{1b}[2J\u{202e}", 0), "a\\nERROR b\\u{1b}[2J\\u{202e}");
    }

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        let text = "é".repeat(MAX_LINE);
        let escaped = escape(&format!("x{text}"), 2);
        assert!(escaped.starts_with("xé"));
        assert!(escaped.ends_with("é … (4100 bytes cut)"), "{}", &escaped[MAX_LINE - 10..]);
    }

    #[test]
    fn a_rate_admits_a_burst_and_then_its_rate() {
        let rate = Rate::new(10);
        let start = rate.start;
        assert_eq!((0..30).filter(|_| rate.admits(start)).count(), 10);
        let later = start + Duration::from_millis(350);
        assert_eq!((0..30).filter(|_| rate.admits(later)).count(), 3);
    }

    #[test]
    fn a_rate_of_zero_admits_nothing() {
        let rate = Rate::new(0);
        assert!(!rate.admits(rate.start));
    }

    #[test]
    fn errors_are_remembered_until_the_next_call() {
        let metrics = Metrics::new(1);
        let rate = Arc::new(Rate::new(0));
        let mut log = Log::new("shout".into(), rate, metrics.component("shout"), WorkerIndex(0));
        log.release();
        log.set_connection("c1");
        log.write(Level::Info, "fine", 0);
        log.write(Level::Error, "panicked at src/lib.rs:1:2", 0);
        log.write(Level::Error, &"x".repeat(2000), 0);
        let words = log.last_words().unwrap();
        assert!(words.starts_with("panicked at src/lib.rs:1:2; xxx") && words.len() <= MAX_LAST_WORDS);
        log.set_connection("c2");
        assert_eq!(log.last_words(), None);
    }
}
