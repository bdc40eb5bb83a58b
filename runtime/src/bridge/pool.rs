//! The connections of a worker over which the requests of a bridge go, and the requests that wait for one.
//!
//! A connection carries one message at a time, so that it is always known which of them was written. It is opened when a
//! request finds none that is free, and stays, listening, until its upstream ends it or the bridge is another one.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::failure::Failure;
use super::line::Line;
use super::terms::{Reply, Terms};
use crate::reactor::{spawn, timeout};

/// The connections of a worker for a bridge; why one could not be opened is an `R`.
pub struct Pool<R> {
    terms: Arc<Terms>,
    /// How many connections it may have.
    most: usize,
    /// How many it has, or is about to have.
    lines: Cell<usize>,
    waiting: RefCell<VecDeque<Job<R>>>,
    /// Connections that have nothing to do, each under a number of its own.
    idle: RefCell<BTreeMap<u64, Waker>>,
    next_number: Cell<u64>,
    is_closed: Cell<bool>,
}

/// How a connection comes about.
pub type Dial<R> = Rc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Line, R>>>>>;

/// What has become of a message.
#[derive(Debug)]
pub enum Sent<R> {
    /// It is written.
    Written,
    /// What the upstream has said upon it.
    Answered(Message),
    /// There is no connection, so that nothing was sent.
    Refused(R),
    /// It was not sent, or nobody knows.
    Failed(Failure),
}

/// A message that is to be sent.
struct Job<R> {
    number: u64,
    message: Message,
    until: Instant,
    answer: oneshot::Sender<Sent<R>>,
    _place: OwnedSemaphorePermit,
}

