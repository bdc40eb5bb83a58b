//! Making sockets that have an address and do not listen yet, and why that may fail.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;

use super::{Address, Claim, listening};

/// Why nobody can connect to an address.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else's socket listens there.
    #[error("another process listens there")]
    Taken,
    /// One of our own does, which shares its port with none.
    #[error("this proxy itself listens on {0}")]
    Own(Claim),
    /// A socket has the port that does not listen.
    #[error("the port is in use by a socket that does not listen")]
    InUse,
    /// It belongs to nobody here.
    #[error("this machine has no such address")]
    NoSuchAddress,
    /// It is a unix socket's, and what stands there is none.
    #[error("there is a file that is no socket")]
    NoSocket,
    /// It is a unix socket's, in a directory that is not there.
    #[error("its directory does not exist")]
    NoDirectory,
    /// It is a unix socket's, and the one that stands there cannot be connected to.
    #[error("whether somebody listens there cannot be found out: {0}")]
    Unknown(io::Error),
    /// The file of a unix socket does not become whose it has to be.
    #[error("the file cannot be given its mode, owner and group: {0}")]
    Rights(io::Error),
    /// The port is below those that everybody may take.
    #[error("a port below 1024 needs a privilege")]
    Privileged,
    /// Anything else.
    #[error("{0}")]
    System(#[from] io::Error),
}

impl BindError {
    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Taken => "stop it, or change `listen`",
            Self::Own(_) => "change `listen`; or keep it, and upgrade (SIGUSR2) or restart the process",
            Self::InUse | Self::NoSuchAddress => "change `listen`",
            Self::NoSocket => "change `listen`, or remove the file",
            Self::NoDirectory => "make it, or change `listen`",
            Self::Unknown(_) => "remove the file if nobody does, or change `listen`",
            Self::Rights(_) => "leave out `owner` or `group`, or start as a user who may do that",
            Self::Privileged => "choose another in `listen`, or give the process CAP_NET_BIND_SERVICE",
            Self::System(_) => "",
        }
    }

    /// What an error of the system means for an address. `own` are those that this process has.
    pub(super) fn of(error: io::Error, wanted: &Claim, own: &[Claim]) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::in_use(wanted, own),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress,
            io::ErrorKind::PermissionDenied if wanted.address.socket().is_some_and(|it| it.port() < PRIVILEGED) => {
                Self::Privileged
            }
            _ => Self::System(error),
        }
    }

    fn in_use(wanted: &Claim, own: &[Claim]) -> Self {
        let Some(mine) = own.iter().find(|own| own.overlaps(wanted)) else {
            let is_listened_on = wanted.address.socket().is_none_or(|wanted| is_listened_on(wanted.port()));
            return if is_listened_on { Self::Taken } else { Self::InUse };
        };
        // The system does not tell whether a socket of IPv6 takes IPv4, too.
        let is_foreign = |address: &SocketAddr| {
            let other = Claim { address: Address::Socket(*address), only_v6: false };
            other.overlaps(wanted) && !own.iter().any(|own| own.address == other.address)
        };
        let has_others = listening().is_some_and(|sockets| sockets.iter().any(is_foreign));
        if has_others { Self::Taken } else { Self::Own(mine.clone()) }
    }
}

/// Binds one socket for each worker.
pub(super) fn bind(
    (wanted, address): (&Claim, SocketAddr),
    workers: usize,
    own: &[Claim],
) -> Result<Vec<Socket>, BindError> {
    let only_v6 = wanted.only_v6;
    let bind = || {
        let is_own = own.iter().any(|own| own.overlaps(wanted));
        let address = if is_own { address } else { probe(address, only_v6)? };
        (0..workers.max(1)).map(|_| bind_shared(address, only_v6)).collect::<io::Result<Vec<_>>>()
    };
    bind().map_err(|error| BindError::of(error, wanted, own))
}

/// Binds one socket. It shares its address with no other, except for `own`, which this process has, or the one that it
/// replaces. Nobody can connect before it listens.
///
/// # Errors
/// When the address is taken, is not this machine's, or needs a privilege.
pub fn bind_one(address: SocketAddr, only_v6: bool, own: &[Claim]) -> Result<Socket, BindError> {
    let wanted = Claim { address: Address::Socket(address), only_v6 };
    let bind = || {
        if own.iter().any(|own| own.overlaps(&wanted)) {
            return bind_shared(address, only_v6);
        }
        let socket = unbound(address, only_v6)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        io::Result::Ok(socket)
    };
    bind().map_err(|error| BindError::of(error, &wanted, own))
}

/// Has a socket share its address with others of this user that do. Where the system does not, they cannot be bound.
pub fn share(socket: &impl AsFd) {
    let _ = SockRef::from(socket).set_reuse_port(true);
}

/// Whether a socket shares its address.
pub fn is_shared(socket: &impl AsFd) -> bool {
    SockRef::from(socket).reuse_port().unwrap_or(false)
}

/// Has a socket of [`bind_one`] listen; one that does already goes on.
///
/// # Errors
/// When the address was taken meanwhile.
pub fn listen(socket: &impl AsFd) -> Result<(), BindError> {
    let claim = Claim::of(socket)?;
    SockRef::from(socket).listen(BACKLOG_ALONE).map_err(|error| BindError::of(error, &claim, &[]))
}

/// Finds out whether the port is taken by somebody else, and which one it is: with SO_REUSEPORT alone, a second process
/// of the same user would quietly share it.
pub(super) fn probe(wanted: SocketAddr, only_v6: bool) -> io::Result<SocketAddr> {
    let probe = unbound(wanted, only_v6)?;
    probe.bind(&wanted.into())?;
    Ok(probe.local_addr()?.as_socket().unwrap_or(wanted))
}

/// Binds a socket beside others of the same port.
pub(super) fn bind_shared(wanted: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = unbound(wanted, only_v6)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&wanted.into())?;
    Ok(socket)
}

fn unbound(wanted: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if wanted.is_ipv6() && wanted.ip().is_unspecified() {
        // Said in either case, because systems differ in what they take for granted.
        socket.set_only_v6(only_v6)?;
    }
    Ok(socket)
}

/// Whether a socket listens on a port of this machine. Where the system does not tell, it is taken for granted.
fn is_listened_on(port: u16) -> bool {
    listening().is_none_or(|sockets| sockets.iter().any(|socket| socket.port() == port))
}

/// What is no listener for clients has few.
const BACKLOG_ALONE: i32 = 128;
const PRIVILEGED: u16 = 1024;
