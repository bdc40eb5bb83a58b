//! The poke behind deadlines: a thread that moves the epoch on every few milliseconds while guests are called, and
//! sleeps for good while none is, so that an idle proxy uses no CPU.
//!
//! Entering a guest writes one flag on a cache line that no other worker touches, and reads one that changes only when
//! the thread parks or wakes. Both are sequentially consistent: either the worker sees that the thread is parked and
//! wakes it, or the thread sees the worker's flag and does not park.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

/// The time between two ticks while a guest is in a call that may be long.
const TICK: Duration = Duration::from_millis(1);

/// The time between two ticks otherwise. Each tick takes the processor from a worker for some microseconds, and a call
/// that is over within this time has no deadline to fear.
const COARSE_TICK: Duration = Duration::from_millis(4);

/// The ticking thread; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// The leave of one thread to run guests: one for each thread, never shared.
#[derive(Debug)]
pub(super) struct Beat {
    flag: Arc<Flag>,
    shared: Arc<Shared>,
    ticker: Thread,
}

/// While this lives, the epoch moves on.
#[derive(Debug)]
pub(super) struct Running<'a>(&'a Beat);

impl Ticker {
    /// Starts a thread that calls `tick` again and again while guests run, every [`TICK`] while one is seen to run.
    pub(super) fn start(tick: impl FnMut() + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let thread = thread::Builder::new().name("epoch".to_owned()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(tick)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A beat for the calling thread's guests; `None` once the thread is gone.
    pub(super) fn beat(&self) -> Option<Beat> {
        let ticker = self.thread.as_ref()?.thread().clone();
        let flag = Arc::new(Flag::default());
        self.shared.flags().push(Arc::downgrade(&flag));
        Some(Beat { flag, shared: Arc::clone(&self.shared), ticker })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A tick that panicked has nothing to tell here.
            let _ = thread.join();
        }
    }
}

impl Beat {
    /// Says that a guest is about to run, and wakes the ticker if it is parked.
    #[inline]
    pub(super) fn enter(&self) -> Running<'_> {
        self.flag.0.store(RUNNING, Ordering::SeqCst);
        if self.shared.parked.0.load(Ordering::SeqCst) {
            self.wake();
        }
        Running(self)
    }

    #[cold]
    fn wake(&self) {
        if self.shared.parked.0.swap(false, Ordering::SeqCst) {
            self.ticker.unpark();
        }
    }
}

impl Drop for Running<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.flag.0.store(RECENT, Ordering::Release);
    }
}

/// No guest ran since the last tick.
const IDLE: u8 = 0;
/// A guest ran since the last tick and has left.
const RECENT: u8 = 1;
/// A guest runs.
const RUNNING: u8 = 2;

/// After this many ticks without a guest the thread parks. Waking it costs the waker a few microseconds, so a proxy
/// with a call every few milliseconds should not pay that each time.
const QUIET_TICKS: u32 = 16;

/// Alone on two cache lines, because x86 fetches them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Flag(AtomicU8);

/// Apart from what the ticking thread writes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Parked(AtomicBool);

#[derive(Debug, Default)]
struct Shared {
    parked: Parked,
    stop: AtomicBool,
    flags: Mutex<Vec<Weak<Flag>>>,
}

impl Shared {
    fn run(&self, mut tick: impl FnMut()) {
        let mut quiet = 0;
        let mut pace = COARSE_TICK;
        while !self.stop.load(Ordering::SeqCst) {
            thread::sleep(pace);
            tick();
            let (active, running) = self.activity();
            pace = if running { TICK } else { COARSE_TICK };
            quiet = if active { 0 } else { quiet + 1 };
            if quiet >= QUIET_TICKS {
                self.park();
                quiet = 0;
            }
        }
    }

    fn park(&self) {
        self.parked.0.store(true, Ordering::SeqCst);
        if self.activity().0 {
            self.parked.0.store(false, Ordering::SeqCst);
        }
        while self.parked.0.load(Ordering::SeqCst) && !self.stop.load(Ordering::SeqCst) {
            thread::park();
        }
    }

    /// Whether a guest ran since this was last asked, and whether one runs now.
    fn activity(&self) -> (bool, bool) {
        let (mut active, mut running) = (false, false);
        self.flags().retain(|flag| {
            let Some(flag) = flag.upgrade() else { return false };
            // The exchange spares a flag that has become RUNNING in between.
            let recent = flag.0.compare_exchange(RECENT, IDLE, Ordering::SeqCst, Ordering::SeqCst);
            active |= recent != Err(IDLE);
            running |= recent == Err(RUNNING);
            true
        });
        (active, running)
    }

    fn flags(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Flag>>> {
        self.flags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn ticking() -> (Ticker, Receiver<()>) {
        let (sender, ticks) = channel();
        let ticker = Ticker::start(move || {
            let _ = sender.send(());
        });
        (ticker.unwrap(), ticks)
    }

    fn until_parked(ticker: &Ticker) {
        while !ticker.shared.parked.0.load(Ordering::SeqCst) {
            thread::yield_now();
        }
    }

    #[test]
    fn an_idle_ticker_parks_and_ticks_no_more() {
        let (ticker, ticks) = ticking();
        until_parked(&ticker);
        while ticks.try_recv().is_ok() {}
        assert!(ticks.recv_timeout(TICK * 20).is_err(), "a parked ticker ticked");
    }

    #[test]
    fn entering_a_guest_wakes_a_parked_ticker() {
        let (ticker, ticks) = ticking();
        until_parked(&ticker);
        while ticks.try_recv().is_ok() {}
        let beat = ticker.beat().unwrap();
        let running = beat.enter();
        ticks.recv_timeout(PATIENCE).expect("a tick while a guest runs");
        drop(running);
    }

    #[test]
    fn the_ticker_does_not_park_while_a_guest_runs() {
        let (ticker, ticks) = ticking();
        let beat = ticker.beat().unwrap();
        let running = beat.enter();
        for _ in 0..QUIET_TICKS * 2 {
            ticks.recv_timeout(PATIENCE).expect("a tick while a guest runs");
        }
        assert!(!ticker.shared.parked.0.load(Ordering::SeqCst));
        drop(running);
        until_parked(&ticker);
    }

    #[test]
    fn a_beat_that_is_gone_does_not_keep_the_ticker_awake() {
        let (ticker, _ticks) = ticking();
        let beat = ticker.beat().unwrap();
        std::mem::forget(beat.enter());
        drop(beat);
        until_parked(&ticker);
    }

    #[test]
    fn dropping_a_parked_ticker_ends_its_thread() {
        let (ticker, ticks) = ticking();
        until_parked(&ticker);
        drop(ticker);
        while ticks.try_recv().is_ok() {}
        assert_eq!(ticks.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }
}
