//! A WebSocket with an upstream, whose client we are.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};

use futures_util::{Sink, Stream};
use thiserror::Error;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::passage::Outer;

/// A WebSocket with an upstream. It answers pings while it is [waited for](Self::next).
#[derive(Debug)]
pub struct Line(WebSocketStream<Outer>);

/// The WebSocket has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the connection to the upstream has ended")]
pub struct Ended;

impl Line {
    /// Speaks from here on, after the handshake; messages of more bytes than these end it.
    pub async fn new(stream: Outer, max_message_size: usize) -> Self {
        let config = config(max_message_size);
        Self(WebSocketStream::from_raw_socket(stream, Role::Client, Some(config)).await)
    }

    /// Sends a message, and waits until it is written to the upstream's socket. What the upstream says meanwhile is `heard`, with
    /// whether that may be about the message; once there is no room for more of it, which `heard` says, the rest is left for
    /// [`next`](Self::next).
    ///
    /// # Errors
    /// When it is not known whether it was.
    pub async fn send(&mut self, message: Message, mut heard: impl FnMut(Message, bool) -> bool) -> Result<(), Ended> {
        let (mut is_given, mut has_room) = (false, true);
        let mut message = Some(message);
        poll_fn(|context| {
            // First, for an end that was told before the message was taken.
            while has_room && let Poll::Ready(said) = self.poll_next(context) {
                match said {
                    Some(said) => has_room = heard(said, is_given),
                    None => return Poll::Ready(Err(Ended)),
                }
            }
            if !is_given {
                match self.poll_give(context, &mut message) {
                    Poll::Ready(Ok(())) => is_given = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Ended)),
                    Poll::Pending => return Poll::Pending,
                }
            }
            match self.0.get_ref().poll_passed(context) {
                Poll::Ready(true) => Poll::Ready(Ok(())),
                Poll::Ready(false) => Poll::Ready(Err(Ended)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    fn poll_give(&mut self, context: &mut Context<'_>, message: &mut Option<Message>) -> Poll<Result<(), Error>> {
        let mut stream = pin!(&mut self.0);
        if message.is_some() {
            ready!(stream.as_mut().poll_ready(context))?;
            if let Some(message) = message.take() {
                stream.as_mut().start_send(message)?;
            }
        }
        stream.poll_flush(context)
    }

    /// The next message of the upstream; `None`: it has ended.
    pub async fn next(&mut self) -> Option<Message> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// The same, once.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Message>> {
        loop {
            let next = ready!(pin!(&mut self.0).poll_next(context));
            match next {
                Some(Ok(message @ (Message::Text(_) | Message::Binary(_)))) => return Poll::Ready(Some(message)),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for Line {
    /// Says that nothing more comes, which the stream has room for whoever reads it.
    fn drop(&mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let mut stream = pin!(&mut self.0);
        // Who is gone already has nothing to be told.
        if stream.as_mut().start_send(Message::Close(None)).is_ok() {
            let _ = stream.poll_flush(&mut context);
        }
    }
}

/// How either end of a WebSocket in this process speaks: messages of more bytes than these end it.
pub(super) fn config(max_message_size: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_message_size(Some(max_message_size))
        .max_frame_size(Some(max_message_size))
}

/// Small, because connections idle for hours.
const READ_BUFFER: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt, StreamExt};

    use super::super::passage::{Inner, passage};
    use super::*;

    async fn joined() -> (Line, WebSocketStream<Inner>) {
        let (inner, outer) = passage();
        let upstream = WebSocketStream::from_raw_socket(inner, Role::Server, None).await;
        (Line::new(outer, 1 << 20).await, upstream)
    }

    fn text(text: &str) -> Message {
        Message::text(text)
    }

    #[tokio::test]
    async fn a_message_is_sent_once_the_other_side_has_asked_for_more() {
        let (mut line, mut upstream) = joined().await;
        let sent = line.send(text("up"), |_, _| true);
        let asking = async {
            let came = upstream.next().await.unwrap().unwrap();
            // Asks for more, until something comes.
            tokio::select! {
                biased;
                _ = upstream.next() => unreachable!("nothing more is sent"),
                () = std::future::ready(()) => {}
            }
            came
        };
        let mut sent = pin!(sent);
        let came = tokio::select! {
            _ = sent.as_mut() => unreachable!("nobody has asked for more"),
            came = asking => came,
        };
        assert_eq!(came, text("up"));
        let (sent, ()) = tokio::join!(sent, async {
            tokio::select! {
                _ = upstream.next() => unreachable!("nothing more is sent"),
                () = tokio::task::yield_now() => {}
            }
        });
        sent.unwrap();
    }

    #[tokio::test]
    async fn a_message_is_not_known_to_be_sent_when_the_other_side_closes_first() {
        let (mut line, mut upstream) = joined().await;
        let mut heard = Vec::new();
        let closing = async {
            upstream.next().await.unwrap().unwrap();
            upstream.send(text("last")).await.unwrap();
            upstream.send(Message::Close(None)).await.unwrap();
        };
        let hear = |message, _| {
            heard.push(message);
            true
        };
        let (sent, ()) = tokio::join!(line.send(text("up"), hear), closing);
        assert_eq!((sent, heard), (Err(Ended), vec![text("last")]));
    }

    #[tokio::test]
    async fn no_more_is_heard_while_a_message_is_sent_than_there_is_room_for() {
        let (mut line, mut upstream) = joined().await;
        for said in ["one", "two", "three"] {
            upstream.send(text(said)).await.unwrap();
        }
        let mut heard = Vec::new();
        let hear = |message, is_given| {
            heard.push((message, is_given));
            false
        };
        let taking = async {
            upstream.next().await.unwrap().unwrap();
            tokio::select! {
                _ = upstream.next() => unreachable!("nothing more is sent"),
                () = std::future::pending() => {}
            }
        };
        tokio::select! {
            sent = line.send(text("up"), hear) => sent.unwrap(),
            () = taking => unreachable!("it takes all that comes"),
        }
        assert_eq!(heard, [(text("one"), false)]);
        assert_eq!(line.next().await, Some(text("two")));
    }

    #[tokio::test]
    async fn pings_are_answered_while_the_next_message_is_waited_for() {
        let (mut line, mut upstream) = joined().await;
        let said = async {
            upstream.send(Message::Ping("alive".into())).await.unwrap();
            assert_eq!(upstream.next().await.unwrap().unwrap(), Message::Pong("alive".into()));
            upstream.send(text("down")).await.unwrap();
        };
        let (came, ()) = tokio::join!(line.next(), said);
        assert_eq!(came, Some(text("down")));
    }

    #[tokio::test]
    async fn a_line_that_is_dropped_says_that_it_closes() {
        let (line, mut upstream) = joined().await;
        drop(line);
        assert_eq!(upstream.next().await.unwrap().unwrap(), Message::Close(None));
    }
}
