//! A WebSocket with a client, whose server we are.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::{Poll, ready};

use futures_util::{Sink, Stream};
use thiserror::Error;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{self, Role};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::line::{Ended, config};
use super::passage::Outer;
use crate::ws::CloseFrame;

/// The server's end of a WebSocket. One part of a task may read while another one writes; pings are answered by who reads.
#[derive(Debug)]
pub struct Seat(RefCell<WebSocketStream<Outer>>);

/// Something for the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// A message.
    pub message: Option<Message>,
    /// The end, behind it; nothing comes after that.
    pub close: Option<CloseFrame>,
}

/// A message of the client is larger than it may be. There is no reading on behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a message is too large (max_message_size)")]
pub struct TooLarge;

impl Outgoing {
    /// The bytes of the message.
    pub fn len(&self) -> usize {
        self.message.as_ref().map_or(0, Message::len)
    }

    /// Whether it is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.message.is_none() && self.close.is_none()
    }
}

impl Seat {
    /// Speaks from here on, after the handshake; messages of more bytes than these end it.
    pub async fn new(stream: Outer, max_message_size: usize) -> Self {
        let config = config(max_message_size);
        Self(RefCell::new(WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await))
    }

    /// The next message of the client; `None`: it has ended, and was answered if it has closed.
    ///
    /// # Errors
    /// When the message is larger than it may be.
    pub async fn next(&self) -> Result<Option<Message>, TooLarge> {
        poll_fn(|context| {
            let mut stream = self.0.borrow_mut();
            loop {
                match ready!(std::pin::Pin::new(&mut *stream).poll_next(context)) {
                    Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => {
                        return Poll::Ready(Ok(Some(message)));
                    }
                    // The answer to a close goes out with the next look.
                    Some(Ok(_)) => {}
                    Some(Err(Error::Capacity(_))) => return Poll::Ready(Err(TooLarge)),
                    Some(Err(_)) | None => return Poll::Ready(Ok(None)),
                }
            }
        })
        .await
    }

    /// Sends something, and waits until it is on its way.
    ///
    /// # Errors
    /// When the client is not there any more.
    pub async fn send(&self, outgoing: Outgoing) -> Result<(), Ended> {
        let Outgoing { message, close } = outgoing;
        let close = close.map(|CloseFrame { code, reason }| {
            Message::Close(Some(protocol::CloseFrame { code: CloseCode::from(code), reason: reason.into() }))
        });
        for message in message.into_iter().chain(close) {
            self.give(message).await.map_err(|_| Ended)?;
        }
        Ok(())
    }

    async fn give(&self, message: Message) -> Result<(), Error> {
        let mut message = Some(message);
        poll_fn(|context| {
            let mut stream = self.0.borrow_mut();
            let mut stream = std::pin::Pin::new(&mut *stream);
            if message.is_some() {
                ready!(stream.as_mut().poll_ready(context))?;
                if let Some(message) = message.take() {
                    stream.as_mut().start_send(message)?;
                }
            }
            stream.poll_flush(context)
        })
        .await
    }
}
