//! One peer: what it says a piece at a time, and what it hears as far as it takes it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Dice;
use super::script::{Ending, Script};
use crate::peer::{MessageKind, Side};
use crate::transport::{Duplex, Transport};
use crate::ws::fuzz::written;
use crate::ws::{CloseFrame, FrameHeader, Growth, InflateLimits, Inflater, Opcode, SlidingWindow, extend_masked};

/// A peer.
pub(super) struct Peer {
    script: Script,
    line: Rc<RefCell<Line>>,
    said: usize,
    /// How many of its messages it says, if it was closed before the end.
    messages: usize,
    ended: bool,
    steps: u64,
    /// The most that the proxy gets at a time.
    piece: usize,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<_> = self.script.messages.iter().map(|it| (it.kind, it.payload.len())).collect();
        formatter.debug_struct("Peer").field("messages", &texts).field("ending", &self.script.ending).finish()
    }
}

/// What it has said in all.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) messages: usize,
    pub(super) controls: usize,
}

/// What lies between a peer and the proxy.
#[derive(Debug, Default)]
struct Line {
    to_proxy: VecDeque<u8>,
    read: usize,
    finished: bool,
    piece: usize,
    heard: Vec<u8>,
    /// When each part of it came, and how much was there then.
    times: Vec<(Instant, usize)>,
    /// How much more is taken for now.
    room: usize,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// The proxy's end.
#[derive(Debug)]
struct Socket(Rc<RefCell<Line>>);

/// What came, with the time at which its last byte did.
#[derive(Debug)]
pub(super) struct Heard {
    at: Instant,
    what: What,
}

#[derive(Debug)]
enum What {
    Message(MessageKind, Vec<u8>),
    Control(Opcode, Vec<u8>),
    Close(Option<u16>),
    /// Of the proxy's own, or a message that was cut off.
    Other,
}

impl Peer {
    pub(super) fn new(script: Script, dice: &mut Dice) -> Self {
        // The pieces of what is long are not so small that it takes all the steps there are.
        let least = script.wire.len() / 300;
        let piece = [1, 7, 100, 1 << 20, 1 << 20][dice.below(5)].max(least);
        let line = Line { piece: [3, 50, 1 << 20][dice.below(3)].max(least), ..Line::default() };
        let messages = script.messages.len();
        Self { script, line: Rc::new(RefCell::new(line)), said: 0, messages, ended: false, steps: 0, piece }
    }

    pub(super) fn side(&self) -> Side {
        self.script.from
    }

    pub(super) fn transport(&self) -> Transport {
        Transport::boxed(Socket(self.line.clone()))
    }

    pub(super) fn steps(&self) -> u64 {
        self.steps
    }

    /// How it ends; that it was closed by the other side before makes no difference.
    pub(super) fn ending(&self) -> Ending {
        self.script.ending
    }

    /// How many bytes the proxy has read of what it said.
    pub(super) fn read(&self) -> usize {
        self.line.borrow().read
    }

    /// What it says in all.
    pub(super) fn said(&self) -> Said {
        let all = self.messages == self.script.messages.len();
        let controls = if all { self.script.controls.len() } else { self.until().1 };
        Said { messages: self.messages, controls }
    }

    /// How many messages have ended within its first bytes.
    pub(super) fn messages_within(&self, bytes: usize) -> usize {
        self.script.ends.iter().take(self.messages).filter(|(end, _)| *end <= bytes).count()
    }

    /// Where it ends: after how many bytes and control frames.
    fn until(&self) -> (usize, usize) {
        self.messages.checked_sub(1).and_then(|last| self.script.ends.get(last)).copied().unwrap_or_default()
    }

    /// Says a bit more, or ends.
    pub(super) fn say(&mut self, dice: &mut Dice) {
        self.steps += 1;
        let until = if self.messages == self.script.messages.len() { self.script.wire.len() } else { self.until().0 };
        let len = (1 + dice.below(self.piece)).min(until.saturating_sub(self.said));
        let mut line = self.line.borrow_mut();
        line.to_proxy.extend(&self.script.wire[self.said..self.said + len]);
        self.said += len;
        if self.said >= until && !self.ended {
            self.ended = true;
            match self.script.ending {
                Ending::Close => line.to_proxy.extend(close(self.script.from)),
                Ending::Vanish => line.finished = true,
            }
        }
        wake(line.reader.take());
    }

    /// Takes a bit more.
    pub(super) fn take(&mut self, dice: &mut Dice) {
        self.steps += 1;
        let mut line = self.line.borrow_mut();
        line.room += [1, 20, 3000, 1 << 24][dice.below(4)];
        wake(line.writer.take());
    }

    /// Whether it has ended.
    pub(super) fn is_done(&self) -> bool {
        self.ended
    }

