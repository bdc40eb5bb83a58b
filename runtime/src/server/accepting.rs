//! Which listeners a worker accepts from, and the loops that do.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{RecvFlags, recv};
use tokio::sync::Notify;

use super::course::Listening;
use super::serving::Serving;
use crate::listener::{Acceptor, Bound, Settings, Shortage, refuse_at_once};
use crate::metrics::ConnectionRefusal;
use crate::reactor::{Task, sleep, spawn};
use crate::session::Gone;

/// The listeners that a worker accepts from.
pub(super) struct Accepting {
    server: Rc<Serving>,
    running: Vec<Running>,
    /// Those that a listener's end leaves, which have a moment for who comes last, stay here until then.
    loops: Vec<Task<()>>,
    broken: Rc<Notify>,
    shortage: Rc<Shortage>,
}

/// A listener that is accepted from.
struct Running {
    bound: Arc<Bound>,
    /// What holds for its next connection.
    settings: Rc<RefCell<Arc<Settings>>>,
    /// Ends its loops.
    stops: Vec<Rc<Notify>>,
}

impl Accepting {
    /// From none yet.
    pub(super) fn new(server: Rc<Serving>) -> Self {
        Self { server, running: Vec::new(), loops: Vec::new(), broken: Rc::default(), shortage: Rc::default() }
    }

    /// Accepts from these: begins with those that are new, ends with those that are gone, and has the others go on with
    /// the settings that they have now.
    pub(super) fn follow(&mut self, listeners: &[Listening]) {
        self.loops.retain(|accepting| !accepting.is_finished());
        self.running.retain(|running| {
            let is_kept = listeners.iter().any(|listening| Arc::ptr_eq(&listening.bound, &running.bound));
            if !is_kept {
                running.stops.iter().for_each(|stop| stop.notify_one());
            }
            is_kept
        });
        for Listening { settings, bound } in listeners {
            match self.running.iter().find(|running| Arc::ptr_eq(&running.bound, bound)) {
                Some(running) => drop(running.settings.replace(settings.clone())),
                None => self.begin(settings, bound),
            }
        }
    }

    fn begin(&mut self, settings: &Arc<Settings>, bound: &Arc<Bound>) {
        let settings = Rc::new(RefCell::new(settings.clone()));
        let mut stops = Vec::new();
        for socket in bound.share(self.server.index(), self.server.workers()) {
            let stop = Rc::new(Notify::new());
            let accepting = Loop {
                acceptor: Acceptor::new(socket),
                settings: settings.clone(),
                gone: bound.gone(),
                server: self.server.clone(),
                shortage: self.shortage.clone(),
            };
            let fuse = Fuse(self.broken.clone());
            self.loops.push(spawn(accepting.run(stop.clone(), fuse)));
            stops.push(stop);
        }
        self.running.push(Running { bound: bound.clone(), settings, stops });
    }

    /// Accepts from none any more. What waits in a queue is left there, for another process that has it, too.
    pub(super) fn stop(&mut self) {
        self.loops.clear();
        self.running.clear();
    }

    /// Waits until a loop has ended that nobody has told to. Cancel safe.
    pub(super) async fn broken(&mut self) {
        self.broken.notified().await;
    }

    /// Begins with all of these again.
    pub(super) fn restart(&mut self, listeners: &[Listening]) {
        self.stop();
        self.follow(listeners);
    }
}

/// Says that a loop has ended by a panic.
struct Fuse(Rc<Notify>);

impl Drop for Fuse {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}

/// Accepts from one socket.
struct Loop {
    acceptor: Acceptor,
    settings: Rc<RefCell<Arc<Settings>>>,
    gone: Gone,
    server: Rc<Serving>,
    shortage: Rc<Shortage>,
}

impl Loop {
    async fn run(self, stop: Rc<Notify>, _fuse: Fuse) {
        self.accept_until(stop.notified()).await;
        if self.acceptor.is_retired() {
            self.accept_until(sleep(LAST_COMERS)).await;
        }
        // Who has come before the end is served, because the listener's end resets what waits in it.
        while let Ok((stream, peer)) = self.acceptor.accept_now() {
            self.server.admit(stream, peer, self.settings(), self.gone.clone());
        }
    }

    async fn accept_until(&self, end: impl Future<Output = ()>) {
        let mut end = pin!(end);
        loop {
            let accepted = tokio::select! {
                accepted = self.acceptor.accept() => accepted,
                () = end.as_mut() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.server.admit(stream, peer, self.settings(), self.gone.clone()),
                Err(error) if Shortage::is_one(&error) => self.refuse_one().await,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.borrow().clone()
    }

    /// Accepts one connection with the descriptor that is kept for this, and tells it that there is no place. Asking
    /// again at once would only spin where somebody else was faster to take the descriptor.
    async fn refuse_one(&self) {
        if !self.shortage.give_up() {
            self.server.count_refusal(ConnectionRefusal::OpenFiles, 0);
            sleep(PAUSE).await;
            self.shortage.take_back();
            return;
        }
        let accepted = self.acceptor.accept_now();
        let is_refused = accepted.is_ok();
        if let Ok((stream, _)) = accepted {
            // Its request is mostly there, or will be in a moment; reading it keeps the answer from being lost.
            let mut tries = 0;
            while tries < TRIES && recv(&stream, &mut [0], RecvFlags::PEEK).is_err() {
                sleep(TRY).await;
                tries += 1;
            }
            // Who speaks TLS would not understand it.
            if self.settings().tls.is_none() {
                refuse_at_once(stream, ConnectionRefusal::OpenFiles);
            }
        }
        self.shortage.take_back();
        self.server.count_refusal(ConnectionRefusal::OpenFiles, u64::from(is_refused));
        if !is_refused {
            sleep(PAUSE).await;
        }
    }
}

/// How long who has begun to connect to a listener that is gone may take to have done so: a way there and back or two.
const LAST_COMERS: Duration = Duration::from_secs(1);
/// Until there may be a descriptor again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a request is waited for that has not come yet, while nobody else can be accepted.
const TRY: Duration = Duration::from_millis(5);
const TRIES: u32 = 4;
