//! A request under way, and the only way to answer it.
//!
//! Here is what differs between the versions of HTTP, and whoever serves a [`Stream`] knows none of it. Over HTTP/1.1 a
//! stream has its socket to itself: a 101 makes the socket its [`Tunnel`], and a refusal gives it back as [`Streams`] for
//! the next request. Over HTTP/2 a [`Multiplex`](super::Multiplex) brings many at a time; each is refused without giving
//! anything back, and its tunnel is a stream of the connection.

use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Response, StatusCode};
use tokio::time::Instant;

use super::body::AnswerBody;
use super::http2::Exchange;
use super::opening::Opening;
use super::request_body::RequestBody;
use super::requests::{ClientGone, HeadLimits, ReadError, Requests, WriteError};
use crate::reactor::timeout;
use crate::transport::Transport;

/// The streams that a socket still has to bring over HTTP/1.1, one after the other.
#[derive(Debug)]
pub struct Streams {
    requests: Requests<Transport>,
    /// Whether it has brought none yet.
    is_first: bool,
    /// Whether no request is wanted behind the one under way.
    is_last: bool,
    /// Whether its last answer was to end it.
    is_ending: bool,
}

/// A request under way, by the version of HTTP that it came over. Dropping it closes what it has to itself.
#[derive(Debug)]
pub enum Stream {
    /// It has its socket to itself.
    Http1(Streams),
    /// It is one of those of a connection.
    Http2(Box<Exchange>),
}

/// What an accepted stream goes on as.
#[derive(Debug)]
pub struct Tunnel {
    /// Carries frames in both directions.
    pub transport: Transport,
    /// What the client has sent behind its request.
    pub leftover: Bytes,
    /// What the client was answered.
    pub status: StatusCode,
}

/// Why a socket brings no further stream.
#[derive(Debug)]
pub enum Missed {
    /// The client has left without a request, as those do that probe a port.
    Unasked,
    /// It has left, or was sent away, between two requests.
    Over,
    /// It has left within a request.
    Left,
    /// Its request cannot be read, which it is still to be told.
    Unreadable(Unreadable),
    /// Its request has not come in time; what it was answered, if it had begun.
    Late(Option<StatusCode>),
}

/// A request that cannot be read.
#[derive(Debug)]
pub struct Unreadable {
    error: ReadError,
    requests: Requests<Transport>,
}

impl Streams {
    /// Those of a socket that was just accepted.
    pub fn new(socket: Transport, limits: &HeadLimits) -> Self {
        Self { requests: Requests::new(socket, limits), is_first: true, is_last: false, is_ending: false }
    }

    /// Waits for the next request, for so long. Its body, if it has one, is not read before it is [taken](Stream::body).
    /// Says when it began, too: the first with the socket, each further one with its first byte.
    ///
    /// # Errors
    /// When none comes.
    pub async fn next(mut self, patience: Duration) -> (Instant, Result<(Parts, Stream), Missed>) {
        let waiting_since = Instant::now();
        if self.is_ending {
            let _ = timeout(LINGER, Box::pin(self.requests.close())).await;
            return (waiting_since, Err(Missed::Over));
        }
        let is_first = self.is_first;
        let next = timeout(patience, self.requests.next()).await;
        let read_at = self.requests.read_at().filter(|_| !is_first);
        let next = match next {
            Ok(Ok(Some(head))) => {
                self.is_first = false;
                Ok((head, Stream::Http1(self)))
            }
            Ok(Ok(None)) => {
                if self.requests.is_cut() {
                    let _ = timeout(LINGER, Box::pin(self.requests.close())).await;
                }
                Err(if is_first { Missed::Unasked } else { Missed::Over })
            }
            Ok(Err(ReadError::Broken(_))) => Err(Missed::Left),
            Ok(Err(error)) => Err(Missed::Unreadable(Unreadable { error, requests: self.requests })),
            Err(_) => {
                let has_begun = timeout(LINGER, Box::pin(self.requests.time_out())).await.unwrap_or(false);
                // A connection that is only kept for a next request may end without a word.
                Err(match has_begun || is_first {
                    true => Missed::Late(has_begun.then_some(StatusCode::REQUEST_TIMEOUT)),
                    false => Missed::Over,
                })
            }
        };
        (read_at.unwrap_or(waiting_since), next)
    }

