//! Making sockets that have an address and do not listen yet, and why that may fail.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;

use super::{Claim, listening};

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
            Self::Privileged => "choose another in `listen`, or give the process CAP_NET_BIND_SERVICE",
            Self::System(_) => "",
        }
    }

    /// What an error of the system means for an address. `own` are those that this process has.
    pub(super) fn of(error: io::Error, wanted: Claim, own: &[Claim]) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::in_use(wanted, own),
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress,
            io::ErrorKind::PermissionDenied if wanted.address.port() < PRIVILEGED => Self::Privileged,
            _ => Self::System(error),
        }
    }

    fn in_use(wanted: Claim, own: &[Claim]) -> Self {
        let Some(mine) = own.iter().find(|own| own.overlaps(&wanted)) else {
            return if is_listened_on(wanted.address.port()) { Self::Taken } else { Self::InUse };
        };
        // The system does not tell whether a socket of IPv6 takes IPv4, too.
        let is_foreign = |address: &SocketAddr| {
            let other = Claim { address: *address, only_v6: false };
            other.overlaps(&wanted) && !own.iter().any(|own| own.address == *address)
        };
        let has_others = listening().is_some_and(|sockets| sockets.iter().any(is_foreign));
        if has_others { Self::Taken } else { Self::Own(*mine) }
    }
}

/// Binds one socket for each worker.
pub(super) fn bind(wanted: Claim, workers: usize, own: &[Claim]) -> Result<Vec<StdListener>, BindError> {
    let bind = || {
        let is_own = own.iter().any(|own| own.overlaps(&wanted));
        let wanted = if is_own { wanted } else { probe(wanted)? };
        (0..workers.max(1)).map(|_| bind_shared(wanted)).collect::<io::Result<Vec<_>>>()
    };
    bind().map_err(|error| BindError::of(error, wanted, own))
}

/// Binds one socket. It shares its address with no other, except for `own`, which this process has, or the one that it
/// replaces. Nobody can connect before it listens.
///
/// # Errors
/// When the address is taken, is not this machine's, or needs a privilege.
pub fn bind_one(wanted: Claim, own: &[Claim]) -> Result<StdListener, BindError> {
    let bind = || {
        if own.iter().any(|own| own.overlaps(&wanted)) {
            return bind_shared(wanted);
        }
        let socket = unbound(wanted)?;
        socket.set_nonblocking(true)?;
        socket.bind(&wanted.address.into())?;
        io::Result::Ok(socket.into())
    };
    bind().map_err(|error| BindError::of(error, wanted, own))
}

/// Has a socket share its address with others of this user that do. Where the system does not, they cannot be bound.
pub fn share(socket: &StdListener) {
    let _ = SockRef::from(socket).set_reuse_port(true);
}

/// Whether a socket shares its address.
pub fn is_shared(socket: &StdListener) -> bool {
    SockRef::from(socket).reuse_port().unwrap_or(false)
}

/// Has a socket of [`bind_one`] listen; one that does already goes on.
///
/// # Errors
/// When the address was taken meanwhile.
pub fn listen(socket: &StdListener) -> Result<(), BindError> {
    let claim = Claim::of(socket)?;
    SockRef::from(socket).listen(BACKLOG_ALONE).map_err(|error| BindError::of(error, claim, &[]))
}

/// Finds out whether the port is taken by somebody else, and which one it is: with SO_REUSEPORT alone, a second process
/// of the same user would quietly share it.
pub(super) fn probe(wanted: Claim) -> io::Result<Claim> {
    let probe = unbound(wanted)?;
    probe.bind(&wanted.address.into())?;
    Ok(Claim { address: probe.local_addr()?.as_socket().unwrap_or(wanted.address), ..wanted })
}

/// Binds a socket beside others of the same port.
pub(super) fn bind_shared(wanted: Claim) -> io::Result<StdListener> {
    let socket = unbound(wanted)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&wanted.address.into())?;
    Ok(socket.into())
}

fn unbound(wanted: Claim) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(wanted.address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if wanted.address.is_ipv6() && wanted.address.ip().is_unspecified() {
        // Said in either case, because systems differ in what they take for granted.
        socket.set_only_v6(wanted.only_v6)?;
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
