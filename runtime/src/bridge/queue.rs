//! What waits between two parts of one task: bounded in number and in bytes. Who puts something waits for room, or is told that
//! there is none.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use thiserror::Error;

/// A queue that belongs to one thread.
#[derive(Debug)]
pub struct Queue<T> {
    most: usize,
    state: RefCell<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    /// Each with its bytes.
    waiting: VecDeque<(T, usize)>,
    bytes: usize,
    /// Whether nothing more is put.
    is_ended: bool,
    taker: Option<Waker>,
    putter: Option<Waker>,
}

/// Why something is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Untaken {
    /// As much waits as may.
    #[error("as much waits as may")]
    Full,
    /// Nothing is taken any more.
    #[error("nothing is taken any more")]
    Ended,
}

impl<T> Queue<T> {
    /// One in which so many may wait.
    pub fn new(most: usize) -> Self {
        let state = State { waiting: VecDeque::new(), bytes: 0, is_ended: false, taker: None, putter: None };
        Self { most, state: RefCell::new(state) }
    }

    /// Puts something of so many bytes there, unless as much waits as may.
    ///
    /// # Errors
    /// When it is not taken.
    pub fn try_put(&self, item: T, bytes: usize) -> Result<(), Untaken> {
        let mut state = self.state.borrow_mut();
        if state.is_ended {
            return Err(Untaken::Ended);
        }
        if !state.has_room(self.most) {
            return Err(Untaken::Full);
        }
        state.put(item, bytes);
        Ok(())
    }

    /// Puts something there when there is room; where nothing is taken any more, it is dropped. One may wait at a time.
    pub async fn put(&self, item: T, bytes: usize) {
        self.room().await;
        let mut state = self.state.borrow_mut();
        if !state.is_ended {
            state.put(item, bytes);
        }
    }

    /// Waits until there is room, or nothing is taken any more.
    pub async fn room(&self) {
        poll_fn(|context| {
            let mut state = self.state.borrow_mut();
            if state.is_ended || state.has_room(self.most) {
                return Poll::Ready(());
            }
            state.putter = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Has nothing more be taken; what waits is still given.
    pub fn end(&self) {
        let mut state = self.state.borrow_mut();
        state.is_ended = true;
        wake(&mut state.taker);
        wake(&mut state.putter);
    }

    /// The next; `None`: there will be none.
    pub async fn next(&self) -> Option<T> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&self, context: &Context<'_>) -> Poll<Option<T>> {
        let mut state = self.state.borrow_mut();
        match state.waiting.pop_front() {
            Some((item, bytes)) => {
                state.bytes -= bytes;
                wake(&mut state.putter);
                Poll::Ready(Some(item))
            }
            None if state.is_ended => Poll::Ready(None),
            None => {
                state.taker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> State<T> {
    fn has_room(&self, most: usize) -> bool {
        self.waiting.len() < most && self.bytes < MOST_BYTES
    }

    fn put(&mut self, item: T, bytes: usize) {
        self.bytes += bytes;
        self.waiting.push_back((item, bytes));
        wake(&mut self.taker);
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// Nothing is put behind so much, however few they are; the last may be as large as it likes.
const MOST_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn no_more_waits_than_may_in_number_or_in_bytes() {
        let queue = Queue::new(2);
        assert_eq!(
            [queue.try_put(1, 1), queue.try_put(2, 1), queue.try_put(3, 1)],
            [Ok(()), Ok(()), Err(Untaken::Full)]
        );
        assert_eq!(queue.next().await, Some(1));
        queue.try_put(4, 2 * MOST_BYTES).unwrap();
        assert_eq!(queue.next().await, Some(2));
        assert_eq!(queue.try_put(5, 1), Err(Untaken::Full), "there is a place, and too many bytes");
        assert_eq!(queue.next().await, Some(4));
        assert_eq!(queue.try_put(5, 1), Ok(()));
    }

    #[tokio::test]
    async fn who_puts_waits_for_room_and_who_takes_for_something() {
        let queue = Queue::new(1);
        let mut next = pin!(queue.next());
        assert!(poll!(next.as_mut()).is_pending());
        queue.put(1, 1).await;
        let mut put = pin!(queue.put(2, 1));
        assert!(poll!(put.as_mut()).is_pending());
        assert_eq!(next.await, Some(1));
        put.await;
        assert_eq!(queue.next().await, Some(2));
    }

    #[tokio::test]
    async fn what_waits_at_the_end_is_given_and_nothing_more_is_taken() {
        let queue = Queue::new(1);
        queue.try_put(1, 1).unwrap();
        let mut put = pin!(queue.put(2, 1));
        assert!(poll!(put.as_mut()).is_pending());
        queue.end();
        put.await;
        assert_eq!(queue.try_put(3, 1), Err(Untaken::Ended));
        assert_eq!((queue.next().await, queue.next().await), (Some(1), None));
    }
}
