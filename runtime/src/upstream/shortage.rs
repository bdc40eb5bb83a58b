//! What fails for want of something of this machine speaks against nobody.

use std::io;

use rustix::io::Errno;

/// Whether an error is of this machine: it has no descriptor, port, buffer or memory left.
pub(super) fn is_shortage(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| SHORTAGES.iter().any(|short| short.raw_os_error() == code))
}

const SHORTAGES: [Errno; 5] = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