    /// Answers the request under way, with what stands `beside` it.
    async fn answer(
        &mut self,
        mut response: Response<AnswerBody>,
        beside: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), WriteError> {
        if self.is_last {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        self.is_ending = response.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
        self.requests.answer_beside(response, beside).await
    }

    /// Makes the socket the tunnel of the request under way.
    async fn switch(self, fields: HeaderMap) -> Option<Tunnel> {
        let switched = pin!(self.requests.switch(fields));
        let (transport, leftover) = timeout(ANSWER_TIMEOUT, switched).await.ok()?.ok()?;
        Some(Tunnel { transport, leftover, status: StatusCode::SWITCHING_PROTOCOLS })
    }
}

impl Stream {
    /// Runs a future while the client waits for its answer.
    ///
    /// # Errors
    /// When the client leaves first.
    pub async fn during<F: Future>(&mut self, future: Pin<&mut F>) -> Result<F::Output, ClientGone> {
        match self {
            Self::Http1(streams) => streams.requests.during(future).await,
            Self::Http2(exchange) => exchange.during(future).await,
        }
    }

    /// Has the answer end the connection, where that brings one request after the other.
    pub fn end_with_it(&mut self) {
        if let Self::Http1(streams) = self {
            streams.is_last = true;
        }
    }

    /// The body of the request, which moves while the stream is [waited with](Self::during) or answered.
    pub fn body(&mut self) -> RequestBody {
        match self {
            Self::Http1(streams) => streams.requests.body(),
            Self::Http2(exchange) => RequestBody::Http2(exchange.body()),
        }
    }

    /// Answers with a refusal. What may bring further requests is given back, unless the client did not take the answer.
    pub async fn refuse(self, response: Response<AnswerBody>) -> Option<Streams> {
        match self {
            Self::Http1(mut streams) => {
                let nothing = pin!(pending());
                let answered = timeout(ANSWER_TIMEOUT, Box::pin(streams.answer(response, nothing))).await;
                matches!(answered, Ok(Ok(()))).then_some(streams)
            }
            Self::Http2(exchange) => {
                let nothing = pin!(pending());
                // Nobody waits for a client that does not take it.
                let _ = timeout(ANSWER_TIMEOUT, Box::pin(exchange.answer(response, nothing))).await;
                None
            }
        }
    }

    /// Answers with what takes its time: as long as there is something to come, or to go up `beside` it, which is polled
    /// meanwhile. What may bring further requests is given back.
    ///
    /// # Errors
    /// When the client did not take the answer, or has not got all of it.
    pub async fn answer(
        self,
        response: Response<AnswerBody>,
        beside: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<Option<Streams>, WriteError> {
        match self {
            Self::Http1(mut streams) => streams.answer(response, beside).await.map(|()| Some(streams)),
            Self::Http2(exchange) => exchange.answer(response, beside).await.map(|()| None),
        }
    }

    /// Accepts a valid opening handshake with these end-to-end fields, and those that it needs. `None` when the client did
    /// not take the answer.
    pub async fn accept(self, opening: &Opening, fields: HeaderMap) -> Option<Tunnel> {
        match self {
            Self::Http1(streams) => streams.switch(opening.switching(fields)).await,
            Self::Http2(exchange) => exchange.accept(fields),
        }
    }
}

impl Unreadable {
    /// What is wrong with it.
    pub fn error(&self) -> &ReadError {
        &self.error
    }

    /// Tells the client, with the id that it is known by, and ends the connection.
    pub async fn answer(self, id: &str) {
        let Self { error, requests } = self;
        let _ = timeout(LINGER, Box::pin(requests.reject(&error, id))).await;
    }
}

/// How long a client may take to read an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client may take to close its socket after an answer that ends the connection: long enough for the answer to
/// cross any network, short enough not to be worth holding open.
const LINGER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;

    use super::super::{Refused, validate};
    use super::*;

    const HANDSHAKE: &[u8] = b"GET /ws HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
    const PATIENCE: Duration = Duration::from_secs(5);

