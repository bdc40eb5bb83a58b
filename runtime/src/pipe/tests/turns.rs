//! A connection whose filters take long lets others have their turn between two calls.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::{spawn_local, yield_now};

use super::piped::{filter, filtered, frame, local, texts};
use crate::component::{Need, Spent, Verdict};
use crate::pipe::Timers;

/// How many calls of a filter there are between two turns of another task, of 500 messages, of which the first so many are
/// quick and the others take ten milliseconds.
async fn calls_in_turns(quick: u32) -> Vec<u32> {
    local(async move {
        let calls = Rc::new(Cell::new(0));
        let counted = calls.clone();
        let slow = filter(Need::Whole, move |_| {
            counted.set(counted.get() + 1);
            if counted.get() > quick {
                Spent::pretend(Duration::from_millis(10));
            }
            Verdict::Forward
        });
        let mut piped = filtered(Timers::default(), vec![slow]);
        piped.client.write_all(&texts(&["x"; 500])).await.unwrap();
        let turns = spawn_local(async move {
            let (mut turns, mut before) = (Vec::new(), 0);
            while before < 500 {
                yield_now().await;
                turns.extend((calls.get() > before).then(|| calls.get() - before));
                before = calls.get();
            }
            turns
        });
        for _ in 0..500 {
            frame(&mut piped.upstream).await;
        }
        turns.await.unwrap()
    })
    .await
}

#[tokio::test]
async fn others_have_their_turn_after_a_call_or_two_of_a_slow_filter() {
    let calls = calls_in_turns(0).await;
    assert!(calls[0] <= 8, "{calls:?}: nothing was known of it");
    assert!(calls[1..].iter().all(|calls| *calls <= 2), "{calls:?}");
}

#[tokio::test]
async fn a_filter_that_becomes_slow_is_called_about_no_more_than_a_batch_before_others_have_their_turn() {
    let calls = calls_in_turns(200).await;
    assert!(calls[0] <= 200 + 64, "{calls:?}");
    assert!(calls[1..].iter().all(|calls| *calls <= 2), "{calls:?}");
}
