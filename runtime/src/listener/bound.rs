//! The sockets of one listener.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{SockRef, Socket};

use super::bind::{self, BindError};
use super::socket_file::{Rights, SocketFile};
use super::{Address, Claim, retire};
use crate::session::Gone;
use crate::transport::Liveness;

/// The sockets of one listener, at least one for each worker, unless their address can be shared by none. All who use them
/// share them: the port is closed with the last, and none of them has to be duplicated.
#[derive(Debug)]
pub struct Bound {
    configured: Claim,
    /// Whether nobody else may listen there when these begin to.
    alone: bool,
    /// Whether nobody can connect any more.
    retired: AtomicBool,
    /// What those learn of it who have.
    gone: Gone,
    /// Of a unix socket. It goes before the sockets do.
    file: Option<SocketFile>,
    sockets: Vec<Socket>,
}

impl Bound {
    /// Binds one socket for each worker, or the only one of a unix socket. Port 0 takes a free port, the same for all of them.
    /// Nobody can connect before they listen. `own` is what this process has already, or the one that it replaces: that may
    /// be shared.
    ///
    /// # Errors
    /// When the address is taken, is not this machine's, or needs a privilege.
    pub fn new(wanted: Claim, workers: usize, own: &[Claim]) -> Result<Self, BindError> {
        let (alone, file, sockets) = match &wanted.address {
            Address::Socket(address) => {
                let alone = !own.iter().any(|own| own.overlaps(&wanted));
                (alone, None, bind::bind((&wanted, *address), workers, own)?)
            }
            Address::Unix(path) => {
                let (socket, file) = SocketFile::bind(path)?;
                (true, Some(file), vec![socket])
            }
        };
        Ok(Self { configured: wanted, alone, retired: AtomicBool::new(false), gone: Gone::default(), file, sockets })
    }

