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
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_domain, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown, socketpair,
};
use socket2::Socket;

use super::activation::Unfit;
use crate::listener::{self, Address, Bound, Claim};
use crate::tls::Keys;

/// Tells a process that its standard input is a link.
pub(super) const VARIABLE: &str = "TIDEGATE_HANDOVER";

/// One end of the pair between the two processes.
#[derive(Debug)]
pub(super) struct Link(OwnedFd);

/// What one process says to the other.
#[derive(Debug)]
enum Word {
    /// A socket of the listener with this number, which the configuration says listens there, and whether its file is lent.
    Listener(usize, Address, OwnedFd, bool),
    /// The socket of the admin API, and whether its file is lent.
    Admin(Address, OwnedFd, bool),
    /// What tickets of TLS sessions are made with.
    Keys(Keys),
    /// There are no more sockets.
    End,
    /// The new process can serve.
    Ready,
    /// The new process ends, and why.
    Failed(String),
    /// The new process shall serve, and then reload if that was asked for meanwhile.
    Go { reload: bool },
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
    /// Those that are no longer in force, and wait a moment for who has begun to connect.
    pub(super) closing: Vec<Weak<Bound>>,
    /// That of the admin API.
    pub(super) admin: Option<Arc<Bound>>,
}

impl Sockets {
    /// What they take.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.bound().chain(self.admin.clone()).map(|bound| bound.claim()).collect()
    }

    /// The same process with other listeners. Nobody can connect to those that are gone, from now on.
    pub(super) fn with(&self, listeners: Vec<Arc<Bound>>) -> Self {
        let is_kept = |bound: &Arc<Bound>| listeners.iter().any(|kept| Arc::ptr_eq(kept, bound));
        let gone = self.listeners.iter().filter(|bound| !is_kept(bound)).inspect(|bound| {
            bound.retire();
        });
        let before = self.closing.iter().filter(|bound| bound.strong_count() > 0).cloned();
        let closing = before.chain(gone.map(Arc::downgrade)).collect();
        Self { listeners, closing, admin: self.admin.clone() }
    }

    /// Leaves the files of unix sockets to the process that goes on with them.
    pub(super) fn leave(&self) {
        self.bound().chain(self.admin.clone()).for_each(|bound| bound.leave());
    }

    fn bound(&self) -> impl Iterator<Item = Arc<Bound>> {
        self.listeners.iter().cloned().chain(self.closing.iter().filter_map(Weak::upgrade))
    }
}

/// The sockets that another process has handed over, until somebody takes them.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    pub(super) listeners: Vec<Bound>,
    admin: Option<Bound>,
    /// Where it was a service manager: what it has opened beside these.
    pub(super) unfit: Option<Vec<Unfit>>,
    /// What tickets of TLS sessions are made with.
    pub(super) keys: Option<Keys>,
}

impl Inherited {
    /// Those that a service manager has opened for this process.
    pub(super) fn activated(listeners: Vec<Bound>, unfit: Vec<Unfit>) -> Self {
        Self { listeners, unfit: Some(unfit), ..Self::default() }
    }

    /// What they take.
    pub(super) fn claims(&self) -> Vec<Claim> {
        self.listeners.iter().chain(&self.admin).map(Bound::claim).collect()
    }

    /// The sockets that will do for this address, where there are any; they are then no longer here.
    pub(super) fn take_listener(&mut self, wanted: &Claim) -> Option<Bound> {
        let found = self.listeners.iter().position(|bound| bound.serves(wanted));
        found.map(|index| self.listeners.remove(index))
    }

    /// The socket of the admin API, if it listens there; otherwise, sockets of this process may from now on.
    pub(super) fn take_admin(&mut self, wanted: Option<Claim>) -> Option<Bound> {
        let is_wanted = |bound: &mut Bound| wanted.as_ref().is_some_and(|wanted| bound.serves(wanted));
        let taken = self.admin.take_if(is_wanted);
        if let Some(bound) = &self.admin {
            bound.sockets().iter().for_each(listener::share);
        }
        let activated = wanted.filter(|_| self.unfit.is_some());
        taken.or_else(|| self.take_listener(&activated?))
    }

    /// What nobody has taken: sockets of listeners, and that of the admin API.
    pub(super) fn into_leftover(self) -> (Vec<Bound>, Option<Bound>) {
        (self.listeners, self.admin)
    }
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

    /// Sends the sockets to a new process, and what it needs to resume the sessions of this one.
    ///
    /// # Errors
    /// When it has ended, or reads nothing for too long.
    pub(super) fn offer(&self, sockets: &Sockets, keys: &Keys) -> io::Result<()> {
        self.send(&format!("keys {}", keys.to_text()), None)?;
        for (number, bound) in sockets.bound().enumerate() {
            let verb = if bound.is_lent() { "lent" } else { "listener" };
            for socket in bound.sockets() {
                self.send(&format!("{verb} {number} {}", bound.configured()), Some(socket.as_fd()))?;
            }
        }
        if let Some(bound) = &sockets.admin {
            let verb = if bound.is_lent() { "lent-admin" } else { "admin" };
            for socket in bound.sockets() {
                self.send(&format!("{verb} {}", bound.configured()), Some(socket.as_fd()))?;
            }
        }
        self.send("end", None)
    }

