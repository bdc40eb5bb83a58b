//! Watching a socket that loops of other threads watch, too.
//!
//! Each of them would wake for each connection, and all but one in vain. The kernel can leave it at one of those that
//! sleep, and has all see it when none does.

use std::io;
use std::os::fd::RawFd;

use mio::{Registry, Token};

/// Has a loop be told of what can be read, or accepted, unless another one is.
#[cfg(target_os = "linux")]
pub(super) fn watch(registry: &Registry, socket: RawFd, token: Token) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let wanted = libc::EPOLLIN | libc::EPOLLET | libc::EPOLLEXCLUSIVE;
    let mut event = libc::epoll_event { events: wanted.cast_unsigned(), u64: token.0 as u64 };
    #[expect(unsafe_code, reason = "mio does not know this flag")]
    // SAFETY: the event is there for as long as the call lasts; a descriptor that is none is refused.
    let added = unsafe { libc::epoll_ctl(registry.as_raw_fd(), libc::EPOLL_CTL_ADD, socket, &raw mut event) };
    if added == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Has a loop be told of what can be read, or accepted.
#[cfg(not(target_os = "linux"))]
pub(super) fn watch(registry: &Registry, socket: RawFd, token: Token) -> io::Result<()> {
    registry.register(&mut mio::unix::SourceFd(&socket), token, mio::Interest::READABLE)
}
