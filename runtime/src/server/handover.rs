//! How a process hands its listening sockets to the one that replaces it: what they say to each other, and what the new
//! one finds.
//!
//! The new process gets one end of a socket pair as its standard input. The old one sends each socket over it, with the
//! address that the configuration names, and `end`. The new one answers `ready` once it has everything it needs to
//! serve, or `failed` and why; it accepts nothing before the old one has said `go`. So there is no moment at which both
//! or neither have decided to serve, and a new process that is given up has touched no connection.
//!
//! Sockets are shared and never bound anew, because a socket that is closed resets the connections that wait in it.
//! They travel as messages, so no descriptor is inherited but the standard ones, whatever else is open.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
};

use crate::listener::Bound;

/// Tells a process that its standard input is a link.
pub(super) const VARIABLE: &str = "TIDEGATE_HANDOVER";

/// One end of the pair between the two processes.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What one process says to the other.
#[derive(Debug)]
enum Word {
    /// A socket of the listener with this number, which the configuration says listens there.
    Listener(usize, SocketAddr, OwnedFd),
    /// The socket of the admin API.
    Admin(SocketAddr, OwnedFd),
    /// There are no more sockets.
    End,
    /// The new process can serve.
    Ready,
    /// The new process ends, and why.
    Failed(String),
    /// The new process shall serve.
    Go,
}

/// How a new process answered.
#[derive(Debug)]
pub(super) enum Answer {
    /// It can serve, and waits for being told to.
    Ready,
    /// It ends, and why.
    Failed(String),
    /// It has ended without a word.
    Gone,
    /// It took too long.
    Late,
}

/// The listening sockets of a process.
#[derive(Clone, Debug, Default)]
pub(super) struct Sockets {
    pub(super) listeners: Vec<Arc<Bound>>,
    /// With the address of the configuration.
    pub(super) admin: Option<(SocketAddr, Arc<StdListener>)>,
}

impl Sockets {
    /// The addresses that they have.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let admin = self.admin.iter().filter_map(|(_, socket)| socket.local_addr().ok());
        self.listeners.iter().map(|bound| bound.address()).chain(admin).collect()
    }
}

/// The sockets that another process has handed over, until somebody takes them.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    listeners: Vec<Bound>,
    admin: Option<(SocketAddr, StdListener)>,
}

impl Inherited {
    /// The addresses that they have.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let admin = self.admin.iter().filter_map(|(_, socket)| socket.local_addr().ok());
        self.listeners.iter().map(Bound::address).chain(admin).collect()
    }

    /// The sockets that will do for this address, where there are any; they are then no longer here.
    pub(super) fn take_listener(&mut self, wanted: SocketAddr, only_v6: bool) -> Option<Bound> {
        let found = self.listeners.iter().position(|bound| bound.serves(wanted, only_v6));
        found.map(|index| self.listeners.remove(index))
    }

    /// The socket of the admin API, if it listens there.
    pub(super) fn take_admin(&mut self, wanted: SocketAddr) -> Option<StdListener> {
        self.admin.take_if(|(address, socket)| *address == wanted || is_at(socket, wanted)).map(|(_, socket)| socket)
    }
}

fn is_at(socket: &StdListener, wanted: SocketAddr) -> bool {
    socket.local_addr().is_ok_and(|address| address == wanted)
}