impl<R: 'static> Pool<R> {
    /// Without connections yet; `workers` share those that the terms allow.
    pub fn new(terms: Arc<Terms>, workers: usize) -> Rc<Self> {
        let most = terms.connections.div_ceil(workers.max(1)).max(1);
        Rc::new(Self {
            terms,
            most,
            lines: Cell::new(0),
            waiting: RefCell::default(),
            idle: RefCell::default(),
            next_number: Cell::new(0),
            is_closed: Cell::new(false),
        })
    }

    /// Sends a message that has its [place](Terms::place) over a connection that is free, or that `dial` opens. While it waits
    /// for its turn it goes when it `is_called`.
    pub async fn send(
        self: &Rc<Self>,
        message: Message,
        place: OwnedSemaphorePermit,
        dial: &Dial<R>,
        is_called: impl Fn(&Context<'_>) -> bool,
    ) -> Sent<R> {
        let number = self.number();
        let until = Instant::now() + self.terms.timeout;
        let (answer, mut answered) = oneshot::channel();
        self.waiting.borrow_mut().push_back(Job { number, message, until, answer, _place: place });
        // The one that has waited for the shortest time.
        let idle = self.idle.borrow_mut().pop_last();
        match idle {
            Some((_, waker)) => waker.wake(),
            None if self.lines.get() < self.most => {
                self.lines.set(self.lines.get() + 1);
                spawn(self.clone().serve(dial.clone())).detach();
            }
            None => {}
        }
        poll_fn(|context| {
            // Whoever has taken it says what has become of it; one that is gone without a word may have sent it.
            if let Poll::Ready(sent) = Pin::new(&mut answered).poll(context) {
                return Poll::Ready(sent.unwrap_or(Sent::Failed(Failure::Lost)));
            }
            match is_called(context) && self.withdraw(number) {
                true => Poll::Ready(Sent::Failed(Failure::NoRoom)),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Takes a message back that nobody has taken.
    fn withdraw(&self, number: u64) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(|job| job.number == number);
        place.and_then(|place| waiting.remove(place)).is_some()
    }

    fn number(&self) -> u64 {
        let number = self.next_number.get();
        self.next_number.set(number.wrapping_add(1));
        number
    }

    /// Ends it: its connections close as soon as nothing waits for them.
    pub fn close(&self) {
        self.is_closed.set(true);
        std::mem::take(&mut *self.idle.borrow_mut()).into_values().for_each(Waker::wake);
    }

    /// Carries messages over one connection after the other, as long as there is one, or something to send.
    async fn serve(self: Rc<Self>, dial: Dial<R>) {
        let _counted = Counted(self.clone());
        let mut line = None;
        loop {
            let job = match &mut line {
                None => match self.take() {
                    Some(job) => job,
                    None => return,
                },
                Some(open) => match self.next(open).await {
                    Next::Job(job) => job,
                    Next::Ended => {
                        line = None;
                        continue;
                    }
                    Next::Over => return,
                },
            };
            let Job { message, until, answer, _place, .. } = job;
            let mut open = match line.take() {
                Some(open) => open,
                None => match timeout(until - Instant::now(), dial()).await {
                    Ok(Ok(open)) => open,
                    Ok(Err(refusal)) => {
                        let _ = answer.send(Sent::Refused(refusal));
                        continue;
                    }
                    Err(_) => {
                        let _ = answer.send(Sent::Failed(Failure::Busy));
                        continue;
                    }
                },
            };
            let sent = timeout(until - Instant::now(), self.carry(&mut open, message))
                .await
                .unwrap_or(Sent::Failed(Failure::Late));
            // What comes late would be taken for the answer to the next.
            if matches!(sent, Sent::Written | Sent::Answered(_)) {
                line = Some(open);
            }
            let _ = answer.send(sent);
        }
    }

    async fn carry(&self, line: &mut Line, message: Message) -> Sent<R> {
        let mut first = None;
        let heard = |message, may_answer| {
            if may_answer {
                first.get_or_insert(message);
            }
            true
        };
        if line.send(message, heard).await.is_err() {
            return Sent::Failed(Failure::Lost);
        }
        match self.terms.reply {
            Reply::Accepted | Reply::Stream => Sent::Written,
            Reply::Next => match first {
                Some(message) => Sent::Answered(message),
                None => line.next().await.map_or(Sent::Failed(Failure::Lost), Sent::Answered),
            },
        }
    }

    /// The next message to send, while what the upstream says goes nowhere.
    async fn next(&self, line: &mut Line) -> Next<R> {
        let idle = Idle::new(self);
        poll_fn(|context| {
            loop {
                match line.poll_next(context) {
                    Poll::Ready(Some(_)) => {}
                    Poll::Ready(None) => return Poll::Ready(Next::Ended),
                    Poll::Pending => break,
                }
            }
            self.poll_job(context, &idle)
        })
        .await
    }

    fn poll_job(&self, context: &mut Context<'_>, idle: &Idle<'_, R>) -> Poll<Next<R>> {
        if let Some(job) = self.take() {
            return Poll::Ready(Next::Job(job));
        }
        if self.is_closed.get() {
            return Poll::Ready(Next::Over);
        }
        self.idle.borrow_mut().insert(idle.number, context.waker().clone());
        Poll::Pending
    }

    /// The first that still waits.
    fn take(&self) -> Option<Job<R>> {
        let mut waiting = self.waiting.borrow_mut();
        loop {
            let job = waiting.pop_front()?;
            if job.answer.is_closed() {
                continue;
            }
            if job.until <= Instant::now() {
                let _ = job.answer.send(Sent::Failed(Failure::Busy));
                continue;
            }
            return Some(job);
        }
    }
}

enum Next<R> {
    Job(Job<R>),
    /// The connection has ended.
    Ended,
    /// Nothing more is to be sent.
    Over,
}

/// A connection that has nothing to do, until it is dropped: who has ended meanwhile is not called.
struct Idle<'p, R> {
    pool: &'p Pool<R>,
    number: u64,
}

impl<'p, R: 'static> Idle<'p, R> {
    fn new(pool: &'p Pool<R>) -> Self {
        Self { pool, number: pool.number() }
    }
}

impl<R> Drop for Idle<'_, R> {
    fn drop(&mut self) {
        self.pool.idle.borrow_mut().remove(&self.number);
    }
}

/// A connection that a pool has, until it is dropped.
struct Counted<R>(Rc<Pool<R>>);

