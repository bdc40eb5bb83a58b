//! One client connection, from its first byte to its last: handshake, masked frames out, verified echoes in.
//!
//! Nothing is kept of a message once it has been written: what comes back is checked against what its number says it
//! must be. Only the parts of a message that one read did not complete are buffered.

use std::collections::VecDeque;
use std::io::{self, Read, Write};

use mio::net::TcpStream;

use crate::clock;
use crate::deflate::{Deflate, Inflater};
use crate::frame::{self, FrameError, FrameHeader, Opcode};
use crate::handshake::{EXTENSIONS, Head, Request};
use crate::order::Order;
use crate::tools::Tools;
use crate::wire::Wire;

/// A client connection.
#[derive(Debug)]
pub struct Connection {
    /// Names this connection in its payloads.
    pub id: u32,
    wire: Wire,
    stage: Stage,
    unread: Vec<u8>,
    message: Vec<u8>,
    /// The kind of the message under way, and whether it is compressed.
    kind: Option<(Opcode, bool)>,
    /// Of the direction towards us, when messages may refer to earlier ones.
    inflater: Option<Box<Inflater>>,
    unsent: Vec<u8>,
    written: usize,
    sent: u64,
    order: Order,
    waiting: VecDeque<Waiting>,
    pings: u64,
    pongs: u64,
    reading: Reading,
}

/// Whether a connection takes what arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Reads until the socket is empty.
    Normal,
    /// Leaves everything in the socket, as a client does that hangs.
    Stopped,
}

/// What one readiness of a socket led to.
#[derive(Debug, Default)]
pub struct Progress {
    /// The handshake has been completed just now.
    pub opened: bool,
    /// Messages that came back.
    pub echoes: usize,
    /// The connection has ended as it should.
    pub ended: bool,
}

