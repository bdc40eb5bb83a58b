//! Messages as server-sent events (HTML Living Standard, section 9.2).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio_tungstenite::tungstenite::Message;

use super::line::Line;
use crate::reactor::{Sleep, sleep};

/// The body of an answer that has each message of an upstream as an event, until the upstream ends; dropping it leaves.
#[derive(Debug)]
pub struct Events {
    line: Line,
    /// What has come already.
    heard: VecDeque<Message>,
    /// When something is said although there is nothing to say, so that whoever has left is noticed.
    silence: Sleep,
}

impl Events {
    /// What has come over a line, and what comes from here on.
    pub fn new(line: Line, heard: VecDeque<Message>) -> Self {
        Self { line, heard, silence: sleep(SILENCE) }
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.heard.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None => self.line.poll_next(context),
        };
        let said = match next {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(message)) => event(&message),
            Poll::Pending => {
                if Pin::new(&mut self.silence).poll(context).is_pending() {
                    return Poll::Pending;
                }
                Bytes::from_static(COMMENT)
            }
        };
        self.silence = sleep(SILENCE);
        Poll::Ready(Some(Ok(Frame::data(said))))
    }
}

/// A text as it is, and bytes in base64 as an event of the type `binary`.
fn event(message: &Message) -> Bytes {
    let mut event = String::new();
    match message {
        Message::Text(text) => {
            let text = text.replace("\r\n", "\n");
            for line in text.split(['\n', '\r']) {
                event.push_str("data: ");
                event.push_str(line);
                event.push('\n');
            }
        }
        message => {
            event.push_str("event: binary\ndata: ");
            BASE64.encode_string(message.clone().into_data(), &mut event);
            event.push('\n');
        }
    }
    event.push('\n');
    event.into()
}

/// What every reader leaves out.
const COMMENT: &[u8] = b":\n\n";
/// Proxies on the way give up what says nothing for a minute.
const SILENCE: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_line_for_each_of_its_message_and_bytes_are_in_base64() {
        for (message, told) in [
            (Message::text("one"), "data: one\n\n"),
            (Message::text("one\ntwo\r\nthree\rfour\n"), "data: one\ndata: two\ndata: three\ndata: four\ndata: \n\n"),
            (Message::text(""), "data: \n\n"),
            (Message::binary(vec![0, 255, 7]), "event: binary\ndata: AP8H\n\n"),
        ] {
            assert_eq!(event(&message), told, "{message:?}");
        }
    }
}
