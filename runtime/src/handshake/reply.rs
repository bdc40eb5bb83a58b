//! An answer to a plain request as it is written without hyper: its length is known before it begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::{Response, header};
use hyper::body::Body;
use tokio::io::AsyncWrite;

use super::body::AnswerBody;
use super::http1::STALL;
use super::requests::WriteError;
use crate::http::{RelayError, date, fields, has_content};
use crate::reactor::{Sleep, sleep};

/// An answer, and how far it is written.
#[derive(Debug)]
pub(super) struct Reply {
    /// The head, and the start of the body where that was there with it.
    start: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// The next part of the body, as far as it is not written.
    part: Bytes,
    body: AnswerBody,
    /// How much of the body is still to come.
    left: u64,
    /// Until the client is not waited for any more.
    patience: Option<Sleep>,
}

impl Reply {
    /// How long the body of an answer is that is framed by that alone.
    pub(super) fn length(response: &Response<AnswerBody>) -> Option<u64> {
        let is_framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING]
            .iter()
            .any(|name| response.headers().contains_key(name));
        response.body().size_hint().exact().filter(|_| has_content(response.status()) && !is_framed)
    }

    /// An answer whose body has this [length](Self::length).
    pub(super) fn new(response: Response<AnswerBody>, length: u64) -> Self {
        let (head, body) = response.into_parts();
        let mut start = Vec::with_capacity(ROOM);
        let reason = head.status.canonical_reason().unwrap_or_default();
        for part in ["HTTP/1.1 ", head.status.as_str(), " ", reason, "\r\n"] {
            start.extend_from_slice(part.as_bytes());
        }
        fields::write_lines(&head.headers, &mut start);
        start.extend_from_slice(b"Content-Length: ");
        start.extend_from_slice(length.to_string().as_bytes());
        if !head.headers.contains_key(header::DATE) {
            start.extend_from_slice(b"\r\nDate: ");
            date(&mut start);
        }
        start.extend_from_slice(b"\r\n\r\n");
        Self { start, written: 0, part: Bytes::new(), body, left: length, patience: None }
    }

    /// Writes it down; ready when all of it is written, and nothing may follow it when that fails.
    pub(super) fn poll<S: AsyncWrite + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), WriteError>> {
        loop {
            let is_awaited = self.poll_part(context)?.is_pending();
            let start = self.start.get(self.written..).unwrap_or_default();
            let next = if start.is_empty() { &*self.part } else { start };
            if next.is_empty() {
                // Who is sent nothing has nothing to read.
                self.patience = None;
                let flushed = Pin::new(&mut *stream).poll_flush(context).map_err(WriteError::Broken)?;
                return if is_awaited { Poll::Pending } else { flushed.map(Ok) };
            }
            match Pin::new(&mut *stream).poll_write(context, next).map_err(WriteError::Broken)? {
                Poll::Ready(0) => return Poll::Ready(Err(WriteError::Broken(io::ErrorKind::WriteZero.into()))),
                Poll::Ready(count) if start.is_empty() => self.part.advance(count),
                Poll::Ready(count) => self.written += count,
                Poll::Pending => {
                    let patience = self.patience.get_or_insert_with(|| sleep(STALL));
                    return Pin::new(patience).poll(context).map(|()| Err(WriteError::Stalled));
                }
            }
            self.patience = None;
        }
    }

    /// Gets the next part of the body when the last is written; pending while there is none yet.
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        while self.part.is_empty() && self.left > 0 {
            // An empty one would keep the room that the next may have.
            self.part = Bytes::new();
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            let frame = frame.unwrap_or(Err(RelayError::Ended)).map_err(WriteError::Relayed)?;
            let Ok(part) = frame.into_data() else { continue };
            let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.left = self.left.checked_sub(length).ok_or(WriteError::Relayed(RelayError::Ended))?;
            // The first part goes with the head, in one write.
            match self.written == 0 && self.start.len() + part.len() <= ROOM {
                true => self.start.extend_from_slice(&part),
                false => self.part = part,
            }
        }
        Poll::Ready(Ok(()))
    }
}

/// What is written at once of a head and the start of a body.
const ROOM: usize = 4 << 10;