/// Why a connection ended although nobody asked it to.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The socket failed.
    #[error("socket: {}", .0.kind())]
    Socket(#[from] io::Error),
    /// End of stream without a closing handshake.
    #[error("ended without a closing handshake")]
    Ended,
    /// The peer began the closing handshake.
    #[error("closed by the peer with {0}")]
    Closed(u16),
    /// The answer to the opening handshake was not 101.
    #[error("answered with status {0}")]
    Refused(u16),
    /// Not an HTTP answer, or `Sec-WebSocket-Accept` is wrong.
    #[error("the answer to the handshake is wrong")]
    BadAnswer,
    /// The answer agrees to another compression than was offered, or to none.
    #[error("permessage-deflate was not negotiated")]
    NotNegotiated,
    /// The time allowed for it was over.
    #[error("still {0} when time was up")]
    Unfinished(&'static str),
    /// A frame that must not be.
    #[error("frame: {0}")]
    Frame(#[from] FrameError),
}

#[derive(Debug)]
enum Stage {
    Connecting,
    Handshaking {
        accept: String,
    },
    Open,
    /// Our close frame is sent; the end of the stream is expected.
    Closing,
    /// The peer closed first and unasked.
    ClosedByPeer(u16),
}

#[derive(Debug)]
struct Waiting {
    due: u64,
    sent: u64,
}

impl Connection {
    /// A connection over a socket that may still be connecting.
    pub fn new(id: u32, wire: Wire) -> Self {
        Self {
            id,
            wire,
            stage: Stage::Connecting,
            unread: Vec::new(),
            message: Vec::new(),
            kind: None,
            inflater: None,
            unsent: Vec::new(),
            written: 0,
            sent: 0,
            order: Order::default(),
            waiting: VecDeque::new(),
            pings: 0,
            pongs: 0,
            reading: Reading::Normal,
        }
    }

    /// The socket, for registration.
    pub fn stream(&mut self) -> &mut TcpStream {
        self.wire.socket()
    }

    /// Open and not closing.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open)
    }

    /// The opening handshake has been completed at some time.
    pub fn was_opened(&self) -> bool {
        !matches!(self.stage, Stage::Connecting | Stage::Handshaking { .. })
    }

    /// Messages sent so far, which is also the number of the next one.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Messages whose echo is still to come.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }

    /// Whether everything that came back so far is all there is to come.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.pings == self.pongs
    }

    /// Bytes that the socket did not take yet.
    pub fn unsent(&self) -> usize {
        self.unsent.len() - self.written
    }

    /// Stops or resumes reading; after resuming, call [`Self::ready`] as if the socket were readable.
    pub fn set_reading(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// Queues the next message, written with all that is queued by the next [`Self::flush`]. `due` is when it should
    /// have been sent, which is where its latency starts.
    pub fn send(&mut self, tools: &mut Tools, due: u64) {
        let kind = tools.payloads.opcode(self.sent);
        let size = tools.payloads.wire_size(self.id, self.sent);
        let (fragments, header) = (tools.fragments.clamp(1, size), self.unsent.len());
        if fragments == 1 {
            let key = tools.random.key();
            frame::write_header(&mut self.unsent, true, kind, size as u64, Some(key));
            let start = self.unsent.len();
            tools.payloads.write(self.id, self.sent, &mut self.unsent);
            frame::mask(&mut self.unsent[start..], key, 0);
            tools.totals.sent.frame(true, kind, size as u64);
        } else {
            let mut whole = Vec::with_capacity(size);
            tools.payloads.write(self.id, self.sent, &mut whole);
            let last = size.div_ceil(size.div_ceil(fragments)) - 1;
            for (place, part) in whole.chunks_mut(size.div_ceil(fragments)).enumerate() {
                let (key, fin) = (tools.random.key(), place == last);
                let opcode = if place == 0 { kind } else { Opcode::Continuation };
                frame::write_header(&mut self.unsent, fin, opcode, part.len() as u64, Some(key));
                frame::mask(part, key, 0);
                self.unsent.extend_from_slice(part);
                tools.totals.sent.frame(fin, kind, part.len() as u64);
            }
        }
        if tools.payloads.are_compressed() {
            frame::mark_compressed(&mut self.unsent, header);
        }
        self.sent += 1;
        self.waiting.push_back(Waiting { due, sent: clock::now() });
    }

    /// Queues a ping that carries its number.
    pub fn ping(&mut self, tools: &mut Tools) {
        let payload = self.pings.to_be_bytes();
        self.pings += 1;
        self.control(tools, Opcode::Ping, &payload);
    }

    /// Queues a close frame, `None` for an empty one; only the end of the stream is expected after its echo.
    pub fn close(&mut self, tools: &mut Tools, code: Option<u16>) {
        if !self.is_open() {
            return;
        }
        let payload = code.map(u16::to_be_bytes);
        self.control(tools, Opcode::Close, payload.as_ref().map_or(&[], |code| code.as_slice()));
        tools.totals.sent.close(code.unwrap_or(1005));
        self.stage = Stage::Closing;
    }

    /// Writes what is queued, as far as the socket takes it.
    pub fn flush(&mut self) -> Result<(), Broken> {
        while self.written < self.unsent.len() {
            match self.wire.write(&self.unsent[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.unsent.clear();
        self.written = 0;
        match self.wire.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Makes what progress a readiness allows: `readable` and `writable` are edges, `at_end` says that the peer has
    /// shut its side down. `scratch` is room to read into, shared by all connections.
    pub fn ready(
        &mut self,
        tools: &mut Tools,
        request: &Request,
        scratch: &mut [u8],
        readable: bool,
        writable: bool,
        at_end: bool,
    ) -> Result<Progress, Broken> {
        let mut progress = Progress::default();
        if writable {
            if matches!(self.stage, Stage::Connecting) {
                if let Some(error) = self.wire.socket().take_error()? {
                    return Err(error.into());
                }
                self.wire.socket().set_nodelay(true)?;
                let accept = request.write(&mut tools.random, &mut self.unsent);
                self.stage = Stage::Handshaking { accept };
            }
            self.flush()?;
        }
        if readable && self.reading == Reading::Normal {
            self.read(tools, scratch, at_end, &mut progress)?;
            // What could not be sent before the TLS handshake was done.
            if self.unsent() > 0 {
                self.flush()?;
            }
        }
        Ok(progress)
    }

    /// That its time is over, and where it stood.
    pub fn unfinished(&self) -> Broken {
        Broken::Unfinished(match self.stage {
            Stage::Connecting => "connecting",
            Stage::Handshaking { .. } => "in the opening handshake",
            Stage::Open => "open",
            Stage::Closing if self.waiting.is_empty() => "waiting for the end of the closing handshake",
            Stage::Closing => "waiting for echoes",
            Stage::ClosedByPeer(_) => "waiting for the end of the stream",
        })
    }

    /// Counts what is still missing once nothing more can come.
    pub fn finish(&mut self, tools: &mut Tools) {
        self.order.finish(self.sent, &mut tools.faults);
        tools.faults.lost += self.pings - self.pongs;
        self.pongs = self.pings;
    }

    fn read(
        &mut self,
        tools: &mut Tools,
        scratch: &mut [u8],
        at_end: bool,
        progress: &mut Progress,
    ) -> Result<(), Broken> {
        loop {
            match self.wire.read(scratch) {
                Ok(0) => {
                    progress.ended = true;
                    return match self.stage {
                        Stage::Closing => Ok(()),
                        Stage::ClosedByPeer(code) => Err(Broken::Closed(code)),
                        _ => Err(Broken::Ended),
                    };
                }
                Ok(count) => {
                    self.absorb(tools, &scratch[..count], progress)?;
                    // A short read has emptied the socket; only the end of the stream could hide behind it.
                    if count < scratch.len() && !at_end && !self.wire.may_hold_more() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn absorb(&mut self, tools: &mut Tools, bytes: &[u8], progress: &mut Progress) -> Result<(), Broken> {
        if self.unread.is_empty() {
            let used = self.parse(tools, bytes, progress)?;
            self.unread.extend_from_slice(&bytes[used..]);
        } else {
            let mut unread = std::mem::take(&mut self.unread);
            unread.extend_from_slice(bytes);
            let used = self.parse(tools, &unread, progress)?;
            unread.drain(..used);
            self.unread = unread;
        }
        Ok(())
    }

    fn parse(&mut self, tools: &mut Tools, bytes: &[u8], progress: &mut Progress) -> Result<usize, Broken> {
        let mut used = 0;
        if let Stage::Handshaking { accept } = &self.stage {
            let Some(head) = Head::find(bytes) else { return Ok(0) };
            match head.status() {
                Some(101) if head.header("Sec-WebSocket-Accept") == Some(accept) => {}
                Some(101) | None => return Err(Broken::BadAnswer),
                Some(status) => {
                    *tools.totals.refused.entry(status).or_default() += 1;
                    return Err(Broken::Refused(status));
                }
            }
            tools.totals.resumed += u64::from(self.wire.has_resumed());
            match (tools.deflate, head.header(EXTENSIONS)) {
                (None, None) => {}
                (Some(deflate), Some(answer)) if deflate.is_agreed_by(answer) => {
                    self.inflater = (deflate == Deflate::ContextTakeover).then(Box::default);
                }
                _ => return Err(Broken::NotNegotiated),
            }
            tools.totals.opened += 1;
            used = head.length;
            self.stage = Stage::Open;
            progress.opened = true;
        }
        let longest = tools.payloads.longest().max(125) as u64;
        let now = clock::now();
        while let Some(header) = FrameHeader::parse(&bytes[used..])? {
            if header.mask.is_some() {
                return Err(FrameError::WrongMask.into());
            }
            if header.payload > longest {
                return Err(FrameError::TooLong(header.payload).into());
            }
            let start = used + header.length;
            let Some(payload) = bytes.get(start..start + header.payload as usize) else {
                break;
            };
            used = start + payload.len();
            if header.opcode.is_control() {
                self.control_frame(tools, header.opcode, payload);
            } else {
                progress.echoes += usize::from(self.data_frame(tools, &header, payload, now)?);
            }
        }
        Ok(used)
    }

    /// Whether a message is complete.
    fn data_frame(
        &mut self,
        tools: &mut Tools,
        header: &FrameHeader,
        payload: &[u8],
        now: u64,
    ) -> Result<bool, FrameError> {
        let (kind, compressed) = match (self.kind, header.opcode) {
            (Some(started), Opcode::Continuation) => started,
            (None, Opcode::Text | Opcode::Binary) => (header.opcode, header.compressed),
            _ => return Err(FrameError::FragmentOutOfPlace),
        };
        if compressed && tools.deflate.is_none() {
            return Err(FrameError::ReservedBit);
        }
        tools.totals.received.frame(header.fin, kind, payload.len() as u64);
        if !header.fin || self.kind.is_some() {
            if (self.message.len() + payload.len()) > tools.payloads.longest() {
                return Err(FrameError::TooLong((self.message.len() + payload.len()) as u64));
            }
            self.message.extend_from_slice(payload);
            self.kind = Some((kind, compressed));
        }
        if !header.fin {
            return Ok(false);
        }
        if self.kind.take().is_some() {
            let mut message = std::mem::take(&mut self.message);
            self.check(tools, kind, compressed, &message)?;
            message.clear();
            self.message = message;
        } else {
            self.check(tools, kind, compressed, payload)?;
        }
        if let Some(waiting) = self.waiting.pop_front() {
            tools.echoed(waiting.due, waiting.sent, now);
        }
        Ok(true)
    }

    /// Checks a whole message. One that came back just as it was sent need not be inflated, unless later ones may refer
    /// to it.
    fn check(&mut self, tools: &mut Tools, kind: Opcode, compressed: bool, message: &[u8]) -> Result<(), FrameError> {
        let Tools { payloads, faults, inflater, recompressed, .. } = tools;
        let next = self.order.next();
        let as_sent = compressed && kind == payloads.opcode(next) && payloads.is_as_sent(self.id, next, message);
        *recompressed += u64::from(payloads.are_compressed() && !as_sent);
        let plain = match &mut self.inflater {
            _ if !compressed => message,
            None if as_sent => {
                self.order.accept();
                return Ok(());
            }
            None => {
                inflater.reset();
                inflater.message(message, payloads.size())?
            }
            Some(inflater) => inflater.message(message, payloads.size())?,
        };
        self.order.check(payloads, self.id, kind, plain, faults);
        Ok(())
    }

    fn control_frame(&mut self, tools: &mut Tools, kind: Opcode, payload: &[u8]) {
        tools.totals.received.frame(true, kind, payload.len() as u64);
        match kind {
            Opcode::Ping => self.control(tools, Opcode::Pong, payload),
            Opcode::Pong => {
                if payload != self.pongs.to_be_bytes() {
                    tools.faults.changed += 1;
                }
                self.pongs += 1;
            }
            Opcode::Close => {
                let code = frame::close_code(payload);
                tools.totals.received.close(code);
                if self.is_open() {
                    self.close(tools, (code != 1005).then_some(code));
                    self.stage = Stage::ClosedByPeer(code);
                }
            }
            _ => {}
        }
    }

    fn control(&mut self, tools: &mut Tools, kind: Opcode, payload: &[u8]) {
        let key = tools.random.key();
        frame::write_header(&mut self.unsent, true, kind, payload.len() as u64, Some(key));
        let start = self.unsent.len();
        self.unsent.extend_from_slice(payload);
        frame::mask(&mut self.unsent[start..], key, 0);
        tools.totals.sent.frame(true, kind, payload.len() as u64);
    }
}
