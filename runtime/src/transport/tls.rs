//! TLS over a socket (RFC 8446, RFC 5246), by rustls.
//!
//! rustls keeps keys and states and owns no buffer here: what comes is read to room that all connections of the thread
//! share and opened there, what goes is sealed there and written at once. So a connection that is idle holds its keys, and
//! the part of a record that has come or that the socket has not taken, if there is one.

mod session;

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, CommonState, ServerConfig};
use thiserror::Error;

use self::session::{Progress, Session, Written};
use super::{End, Unwritten};
use crate::reactor::Socket;

/// A TLS connection over a socket. It belongs to one task at a time, as its socket does.
pub struct Tls {
    socket: Socket,
    session: Session,
    /// What has come and makes no whole record, or no whole message of the handshake.
    received: Vec<u8>,
    /// Plain bytes for which a reader had no room.
    opened: Unwritten,
    /// Records that the socket has not taken.
    sealed: Unwritten,
    /// The peer sends nothing more, by its word (RFC 8446 section 6.1) or by its socket's.
    has_ended: bool,
    /// We have said that we send nothing more.
    has_finished: bool,
}

/// Why there is no TLS connection.
#[derive(Debug, Error)]
pub enum HandshakeError {
    /// The peer left before it was done.
    #[error("the peer left within the TLS handshake")]
    Left,
    /// The socket broke.
    #[error("the connection broke within the TLS handshake: {0}")]
    Broken(io::Error),
    /// The two do not agree, or one does not believe the other.
    #[error("{0}")]
    Refused(rustls::Error),
}

impl Tls {
    /// The side that was connected to. Nothing is exchanged yet.
    ///
    /// # Errors
    /// When the configuration is none that can serve.
    pub fn accept(socket: Socket, config: Arc<ServerConfig>) -> Result<Self, HandshakeError> {
        let session = UnbufferedServerConnection::new(config).map_err(HandshakeError::Refused)?;
        Ok(Self::new(socket, Session::Server(session)))
    }

    /// The side that has connected, to a server of this name.
    ///
    /// # Errors
    /// When the configuration is none that can ask.
    pub fn connect(
        socket: Socket,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<Self, HandshakeError> {
        let session = UnbufferedClientConnection::new(config, name).map_err(HandshakeError::Refused)?;
        let mut tls = Self::new(socket, Session::Client(session));
        // A client speaks first: it has something to say before anything has come.
        tls.advance(&mut [], &mut [])?;
        Ok(tls)
    }

    fn new(socket: Socket, session: Session) -> Self {
        let (received, opened, sealed) = (Vec::new(), Unwritten::default(), Unwritten::default());
        Self { socket, session, received, opened, sealed, has_ended: false, has_finished: false }
    }

    /// What was agreed, once the handshake is done.
    pub fn agreed(&self) -> &CommonState {
        self.session.common()
    }

    /// Takes the handshake to its end. It has to be asked until it is ready; an alert that tells the peer of a failure is
    /// sent as far as the socket takes it at once.
    ///
    /// # Errors
    /// When the peer leaves or the two do not agree.
    pub fn poll_handshake(&mut self, context: &mut Context<'_>) -> Poll<Result<(), HandshakeError>> {
        loop {
            ready!(self.poll_unload(context)).map_err(HandshakeError::Broken)?;
            if !self.session.common().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.has_ended {
                return Poll::Ready(Err(HandshakeError::Left));
            }
            if let Err(error) = ready!(self.poll_come(context, &mut [])) {
                // What is left is the alert.
                let _ = self.poll_unload(context);
                return Poll::Ready(Err(error));
            }
        }
    }

    /// See [`Transport::poll_lend`](super::Transport::poll_lend).
    pub(super) fn poll_receive(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            let kept = self.opened.bytes();
            if !kept.is_empty() {
                let count = fill(room, kept);
                self.opened.advance(count);
                if self.opened.is_empty() {
                    self.opened = Unwritten::default();
                }
                return Poll::Ready(Ok(count));
            }
            if self.has_ended {
                return Poll::Ready(Ok(0));
            }
            match ready!(self.poll_come(context, room)) {
                Ok(0) => {}
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(error) => {
                    let _ = self.poll_unload(context);
                    return Poll::Ready(Err(error.into()));
                }
            }
        }
    }

