//! A worker's connections: where a new one goes, which ones there are, and how they are closed.

use std::cell::RefCell;
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::course::Team;
use super::listing::{Slice, Wanted};
use super::pace::Pace;
use super::worker::Order;
use crate::admin::Push;
use crate::listener::{
    Accepts, Counted, Loads, NotIntroduced, Refusals, Settings, introduction, refuse, refuse_at_once,
};
use crate::metrics::ConnectionRefusal;
use crate::peer::Shown;
use crate::proxy_protocol::{Ends, Header};
use crate::reactor::{Socket, sleep, sleep_until, spawn, timeout};
use crate::session::{
    self, Accepted, Connection, Denied, Dismissal, Entry, Gone, Permit, Permits, Pushed, Snapshot, TooMany, Underway,
    Worker,
};
use crate::transport::Transport;
use crate::ws::CloseFrame;

/// A worker at work.
pub(super) struct Serving {
    worker: Rc<Worker>,
    loads: Arc<Loads>,
    team: Arc<Team>,
    refusals: Arc<Refusals>,
    places: RefCell<Permits>,
}

/// A connection on its way from one worker to another.
pub(super) struct Handed {
    stream: OwnedFd,
    newcomer: Newcomer,
    /// `None`: it has to be introduced yet.
    entry: Option<Entry>,
    counted: Counted,
}

/// What is known of a connection that was accepted.
struct Newcomer {
    peer: Option<SocketAddr>,
    accepted_at: Instant,
    settings: Arc<Settings>,
    /// Whether its listener is gone.
    gone: Gone,
    /// Its place among all connections.
    place: Permit,
}

impl Serving {
    /// A worker without connections.
    pub(super) fn new(
        worker: Rc<Worker>,
        loads: Arc<Loads>,
        team: Arc<Team>,
        refusals: Arc<Refusals>,
        places: Permits,
    ) -> Rc<Self> {
        Rc::new(Self { worker, loads, team, refusals, places: RefCell::new(places) })
    }

