//! Sockets for which the kernel keeps little, at both ends.
//!
//! Left alone, it lets buffers grow by megabytes for each connection, and drops segments when that gets too much for the
//! machine. A bound on our own buffers is not enough: what the far end may have in flight is counted in segments, and
//! those of the loopback have 64 KiB. With segments as on a network, a proxy feels a slow reader as early as there.

use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// Bytes of each buffer of a small socket.
pub const SOCKET_BUFFER: usize = 128 * 1024;

/// Applies to a socket that is not connected yet, or to one that listens and all that it accepts.
pub fn shrink(socket: SockRef<'_>, bytes: usize) -> io::Result<()> {
    socket.set_recv_buffer_size(bytes)?;
    socket.set_send_buffer_size(bytes)?;
    socket.set_tcp_mss(ETHERNET_SEGMENT)
}

/// Begins to connect.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    shrink(SockRef::from(&socket), SOCKET_BUFFER)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::errno::Errno::EINPROGRESS as i32) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

const ETHERNET_SEGMENT: u32 = 1448;
