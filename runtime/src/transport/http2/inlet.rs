//! What comes on a stream of HTTP/2, until it is taken on.
//!
//! The frames of all streams wait within the connection, each in an allocation that is many times as large as a small one,
//! and a connection that has too many of them is given up. So whoever drives the connection has an inlet [gather](Inlet::gather)
//! now and then what nobody reads: as bare bytes it takes no more than the window of its stream. Only what the reader took on
//! opens the window again.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::RecvStream;
use hyper::body::Frame;

use super::broken;
use crate::transport::Unwritten;

/// The receiving half of a stream. It belongs to one task at a time: only the last that waited for it is woken.
pub struct Inlet(RefCell<Coming>);

/// What a reader gets.
pub(super) enum Taken {
    /// So many bytes are in its room; none at the end.
    Copied(usize),
    /// Bytes of a frame, no more than the room would have held.
    Whole(Bytes),
}

struct Coming {
    stream: RecvStream,
    /// What is left of the frame that is being read.
    frame: Bytes,
    /// What came behind it and was gathered.
    gathered: Unwritten,
    /// The peer sends nothing more.
    has_ended: bool,
    /// It never will, because of this.
    broken: Option<io::Error>,
    /// The task that waits.
    waker: Option<Waker>,
}

impl Inlet {
    /// That of a stream that was just opened.
    pub fn new(stream: RecvStream) -> Self {
        Self(RefCell::new(Coming {
            stream,
            frame: Bytes::new(),
            gathered: Unwritten::default(),
            has_ended: false,
            broken: None,
            waker: None,
        }))
    }

    /// Takes in what waits within the connection.
    pub fn gather(&self) {
        let mut coming = self.0.borrow_mut();
        // What this finds, the one who waits was woken for.
        let waker = coming.waker.clone();
        coming.gather(&Context::from_waker(waker.as_ref().unwrap_or(Waker::noop())));
    }

    /// The next part of the body of a request, or the trailers behind it; taken on as it is given.
    pub fn poll_frame(&self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut coming = self.0.borrow_mut();
        ready!(coming.poll_frame(context));
        let bytes = match coming.frame.is_empty() {
            false => std::mem::take(&mut coming.frame),
            true => Bytes::copy_from_slice(std::mem::take(&mut coming.gathered).bytes()),
        };
        if !bytes.is_empty() {
            let _ = coming.stream.flow_control().release_capacity(bytes.len());
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(error) = coming.broken.take() {
            return Poll::Ready(Some(Err(error)));
        }
        match ready!(coming.stream.poll_trailers(context)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) => Poll::Ready(Some(Err(broken(error)))),
        }
    }

    /// Whether nothing comes any more.
    pub fn is_over(&self) -> bool {
        let coming = self.0.borrow();
        coming.is_empty() && coming.broken.is_none() && coming.stream.is_end_stream()
    }

    /// Whether there is something to take, or an end.
    #[inline]
    pub(super) fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        self.0.borrow_mut().poll_frame(context)
    }

    /// Takes bytes on, for which the peer may send as many more.
    pub(super) fn poll_take(&self, context: &Context<'_>, room: &mut [u8]) -> Poll<io::Result<Taken>> {
        self.0.borrow_mut().poll_take(context, room)
    }

    /// Whether the peer has ended its half, told without taking anything on.
    pub(super) fn poll_end(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut coming = self.0.borrow_mut();
        coming.gather(context);
        match coming.broken.take() {
            Some(error) => Poll::Ready(Err(error)),
            None if coming.has_ended => Poll::Ready(Ok(())),
            None => Poll::Pending,
        }
    }
}

impl Coming {
    fn is_empty(&self) -> bool {
        self.frame.is_empty() && self.gathered.is_empty()
    }

    /// Ready when there is something to take, or an end.
    fn poll_frame(&mut self, context: &Context<'_>) -> Poll<()> {
        if !self.is_empty() {
            return Poll::Ready(());
        }
        match self.next(context) {
            Some(frame) => self.frame = frame,
            None if self.has_ended => {}
            None => return Poll::Pending,
        }
        Poll::Ready(())
    }

