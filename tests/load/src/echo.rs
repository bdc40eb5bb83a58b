//! A WebSocket echo server on one thread, driven by edge-triggered epoll.
//!
//! It streams: a frame's header goes back as soon as it is known and its payload as it comes, so that no message is
//! ever held whole, and a connection whose client stops reading holds one read at most. All that one read brought goes
//! back with one write. Without an upgrade, `GET /page/N` answers with a page that says so, and keeps the
//! connection; `GET /totals` with the counts as JSON.

mod connection;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;
use socket2::SockRef;

use crate::small;
use crate::totals::Totals;
use connection::{EchoConnection, Outcome};

/// An echo server that has not started.
#[derive(Debug)]
pub struct EchoServer {
    poll: Poll,
    listener: TcpListener,
    connections: Slab<EchoConnection>,
    totals: Totals,
    scratch: Vec<u8>,
}

/// An echo server on a thread of its own, stopped when dropped.
#[derive(Debug)]
pub struct RunningEcho {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<io::Result<Totals>>>,
}

impl EchoServer {
    /// Binds; port 0 takes a free one.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut listener = TcpListener::bind(address)?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        Ok(Self { poll, listener, connections: Slab::new(), totals: Totals::default(), scratch: vec![0; SCRATCH] })
    }

    /// Fixes the kernel's buffers of every accepted socket, in bytes, and has it count in small segments.
    pub fn with_socket_buffer(self, bytes: usize) -> io::Result<Self> {
        small::shrink(SockRef::from(&self.listener), bytes)?;
        Ok(self)
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves on a thread of its own, which inherits the CPU affinity of the caller.
    pub fn spawn(mut self) -> io::Result<RunningEcho> {
        let address = self.address()?;
        let stop = Arc::new(AtomicBool::new(false));
        let waker = Arc::new(Waker::new(self.poll.registry(), WAKER)?);
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("echo".into()).spawn(move || {
            self.serve(|| stopped.load(Ordering::Relaxed))?;
            Ok(self.totals)
        })?;
        Ok(RunningEcho { address, stop, waker, thread: Some(thread) })
    }

    /// Serves until `stopped`, which is asked after each wake-up.
    pub fn serve(&mut self, stopped: impl Fn() -> bool) -> io::Result<()> {
        let mut events = Events::with_capacity(256);
        while !stopped() {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER => {}
                    Token(key) => {
                        let Some(connection) = self.connections.get_mut(key) else {
                            continue;
                        };
                        let at_end = event.is_read_closed() || event.is_error();
                        let readable = event.is_readable() || at_end;
                        let outcome = connection.ready(&mut self.totals, &mut self.scratch, readable, at_end);
                        if matches!(outcome, Ok(Outcome::Ended) | Err(_)) {
                            self.connections.remove(key);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let (stream, _) = match self.listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let entry = self.connections.vacant_entry();
            let token = Token(entry.key());
            let connection = entry.insert(EchoConnection::new(stream));
            self.poll.registry().register(connection.stream(), token, Interest::READABLE | Interest::WRITABLE)?;
        }
    }
}

impl RunningEcho {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it and returns what it counted.
    pub fn stop(mut self) -> io::Result<Totals> {
        self.halt().unwrap_or_else(|| Ok(Totals::default()))
    }

    fn halt(&mut self) -> Option<io::Result<Totals>> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take()?;
        if let Err(error) = self.waker.wake() {
            return Some(Err(error));
        }
        Some(thread.join().unwrap_or_else(|_| Err(io::Error::other("the echo server panicked"))))
    }
}

impl Drop for RunningEcho {
    fn drop(&mut self) {
        self.halt();
    }
}

const LISTENER: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
const SCRATCH: usize = 256 * 1024;
