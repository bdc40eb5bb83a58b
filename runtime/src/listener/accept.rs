//! Taking connections out of a socket's queue.

use std::cell::RefCell;
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::task::{Poll, ready};

use rustix::io::Errno;

use super::bound::Shared;
use crate::reactor::Port;

/// One socket of a listener, on the worker that accepts from it.
#[derive(Debug)]
pub struct Acceptor {
    socket: Shared,
    port: Port,
}

impl Acceptor {
    /// For the loop of this thread, once somebody waits for a connection.
    pub fn new(socket: Shared) -> Self {
        let port = if socket.is_common() { Port::of_common() } else { Port::new() };
        Self { socket, port }
    }

    /// Waits for the next connection, and says where its other end is; a unix socket has no address. What went wrong with one that is gone already is passed over. Cancel safe.
    ///
    /// # Errors
    /// A shortage, of descriptors or of memory. The connection waits in the queue as before.
    pub async fn accept(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        poll_fn(|context| {
            loop {
                ready!(self.port.poll_read(&self.socket, context))?;
                match self.socket.accept() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.port.empty(),
                    Err(error) if is_about_one_connection(&error) => {}
                    accepted => return Poll::Ready(accepted),
                }
            }
        })
        .await
    }

    /// The connection that waits, if one does.
    ///
    /// # Errors
    /// Those of [`accept`](Self::accept), and `WouldBlock` when none waits.
    pub fn accept_now(&self) -> io::Result<(OwnedFd, Option<SocketAddr>)> {
        self.socket.accept()
    }

    /// Whether nobody can connect any more, and who has begun to may be waited for.
    pub fn is_retired(&self) -> bool {
        self.socket.is_retired()
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        // The listener may go on, elsewhere.
        self.port.leave(&self.socket);
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// A descriptor that is kept to be given up: where there is no other left, one connection at a time can be accepted and
/// told so.
#[derive(Debug)]
pub struct Shortage(RefCell<Option<File>>);

impl Shortage {
    /// With a descriptor in hand.
    pub fn new() -> Self {
        let shortage = Self(RefCell::new(None));
        shortage.take_back();
        shortage
    }

    /// Whether an error says that there are no more descriptors.
    pub fn is_one(error: &io::Error) -> bool {
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }

    /// Gives the descriptor up; whether there was one.
    pub fn give_up(&self) -> bool {
        self.0.take().is_some()
    }

    /// Takes a descriptor in hand again, if the system has one.
    pub fn take_back(&self) {
        let mut kept = self.0.borrow_mut();
        if kept.is_none() {
            *kept = File::open("/dev/null").ok();
        }
    }
}

impl Default for Shortage {
    fn default() -> Self {
        Self::new()
    }
}
