//! Many client connections on one thread, driven by edge-triggered epoll.
//!
//! The generator knows sockets and time; what is sent when is the [`Script`]'s business. A script reacts once for each
//! readiness, after all that one wake-up brought has been checked, and what it queued is written with one write, as a
//! pipelining client does it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::net::TcpStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use slab::Slab;

use crate::clock;
use crate::connection::{Broken, Connection};
use crate::handshake::Request;
use crate::payload::Payloads;
use crate::small;
use crate::tools::Tools;
use crate::wire::{Tls, Wire};

/// What connections do.
pub trait Script {
    /// The handshake of this connection is complete.
    fn opened(&mut self, _connection: &mut Connection, _tools: &mut Tools) {}

    /// One readiness brought `echoes` messages back.
    fn echoed(&mut self, _connection: &mut Connection, _tools: &mut Tools, _echoes: usize) {}
}

/// A script for phases in which nothing is sent.
#[derive(Debug)]
pub struct Silence;

impl Script for Silence {}

/// Client connections to one address.
#[derive(Debug)]
pub struct Generator {
    /// Counts and payloads.
    pub tools: Tools,
    /// Connections that ended as they should.
    pub ended: u64,
    /// Whether the kernel keeps little for the connections that are started from now on.
    pub small_buffers: bool,
    /// How the connections that are started from now on speak TLS.
    pub tls: Option<Tls>,
    poll: Poll,
    connections: Slab<Connection>,
    target: SocketAddr,
    request: Request,
    scratch: Vec<u8>,
    started: u32,
    unopened: usize,
    timer: TimerFd,
    armed: u64,
}