    /// Binds one socket that shares its address with no other, except for `own`. Nobody can connect before it listens.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn alone(wanted: Claim, own: &[Claim]) -> Result<Self, BindError> {
        let Address::Socket(address) = wanted.address else { return Self::new(wanted, 1, own) };
        let socket = bind::bind_one(address, wanted.only_v6, own)?;
        let alone = !bind::is_shared(&socket);
        let (retired, gone) = (AtomicBool::new(false), Gone::default());
        Ok(Self { configured: wanted, alone, retired, gone, file: None, sockets: vec![socket] })
    }

    /// Sockets that another process has bound for this address of its configuration. The file of a unix socket stays that
    /// process's, for ever where it is lent, or until they [listen](Self::listen) or are [owned](Self::own).
    pub fn inherited(listen: Address, sockets: Vec<Socket>, is_lent: bool) -> Self {
        let claim = sockets.first().and_then(|socket| Claim::of(socket).ok());
        let file = match &listen {
            Address::Socket(_) => None,
            Address::Unix(path) => Some(SocketFile::inherited(path, is_lent)),
        };
        let retired = AtomicBool::new(file.is_none() && sockets.iter().any(retire::is_retired));
        let configured = Claim { address: listen, only_v6: claim.is_some_and(|claim| claim.only_v6) };
        Self { configured, alone: false, retired, gone: Gone::default(), file, sockets }
    }

    /// Makes them enough for `workers`, where their address can be shared: not when they are another user's. The further ones
    /// share their port, and get none of its connections before they [`listen`](Self::listen).
    pub fn complete(mut self, workers: usize) -> Self {
        let claim = self.claim();
        let Some(address) = claim.address.socket().filter(|_| self.sockets.iter().all(bind::is_shared)) else {
            return self;
        };
        let further = (self.sockets.len()..workers).map_while(|_| bind::bind_shared(address, claim.only_v6).ok());
        self.sockets.extend(further.collect::<Vec<_>>());
        self
    }

    /// Has every socket listen, once; inherited ones go on.
    ///
    /// # Errors
    /// When the port was taken meanwhile.
    pub fn listen(&self) -> Result<(), BindError> {
        if let Some(file) = &self.file {
            if !file.is_there() {
                return Err(BindError::Taken);
            }
            self.sockets.iter().try_for_each(|socket| socket.listen(BACKLOG))?;
            file.own();
            return Ok(());
        }
        let listen = |socket: &Socket| {
            // Small messages must not wait for the acknowledgement of those before them. Accepted sockets inherit it.
            socket.set_tcp_nodelay(true)?;
            socket.listen(BACKLOG)
        };
        let claim = self.claim();
        // Two processes that were started at once have both found the port free.
        let is_free = match claim.address {
            Address::Socket(address) if self.alone => bind::probe(address, claim.only_v6).map(drop),
            _ => Ok(()),
        };
        is_free
            .and_then(|()| self.sockets.iter().try_for_each(listen))
            .map_err(|error| BindError::of(error, &claim, &[]))
    }

    /// Sets how it is noticed that clients have vanished, or who may be one.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn set(&self, liveness: &Liveness, rights: &Rights) -> Result<(), BindError> {
        match &self.file {
            Some(file) => file.give(rights),
            // What they accept inherits it.
            None => Ok(self.sockets.iter().try_for_each(|socket| liveness.apply(&SockRef::from(socket)))?),
        }
    }

    /// Sets who may connect to a unix socket.
    ///
    /// # Errors
    /// When the system refuses it.
    pub fn give(&self, rights: &Rights) -> Result<(), BindError> {
        self.file.as_ref().map_or(Ok(()), |file| file.give(rights))
    }

    /// Has nobody connect any more, so that who does gets to other sockets of the port; who has begun to can still be
    /// accepted. Whether the system can do that.
    pub fn retire(&self) -> bool {
        self.gone.tell();
        let is_done = match &self.file {
            Some(file) => {
                file.remove();
                true
            }
            None => self.sockets.iter().all(retire::retire),
        };
        self.retired.store(is_done, Ordering::Relaxed);
        is_done
    }

    /// By what those who have connected learn that nobody can any more.
    pub fn gone(&self) -> Gone {
        self.gone.clone()
    }

    /// Has this process remove the file of a unix socket when it is done with it.
    pub fn own(&self) {
        self.file.iter().for_each(SocketFile::own);
    }

    /// Leaves the file of a unix socket to a process that goes on with it.
    pub fn leave(&self) {
        self.file.iter().for_each(SocketFile::leave);
    }

    /// Whether the file of a unix socket is somebody else's to remove.
    pub fn is_lent(&self) -> bool {
        self.file.as_ref().is_some_and(SocketFile::is_lent)
    }

    /// The address as the configuration has it.
    pub fn configured(&self) -> &Address {
        &self.configured.address
    }

    /// Where clients can connect.
    pub fn address(&self) -> Address {
        self.claim().address
    }

    /// What they take.
    pub fn claim(&self) -> Claim {
        let bound = self.sockets.first().filter(|_| self.file.is_none()).and_then(|socket| socket.local_addr().ok());
        let bound = bound.and_then(|bound| bound.as_socket());
        Claim { address: bound.map_or_else(|| self.configured.address.clone(), Address::Socket), ..self.configured }
    }

    /// Whether these are what a configuration wants. Port 0 took a free one, which another configuration may name.
    pub fn serves(&self, wanted: &Claim) -> bool {
        let is_open = !self.retired.load(Ordering::Relaxed) && self.file.as_ref().is_none_or(SocketFile::is_there);
        is_open && (self.configured.serves(wanted) || self.claim().serves(wanted))
    }

    /// Whether others may listen there, too: those of the process that this one replaces.
    pub fn is_shared(&self) -> bool {
        !self.alone
    }

    /// The sockets themselves.
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// Those of one of `workers`: one, or several where there are more sockets than workers. Where there are fewer, some
    /// workers have the same.
    pub fn share(self: &Arc<Self>, worker: usize, workers: usize) -> impl Iterator<Item = Shared> {
        let (bound, count) = (self.clone(), self.sockets.len());
        let first = worker.checked_rem(count.min(workers)).unwrap_or_default();
        let first = if count < workers { first } else { worker };
        (first..count).step_by(workers.max(1)).map(move |index| Shared {
            bound: bound.clone(),
            index,
            is_common: count < workers,
        })
    }
}

/// One socket of a listener.
#[derive(Clone, Debug)]
pub struct Shared {
    bound: Arc<Bound>,
    index: usize,
    is_common: bool,
}

