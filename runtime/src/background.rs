//! Work that may wait, on a thread of its own that yields to every other.

use std::io;

use thiserror::Error;
use tokio::sync::oneshot;

/// Why work has no result.
#[derive(Debug, Error)]
pub enum Unfinished {
    /// There was no thread for it.
    #[error("there is no thread for it: {0}")]
    Thread(#[from] io::Error),
    /// Its thread has panicked; what it said stands on standard error.
    #[error("it has panicked")]
    Panicked,
}

/// Does work on a thread of low priority: where cores are scarce, workers get ten times as much of them, so that compiling
/// delays no message. Goes on to its end when the answer is dropped.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Unfinished> {
    let (answer, done) = oneshot::channel();
    std::thread::Builder::new().name("background".to_owned()).spawn(move || {
        yield_to_others();
        // Whoever asked may have gone.
        let _ = answer.send(work());
    })?;
    done.await.map_err(|_| Unfinished::Panicked)
}

/// To Linux a priority belongs to a thread; to others it belongs to the process, whose workers would have it, too.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    // Nobody is denied a lower priority; at the one it has, the work would be done as well.
    let _ = rustix::process::setpriority_process(None, YIELDING);
}

/// A tenth of the usual weight. The lowest priority would have a reload starve on a machine that is always busy.
#[cfg(target_os = "linux")]
const YIELDING: i32 = 10;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn priority() -> Option<i32> {
        rustix::process::getpriority_process(None).ok()
    }

    #[tokio::test]
    async fn only_the_thread_of_the_work_yields_to_others() {
        let before = priority();
        assert_eq!(run(priority).await.unwrap(), Some(YIELDING));
        assert_eq!(priority(), before);
    }

    #[tokio::test]
    async fn work_that_panics_is_told_apart() {
        let ended = run(|| panic!("on purpose")).await;
        assert!(matches!(ended, Err::<(), _>(Unfinished::Panicked)));
    }
}
