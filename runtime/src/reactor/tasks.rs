//! Tasks that stay on their thread.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use async_task::{Builder, Runnable, Task};
use pin_project_lite::pin_project;
use slab::Slab;

use super::Reactor;
use super::remote::Remote;

/// The tasks of one loop.
pub(super) struct Tasks {
    pub(super) remote: Arc<Remote>,
    ready: RefCell<VecDeque<Runnable>>,
    /// All that have not ended.
    alive: Rc<RefCell<Slab<Waker>>>,
}

/// Starts a task on the loop of this thread. Dropping what this gives ends it; `detach` lets it go on. Its panic ends
/// nothing else. On a thread without a loop it is dropped.
pub fn spawn<F: Future + 'static>(future: F) -> Task<F::Output> {
    match Reactor::current() {
        Some(reactor) => reactor.tasks.spawn(future, false),
        None => async_task::spawn_local(future, drop).1,
    }
}

impl Tasks {
    pub(super) fn new(remote: Arc<Remote>) -> Self {
        Self { remote, ready: RefCell::default(), alive: Rc::default() }
    }

    /// Starts a task; `is_awaited` says whether somebody will have its panic, who waits for its end.
    pub(super) fn spawn<F: Future + 'static>(&self, future: F, is_awaited: bool) -> Task<F::Output> {
        let mut alive = self.alive.borrow_mut();
        let entry = alive.vacant_entry();
        let listed = Listed { alive: self.alive.clone(), key: entry.key() };
        let remote = self.remote.clone();
        let (task, handle) = Builder::new().propagate_panic(is_awaited).spawn_local(
            // Not an async block, which would have room for the future twice.
            move |()| Alive { future, _listed: listed },
            move |task| schedule(&remote, task),
        );
        entry.insert(task.waker());
        drop(alive);
        task.schedule();
        handle
    }

    /// Polls those that are ready, no more than `most`.
    pub(super) fn turn(&self, most: usize) {
        for _ in 0..most {
            let Some(task) = self.ready.borrow_mut().pop_front() else { return };
            // Told by the panic hook; whoever waits for the task learns that it is gone.
            let _ = catch_unwind(AssertUnwindSafe(|| task.run()));
        }
    }

    pub(super) fn are_ready(&self) -> bool {
        !self.ready.borrow().is_empty()
    }

    /// Takes over what other threads have woken.
    pub(super) fn take_remote(&self) {
        self.ready.borrow_mut().extend(self.remote.take());
    }

    /// Drops all tasks, those too that start meanwhile.
    pub(super) fn end(&self) {
        while !self.alive.borrow().is_empty() {
            let alive: Vec<Waker> = self.alive.borrow().iter().map(|(_, waker)| waker.clone()).collect();
            alive.into_iter().for_each(Waker::wake);
            self.take_remote();
            let ready = std::mem::take(&mut *self.ready.borrow_mut());
            if ready.is_empty() {
                // Another thread has woken the last one and is about to say so.
                std::thread::yield_now();
            }
            for task in ready {
                let _ = catch_unwind(AssertUnwindSafe(|| drop(task)));
            }
        }
    }
}

fn schedule(remote: &Arc<Remote>, task: Runnable) {
    let mut task = Some(task);
    Reactor::with(|reactor| {
        if Arc::ptr_eq(&reactor.tasks.remote, remote) {
            reactor.tasks.ready.borrow_mut().extend(task.take());
        }
    });
    if let Some(task) = task {
        remote.push(task);
    }
}

pin_project! {
    /// A task that is listed as long as it has not ended.
    struct Alive<F> {
        #[pin]
        future: F,
        _listed: Listed,
    }
}

impl<F: Future> Future for Alive<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(context)
    }
}

/// A task's place among those that have not ended.
struct Listed {
    alive: Rc<RefCell<Slab<Waker>>>,
    key: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let waker = self.alive.borrow_mut().try_remove(self.key);
        drop(waker);
    }
}
