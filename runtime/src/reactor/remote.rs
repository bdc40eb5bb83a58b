//! What other threads have woken.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_task::Runnable;
use mio::{Registry, Waker};

use super::port::REMOTE;

/// The part of a loop that other threads see: tasks that they have woken, and a way to end its sleep. That is a system
/// call, and made only when the loop sleeps or is about to.
pub(super) struct Remote {
    woken: Mutex<Vec<Runnable>>,
    /// Whether there may be some.
    has_woken: AtomicBool,
    sleeps: AtomicBool,
    waker: Waker,
}

impl Remote {
    pub(super) fn new(registry: &Registry) -> io::Result<Arc<Self>> {
        let waker = Waker::new(registry, REMOTE)?;
        Ok(Arc::new(Self { woken: Mutex::default(), has_woken: false.into(), sleeps: false.into(), waker }))
    }

    /// Has a task run on the loop's thread.
    pub(super) fn push(&self, task: Runnable) {
        self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        // The loop says that it sleeps before it looks here, and this says what there is before it looks whether the loop
        // sleeps: one of them sees the other.
        self.has_woken.store(true, Ordering::SeqCst);
        if self.sleeps.swap(false, Ordering::SeqCst) {
            // Without it the task waits for the next event.
            let _ = self.waker.wake().inspect_err(|error| tracing::error!(%error, "a sleeping worker cannot be woken"));
        }
    }

    /// Whether the loop may wait so long. From here on others end its sleep.
    pub(super) fn may_sleep(&self, patience: Option<Duration>) -> bool {
        if patience == Some(Duration::ZERO) {
            return true;
        }
        self.sleeps.store(true, Ordering::SeqCst);
        !self.has_woken.load(Ordering::SeqCst)
    }

    /// Nobody has to end its sleep any more.
    pub(super) fn is_awake(&self) {
        self.sleeps.store(false, Ordering::Relaxed);
    }

    /// What was woken since.
    pub(super) fn take(&self) -> Vec<Runnable> {
        if !self.has_woken.load(Ordering::Relaxed) || !self.has_woken.swap(false, Ordering::SeqCst) {
            return Vec::new();
        }
        std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
