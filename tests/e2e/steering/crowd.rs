//! Clients that talk all the time, and come back when they are sent away.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate_tests::{Frame, Peer, within};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::model::ROUTES;

/// Messages in flight on each connection.
const WINDOW: u64 = 8;
/// How often each sends so many: the test is about order, and shares the machine with others.
const TICK: Duration = Duration::from_millis(50);

/// Who serves a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Filter,
    Candidate,
}

/// All clients.
pub(super) struct Crowd {
    members: Vec<Member>,
    rules: Arc<[Mutex<Rules>]>,
    told: watch::Sender<String>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<u64>,
}

struct Member {
    route: usize,
    seen: watch::Receiver<Seen>,
    /// What it was when its route was last settled.
    settled: Option<Seen>,
}

/// What may happen to the connections of a route.
#[derive(Debug, Default)]
struct Rules {
    labels: BTreeSet<String>,
    may_be_sent_away: bool,
}

/// What a member knows of its connection.
#[derive(Clone, Debug, Default, PartialEq)]
struct Seen {
    /// Which of its connections it is.
    ordinal: usize,
    /// What stood before the count in the last message; empty before the first.
    label: String,
}

impl Seen {
    fn side(&self) -> Side {
        if self.label.starts_with('c') { Side::Candidate } else { Side::Filter }
    }
}

impl Crowd {
    /// Has `members` clients for each route.
    pub(super) async fn gather(
        address: SocketAddr,
        members: usize,
        labels: impl Fn(usize) -> BTreeSet<String>,
    ) -> Self {
        let rules: Arc<[Mutex<Rules>]> =
            (0..ROUTES).map(|route| Mutex::new(Rules { labels: labels(route), may_be_sent_away: false })).collect();
        let (told, stop) = (watch::Sender::new(String::new()), watch::Sender::new(false));
        let mut crowd = Self { members: Vec::new(), rules, told, stop, tasks: JoinSet::new() };
        for route in (0..ROUTES).flat_map(|route| std::iter::repeat_n(route, members)) {
            let (sees, seen) = watch::channel(Seen::default());
            let talk = Talk {
                address,
                route,
                rules: crowd.rules.clone(),
                told: crowd.told.subscribe(),
                stop: crowd.stop.subscribe(),
                sees,
            };
            crowd.members.push(Member { route, seen, settled: None });
            crowd.tasks.spawn(talk.go_on());
        }
        for route in 0..ROUTES {
            crowd.settle(route, &labels(route), None).await;
        }
        crowd
    }

    /// Has failures say what was done last.
    pub(super) fn told(&mut self, what: String) {
        self.told.send_replace(what);
    }

    fn rules(&self, route: usize, change: impl FnOnce(&mut Rules)) {
        change(&mut self.rules[route].lock().unwrap());
    }

    /// From now on messages of a route may have these labels, too.
    pub(super) fn allow(&self, route: usize, labels: BTreeSet<String>) {
        self.rules(route, |rules| rules.labels.extend(labels));
    }

    /// The same of all routes.
    pub(super) fn allow_all(&self, labels: impl Fn(usize) -> BTreeSet<String>) {
        (0..ROUTES).for_each(|route| self.allow(route, labels(route)));
    }

    /// Waits until all connections of a route have one of these labels, of this side; none may have another from then on.
    /// With `None`, each has stayed with whom it had.
    pub(super) async fn settle(&mut self, route: usize, labels: &BTreeSet<String>, side: Option<Side>) {
        self.check();
        for member in self.members.iter_mut().filter(|member| member.route == route) {
            let what =
                || format!("a connection of route {route} to have one of {labels:?} after {}", *self.told.borrow());
            let before = member.settled.take();
            let seen = within(&what(), member.seen.wait_for(|seen| labels.contains(&seen.label))).await;
            let seen = seen.unwrap_or_else(|_| panic!("no more {}", what())).clone();
            let expected = side.or(before.filter(|before| before.ordinal == seen.ordinal).map(|before| before.side()));
            assert!(expected.is_none_or(|side| side == seen.side()), "{seen:?} instead of {expected:?}: {}", what());
            member.settled = Some(seen);
        }
        self.rules(route, |rules| rules.labels.clone_from(labels));
    }

