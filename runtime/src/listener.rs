//! Binding and accepting: one socket for each listener and worker, all on the same port.
//!
//! The kernel deals connections out among the workers' sockets by chance, and a WebSocket lives long, so before its
//! first byte is read a connection may be handed to the worker that has the fewest.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use crate::handshake::HeadLimits;

/// A listener of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where clients connect; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What is taken as the head of a request.
    pub head: HeadLimits,
    /// How long a client may take for the head of a request.
    pub handshake_timeout: Duration,
}

/// Binds one socket for each worker. Port 0 takes a free port, the same for all of them.
///
/// # Errors
/// When the address is taken, is not this machine's, or needs a privilege.
pub fn bind(listen: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    // The first socket finds out whether the port is taken by somebody else: with SO_REUSEPORT alone, a second process
    // of the same user would quietly share it.
    let probe = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    probe.set_reuse_address(true)?;
    probe.bind(&listen.into())?;
    probe.listen(1)?;
    let listen = probe.local_addr()?.as_socket().unwrap_or(listen);
    drop(probe);
    (0..workers.max(1)).map(|_| bind_one(listen)).collect()
}

/// Makes sockets that another process has bound enough for `workers`. The further ones share their port, and get none of
/// its connections before they [`listen`].
///
/// # Errors
/// When the port cannot be shared, as when the sockets are another user's.
pub fn complete(mut sockets: Vec<StdListener>, workers: usize) -> io::Result<Vec<StdListener>> {
    if let Some(first) = sockets.first() {
        let address = first.local_addr()?;
        for _ in sockets.len()..workers {
            sockets.push(bind_silent(address)?);
        }
    }
    Ok(sockets)
}

/// Has a bound socket listen; one that does already goes on.
///
/// # Errors
/// When the port was taken meanwhile.
pub fn listen(socket: &StdListener) -> io::Result<()> {
    let socket = SockRef::from(socket);
    // Small messages must not wait for the acknowledgement of those before them. Accepted sockets inherit it.
    socket.set_tcp_nodelay(true)?;
    socket.listen(BACKLOG)
}

/// Deals sockets out to workers: one for each, or several where there are more sockets than workers.
pub fn deal(sockets: Vec<StdListener>, workers: usize) -> Vec<Vec<StdListener>> {
    let mut dealt: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
    for (index, socket) in sockets.into_iter().enumerate() {
        if let Some(hand) = dealt.get_mut(index % workers.max(1)) {
            hand.push(socket);
        }
    }
    dealt
}

fn bind_one(address: SocketAddr) -> io::Result<StdListener> {
    let socket = bind_silent(address)?;
    listen(&socket)?;
    Ok(socket)
}

fn bind_silent(listen: SocketAddr) -> io::Result<StdListener> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

/// Accepts the next connection. What concerns one connection is passed over; a shortage of files or memory waits a
/// little, because asking again at once would only spin.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(SHORTAGE_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// How many connections each worker has, to hand new ones to the one with the fewest.
#[derive(Debug)]
pub struct Loads(Box<[Load]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// A connection counted for a worker until it is dropped.
#[derive(Debug)]
pub struct Counted {
    loads: Arc<Loads>,
    worker: usize,
}

impl Loads {
    /// No connections yet, for this many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Load::default()).collect()))
    }

    /// The worker that shall have the next connection, which `here` has accepted: `here`, unless another has clearly
    /// fewer. Handing a connection over costs two system calls and a wake-up.
    pub fn place(&self, here: usize) -> usize {
        let load = |load: &Load| load.0.load(Ordering::Relaxed);
        let own = self.0.get(here).map_or(0, load);
        match self.0.iter().map(load).enumerate().min_by_key(|(_, count)| *count) {
            Some((fewest, count)) if count + MARGIN < own => fewest,
            _ => here,
        }
    }

    /// Counts a connection for a worker.
    pub fn count(self: &Arc<Self>, worker: usize) -> Counted {
        if let Some(load) = self.0.get(worker) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        Counted { loads: self.clone(), worker }
    }

    /// The connections of all workers.
    pub fn total(&self) -> usize {
        self.0.iter().map(|load| load.0.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.loads.0.get(self.worker) {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// As many as the kernel allows by default.
const BACKLOG: i32 = 4096;
const SHORTAGE_PAUSE: Duration = Duration::from_millis(100);
/// A difference that is not worth handing over.
const MARGIN: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest_unless_it_is_a_close_call() {
        let loads = Loads::new(3);
        let held: Vec<_> = [0, 0, 0, 1].map(|worker| loads.count(worker)).into();
        assert_eq!(loads.place(0), 2);
        assert_eq!(loads.place(1), 1);
        drop(held);
        assert_eq!(loads.total(), 0);
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_refused() {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();
        let error = bind(taken.local_addr().unwrap(), 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn all_workers_listen_on_the_same_free_port() {
        let listeners = bind("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    }

    #[test]
    fn sockets_of_another_process_are_completed_and_dealt_out() {
        let two = || bind("127.0.0.1:0".parse().unwrap(), 2).unwrap();
        for (workers, hands) in [(1, vec![2]), (2, vec![1, 1]), (3, vec![1, 1, 1])] {
            let sockets = complete(two(), workers).unwrap();
            sockets.iter().for_each(|socket| listen(socket).unwrap());
            assert!(sockets.iter().all(|socket| socket.local_addr().unwrap() == sockets[0].local_addr().unwrap()));
            assert_eq!(deal(sockets, workers).iter().map(Vec::len).collect::<Vec<_>>(), hands);
        }
    }
}