    /// Takes all that comes; once that is a close frame, stops behind the message under way, and answers.
    pub(super) fn finish(&mut self, dice: &mut Dice) {
        let is_closed = {
            let mut line = self.line.borrow_mut();
            line.room = 1 << 30;
            wake(line.writer.take());
            has_close(&line.heard)
        };
        if is_closed && !self.ended {
            let said = self.said;
            let whole = self.script.ends.iter().position(|(end, _)| *end >= said);
            self.messages = self.messages.min(whole.map_or(usize::MAX, |index| index + 1));
        }
        while !self.ended {
            self.say(dice);
        }
        let mut line = self.line.borrow_mut();
        // Whoever has closed leaves.
        if is_closed && !line.finished {
            line.finished = true;
            wake(line.reader.take());
        }
    }

    /// What came to it, from a sender with this window.
    pub(super) fn heard(&self, window: Option<SlidingWindow>) -> Vec<Heard> {
        let line = self.line.borrow();
        let frames = written(self.script.from.other(), window.is_some(), &line.heard);
        let mut inflater = window.map(Inflater::new);
        let (mut heard, mut position) = (Vec::new(), 0);
        let (mut kind, mut compressed, mut payload) = (MessageKind::Text, false, Vec::new());
        for frame in frames {
            let mut header = Vec::new();
            frame.header.encode(&mut header);
            position += header.len() + frame.payload.len();
            let came = line.times.partition_point(|(_, len)| *len < position);
            let at = line.times.get(came).map_or_else(Instant::now, |(at, _)| *at);
            let what = match frame.header.opcode {
                _ if !frame.is_whole() => What::Other,
                Opcode::Close => What::Close(CloseFrame::parse(&frame.payload).unwrap().map(|close| close.code)),
                Opcode::Ping | Opcode::Pong if frame.payload.starts_with(b"C") && frame.payload.len() < 8 => {
                    What::Control(frame.header.opcode, frame.payload)
                }
                Opcode::Ping | Opcode::Pong => What::Other,
                opcode => {
                    if opcode != Opcode::Continuation {
                        kind = if opcode == Opcode::Text { MessageKind::Text } else { MessageKind::Binary };
                        compressed = frame.header.reserved == FrameHeader::RSV1;
                    }
                    payload.extend_from_slice(&frame.payload);
                    if !frame.header.fin {
                        continue;
                    }
                    let plain = std::mem::take(&mut payload);
                    match (&mut inflater, window) {
                        (Some(inflater), Some(window)) if compressed => {
                            What::Message(kind, inflate(inflater, window, &plain))
                        }
                        _ => What::Message(kind, plain),
                    }
                }
            };
            heard.push(Heard { at, what });
        }
        heard
    }
}

fn inflate(inflater: &mut Inflater, window: SlidingWindow, bytes: &[u8]) -> Vec<u8> {
    if !window.takeover {
        inflater.reset();
    }
    let limits = InflateLimits { max_size: usize::MAX, max_ratio: None };
    let (mut growth, mut plain) = (Growth::new(limits), Vec::new());
    inflater.inflate(bytes, &mut growth, &mut plain).expect("the receiver can inflate it");
    inflater.finish(&mut growth, &mut plain).expect("the receiver can inflate it");
    plain
}

/// Whether there is a close frame among frames of which the last may be cut short.
fn has_close(mut frames: &[u8]) -> bool {
    while let Ok(Some((header, len))) = FrameHeader::parse(frames) {
        if header.opcode == Opcode::Close {
            return true;
        }
        frames = frames.get(len + usize::try_from(header.payload_len).unwrap()..).unwrap_or_default();
    }
    false
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn close(from: Side) -> Vec<u8> {
    let body = CloseFrame::new(3000, "bye").body();
    let mask = (from == Side::Client).then_some([1, 2, 3, 4]);
    let mut wire = Vec::new();
    FrameHeader { mask, ..FrameHeader::new(Opcode::Close, body.len() as u64) }.encode(&mut wire);
    match mask {
        Some(key) => extend_masked(&mut wire, &body, key),
        None => wire.extend_from_slice(&body),
    }
    wire
}

impl Heard {
    pub(super) fn is_close(&self) -> bool {
        matches!(self.what, What::Close(_))
    }

    pub(super) fn close_code(&self) -> Option<u16> {
        if let What::Close(code) = self.what { code } else { None }
    }

    pub(super) fn message(&self) -> Option<(MessageKind, &[u8])> {
        if let What::Message(kind, payload) = &self.what { Some((*kind, payload)) } else { None }
    }

    pub(super) fn control(&self) -> Option<(Opcode, &[u8])> {
        if let What::Control(opcode, payload) = &self.what { Some((*opcode, payload)) } else { None }
    }

    pub(super) fn came_at(&self) -> Instant {
        self.at
    }
}

impl Duplex for Socket {}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut line = self.0.borrow_mut();
        if line.to_proxy.is_empty() && !line.finished {
            line.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let len = line.to_proxy.len().min(buffer.remaining());
        let bytes: Vec<u8> = line.to_proxy.drain(..len).collect();
        buffer.put_slice(&bytes);
        line.read += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut line = self.0.borrow_mut();
        let len = line.room.min(line.piece).min(bytes.len());
        if len == 0 {
            line.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        line.room -= len;
        line.heard.extend_from_slice(&bytes[..len]);
        let heard = line.heard.len();
        line.times.push((Instant::now(), heard));
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
