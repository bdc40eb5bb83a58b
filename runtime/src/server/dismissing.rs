//! Closing those of the open connections that somebody names. They live on the workers, so each is asked.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::worker::Order;
use crate::session::Dismissal;

/// What has become of a dismissal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dismissed {
    /// How many connections were told to close.
    pub(super) connections: u64,
    /// Workers that have not answered in time.
    pub(super) silent: Vec<usize>,
}

/// Has all workers close what is meant. One that does not answer in time is named and not waited for any longer; it does as it
/// was told all the same, if it was told.
pub(super) async fn dismiss(workers: &[mpsc::Sender<Order>], dismissal: Dismissal) -> Dismissed {
    let dismissal = Arc::new(dismissal);
    let asked = workers.iter().map(|worker| async {
        let (answer, told) = oneshot::channel();
        worker.send(Order::Dismiss(dismissal.clone(), answer)).await.ok()?;
        told.await.ok()
    });
    let answers = join_all(asked.map(|answer| timeout(PATIENCE, answer))).await;
    let answers: Vec<Option<u64>> = answers.into_iter().map(|answer| answer.ok().flatten()).collect();
    let silent = answers.iter().enumerate().filter(|(_, answer)| answer.is_none());
    Dismissed { connections: answers.iter().flatten().sum(), silent: silent.map(|(worker, _)| worker).collect() }
}

/// A worker looks at some 1024 connections in each turn of its loop.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Criteria;
    use crate::ws::CloseFrame;

    #[tokio::test(start_paused = true)]
    async fn workers_that_answer_are_summed_up_and_those_that_do_not_are_named() {
        let (first, mut orders) = mpsc::channel(1);
        let (silent, _orders) = mpsc::channel(1);
        let gone = mpsc::channel(1).0;
        tokio::spawn(async move {
            let Some(Order::Dismiss(dismissal, answer)) = orders.recv().await else { return };
            assert_eq!(dismissal.close.code, 1008);
            answer.send(3).unwrap();
        });
        let dismissal = Dismissal { criteria: Criteria::default(), close: CloseFrame::new(1008, "") };
        let dismissed = dismiss(&[first, silent, gone], dismissal).await;
        assert_eq!(dismissed, Dismissed { connections: 3, silent: vec![1, 2] });
    }
}
