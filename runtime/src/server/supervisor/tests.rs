//! Workers that are no more than what they report.

use super::*;

type Start = Box<dyn FnMut(usize) -> io::Result<JoinHandle<()>>>;

/// A supervisor of workers that report what `script` says of each start, counted over all workers, and end.
fn supervisor(workers: usize, mut script: impl FnMut(usize, usize) -> Vec<Report> + 'static) -> Supervisor<Start> {
    let (sender, reports) = mpsc::channel(64);
    let mut starts = 0;
    let start = move |index| {
        let (sender, words) = (sender.clone(), script(index, starts));
        starts += 1;
        std::thread::Builder::new().spawn(move || {
            for word in words {
                sender.blocking_send((index, word)).unwrap();
            }
        })
    };
    Supervisor::new(workers, Box::new(start), reports, Metrics::new(workers), Arc::default())
}

fn failed(why: &str) -> Report {
    Report::Failed(why.to_owned())
}

#[tokio::test]
async fn a_start_of_which_one_worker_is_missing_is_none() {
    let mut workers = supervisor(3, |index, _| match index {
        1 => vec![failed("too many open files")],
        _ => vec![Report::Up],
    });
    let error = workers.start().await.unwrap_err();
    assert_eq!(error.to_string(), "worker 1 of 3 cannot start: too many open files");
}

#[tokio::test]
async fn a_worker_whose_thread_cannot_be_made_is_missing_too() {
    let (_sender, reports) = mpsc::channel(1);
    let start = |_| Err(io::Error::other("no thread"));
    let mut workers = Supervisor::new(2, start, reports, Metrics::new(2), Arc::default());
    assert_eq!(workers.start().await.unwrap_err().to_string(), "worker 0 of 2 cannot start: no thread");
}

#[tokio::test]
async fn a_worker_that_ends_is_replaced_and_missing_meanwhile() {
    // One alone: of several, one could end before all have started.
    let mut workers = supervisor(1, |_, starts| match starts {
        0 => vec![Report::Up, Report::Accepting, failed("it has panicked")],
        _ => vec![Report::Up, Report::Accepting],
    });
    let missing = workers.missing.clone();
    workers.start().await.unwrap();
    let metrics = workers.metrics.clone();
    let watching = workers.watch(|| false);
    let replaced = async {
        while !metrics.encode().contains("tidegate_worker_restarts_total 1") || !missing.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        error = watching => panic!("{error}"),
        () = replaced => {}
    }
}

#[tokio::test]
async fn a_worker_is_missing_until_its_successor_accepts() {
    let mut workers = supervisor(1, |_, starts| match starts {
        0 => vec![Report::Up, Report::Accepting, failed("it has panicked")],
        _ => vec![Report::Up],
    });
    let (metrics, missing) = (workers.metrics.clone(), workers.missing.clone());
    workers.start().await.unwrap();
    workers.until_accepting().await.unwrap();
    assert!(missing.is_none());
    let watching = workers.watch(|| false);
    let replaced = async {
        while !metrics.encode().contains("tidegate_worker_restarts_total 1") {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        error = watching => panic!("{error}"),
        () = replaced => assert!(!missing.is_none()),
    }
}

#[tokio::test]
async fn workers_that_end_again_and_again_are_given_up() {
    let mut workers = supervisor(1, |_, starts| match starts {
        0 => vec![Report::Up, failed("broken")],
        _ => vec![failed("broken")],
    });
    workers.start().await.unwrap();
    let error = workers.watch(|| false).await;
    assert_eq!(error, WorkerError::Hopeless { index: 0, why: "broken".to_owned() });
    assert!(!workers.missing.is_none());
    assert_eq!(workers.restarted.len(), MOST_RESTARTS);
}

#[tokio::test]
async fn the_end_waits_for_every_worker() {
    let (sender, reports) = mpsc::channel(64);
    let ended = Arc::new(AtomicUsize::new(0));
    let (told, counted) = (tokio::sync::watch::Sender::new(false), ended.clone());
    let mut end = told.subscribe();
    end.mark_unchanged();
    let start = move |index| {
        let (sender, mut end, counted) = (sender.clone(), end.clone(), counted.clone());
        std::thread::Builder::new().spawn(move || {
            sender.blocking_send((index, Report::Up)).unwrap();
            while !*end.borrow_and_update() {
                std::thread::yield_now();
            }
            counted.fetch_add(1, Ordering::SeqCst);
            sender.blocking_send((index, Report::Ended)).unwrap();
        })
    };
    let mut workers = Supervisor::new(3, start, reports, Metrics::new(3), Arc::default());
    workers.start().await.unwrap();
    told.send_replace(true);
    workers.until_ended().await;
    assert_eq!(ended.load(Ordering::SeqCst), 3);
}
