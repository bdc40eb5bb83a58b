//! Making sockets that have an address and do not listen yet, and why that may fail.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use thiserror::Error;

use super::{listening, overlap};

/// Why nobody can connect to an address.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody else's socket listens there.
    #[error("another process listens there")]
    Taken,
    /// One of our own does.
    #[error("this proxy listens on {0} already")]
    Own(SocketAddr),
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
            Self::Own(_) | Self::InUse | Self::NoSuchAddress => "change `listen`",
            Self::Privileged => "choose another in `listen`, or give the process CAP_NET_BIND_SERVICE",
            Self::System(_) => "",
        }
    }

    /// What an error of the system means for an address. `own` are those that this process has.
    pub(super) fn of(error: io::Error, listen: SocketAddr, own: &[SocketAddr]) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => match own.iter().find(|own| overlap(**own, listen)) {
                Some(own) => Self::Own(*own),
                None if is_listened_on(listen.port()) => Self::Taken,
                None => Self::InUse,
            },
            io::ErrorKind::AddrNotAvailable => Self::NoSuchAddress,
            io::ErrorKind::PermissionDenied if listen.port() < PRIVILEGED => Self::Privileged,
            _ => Self::System(error),
        }
    }
}

/// Binds one socket for each worker.
pub(super) fn bind(
    listen: SocketAddr,
    only_v6: bool,
    workers: usize,
    own: &[SocketAddr],
) -> Result<Vec<StdListener>, BindError> {
    let bind = || {
        let listen = if own.iter().any(|own| overlap(*own, listen)) { listen } else { probe(listen, only_v6)? };
        (0..workers.max(1)).map(|_| bind_shared(listen, only_v6)).collect::<io::Result<Vec<_>>>()
    };
    bind().map_err(|error| BindError::of(error, listen, own))
}

/// Binds one socket that shares its address with no other. Nobody can connect before it listens.
///
/// # Errors
/// When the address is taken, is not this machine's, or needs a privilege.
pub fn bind_alone(listen: SocketAddr, only_v6: bool, own: &[SocketAddr]) -> Result<StdListener, BindError> {
    let bind = || {
        let socket = unbound(listen, only_v6)?;
        socket.set_nonblocking(true)?;
        socket.bind(&listen.into())?;
        io::Result::Ok(socket.into())
    };
    bind().map_err(|error| BindError::of(error, listen, own))
}

/// Has a socket that shares its address with no other listen; one that does already goes on.
///
/// # Errors
/// When the address was taken meanwhile.
pub fn listen(socket: &StdListener) -> Result<(), BindError> {
    let listen = || SockRef::from(socket).listen(BACKLOG_ALONE);
    let address = socket.local_addr()?;
    listen().map_err(|error| BindError::of(error, address, &[]))
}

/// Finds out whether the port is taken by somebody else, and which one it is: with SO_REUSEPORT alone, a second process
/// of the same user would quietly share it.
pub(super) fn probe(listen: SocketAddr, only_v6: bool) -> io::Result<SocketAddr> {
    let probe = unbound(listen, only_v6)?;
    probe.bind(&listen.into())?;
    Ok(probe.local_addr()?.as_socket().unwrap_or(listen))
}

/// Binds a socket beside others of the same port.
pub(super) fn bind_shared(listen: SocketAddr, only_v6: bool) -> io::Result<StdListener> {
    let socket = unbound(listen, only_v6)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&listen.into())?;
    Ok(socket.into())
}

/// Whether a socket takes no IPv4; one of IPv4 is none of those.
pub(super) fn is_only_v6(socket: &StdListener) -> bool {
    socket.local_addr().is_ok_and(|address| address.is_ipv6()) && SockRef::from(socket).only_v6().unwrap_or(false)
}

fn unbound(listen: SocketAddr, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(listen), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if listen.is_ipv6() && listen.ip().is_unspecified() {
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
