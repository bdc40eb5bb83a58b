//! The sockets of one listener.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::SockRef;

use super::bind::{self, BindError};
use super::{Claim, retire};

/// The sockets of one listener, at least one for each worker. All who use them share them: the port is closed with the
/// last, and none of them has to be duplicated.
#[derive(Debug)]
pub struct Bound {
    configured: Claim,
    /// Whether nobody else may listen there when these begin to.
    alone: bool,
    /// Whether nobody can connect any more.
    retired: AtomicBool,
    sockets: Vec<StdListener>,
}

impl Bound {
    /// Binds one socket for each worker. Port 0 takes a free port, the same for all of them. Nobody can connect before
    /// they listen. `own` is what this process has already, or the one that it replaces: that may be shared.
    ///
    /// # Errors
    /// When the address is taken, is not this machine's, or needs a privilege.
    pub fn new(wanted: Claim, workers: usize, own: &[Claim]) -> Result<Self, BindError> {
        let alone = !own.iter().any(|own| own.overlaps(&wanted));
        let sockets = bind::bind(wanted, workers, own)?;
        Ok(Self { configured: wanted, alone, retired: AtomicBool::new(false), sockets })
    }

    /// Sockets that another process has bound for this address of its configuration.
    pub fn inherited(listen: SocketAddr, sockets: Vec<StdListener>) -> Self {
        let claim = sockets.first().and_then(|socket| Claim::of(socket).ok());
        let retired = AtomicBool::new(sockets.iter().any(retire::is_retired));
        let configured = Claim { address: listen, only_v6: claim.is_some_and(|claim| claim.only_v6) };
        Self { configured, alone: false, retired, sockets }
    }

    /// Makes them enough for `workers`. The further ones share their port, and get none of its connections before they
    /// [`listen`](Self::listen).
    ///
    /// # Errors
    /// When the port cannot be shared, as when the sockets are another user's.
    pub fn complete(mut self, workers: usize) -> Result<Self, BindError> {
        let claim = self.claim();
        for _ in self.sockets.len()..workers {
            self.sockets.push(bind::bind_shared(claim).map_err(|error| BindError::of(error, claim, &[]))?);
        }
        Ok(self)
    }

    /// Has every socket listen, once; inherited ones go on.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub fn listen(&self) -> Result<(), BindError> {
        let listen = |socket: &StdListener| {
            let socket = SockRef::from(socket);
            // Small messages must not wait for the acknowledgement of those before them. Accepted sockets inherit it.
            socket.set_tcp_nodelay(true)?;
            socket.listen(BACKLOG)
        };
        // Two processes that were started at once have both found the port free.
        let is_free = if self.alone { bind::probe(self.claim()).map(drop) } else { Ok(()) };
        is_free
            .and_then(|()| self.sockets.iter().try_for_each(listen))
            .map_err(|error| BindError::of(error, self.claim(), &[]))
    }

    /// Has nobody connect any more, so that who does gets to other sockets of the port; who has begun to can still be
    /// accepted. Whether the system can do that.
    pub fn retire(&self) -> bool {
        let is_done = self.sockets.iter().all(retire::retire);
        self.retired.store(is_done, Ordering::Relaxed);
        is_done
    }

    /// The address as the configuration has it.
    pub fn configured(&self) -> SocketAddr {
        self.configured.address
    }

    /// Where clients can connect.
    pub fn address(&self) -> SocketAddr {
        self.claim().address
    }

    /// What they take.
    pub fn claim(&self) -> Claim {
        let bound = self.sockets.first().and_then(|socket| socket.local_addr().ok());
        Claim { address: bound.unwrap_or(self.configured.address), ..self.configured }
    }

    /// Whether these are what a configuration wants. Port 0 took a free one, which another configuration may name.
    pub fn serves(&self, wanted: &Claim) -> bool {
        let is_open = !self.retired.load(Ordering::Relaxed);
        is_open && (self.configured.serves(wanted) || self.claim().serves(wanted))
    }

    /// Whether others may listen there, too: those of the process that this one replaces.
    pub fn is_shared(&self) -> bool {
        !self.alone
    }

    /// The sockets themselves.
    pub fn sockets(&self) -> &[StdListener] {
        &self.sockets
    }

    /// Those of one of `workers`: one, or several where there are more sockets than workers.
    pub fn share(self: &Arc<Self>, worker: usize, workers: usize) -> impl Iterator<Item = Shared> {
        let bound = self.clone();
        (worker..self.sockets.len()).step_by(workers.max(1)).map(move |index| Shared { bound: bound.clone(), index })
    }
}

/// One socket of a listener.
#[derive(Clone, Debug)]
pub struct Shared {
    bound: Arc<Bound>,
    index: usize,
}

impl Shared {
    /// Takes the next connection out of the queue. Does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn accept(&self) -> io::Result<(std::net::TcpStream, SocketAddr)> {
        let socket = self.bound.sockets.get(self.index).ok_or(io::ErrorKind::NotFound)?;
        let (stream, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((stream.into(), peer))
    }

    /// Whether nobody can connect any more, and who has begun to may be waited for.
    pub fn is_retired(&self) -> bool {
        self.bound.retired.load(Ordering::Relaxed)
    }
}

impl AsRawFd for Shared {
    fn as_raw_fd(&self) -> RawFd {
        self.bound.sockets.get(self.index).map_or(-1, AsRawFd::as_raw_fd)
    }
}