impl Shared {
    /// Takes the next connection out of the queue, and says where its other end is; a unix socket has no address. Does not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is none.
    pub fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        let socket = self.bound.sockets.get(self.index).ok_or(io::ErrorKind::NotFound)?;
        let (stream, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        if self.bound.file.is_some() {
            return Ok((stream, None));
        }
        let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).ok_or(io::ErrorKind::ConnectionAborted)?;
        Ok((stream, Some(peer)))
    }

    /// Whether nobody can connect any more, and who has begun to may be waited for.
    pub fn is_retired(&self) -> bool {
        self.bound.retired.load(Ordering::Relaxed)
    }

    /// Whether other workers accept from it, too.
    pub fn is_common(&self) -> bool {
        self.is_common
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
    use std::net::{TcpListener as StdListener, TcpStream};

    use super::*;

    fn claim(address: impl Into<SocketAddr>) -> Claim {
        Claim { address: Address::Socket(address.into()), only_v6: false }
    }

    /// Where it is.
    fn place(bound: &Bound) -> SocketAddr {
        bound.address().socket().unwrap()
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
        assert!(TcpStream::connect(place(&bound)).is_err());
        bound.listen().unwrap();
        assert!(TcpStream::connect(place(&bound)).is_ok());
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
        let ports: Vec<_> =
            bound.sockets().iter().map(|socket| socket.local_addr().unwrap().as_socket().unwrap().port()).collect();
        assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    }

    #[test]
    fn sockets_of_another_process_are_completed_and_dealt_out() {
        for (workers, hands) in [(1, vec![2]), (2, vec![1, 1]), (3, vec![1, 1, 1])] {
            let old = free(2);
            let bound = Bound::inherited(old.configured.address.clone(), old.sockets, false).complete(workers);
            bound.listen().unwrap();
            let claims: Vec<_> = bound.sockets().iter().map(|socket| Claim::of(socket).unwrap()).collect();
            assert!(claims.iter().all(|claim| claim.address == bound.address()));
            let bound = Arc::new(bound);
            assert_eq!((0..workers).map(|it| bound.share(it, workers).count()).collect::<Vec<_>>(), hands);
        }
    }

    #[test]
    fn all_of_ipv6_goes_beside_all_of_ipv4_and_takes_both_alone() {
        let v4 = Bound::new(at("0.0.0.0:0"), 2, &[]).unwrap();
        v4.listen().unwrap();
        let both = claim(([0_u16; 8], place(&v4).port()));
        let beside = Claim { only_v6: true, ..both.clone() };
        let v6 = Bound::new(beside.clone(), 2, &[]).unwrap();
        v6.listen().unwrap();
        assert!(v6.serves(&beside) && !v6.serves(&both));

        let both = Bound::new(at("[::]:0"), 1, &[]).unwrap();
        both.listen().unwrap();
        assert!(TcpStream::connect(("127.0.0.1", place(&both).port())).is_ok());
    }

    #[test]
    fn one_of_our_own_may_share_a_port_with_one_that_is_about_to_go() {
        let old = Bound::new(at("0.0.0.0:0"), 2, &[]).unwrap();
        old.listen().unwrap();
        let port = place(&old).port();
        for wanted in [claim(([127, 0, 0, 1], port)), claim(([0_u16; 8], port))] {
            assert!(matches!(Bound::new(wanted.clone(), 2, &[]), Err(BindError::Taken)));
            Bound::new(wanted, 2, &[old.claim()]).unwrap().listen().unwrap();
        }
    }

    #[test]
    fn one_of_our_own_that_shares_with_none_is_not_said_to_be_somebody_elses() {
        let own = bind::bind_one("127.0.0.1:0".parse().unwrap(), false, &[]).unwrap();
        bind::listen(&own).unwrap();
        let claim = Claim::of(&own).unwrap();
        let error = Bound::new(claim.clone(), 1, std::slice::from_ref(&claim)).unwrap_err();
        assert!(matches!(&error, BindError::Own(own) if *own == claim), "{error}");
        bind::share(&own);
        Bound::new(claim.clone(), 1, &[claim]).unwrap().listen().unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn who_connects_when_sockets_are_retired_gets_to_their_successors() {
        let old = Arc::new(free(1));
        old.listen().unwrap();
        let address = place(&old);
        let waiting = TcpStream::connect(address).unwrap();
        let new = Arc::new(Bound::new(claim(([0, 0, 0, 0], address.port())), 1, &[old.claim()]).unwrap());
        new.listen().unwrap();
        assert!(old.retire());
        let next = TcpStream::connect(address).unwrap();
        for (bound, client) in [(&old, waiting), (&new, next)] {
            let socket = bound.share(0, 1).next().unwrap();
            assert_eq!(socket.accept().unwrap().1, client.local_addr().ok());
            assert!(socket.accept().is_err());
        }
        let claim = old.claim();
        assert!(!old.serves(&claim));
        let sockets = Arc::into_inner(old).unwrap().sockets;
        assert!(!Bound::inherited(address.into(), sockets, false).serves(&claim));
    }
    #[test]
    fn workers_accept_from_the_same_unix_socket_and_its_file_goes_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let wanted = Claim { address: Address::Unix(path.clone()), only_v6: false };
        let bound = Arc::new(Bound::new(wanted.clone(), 3, &[]).unwrap());
        bound.listen().unwrap();
        let _client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let shares: Vec<_> = (0..3).flat_map(|worker| bound.share(worker, 3)).collect();
        assert!(shares.len() == 3 && shares.iter().all(Shared::is_common));
        assert!(shares[2].accept().unwrap().1.is_none());
        assert!(shares[0].accept().is_err());
        assert!(bound.serves(&wanted));
        bound.retire();
        assert!(!path.exists() && !bound.serves(&wanted));
    }

    #[test]
    fn a_file_that_was_handed_over_goes_with_the_process_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let old = Bound::new(Claim { address: Address::Unix(path.clone()), only_v6: false }, 1, &[]).unwrap();
        old.listen().unwrap();
        let inherited = || {
            let sockets = old.sockets().iter().map(|socket| socket.try_clone().unwrap()).collect();
            Bound::inherited(Address::Unix(path.clone()), sockets, false)
        };
        // One that comes to nothing leaves everything as it was.
        drop(inherited());
        assert!(path.exists());
        let new = inherited();
        new.listen().unwrap();
        old.leave();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }
}