impl<R> Drop for Counted<R> {
    fn drop(&mut self) {
        self.0.lines.set(self.0.lines.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::{SinkExt, StreamExt};
    use http::header::HeaderValue;
    use tokio::sync::{Semaphore, mpsc};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::super::passage::{Inner, passage};
    use super::*;
    use crate::reactor::{Task, run, yield_now};

    type Upstream = WebSocketStream<Inner>;

    fn terms(reply: Reply, connections: usize, queue: usize) -> Arc<Terms> {
        within(Duration::from_secs(10), reply, connections, queue)
    }

    fn within(timeout: Duration, reply: Reply, connections: usize, queue: usize) -> Arc<Terms> {
        Arc::new(Terms {
            path: "/".to_owned(),
            segments: 0,
            host: HeaderValue::from_static("localhost"),
            reply,
            timeout,
            connections,
            max_message_size: 1 << 20,
            places: Semaphore::new(queue).into(),
        })
    }

    /// How connections come about, and the other ends of those that have.
    fn dialled() -> (Dial<&'static str>, mpsc::UnboundedReceiver<Upstream>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let dial = move || {
            let sender = sender.clone();
            let opened = async move {
                let (inner, outer) = passage();
                let upstream = WebSocketStream::from_raw_socket(inner, Role::Server, None).await;
                sender.send(upstream).map_err(|_| "nobody is there")?;
                Ok(Line::new(outer, 1 << 20).await)
            };
            Box::pin(opened) as Pin<Box<dyn Future<Output = _>>>
        };
        (Rc::new(dial), receiver)
    }

    fn text(text: &str) -> Message {
        Message::text(text)
    }

    /// Sends in a task of its own.
    fn post(pool: &Rc<Pool<&'static str>>, dial: &Dial<&'static str>, message: &str) -> Task<Sent<&'static str>> {
        let (pool, dial, message) = (pool.clone(), dial.clone(), text(message));
        spawn(async move {
            match pool.terms.place() {
                Ok(place) => pool.send(message, place, &dial, |_| false).await,
                Err(failure) => Sent::Failed(failure),
            }
        })
    }

    /// What an upstream says that takes all that comes.
    async fn expect(upstream: &mut Upstream, said: &str) {
        assert_eq!(upstream.next().await.unwrap().unwrap(), text(said));
    }

    fn is_written(sent: &Sent<&'static str>) -> bool {
        matches!(sent, Sent::Written)
    }

    #[test]
    fn messages_share_the_connections_that_there_are_and_none_is_opened_in_vain() {
        run(async {
            let (dial, mut opened) = dialled();
            let pool = Pool::new(terms(Reply::Accepted, 2, 10), 1);
            let first = post(&pool, &dial, "one");
            let mut upstream = opened.recv().await.unwrap();
            expect(&mut upstream, "one").await;
            // It asks for more, and so says that it has all.
            let more = spawn(async move {
                expect(&mut upstream, "two").await;
                let _ = upstream.next().await;
            });
            assert!(is_written(&first.await));
            assert!(is_written(&post(&pool, &dial, "two").await));
            assert!(opened.try_recv().is_err(), "the second has taken the connection of the first");
            pool.close();
            more.await;
        })
        .unwrap();
    }

    #[test]
    fn each_message_gets_the_answer_that_comes_behind_it() {
        run(async {
            let (dial, mut opened) = dialled();
            let pool = Pool::new(terms(Reply::Next, 1, 10), 1);
            let posts: Vec<_> = (0..5).map(|number| post(&pool, &dial, &number.to_string())).collect();
            let mut upstream = opened.recv().await.unwrap();
            spawn(async move {
                while let Some(Ok(message)) = upstream.next().await {
                    upstream.send(text(&format!("{message}!"))).await.unwrap();
                }
            })
            .detach();
            for (number, post) in posts.into_iter().enumerate() {
                let sent = post.await;
                assert!(matches!(&sent, Sent::Answered(it) if *it == text(&format!("{number}!"))), "{sent:?}");
            }
            assert!(opened.try_recv().is_err());
        })
        .unwrap();
    }

