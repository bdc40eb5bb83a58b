//! Watching the files of the configuration, on a thread of its own: a file system that does not answer holds up nothing else.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::state::State;
use crate::background;
use crate::control::{Look, Polled, Watch};

/// What is not watched, for whoever asks.
#[derive(Debug, Default)]
pub(super) struct Outlook(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    polled: Vec<Polled>,
    /// When the look under way has begun.
    looking: Option<Instant>,
}

/// Watches the latest of `files` until there will be no others, and tells on `changed` when one of them may have changed. The
/// way to them is looked at anew whenever they are told, be they the same.
pub(super) async fn serve(state: &State, mut files: watch::Receiver<Vec<PathBuf>>, changed: mpsc::Sender<()>) {
    let mut watch = Watch::new(changed.clone());
    loop {
        let followed = files.borrow_and_update().clone();
        state.outlook.seen().looking = Some(Instant::now());
        let looked = background::run(move || {
            let look = watch.look(&followed);
            (watch, look)
        });
        let looked = looked.await;
        state.outlook.seen().looking = None;
        let is_whole;
        (watch, is_whole) = match looked {
            Ok((watch, Look { is_news, polled })) => {
                let is_whole = polled.is_empty();
                tell(state, polled, files.borrow().is_empty());
                if is_news {
                    // A full channel means that a look is due already.
                    let _ = changed.try_send(());
                }
                (watch, is_whole)
            }
            Err(error) => {
                tracing::error!(%error, "the files of the configuration could not be looked at");
                (Watch::new(changed.clone()), false)
            }
        };
        tokio::select! {
            others = files.changed() => if others.is_err() { return },
            () = sleep(EVERY), if !is_whole => {}
        }
    }
}

/// Says what has become another since the look before.
fn tell(state: &State, polled: Vec<Polled>, is_off: bool) {
    state.metrics.set_polled_directories(polled.len() as u64);
    let before = std::mem::replace(&mut state.outlook.seen().polled, polled.clone());
    let is_new = |one: &&Polled| !before.iter().any(|known| known.directory == one.directory);
    let fresh: Vec<_> = polled.iter().filter(is_new).collect();
    if !fresh.is_empty() {
        let directories = listed(fresh.into_iter());
        tracing::warn!(directories, "directories cannot be watched; what lies there is looked at every 5 s");
    }
    if polled.is_empty() && !before.is_empty() && !is_off {
        tracing::info!("all directories are watched again");
    }
}

impl Outlook {
    /// Directories that are polled.
    pub(super) fn polled(&self) -> Vec<Polled> {
        self.seen().polled.clone()
    }

    /// What an operator should know of the watch, a line each; nothing if all is as it should be.
    pub(super) fn remarks(&self) -> Vec<String> {
        let Seen { polled, looking } = &*self.seen();
        let polled = (!polled.is_empty())
            .then(|| format!("not watched, but looked at every {}: {}", seconds(EVERY), listed(polled.iter())));
        let stuck = looking.map(|since| since.elapsed()).filter(|elapsed| *elapsed >= EVERY);
        let stuck = stuck.map(|elapsed| {
            format!(
                "a look at the directories of the files has not ended for {}; changes of files may go unnoticed",
                seconds(elapsed)
            )
        });
        polled.into_iter().chain(stuck).collect()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listed<'p>(polled: impl ExactSizeIterator<Item = &'p Polled>) -> String {
    let more = polled.len().saturating_sub(MOST_TOLD);
    let told = polled.take(MOST_TOLD).map(|one| format!("{} ({})", one.directory.display(), one.reason));
    let told: Vec<_> = told.chain((more > 0).then(|| format!("and {more} more"))).collect();
    told.join(", ")
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs())
}

/// Longer than NFS takes a file's times for known without asking (3 s for a file that has just changed), and short enough
/// for somebody who waits for a change.
const EVERY: Duration = Duration::from_secs(5);
/// Directories that are told in one line; more would be no line to read.
const MOST_TOLD: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn polled(count: usize) -> Vec<Polled> {
        let one = |index| Polled { directory: format!("/{index}").into(), reason: "no".to_owned() };
        (0..count).map(one).collect()
    }

    #[test]
    fn directories_are_told_in_a_line_that_stays_short() {
        assert_eq!(listed(polled(2).iter()), "/0 (no), /1 (no)");
        let told = listed(polled(100).iter());
        assert!(told.starts_with("/0 (no), ") && told.ends_with("/7 (no), and 92 more"), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_does_not_end_is_told_with_its_time() {
        let outlook = Outlook::default();
        assert_eq!(outlook.remarks(), [""; 0]);
        *outlook.seen() = Seen { polled: polled(1), looking: Some(Instant::now()) };
        assert_eq!(outlook.remarks(), ["not watched, but looked at every 5 s: /0 (no)"]);
        tokio::time::advance(Duration::from_secs(17)).await;
        let remarks = outlook.remarks();
        assert!(remarks.len() == 2 && remarks[1].contains("has not ended for 17 s"), "{remarks:?}");
    }
}
