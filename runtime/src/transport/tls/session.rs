//! The two sides of a TLS connection without their socket: bytes in, bytes out.

use std::io;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, Error};

use crate::transport::Unwritten;

/// One side of a connection.
pub(super) enum Session {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// How far a session has come with what it was given.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// So many bytes of it are dealt with; the rest has to come again, with more behind it.
    pub(super) used: usize,
    /// The peer has said that it sends nothing more.
    pub(super) has_ended: bool,
}

impl Session {
    pub(super) fn common(&self) -> &CommonState {
        match self {
            Self::Server(session) => session,
            Self::Client(session) => session,
        }
    }

    /// Takes in what has come: plain bytes go to `open`, and what has to be answered is put to `sealed`, also where it fails.
    pub(super) fn advance(
        &mut self,
        incoming: &mut [u8],
        open: impl FnMut(&[u8]),
        sealed: &mut Unwritten,
    ) -> Result<Progress, Error> {
        match self {
            Self::Server(session) => {
                advance(|bytes, taking| taking.take(session.process_tls_records(bytes)), incoming, open, sealed)
            }
            Self::Client(session) => {
                advance(|bytes, taking| taking.take(session.process_tls_records(bytes)), incoming, open, sealed)
            }
        }
    }

    /// Writes records to the start of `room`, and gives their length. `received` is what has come and makes no whole: a
    /// session counts on finding it where it has left it.
    pub(super) fn write(&mut self, what: Written<'_>, room: &mut [u8], received: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Server(session) => write(session.process_tls_records(received), what, room),
            Self::Client(session) => write(session.process_tls_records(received), what, room),
        }
    }
}

/// What a session is asked to write.
pub(super) enum Written<'a> {
    /// These bytes, sealed.
    Plain(&'a [u8]),
    /// That nothing more comes.
    Close,
}

/// Where a step puts what it makes.
struct Taking<'a, O> {
    open: O,
    sealed: &'a mut Unwritten,
    progress: Progress,
}

/// What a step asks for.
enum Step {
    Again,
    Wait,
}

fn advance<O: FnMut(&[u8])>(
    mut process: impl FnMut(&mut [u8], &mut Taking<'_, O>) -> Result<Step, Error>,
    incoming: &mut [u8],
    open: O,
    sealed: &mut Unwritten,
) -> Result<Progress, Error> {
    let mut taking = Taking { open, sealed, progress: Progress::default() };
    loop {
        let rest = incoming.get_mut(taking.progress.used..).unwrap_or_default();
        match process(rest, &mut taking) {
            Ok(Step::Again) => {}
            Ok(Step::Wait) => return Ok(taking.progress),
            Err(error) => {
                // What the peer is to be told of it is the next that comes.
                let rest = incoming.get_mut(taking.progress.used..).unwrap_or_default();
                let _ = process(rest, &mut taking);
                return Err(error);
            }
        }
    }
}

impl<O: FnMut(&[u8])> Taking<'_, O> {
    fn take<D>(&mut self, status: UnbufferedStatus<'_, '_, D>) -> Result<Step, Error> {
        let UnbufferedStatus { discard, state } = status;
        // Also where it fails: what is dealt with does not come again.
        self.progress.used += discard;
        match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    self.progress.used += record.discard;
                    (self.open)(record.payload);
                }
                Ok(Step::Again)
            }
            ConnectionState::EncodeTlsData(mut data) => {
                let mut record = Vec::new();
                while let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut record) {
                    record.resize(size.required_size, 0);
                }
                self.sealed.extend(&record);
                Ok(Step::Again)
            }
            // It goes the way of all that is sealed, in its order.
            ConnectionState::TransmitTlsData(data) => {
                data.done();
                Ok(Step::Again)
            }
            ConnectionState::PeerClosed => {
                self.progress.has_ended = true;
                Ok(Step::Again)
            }
            ConnectionState::Closed => {
                self.progress.has_ended = true;
                Ok(Step::Wait)
            }
            // Early data is not offered: it could be played again (RFC 8446 section 8).
            _ => Ok(Step::Wait),
        }
    }
}

fn write<D>(status: UnbufferedStatus<'_, '_, D>, what: Written<'_>, room: &mut [u8]) -> io::Result<usize> {
    let state = status.state.map_err(|error| io::Error::new(io::ErrorKind::BrokenPipe, error))?;
    let ConnectionState::WriteTraffic(mut traffic) = state else {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "the TLS connection takes nothing now"));
    };
    let written = match what {
        Written::Plain(plain) => traffic.encrypt(plain, room),
        Written::Close => traffic.queue_close_notify(room),
    };
    written.map_err(|error| io::Error::other(error.to_string()))
}