    /// See [`Transport::poll_readable`](super::Transport::poll_readable).
    #[inline]
    pub(super) fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        if self.has_ended || !self.opened.is_empty() { Poll::Ready(()) } else { self.socket.poll_readable(context) }
    }

    /// See [`Transport::poll_send`](super::Transport::poll_send). What was taken is kept until the socket has it.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_unload(context))?;
        let bytes = bytes.get(..MOST_SEALED).unwrap_or(bytes);
        ROOM.with_borrow_mut(|room| {
            let sealing = room.sealing(bytes.len());
            let count = self.session.write(Written::Plain(bytes), sealing, &mut self.received)?;
            self.send(context, room.sealed(count))
        })?;
        Poll::Ready(Ok(bytes.len()))
    }

    /// Has what was taken leave.
    #[inline]
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_unload(context)
    }

    /// Says that we send nothing more.
    pub(super) fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_unload(context))?;
        if !std::mem::replace(&mut self.has_finished, true) {
            ROOM.with_borrow_mut(|room| {
                let count = self.session.write(Written::Close, room.sealing(0), &mut self.received)?;
                self.send(context, room.sealed(count))
            })?;
        }
        self.poll_unload(context)
    }

    /// The same, and ends the socket's sending half.
    pub(super) fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_farewell(context))?;
        Poll::Ready(self.socket.finish())
    }

    /// See [`Transport::poll_end`](super::Transport::poll_end).
    #[inline]
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        match self.socket.poll_end(context) {
            Poll::Pending if self.has_ended => Poll::Ready(End::Finished),
            polled => polled.map(|ended| ended.map_or_else(End::Broken, |()| End::Finished)),
        }
    }

    /// Reads once, puts what it opens into `room`, and keeps what has none there.
    fn poll_come(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<Result<usize, HandshakeError>> {
        ready!(self.socket.poll_readable(context));
        ROOM.with_borrow_mut(|shared| {
            let held = self.received.len();
            // So much that what it opens has room, and no less than a record.
            let most = room.len().clamp(RECORD, MOST_READ);
            let incoming = shared.reading(held + most);
            let Some((kept, free)) = incoming.split_at_mut_checked(held) else { return Poll::Ready(Ok(0)) };
            kept.copy_from_slice(&self.received);
            let count = match ready!(self.socket.poll_receive(context, free)) {
                Ok(0) => {
                    self.has_ended = true;
                    return Poll::Ready(Ok(0));
                }
                Ok(count) => count,
                Err(error) => return Poll::Ready(Err(HandshakeError::Broken(error))),
            };
            Poll::Ready(self.advance(incoming.get_mut(..held + count).unwrap_or_default(), room))
        })
    }

    /// Takes in what has come, and gives how many plain bytes are in `room`.
    fn advance(&mut self, incoming: &mut [u8], room: &mut [u8]) -> Result<usize, HandshakeError> {
        let mut filled = 0;
        let (opened, sealed) = (&mut self.opened, &mut self.sealed);
        let progress = self.session.advance(
            incoming,
            |plain| {
                let count = fill(room.get_mut(filled..).unwrap_or_default(), plain);
                filled += count;
                opened.extend(plain.get(count..).unwrap_or_default());
            },
            sealed,
        );
        let Progress { used, has_ended } = progress.map_err(HandshakeError::Refused)?;
        self.has_ended |= has_ended;
        let rest = incoming.get(used..).unwrap_or_default();
        if rest.len() > MOST_HELD {
            return Err(HandshakeError::Refused(rustls::Error::General(TOO_LONG.to_owned())));
        }
        keep(&mut self.received, rest);
        Ok(filled)
    }

    /// Writes what the socket takes of what is sealed; keeps the rest.
    fn send(&mut self, context: &mut Context<'_>, records: &[u8]) -> io::Result<()> {
        let mut rest = records;
        while !rest.is_empty() {
            match self.socket.poll_send(context, rest) {
                Poll::Ready(count) => rest = rest.get(count?..).unwrap_or_default(),
                Poll::Pending => break,
            }
        }
        self.sealed.extend(rest);
        Ok(())
    }

    /// Has what is sealed leave; ready when nothing is left.
    #[inline]
    fn poll_unload(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.sealed.room() == 0 {
            return Poll::Ready(Ok(()));
        }
        while !self.sealed.is_empty() {
            let count = ready!(self.socket.poll_send(context, self.sealed.bytes()))?;
            self.sealed.advance(count);
        }
        self.sealed = Unwritten::default();
        Poll::Ready(Ok(()))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tls").field("socket", &self.socket).finish_non_exhaustive()
    }
}

impl From<HandshakeError> for io::Error {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Left => io::ErrorKind::UnexpectedEof.into(),
            HandshakeError::Broken(error) => error,
            HandshakeError::Refused(error) => Self::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// Room that all connections of a thread share, because one reads or writes at a time.
#[derive(Default)]
struct Room {
    coming: Vec<u8>,
    going: Vec<u8>,
}

impl Room {
    /// So much room for what comes.
    fn reading(&mut self, size: usize) -> &mut [u8] {
        if self.coming.len() < size {
            self.coming.resize(size, 0);
        }
        self.coming.get_mut(..size).unwrap_or_default()
    }

    /// Room for so many plain bytes when they are sealed.
    fn sealing(&mut self, plain: usize) -> &mut [u8] {
        let size = plain + (plain / PAYLOAD + 2) * OVERHEAD;
        if self.going.len() < size {
            self.going.resize(size, 0);
        }
        &mut self.going
    }

    fn sealed(&self, count: usize) -> &[u8] {
        self.going.get(..count).unwrap_or_default()
    }
}

/// Copies as many bytes as there is room for, and gives how many.
fn fill(room: &mut [u8], bytes: &[u8]) -> usize {
    let count = bytes.len().min(room.len());
    if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
        room.copy_from_slice(bytes);
    }
    count
}

/// Keeps bytes where others were kept, and no room where there are none.
fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.is_empty() {
        *kept = Vec::new();
    } else {
        kept.clear();
        kept.extend_from_slice(bytes);
    }
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::default();
}

/// The most that is plain in a record (RFC 8446 section 5.1).
const PAYLOAD: usize = 16 << 10;
/// The most that a record has beyond it, in any version (RFC 5246 section 6.2.3, RFC 8446 section 5.2), or a message of its
/// own between two of them.
const OVERHEAD: usize = 320;
/// As much as a record may have in all.
const RECORD: usize = PAYLOAD + 2048 + 5;
/// The most that is read at once: what is opened goes to room that the reader has, mostly of this size.
const MOST_READ: usize = 256 << 10;
/// The most that is sealed before the socket has taken it.
const MOST_SEALED: usize = 64 << 10;
/// The most that is held of what makes no whole message: one of the handshake, and a record.
const MOST_HELD: usize = (64 << 10) + RECORD;
const TOO_LONG: &str = "a message of the handshake was longer than 64 KiB";

#[cfg(test)]
mod tests;