    /// The next frame of those that wait within the connection.
    fn next(&mut self, context: &Context<'_>) -> Option<Bytes> {
        while !self.has_ended {
            // What it wants of a context is the waker.
            match self.stream.poll_data(&mut Context::from_waker(context.waker())) {
                Poll::Ready(Some(Ok(frame))) if frame.is_empty() => {}
                Poll::Ready(Some(Ok(frame))) => return Some(frame),
                Poll::Ready(Some(Err(error))) => {
                    self.broken = Some(broken(error));
                    self.has_ended = true;
                }
                Poll::Ready(None) => self.has_ended = true,
                Poll::Pending => {
                    if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
                        self.waker = Some(context.waker().clone());
                    }
                    return None;
                }
            }
        }
        None
    }

    fn gather(&mut self, context: &Context<'_>) {
        while let Some(frame) = self.next(context) {
            self.gathered.extend(&frame);
        }
    }

    fn poll_take(&mut self, context: &Context<'_>, room: &mut [u8]) -> Poll<io::Result<Taken>> {
        if self.poll_frame(context).is_pending() {
            return Poll::Pending;
        }
        let taken = match self.frame.len() {
            0 => Taken::Copied(self.take_gathered(room)),
            length if length >= room.len() => Taken::Whole(self.frame.split_to(room.len())),
            length if length >= SMALL => self.take_large(context, room),
            _ => Taken::Copied(self.take_small(context, room)),
        };
        let count = match &taken {
            Taken::Copied(count) => *count,
            Taken::Whole(bytes) => bytes.len(),
        };
        if count == 0 {
            return Poll::Ready(self.broken.take().map_or(Ok(taken), Err));
        }
        // What was taken from the connection and not released is in there.
        let _ = self.stream.flow_control().release_capacity(count);
        Poll::Ready(Ok(taken))
    }

    fn take_gathered(&mut self, room: &mut [u8]) -> usize {
        let count = copy(self.gathered.bytes(), room);
        self.gathered.advance(count);
        if self.gathered.is_empty() {
            self.gathered = Unwritten::default();
        }
        count
    }

    /// Takes a frame as it came, if it is the only one; a copy costs less than to take each of several on by itself.
    fn take_large(&mut self, context: &Context<'_>, room: &mut [u8]) -> Taken {
        let following = if self.gathered.is_empty() { self.next(context) } else { None };
        match following {
            None => Taken::Whole(std::mem::take(&mut self.frame)),
            Some(following) => {
                let filled = copy(&std::mem::replace(&mut self.frame, following), room);
                Taken::Copied(filled + self.take_small(context, room.get_mut(filled..).unwrap_or_default()))
            }
        }
    }

    /// Takes frames as far as there is room for the whole of each.
    fn take_small(&mut self, context: &Context<'_>, room: &mut [u8]) -> usize {
        let mut filled = 0;
        loop {
            let rest = room.get_mut(filled..).unwrap_or_default();
            if self.frame.is_empty() || self.frame.len() > rest.len() {
                return filled;
            }
            filled += copy(&std::mem::take(&mut self.frame), rest);
            // What was gathered comes before what waits.
            if self.gathered.is_empty() {
                self.frame = self.next(context).unwrap_or_default();
            }
        }
    }
}

impl fmt::Debug for Inlet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inlet").finish_non_exhaustive()
    }
}

/// Copies as many bytes as there is room for, and gives how many.
fn copy(bytes: &[u8], room: &mut [u8]) -> usize {
    let count = bytes.len().min(room.len());
    if let (Some(room), Some(bytes)) = (room.get_mut(..count), bytes.get(..count)) {
        room.copy_from_slice(bytes);
    }
    count
}

/// Frames below this are worth a copy even where nothing follows yet.
const SMALL: usize = 4 << 10;