    /// Its number.
    pub(super) fn index(&self) -> usize {
        self.worker.index().0
    }

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.team.len()
    }

    /// Has these places hold from now on.
    pub(super) fn set_places(&self, places: Permits) {
        self.places.replace(places);
    }

    /// Says that this worker accepts connections from now on.
    pub(super) fn accepts(&self) -> Accepts {
        self.loads.accept()
    }

    /// Gives an accepted connection a place, here or on a worker that has fewer, or tells it that there is none.
    pub(super) fn admit(
        self: &Rc<Self>,
        stream: OwnedFd,
        peer: Option<SocketAddr>,
        settings: Arc<Settings>,
        gone: Gone,
    ) {
        if settings.is_introduced && !settings.door.trusted.contains(address(peer)) {
            return self.count_refusal(ConnectionRefusal::UntrustedProxy, 1);
        }
        let place = self.places.borrow().take();
        let Some(place) = place else {
            return self.refuse(Socket::new(stream), &settings, ConnectionRefusal::MaxConnections);
        };
        let accepted_at = Instant::now();
        let entry = match settings.is_introduced {
            true => None,
            false => match settings.door.enter(address(peer), accepted_at) {
                Ok(entry) => Some(entry),
                Err(denied) => return self.refuse(Socket::new(stream), &settings, reason(denied)),
            },
        };
        // Counted from here on, also on its way to another worker: a drain waits for it.
        let chosen = self.loads.place(self.index());
        let newcomer = Newcomer { peer, accepted_at, settings, gone, place };
        let handed = Handed { stream, newcomer, entry, counted: self.loads.count(chosen) };
        match chosen == self.index() {
            true => self.adopt(handed),
            false => self.hand_over(chosen, handed),
        }
    }

    /// Tells a connection that it is not let in, and why. Whoever speaks TLS could be told only after a handshake, which would
    /// cost more than the connection that there is no place for: it is closed.
    fn refuse(&self, socket: Socket, settings: &Settings, reason: ConnectionRefusal) {
        self.count_refusal(reason, 1);
        if settings.tls.is_some() {
            return;
        }
        match self.refusals.patience() {
            Some(patience) => spawn(refuse(socket, reason, patience)).detach(),
            None => refuse_at_once(socket.into_stream(), reason),
        }
    }

    /// Counts connections that were refused unread.
    pub(super) fn count_refusal(&self, reason: ConnectionRefusal, count: u64) {
        self.refusals.count(reason, count);
    }

    /// Gives a connection to another worker; keeps it when that one does not take it.
    fn hand_over(self: &Rc<Self>, other: usize, handed: Handed) {
        if let Err(Order::Adopt(handed)) = self.team.order(other, Order::Adopt(handed)) {
            self.adopt(Handed { counted: self.loads.count(self.index()), ..handed });
        }
    }

    /// Takes a connection that has its place.
    pub(super) fn adopt(self: &Rc<Self>, handed: Handed) {
        let Handed { stream, newcomer, entry, counted } = handed;
        let socket = Socket::new(stream);
        match entry {
            Some(entry) => self.serve(socket, newcomer, None, (entry, counted)),
            None => spawn(self.clone().introduce(socket, newcomer, counted)).detach(),
        }
    }

    /// Has a connection introduced by the proxy that it comes from. From then on its client is the peer.
    async fn introduce(self: Rc<Self>, socket: Socket, mut newcomer: Newcomer, counted: Counted) {
        let settings = newcomer.settings.clone();
        let header = match timeout(settings.handshake_timeout, introduction(&socket)).await {
            Ok(Ok(header)) => header,
            // As those do that probe a port.
            Ok(Err(NotIntroduced::Left)) => return,
            Ok(Err(error)) => {
                tracing::debug!(peer = %Shown(newcomer.peer), %error, "a connection was not introduced");
                return self.count_refusal(ConnectionRefusal::ProxyProtocol, 1);
            }
            Err(_) => return self.count_refusal(ConnectionRefusal::ProxyProtocol, 1),
        };
        if let Some(Ends { source, .. }) = header.ends {
            newcomer.peer = Some(source);
        }
        match settings.door.enter(address(newcomer.peer), newcomer.accepted_at) {
            Ok(entry) => self.serve(socket, newcomer, Some(Box::new(header)), (entry, counted)),
            Err(denied) => self.refuse(socket, &settings, reason(denied)),
        }
    }

    /// Serves a connection that is let in.
    fn serve(&self, socket: Socket, newcomer: Newcomer, introduction: Option<Box<Header>>, held: (Entry, Counted)) {
        let Newcomer { peer, accepted_at, settings, gone, place } = newcomer;
        let Settings {
            ref head, handshake_timeout, ref tls, ref http2, ref door, ref challenges, ref redirect, ..
        } = *settings;
        let ends = introduction.as_ref().and_then(|header| header.ends);
        let destination = match ends {
            _ if !settings.notes_destination => None,
            Some(ends) => Some(ends.destination),
            None => socket.local_address(),
        };
        // Boxed, because an open connection's task has no use for it.
        let accepted = Box::new(Accepted {
            socket: Transport::from(socket),
            peer,
            accepted_at,
            introduction,
            destination,
            tls: tls.clone(),
            http2: http2.clone(),
            door: door.is_open_for(address(peer)).then(|| door.clone()),
            challenges: challenges.clone(),
            redirect: redirect.clone(),
            gone,
            head: head.clone(),
            handshake_timeout,
        });
        spawn(session::serve(self.worker.clone(), accepted, (place, held))).detach();
    }

    /// Follows a new configuration: instances that it does not need go, and open connections do what their routes say.
    pub(super) fn renew(self: &Rc<Self>, snapshot: &Snapshot) {
        let live: HashSet<u64> = snapshot.uses().collect();
        self.worker.pool().retire(&|id| live.contains(&id));
        self.worker.renew(snapshot);
        let pace = Pace::of(self.index(), self.workers(), snapshot.drain_time);
        let worker = self.worker.clone();
        let following = async move {
            let closing = session::follow(&worker).await;
            Self::close_evenly(closing, &CloseFrame::new(1012, "the route has changed"), pace).await;
        };
        spawn(following).detach();
    }

    /// Has connections end with their last stream, or their last answer, whose listener is gone.
    pub(super) fn leave_gone(&self) {
        self.worker.leave_gone(&CloseFrame::new(1012, "the listener is gone"));
    }

    /// Closes the connections of a route, and ends its plain requests.
    pub(super) async fn drain_route(self: Rc<Self>, route: String, close: CloseFrame, pace: Pace) {
        let begun = Instant::now();
        let open = self.open(|connection| connection.took(&route)).await;
        let requests = self.requests(|request| request.took(&route));
        join(Self::close_evenly(open, &close, pace), Self::end_evenly(requests, &close, pace)).await;
        sleep_until(begun + pace.over + LAST_REQUESTS).await;
        self.requests(|request| request.took(&route)).iter().filter_map(Weak::upgrade).for_each(|it| it.end(&close));
    }

    /// Closes those of the connections that are meant.
    pub(super) async fn dismiss(self: Rc<Self>, dismissal: Arc<Dismissal>, answer: oneshot::Sender<u64>) {
        // Whoever asked may have gone.
        let _ = answer.send(self.worker.dismiss(dismissal).await);
    }

    /// Closes all connections, and then also those that were still opening. Plain requests have all the time to end, but for
    /// streams of events, which have no end of their own.
    pub(super) async fn drain(self: Rc<Self>, close: CloseFrame, pace: Pace) {
        let begun = Instant::now();
        self.worker.begin_drain();
        self.worker.leave_multiplexed(&close);
        let requests = self.requests(|_| true);
        join(Self::close_evenly(self.open(|_| true).await, &close, pace), Self::end_evenly(requests, &close, pace))
            .await;
        loop {
            self.worker.leave_multiplexed(&close);
            self.worker.registry().each(|connection| connection.handle.switch.turn(close.clone())).await;
            let is_over = begun.elapsed() >= pace.over + LAST_REQUESTS;
            self.worker.requests().each(|request| {
                if is_over || request.is_events() {
                    request.end(&close);
                }
            });
            sleep(LOOK).await;
        }
    }

    /// Those of the plain requests in progress that are wanted.
    fn requests(&self, is_wanted: impl Fn(&Underway) -> bool) -> Vec<Weak<Underway>> {
        let mut requests = Vec::new();
        self.worker.requests().each(|request| {
            if is_wanted(request) {
                requests.push(Rc::downgrade(request));
            }
        });
        requests
    }

    /// Ends those of these requests at a pace that are streams of events.
    async fn end_evenly(requests: Vec<Weak<Underway>>, close: &CloseFrame, pace: Pace) {
        let is_events = |request: &Weak<Underway>| request.upgrade().is_some_and(|request| request.is_events());
        let events: Vec<_> = requests.into_iter().filter(is_events).collect();
        let end = |request: Weak<Underway>| {
            if let Some(request) = request.upgrade() {
                request.end(close);
            }
        };
        pace.each(events, end).await;
    }

    /// Those of the open connections that are wanted.
    async fn open(&self, is_wanted: impl Fn(&Connection) -> bool) -> Vec<Weak<Connection>> {
        let mut open = Vec::new();
        let keep = |connection: &Rc<Connection>| {
            if is_wanted(connection) {
                open.push(Rc::downgrade(connection));
            }
        };
        self.worker.registry().each(keep).await;
        open
    }

    /// Closes these connections at a pace. What ends before its turn is not kept: it holds an endpoint's lease.
    async fn close_evenly(open: Vec<Weak<Connection>>, close: &CloseFrame, pace: Pace) {
        let turn = |connection: Weak<Connection>| {
            if let Some(connection) = connection.upgrade() {
                connection.handle.switch.turn(close.clone());
            }
        };
        pace.each(open, turn).await;
    }

    /// Sends something to the client of a connection.
    pub(super) fn push(&self, push: Push) -> Pushed {
        let Push { connection, scope, outgoing } = push;
        self.worker.push(&connection, &scope, outgoing)
    }

    /// A slice of the list of open connections.
    pub(super) fn slice(&self, wanted: &Wanted) -> Slice {
        Slice::of(self.worker.registry(), self.index(), wanted)
    }
}

fn address(peer: Option<SocketAddr>) -> Option<IpAddr> {
    peer.map(|peer| peer.ip())
}

/// Why somebody is told nothing more.
fn reason(denied: Denied) -> ConnectionRefusal {
    match denied {
        Denied::Network => ConnectionRefusal::NetworkRefused,
        Denied::Full | Denied::TooFast => ConnectionRefusal::ListenerMaxConnections,
        Denied::Client(TooMany::Connections) => ConnectionRefusal::MaxConnectionsPerClient,
        Denied::Client(TooMany::Handshakes) => ConnectionRefusal::HandshakesPerSecondPerClient,
    }
}

/// How long plain requests may take beyond a drain: those that have just begun would be cut for nothing.
const LAST_REQUESTS: Duration = Duration::from_secs(1);
/// How often a draining worker looks for connections that have opened since.
const LOOK: Duration = Duration::from_millis(100);