    /// Does something by which the connections of routes end, and waits until all have come back.
    pub(super) async fn send_away<T>(&mut self, routes: &[usize], how: impl Future<Output = T>) -> T {
        let before: Vec<usize> = self.members.iter().map(|member| member.seen.borrow().ordinal).collect();
        routes.iter().for_each(|route| self.rules(*route, |rules| rules.may_be_sent_away = true));
        let done = how.await;
        for (member, before) in self.members.iter_mut().zip(before).filter(|(member, _)| routes.contains(&member.route))
        {
            let is_back = |seen: &Seen| seen.ordinal > before && !seen.label.is_empty();
            within("a connection to come back", member.seen.wait_for(is_back)).await.unwrap();
        }
        routes.iter().for_each(|route| self.rules(*route, |rules| rules.may_be_sent_away = false));
        done
    }

    /// Fails when a member has.
    fn check(&mut self) {
        if let Some(ended) = self.tasks.try_join_next() {
            panic!("a client has ended with {:?}", ended.unwrap());
        }
    }

    /// Has all close, and gives the number of messages that came back.
    pub(super) async fn go_home(&mut self) -> u64 {
        self.stop.send_replace(true);
        let mut messages = 0;
        while let Some(count) = within("all to go home", self.tasks.join_next()).await {
            messages += count.unwrap();
        }
        messages
    }
}

/// What one client does.
struct Talk {
    address: SocketAddr,
    route: usize,
    rules: Arc<[Mutex<Rules>]>,
    told: watch::Receiver<String>,
    stop: watch::Receiver<bool>,
    sees: watch::Sender<Seen>,
}

impl Talk {
    /// Talks until told to stop. Gives how many messages came back.
    async fn go_on(self) -> u64 {
        let mut messages = 0;
        while !*self.stop.borrow() {
            messages += self.talk().await;
        }
        messages
    }

    /// One connection: pipelines numbered messages, of which each has to come back in order with the right count, until it
    /// is told to stop or sent away.
    async fn talk(&self) -> u64 {
        let mut client = Peer::open(self.address, &format!("/r{}", self.route)).await;
        self.sees.send_modify(|seen| *seen = Seen { ordinal: seen.ordinal + 1, label: String::new() });
        let (mut sent, mut received) = (0_u64, 0_u64);
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if received == sent {
                if *self.stop.borrow() {
                    client.send(Frame::close(1000, "")).await;
                    client.expect_close(1000).await;
                    return received;
                }
                ticks.tick().await;
                let frames: Vec<Vec<u8>> =
                    (sent..sent + WINDOW).map(|number| client.encode(&Frame::text(number.to_string()))).collect();
                sent += WINDOW;
                client.write_while_open(frames.concat()).await;
            }
            let Some(frame) = client.receive().await else {
                panic!("no close frame came after {}", *self.told.borrow())
            };
            if let Some(code) = frame.close_code() {
                let may = self.rules[self.route].lock().unwrap().may_be_sent_away;
                assert!(may && [1001, 1012].contains(&code), "closed with {frame:?} after {}", *self.told.borrow());
                client.write_while_open(client.encode(&Frame::close(code, ""))).await;
                return received;
            }
            self.check(&frame.as_text(), received);
            received += 1;
        }
    }

    fn check(&self, text: &str, received: u64) {
        let (label, said) = text.split_once(' ').map(|(label, said)| (format!("{label} "), said)).unwrap();
        let told = || self.told.borrow().clone();
        assert_eq!(said, format!("{}:{received}", received + 1), "{text} on route {} after {}", self.route, told());
        let allowed = &self.rules[self.route].lock().unwrap().labels;
        assert!(allowed.contains(&label), "{text} and not {allowed:?} on route {} after {}", self.route, told());
        self.sees.send_if_modified(|seen| {
            let is_new = seen.label != label;
            seen.label = label;
            is_new
        });
    }
}
