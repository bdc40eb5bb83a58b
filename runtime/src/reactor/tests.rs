//! What a loop promises its tasks, and what it promises other threads.

mod sockets;

use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::pin::Pin;
use std::sync::mpsc as std_mpsc;
use std::task::{Context, Poll, Waker};
use std::thread;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::{mpsc, watch};

use super::*;

/// Has a future, as that of a test, end on a loop.
fn on_a_loop<T>(future: impl Future<Output = T> + 'static) -> T {
    run(future).unwrap()
}

fn timers() -> usize {
    Reactor::with(|reactor| reactor.timers.len()).unwrap()
}

#[test]
fn no_wake_of_another_thread_is_lost() {
    const EACH: u32 = 5_000;
    for seed in 0..4 {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..4).map(|_| mpsc::channel::<u32>(1)).unzip();
        let threads: Vec<_> = senders
            .into_iter()
            .enumerate()
            .map(|(index, sender)| {
                thread::spawn(move || {
                    let mut random = StdRng::seed_from_u64(seed * 10 + index as u64);
                    for number in 0..EACH {
                        sender.blocking_send(number).unwrap();
                        // So that the loop falls asleep at times, and is about to at others.
                        for _ in 0..random.random_range(0..200) {
                            std::hint::spin_loop();
                        }
                    }
                })
            })
            .collect();
        on_a_loop(async move {
            let tasks = receivers.into_iter().map(|mut receiver| {
                spawn(async move {
                    for number in 0..EACH {
                        assert_eq!(receiver.recv().await, Some(number));
                    }
                })
            });
            let tasks: Vec<_> = tasks.collect();
            for task in tasks {
                task.await;
            }
        });
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

#[test]
fn timers_fire_in_order_and_none_early() {
    let mut random = StdRng::seed_from_u64(7);
    let times: Vec<u64> = (0..200).map(|_| random.random_range(0..40)).collect();
    on_a_loop(async move {
        let start = Instant::now();
        let fired = Rc::new(RefCell::new(Vec::new()));
        let wait = |time: u64| {
            let fired = fired.clone();
            spawn(async move {
                let deadline = start + Duration::from_millis(time);
                let mut sleep = sleep_until(deadline);
                let is_late = Pin::new(&mut sleep).poll(&mut Context::from_waker(Waker::noop())).is_ready();
                if is_late {
                    return None;
                }
                sleep.await;
                assert!(Instant::now() >= deadline);
                fired.borrow_mut().push(time);
                Some(time)
            })
        };
        let waiting: Vec<_> = times.iter().copied().map(wait).collect();
        // On a busy machine the time of some has come before they ask for it.
        let mut sorted = Vec::new();
        for one in waiting {
            sorted.extend(one.await);
        }
        sorted.sort_unstable();
        assert_eq!(*fired.borrow(), sorted);
        assert_eq!(timers(), 0);
    });
}

#[test]
fn a_timer_that_is_given_up_leaves_nothing_behind() {
    on_a_loop(async {
        let hour = Duration::from_secs(3600);
        for _ in 0..100 {
            assert_eq!(timeout(Duration::from_millis(1), sleep(hour)).await, Err(TimedOut));
        }
        assert_eq!(timeout(hour, async { yield_now().await }).await, Ok(()));
        let task = spawn(sleep(hour));
        yield_now().await;
        assert_eq!(timers(), 1);
        drop(task);
        yield_now().await;
        assert_eq!(timers(), 0);
        let mut moved = sleep(hour);
        assert!(Pin::new(&mut moved).poll(&mut Context::from_waker(Waker::noop())).is_pending());
        moved.reset(Instant::now());
        assert_eq!(timers(), 0);
        moved.await;
    });
}

#[test]
fn a_time_that_no_clock_counts_to_is_waited_for_all_the_same() {
    on_a_loop(async {
        assert!(timeout(Duration::from_millis(2), sleep(Duration::MAX)).await.is_err());
    });
}

#[test]
fn a_task_that_panics_leaves_the_others() {
    on_a_loop(async {
        let is_told = Rc::new(Cell::new(false));
        let fuse = Fuse(is_told.clone());
        spawn(async move {
            let _fuse = fuse;
            yield_now().await;
            panic!("on purpose");
        })
        .detach();
        let sound = spawn(async {
            for _ in 0..10 {
                yield_now().await;
            }
            42
        });
        assert_eq!(sound.await, 42);
        assert!(is_told.get());
    });
}

/// Whether what it was in has ended by a panic.
struct Fuse(Rc<Cell<bool>>);

impl Drop for Fuse {
    fn drop(&mut self) {
        self.0.set(thread::panicking());
    }
}

#[test]
fn a_panic_of_the_main_future_is_passed_on_when_all_others_are_dropped() {
    let is_dropped = std::sync::Arc::new(());
    let (held, main) = (is_dropped.clone(), async { panic!("on purpose") });
    let ran = std::panic::catch_unwind(|| {
        run(async move {
            spawn(async move {
                let _held = held;
                pending::<()>().await;
            })
            .detach();
            yield_now().await;
            main.await
        })
    });
    assert!(ran.is_err());
    assert_eq!(std::sync::Arc::strong_count(&is_dropped), 1);
}

#[test]
fn what_is_left_is_dropped_at_the_end_also_what_another_thread_is_waking() {
    for _ in 0..100 {
        let (sender, receiver) = watch::channel(0_u32);
        let waking = thread::spawn(move || while sender.send(0).is_ok() {});
        on_a_loop(async move {
            for _ in 0..4 {
                let mut receiver = receiver.clone();
                spawn(async move { while receiver.changed().await.is_ok() {} }).detach();
            }
            drop(receiver);
            yield_now().await;
        });
        // It ends once nobody listens.
        waking.join().unwrap();
    }
}

#[test]
fn a_task_that_starts_another_while_it_is_dropped_ends_as_well() {
    struct Starts;
    impl Drop for Starts {
        fn drop(&mut self) {
            spawn(pending::<()>()).detach();
        }
    }
    on_a_loop(async {
        let starts = Starts;
        spawn(async move {
            let _starts = starts;
            pending::<()>().await;
        })
        .detach();
    });
}

#[test]
fn a_task_that_wakes_itself_for_ever_starves_nobody() {
    on_a_loop(async {
        spawn(poll_fn(|context| {
            context.waker().wake_by_ref();
            Poll::<()>::Pending
        }))
        .detach();
        sleep(Duration::from_millis(5)).await;
        let (sender, mut receiver) = mpsc::channel(1);
        let thread = thread::spawn(move || sender.blocking_send(1).unwrap());
        assert_eq!(receiver.recv().await, Some(1));
        thread.join().unwrap();
    });
}

#[test]
fn who_gives_way_has_the_next_turn_after_a_look_at_the_clock() {
    on_a_loop(async {
        let due = Rc::new(Cell::new(false));
        let (set, seen) = (due.clone(), due);
        spawn(async move {
            sleep_until(Instant::now() + Duration::from_millis(1)).await;
            set.set(true);
        })
        .detach();
        yield_now().await;
        // No turn of the loop comes between, however long this takes.
        thread::sleep(Duration::from_millis(3));
        yield_now().await;
        yield_now().await;
        assert!(seen.get());
    });
}

#[test]
fn who_waits_for_the_others_waits_for_those_that_are_ready() {
    on_a_loop(async {
        let done = Rc::new(RefCell::new(Vec::new()));
        let task = |number: u32| {
            let done = done.clone();
            spawn(async move {
                done.borrow_mut().push((number, "prepared"));
                after_others().await;
                done.borrow_mut().push((number, "sent"));
            })
        };
        let tasks = [1, 2, 3].map(task);
        for task in tasks {
            task.await;
        }
        let expected: Vec<_> = ["prepared", "sent"].iter().flat_map(|what| [1, 2, 3].map(|it| (it, *what))).collect();
        assert_eq!(*done.borrow(), expected);
        // Who is alone does not wait.
        let mut alone = std::pin::pin!(after_others());
        assert!(alone.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    });
}

#[test]
fn a_task_is_told_by_its_handle_whether_it_has_ended() {
    on_a_loop(async {
        let task = spawn(async {});
        assert!(!task.is_finished());
        yield_now().await;
        assert!(task.is_finished());
    });
}

#[test]
fn a_thread_without_a_loop_runs_no_task() {
    let (sender, receiver) = std_mpsc::channel::<()>();
    let task = spawn(async move { sender.send(()) });
    assert!(receiver.recv().is_err());
    assert!(task.is_finished());
}

#[tokio::test(start_paused = true)]
async fn on_a_runtime_the_time_is_its_own() {
    let start = Instant::now();
    sleep(Duration::from_secs(3600)).await;
    assert_eq!(timeout(Duration::from_secs(60), pending::<()>()).await, Err(TimedOut));
    yield_now().await;
    assert_eq!(start.elapsed(), Duration::from_secs(3660));
}
