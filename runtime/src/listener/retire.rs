//! Taking a socket that listens out of the kernel's choice, before it is closed.
//!
//! A socket that is closed resets who waits in its queue, and who is about to: there is no moment at which it is sure
//! that nobody does. One that is bound to an interface that does not exist is passed over for whoever connects from then
//! on, and others of its port are found; who had begun to connect comes to it as before.

use std::os::fd::{AsFd, AsRawFd};

/// Has a socket be passed over, for good. Whether the system does that.
#[cfg(target_os = "linux")]
pub fn retire(socket: &impl AsFd) -> bool {
    let size = libc::socklen_t::try_from(size_of_val(&NO_INTERFACE)).unwrap_or_default();
    #[expect(unsafe_code, reason = "no crate that we have knows this option")]
    // SAFETY: the pointer and the size are those of a static.
    let done = unsafe {
        let value = (&raw const NO_INTERFACE).cast();
        libc::setsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, value, size)
    };
    done == 0
}

/// Has a socket be passed over, for good. Whether the system does that.
#[cfg(not(target_os = "linux"))]
pub fn retire(_: &impl AsFd) -> bool {
    false
}

/// Whether this was done to a socket, by whatever process.
#[cfg(target_os = "linux")]
pub(super) fn is_retired(socket: &impl AsFd) -> bool {
    // Its interface has no name.
    let named = socket2::SockRef::from(socket).device();
    named.is_err_and(|error| error.raw_os_error() == Some(libc::ENODEV))
}

/// Whether this was done to a socket, by whatever process.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_retired(_: &impl AsFd) -> bool {
    false
}

/// The last that there could be.
#[cfg(target_os = "linux")]
static NO_INTERFACE: libc::c_int = libc::c_int::MAX;
