//! Giving way to others.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::Reactor;

/// Tasks that have given way until after the next look at the sockets.
#[derive(Default)]
pub(super) struct Yielded(RefCell<Vec<Waker>>);

impl Yielded {
    pub(super) fn are_waiting(&self) -> bool {
        !self.0.borrow().is_empty()
    }

    /// Gives all of them another turn.
    pub(super) fn wake(&self) {
        let yielded = self.0.take();
        yielded.into_iter().for_each(Waker::wake);
    }
}

/// Has the task woken once the others have had their turn, those among them for which something has only now come: the
/// loop looks at its sockets first. A task that merely woke itself could have many turns until then.
pub fn give_way(context: &mut Context<'_>) {
    if Reactor::with(|reactor| reactor.yielded.0.borrow_mut().push(context.waker().clone())).is_none() {
        // Polled once, this leaves the waker with the runtime.
        let _ = pin!(tokio::task::yield_now()).poll(context);
    }
}

/// Lets those have their turn that are ready now, if there are any. So what each of them sends leaves close to what the
/// others do, and a peer of several of them wakes once for all.
pub async fn after_others() {
    let mut has_waited = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_waited, true) || !Reactor::with(|it| it.tasks.are_ready()).unwrap_or(false) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Lets the others have their turn, after a look at the sockets.
pub async fn yield_now() {
    let mut has_given_way = false;
    poll_fn(|context| {
        if std::mem::replace(&mut has_given_way, true) {
            return Poll::Ready(());
        }
        give_way(context);
        Poll::Pending
    })
    .await;
}
