//! Who watches the workers: a start of which one is missing is none, and a worker that ends is replaced.
//!
//! A panic within a connection costs that connection, and the worker goes on. A worker itself should not end; when it
//! does, its connections are lost, and a new one takes its place at once, with the same sockets and whatever waits in
//! them. Where that happens again and again something is broken that a new worker does not mend, and the process drains
//! and ends with an error, so that whoever started it knows.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::worker::Report;
use crate::metrics::Metrics;

/// A worker that cannot do its work.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WorkerError {
    /// It did not start.
    #[error("worker {index} of {count} cannot start: {why}")]
    Start {
        /// Its number.
        index: usize,
        /// How many there were to be.
        count: usize,
        /// What it says.
        why: String,
    },
    /// Workers have ended too often to be replaced once more.
    #[error("workers have ended too often: {MOST_RESTARTS} times within a minute; the last, worker {index}: {why}")]
    Hopeless {
        /// Its number.
        index: usize,
        /// How it ended.
        why: String,
    },
}

/// How many workers are not there, for whoever asks.
#[derive(Debug, Default)]
pub(super) struct Missing(AtomicUsize);

impl Missing {
    /// Whether all workers accept connections.
    pub(super) fn is_none(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

/// A worker's thread.
#[derive(Debug, Default)]
struct Thread {
    handle: Option<JoinHandle<()>>,
    accepts: bool,
}

/// The threads of all workers.
pub(super) struct Supervisor<S> {
    start: S,
    threads: Vec<Thread>,
    reports: mpsc::Receiver<(usize, Report)>,
    metrics: Arc<Metrics>,
    missing: Arc<Missing>,
    restarted: VecDeque<Instant>,
}

impl<S: FnMut(usize) -> io::Result<JoinHandle<()>>> Supervisor<S> {
    /// For `workers` that `start` starts and that report here.
    pub(super) fn new(
        workers: usize,
        start: S,
        reports: mpsc::Receiver<(usize, Report)>,
        metrics: Arc<Metrics>,
        missing: Arc<Missing>,
    ) -> Self {
        let threads = (0..workers).map(|_| Thread::default()).collect();
        Self { start, threads, reports, metrics, missing, restarted: VecDeque::new() }
    }

    /// Starts all workers and waits until each can serve.
    ///
    /// # Errors
    /// When one cannot.
    pub(super) async fn start(&mut self) -> Result<(), WorkerError> {
        let count = self.threads.len();
        for index in 0..count {
            match (self.start)(index) {
                Ok(thread) => self.keep(index, thread),
                Err(error) => return Err(WorkerError::Start { index, count, why: error.to_string() }),
            }
        }
        self.until_all(&Report::Up).await
    }

    /// Waits until all workers accept connections.
    ///
    /// # Errors
    /// When one cannot.
    pub(super) async fn until_accepting(&mut self) -> Result<(), WorkerError> {
        self.until_all(&Report::Accepting).await
    }

    async fn until_all(&mut self, wanted: &Report) -> Result<(), WorkerError> {
        let count = self.threads.len();
        let mut awaited = count;
        while awaited > 0 {
            let Some((index, report)) = self.reports.recv().await else { return std::future::pending().await };
            awaited -= usize::from(report == *wanted);
            if let Some(why) = self.hear(index, report) {
                return Err(WorkerError::Start { index, count, why });
            }
        }
        Ok(())
    }

    /// Replaces workers that end, until there is no hope of that. While `is_over` says that all are to end, none is
    /// replaced. Cancel safe.
    pub(super) async fn watch(&mut self, is_over: impl Fn() -> bool) -> WorkerError {
        loop {
            let Some((index, report)) = self.reports.recv().await else { return std::future::pending().await };
            let Some(why) = self.hear(index, report) else { continue };
            if is_over() {
                tracing::error!(worker = index, why, "a worker has ended, with its connections");
                continue;
            }
            tracing::error!(worker = index, why, "a worker has ended, with its connections; another takes its place");
            if let Err(why) = self.replace(index, why) {
                return WorkerError::Hopeless { index, why };
            }
        }
    }

    /// Starts another worker in the place of one.
    fn replace(&mut self, index: usize, why: String) -> Result<(), String> {
        let now = Instant::now();
        self.restarted.retain(|at| now.duration_since(*at) < WITHIN);
        if self.restarted.len() >= MOST_RESTARTS {
            return Err(why);
        }
        self.restarted.push_back(now);
        let thread = (self.start)(index).map_err(|error| error.to_string())?;
        self.keep(index, thread);
        self.metrics.worker_restarted();
        Ok(())
    }

    /// Waits until all workers have ended that were told to.
    pub(super) async fn until_ended(&mut self) {
        while self.threads.iter().any(|thread| thread.handle.is_some()) {
            let Some((index, report)) = self.reports.recv().await else { return };
            let _ = self.hear(index, report);
        }
    }

    fn keep(&mut self, index: usize, handle: JoinHandle<()>) {
        if let Some(thread) = self.threads.get_mut(index) {
            thread.handle = Some(handle);
        }
    }

    /// Takes note of a report; gives why a worker has ended that should not have.
    fn hear(&mut self, index: usize, report: Report) -> Option<String> {
        let thread = self.threads.get_mut(index)?;
        thread.accepts = report == Report::Accepting;
        let why = match report {
            Report::Up | Report::Accepting => None,
            Report::Ended => Some(None),
            Report::Failed(why) => Some(Some(why)),
        };
        if why.is_some()
            && let Some(handle) = thread.handle.take()
        {
            // What there was to say it has reported.
            let _ = handle.join();
        }
        self.missing.0.store(self.threads.iter().filter(|thread| !thread.accepts).count(), Ordering::Relaxed);
        why.flatten()
    }
}

const MOST_RESTARTS: usize = 10;
const WITHIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
