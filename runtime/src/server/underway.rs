//! Reloads under way: where they are, and how long they may take.
//!
//! What a reload waits for cannot be interrupted, be it a file system or the compiler. One that takes too long is left behind
//! with its thread, which ends at the next step that it would take. Only a few are, because each holds memory.

use std::future::pending;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::admin::UnderwayView;
use crate::control::Step;

/// One reload, for those who wait for it and the thread that does it.
#[derive(Debug)]
pub(super) struct Underway {
    cause: &'static str,
    dry_run: bool,
    begun: Instant,
    timeout: watch::Sender<Duration>,
    stage: Mutex<Stage>,
}

#[derive(Debug)]
struct Stage {
    step: Step,
    since: Instant,
    fate: Fate,
    /// What it has read so far.
    read: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    /// It comes to its end.
    Sealed,
    GivenUp,
}

impl Underway {
    fn new(cause: &'static str, dry_run: bool, timeout: Duration) -> Self {
        let begun = Instant::now();
        let stage = Stage { step: Step::Beginning, since: begun, fate: Fate::Open, read: Vec::new() };
        Self { cause, dry_run, begun, timeout: watch::Sender::new(timeout), stage: Mutex::new(stage) }
    }

    /// Takes a step, unless nobody waits any longer.
    pub(super) fn take(&self, step: Step) -> bool {
        let mut stage = self.stage();
        if stage.fate == Fate::GivenUp {
            return false;
        }
        if let Step::Reading(path) = std::mem::replace(&mut stage.step, step) {
            stage.read.push(path);
        }
        stage.since = Instant::now();
        true
    }

    /// Takes the last step, which takes no time and is not given up, unless nobody waits any longer.
    pub(super) fn take_last(&self, step: Step) -> bool {
        let goes_on = self.take(step);
        if goes_on {
            self.stage().fate = Fate::Sealed;
        }
        goes_on
    }

    /// From its beginning on it may take so long.
    pub(super) fn allow(&self, timeout: Duration) {
        self.timeout.send_replace(timeout);
    }

    /// What it has read, apart from what it reads now.
    pub(super) fn read(&self) -> Vec<PathBuf> {
        self.stage().read.clone()
    }

    /// Waits until it has taken too long, and gives it up; says in words what it does.
    pub(super) async fn until_given_up(&self) -> String {
        let mut timeout = self.timeout.subscribe();
        loop {
            let allowed = *timeout.borrow_and_update();
            tokio::select! {
                () = sleep_until(self.begun + allowed) => {
                    let mut stage = self.stage();
                    if stage.fate == Fate::Open {
                        stage.fate = Fate::GivenUp;
                        return format!("the reload was given up after {allowed:?}: it was still {}", stage.step);
                    }
                }
                Ok(()) = timeout.changed() => continue,
            }
            // It ends by itself.
            return pending().await;
        }
    }

    pub(super) fn view(&self) -> UnderwayView {
        let stage = self.stage();
        UnderwayView {
            cause: self.cause,
            dry_run: self.dry_run,
            seconds: self.begun.elapsed().as_secs_f64(),
            timeout_seconds: self.timeout.borrow().as_secs_f64(),
            step: stage.step.to_string(),
            step_seconds: stage.since.elapsed().as_secs_f64(),
        }
    }

    fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reload under way, and those that were given up.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    current: Option<Arc<Underway>>,
    /// Their threads hold them until they end.
    given_up: Vec<Weak<Underway>>,
}

impl Ledger {
    /// Begins a reload.
    ///
    /// # Errors
    /// When too many that were given up have not ended; says in words what they do.
    pub(super) fn begin(&self, cause: &'static str, dry_run: bool, timeout: Duration) -> Result<Arc<Underway>, String> {
        let given_up = self.given_up();
        if given_up.len() >= MOST_GIVEN_UP {
            let steps: Vec<_> = given_up.iter().map(described).collect();
            return Err(format!(
                "{} reloads that were given up have not ended, and no more are begun: {}",
                given_up.len(),
                steps.join(", ")
            ));
        }
        let underway = Arc::new(Underway::new(cause, dry_run, timeout));
        self.entries().current = Some(underway.clone());
        Ok(underway)
    }

