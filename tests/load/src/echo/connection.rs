//! One connection of the echo server: how far its current frame has come, and what its client has not taken yet.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::TcpStream;

use crate::deflate;
use crate::frame::{self, FrameError, FrameHeader, Opcode};
use crate::handshake::{self, Head};
use crate::page;
use crate::totals::Totals;

#[derive(Debug)]
pub(super) struct EchoConnection {
    stream: TcpStream,
    stage: Stage,
    /// A head, a frame header or a control frame that one read did not complete.
    unread: Vec<u8>,
    unsent: Vec<u8>,
    written: usize,
    /// The socket may hold more than was read when the client stopped taking echoes.
    readable: bool,
    /// The kind of the fragmented message that is under way.
    kind: Option<Opcode>,
    /// Compressed messages were agreed to; they go back as they come.
    deflate: bool,
}

#[derive(Debug)]
enum Stage {
    Handshake,
    Frames,
    /// Inside the payload of a data frame.
    Payload {
        key: [u8; 4],
        offset: usize,
        remaining: u64,
    },
    /// Everything that will be sent is queued; nothing more is read.
    Closing,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Ended,
}

impl EchoConnection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            stage: Stage::Handshake,
            unread: Vec::new(),
            unsent: Vec::new(),
            written: 0,
            readable: false,
            kind: None,
            deflate: false,
        }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn ready(
        &mut self,
        totals: &mut Totals,
        scratch: &mut [u8],
        readable: bool,
        at_end: bool,
    ) -> io::Result<Outcome> {
        self.readable |= readable;
        if !self.flush()? {
            return Ok(Outcome::Open);
        }
        while self.readable && !matches!(self.stage, Stage::Closing) {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(Outcome::Ended),
                Ok(count) => {
                    self.readable = count == scratch.len() || at_end;
                    self.absorb(totals, &scratch[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if !self.flush()? {
                return Ok(Outcome::Open);
            }
        }
        if !matches!(self.stage, Stage::Closing) {
            return Ok(Outcome::Open);
        }
        // The server ends the TCP connection first (RFC 6455 section 7.1.1), so that clients keep no TIME_WAIT.
        let _ = self.stream.shutdown(Shutdown::Write);
        Ok(Outcome::Ended)
    }

    /// Whether everything is written.
    fn flush(&mut self) -> io::Result<bool> {
        while self.written < self.unsent.len() {
            match self.stream.write(&self.unsent[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // An idle connection owns no buffer, so that thousands of them say something about the proxy's memory only.
        if !self.unsent.is_empty() {
            self.unsent.clear();
            self.unsent.shrink_to(IDLE_CAPACITY);
            self.written = 0;
        }
        Ok(true)
    }

    fn absorb(&mut self, totals: &mut Totals, bytes: &[u8]) {
        let result = if self.unread.is_empty() {
            self.echo(totals, bytes).map(|used| self.unread.extend_from_slice(&bytes[used..]))
        } else {
            let mut unread = std::mem::take(&mut self.unread);
            unread.extend_from_slice(bytes);
            self.echo(totals, &unread).map(|used| {
                unread.drain(..used);
                self.unread = unread;
            })
        };
        if result.is_err() && !matches!(self.stage, Stage::Closing) {
            self.close(totals, &1002u16.to_be_bytes());
        }
    }

    /// Answers what is complete in `bytes` and returns how much that was.
    fn echo(&mut self, totals: &mut Totals, bytes: &[u8]) -> Result<usize, FrameError> {
        let mut used = 0;
        if matches!(self.stage, Stage::Handshake) {
            let Some(head) = Head::find(bytes) else { return Ok(0) };
            used = head.length;
            self.answer(totals, &head);
        }
        loop {
            match self.stage {
                Stage::Handshake => return Ok(used),
                Stage::Closing => return Ok(bytes.len()),
                Stage::Payload { key, offset, remaining } => {
                    let available = &bytes[used..];
                    let taken = usize::try_from(remaining).map_or(available.len(), |left| left.min(available.len()));
                    let start = self.unsent.len();
                    self.unsent.extend_from_slice(&available[..taken]);
                    frame::mask(&mut self.unsent[start..], key, offset);
                    used += taken;
                    let remaining = remaining - taken as u64;
                    if remaining > 0 {
                        self.stage = Stage::Payload { key, offset: (offset + taken) % 4, remaining };
                        return Ok(used);
                    }
                    self.stage = Stage::Frames;
                }
                Stage::Frames => {
                    let Some(header) = FrameHeader::parse(&bytes[used..])? else {
                        return Ok(used);
                    };
                    let Some(key) = header.mask else {
                        return Err(FrameError::WrongMask);
                    };
                    let start = used + header.length;
                    if header.opcode.is_control() {
                        let Some(payload) = bytes.get(start..start + header.payload as usize) else {
                            return Ok(used);
                        };
                        used = start + payload.len();
                        let mut payload = payload.to_vec();
                        frame::mask(&mut payload, key, 0);
                        self.control(totals, header.opcode, &payload);
                    } else {
                        self.start_frame(totals, &header)?;
                        used = start;
                        self.stage = Stage::Payload { key, offset: 0, remaining: header.payload };
                    }
                }
            }
        }
    }

    fn start_frame(&mut self, totals: &mut Totals, header: &FrameHeader) -> Result<(), FrameError> {
        let kind = match (self.kind, header.opcode) {
            (Some(kind), Opcode::Continuation) => kind,
            (None, Opcode::Text | Opcode::Binary) => header.opcode,
            _ => return Err(FrameError::FragmentOutOfPlace),
        };
        if header.compressed && !self.deflate {
            return Err(FrameError::ReservedBit);
        }
        self.kind = (!header.fin).then_some(kind);
        totals.received.frame(header.fin, kind, header.payload);
        totals.sent.frame(header.fin, kind, header.payload);
        let start = self.unsent.len();
        frame::write_header(&mut self.unsent, header.fin, header.opcode, header.payload, None);
        if header.compressed {
            frame::mark_compressed(&mut self.unsent, start);
        }
        Ok(())
    }

    fn control(&mut self, totals: &mut Totals, kind: Opcode, payload: &[u8]) {
        totals.received.frame(true, kind, payload.len() as u64);
        match kind {
            Opcode::Ping => {
                totals.sent.frame(true, Opcode::Pong, payload.len() as u64);
                frame::write_header(&mut self.unsent, true, Opcode::Pong, payload.len() as u64, None);
                self.unsent.extend_from_slice(payload);
            }
            Opcode::Close => {
                totals.received.close(frame::close_code(payload));
                self.close(totals, payload);
            }
            _ => {}
        }
    }

    fn close(&mut self, totals: &mut Totals, payload: &[u8]) {
        totals.sent.frame(true, Opcode::Close, payload.len() as u64);
        totals.sent.close(frame::close_code(payload));
        frame::write_header(&mut self.unsent, true, Opcode::Close, payload.len() as u64, None);
        self.unsent.extend_from_slice(payload);
        self.stage = Stage::Closing;
    }

    fn answer(&mut self, totals: &mut Totals, head: &Head<'_>) {
        if let Some(key) = head.header("Sec-WebSocket-Key") {
            totals.opened += 1;
            let deflate = head.header(handshake::EXTENSIONS).and_then(deflate::answer);
            self.deflate = deflate.is_some();
            let extensions =
                deflate.map_or_else(String::new, |agreed| format!("{}: {agreed}\r\n", handshake::EXTENSIONS));
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Accept: {}\r\n{extensions}\r\n",
                handshake::accept(key)
            );
            self.unsent.extend_from_slice(answer.as_bytes());
            self.stage = Stage::Frames;
        } else if let Some(number) = head.target().strip_prefix(page::PATH) {
            // The next request comes over the same connection.
            page::write(number, &mut self.unsent);
        } else {
            let body = serde_json::to_string(totals).unwrap_or_default();
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n\
                 {body}",
                body.len()
            );
            self.unsent.extend_from_slice(answer.as_bytes());
            self.stage = Stage::Closing;
        }
    }
}

const IDLE_CAPACITY: usize = 512;