    /// The sockets that the old process sends.
    ///
    /// # Errors
    /// When it has ended, or says something else.
    pub(super) fn take(&self) -> io::Result<Inherited> {
        let mut listeners: Vec<(Address, bool, Vec<Socket>)> = Vec::new();
        let (mut admin, mut keys, mut last) = (None, None, None);
        loop {
            match self.receive()? {
                Some(Word::Listener(number, address, socket, is_lent)) => {
                    if last != Some(number) {
                        listeners.push((address, is_lent, Vec::new()));
                    }
                    last = Some(number);
                    if let Some((.., sockets)) = listeners.last_mut() {
                        sockets.push(socket.into());
                    }
                }
                Some(Word::Keys(those)) => keys = Some(those),
                Some(Word::Admin(address, socket, is_lent)) => {
                    admin = Some(Bound::inherited(address, vec![socket.into()], is_lent));
                }
                Some(Word::End) => {
                    let bound = |(address, is_lent, sockets)| Bound::inherited(address, sockets, is_lent);
                    let listeners = listeners.into_iter().map(bound).collect();
                    return Ok(Inherited { listeners, admin, keys, unfit: None });
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

    /// Has the new process serve, and then reload if that was asked for meanwhile.
    pub(super) fn go(&self, reload: bool) -> io::Result<()> {
        self.send(if reload { "go reload" } else { "go" }, None)
    }

    /// Says that this process can serve, and waits for being told to; whether it shall reload then.
    ///
    /// # Errors
    /// When the old process has given this one up, or has ended.
    pub(super) fn ready(&self) -> io::Result<bool> {
        self.send("ready", None)?;
        match self.receive()? {
            Some(Word::Go { reload }) => Ok(reload),
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
        // What stands behind the verb may be secret.
        let verb = text.split(' ').next().unwrap_or_default();
        Word::parse(text, socket).map(Some).ok_or_else(|| unexpected(verb))
    }
}

impl Word {
    fn parse(text: &str, socket: Option<OwnedFd>) -> Option<Self> {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(match verb {
            "listener" | "lent" => {
                let (number, address) = rest.split_once(' ')?;
                Self::Listener(number.parse().ok()?, address.parse().ok()?, socket?, verb == "lent")
            }
            "admin" | "lent-admin" => Self::Admin(rest.parse().ok()?, socket?, verb == "lent-admin"),
            "keys" => Self::Keys(Keys::from_text(rest)?),
            "end" => Self::End,
            "ready" => Self::Ready,
            "failed" => Self::Failed(rest.to_owned()),
            "go" => Self::Go { reload: rest == "reload" },
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
    use std::net::SocketAddr;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn linked() -> (Link, Link) {
        let (ours, theirs) = Link::pair(PATIENCE).unwrap();
        (ours, Link(theirs))
    }

    fn claim(address: SocketAddr) -> Claim {
        Claim { address: address.into(), only_v6: false }
    }

    fn bound(address: &str, sockets: usize) -> Arc<Bound> {
        let bound = Bound::new(claim(address.parse().unwrap()), sockets, &[]).unwrap();
        bound.listen().unwrap();
        Arc::new(bound)
    }

    #[test]
    fn sockets_arrive_under_the_addresses_of_the_configuration() {
        let (old, new) = linked();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (first, second) = (bound("127.0.0.1:0", 2), bound("127.0.0.1:0", 1));
        let admin = Bound::alone(claim(any), &[]).unwrap();
        let place = |bound: &Bound| bound.address().socket().unwrap();
        let at = [place(&first), place(&second), place(&admin)];
        let sockets = Sockets { listeners: vec![first, second], admin: Some(Arc::new(admin)), ..Sockets::default() };

        old.offer(&sockets, &Keys::new().unwrap()).unwrap();
        let mut taken = new.take().unwrap();

        assert_eq!(taken.claims(), at.map(claim));
        assert!(taken.take_listener(&claim("127.0.0.1:1".parse().unwrap())).is_none());
        assert_eq!(taken.take_listener(&claim(at[1])).unwrap().sockets().len(), 1);
        let rest = taken.take_listener(&claim(any)).unwrap();
        assert_eq!((rest.sockets().len(), place(&rest)), (2, at[0]));
        assert!(taken.take_listener(&claim(any)).is_none());
        assert!(taken.take_admin(None).is_none());
        assert_eq!(place(&taken.take_admin(Some(claim(any))).unwrap()), at[2]);
        assert!(taken.take_admin(Some(claim(any))).is_none());
    }

    #[test]
    fn the_new_process_serves_once_it_is_told_to_and_knows_whether_to_reload() {
        for reload in [false, true] {
            let (old, new) = linked();
            let waiting = std::thread::spawn(move || new.ready().unwrap());
            assert!(matches!(old.answer(), Answer::Ready));
            old.go(reload).unwrap();
            assert_eq!(waiting.join().unwrap(), reload);
        }
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