    /// The reload under way has ended, or was given up.
    pub(super) fn end(&self) {
        let mut entries = self.entries();
        if let Some(ended) = entries.current.take()
            && ended.stage().fate == Fate::GivenUp
        {
            entries.given_up.push(Arc::downgrade(&ended));
        }
    }

    /// The reload under way.
    pub(super) fn current(&self) -> Option<UnderwayView> {
        self.entries().current.as_ref().map(|underway| underway.view())
    }

    /// Those that were given up and have not ended.
    pub(super) fn given_up(&self) -> Vec<UnderwayView> {
        let mut entries = self.entries();
        entries.given_up.retain(|underway| underway.strong_count() > 0);
        entries.given_up.iter().filter_map(Weak::upgrade).map(|underway| underway.view()).collect()
    }

    /// What an operator should know, a line each: a reload that takes its time, and what was given up.
    pub(super) fn remarks(&self) -> Vec<String> {
        let long = self.current().filter(|underway| underway.seconds >= LONG.as_secs_f64());
        let long = long.map(|it| format!("a reload is under way ({}): {}", it.cause, described(&it)));
        let given_up = self.given_up();
        let steps: Vec<_> = given_up.iter().map(described).collect();
        let given_up = format!("reloads that were given up and have not ended: {}", steps.join(", "));
        long.into_iter().chain((!steps.is_empty()).then_some(given_up)).collect()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn described(underway: &UnderwayView) -> String {
    format!("{} for {:.0} s", underway.step, underway.step_seconds)
}

/// Each may hold the bytes of all components, and what the compiler makes of one.
const MOST_GIVEN_UP: usize = 4;
/// Shorter reloads need no remark.
const LONG: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(9);

    #[tokio::test(start_paused = true)]
    async fn a_reload_is_given_up_at_its_deadline_and_takes_no_further_step() {
        let ledger = Ledger::default();
        let underway = ledger.begin("a test", false, TIMEOUT).unwrap();
        assert!(underway.take(Step::Reading("a.toml".into())));
        underway.allow(2 * TIMEOUT);
        let begun = Instant::now();
        let said = underway.until_given_up().await;
        assert_eq!(said, "the reload was given up after 18s: it was still reading a.toml");
        assert_eq!(begun.elapsed(), 2 * TIMEOUT);
        assert!(!underway.take(Step::Listening) && !underway.take_last(Step::Listening));
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_comes_to_its_end_is_not_given_up() {
        let underway = Ledger::default().begin("a test", false, TIMEOUT).unwrap();
        assert!(underway.take_last(Step::Listening));
        assert!(tokio::time::timeout(2 * TIMEOUT, underway.until_given_up()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_reloads_are_left_behind_and_no_more_until_one_ends() {
        let ledger = Ledger::default();
        let mut threads = Vec::new();
        for _ in 0..MOST_GIVEN_UP {
            let underway = ledger.begin("a test", false, TIMEOUT).unwrap();
            assert!(underway.take(Step::Compiling("shout".to_owned())));
            underway.until_given_up().await;
            ledger.end();
            threads.push(underway);
        }
        let refused = ledger.begin("a test", false, TIMEOUT).unwrap_err();
        let step = "compiling component `shout` for 9 s";
        assert!(refused.starts_with("4 reloads that were given up") && refused.contains(step), "{refused}");
        assert!(ledger.remarks()[0].contains(step) && ledger.current().is_none());
        threads.pop();
        ledger.begin("a test", false, TIMEOUT).unwrap();
        assert_eq!(ledger.given_up().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_read_is_known_and_what_is_being_read_is_not() {
        let underway = Ledger::default().begin("a test", false, TIMEOUT).unwrap();
        for file in ["a.toml", "b.wasm"] {
            underway.take(Step::Reading(file.into()));
        }
        assert_eq!(underway.read(), [PathBuf::from("a.toml")]);
    }
}