    fn connection() -> (DuplexStream, Streams) {
        let (client, server) = duplex(4096);
        (client, Streams::new(Transport::boxed(server), &HeadLimits::default()))
    }

    #[tokio::test]
    async fn a_refusal_gives_the_connection_back_and_an_accepted_stream_takes_it() {
        let (mut client, streams) = connection();
        client.write_all(HANDSHAKE).await.unwrap();
        let (_, stream) = streams.next(PATIENCE).await.1.unwrap();
        let streams = stream.refuse(Refused::NoRoute.response()).await.unwrap();
        client.write_all(&[HANDSHAKE, b"early"].concat()).await.unwrap();
        let (head, stream) = streams.next(PATIENCE).await.1.unwrap();
        let Tunnel { transport, leftover, status } =
            stream.accept(&validate(&head).unwrap(), HeaderMap::new()).await.unwrap();
        assert_eq!((&*leftover, status.as_u16()), (&b"early"[..], 101));
        drop(transport);
        let mut answers = String::new();
        client.read_to_string(&mut answers).await.unwrap();
        assert!(answers.starts_with("HTTP/1.1 404 ") && answers.contains("HTTP/1.1 101 "), "{answers}");
        assert!(answers.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answers}");
    }

    #[tokio::test]
    async fn an_answer_that_ends_the_connection_is_the_last_one() {
        let (mut client, streams) = connection();
        client.write_all(HANDSHAKE).await.unwrap();
        let (_, stream) = streams.next(PATIENCE).await.1.unwrap();
        let streams = stream.refuse(Refused::Malformed("a mistake").response()).await.unwrap();
        client.write_all(HANDSHAKE).await.unwrap();
        let told = async {
            let mut told = String::new();
            client.read_to_string(&mut told).await.unwrap();
            drop(client);
            told
        };
        let (told, (_, next)) = tokio::join!(told, streams.next(PATIENCE));
        assert!(told.starts_with("HTTP/1.1 400 ") && told.ends_with("a mistake\n"), "{told}");
        assert!(matches!(next, Err(Missed::Over)), "{next:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn why_no_stream_comes_is_told_by_when_the_client_left_or_fell_silent() {
        let missed = async |said: &[u8], leaves: bool| {
            let (mut client, streams) = connection();
            client.write_all(said).await.unwrap();
            let client = (!leaves).then_some(client);
            let missed = streams.next(PATIENCE).await.1.unwrap_err();
            drop(client);
            missed
        };
        assert!(matches!(missed(b"", true).await, Missed::Unasked));
        assert!(matches!(missed(b"GET / HTTP/1.1\r\nho", true).await, Missed::Left | Missed::Unreadable(_)));
        assert!(matches!(missed(b"", false).await, Missed::Late(None)));
        let late = missed(b"GET / HTTP/1.1\r\nho", false).await;
        assert!(matches!(late, Missed::Late(Some(StatusCode::REQUEST_TIMEOUT))), "{late:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_kept_for_a_next_request_may_end_without_a_word() {
        for leaves in [true, false] {
            let (mut client, streams) = connection();
            client.write_all(HANDSHAKE).await.unwrap();
            let (_, stream) = streams.next(PATIENCE).await.1.unwrap();
            let streams = stream.refuse(Refused::NoRoute.response()).await.unwrap();
            let client = (!leaves).then_some(client);
            let (_, next) = streams.next(PATIENCE).await;
            assert!(matches!(next, Err(Missed::Over)), "{next:?}");
            drop(client);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_on_a_connection_that_was_kept_begins_with_its_first_byte() {
        let (mut client, mut streams) = connection();
        let accepted_at = Instant::now();
        for second in 0..3 {
            let said = async {
                sleep(Duration::from_secs(3)).await;
                let began = Instant::now();
                client.write_all(&HANDSHAKE[..20]).await.unwrap();
                sleep(Duration::from_secs(1)).await;
                client.write_all(&HANDSHAKE[20..]).await.unwrap();
                began
            };
            let (said_at, (began, next)) = tokio::join!(said, streams.next(PATIENCE));
            assert_eq!(began, if second == 0 { accepted_at } else { said_at });
            streams = next.unwrap().1.refuse(Refused::NoRoute.response()).await.unwrap();
        }
    }
}
