//! Sockets that a service manager has opened for this process before it started it (sd_listen_fds(3)).
//!
//! They are known by where they listen: a listener of the configuration with that address gets them. What none has is
//! told, and closed.

use std::fmt;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_setfd};
use socket2::{Socket, Type};

use super::handover::Inherited;
use crate::listener::{Address, Bound, Claim};

/// The sockets that the process was started with.
#[derive(Debug, Default)]
pub struct Activation {
    listening: Vec<(Address, Vec<Socket>)>,
    unfit: Vec<Unfit>,
}

/// One that nobody can listen on.
#[derive(Debug)]
pub(super) struct Unfit {
    name: String,
    descriptor: RawFd,
    why: &'static str,
}

impl Activation {
    /// Takes them, and what tells of them out of the environment, so that no process takes them for its own that this one
    /// starts. To be called first of all, when there is no other thread yet.
    pub fn take() -> Self {
        let said = |name| std::env::var(name).unwrap_or_default();
        let is_for_us = said(PID).parse() == Ok(std::process::id());
        let count = said(COUNT).parse::<RawFd>().ok().filter(|_| is_for_us).unwrap_or_default().clamp(0, MOST);
        let names = said(NAMES);
        for name in [PID, COUNT, NAMES] {
            #[expect(unsafe_code, reason = "the standard library has no other way")]
            // SAFETY: nobody else reads the environment, because there is no other thread.
            unsafe {
                std::env::remove_var(name);
            }
        }
        let mut taken = Self::default();
        let mut names = names.split(':');
        for descriptor in FIRST..FIRST + count {
            let name = names.next().unwrap_or_default().to_owned();
            let unfit = |why| Unfit { name, descriptor, why };
            match taken.add(descriptor) {
                Ok(()) => {}
                Err(why) => taken.unfit.push(unfit(why)),
            }
        }
        taken
    }

    fn add(&mut self, descriptor: RawFd) -> Result<(), &'static str> {
        #[expect(unsafe_code, reason = "a number becomes a descriptor here")]
        // SAFETY: asking for its flags is allowed of any number; one that is open was opened for us, and nobody else in this
        // process has it.
        let socket: Socket = unsafe {
            if libc::fcntl(descriptor, libc::F_GETFD) < 0 {
                return Err("it is not open");
            }
            OwnedFd::from_raw_fd(descriptor).into()
        };
        // Else whoever this process starts would have it.
        fcntl_setfd(&socket, FdFlags::CLOEXEC).map_err(|_| "it cannot be set up")?;
        if socket.r#type().ok() != Some(Type::STREAM) || !socket.is_listener().unwrap_or(false) {
            return Err("it is no socket that listens for connections");
        }
        socket.set_nonblocking(true).map_err(|_| "it cannot be set up")?;
        let address = Claim::of(&socket).map_err(|_| "it has neither an address nor a path")?.address;
        match self.listening.iter_mut().find(|(known, _)| *known == address) {
            Some((_, sockets)) => sockets.push(socket),
            None => self.listening.push((address, vec![socket])),
        }
        Ok(())
    }

    /// As what another process has handed over. The files of unix sockets stay the service manager's.
    pub(super) fn into_inherited(self) -> Inherited {
        let bound = |(address, sockets)| Bound::inherited(address, sockets, true);
        Inherited::activated(self.listening.into_iter().map(bound).collect(), self.unfit)
    }
}

/// `5 (https): it is not open`
impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, descriptor, why } = self;
        match name.as_str() {
            "" => write!(f, "{descriptor}: {why}"),
            name => write!(f, "{descriptor} ({name}): {why}"),
        }
    }
}

const PID: &str = "LISTEN_PID";
const COUNT: &str = "LISTEN_FDS";
const NAMES: &str = "LISTEN_FDNAMES";
/// SD_LISTEN_FDS_START
const FIRST: RawFd = 3;
/// More than anybody has listeners.
const MOST: RawFd = 1024;