impl Generator {
    /// A generator without connections.
    pub fn new(target: SocketAddr, request: Request, payloads: Payloads) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)?;
        Ok(Self {
            tools: Tools::new(payloads),
            ended: 0,
            small_buffers: false,
            tls: None,
            poll,
            connections: Slab::new(),
            target,
            request,
            scratch: vec![0; SCRATCH],
            started: 0,
            unopened: 0,
            timer,
            armed: 0,
        })
    }

    /// Connections that are not over, opening ones included.
    pub fn len(&self) -> usize {
        self.connections.len()
    }

    /// No connection is left.
    pub fn is_empty(&self) -> bool {
        self.connections.is_empty()
    }

    /// Keys of all connections.
    pub fn keys(&self) -> Vec<usize> {
        self.connections.iter().map(|(key, _)| key).collect()
    }

    /// All connections.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().map(|(_, connection)| connection)
    }

    /// Whether every open connection has all its echoes.
    pub fn is_idle(&self) -> bool {
        self.connections().all(Connection::is_idle)
    }

    /// Starts one connection.
    pub fn start(&mut self) -> io::Result<()> {
        let stream = if self.small_buffers { small::connect(self.target)? } else { TcpStream::connect(self.target)? };
        let wire = Wire::new(stream, self.tls.as_ref())?;
        let entry = self.connections.vacant_entry();
        let token = Token(entry.key());
        let connection = entry.insert(Connection::new(self.started, wire));
        self.poll.registry().register(connection.stream(), token, Interest::READABLE | Interest::WRITABLE)?;
        self.started += 1;
        self.unopened += 1;
        Ok(())
    }

    /// Opens `count` connections, a bounded number at a time, so that no backlog overflows. Returns early at
    /// `deadline` (of [`clock::now`]); connections that break meanwhile are counted and not replaced.
    pub fn open(&mut self, count: usize, script: &mut dyn Script, deadline: u64) -> io::Result<()> {
        let mut started = 0;
        while (started < count || self.unopened > 0) && clock::now() < deadline {
            while started < count && self.unopened < OPENING_AT_ONCE {
                self.start()?;
                started += 1;
            }
            self.turn(script, deadline)?;
        }
        Ok(())
    }

    /// Lets `act` queue something on a connection and writes it.
    pub fn act(&mut self, key: usize, act: impl FnOnce(&mut Connection, &mut Tools)) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        act(connection, &mut self.tools);
        if let Err(broken) = connection.flush() {
            self.end(key, Some(&broken));
        }
    }

    /// Reads a connection as if its socket had become readable, after it has stopped reading for a while.
    pub fn resume(&mut self, key: usize, script: &mut dyn Script) {
        self.progress(key, script, true, true, true);
    }

    /// Waits for events until `until` at most, and handles them.
    pub fn turn(&mut self, script: &mut dyn Script, until: u64) -> io::Result<()> {
        let wait = Duration::from_nanos(until.saturating_sub(clock::now()));
        self.wait(script, Some(wait))
    }

    /// Waits for events until `due`, to the precision of a kernel timer and not of epoll's milliseconds.
    pub fn turn_precisely(&mut self, script: &mut dyn Script, due: u64) -> io::Result<()> {
        if self.armed != due {
            let at = TimeSpec::from_duration(Duration::from_nanos(due.max(1)));
            self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            self.armed = due;
        }
        self.wait(script, None)
    }

    /// Turns until `done` says so or `until` has come; says whether it was `done`.
    pub fn run(
        &mut self,
        script: &mut dyn Script,
        until: u64,
        mut done: impl FnMut(&Self) -> bool,
    ) -> io::Result<bool> {
        while clock::now() < until {
            if done(self) {
                return Ok(true);
            }
            self.turn(script, until)?;
        }
        Ok(done(self))
    }

    /// Closes all connections with `code` and waits for them to end until `deadline`; what is left then is broken.
    pub fn finish(&mut self, code: Option<u16>, deadline: u64) -> io::Result<()> {
        for key in self.keys() {
            self.act(key, |connection, tools| connection.close(tools, code));
        }
        self.run(&mut Silence, deadline, Self::is_empty)?;
        for key in self.keys() {
            if let Some(unfinished) = self.connections.get(key).map(Connection::unfinished) {
                self.end(key, Some(&unfinished));
            }
        }
        Ok(())
    }

    fn wait(&mut self, script: &mut dyn Script, timeout: Option<Duration>) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        match self.poll.poll(&mut events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        for event in &events {
            if event.token() == TIMER {
                // Setting it again is what makes it unreadable; the edge is all that is wanted here.
                self.armed = 0;
                continue;
            }
            let at_end = event.is_read_closed() || event.is_error();
            self.progress(event.token().0, script, event.is_readable() || at_end, event.is_writable(), at_end);
        }
        Ok(())
    }

    fn progress(&mut self, key: usize, script: &mut dyn Script, readable: bool, writable: bool, at_end: bool) {
        let Some(connection) = self.connections.get_mut(key) else {
            return;
        };
        let result = connection.ready(&mut self.tools, &self.request, &mut self.scratch, readable, writable, at_end);
        let progress = match result {
            Ok(progress) => progress,
            Err(broken) => return self.end(key, Some(&broken)),
        };
        if progress.opened {
            self.unopened -= 1;
            script.opened(connection, &mut self.tools);
        }
        if progress.echoes > 0 {
            script.echoed(connection, &mut self.tools, progress.echoes);
        }
        if progress.ended {
            self.end(key, None);
        } else if let Err(broken) = connection.flush() {
            self.end(key, Some(&broken));
        }
    }

    fn end(&mut self, key: usize, broken: Option<&Broken>) {
        let Some(mut connection) = self.connections.try_remove(key) else {
            return;
        };
        connection.finish(&mut self.tools);
        match broken {
            None => self.ended += 1,
            Some(broken) => {
                if !connection.was_opened() {
                    self.unopened -= 1;
                }
                self.tools.faults.broken += 1;
                *self.tools.reasons.entry(broken.to_string()).or_default() += 1;
            }
        }
    }
}

const TIMER: Token = Token(usize::MAX - 1);
/// Large enough that a message of a mebibyte takes a handful of reads.
const SCRATCH: usize = 256 * 1024;
/// Half of the smallest backlog among the peers (nginx: 511).
const OPENING_AT_ONCE: usize = 256;