impl Link {
    /// A pair: our end, and the standard input of a new process. Nothing on ours takes longer than `patience`.
    pub(super) fn pair(patience: Duration) -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(patience))?;
        set_socket_timeout(&ours, Timeout::Send, Some(patience))?;
        Ok((Self(ours), theirs))
    }

    /// The link to the process that this one replaces, if it does.
    ///
    /// # Errors
    /// When the environment says so and the standard input is something else.
    pub(super) fn inherited() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none() {
            return Ok(None);
        }
        let input = io::stdin();
        if socket_domain(input.as_fd())? != AddressFamily::UNIX || socket_type(&input)? != SocketType::SEQPACKET {
            return Err(io::Error::other("the standard input is no link"));
        }
        Ok(Some(Self(input.as_fd().try_clone_to_owned()?)))
    }

    /// Sends the sockets to a new process.
    ///
    /// # Errors
    /// When it has ended, or reads nothing for too long.
    pub(super) fn offer(&self, sockets: &Sockets) -> io::Result<()> {
        for (number, bound) in sockets.listeners.iter().enumerate() {
            for socket in bound.sockets() {
                self.send(&format!("listener {number} {}", bound.configured()), Some(socket.as_fd()))?;
            }
        }
        if let Some((address, socket)) = &sockets.admin {
            self.send(&format!("admin {address}"), Some(socket.as_fd()))?;
        }
        self.send("end", None)
    }

    /// The sockets that the old process sends.
    ///
    /// # Errors
    /// When it has ended, or says something else.
    pub(super) fn take(&self) -> io::Result<Inherited> {
        let mut listeners: Vec<(SocketAddr, Vec<StdListener>)> = Vec::new();
        let (mut admin, mut last) = (None, None);
        loop {
            match self.receive()? {
                Some(Word::Listener(number, address, socket)) => {
                    if last != Some(number) {
                        listeners.push((address, Vec::new()));
                    }
                    last = Some(number);
                    if let Some((_, sockets)) = listeners.last_mut() {
                        sockets.push(socket.into());
                    }
                }
                Some(Word::Admin(address, socket)) => admin = Some((address, socket.into())),
                Some(Word::End) => {
                    let bound = |(address, sockets)| Bound::inherited(address, sockets);
                    return Ok(Inherited { listeners: listeners.into_iter().map(bound).collect(), admin });
                }
                Some(_) => return Err(unexpected("no socket")),
                None => return Err(unexpected("the end")),
            }
        }
    }

    /// Waits for how the new process answers.
    pub(super) fn answer(&self) -> Answer {
        match self.receive() {
            Ok(Some(Word::Ready)) => Answer::Ready,
            Ok(Some(Word::Failed(why))) => Answer::Failed(why),
            Ok(_) => Answer::Gone,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Answer::Late,
            Err(_) => Answer::Gone,
        }
    }

    /// Waits until the new process has ended, or for too long.
    pub(super) fn until_gone(&self) {
        while matches!(self.receive(), Ok(Some(_))) {}
    }

    /// Has the new process serve.
    pub(super) fn go(&self) -> io::Result<()> {
        self.send("go", None)
    }

    /// Says that this process can serve, and waits for being told to.
    ///
    /// # Errors
    /// When the old process has given this one up, or has ended.
    pub(super) fn ready(&self) -> io::Result<()> {
        self.send("ready", None)?;
        match self.receive()? {
            Some(Word::Go) => Ok(()),
            _ => Err(unexpected("that this process is not wanted")),
        }
    }

    /// Says that this process cannot serve.
    pub(super) fn failed(&self, why: &str) {
        let mut end = why.len().min(MOST_WORDS - 16);
        while !why.is_char_boundary(end) {
            end -= 1;
        }
        // Who does not hear it sees the process end.
        let _ = self.send(&format!("failed {}", why.get(..end).unwrap_or_default()), None);
    }

    /// Ends all that anybody says or waits for on this link.
    pub(super) fn cut(&self) {
        let _ = shutdown(&self.0, Shutdown::Both);
    }

    fn send(&self, word: &str, socket: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let sockets: Vec<_> = socket.into_iter().collect();
        if !sockets.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("no room for a descriptor"));
        }
        sendmsg(&self.0, &[IoSlice::new(word.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next word; `None` when the other end is gone.
    fn receive(&self) -> io::Result<Option<Word>> {
        let mut bytes = [0; MOST_WORDS];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let flags = RecvFlags::CMSG_CLOEXEC;
            match recvmsg(&self.0, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
                Ok(received) => break received,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        let socket = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        if received.bytes == 0 {
            return Ok(None);
        }
        let text = bytes.get(..received.bytes).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        Word::parse(text, socket).map(Some).ok_or_else(|| unexpected(text))
    }
}

impl Word {
    fn parse(text: &str, socket: Option<OwnedFd>) -> Option<Self> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match verb {
            "listener" => {
                let (number, address) = rest.split_once(' ')?;
                Self::Listener(number.parse().ok()?, address.parse().ok()?, socket?)
            }
            "admin" => Self::Admin(rest.parse().ok()?, socket?),
            "end" => Self::End,
            "ready" => Self::Ready,
            "failed" => Self::Failed(rest.to_owned()),
            "go" => Self::Go,
            _ => return None,
        })
    }
}

fn unexpected(what: &str) -> io::Error {
    io::Error::other(format!("the other process said {what:?}"))
}

/// A list of problems may be long; its beginning will do.
const MOST_WORDS: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn linked() -> (Link, Link) {
        let (ours, theirs) = Link::pair(PATIENCE).unwrap();
        (ours, Link(theirs))
    }

    fn bound(address: &str, sockets: usize) -> Arc<Bound> {
        let bound = Bound::new(address.parse().unwrap(), false, sockets, &[]).unwrap();
        bound.listen().unwrap();
        Arc::new(bound)
    }

    #[test]
    fn sockets_arrive_under_the_addresses_of_the_configuration() {
        let (old, new) = linked();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (first, second) = (bound("127.0.0.1:0", 2), bound("127.0.0.1:0", 1));
        let admin = StdListener::bind(any).unwrap();
        let at = [first.address(), second.address(), admin.local_addr().unwrap()];
        let sockets = Sockets { listeners: vec![first, second], admin: Some((any, Arc::new(admin))) };

        old.offer(&sockets).unwrap();
        let mut taken = new.take().unwrap();

        assert_eq!(taken.addresses(), at);
        assert!(taken.take_listener("127.0.0.1:1".parse().unwrap(), false).is_none());
        assert_eq!(taken.take_listener(at[1], false).unwrap().sockets().len(), 1);
        let rest = taken.take_listener(any, false).unwrap();
        assert_eq!((rest.sockets().len(), rest.address()), (2, at[0]));
        assert!(taken.take_listener(any, false).is_none());
        assert_eq!(taken.take_admin(any).unwrap().local_addr().unwrap(), at[2]);
        assert!(taken.take_admin(any).is_none());
    }

    #[test]
    fn the_new_process_serves_once_it_is_told_to() {
        let (old, new) = linked();
        let waiting = std::thread::spawn(move || new.ready().is_ok());
        assert!(matches!(old.answer(), Answer::Ready));
        old.go().unwrap();
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_new_process_that_is_given_up_does_not_serve() {
        let (old, new) = linked();
        let waiting = std::thread::spawn(move || new.ready().is_err());
        assert!(matches!(old.answer(), Answer::Ready));
        drop(old);
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn why_a_new_process_fails_is_told_as_far_as_there_is_room() {
        let (old, new) = linked();
        new.failed(&"é".repeat(MOST_WORDS));
        let Answer::Failed(why) = old.answer() else { panic!("no reason") };
        assert!(why.len() > MOST_WORDS / 2 && why.chars().all(|character| character == 'é'));
        drop(new);
        assert!(matches!(old.answer(), Answer::Gone));
    }

    #[test]
    fn a_new_process_that_says_nothing_is_late() {
        let (ours, _theirs) = Link::pair(Duration::from_millis(1)).unwrap();
        assert!(matches!(ours.answer(), Answer::Late));
    }
}