    #[test]
    fn what_the_upstream_has_said_before_is_no_answer() {
        run(async {
            let dial: Dial<&'static str> = Rc::new(|| {
                Box::pin(async {
                    let (inner, outer) = passage();
                    let mut upstream = WebSocketStream::from_raw_socket(inner, Role::Server, None).await;
                    upstream.send(text("welcome")).await.unwrap();
                    spawn(async move {
                        expect(&mut upstream, "question").await;
                        upstream.send(text("answer")).await.unwrap();
                        upstream.next().await
                    })
                    .detach();
                    Ok(Line::new(outer, 1 << 20).await)
                })
            });
            let pool = Pool::new(terms(Reply::Next, 1, 10), 1);
            let sent = post(&pool, &dial, "question").await;
            assert!(matches!(&sent, Sent::Answered(it) if *it == text("answer")), "{sent:?}");
        })
        .unwrap();
    }

    #[test]
    fn what_was_given_to_a_connection_that_ends_is_lost_and_what_waits_goes_over_the_next() {
        run(async {
            let (dial, mut opened) = dialled();
            let pool = Pool::new(terms(Reply::Next, 1, 10), 1);
            let (first, second) = (post(&pool, &dial, "one"), post(&pool, &dial, "two"));
            let mut upstream = opened.recv().await.unwrap();
            expect(&mut upstream, "one").await;
            drop(upstream);
            assert!(matches!(first.await, Sent::Failed(Failure::Lost)));
            let mut upstream = opened.recv().await.unwrap();
            expect(&mut upstream, "two").await;
            upstream.send(text("answer")).await.unwrap();
            let answering = spawn(async move { upstream.next().await });
            assert!(matches!(second.await, Sent::Answered(_)));
            drop(answering);
        })
        .unwrap();
    }

    #[test]
    fn a_connection_that_has_ended_while_it_had_nothing_to_do_is_not_waited_for() {
        run(async {
            let (dial, mut opened) = dialled();
            let pool = Pool::new(terms(Reply::Accepted, 1, 10), 1);
            for message in ["one", "two", "three"] {
                let sent = post(&pool, &dial, message);
                let mut upstream = opened.recv().await.unwrap();
                expect(&mut upstream, message).await;
                let asking = spawn(async move { upstream.next().await });
                assert!(is_written(&sent.await));
                drop(asking);
                while pool.lines.get() > 0 {
                    yield_now().await;
                }
            }
        })
        .unwrap();
    }

    #[test]
    fn whoever_finds_no_place_or_has_no_turn_in_time_has_sent_nothing() {
        run(async {
            let (dial, mut opened) = dialled();
            let pool = Pool::new(within(Duration::from_millis(100), Reply::Next, 1, 2), 1);
            let first = post(&pool, &dial, "one");
            let mut upstream = opened.recv().await.unwrap();
            expect(&mut upstream, "one").await;
            let (second, third) = (post(&pool, &dial, "two"), post(&pool, &dial, "three"));
            assert!(matches!(third.await, Sent::Failed(Failure::Busy)), "the first has its place until it is answered");
            let closing = spawn(async move { upstream.next().await });
            assert!(matches!(first.await, Sent::Failed(Failure::Late)));
            assert!(closing.await.unwrap().unwrap().is_close(), "a late answer would be the next one's");
            // Its turn came when its time was over, or nearly.
            let second = second.await;
            assert!(matches!(second, Sent::Failed(Failure::Busy | Failure::Late)), "{second:?}");
        })
        .unwrap();
    }

    #[test]
    fn who_cannot_connect_is_told_why_and_the_next_tries_again() {
        run(async {
            let pool = Pool::new(terms(Reply::Accepted, 1, 10), 1);
            let refusing: Dial<&'static str> = Rc::new(|| Box::pin(async { Err("refused") }));
            for _ in 0..3 {
                let sent = post(&pool, &refusing, "one").await;
                assert!(matches!(sent, Sent::Refused("refused")), "{sent:?}");
            }
            let (dial, mut opened) = dialled();
            let sent = post(&pool, &dial, "one");
            let mut upstream = opened.recv().await.unwrap();
            expect(&mut upstream, "one").await;
            drop(upstream);
            assert!(matches!(sent.await, Sent::Failed(Failure::Lost)));
        })
        .unwrap();
    }
}