/// As many as the kernel allows by default.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(address: impl Into<SocketAddr>) -> Claim {
        Claim { address: address.into(), only_v6: false }
    }

    fn at(address: &str) -> Claim {
        claim(address.parse::<SocketAddr>().unwrap())
    }

    fn free(workers: usize) -> Bound {
        Bound::new(at("127.0.0.1:0"), workers, &[]).unwrap()
    }

    #[test]
    fn a_port_that_somebody_listens_on_is_refused() {
        let taken = StdListener::bind("127.0.0.1:0").unwrap();
        let error = Bound::new(claim(taken.local_addr().unwrap()), 2, &[]).unwrap_err();
        assert!(matches!(error, BindError::Taken), "{error}");
    }

    #[test]
    fn a_port_that_nobody_listens_on_is_not_said_to_be_listened_on() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let error = Bound::new(claim(address), 1, &[]).unwrap_err();
        assert!(matches!(error, BindError::InUse), "{error}");
    }

    #[test]
    fn an_address_of_another_machine_is_told_from_a_port_that_is_taken() {
        let error = Bound::new(at("192.0.2.1:0"), 1, &[]).unwrap_err();
        assert!(matches!(error, BindError::NoSuchAddress), "{error}");
    }

    #[test]
    fn nobody_can_connect_before_the_sockets_listen() {
        let bound = free(2);
        assert!(std::net::TcpStream::connect(bound.address()).is_err());
        bound.listen().unwrap();
        assert!(std::net::TcpStream::connect(bound.address()).is_ok());
    }

    #[test]
    fn of_two_that_were_bound_at_once_only_one_listens() {
        let first = free(2);
        let second = Bound::new(first.claim(), 2, &[]).unwrap();
        first.listen().unwrap();
        assert!(matches!(second.listen(), Err(BindError::Taken)));
    }

    #[test]
    fn all_workers_listen_on_the_same_free_port() {
        let bound = free(3);
        let ports: Vec<_> = bound.sockets().iter().map(|socket| socket.local_addr().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    }

    #[test]
    fn sockets_of_another_process_are_completed_and_dealt_out() {
        for (workers, hands) in [(1, vec![2]), (2, vec![1, 1]), (3, vec![1, 1, 1])] {
            let old = free(2);
            let bound = Bound::inherited(old.configured(), old.sockets).complete(workers).unwrap();
            bound.listen().unwrap();
            let addresses: Vec<_> = bound.sockets().iter().map(|socket| socket.local_addr().unwrap()).collect();
            assert!(addresses.iter().all(|address| *address == bound.address()));
            let bound = Arc::new(bound);
            assert_eq!((0..workers).map(|it| bound.share(it, workers).count()).collect::<Vec<_>>(), hands);
        }
    }

    #[test]
    fn all_of_ipv6_goes_beside_all_of_ipv4_and_takes_both_alone() {
        let v4 = Bound::new(at("0.0.0.0:0"), 2, &[]).unwrap();
        v4.listen().unwrap();
        let both = claim(([0_u16; 8], v4.address().port()));
        let beside = Claim { only_v6: true, ..both };
        let v6 = Bound::new(beside, 2, &[]).unwrap();
        v6.listen().unwrap();
        assert!(v6.serves(&beside) && !v6.serves(&both));

        let both = Bound::new(at("[::]:0"), 1, &[]).unwrap();
        both.listen().unwrap();
        assert!(std::net::TcpStream::connect(("127.0.0.1", both.address().port())).is_ok());
    }

    #[test]
    fn one_of_our_own_may_share_a_port_with_one_that_is_about_to_go() {
        let old = Bound::new(at("0.0.0.0:0"), 2, &[]).unwrap();
        old.listen().unwrap();
        let port = old.address().port();
        for wanted in [claim(([127, 0, 0, 1], port)), claim(([0_u16; 8], port))] {
            assert!(matches!(Bound::new(wanted, 2, &[]), Err(BindError::Taken)));
            Bound::new(wanted, 2, &[old.claim()]).unwrap().listen().unwrap();
        }
    }

    #[test]
    fn one_of_our_own_that_shares_with_none_is_not_said_to_be_somebody_elses() {
        let own = bind::bind_one(at("127.0.0.1:0"), &[]).unwrap();
        bind::listen(&own).unwrap();
        let claim = Claim::of(&own).unwrap();
        let error = Bound::new(claim, 1, &[claim]).unwrap_err();
        assert!(matches!(error, BindError::Own(own) if own == claim), "{error}");
        bind::share(&own);
        Bound::new(claim, 1, &[claim]).unwrap().listen().unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_connects_when_sockets_are_retired_gets_to_their_successors() {
        let old = Arc::new(free(1));
        old.listen().unwrap();
        let address = old.address();
        let waiting = std::net::TcpStream::connect(address).unwrap();
        let new = Arc::new(Bound::new(claim(([0, 0, 0, 0], address.port())), 1, &[old.claim()]).unwrap());
        new.listen().unwrap();
        assert!(old.retire());
        let next = std::net::TcpStream::connect(address).unwrap();
        for (bound, client) in [(&old, waiting), (&new, next)] {
            let socket = bound.share(0, 1).next().unwrap();
            assert_eq!(socket.accept().unwrap().1, client.local_addr().unwrap());
            assert!(socket.accept().is_err());
        }
        let claim = old.claim();
        assert!(!old.serves(&claim));
        let sockets = Arc::into_inner(old).unwrap().sockets;
        assert!(!Bound::inherited(address, sockets).serves(&claim));
    }
}
