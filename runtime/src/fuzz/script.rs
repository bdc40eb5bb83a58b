//! A socket that plays one peer: it says what it was told to, some bytes at a time, and hangs up.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::transport::Duplex;

/// The socket.
#[derive(Debug)]
pub(super) struct Script {
    says: Vec<u8>,
    said: usize,
    piece: usize,
    /// What was written to it.
    heard: Rc<RefCell<Vec<u8>>>,
    /// Whether every other attempt to read or write has to wait.
    hesitates: bool,
    waits: bool,
}

impl Script {
    /// Says `text`, at most `piece` bytes at a time, or all at once for 0. It is always ready, and takes everything.
    pub(super) fn new(text: &[u8], piece: u8) -> Self {
        Self {
            says: text.to_vec(),
            said: 0,
            piece: if piece == 0 { usize::MAX } else { usize::from(piece) },
            heard: Rc::default(),
            hesitates: false,
            waits: false,
        }
    }

    /// Takes no more at a time than it says, and lets every other attempt wait.
    pub(super) fn hesitating(self, hesitates: bool) -> Self {
        Self { hesitates, ..self }
    }

    /// What will have been written to it.
    pub(super) fn heard(&self) -> Rc<RefCell<Vec<u8>>> {
        Rc::clone(&self.heard)
    }

    /// What it would still say.
    pub(super) fn unsaid(&self) -> &[u8] {
        self.says.get(self.said..).unwrap_or_default()
    }

    /// Puts the answer to the key that was heard in the place of the example's, which no fuzzer could guess.
    fn accept(&mut self) {
        let heard = self.heard.borrow();
        let heard = String::from_utf8_lossy(&heard);
        let key = heard.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "));
        let place = self.says.windows(EXAMPLE.len()).position(|window| window == EXAMPLE);
        if let (Some(key), Some(place)) = (key, place) {
            let accept = derive_accept_key(key.as_bytes());
            self.says.splice(place..place + EXAMPLE.len(), accept.into_bytes());
        }
    }

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.waits = self.hesitates && !self.waits;
        if self.waits {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl Duplex for Script {}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_ready(context).is_pending() {
            return Poll::Pending;
        }
        if self.said == 0 {
            self.accept();
        }
        let len = self.piece.min(self.unsaid().len()).min(buffer.remaining());
        buffer.put_slice(self.unsaid().get(..len).unwrap_or_default());
        self.said += len;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.poll_ready(context).is_pending() {
            return Poll::Pending;
        }
        let taken = if self.hesitates { bytes.get(..self.piece).unwrap_or(bytes) } else { bytes };
        self.heard.borrow_mut().extend_from_slice(taken);
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The answer to the key of RFC 6455 section 1.3.
const EXAMPLE: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
